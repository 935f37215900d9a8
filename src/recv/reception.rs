//! Takes frames, and hands each to all who want it.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde::Serialize;
use shm_frame::{Frame, Receiver, Shape};

use crate::console::Output;
use crate::picture;
use crate::recv::args::Args;
use crate::recv::follow::{Follow, Step};
use crate::recv::report::Report;
use crate::recv::sink::plot::Plot;
use crate::recv::sink::raw::Raw;
use crate::recv::sink::record::Recorder;
use crate::recv::sink::save::Saver;
use crate::recv::tally::Tally;
use crate::recv::view::Viewer;
use crate::stop;

/// A line of JSON.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event<'a> {
    Mismatch {
        expected: Size<Option<i32>>,
        got: Size<i32>,
    },
    Discarded {
        why: &'a str,
    },
}

#[derive(Serialize)]
struct Size<T> {
    width: T,
    height: T,
    channels: T,
}

/// How long to wait at a time, so that signals and windows are answered.
const SLICE: Duration = Duration::from_millis(100);
const VIEW_SLICE: Duration = Duration::from_millis(15);

/// What is done with frames besides showing and counting them.
pub(crate) struct Sinks {
    saver: Option<Saver>,
    recorder: Option<Recorder>,
    raw: Option<Raw>,
    plot: Option<Plot>,
}

impl Sinks {
    pub(crate) fn new(args: &Args) -> Result<Self> {
        Ok(Self {
            saver: args.save.as_deref().map(Saver::new).transpose()?,
            recorder: args.record.as_deref().map(Recorder::new).transpose()?,
            raw: args.raw.as_ref().map(|_| Raw::new()).transpose()?,
            plot: args.plot.as_deref().map(Plot::new).transpose()?,
        })
    }

    fn want_pixels(&self) -> bool {
        self.saver.is_some() || self.recorder.is_some() || self.raw.is_some()
    }

    fn take(&mut self, frame: Frame, pixels: &[u8], note: &dyn Fn(&str)) -> Result<()> {
        if let Some(plot) = &mut self.plot {
            plot.add(frame.delay_ns);
        }
        if let Some(saver) = &self.saver {
            saver.save(frame.number, pixels, frame.shape)?;
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.add(pixels, frame.shape, note)?;
        }
        if let Some(raw) = &mut self.raw {
            raw.write(pixels, frame.shape, note)?;
        }
        Ok(())
    }

    fn finish(&mut self, name: &str, tally: &Tally, note: &dyn Fn(&str)) -> Result<()> {
        let recorded = self
            .recorder
            .as_mut()
            .map_or(Ok(()), |recorder| recorder.finish(note));
        let plotted = self
            .plot
            .as_ref()
            .map_or(Ok(()), |plot| plot.finish(name, tally));
        recorded.and(plotted)
    }
}

/// One run of the command.
pub(crate) struct Reception<'a> {
    args: &'a Args,
    output: Output<'a>,
    note: &'a dyn Fn(&str),
    report: Report<'a>,
    viewer: Viewer<'a>,
    sinks: Sinks,
    /// The frame that is shown, saved, recorded or written: all that takes long, so it is done with a copy.
    pixels: Vec<u8>,
    /// The shape that was last warned of.
    unexpected: Option<Shape>,
    /// What the last frame was thrown away for, so that it is said once.
    discarded: String,
    pub tally: Tally,
}

impl<'a> Reception<'a> {
    pub(crate) fn new(
        args: &'a Args,
        output: Output<'a>,
        note: &'a dyn Fn(&str),
        report: Report<'a>,
        viewer: Viewer<'a>,
        sinks: Sinks,
    ) -> Self {
        Self {
            args,
            output,
            note,
            report,
            viewer,
            sinks,
            pixels: Vec::new(),
            unexpected: None,
            discarded: String::new(),
            tally: Tally::new(),
        }
    }

