//! When frames are due.

use std::time::{Duration, Instant};

/// Keeps the time from frame to frame. A frame that is late is skipped; if it must not be skipped,
/// all later frames come later, too.
pub(crate) struct Pace {
    /// When the current frame is due. `None` before the first one.
    due: Option<Instant>,
    /// The time from the last frame to the current one.
    step: Option<Duration>,
    /// Frames that are still to be skipped, while some are.
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

    /// Goes on to the next frame, which is due `step` after the last one, or at once. Returns
    /// whether to skip it, because another one is due already.
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
        // Skipping did not catch up: from here on everything comes later.
        self.due = Some(now);
        self.behind = None;
        false
    }

    /// Goes on to the end of the last frame, which lasts so long, or else as long as the frame
    /// before it.
    pub(crate) fn ends(&mut self, last: Option<Duration>) {
        let last = last.or(self.step);
        self.due = self.due.zip(last).map(|(due, last)| due + last);
    }

    /// The time until the next frame is due. `None`: it is due now.
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
    fn frames_in_time_are_due_one_step_after_another() {
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
    fn late_frames_are_skipped_as_long_as_that_catches_up() {
        let (mut pace, begin) = (Pace::new(), Instant::now());
        assert!(!pace.skips(begin, STEP, true));
        // Frames 1 and 2 are over; 3 is due now.
        let late = begin + 3 * MS + MS / 2;
        assert_eq!(
            [(); 3].map(|()| pace.skips(late, STEP, true)),
            [true, true, false]
        );
        assert_eq!(pace.due, Some(begin + 3 * MS));
        // Each skip takes as long as a frame: then a frame is sent all the same, and the rest comes
        // later.
        let mut now = late + 3 * MS;
        let skipped = (0..9).take_while(|_| {
            now += MS;
            pace.skips(now, STEP, true)
        });
        assert_eq!(skipped.count(), 3);
        assert_eq!(pace.due, Some(now));
    }

    #[test]
    fn a_late_frame_that_must_not_be_skipped_delays_all_later_ones() {
        let (mut pace, begin) = (Pace::new(), Instant::now());
        assert!(!pace.skips(begin, STEP, false));
        assert!(!pace.skips(begin + 9 * MS, STEP, false));
        assert!(!pace.skips(begin + 9 * MS, STEP, false));
        assert_eq!(pace.due, Some(begin + 10 * MS));
        assert!(!pace.skips(begin + 20 * MS, None, false));
        assert_eq!(pace.due, Some(begin + 20 * MS), "at once");
    }
}
