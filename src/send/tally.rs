//! Counts frames, and tells the sums at the end.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::console::Console;
use crate::event::SendLine;
use crate::units::{Pace, Spread, counted, ms, rate, rounded};

use crate::send::outlet::Written;

/// All frames that were sent.
pub(super) struct Tally {
    pub frames: u64,
    pub skipped: u64,
    start: Instant,
    /// When the first frame and the last one were sent.
    span: Option<(Instant, Instant)>,
    writing: Spread,
    /// How long writing the last frame took, in ns.
    pub last_ns: Option<i64>,
    pub pace: Pace,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            frames: 0,
            skipped: 0,
            start: Instant::now(),
            span: None,
            writing: Spread::new(),
            last_ns: None,
            pace: Pace::default(),
        }
    }

    /// Adds a frame that was published, and tells of it.
    pub(super) fn add(&mut self, written: &Written, console: &Console) -> Result<()> {
        let writing = nanoseconds(written.time);
        let now = Instant::now();
        self.span = Some((self.span.map_or(now, |(first, _)| first), now));
        self.frames = written.sent.number;
        self.writing.add(writing);
        self.last_ns = Some(writing);
        self.pace.add(now);
        let event = SendLine::Sent {
            frame: written.sent.number,
            sent_ms: written.sent.sent_ms,
            write_ms: ms(writing),
        };
        console.frame(&event, || None)
    }

    /// Tells the summary.
    pub(super) fn tell(&self, console: &Console) -> Result<()> {
        let seconds = self.start.elapsed().as_secs_f64();
        let span = self
            .span
            .map_or(Duration::ZERO, |(first, last)| last - first);
        // From the first frame to the last one there is one period less than there are frames.
        let fps = rate(self.frames.saturating_sub(1), span.as_secs_f64());
        let write_ms = self.writing.quantiles();
        let &Self {
            frames, skipped, ..
        } = self;
        let event = SendLine::Summary {
            frames,
            seconds: rounded(seconds),
            fps: rounded(fps),
            skipped,
            write_ms,
        };
        let late = match skipped {
            0 => String::new(),
            _ => format!(", {skipped} skipped"),
        };
        let writing = write_ms.map_or(String::new(), |write_ms| format!("; writing {write_ms}"));
        let frames = counted(frames, "frame");
        let text = format!("{frames} in {seconds:.2} s, {fps:.1} frames/s{late}{writing}");
        console.summary(&event, &text)
    }
}

fn nanoseconds(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}
