use std::io;

use crate::protocol::layout::MAX_SLOTS;
use crate::{End, Format, Name, Shape};

/// What can go wrong: facts, with the numbers. What to do about it depends on who asks, so each
/// program says that itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name that `shm_open(3)` would refuse.
    #[error("segment name {name:?} {why}; a name is 1 to 255 bytes, with no slash but the first")]
    Name {
        /// The name as it was given.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Dimensions that are no image.
    #[error(
        "{width}x{height}x{} is no image: width and height must be 1 to {max}, channels 1 to 4 or a format's word, and the bytes addressable",
        channels_text(*channels), max = i32::MAX
    )]
    Shape {
        /// Pixels per row.
        width: i64,
        /// Rows.
        height: i64,
        /// The header's `channels` word: see [`Format::word`](crate::Format::word).
        channels: i32,
    },
    /// An image that does not fit where its header stands.
    #[error("a {shape} frame needs {} bytes of pixels, there is room for {room}", shape.bytes())]
    TooLarge {
        /// The image.
        shape: Shape,
        /// Bytes there are for pixels.
        room: usize,
    },
    /// A frame that this process has no memory to copy.
    #[error("no memory to copy a {shape} frame of {} bytes", shape.bytes())]
    NoMemory {
        /// The image.
        shape: Shape,
    },
    /// More of the sender's own bytes than a slot has room for.
    #[error("a frame with {got} bytes of its sender's own: there is room for {room}")]
    MetaTooLong {
        /// Bytes there are.
        got: usize,
        /// Bytes that there is room for.
        room: usize,
    },
    /// Pixels that are not as many as the shape says.
    #[error("a {shape} frame has {} bytes of pixels, not {got}", shape.bytes())]
    Length {
        /// The image.
        shape: Shape,
        /// Bytes given.
        got: usize,
    },
    /// A number of slots outside the layout, or a capacity beyond the address space.
    #[error(
        "{slots} slots of {capacity} bytes make no segment: slots are 1 to {MAX_SLOTS}, and their bytes addressable"
    )]
    Layout {
        /// Slots asked for.
        slots: usize,
        /// Bytes of pixels asked for in each.
        capacity: usize,
    },
    /// `/dev/shm` is too small or too full.
    #[error(
        "segment {name} needs {:.1} MB, /dev/shm has {:.1} MB free{}",
        mb(*needed), mb(*available), holders_text(holders)
    )]
    NoRoom {
        /// The segment.
        name: Name,
        /// Bytes it needs.
        needed: u64,
        /// Bytes there are.
        available: u64,
        /// Processes of this user that still map segments without a name, whose memory no list of
        /// files shows.
        holders: Vec<Holder>,
    },
    /// No segment has this name.
    #[error("there is no segment {name}")]
    NotFound {
        /// The segment.
        name: Name,
    },
    /// A file has this name that is no segment of this layout.
    #[error("{name} is no segment: {what}")]
    NotASegment {
        /// The name.
        name: Name,
        /// What it is instead.
        what: String,
    },
    /// What has this name is not even a regular file.
    #[error("{name} is no segment: it is {what}")]
    NotAFile {
        /// The name.
        name: Name,
        /// What it is instead.
        what: &'static str,
    },
    /// A segment with a control page of another version of the layout.
    #[error("segment {name} has version {found} of the layout, this program knows version {known}")]
    Version {
        /// The segment.
        name: Name,
        /// The version that it has.
        found: u32,
        /// The version that this library knows.
        known: u32,
    },
    /// The name is another user's, and its permissions do not let this process do what it wants.
    #[error("segment {name} belongs to {owner} and has mode {mode:04o}")]
    Denied {
        /// The segment.
        name: Name,
        /// The owner's user name and number.
        owner: String,
        /// Permission bits.
        mode: u32,
    },
    /// `/dev/shm` is mounted read-only.
    #[error("/dev/shm is read-only here: segment {name} cannot be made, replaced or removed")]
    ReadOnly {
        /// The segment.
        name: Name,
    },
    /// Another sender is alive and has this name.
    #[error("segment {name} has a live sender{}", by(*pid))]
    Live {
        /// The segment.
        name: Name,
        /// Its sender, if the control page says.
        pid: Option<u32>,
    },
    /// A sender without a control page is rewriting the segment.
    #[error("segment {name} is being rewritten by a sender without a control page")]
    PlainLive {
        /// The segment.
        name: Name,
    },
    /// The segment was truncated or overwritten by another process while a frame was written in it:
    /// the frame is lost. The next one finds a new segment.
    #[error(
        "segment {name} was truncated or overwritten by another process, and the frame that was being written is lost"
    )]
    Lost {
        /// The segment.
        name: Name,
    },
    /// The segment has ended: its receiver takes no more frames from it.
    #[error("segment {name} ended: {}", end_text(*end))]
    Ended {
        /// The segment.
        name: Name,
        /// How it ended.
        end: End,
    },
    /// The sender belongs to the process that this one was forked from.
    #[error("the sender of segment {name} belongs to the process that this one was forked from")]
    Forked {
        /// The segment.
        name: Name,
    },
    /// Another sender took this sender's name.
    #[error("segment {name} was taken over by another sender{}", by(*pid))]
    TakenOver {
        /// The segment.
        name: Name,
        /// The other sender, if the control page says.
        pid: Option<u32>,
    },
    /// Other processes kept changing what the name means.
    #[error("segment {name} is being changed by other processes: gave up after {}", tries_text(*tries))]
    Busy {
        /// The segment.
        name: Name,
        /// How often it was tried.
        tries: u32,
    },
    /// More mappings than the table of guarded mappings has room for.
    #[error("{max} mappings are in use in this process, which is the most it can guard")]
    TooManyMappings {
        /// The size of the table.
        max: usize,
    },
    /// A system call failed.
    #[error("{call} for segment {name}")]
    System {
        /// The system call.
        call: &'static str,
        /// The segment.
        name: Name,
        /// Its error.
        source: io::Error,
    },
}