    /// Receives until somebody wants it to end, and finishes what was begun, whatever happened.
    pub(crate) fn run(&mut self) -> Result<()> {
        let received = self.receive();
        let name = self.args.name.to_string();
        received.and(self.sinks.finish(&name, &self.tally, self.note))
    }

    fn receive(&mut self) -> Result<()> {
        let slice = if self.viewer.is_somewhere() {
            VIEW_SLICE
        } else {
            SLICE
        };
        let mut follow = Follow::new(self.args.name.clone(), self.args.wait.into(), self.output);
        let mut last_frame = Instant::now();
        while !stop::requested()
            && self
                .args
                .count
                .is_none_or(|count| self.tally.frames < count)
        {
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

    /// Takes the latest frame, if it is one that is expected, and copies it if it is needed for longer.
    fn take(&mut self, receiver: &mut Receiver) -> Result<Option<Frame>> {
        let keeps = self.viewer.is_somewhere() || self.sinks.want_pixels();
        let taken = if receiver.can_lease() {
            receiver.lease().and_then(|lease| {
                let Some(lease) = lease else { return Ok(None) };
                if keeps {
                    lease.copy_to(&mut self.pixels)?;
                }
                Ok(lease.is_intact().then(|| lease.frame()))
            })
        } else {
            receiver.copy(&mut self.pixels)
        };
        let taken = taken.map_err(anyhow::Error::from).and_then(|frame| {
            frame.map_or(Ok(()), |frame| picture::must_be_eight_bit(frame.shape))?;
            Ok(frame)
        });
        match taken {
            Ok(Some(frame)) if self.expects(frame.shape) => {
                self.unexpected = None;
                Ok(Some(frame))
            }
            Ok(Some(frame)) => {
                self.warn_of(frame.shape)?;
                Ok(None)
            }
            Ok(None) => Ok(None),
            // A header that makes no sense is the sender's fault, and the next one may be better.
            Err(error) => {
                let why = error.to_string();
                if self.discarded != why {
                    let text = format!("frame of {} thrown away: {why}", self.args.name);
                    self.output.event(&Event::Discarded { why: &why }, &text)?;
                    self.discarded = why;
                }
                Ok(None)
            }
        }
    }

    fn accept(&mut self, frame: Frame) -> Result<()> {
        self.tally.add(frame);
        self.report.frame(frame)?;
        self.sinks.take(frame, &self.pixels, self.note)?;
        self.viewer.show(frame, &mut self.pixels, &self.tally)
    }

    fn expects(&self, shape: Shape) -> bool {
        let fits = |expected: Option<i32>, got| expected.is_none_or(|expected| expected == got);
        fits(self.args.width, shape.width())
            && fits(self.args.height, shape.height())
            && fits(self.args.channels.map(i32::from), shape.channels())
    }

    fn expected(&self) -> String {
        let side = |side: Option<i32>| side.map_or("any".to_owned(), |side| side.to_string());
        let channels = self.args.channels.map(i32::from);
        format!(
            "{}x{}x{}",
            side(self.args.width),
            side(self.args.height),
            side(channels)
        )
    }

    /// Once for each change.
    fn warn_of(&mut self, got: Shape) -> Result<()> {
        if self.unexpected.replace(got) == Some(got) {
            return Ok(());
        }
        let event = Event::Mismatch {
            expected: Size {
                width: self.args.width,
                height: self.args.height,
                channels: self.args.channels.map(i32::from),
            },
            got: Size {
                width: got.width(),
                height: got.height(),
                channels: got.channels(),
            },
        };
        let text = format!(
            "frames of {} are {got}, expected {}: not shown",
            self.args.name,
            self.expected()
        );
        self.output.event(&event, &text)
    }

    fn waits_for(&self, follow: &Follow) -> String {
        match self.unexpected {
            Some(got) if follow.is_attached() => format!(
                "frames of {} are {got}, expected {}",
                self.args.name,
                self.expected()
            ),
            _ => follow.waits_for(),
        }
    }
}
