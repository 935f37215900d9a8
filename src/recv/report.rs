//! What is printed of the frames: a line for each, or one on a terminal that stays in place.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;
use shm_frame::Frame;

use crate::console::Output;
use crate::recv::status::Status;
use crate::recv::tally::Tally;
use crate::terminal::Screen;
use crate::units::ms;

/// How often the status line changes.
const PERIOD: Duration = Duration::from_millis(100);

/// A line of JSON.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event {
    Frame {
        frame: u64,
        width: i32,
        height: i32,
        channels: i32,
        sent_ms: i64,
        received_ms: i64,
        delay_ms: f64,
        skipped: u64,
        path: String,
    },
}

pub(crate) enum Report<'a> {
    Lines(Output<'a>),
    Status {
        screen: &'a Screen,
        last: Option<Frame>,
        due: Instant,
    },
}

impl<'a> Report<'a> {
    pub(crate) fn status(screen: &'a Screen) -> Self {
        Self::Status {
            screen,
            last: None,
            due: Instant::now(),
        }
    }

    pub(crate) fn frame(&mut self, frame: Frame) -> Result<()> {
        match self {
            Self::Lines(output) => line(*output, frame),
            Self::Status { last, .. } => {
                *last = Some(frame);
                Ok(())
            }
        }
    }

    /// To be called often, whether or not there are frames.
    pub(crate) fn tick(&mut self, tally: &Tally) {
        if let Self::Status { screen, last, due } = self
            && let Some(frame) = *last
            && Instant::now() >= *due
        {
            *due = Instant::now() + PERIOD;
            screen.status(Status::new(frame, tally));
        }
    }
}

fn line(output: Output, frame: Frame) -> Result<()> {
    let event = Event::Frame {
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
    output.frame(&event, || {
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
