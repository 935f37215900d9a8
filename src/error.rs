use std::io;

use crate::{Name, Shape};

/// What can go wrong. Messages are for people: what is wrong, with the numbers, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name that `shm_open(3)` would refuse.
    #[error("segment name {name:?} {why}: use /NAME, 1 to 255 bytes without another slash")]
    Name {
        /// What was asked for.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Dimensions that are no image.
    #[error(
        "{width}x{height}x{channels} is no image: width and height must be 1 to {max}, channels 1, 3 or 4, and the bytes must be addressable",
        max = i32::MAX
    )]
    Shape {
        /// Rows.
        height: i64,
        /// Pixels per row.
        width: i64,
        /// Bytes per pixel.
        channels: i64,
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
    #[error("no memory to copy a {shape} frame of {} bytes: expect a smaller one, or lease it", shape.bytes())]
    NoMemory {
        /// The image.
        shape: Shape,
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
        "{slots} slots of {capacity} bytes make no segment: there must be 1 to 16, and their bytes addressable"
    )]
    Layout {
        /// Slots asked for.
        slots: usize,
        /// Bytes of pixels asked for in each.
        capacity: usize,
    },
    /// `/dev/shm` is too small or too full.
    #[error(
        "segment {name} needs {:.1} MB, /dev/shm has {:.1} MB free: free some, or start the container with --shm-size={}m",
        mb(*needed), mb(*available), roomy_mb(*needed)
    )]
    NoRoom {
        /// The segment.
        name: Name,
        /// Bytes it needs.
        needed: u64,
        /// Bytes there are.
        available: u64,
    },
    /// No segment has this name.
    #[error("there is no segment {name}: start its sender")]
    NotFound {
        /// The segment.
        name: Name,
    },
    /// What has this name is no segment of this layout.
    #[error("{name} is no segment: {what}")]
    NotASegment {
        /// The segment.
        name: Name,
        /// What it is instead.
        what: String,
    },
    /// The name is somebody else's.
    #[error("segment {name} belongs to {owner} and has mode {mode:04o}: {remedy}")]
    Denied {
        /// The segment.
        name: Name,
        /// The owner's user name and number.
        owner: String,
        /// Permission bits.
        mode: u32,
        /// What would help.
        remedy: &'static str,
    },
    /// Another sender is alive and has this name.
    #[error(
        "segment {name} has a live sender{}: stop it, use another --name, or take over with --replace",
        by(*pid)
    )]
    Live {
        /// The segment.
        name: Name,
        /// Its sender, if the control page says.
        pid: Option<u32>,
    },
    /// A sender without a control page is rewriting the segment.
    #[error(
        "segment {name} is being rewritten by a sender without a control page: stop it, use another --name, or take over with --replace"
    )]
    PlainLive {
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
    /// Others kept changing what the name means.
    #[error(
        "segment {name} is being changed by other processes: gave up after {tries} tries, try again"
    )]
    Busy {
        /// The segment.
        name: Name,
        /// How often it was tried.
        tries: u32,
    },
    /// More mappings than the table of guarded mappings has room for.
    #[error("{max} mappings are in use in this process: drop some senders or receivers")]
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

#[expect(clippy::cast_precision_loss, reason = "for people, with one decimal")]
fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// A size for `--shm-size`, in MiB: the segment twice, since the next one is made before the last one goes.
fn roomy_mb(bytes: u64) -> u64 {
    bytes
        .saturating_mul(2)
        .div_ceil(1 << 20)
        .next_multiple_of(16)
}

fn by(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(", pid {pid}"))
}
