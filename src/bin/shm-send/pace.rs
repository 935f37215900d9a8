//! When frames are due.

use std::time::{Duration, Instant};

/// Keeps to the steps from frame to frame. What is late is not queued: it is skipped, or everything after it comes later.
pub(crate) struct Pace {
    /// When the current frame is due; none was yet.
    due: Option<Instant>,
    /// From the frame before to the current one.
    step: Option<Duration>,
    /// Frames that are still to be skipped, while they are.
    behind: Option<u128>,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self {
            due: None,
            step: None,
            behind: None,
        }
    }

    /// Goes on to the frame that comes `step` after the last one, or at once. Whether it is to be skipped, for another one is due
    /// already.
    pub(crate) fn skips(&mut self, step: Option<Duration>, can_skip: bool) -> bool {
        let now = Instant::now();
        self.step = step;
        let (Some(step), Some(due)) = (step, self.due) else {
            self.due = Some(now);
            return false;
        };
        let due = due + step;
        let late = now.saturating_duration_since(due);
        self.due = Some(due);
        if late < step {
            self.behind = None;
            return false;
        }
        let behind = self
            .behind
            .get_or_insert(late.as_nanos() / step.as_nanos().max(1));
        if can_skip && *behind > 0 {
            *behind -= 1;
            return true;
        }
        // Skipping did not help: what was lost stays lost.
        self.due = Some(now);
        self.behind = None;
        false
    }

    /// After the last frame, which is to be seen as long as the one before: now its end is due.
    pub(crate) fn ends(&mut self) {
        self.due = self.due.zip(self.step).map(|(due, step)| due + step);
    }

    /// How long it is until what is due next, if it is not yet.
    pub(crate) fn left(&self) -> Option<Duration> {
        let left = self.due?.checked_duration_since(Instant::now())?;
        (!left.is_zero()).then_some(left)
    }
}
