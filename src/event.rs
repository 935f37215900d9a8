//! Every line that the commands print with `--json`.
//!
//! `docs/json.md` tells users the same, and `tests/json.rs` compares it with what is printed.
//! Programs read these lines: fields may be added, but never removed or renamed.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use shm_frame::{Frame, Name, Order};

use crate::units::{Quantiles, ms, unix_ms};

/// A line of `shm-send --json`.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum SendLine {
    /// The segment is there, and the first frame follows.
    Sending {
        /// The segment's name, with its leading slash.
        name: String,
        /// Width of the first frame, in pixels.
        width: i32,
        /// Height of the first frame, in pixels.
        height: i32,
        /// Elements per pixel of the first frame: 1 gray, 3 BGR, 4 BGRA.
        channels: i32,
        /// Slots of the segment, 1 to 16.
        slots: u8,
        /// Size of the segment in `/dev/shm`, in bytes.
        segment_bytes: usize,
        /// What an element is: `u8`, `i8`, `u16`, `i16`, `i32`, `f32`, `f64` or `f16`.
        element: &'static str,
        /// Which colour comes first: `bgr` or `rgb`. `bgr` for 1 and 2 channels.
        order: &'static str,
    },
    /// A frame was published.
    Sent {
        /// The frame's number; a sender counts from 1.
        frame: u64,
        /// When the frame was begun: Unix time in ms, as in the frame's header.
        sent_ms: i64,
        /// From the loan of the slot to the publication, in ms.
        write_ms: f64,
    },
    /// The last line: all frames together.
    Summary {
        /// Frames that were published.
        frames: u64,
        /// From the start to the end, in s.
        seconds: f64,
        /// Published frames per second between the first and the last; 0 for fewer than two.
        fps: f64,
        /// Frames of the source that were late and left out.
        skipped: u64,
        /// How `write_ms` spreads, in ms; null without frames.
        write_ms: Option<Quantiles>,
    },
}

