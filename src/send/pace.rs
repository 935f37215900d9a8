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
    pub(crate) fn skips(&mut self, now: Instant, step: Option<Duration>, can_skip: bool) -> bool {
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

    /// After the last frame, which is to be seen so long, or else as long as the one before: now its end is due.
    pub(crate) fn ends(&mut self, last: Option<Duration>) {
        let last = last.or(self.step);
        self.due = self.due.zip(last).map(|(due, last)| due + last);
    }

    /// How long it is until what is due next, if it is not yet.
    pub(crate) fn left(&self) -> Option<Duration> {
        let left = self.due?.checked_duration_since(Instant::now())?;
        (!left.is_zero()).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const STEP: Option<Duration> = Some(MS);

    #[test]
    fn what_is_in_time_is_due_step_by_step() {
        let (mut pace, begin) = (Pace::new(), Instant::now());
        for step in 0..5 {
            assert!(!pace.skips(begin, STEP, true));
            assert_eq!(pace.due, Some(begin + step * MS));
        }
        pace.ends(None);
        assert_eq!(pace.due, Some(begin + 5 * MS));
        pace.ends(Some(3 * MS));
        assert_eq!(pace.due, Some(begin + 8 * MS));
    }

    #[test]
    fn what_is_late_is_skipped_as_far_as_that_helps() {
        let (mut pace, begin) = (Pace::new(), Instant::now());
        assert!(!pace.skips(begin, STEP, true));
        // Frames 1 and 2 are over, 3 is the one to be seen now.
        let late = begin + 3 * MS + MS / 2;
        assert_eq!(
            [(); 3].map(|()| pace.skips(late, STEP, true)),
            [true, true, false]
        );
        assert_eq!(pace.due, Some(begin + 3 * MS));
        // Skipping takes as long as what is skipped: then one is sent all the same, and the others come later.
        let mut now = late + 3 * MS;
        let skipped = (0..9).take_while(|_| {
            now += MS;
            pace.skips(now, STEP, true)
        });
        assert_eq!(skipped.count(), 3);
        assert_eq!(pace.due, Some(now));
    }

    #[test]
    fn what_cannot_be_skipped_comes_later_and_all_after_it() {
        let (mut pace, begin) = (Pace::new(), Instant::now());
        assert!(!pace.skips(begin, STEP, false));
        assert!(!pace.skips(begin + 9 * MS, STEP, false));
        assert!(!pace.skips(begin + 9 * MS, STEP, false));
        assert_eq!(pace.due, Some(begin + 10 * MS));
        assert!(!pace.skips(begin + 20 * MS, None, false));
        assert_eq!(pace.due, Some(begin + 20 * MS), "at once");
    }
}
