//! Sends the frames of a source, each when it is due.

use std::thread;
use std::time::Instant;

use anyhow::Result;
use shm_frame::{Error, Sender, SenderOptions, Shape};

use crate::console::Console;
use crate::event::{self, SendLine};
use crate::stop;
use crate::units::{counted, mb};

use crate::send::args::Args;
use crate::send::display;
use crate::send::meta::Meta;
use crate::send::outlet::Outlet;
use crate::send::pace::Pace;
use crate::send::source::{self, Next, SLICE, Source};
use crate::send::status::Status;
use crate::send::tally::Tally;

/// Sends until the source, the user or a signal ends it.
pub(super) fn run(args: &Args, console: &Console) -> Result<()> {
    let (source, rate) = match source::open(args, console) {
        // A signal ended the wait for a film that did not come.
        Err(_) if stop::requested() => return Ok(()),
        opened => opened?,
    };
    let meta = args.meta.as_deref();
    let meta = meta.map(|path| Meta::open(path, console)).transpose()?;
    if args.show {
        display::open(&args.name, console)?;
    }
    let transform = args.transform();
    let shape = transform.shape(source.shape())?;
    let sender = Sender::create(
        &args.name,
        &SenderOptions::new()
            .capacity(shape.bytes())
            .slots(args.slots.into())
            .mode(args.mode)
            .replace(args.replace),
    )?;
    announce(args, console, &sender, shape, &rate)?;
    let mut transmission = Transmission {
        args,
        console,
        status: Status::new(&args.name, frames(args, source.as_ref()), console),
        source,
        outlet: Outlet::new(sender, meta, transform),
        lost: false,
        tally: Tally::new(),
    };
    let sent = transmission.send_all();
    // The summary comes in any case; an error of the run comes first. Before it, receivers are told
    // of the end, and the status line is cleared.
    let tally = transmission.end();
    let told = tally.tell(console);
    sent.and(told)
}

fn announce(
    args: &Args,
    console: &Console,
    sender: &Sender,
    shape: Shape,
    rate: &str,
) -> Result<()> {
    let event = SendLine::Sending {
        name: args.name.to_string(),
        width: shape.width(),
        height: shape.height(),
        channels: shape.channels(),
        slots: args.slots,
        segment_bytes: sender.segment_bytes(),
        element: shape.format().element().name(),
        order: event::order_name(shape.format().order()),
    };
    let (name, slots) = (&args.name, counted(args.slots.into(), "slot"));
    let mb = mb(sender.segment_bytes() as u64);
    console.event(
        &event,
        &format!("sending {shape} to {name}, {rate}; {slots}, {mb:.1} MB"),
    )
}

/// How many frames there will be, if they end.
fn frames(args: &Args, source: &dyn Source) -> Option<u64> {
    let frames = source.frames();
    match (frames, args.count) {
        (Some(frames), Some(count)) => Some(frames.min(count)),
        (frames, _) => frames,
    }
}

/// One run of the command.
struct Transmission<'a> {
    args: &'a Args,
    console: &'a Console,
    status: Option<Status>,
    source: Box<dyn Source>,
    outlet: Outlet,
    /// A frame was lost with its segment, or found no room in it, and that was told.
    lost: bool,
    tally: Tally,
}

impl Transmission<'_> {
    fn send_all(&mut self) -> Result<()> {
        let mut pace = Pace::new();
        while !stop::requested() && !self.is_done() {
            match self.source.next()? {
                Next::End(last) => {
                    pace.ends(last);
                    self.wait(&pace)?;
                    break;
                }
                Next::Nothing => self.tend()?,
                Next::Frame(step) => {
                    if let Some(status) = &mut self.status {
                        status.step();
                    }
                    if pace.skips(Instant::now(), step, self.source.can_skip()) {
                        self.tally.skipped += 1;
                    } else if self.wait(&pace)? {
                        self.send()?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether `--count` frames were sent.
    fn is_done(&self) -> bool {
        self.args
            .count
            .is_some_and(|count| self.tally.frames >= count)
    }

    /// Waits until the next frame is due. `false`: the command is to end.
    fn wait(&mut self, pace: &Pace) -> Result<bool> {
        while let Some(left) = pace.left() {
            // In slices, to notice a signal and to look after the segment.
            thread::sleep(left.min(SLICE));
            if stop::requested() {
                return Ok(false);
            }
            self.tend()?;
        }
        Ok(true)
    }

    /// Looks after the segment and the status line.
    fn tend(&mut self) -> Result<()> {
        self.outlet.tend()?;
        self.tick();
        Ok(())
    }

    fn tick(&mut self) {
        if let Some(status) = &mut self.status {
            status.tick(&self.tally);
        }
    }

    fn send(&mut self) -> Result<()> {
        match self.source.send(&mut self.outlet) {
            Ok(Some(written)) => {
                self.tally.add(&written, self.console)?;
                self.tick();
                Ok(())
            }
            Ok(None) => Ok(()),
            // The next frame finds another segment, or may make it: whoever may read the one that
            // there is can keep the name as it is.
            Err(error)
                if matches!(
                    error.downcast_ref(),
                    Some(Error::Lost { .. } | Error::Busy { .. })
                ) =>
            {
                if !std::mem::replace(&mut self.lost, true) {
                    self.console.note(&error.to_string());
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Closes the segment, which tells the receivers, and clears the status line.
    fn end(self) -> Tally {
        drop(self.outlet);
        self.console.close();
        self.tally
    }
}
