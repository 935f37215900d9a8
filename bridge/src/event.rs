//! Every line that `shm-bridge` prints with `--json`. `README.md` tells users the same, and a test
//! compares the two. Programs read these lines: fields may be added, but never removed or renamed.

use serde::Serialize;
use shm_frame::{Order, Shape};

use crate::units::Quantiles;

/// A line of `shm-bridge put --json`.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum PutLine<'a> {
    /// There is no segment with a live sender yet, or no longer.
    Waiting {
        /// The segment's name, with its leading slash.
        name: &'a str,
        /// The reason for waiting, for people.
        why: &'a str,
    },
    /// The segment's frames can be subscribed to from now on.
    Putting {
        /// Where they are published.
        key: &'a str,
        /// The segment's name, with its leading slash.
        name: &'a str,
        #[serde(flatten)]
        kind: Kind,
        /// Frames per second, by the first few; null with fewer than two.
        fps: Option<f64>,
        /// Bytes of a frame on the wire, by the first one.
        bytes: usize,
        /// What the stream needs, in bits/s; null without `fps`.
        needs: Option<u64>,
        /// The quality of the JPEGs; null for raw pixels.
        jpeg: Option<u8>,
        /// How long a frame may wait for its link until it is given up, in ms.
        wait_ms: f64,
    },
    /// Somebody subscribes, or nobody any longer.
    Wanted {
        /// Where the frames are published.
        key: &'a str,
        /// Whether somebody subscribes.
        wanted: bool,
    },
    /// A frame was handed to zenoh.
    Put {
        /// The sender's number of the frame.
        frame: u64,
        /// Counts the frames that were handed to zenoh, from 1.
        serial: u64,
        /// Bytes on the wire, without the attachment.
        bytes: usize,
        /// Frames that were published in the segment since the last one that was taken.
        skipped: u64,
        /// Until zenoh had it in its queue or gave it up, in ms.
        put_ms: f64,
    },
    /// The link carries less than the stream needs.
    Slow {
        /// What the stream needs, in bits/s.
        needs: u64,
        /// What the link carries, in bits/s.
        carries: u64,
    },
    /// A frame could not be sent; once per reason.
    Discarded {
        /// The reason, for people.
        why: &'a str,
    },
    /// The sender of the segment ended, and so the far one's segment does.
    Ended {
        /// The segment's name, with its leading slash.
        name: &'a str,
        /// `closed`, `dead`, `replaced` or `broken`.
        why: String,
    },
    /// Every five seconds.
    State(PutState),
    /// The last line: all frames together.
    Summary {
        #[serde(flatten)]
        state: PutState,
        /// How `put_ms` spreads, in ms; null without frames.
        put_ms: Option<Quantiles>,
    },
}

/// What `put` counts.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct PutState {
    /// Frames that were handed to zenoh.
    pub asked: u64,
    /// Frames that arrived, at all receivers together, as they report it each second.
    pub arrived: u64,
    /// Frames that did not, likewise.
    pub lost: u64,
    /// Receivers that reported lately.
    pub receivers: usize,
    /// Frames that were published in the segment in between, and not taken.
    pub skipped: u64,
    /// Frames that could not be sent.
    pub discarded: u64,
    /// Bytes that were handed to zenoh.
    pub bytes: u64,
    /// Frames per second, lately.
    pub fps: f64,
}

/// A line of `shm-bridge get --json`.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum GetLine<'a> {
    /// Nobody puts frames under the key yet, or there is no link.
    Waiting {
        /// Where the frames are published.
        key: &'a str,
        /// The reason for waiting, for people.
        why: &'a str,
    },
    /// The other end is there, and its frames are taken from now on.
    Getting {
        /// Where the frames are published.
        key: &'a str,
        /// The segment's name, with its leading slash.
        name: &'a str,
        #[serde(flatten)]
        clock: ClockState,
        /// What the stream needs, in bits/s; null if the other end does not know.
        needs: Option<u64>,
        /// What the link carries at least, in bits/s; null if it was not measured.
        carries: Option<u64>,
    },
    /// The link carries less than the stream needs.
    Slow {
        /// What the stream needs, in bits/s.
        needs: u64,
        /// What the link carries, in bits/s.
        carries: u64,
    },
    /// A frame is in the segment of this machine.
    Got {
        /// The sender's number of the frame.
        frame: u64,
        /// Its number in the segment of this machine.
        number: u64,
        /// The count of the other end's bridge: a gap is a frame that was lost.
        serial: u64,
        #[serde(flatten)]
        kind: Kind,
        /// Bytes on the wire, without the attachment.
        bytes: usize,
        /// From before the sender wrote the first byte until the frame was in the segment here, in
        /// ms, by the two machines' monotonic clocks.
        delay_ms: f64,
        /// `delay_ms` is known to this, either way, in ms.
        bound_ms: f64,
        /// Whether it was published before this end subscribed: then `delay_ms` is its age, and is
        /// in no statistic.
        found: bool,
    },
    /// A frame could not be used and was thrown away; once per reason.
    Discarded {
        /// The reason, for people.
        why: &'a str,
    },
    /// The other end's sender ended, or the link to it did. The segment here has ended, too.
    Gone {
        /// Where the frames were published.
        key: &'a str,
        /// `ended` (the sender) or `link` (to the other end, which may have ended itself).
        why: &'static str,
    },
    /// Every five seconds.
    State(GetState),
    /// The last line: all frames together.
    Summary {
        #[serde(flatten)]
        state: GetState,
        /// How `delay_ms` spreads, in ms; null without frames.
        delay_ms: Option<Quantiles>,
    },
}

/// What `get` counts.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct GetState {
    /// Frames that the other end handed to zenoh while this end subscribed.
    pub asked: u64,
    /// Frames of these that arrived.
    pub arrived: u64,
    /// Frames of these that did not.
    pub lost: u64,
    /// Frames that arrived, and that a newer one overtook before they were in the segment.
    pub overtaken: u64,
    /// Frames that could not be used.
    pub discarded: u64,
    /// Frames per second in the segment, lately.
    pub fps: f64,
    #[serde(flatten)]
    pub clock: Option<ClockState>,
}

/// What is known of the other machine's clocks.
#[derive(Clone, Copy, Debug, Serialize)]
#[expect(
    clippy::struct_field_names,
    reason = "the unit is part of the name in JSON"
)]
pub(crate) struct ClockState {
    /// How far its wall clock is ahead of this one's, in ms.
    pub clock_ms: f64,
    /// How well that, and every delay, is known, either way, in ms.
    pub bound_ms: f64,
    /// The round trip that this comes from, in ms.
    pub round_trip_ms: f64,
}

/// What frames are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Kind {
    /// Pixels per row.
    pub width: i32,
    /// Rows.
    pub height: i32,
    /// Elements per pixel: 1 gray, 3 BGR, 4 BGRA.
    pub channels: i32,
    /// What an element is: `u8`, `i8`, `u16`, `i16`, `i32`, `f32`, `f64` or `f16`.
    pub element: &'static str,
    /// Which colour comes first: `bgr` or `rgb`. `bgr` for 1 and 2 channels.
    pub order: &'static str,
}

impl From<Shape> for Kind {
    fn from(shape: Shape) -> Self {
        Self {
            width: shape.width(),
            height: shape.height(),
            channels: shape.channels(),
            element: shape.format().element().name(),
            order: match shape.format().order() {
                Order::Bgr => "bgr",
                Order::Rgb => "rgb",
            },
        }
    }
}
