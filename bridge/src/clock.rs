//! The clocks of two machines: how far one is ahead of the other, and how well that is known.
//!
//! The question goes there and comes back. When it was answered is known to lie between the two
//! times here, so their middle is wrong by half the round trip at most. Of many answers the
//! quickest counts, and the less the older it is.
//!
//! `CLOCK_MONOTONIC` is compared, not the wall clock: nobody sets it, so a delay that is told by
//! it stays true when the time is set at either end.

use std::collections::VecDeque;
use std::time::Duration;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// How fast two machines' clocks may part, as a fraction: 50 ppm each is a bad crystal.
const DRIFT_DIVISOR: u64 = 10_000;
/// Answers that are kept: two minutes of one a second.
const KEPT: usize = 120;

/// Both clocks of one machine at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    /// `CLOCK_MONOTONIC`, which frames are stamped with.
    pub monotonic_ns: i64,
    /// Unix time.
    pub unix_ns: i64,
}

impl Reading {
    pub(crate) fn now() -> Self {
        let now = clock_gettime(ClockId::Monotonic);
        let unix = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            monotonic_ns: now.tv_sec * 1_000_000_000 + now.tv_nsec,
            unix_ns: unix.map_or(0, |unix| i64::try_from(unix.as_nanos()).unwrap_or(i64::MAX)),
        }
    }

    /// How far Unix time is ahead of the monotonic clock.
    fn lead(self) -> i64 {
        self.unix_ns.saturating_sub(self.monotonic_ns)
    }
}

/// How far the other machine's clocks are ahead of this one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offset {
    /// Of the monotonic clock, in ns.
    pub ns: i64,
    /// Of the wall clock, in ns.
    pub wall_ns: i64,
    /// Both are known to this, either way.
    pub bound: Duration,
    /// The shortest round trip of those that count.
    pub round_trip: Duration,
}

/// One answer. All in ns.
#[derive(Clone, Copy, Debug)]
struct Sample {
    /// When it was given, by the clock here.
    at: i64,
    offset: i64,
    round_trip: i64,
}

/// What is known of another machine's clocks.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    samples: VecDeque<Sample>,
    /// Its wall clock's lead at the last answer: it may be set at any time.
    lead_ns: i64,
}

impl Clock {
    /// Adds an answer.
    pub(crate) fn add(&mut self, asked: Reading, there: Reading, answered: Reading) {
        let round_trip = answered.monotonic_ns - asked.monotonic_ns;
        let at = asked.monotonic_ns + round_trip / 2;
        self.samples.push_back(Sample {
            at,
            offset: there.monotonic_ns.saturating_sub(at),
            round_trip,
        });
        if self.samples.len() > KEPT {
            self.samples.pop_front();
        }
        self.lead_ns = there.lead();
    }

    /// `None` before the first answer.
    pub(crate) fn offset(&self, now: Reading) -> Option<Offset> {
        let bound = |sample: &Sample| {
            let age = now.monotonic_ns.abs_diff(sample.at);
            sample.round_trip.unsigned_abs() / 2 + age / DRIFT_DIVISOR
        };
        let best = self.samples.iter().min_by_key(|sample| bound(sample))?;
        Some(Offset {
            ns: best.offset,
            wall_ns: best
                .offset
                .saturating_add(self.lead_ns)
                .saturating_sub(now.lead()),
            bound: Duration::from_nanos(bound(best)),
            round_trip: Duration::from_nanos(best.round_trip.unsigned_abs()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;
    const HOUR: i64 = 3_600_000 * MS;

    /// A machine whose clocks differ from the true time.
    fn reading(true_ns: i64, monotonic: i64, wall: i64) -> Reading {
        Reading {
            monotonic_ns: true_ns + monotonic,
            unix_ns: true_ns + wall,
        }
    }

    /// An answer after `there` ns, which takes `back` ns for the way home.
    fn ask(clock: &mut Clock, at: i64, there: i64, back: i64) {
        let here = |at| reading(at, 0, 0);
        let answer = reading(at + there, 7 * MS, HOUR);
        clock.add(here(at), answer, here(at + there + back));
    }

    #[test]
    fn the_quickest_answer_counts_and_the_truth_lies_within_its_bound() {
        let mut clock = Clock::default();
        assert_eq!(clock.offset(reading(0, 0, 0)), None);
        // Lopsided ways: the middle is off by a quarter of the round trip.
        for (i, (there, back)) in [(9 * MS, MS), (3 * MS, MS), (50 * MS, 0)]
            .into_iter()
            .enumerate()
        {
            ask(
                &mut clock,
                i64::try_from(i).unwrap() * 100 * MS,
                there,
                back,
            );
        }
        let offset = clock.offset(reading(300 * MS, 0, 0)).unwrap();
        assert_eq!(offset.round_trip, Duration::from_millis(4));
        let error = (offset.ns - 7 * MS).unsigned_abs();
        assert_eq!(error, 1_000_000);
        assert!(Duration::from_nanos(error) <= offset.bound, "{offset:?}");
        assert!(
            (offset.wall_ns - HOUR).unsigned_abs() <= 1_000_000,
            "{offset:?}"
        );
    }

    #[test]
    fn an_old_answer_gives_way_to_a_slower_new_one() {
        let mut clock = Clock::default();
        ask(&mut clock, 0, MS, MS);
        ask(&mut clock, 60_000 * MS, 2 * MS, 2 * MS);
        let offset = clock.offset(reading(60_004 * MS, 0, 0)).unwrap();
        assert_eq!(offset.round_trip, Duration::from_millis(4));
        // Without news the bound grows: 6 ms a minute.
        let later = clock.offset(reading(120_004 * MS, 0, 0)).unwrap();
        assert!(
            later.bound > offset.bound + Duration::from_millis(5),
            "{later:?}"
        );
    }

    #[test]
    fn a_wall_clock_that_is_set_changes_the_wall_offset_alone() {
        let mut clock = Clock::default();
        ask(&mut clock, 0, MS, MS);
        let here = reading(2 * MS, 0, -5 * HOUR);
        let offset = clock.offset(here).unwrap();
        assert_eq!((offset.ns, offset.wall_ns), (7 * MS, 6 * HOUR));
    }
}
