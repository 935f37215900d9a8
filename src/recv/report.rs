//! What is printed about frames: a line each, or a status line that stays in place.

use std::time::{Duration, Instant};

use anyhow::Result;
use shm_frame::{Frame, Name};

use crate::console::Console;
use crate::event::{self, RecvLine};
use crate::recv::interval::Interval;
use crate::recv::tally::Tally;
use crate::recv::{Stream, stage, status, taken};
use crate::units::{ms, unix_ms};

/// How often the status line changes.
const PERIOD: Duration = Duration::from_millis(100);

/// Reports the frames of a stream to the console.
pub(super) struct Report {
    console: Console,
    name: Name,
    /// The stream's name, if there are others to be told from.
    label: Option<String>,
    /// Which of the status lines is this stream's.
    number: usize,
    interval: Option<Interval>,
    /// For a status line: the last frame, and when the line is due to change.
    status: Option<(Option<Frame>, Instant)>,
}

impl Report {
    pub(super) fn new(stream: &Stream, interval: Option<Duration>, console: Console) -> Self {
        Self {
            status: console.has_status_line().then(|| (None, Instant::now())),
            console,
            name: stream.name.clone(),
            label: stream.label(),
            number: stream.number,
            interval: interval.map(Interval::new),
        }
    }

    /// Reports a frame with the bytes that its sender added.
    pub(super) fn frame(&mut self, frame: Frame, meta: &[u8]) -> Result<()> {
        if let Some((last, _)) = &mut self.status {
            *last = Some(frame);
        } else if let Some(interval) = &mut self.interval {
            interval.add(frame);
        } else {
            self.line(frame, meta)?;
        }
        Ok(())
    }

    /// Says in the status line that no frame came for so long.
    pub(super) fn stale(&mut self, since: Duration, why: &str) {
        if let Some((last, due)) = &mut self.status
            && let Some(text) = stage::stale(since, why)
            && Instant::now() >= *due
        {
            *due = Instant::now() + PERIOD;
            *last = None;
            let line = status::stale(self.label.as_deref(), text);
            self.console.status(self.number, line);
        }
    }

    /// Brings the status line up to date, and tells of an interval that is over. To be called
    /// often, with or without new frames.
    pub(super) fn tick(&mut self, tally: &Tally) -> Result<()> {
        if let Some(interval) = &mut self.interval {
            interval.tick(&self.name, tally, &self.console)?;
        }
        if let Some((Some(frame), due)) = &mut self.status
            && Instant::now() >= *due
        {
            *due = Instant::now() + PERIOD;
            let line = status::line(self.label.as_deref(), *frame, tally);
            self.console.status(self.number, line);
        }
        Ok(())
    }

    fn line(&self, frame: Frame, meta: &[u8]) -> Result<()> {
        let meta = taken::json_of(meta);
        let captured_ms = frame.captured_ns.map(unix_ms);
        let capture_age_ms = frame.captured_ns.map(|captured| {
            let received_ns = frame.received_ms.saturating_mul(1_000_000);
            ms(received_ns.saturating_sub_unsigned(captured))
        });
        let event = RecvLine::Frame {
            name: self.name.to_string(),
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
            let label = self.label.as_deref();
            let label = label.map(|name| format!("{name}  ")).unwrap_or_default();
            let captured = capture_age_ms.map(|age| format!("  captured {age:.3} ms ago"));
            Some(format!(
                "{label}frame {}  {}  sent {}  {delay} {:.3} ms  skipped {}  {}{}",
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
