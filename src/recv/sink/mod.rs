//! Where frames go, besides being shown and counted.
//!
//! A new sink is a file with an `open`, and a line in [`SINKS`]. A sink that wants pixels runs in a
//! thread of its own behind a bounded queue, so that it never slows the receiving: frames that it
//! is too slow for are dropped and counted.

pub(super) mod mcap;
mod plot;
mod raw;
pub(super) mod record;
pub(super) mod save;

use std::collections::BTreeMap;
use std::panic;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Result;
use shm_frame::Frame;

use crate::console::Console;
use crate::recv::args::Args;
use crate::recv::taken::Taken;
use crate::recv::tally::Tally;
use crate::units::counted;

/// Takes every frame that is received.
pub(super) trait Sink: Send {
    /// The flag that it belongs to, without dashes.
    fn name(&self) -> &'static str;

    /// Whether the sink reads pixels. If not, it takes no time, and runs in the receiving thread.
    fn wants_pixels(&self) -> bool {
        true
    }

    /// Takes a frame that is known, if it [does not want pixels](Self::wants_pixels).
    fn note(&mut self, _frame: Frame) {}

    /// Takes a frame.
    fn take(&mut self, _taken: &Taken, _console: &Console) -> Result<()> {
        Ok(())
    }

    /// Called now and then while no frame comes.
    fn rest(&mut self) -> Result<()> {
        Ok(())
    }

    /// Completes the output after the last frame.
    fn finish(&mut self, _console: &Console) -> Result<()> {
        Ok(())
    }

    /// Completes the output of a sink that does not want pixels.
    fn conclude(&mut self, _tally: &Tally) -> Result<()> {
        Ok(())
    }
}

/// A sink, if its flag is given.
type Open = fn(&Args) -> Result<Option<Box<dyn Sink>>>;

/// All sinks, in the order in which they are opened and take a frame.
const SINKS: [Open; 5] = [raw::open, record::open, mcap::open, save::open, plot::open];

/// The most bytes of frames that wait for one sink, and the least and most frames.
const QUEUED_BYTES: usize = 128 << 20;
const QUEUED_FRAMES: (usize, usize) = (2, 64);
/// How long without a frame until a sink is told so.
const REST_PERIOD: Duration = Duration::from_millis(500);
/// How often to say that a sink drops frames.
const SAY_PERIOD: Duration = Duration::from_secs(5);

/// The sinks of one run.
pub(super) struct Sinks {
    console: Console,
    /// Those that run in the receiving thread.
    light: Vec<Box<dyn Sink>>,
    queued: Vec<Queued>,
}

/// A sink with a thread and a queue.
struct Queued {
    name: &'static str,
    /// Before the first frame, whose size says how long the queue is.
    waiting: Option<Box<dyn Sink>>,
    queue: Option<SyncSender<Arc<Taken>>>,
    thread: Option<JoinHandle<Result<()>>>,
    dropped: u64,
    said: Option<Instant>,
}

pub(super) struct Opener<'a>(&'a Args);

impl<'a> Opener<'a> {
    pub(super) fn new(args: &'a Args, _several: bool) -> Result<Self> {
        Ok(Self(args))
    }

    pub(super) fn open(&self, _name: &shm_frame::Name) -> Result<Vec<Box<dyn Sink>>> {
        open(self.0)
    }
}

/// Opens the sinks that the flags ask for.
fn open(args: &Args) -> Result<Vec<Box<dyn Sink>>> {
    let mut sinks = Vec::new();
    for open in SINKS {
        sinks.extend(open(args)?);
    }
    Ok(sinks)
}

impl Sinks {
    pub(super) fn new(sinks: Vec<Box<dyn Sink>>, console: Console) -> Self {
        let (heavy, light): (Vec<_>, Vec<_>) =
            sinks.into_iter().partition(|sink| sink.wants_pixels());
        let queued = heavy.into_iter().map(|sink| Queued {
            name: sink.name(),
            waiting: Some(sink),
            queue: None,
            thread: None,
            dropped: 0,
            said: None,
        });
        Self {
            console,
            light,
            queued: queued.collect(),
        }
    }

    pub(super) fn want_pixels(&self) -> bool {
        !self.queued.is_empty()
    }

    /// Takes note of a frame, and of its pixels if there are any.
    pub(super) fn take(&mut self, frame: Frame, taken: Option<&Arc<Taken>>) -> Result<()> {
        for sink in &mut self.light {
            sink.note(frame);
        }
        if let Some(taken) = taken {
            for sink in &mut self.queued {
                sink.take(taken, &self.console)?;
            }
        }
        Ok(())
    }

    /// Fails with the error of a sink that failed.
    pub(super) fn check(&mut self) -> Result<()> {
        self.queued.iter_mut().try_for_each(Queued::check)
    }

    /// Finishes all sinks. If several fail, returns the first error.
    pub(super) fn finish(&mut self, tally: &Tally) -> Result<()> {
        let mut first = Ok(());
        for sink in &mut self.queued {
            let finished = sink.finish(&self.console);
            first = first.and(finished);
        }
        for sink in &mut self.light {
            let finished = sink.conclude(tally);
            first = first.and(finished);
        }
        first
    }

    /// The frames that each sink dropped.
    pub(super) fn dropped(&self) -> BTreeMap<&'static str, u64> {
        let dropped = self.queued.iter().map(|sink| (sink.name, sink.dropped));
        dropped.collect()
    }
}

/// Gives a sink the frames of its queue, until there are no more.
fn run(sink: &mut dyn Sink, frames: &Receiver<Arc<Taken>>, console: &Console) -> Result<()> {
    loop {
        match frames.recv_timeout(REST_PERIOD) {
            Ok(taken) => sink.take(&taken, console)?,
            Err(RecvTimeoutError::Timeout) => sink.rest()?,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

impl Queued {
    fn take(&mut self, taken: &Arc<Taken>, console: &Console) -> Result<()> {
        if let Some(mut sink) = self.waiting.take() {
            let (least, most) = QUEUED_FRAMES;
            let frames = QUEUED_BYTES / taken.pixels.len().max(1);
            let (queue, frames) = mpsc::sync_channel::<Arc<Taken>>(frames.clamp(least, most));
            let console = console.clone();
            self.queue = Some(queue);
            self.thread = Some(thread::spawn(move || {
                let taken = run(sink.as_mut(), &frames, &console);
                // What there is is completed, whatever happened.
                taken.and(sink.finish(&console))
            }));
        }
        let Some(queue) = &self.queue else {
            return Ok(());
        };
        match queue.try_send(Arc::clone(taken)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => {
                self.dropped += 1;
                if self.said.is_none_or(|said| said.elapsed() >= SAY_PERIOD) {
                    self.said = Some(Instant::now());
                    let frames = counted(self.dropped, "frame");
                    console.note(&format!("--{} is too slow: {frames} dropped", self.name));
                }
                Ok(())
            }
            Err(TrySendError::Disconnected(_)) => self.join(),
        }
    }

    fn check(&mut self) -> Result<()> {
        if self.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            return self.join();
        }
        Ok(())
    }

    fn finish(&mut self, console: &Console) -> Result<()> {
        if let Some(mut sink) = self.waiting.take() {
            return sink.finish(console);
        }
        self.join()
    }

    /// Lets the thread finish what is queued.
    fn join(&mut self) -> Result<()> {
        self.queue = None;
        self.thread.take().map_or(Ok(()), |thread| {
            let result = thread.join();
            result.unwrap_or_else(|panic| panic::resume_unwind(panic))
        })
    }
}
