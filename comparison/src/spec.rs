//! What one measurement is, and what comes out of it: said to the processes that make it, and by
//! them.

use serde::{Deserialize, Serialize};

/// One measurement: a sender, receivers, and how they go about it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// The name in [`contenders`](crate::contender::contenders).
    pub contender: String,
    /// Unique: segments, sockets and services are named after it.
    pub run: String,
    /// Where sockets go.
    pub directory: String,
    pub mode: Mode,
    pub wait: Wait,
    pub shape: Shape,
    /// Slots, where the contender has them.
    pub slots: usize,
    /// Where source buffers begin, modulo 4096; else the allocator decides.
    pub source_at: Option<usize>,
    pub receivers: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Mode {
    /// So many frames a second, copied in.
    Paced(u32),
    /// As fast as the sender can, copied in.
    FlatOut,
    /// There and back, nothing copied, 64 bytes changed.
    PingPong,
    /// So many frames a second, filled in place like a decoder does, stamped when that is done.
    Decoded(u32),
    /// So many frames a second until they count, and none from then on.
    Idle(u32),
}

/// What a receiver does when there is nothing new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wait {
    Busy,
    Asleep,
}

/// Width x height x channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape(pub u32, pub u32, pub u32);

impl Shape {
    pub fn bytes(self) -> usize {
        self.0 as usize * self.1 as usize * self.2 as usize
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}x{}", self.0, self.1, self.2)
    }
}

/// When to do what, by the monotonic clock in ns: frames are sent from `begin` to `end`, and count
/// from `count`.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    pub begin: u64,
    pub count: u64,
    pub end: u64,
}

/// What a process measured. Times in ns.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Outcome {
    /// A sender's: from the stamp until it could go on. (Ping-pong: half of there and back.)
    pub published: Vec<u64>,
    /// A receiver's: from the stamp until the frame was there as one slice.
    pub arrival: Vec<u64>,
    /// From the stamp until every byte was summed.
    pub consumed: Vec<u64>,
    /// Frames that were of two minds about their number or their sum.
    pub torn: u64,
    /// Frames that came again, or after a newer one.
    pub disorder: u64,
    /// CPU time while frames counted, without that of the summing.
    pub cpu: u64,
}
