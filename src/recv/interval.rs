//! `--interval`: rate and delay of each stretch of time.

use std::time::{Duration, Instant};

use anyhow::Result;
use shm_frame::{Frame, Name};

use crate::console::Console;
use crate::event::RecvLine;
use crate::recv::tally::Tally;
use crate::units::{Spread, mb, ms, rate, rounded};

/// Counts the frames of one stretch of time after the other.
#[derive(Debug)]
pub(super) struct Interval {
    length: Duration,
    begin: Instant,
    /// When the last frame before this stretch came, and the last of all: a rate is of the time
    /// from frame to frame.
    before: Option<Instant>,
    last: Option<Instant>,
    /// Frames that came when there was one before.
    periods: u64,
    frames: u64,
    bytes: u64,
    delays: Spread,
    /// The differences of one frame's delay and the next one's, in ns, and how many there are.
    differences: (u64, u64),
    last_delay: Option<i64>,
    /// What was skipped and torn before.
    told: (u64, u64),
}

impl Interval {
    pub(super) fn new(length: Duration) -> Self {
        Self {
            length,
            begin: Instant::now(),
            before: None,
            last: None,
            periods: 0,
            frames: 0,
            bytes: 0,
            delays: Spread::new(),
            differences: (0, 0),
            last_delay: None,
            told: (0, 0),
        }
    }

    pub(super) fn add(&mut self, frame: Frame) {
        self.frames += 1;
        self.bytes += frame.shape.bytes() as u64;
        if self.last.is_some() {
            self.periods += 1;
        }
        let now = Instant::now();
        self.before = self.before.or(Some(now));
        self.last = Some(now);
        if frame.found {
            return;
        }
        self.delays.add(frame.delay_ns);
        if let Some(last) = self.last_delay.replace(frame.delay_ns) {
            self.differences.0 += last.abs_diff(frame.delay_ns);
            self.differences.1 += 1;
        }
    }

    /// Tells of the stretch if it is over, and begins another.
    pub(super) fn tick(&mut self, name: &Name, tally: &Tally, console: &Console) -> Result<()> {
        let elapsed = self.begin.elapsed();
        if elapsed < self.length {
            return Ok(());
        }
        self.tell(elapsed, name, tally, console)?;
        // Late or not, the next one ends on time.
        let now = Instant::now();
        self.begin += self.length;
        if now > self.begin + self.length {
            self.begin = now;
        }
        self.before = self.last;
        (self.periods, self.frames, self.bytes) = (0, 0, 0);
        self.delays = Spread::new();
        self.differences = (0, 0);
        self.told = (tally.skipped, tally.torn);
        Ok(())
    }

    fn tell(&self, elapsed: Duration, name: &Name, tally: &Tally, console: &Console) -> Result<()> {
        let span = self.before.zip(self.last).map(|(from, to)| to - from);
        let span = span.unwrap_or_default().as_secs_f64();
        let fps = rate(self.periods, span);
        let per_frame = mb(self.bytes / self.frames.max(1));
        let (sum, count) = self.differences;
        let jitter_ms = (count > 0).then(|| ms(i64::try_from(sum / count).unwrap_or(i64::MAX)));
        let (skipped, torn) = (tally.skipped - self.told.0, tally.torn - self.told.1);
        let delay_ms = self.delays.quantiles();
        let event = RecvLine::Interval {
            name: name.to_string(),
            seconds: rounded(elapsed.as_secs_f64()),
            frames: self.frames,
            fps: rounded(fps),
            mb_per_s: rounded(fps * per_frame),
            skipped,
            torn,
            delay_ms,
            jitter_ms,
        };
        let delays = delay_ms.map_or(String::new(), |delay_ms| format!("  delay {delay_ms}"));
        let jitter = jitter_ms.map_or(String::new(), |ms| format!("  jitter {ms:.3} ms"));
        let text = format!(
            "{name}  {fps:.1} frames/s  {:.1} MB/s{delays}{jitter}  skipped {skipped}  torn {torn}",
            fps * per_frame
        );
        console.interval(&event, &text)
    }
}
