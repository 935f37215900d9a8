//! What is printed about frames: a line each, or a status line that stays in place.

use std::time::{Duration, Instant};

use anyhow::Result;
use shm_frame::Frame;

use crate::console::Console;
use crate::event::{self, RecvLine};
use crate::recv::tally::Tally;
use crate::recv::{stage, status, taken};
use crate::units::ms;

/// How often the status line changes.
const PERIOD: Duration = Duration::from_millis(100);

/// Reports frames to the console.
pub(super) struct Report {
    console: Console,
    /// For a status line: the last frame, and when the line is due to change.
    status: Option<(Option<Frame>, Instant)>,
}

impl Report {
    pub(super) fn new(console: Console) -> Self {
        Self {
            status: console.has_status_line().then(|| (None, Instant::now())),
            console,
        }
    }

    /// Reports a frame with the bytes that its sender added.
    pub(super) fn frame(&mut self, frame: Frame, meta: &[u8]) -> Result<()> {
        match &mut self.status {
            Some((last, _)) => {
                *last = Some(frame);
                Ok(())
            }
            None => self.line(frame, meta),
        }
    }

    /// Says in the status line that no frame came for so long.
    pub(super) fn stale(&mut self, since: Duration, why: &str) {
        if let Some((last, due)) = &mut self.status
            && let Some(text) = stage::stale(since, why)
            && Instant::now() >= *due
        {
            *due = Instant::now() + PERIOD;
            *last = None;
            self.console.status(status::stale(text));
        }
    }

    /// Brings the status line up to date. To be called often, with or without new frames.
    pub(super) fn tick(&mut self, tally: &Tally) {
        if let Some((Some(frame), due)) = &mut self.status
            && Instant::now() >= *due
        {
            *due = Instant::now() + PERIOD;
            self.console.status(status::line(*frame, tally));
        }
    }

    fn line(&self, frame: Frame, meta: &[u8]) -> Result<()> {
        let meta = taken::json_of(meta);
        let captured_ms = frame.captured_ns.map(captured_ms);
        let capture_age_ms = frame.captured_ns.map(|captured| {
            let received_ns = frame.received_ms.saturating_mul(1_000_000);
            ms(received_ns.saturating_sub_unsigned(captured))
        });
        let event = RecvLine::Frame {
            frame: frame.number,
            width: frame.shape.width(),
            height: frame.shape.height(),
            channels: frame.shape.channels(),
            sent_ms: frame.sent_ms,
            received_ms: frame.received_ms,
            delay_ms: ms(frame.delay_ns),
            skipped: frame.skipped,
            path: frame.via.to_string(),
            element: frame.shape.format().element().name(),
            order: event::order_name(frame.shape.format().order()),
            found: frame.found,
            captured_ms,
            capture_age_ms,
            meta: meta.as_ref(),
        };
        self.console.frame(&event, || {
            let delay = if frame.found { "age" } else { "delay" };
            let captured = capture_age_ms.map(|age| format!("  captured {age:.3} ms ago"));
            Some(format!(
                "frame {}  {}  sent {}  {delay} {:.3} ms  skipped {}  {}{}",
                frame.number,
                frame.shape,
                time_of_day(frame.sent_ms),
                ms(frame.delay_ns),
                frame.skipped,
                frame.via,
                captured.unwrap_or_default()
            ))
        })
    }
}

/// Unix time in ms, of a time in ns.
#[expect(clippy::cast_precision_loss, reason = "to the microsecond until 2255")]
fn captured_ms(ns: u64) -> f64 {
    (ns / 1000) as f64 / 1000.0
}

/// The time of day in UTC.
fn time_of_day(unix_ms: i64) -> String {
    let ms = unix_ms.rem_euclid(86_400_000);
    let (seconds, ms) = (ms / 1000, ms % 1000);
    format!(
        "{:02}:{:02}:{:02}.{ms:03}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}
