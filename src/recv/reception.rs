//! Takes frames, and hands each to the report, the sinks and the view.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use shm_frame::{Error, Frame, Receiver, Shape};

use crate::console::Console;
use crate::event::{Dimensions, RecvLine};
use crate::picture;
use crate::recv::args::Args;
use crate::recv::follow::{Follow, Step};
use crate::recv::report::Report;
use crate::recv::sink::Sinks;
use crate::recv::tally::Tally;
use crate::recv::view::Viewer;
use crate::remedy;
use crate::stop;
use crate::units::counted;

/// How long to wait at a time, so that signals are answered.
const SLICE: Duration = Duration::from_millis(100);
/// The same while there is a view, so that keys are answered.
const VIEW_SLICE: Duration = Duration::from_millis(15);

/// One run of the command.
pub(super) struct Reception<'a> {
    args: &'a Args,
    console: Console,
    report: Report,
    viewer: Viewer,
    sinks: Sinks,
    /// A copy of the frame, for views and sinks: they take too long to hold a lease meanwhile.
    pixels: Vec<u8>,
    /// The unexpected shape that was told last.
    unexpected: Option<Shape>,
    /// The reason that was told last for throwing a frame away.
    discarded: String,
    pub tally: Tally,
}

impl<'a> Reception<'a> {
    pub(super) fn new(args: &'a Args, console: Console, viewer: Viewer, sinks: Sinks) -> Self {
        Self {
            args,
            report: Report::new(console.clone()),
            console,
            viewer,
            sinks,
            pixels: Vec::new(),
            unexpected: None,
            discarded: String::new(),
            tally: Tally::new(),
        }
    }

    /// Receives until the end, and finishes the sinks even if receiving failed.
    pub(super) fn run(&mut self) -> Result<()> {
        let received = self.receive();
        let finished = self.sinks.finish(&self.tally, &self.console);
        received.and(finished)
    }

    fn receive(&mut self) -> Result<()> {
        let slice = if self.viewer.is_somewhere() {
            VIEW_SLICE
        } else {
            SLICE
        };
        let mut follow = Follow::new(
            self.args.name.clone(),
            self.args.wait.into(),
            self.console.clone(),
        );
        let mut last_frame = Instant::now();
        while !stop::requested() && !self.is_done() {
            let left = match self.args.timeout {
                None => slice,
                Some(timeout) => match timeout.checked_sub(last_frame.elapsed()) {
                    Some(left) => left.min(slice),
                    None => bail!(
                        "no new frame for {} s: {}",
                        timeout.as_secs_f64(),
                        self.waits_for(&follow)
                    ),
                },
            };
            if let Step::Frame(receiver) = follow.step(left)? {
                let taken = self.take(receiver)?;
                self.tally.torn = receiver.torn();
                if let Some(frame) = taken {
                    self.accept(frame)?;
                    last_frame = Instant::now();
                }
            }
            self.report.tick(&self.tally);
            if !self.viewer.heed()? {
                break;
            }
        }
        Ok(())
    }

    /// Whether `--count` frames were received.
    fn is_done(&self) -> bool {
        self.args
            .count
            .is_some_and(|count| self.tally.frames >= count)
    }

    /// Takes the latest frame. `None`: it is not whole, not usable or not of the expected shape.
    fn take(&mut self, receiver: &mut Receiver) -> Result<Option<Frame>> {
        match self.take_any(receiver) {
            Ok(Some(frame)) => {
                if let Err(error) = picture::must_be_eight_bit(frame.shape) {
                    self.tell_discarded(error.to_string())?;
                } else if self.unmet(frame.shape).is_empty() {
                    self.unexpected = None;
                    return Ok(Some(frame));
                } else {
                    self.tell_unexpected(frame.shape)?;
                }
            }
            Ok(None) => {}
            // Most likely a header that makes no sense, and the sender's next one may be better.
            Err(error) => self.tell_discarded(remedy::RECV.explain_error(&error))?,
        }
        Ok(None)
    }

    /// Takes the latest frame in place if possible, and copies it if a view or a sink needs that.
    fn take_any(&mut self, receiver: &mut Receiver) -> Result<Option<Frame>, Error> {
        if !receiver.can_lease() {
            return receiver.copy(&mut self.pixels);
        }
        let Some(lease) = receiver.lease()? else {
            return Ok(None);
        };
        if self.viewer.is_somewhere() || self.sinks.want_pixels() {
            lease.copy_to(&mut self.pixels)?;
        }
        Ok(lease.is_intact().then(|| lease.frame()))
    }

    fn accept(&mut self, frame: Frame) -> Result<()> {
        self.tally.add(frame);
        self.report.frame(frame)?;
        self.sinks.take(frame, &self.pixels, &self.console)?;
        self.viewer.show(frame, &mut self.pixels, &self.tally)
    }

    /// The expectations of the flags that a shape does not meet, as text; empty if it meets all.
    fn unmet(&self, shape: Shape) -> String {
        let Args {
            width,
            height,
            channels,
            ..
        } = self.args;
        let mut unmet = Vec::new();
        if let Some(width) = width.filter(|&width| width != shape.width()) {
            unmet.push(format!("{width} wide"));
        }
        if let Some(height) = height.filter(|&height| height != shape.height()) {
            unmet.push(format!("{height} high"));
        }
        if let Some(channels) = channels.filter(|&channels| i32::from(channels) != shape.channels())
        {
            unmet.push(format!("of {}", counted(channels.into(), "channel")));
        }
        unmet.join(" nor ")
    }

    /// Tells of a shape that is not expected, once per change.
    fn tell_unexpected(&mut self, got: Shape) -> Result<()> {
        if self.unexpected.replace(got) == Some(got) {
            return Ok(());
        }
        let event = RecvLine::Mismatch {
            expected: Dimensions {
                width: self.args.width,
                height: self.args.height,
                channels: self.args.channels.map(i32::from),
            },
            got: Dimensions {
                width: got.width(),
                height: got.height(),
                channels: got.channels(),
            },
        };
        let text = format!("{}: not shown", self.differs(got));
        self.console.event(&event, &text)
    }

    /// Tells why a frame is thrown away, once per reason.
    fn tell_discarded(&mut self, why: String) -> Result<()> {
        if self.discarded == why {
            return Ok(());
        }
        let text = format!("frame of {} thrown away: {why}", self.args.name);
        self.console
            .event(&RecvLine::Discarded { why: &why }, &text)?;
        self.discarded = why;
        Ok(())
    }

    fn differs(&self, got: Shape) -> String {
        let unmet = self.unmet(got);
        format!("frames of {} are {got}, not {unmet}", self.args.name)
    }

    /// The reason why no frame comes.
    fn waits_for(&self, follow: &Follow) -> String {
        match self.unexpected {
            Some(got) if follow.is_attached() => self.differs(got),
            _ => follow.waits_for(),
        }
    }
}
