//! What a receiver tells.

use std::fmt;

use crate::{End, Shape};

/// What [`Receiver::wait`](crate::Receiver::wait) found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// There is a frame newer than the last one taken.
    Frame,
    /// There was none in time.
    Timeout,
    /// There will be none from this segment. [`Receiver::reopen`](crate::Receiver::reopen) finds
    /// the next one.
    Ended(End),
    /// A [`Canceller`](crate::Canceller) of the receiver was used.
    Cancelled,
}

/// How [`Receiver::wait`](crate::Receiver::wait) waits. It matters for segments with a control page
/// only: others are polled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitMode {
    /// Sleeps until the sender wakes it, which takes tens of microseconds.
    #[default]
    Sleep,
    /// On a steady stream sleeps until shortly before the next frame is due, and then watches for
    /// it, for 5 % of the time at most. Sleeps while frames are irregular, or stop, or come faster
    /// than 200 a second.
    Predict,
    /// Watches all the time, which takes a processor.
    Spin,
}

/// How a frame came over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Via {
    /// Read in place.
    Leased,
    /// Read in place by a receiver that may only read the segment.
    LeasedReadOnly,
    /// Copied, and known to be whole.
    Copied,
    /// Copied from a segment without a control page: nobody can rule out that it is torn.
    Plain,
}

/// What is known of a frame that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Frame {
    /// The sender's count, from 1; without a control page, this receiver's.
    pub number: u64,
    /// Random, and the same for all frames of one sender: with another session the numbers begin
    /// anew. 0 without a control page.
    pub session: u64,
    /// Its size and format.
    pub shape: Shape,
    /// Unix time in ms when the sender began to write it.
    pub sent_ms: i64,
    /// Unix time in ms when the receiver had it.
    pub received_ms: i64,
    /// `CLOCK_MONOTONIC` in ns before the sender wrote the first byte. 0 without a control page.
    pub begun_ns: u64,
    /// `CLOCK_MONOTONIC` in ns after the sender wrote the last byte. 0 without a control page.
    pub published_ns: u64,
    /// Unix time in ns at which the picture was taken, if the sender knows.
    pub captured_ns: Option<u64>,
    /// From before the first byte was written until the receiver had the frame: found it, if it is
    /// leased, and else had copied it; in ns. By the monotonic clock; without a control page by the
    /// wall clock, which has steps of a ms here and may have been set in between.
    pub delay_ns: i64,
    /// It was published before this receiver attached. Then `delay_ns` is its age, and says nothing
    /// about the way over.
    pub found: bool,
    /// Frames that were published since the last one taken and never seen here. Unknown, and 0,
    /// without a control page.
    pub skipped: u64,
    /// How it came over.
    pub via: Via,
}

impl Via {
    /// Whether it is read in place.
    pub fn is_leased(self) -> bool {
        matches!(self, Self::Leased | Self::LeasedReadOnly)
    }
}

/// `leased`, `leased-read-only`, `copied` or `plain`.
impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Leased => "leased",
            Self::LeasedReadOnly => "leased-read-only",
            Self::Copied => "copied",
            Self::Plain => "plain",
        })
    }
}
