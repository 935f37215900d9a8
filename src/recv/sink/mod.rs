//! Where frames go, besides being shown and counted.
//!
//! A new sink is a file with an `open`, and a line in [`SINKS`].

mod plot;
mod raw;
mod record;
pub(super) mod save;

use anyhow::Result;
use shm_frame::Frame;

use crate::console::Console;
use crate::recv::args::Args;
use crate::recv::tally::Tally;

/// Takes every frame that is received.
pub(super) trait Sink {
    /// Whether the sink reads pixels. If no sink does and nothing is shown, they are not copied.
    fn wants_pixels(&self) -> bool {
        true
    }

    /// Takes a frame. The pixels may be an older frame's if the sink
    /// [does not want them](Self::wants_pixels).
    fn take(&mut self, frame: Frame, pixels: &[u8], console: &Console) -> Result<()>;

    /// Completes the output after the last frame.
    fn finish(&mut self, _tally: &Tally, _console: &Console) -> Result<()> {
        Ok(())
    }
}

/// A sink, if its flag is given.
type Open = fn(&Args) -> Result<Option<Box<dyn Sink>>>;

/// All sinks, in the order in which they are opened and take a frame.
const SINKS: [Open; 4] = [raw::open, record::open, save::open, plot::open];

/// The sinks of one run.
pub(super) struct Sinks(Vec<Box<dyn Sink>>);

/// Opens the sinks that the flags ask for.
pub(super) fn open(args: &Args) -> Result<Sinks> {
    let mut sinks = Vec::new();
    for open in SINKS {
        sinks.extend(open(args)?);
    }
    Ok(Sinks(sinks))
}

impl Sinks {
    pub(super) fn want_pixels(&self) -> bool {
        self.0.iter().any(|sink| sink.wants_pixels())
    }

    pub(super) fn take(&mut self, frame: Frame, pixels: &[u8], console: &Console) -> Result<()> {
        self.0
            .iter_mut()
            .try_for_each(|sink| sink.take(frame, pixels, console))
    }

    /// Finishes all sinks. If several fail, returns the first error.
    pub(super) fn finish(&mut self, tally: &Tally, console: &Console) -> Result<()> {
        let mut first = Ok(());
        for sink in &mut self.0 {
            let finished = sink.finish(tally, console);
            first = first.and(finished);
        }
        first
    }
}
