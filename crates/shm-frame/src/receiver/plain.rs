//! Frames of senders that know only the header: copied, and never proven to be whole.

use std::thread;
use std::time::{Duration, Instant};

use super::attached::Attached;
use super::frame::{Frame, Via};
use super::{COPIES, Seen};
use crate::clock::unix_ns;
use crate::protocol::header::FrameHeader;
use crate::protocol::sync::{Ordering, fence};
use crate::segment::mapping::Target;
use crate::{Error, Shape};

/// How long to watch such a segment for a whole frame before each copy.
const PLAIN_WATCH: Duration = Duration::from_micros(100);
/// How long such a segment may have new frames and none that is whole before a still picture is
/// looked for.
pub(super) const PLAIN_STARVING: Duration = Duration::from_millis(50);
/// How long to wait there for the next frame to be begun: no longer than such a sender takes for
/// one.
const PLAIN_NEXT: Duration = Duration::from_millis(20);

/// Copies the latest frame of a segment without a control page over what is in `pixels`.
pub(super) fn copy_plain(
    attached: &Attached,
    seen: &mut Seen,
    torn: &mut u64,
    pixels: &mut Target<'_>,
) -> Result<Option<Frame>, Error> {
    let Some((header, shape)) = copy_between_writes(attached, seen, torn, pixels)
        .or_else(|| copy_still_picture(attached, seen, torn, pixels))
    else {
        return Ok(None);
    };
    if !attached.segment().intact() {
        return Ok(None);
    }
    if matches!(shape, Err(Error::Length { .. })) {
        // Not taken: the caller comes again with room for it.
        return Err(shape.expect_err("it is an error"));
    }
    seen.stamp = Some(header.timestamp_ms);
    seen.taken_at = Some(Instant::now());
    let number = seen.frame + 1;
    seen.take(number);
    Ok(Some(Frame {
        number,
        session: 0,
        shape: shape?,
        sent_ms: header.timestamp_ms,
        received_ms: unix_ns().div_euclid(1_000_000),
        begun_ns: 0,
        published_ns: 0,
        captured_ns: None,
        delay_ns: age_ns(header),
        found: header.timestamp_ms < attached.came_ms,
        skipped: 0,
        via: Via::Plain,
    }))
}

/// A frame, and what its header claims.
type Copied = (FrameHeader, Result<Shape, Error>);

/// Copies a frame whose header says, before and after, that it is whole. Between the two looks the
/// sender may have written any number of frames within one ms.
fn copy_between_writes(
    attached: &Attached,
    seen: &Seen,
    torn: &mut u64,
    pixels: &mut Target<'_>,
) -> Option<Copied> {
    let slots = &attached.segment().slots;
    let end = Instant::now() + PLAIN_WATCH;
    for _ in 0..COPIES {
        let mut header = slots.header(0);
        while !(seen.is_news(header) && header.frame_valid == 1) {
            if Instant::now() > end {
                return None;
            }
            std::hint::spin_loop();
            header = slots.header(0);
        }
        let shape = attached.copy(0, header, pixels);
        // The reads of the copy must not move below.
        fence(Ordering::Acquire);
        if slots.header(0) == header {
            return Some((header, shape));
        }
        *torn += 1;
    }
    None
}

/// Copies a still picture from a sender that begins the next frame as soon as one is whole, so that
/// no time is left in between to copy one: whatever is the same in two copies, with a new frame
/// begun in between, is what the sender writes again and again. A moving picture from such a sender
/// is torn, and thrown away.
fn copy_still_picture(
    attached: &Attached,
    seen: &Seen,
    torn: &mut u64,
    pixels: &mut Target<'_>,
) -> Option<Copied> {
    if seen
        .taken_at
        .is_some_and(|taken_at| taken_at.elapsed() < PLAIN_STARVING)
    {
        return None;
    }
    let slots = &attached.segment().slots;
    let first = slots.header(0);
    let shape = attached.copy(0, first, pixels).ok()?;
    fence(Ordering::Acquire);
    let end = Instant::now() + PLAIN_NEXT;
    let mut second = slots.header(0);
    while second.timestamp_ms == first.timestamp_ms {
        if Instant::now() > end {
            // It stands still in the middle of a frame.
            return None;
        }
        thread::sleep(PLAIN_WATCH);
        second = slots.header(0);
    }
    let mut again = Vec::new();
    if attached.shape(second).ok()? == shape {
        slots.copy(0, shape, &mut Target::vec(&mut again)).ok()?;
        fence(Ordering::Acquire);
    }
    if again == pixels.bytes() && attached.shape(slots.header(0)).ok()? == shape {
        return Some((second, Ok(shape)));
    }
    *torn += 1;
    None
}

impl Seen {
    /// Whether a header without a control page is that of a frame that was not taken yet, whole or
    /// not.
    pub(super) fn is_news(&self, header: FrameHeader) -> bool {
        header != FrameHeader::default() && self.stamp != Some(header.timestamp_ms)
    }
}

/// By the wall clock, from the header's time stamp until now.
pub(super) fn age_ns(header: FrameHeader) -> i64 {
    unix_ns().saturating_sub(header.timestamp_ms.saturating_mul(1_000_000))
}
