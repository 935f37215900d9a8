//! The two clocks of a frame.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

const NS_PER_S: i64 = 1_000_000_000;

/// `CLOCK_MONOTONIC` in ns: the same in every process of the machine (but not in another time
/// namespace), and not moved when the wall clock is set; see `clock_gettime(2)`.
#[inline]
pub(crate) fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // It begins at 0 when the machine starts.
    (now.tv_sec * NS_PER_S + now.tv_nsec).cast_unsigned()
}

/// Unix time by the monotonic clock: one look at a clock for both times of a frame.
#[derive(Debug, Default)]
pub(crate) struct Wall {
    /// When the two were compared, by the monotonic clock, and the wall clock's lead.
    compared: Option<(u64, i64)>,
}

impl Wall {
    /// Unix time in ms at a time of the monotonic clock that is not long ago. After the wall clock
    /// was set, this follows within 0.1 s.
    #[inline]
    pub(crate) fn ms(&mut self, monotonic_ns: u64) -> i64 {
        let lead = match self.compared {
            Some((at, lead)) if monotonic_ns.abs_diff(at) < 100_000_000 => lead,
            _ => self.compare(),
        };
        lead.saturating_add_unsigned(monotonic_ns)
            .div_euclid(1_000_000)
    }

    #[cold]
    fn compare(&mut self) -> i64 {
        let before = monotonic_ns();
        let lead = unix_ns().saturating_sub_unsigned(before);
        // A process that was interrupted in between compares again next time.
        let close = monotonic_ns() - before < 100_000;
        self.compared = close.then_some((before, lead));
        lead
    }
}

/// Unix time in ns, negative before 1970. By way of the C library, as those who fake the time
/// expect.
pub(crate) fn unix_ns() -> i64 {
    let ns = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()),
        Err(before) => i64::try_from(before.duration().as_nanos()).map(|ns| -ns),
    };
    ns.expect("a wall clock between 1678 and 2262")
}
