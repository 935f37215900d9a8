//! Ways to get a frame from one process to another.

mod iceoryx;
mod ours;
mod programs;
mod ring;
mod socket;
mod zenoh;
mod zeromq;

use std::time::Duration;

use crate::Result;
use crate::spec::Spec;

/// A way to get frames across.
pub struct Contender {
    pub name: &'static str,
    pub group: Group,
    /// Where it takes part.
    pub parts: &'static [Part],
    pub ends: Ends,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Group {
    Floor,
    Ours,
    Peer,
}

/// The kinds of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Busy,
    Asleep,
    FlatOut,
    InPlace,
}

/// All but in place.
pub const COPIED_IN: &[Part] = &[Part::Busy, Part::Asleep, Part::FlatOut];
pub const ALL: &[Part] = &[Part::Busy, Part::Asleep, Part::FlatOut, Part::InPlace];

/// The two processes.
pub enum Ends {
    /// This program's. Either may be opened first: the other is tried until it succeeds.
    Functions {
        sender: fn(&Spec, channel: &str) -> Result<Box<dyn Sender>>,
        receiver: fn(&Spec, channel: &str) -> Result<Box<dyn Receiver>>,
    },
    /// Others, in `peers/`.
    Programs {
        sender: &'static str,
        receiver: &'static str,
    },
}

/// The side that has a frame.
pub trait Sender {
    /// Sends a frame out of the caller's memory, which is the caller's again afterwards.
    fn send(&mut self, frame: &[u8]) -> Result<()>;

    /// Sends a frame that `fill` has written where receivers will read it.
    fn send_in_place(&mut self, _fill: &mut dyn FnMut(&mut [u8])) -> Result<()> {
        Err("it has no loans".into())
    }
}

/// The side that wants it.
pub trait Receiver {
    /// Shows the next frame as one slice, if there is one.
    fn try_receive(&mut self, see: &mut dyn FnMut(&[u8])) -> Result<bool>;

    /// Sleeps until there may be a frame, or for that long.
    fn sleep(&mut self, timeout: Duration) -> Result<()>;
}

/// All of them, in the tables' order.
pub fn contenders() -> impl Iterator<Item = &'static Contender> {
    [
        &ring::CONTENDERS[..],
        &ours::CONTENDERS,
        &iceoryx::CONTENDERS,
        &zenoh::CONTENDERS,
        &zeromq::CONTENDERS,
        &socket::CONTENDERS,
        &programs::CONTENDERS,
    ]
    .into_iter()
    .flatten()
}