/// A line of `shm-recv --json`.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum RecvLine<'a> {
    /// `--serve` listens.
    Serving {
        /// What a browser opens, with the token if one is wanted.
        url: &'a str,
        /// The address that is listened on, with its port.
        address: String,
        /// What clients must know; null if only this machine is served.
        token: Option<&'a str>,
    },
    /// There is no segment with a live sender yet, or no longer.
    Waiting {
        /// The segment's name, with its leading slash.
        name: String,
        /// The reason for waiting, for people.
        why: &'a str,
    },
    /// Frames of a segment are received from now on.
    Attached {
        /// The segment's name, with its leading slash.
        name: String,
        /// The sender's process, in the sender's pid namespace; null without a control page.
        pid: Option<u32>,
        /// Slots of the segment; null without a control page.
        slots: Option<usize>,
    },
    /// The sender ended and said so.
    Closed {
        /// The segment's name, with its leading slash.
        name: String,
        /// The sender's process, in the sender's pid namespace.
        pid: Option<u32>,
    },
    /// The segment ended without a word of its sender.
    Lost {
        /// The segment's name, with its leading slash.
        name: String,
        /// The sender's process, in the sender's pid namespace; null without a control page.
        pid: Option<u32>,
        /// `died` (the sender), `replaced` (another segment has the name, or none) or `broken`
        /// (another process truncated or overwrote the segment).
        why: &'static str,
    },
    /// A frame was received.
    Frame {
        /// The segment's name, with its leading slash.
        name: String,
        /// The sender's number of the frame; without a control page the receiver's own, from 1.
        frame: u64,
        /// Pixels per row.
        width: i32,
        /// Rows.
        height: i32,
        /// Elements per pixel: 1 gray, 3 BGR, 4 BGRA.
        channels: i32,
        /// When the sender began the frame: Unix time in ms, as in the frame's header.
        sent_ms: i64,
        /// When this receiver had the frame: Unix time in ms.
        received_ms: i64,
        /// From the begin of the frame until this receiver had it, in ms, by the monotonic clock.
        /// Without a control page by the wall clock.
        delay_ms: f64,
        /// Frames published since the last one that was received; 0 without a control page.
        skipped: u64,
        /// `leased` (read in place), `leased-read-only` (the same, without permission to write the
        /// segment), `copied` (and known to be whole) or `plain` (copied from a
        /// segment without a control page: it may be torn).
        path: String,
        /// What an element is: `u8`, `i8`, `u16`, `i16`, `i32`, `f32`, `f64` or `f16`.
        element: &'static str,
        /// Which colour comes first: `bgr` or `rgb`. `bgr` for 1 and 2 channels.
        order: &'static str,
        /// The frame was there before this receiver came. Its delay is its age, and is in no
        /// statistic.
        found: bool,
        /// When the picture was taken: Unix time in ms; null if the sender does not know.
        captured_ms: Option<f64>,
        /// From then until this receiver had the frame, in ms, by the wall clock; null likewise.
        capture_age_ms: Option<f64>,
        /// The sender's own bytes: the value if they are JSON, else a string; null if there are
        /// none.
        meta: Option<&'a Value>,
    },
    /// Frames have a shape that `--width`, `--height` and `--channels` exclude; once per change.
    Mismatch {
        /// The segment's name, with its leading slash.
        name: String,
        /// The flags' values; null for a flag that was not given.
        expected: Dimensions<Option<i32>>,
        /// The shape of the frame that was passed over.
        got: Dimensions<i32>,
    },
    /// A frame could not be used and was thrown away; once per reason.
    Discarded {
        /// The segment's name, with its leading slash.
        name: String,
        /// The reason, for people.
        why: &'a str,
    },
    /// A stretch of time is over, with `--interval`, instead of a line for each frame.
    Interval {
        /// The segment's name, with its leading slash.
        name: String,
        /// How long it was, in s.
        seconds: f64,
        /// Frames that were received.
        frames: u64,
        /// Received frames per second, of the time from frame to frame; 0 for fewer than two.
        fps: f64,
        /// Pixels received per second, in MB (10^6 bytes).
        mb_per_s: f64,
        /// Frames that were published meanwhile and never seen here.
        skipped: u64,
        /// Copies that the sender overwrote meanwhile: noticed, and thrown away.
        torn: u64,
        /// How `delay_ms` spreads, in ms, without frames that were found; null without others.
        delay_ms: Option<Quantiles>,
        /// How much the delays of one frame and the next differ, on average, in ms; null for fewer
        /// than two.
        jitter_ms: Option<f64>,
    },
    /// The last line: all frames together; one for each stream.
    Summary {
        /// The segment's name, with its leading slash.
        name: String,
        /// Frames that were received.
        frames: u64,
        /// From the first frame to the last one, in s.
        seconds: f64,
        /// Received frames per second of that time; 0 for fewer than two.
        fps: f64,
        /// Frames that were published in between and never seen here.
        skipped: u64,
        /// Copies that the sender overwrote meanwhile: noticed, and thrown away.
        torn: u64,
        /// How `delay_ms` spreads, in ms, without frames that were found; null without others.
        delay_ms: Option<Quantiles>,
        /// Frames that were received and not shown, since drawing takes the newest; 0 without a
        /// view.
        undrawn: u64,
        /// For each of `save`, `record` and `raw`: frames that it dropped, since it was too slow.
        dropped: BTreeMap<&'static str, u64>,
    },
}

/// A line of `frames.jsonl`: a frame that `shm-recv --save` wrote. Its fields are those of
/// [`RecvLine::Frame`], and these:
#[derive(Debug, Serialize)]
pub(crate) struct SavedLine<'a> {
    /// The file's name, in the directory of `frames.jsonl`.
    file: &'a str,
    /// The segment's name, with its leading slash.
    name: String,
    frame: u64,
    width: i32,
    height: i32,
    channels: i32,
    element: &'static str,
    order: &'static str,
    sent_ms: i64,
    received_ms: i64,
    delay_ms: f64,
    found: bool,
    captured_ms: Option<f64>,
    meta: Option<&'a Value>,
}