/// A process that maps segments without a name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// Its command.
    pub command: String,
    /// Bytes of the segments.
    pub bytes: u64,
}

impl Holder {
    #[cfg(not(loom))]
    pub(crate) fn new(pid: u32, command: String, bytes: u64) -> Self {
        Self {
            pid,
            command,
            bytes,
        }
    }
}

fn holders_text(holders: &[Holder]) -> String {
    let text = |holder: &Holder| {
        let Holder {
            pid,
            command,
            bytes,
        } = holder;
        format!("{:.1} MB by {command:?}, pid {pid}", mb(*bytes))
    };
    match holders {
        [] => String::new(),
        holders => {
            let holders: Vec<_> = holders.iter().map(text).collect();
            format!(
                "; segments that were removed are still held: {}",
                holders.join(", ")
            )
        }
    }
}

fn tries_text(tries: u32) -> String {
    match tries {
        1 => "1 try".to_owned(),
        tries => format!("{tries} tries"),
    }
}

fn end_text(end: End) -> &'static str {
    match end {
        End::Closed => "its sender closed it",
        End::Dead => "its sender died",
        End::Replaced => "its name means another segment now, or none",
        End::Broken => "another process truncated or overwrote it",
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people, with one decimal")]
fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn channels_text(word: i32) -> String {
    Format::from_word(word).map_or_else(|| word.to_string(), |format| format.to_string())
}

fn by(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(", pid {pid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_try_is_singular() {
        for (tries, text) in [(1, "after 1 try"), (20, "after 20 tries")] {
            let name = Name::new("/cam").unwrap();
            let told = Error::Busy { name, tries }.to_string();
            assert!(told.ends_with(text), "{told}");
        }
    }
}
