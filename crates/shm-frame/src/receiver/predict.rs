//! When the next frame is due, by those that came before.
//!
//! A process that sleeps takes tens of microseconds to be woken, one that watches a word takes none
//! and a whole core. On a steady stream both can be had: sleep until shortly before the next frame
//! is due, then watch. Each frame is expected one period after the one before it; how far the last
//! ones were off says from when until when to watch.

use std::ops::Range;

/// How many frames are remembered.
const FRAMES: usize = 16;
/// How many of them may be off in either direction before that counts: a busy machine delays one
/// now and then.
const OUTLIERS: usize = 2;
/// What a timer and an idle processor take to wake a process up: 50 us of timer slack (prctl(2)),
/// and what was measured.
const WAKE_NS: i64 = 200_000;
/// How long to go on after the latest that is expected.
const GRACE_NS: i64 = 50_000;
/// The part of a period that may be spent watching.
const BUDGET: i64 = 20;

/// Times of the last frames, and what follows from them. All times are ns of the monotonic clock.
#[derive(Debug, Default)]
pub(crate) struct Predictor {
    /// Number and time of the last frame.
    last: Option<(u64, i64)>,
    /// The last periods, and by how much each frame missed the time that was expected, in turn.
    periods: [i64; FRAMES],
    errors: [i64; FRAMES],
    count: usize,
    expected: Option<Expected>,
}

#[derive(Debug)]
struct Expected {
    /// When the next frame is due.
    due: i64,
    /// When to watch for it, if frames come so regularly that it is worth it.
    watch: Option<Range<i64>>,
}

impl Predictor {
    /// Takes note of a frame that was published then. What somebody else made up makes predictions
    /// bad, no worse.
    pub(crate) fn published(&mut self, frame: u64, ns: u64) {
        let ns = ns.cast_signed();
        let last = self.last.replace((frame, ns));
        let expected = self.expected.take();
        let Some((frames, elapsed)) = last.and_then(|(last, then)| {
            let frames = i64::try_from(frame.checked_sub(last)?).ok()?;
            Some((frames, ns.checked_sub(then)?))
        }) else {
            return;
        };
        // A second: who is slower than that can as well be woken.
        if !(1..=16).contains(&frames) || !(1..1_000_000_000).contains(&elapsed) {
            self.count = 0;
            return;
        }
        let at = self.count % FRAMES;
        self.periods[at] = elapsed / frames;
        // Those that were skipped in between are as if they had come in time.
        self.errors[at] = expected.map_or(0, |expected| {
            ns.saturating_sub(expected.due) - (frames - 1) * self.periods[at]
        });
        self.count += 1;
        self.expect(ns);
    }

    fn expect(&mut self, now: i64) {
        if self.count < FRAMES / 2 {
            return;
        }
        let known = self.count.min(FRAMES);
        let mut periods = self.periods;
        let periods = &mut periods[..known];
        periods.sort_unstable();
        let period = periods[known / 2];
        let mut errors = self.errors;
        let errors = &mut errors[..known];
        errors.sort_unstable();
        let due = now.saturating_add(period);
        let watch = due.saturating_add(errors[OUTLIERS] - WAKE_NS)
            ..due.saturating_add(errors[known - 1 - OUTLIERS] + GRACE_NS);
        let worth_it = watch.end.saturating_sub(watch.start) <= period / BUDGET;
        self.expected = Some(Expected {
            due,
            watch: worth_it.then_some(watch),
        });
    }

    /// From when until when to watch for the next frame, if that is known and not over yet.
    pub(crate) fn watch(&self, now: u64) -> Option<Range<u64>> {
        let watch = self.expected.as_ref()?.watch.clone()?;
        let watch = u64::try_from(watch.start).ok()?..u64::try_from(watch.end).ok()?;
        (now < watch.end).then_some(watch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;
    const PERIOD: u64 = 16 * MS;

    /// What is expected after frames at these times.
    fn after(times: impl IntoIterator<Item = (u64, u64)>) -> Option<Range<u64>> {
        let mut predictor = Predictor::default();
        let mut now = 0;
        for (frame, ns) in times {
            predictor.published(frame, ns);
            now = ns;
        }
        predictor.watch(now)
    }

    #[test]
    fn a_steady_stream_is_watched_for_shortly_before_it_is_due() {
        let watch = after((1..=20).map(|i| (i, i * PERIOD))).unwrap();
        let due = 21 * PERIOD;
        assert!(watch.contains(&due), "{watch:?}, due {due}");
        assert!(watch.end - watch.start <= PERIOD / 20, "{watch:?}");
    }

    #[test]
    fn a_few_frames_are_no_stream() {
        assert_eq!(after((1..=5).map(|i| (i, i * PERIOD))), None);
    }

    #[test]
    fn skipped_frames_and_small_jitter_do_not_confuse_it() {
        let jitter = |i: u64| i * 7919 % 100_000;
        let times = (1..=60).filter(|i| i % 3 != 0);
        let watch = after(times.map(|i| (i, i * PERIOD + jitter(i)))).unwrap();
        let due = 60 * PERIOD + jitter(60);
        assert!(watch.contains(&due), "{watch:?}, due {due}");
    }

    #[test]
    fn one_frame_that_is_late_does_not_end_it() {
        let late = |i| if i == 30 { 5 * MS } else { 0 };
        let watch = after((1..=40).map(|i| (i, i * PERIOD + late(i)))).unwrap();
        assert!(watch.contains(&(41 * PERIOD)), "{watch:?}");
    }

    #[test]
    fn irregular_frames_are_slept_for() {
        let times = (1..=40).map(|i| (i, i * PERIOD + i * 7919 % 7 * MS));
        assert_eq!(after(times), None);
    }

    #[test]
    fn what_is_over_is_not_watched_for_any_more() {
        let mut predictor = Predictor::default();
        (1..=20).for_each(|i| predictor.published(i, i * PERIOD));
        assert!(predictor.watch(20 * PERIOD).is_some());
        assert_eq!(predictor.watch(22 * PERIOD), None);
    }

    #[test]
    fn fast_streams_are_slept_for() {
        assert_eq!(after((1..=40).map(|i| (i, i * MS))), None);
    }

    #[test]
    fn a_new_rate_is_learned() {
        let times = (1..=60).map(|i| {
            (
                i,
                if i <= 30 {
                    i * PERIOD
                } else {
                    30 * PERIOD + (i - 30) * 2 * PERIOD
                },
            )
        });
        let watch = after(times).unwrap();
        assert!(
            watch.contains(&(30 * PERIOD + 31 * 2 * PERIOD)),
            "{watch:?}"
        );
    }

    proptest! {
        #[test]
        fn any_numbers_are_survived(times: Vec<(u64, u64)>, now: u64) {
            let mut predictor = Predictor::default();
            for (frame, ns) in times {
                predictor.published(frame, ns);
            }
            if let Some(watch) = predictor.watch(now) {
                prop_assert!(watch.end - watch.start <= 1_000_000_000 / 20);
            }
        }
    }
}