impl<'a> SavedLine<'a> {
    pub(crate) fn new(
        file: &'a str,
        stream: &Name,
        frame: &Frame,
        meta: Option<&'a Value>,
    ) -> Self {
        let format = frame.shape.format();
        Self {
            file,
            name: stream.to_string(),
            frame: frame.number,
            width: frame.shape.width(),
            height: frame.shape.height(),
            channels: frame.shape.channels(),
            element: format.element().name(),
            order: order_name(format.order()),
            sent_ms: frame.sent_ms,
            received_ms: frame.received_ms,
            delay_ms: ms(frame.delay_ns),
            found: frame.found,
            captured_ms: frame.captured_ns.map(unix_ms),
            meta,
        }
    }
}

/// A line of `shm-recv --list --json`: one segment.
#[derive(Debug, Serialize)]
pub(crate) struct ListLine {
    /// The segment's name, with its leading slash.
    pub name: String,
    /// `native` (with a control page) or `plain` (a header and pixels).
    pub kind: &'static str,
    /// Width of the newest frame, in pixels; null without a frame.
    pub width: Option<i32>,
    /// Height of the newest frame, in pixels; null without a frame.
    pub height: Option<i32>,
    /// Elements per pixel of the newest frame; null without a frame.
    pub channels: Option<i32>,
    /// Slots of the segment; null if it is plain.
    pub slots: Option<usize>,
    /// Frames published per second, lately; null if unknown.
    pub fps: Option<f64>,
    /// Since the newest frame was begun, in ms; null without a frame.
    pub age_ms: Option<f64>,
    /// Whether the sender lives; null if the segment is plain.
    pub alive: Option<bool>,
    /// The sender's process, in the sender's pid namespace; null if the segment is plain.
    pub pid: Option<u32>,
    /// The command of that process; null if it cannot be seen.
    pub command: Option<String>,
    /// Receivers that can lease; null if the segment is plain. Receivers that only copy are unseen.
    pub receivers: Option<usize>,
    /// Size of the segment in `/dev/shm`, in bytes.
    pub bytes: u64,
    /// What an element of the newest frame is: `u8`, `u16`, `f32`, ...; null without a frame.
    pub element: Option<&'static str>,
    /// Which colour comes first in the newest frame: `bgr` or `rgb`; null without a frame.
    pub order: Option<&'static str>,
}

/// A line of `shm-send --camera list --json`: a mode of a camera.
#[derive(Debug, Serialize)]
pub(crate) struct CameraLine<'a> {
    /// The camera's device.
    pub device: &'a str,
    /// The name that its driver gives.
    pub name: &'a str,
    /// What it delivers, by V4L2's four letters: `YUYV`, `MJPG`, ...
    pub format: &'a str,
    /// Pixels per row, the most if there is a range.
    pub width: u32,
    /// Rows, the most if there is a range.
    pub height: u32,
    /// Frames per second, the most if there is a range; null if the driver does not tell.
    pub fps: Option<f64>,
    /// The least width of a range; null for a single size.
    pub min_width: Option<u32>,
    /// The least height of a range; null for a single size.
    pub min_height: Option<u32>,
    /// The lowest rate of a range; null for a single rate.
    pub min_fps: Option<f64>,
}

/// A line of `shm-recv --clean --json`: one segment whose sender is dead.
#[derive(Debug, Serialize)]
pub(crate) struct CleanLine {
    /// The segment's name, with its leading slash.
    pub name: String,
    /// Size of the segment in `/dev/shm`, in bytes.
    pub bytes: u64,
    /// Whether it was removed.
    pub removed: bool,
    /// Why it was not removed, for people; null if it was.
    pub error: Option<String>,
}

/// The sides of a frame and its elements per pixel.
#[derive(Debug, Serialize)]
pub(crate) struct Dimensions<T> {
    /// Pixels per row.
    pub width: T,
    /// Rows.
    pub height: T,
    /// Elements per pixel: 1 gray, 3 BGR, 4 BGRA.
    pub channels: T,
}

/// The order of colours, as JSON has it.
pub(crate) fn order_name(order: Order) -> &'static str {
    match order {
        Order::Bgr => "bgr",
        Order::Rgb => "rgb",
    }
}
