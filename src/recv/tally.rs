//! Counts frames, and tells the sums at the end.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::Result;
use shm_frame::{Frame, Name};

use crate::console::Console;
use crate::event::RecvLine;
use crate::recv::histogram;
use crate::units::{Pace, Spread, counted, rate, rounded};

/// All frames that were received.
#[derive(Debug)]
pub(super) struct Tally {
    pub frames: u64,
    pub skipped: u64,
    pub torn: u64,
    /// When the first frame and the last one came.
    span: Option<(Instant, Instant)>,
    /// Of frames that were published while this receiver was there.
    pub delays: Spread,
    pub pace: Pace,
    /// Frames that a view never drew.
    pub undrawn: u64,
    /// Frames that sinks dropped, by their flag.
    pub dropped: BTreeMap<&'static str, u64>,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            frames: 0,
            skipped: 0,
            torn: 0,
            span: None,
            delays: Spread::new(),
            pace: Pace::default(),
            undrawn: 0,
            dropped: BTreeMap::new(),
        }
    }

    pub(super) fn add(&mut self, frame: Frame) {
        let now = Instant::now();
        self.span = Some((self.span.map_or(now, |(first, _)| first), now));
        self.frames += 1;
        self.skipped += frame.skipped;
        if !frame.found {
            self.delays.add(frame.delay_ns);
        }
        self.pace.add(now);
    }

    /// Tells the summary, and for people how the delays spread.
    /// Of several streams each is told with its name.
    pub(super) fn tell(&self, name: &Name, several: bool, console: &Console) -> Result<()> {
        self.summary(name, several, console)?;
        let histogram = histogram::text(&self.delays.times);
        if console.is_verbose_text() && !histogram.is_empty() {
            console.result(&histogram)?;
        }
        Ok(())
    }

    fn summary(&self, name: &Name, several: bool, console: &Console) -> Result<()> {
        let seconds = self
            .span
            .map_or(0.0, |(first, last)| (last - first).as_secs_f64());
        // From the first frame to the last one there is one period less than there are frames.
        let fps = rate(self.frames.saturating_sub(1), seconds);
        let &Self {
            frames,
            skipped,
            torn,
            ..
        } = self;
        let delay_ms = self.delays.quantiles();
        let event = RecvLine::Summary {
            name: name.to_string(),
            frames,
            seconds: rounded(seconds),
            fps: rounded(fps),
            skipped,
            torn,
            delay_ms,
            undrawn: self.undrawn,
            dropped: self.dropped.clone(),
        };
        let undrawn = match self.undrawn {
            0 => String::new(),
            undrawn => format!(", {undrawn} not drawn"),
        };
        let dropped: Vec<_> = self
            .dropped
            .iter()
            .filter(|&(_, &dropped)| dropped > 0)
            .map(|(sink, dropped)| format!(", {dropped} dropped by --{sink}"))
            .collect();
        let dropped = dropped.concat();
        let delays = delay_ms.map_or(String::new(), |delay_ms| format!("; delay {delay_ms}"));
        let frames = counted(frames, "frame");
        let named = if several {
            format!("{name}: ")
        } else {
            String::new()
        };
        let text = format!(
            "{named}{frames} in {seconds:.2} s, {fps:.1} frames/s, {skipped} skipped, {torn} torn{undrawn}{dropped}{delays}"
        );
        console.summary(&event, &text)
    }
}
