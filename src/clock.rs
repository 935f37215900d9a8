//! The two clocks of a frame.

use rustix::time::{ClockId, clock_gettime};

const NS_PER_S: i64 = 1_000_000_000;

/// `CLOCK_MONOTONIC` in ns: the same in every process of the machine (but not in another time namespace), and not
/// moved when the wall clock is set; see `clock_gettime(2)`.
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
    /// Unix time in ms at a time of the monotonic clock that is not long ago. After the wall clock was set, this follows
    /// within 0.1 s.
    #[inline]
    pub(crate) fn ms(&mut self, monotonic_ns: u64) -> i64 {
        let lead = match self.compared {
            Some((at, lead)) if monotonic_ns.wrapping_sub(at) < 100_000_000 => lead,
            _ => self.compare(monotonic_ns),
        };
        lead.saturating_add_unsigned(monotonic_ns)
            .div_euclid(1_000_000)
    }

    #[cold]
    fn compare(&mut self, monotonic_ns: u64) -> i64 {
        let lead = unix_ns().saturating_sub_unsigned(monotonic_ns);
        self.compared = Some((monotonic_ns, lead));
        lead
    }
}

/// Unix time in ns, negative before 1970.
pub(crate) fn unix_ns() -> i64 {
    let now = clock_gettime(ClockId::Realtime);
    now.tv_sec
        .saturating_mul(NS_PER_S)
        .saturating_add(now.tv_nsec)
}
