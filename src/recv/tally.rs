//! What is counted, and told at the end.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;
use shm_frame::Frame;

use crate::console::Output;
use crate::units::{Quantiles, Spread, rate, rounded};

/// A line of JSON.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event {
    Summary {
        frames: u64,
        seconds: f64,
        fps: f64,
        skipped: u64,
        torn: u64,
        delay_ms: Option<Quantiles>,
    },
}

/// What is told at the end.
#[derive(Debug)]
pub(crate) struct Tally {
    pub frames: u64,
    pub skipped: u64,
    pub torn: u64,
    /// When the first frame and the last one came.
    span: Option<(Instant, Instant)>,
    pub delays: Spread,
    pub pace: Pace,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            frames: 0,
            skipped: 0,
            torn: 0,
            span: None,
            delays: Spread::new(),
            pace: Pace::default(),
        }
    }

    pub(crate) fn add(&mut self, frame: Frame) {
        let now = Instant::now();
        self.span = Some((self.span.map_or(now, |(first, _)| first), now));
        self.frames += 1;
        self.skipped += frame.skipped;
        self.delays.add(frame.delay_ns);
        self.pace.add(now);
    }

    pub(crate) fn summary(&self, output: Output) -> Result<()> {
        let seconds = self
            .span
            .map_or(0.0, |(first, last)| (last - first).as_secs_f64());
        // Between the first frame and the last one there is one period less than frames.
        let fps = rate(self.frames.saturating_sub(1), seconds);
        let &Self {
            frames,
            skipped,
            torn,
            ..
        } = self;
        let delay_ms = self.delays.quantiles();
        let event = Event::Summary {
            frames,
            seconds: rounded(seconds),
            fps: rounded(fps),
            skipped,
            torn,
            delay_ms,
        };
        let delays = delay_ms.map_or(String::new(), |delay_ms| format!("; delay {delay_ms}"));
        let text = format!(
            "{frames} frames in {seconds:.2} s, {fps:.1} frames/s, {skipped} skipped, {torn} torn{delays}"
        );
        output.summary(&event, &text)
    }
}

/// Frames in a second, of late.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// Since when frames are counted, and how many came after that.
    counted: Option<(Instant, u64)>,
    /// What the last count came to.
    fps: Option<f64>,
}

impl Pace {
    /// How long to count.
    const SPAN: Duration = Duration::from_millis(500);

    fn add(&mut self, now: Instant) {
        let (since, frames) = self.counted.map_or((now, 0), |(since, n)| (since, n + 1));
        let elapsed = now - since;
        self.counted = if elapsed < Self::SPAN {
            Some((since, frames))
        } else {
            self.fps = Some(rate(frames, elapsed.as_secs_f64()));
            Some((now, 0))
        };
    }

    pub(crate) fn fps(&self) -> f64 {
        let Some((since, frames)) = self.counted else {
            return 0.0;
        };
        let elapsed = since.elapsed();
        match self.fps {
            Some(fps) if elapsed < 2 * Self::SPAN => fps,
            // The first count, or a long pause.
            _ => rate(frames, elapsed.as_secs_f64()),
        }
    }
}
