//! What is printed about frames: a line each, or a status line that stays in place.

use std::time::{Duration, Instant};

use anyhow::Result;
use shm_frame::Frame;

use crate::console::Console;
use crate::event::RecvLine;
use crate::recv::status;
use crate::recv::tally::Tally;
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

    pub(super) fn frame(&mut self, frame: Frame) -> Result<()> {
        match &mut self.status {
            Some((last, _)) => {
                *last = Some(frame);
                Ok(())
            }
            None => self.line(frame),
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

    fn line(&self, frame: Frame) -> Result<()> {
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
        };
        self.console.frame(&event, || {
            Some(format!(
                "frame {}  {}  sent {}  delay {:.3} ms  skipped {}",
                frame.number,
                frame.shape,
                time_of_day(frame.sent_ms),
                ms(frame.delay_ns),
                frame.skipped
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
