//! The two clocks of a frame.

use std::time::{SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

/// `CLOCK_MONOTONIC` in ns: the same in every process of the machine (but not in another time namespace), and not
/// moved when the wall clock is set; see `clock_gettime(2)`.
pub(crate) fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("Linux has CLOCK_MONOTONIC");
    let ns = now.tv_sec() * 1_000_000_000 + now.tv_nsec();
    u64::try_from(ns).expect("CLOCK_MONOTONIC begins at 0 when the machine starts")
}

/// Unix time by the monotonic clock: one look at a clock for both times of a frame.
#[derive(Debug, Default)]
pub(crate) struct Wall {
    /// When the two were compared, by the monotonic clock, and the wall clock's lead.
    compared: Option<(u64, i64)>,
}

impl Wall {
    /// Unix time in ms at a time of the monotonic clock that is not long ago. After the wall clock was set, this follows
    /// within a ms.
    pub(crate) fn ms(&mut self, monotonic_ns: u64) -> i64 {
        let lead = match self.compared {
            Some((at, lead)) if monotonic_ns.wrapping_sub(at) < 1_000_000 => lead,
            _ => {
                let lead = unix_ns().saturating_sub_unsigned(monotonic_ns);
                self.compared = Some((monotonic_ns, lead));
                lead
            }
        };
        lead.saturating_add_unsigned(monotonic_ns)
            .div_euclid(1_000_000)
    }
}

/// Unix time in ns, negative before 1970.
pub(crate) fn unix_ns() -> i64 {
    let ns = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()),
        Err(before) => i64::try_from(before.duration().as_nanos()).map(|ns| -ns),
    };
    ns.expect("a wall clock between 1678 and 2262")
}
