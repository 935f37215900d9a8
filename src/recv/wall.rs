//! When frames were begun, by the wall clock, to the ns.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use shm_frame::Frame;

/// Converts times of the monotonic clock to Unix time. Later steps of the wall clock have no
/// effect.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wall {
    monotonic_ns: u64,
    unix_ns: u64,
}

impl Wall {
    pub(super) fn now() -> io::Result<Self> {
        let monotonic = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
        let unix = SystemTime::now().duration_since(UNIX_EPOCH);
        Ok(Self {
            monotonic_ns: ns(monotonic),
            unix_ns: ns(unix.unwrap_or_default()),
        })
    }

    /// When a frame was begun: Unix time in ns. Without a control page, only the ms are known.
    pub(super) fn begun_ns(self, frame: &Frame) -> u64 {
        if frame.begun_ns == 0 {
            return u64::try_from(frame.sent_ms).unwrap_or(0) * 1_000_000;
        }
        let since = i128::from(frame.begun_ns) - i128::from(self.monotonic_ns);
        u64::try_from(i128::from(self.unix_ns) + since).unwrap_or(0)
    }

    /// When the receiver had a frame: Unix time in ns.
    pub(super) fn received_ns(self, frame: &Frame) -> u64 {
        self.begun_ns(frame).saturating_add_signed(frame.delay_ns)
    }
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
