//! `shm-recv`: takes the newest frames out of a named shared-memory segment.

mod args;
#[path = "../cli/mod.rs"]
mod cli;
mod follow;
mod save;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use serde::Serialize;
use shm_frame::{Frame, Path, Receiver, Shape};

use crate::args::{Args, View};
use crate::cli::output::Output;
use crate::cli::spread::{Quantiles, Spread, ms, rate, rounded};
use crate::cli::stop::Stop;
use crate::cli::window::{self, Window};
use crate::follow::{Follow, Step};
use crate::save::Saver;

/// A line of JSON.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event<'a> {
    Frame {
        frame: u64,
        width: i32,
        height: i32,
        channels: i32,
        sent_ms: i64,
        received_ms: i64,
        delay_ms: f64,
        skipped: u64,
        path: &'static str,
    },
    Mismatch {
        expected: Size<Option<i32>>,
        got: Size<i32>,
    },
    Discarded {
        why: &'a str,
    },
    Summary {
        frames: u64,
        seconds: f64,
        fps: f64,
        skipped: u64,
        torn: u64,
        delay_ms: Option<Quantiles>,
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
const WINDOW_SLICE: Duration = Duration::from_millis(15);

fn main() -> ExitCode {
    let args = Args::parse();
    cli::exit("shm-recv", run(&args))
}

fn run(args: &Args) -> Result<()> {
    let stop = Stop::on_signals()?;
    let output = Output::new(args.json, args.quiet);
    let saver = args.save.as_deref().map(Saver::new).transpose()?;
    let open = || Window::open(&format!("shm-recv {}", args.name)).context("--view window");
    let window = match args.view {
        View::None => None,
        View::Window => Some(open()?),
        // Asked and opened while the answer's connection is there.
        View::Auto => match window::display() {
            Ok(_held) => Some(open()?),
            Err(_) => None,
        },
    };
    let mut reception = Reception {
        args,
        output,
        window,
        saver,
        pixels: Vec::new(),
        unexpected: None,
        discarded: String::new(),
        tally: Tally {
            frames: 0,
            skipped: 0,
            torn: 0,
            span: None,
            delays: Spread::new(),
        },
    };
    let result = reception.run(&stop);
    let summary = reception.tally.summary(output);
    result.and(summary)
}

/// One run of the command.
struct Reception<'a> {
    args: &'a Args,
    output: Output,
    window: Option<Window>,
    saver: Option<Saver>,
    /// The frame that is shown or saved: both take long, so they work on a copy.
    pixels: Vec<u8>,
    /// The shape that was last warned of.
    unexpected: Option<Shape>,
    /// What the last frame was thrown away for, so that it is said once.
    discarded: String,
    tally: Tally,
}

impl Reception<'_> {
    fn run(&mut self, stop: &Stop) -> Result<()> {
        let slice = if self.window.is_some() {
            WINDOW_SLICE
        } else {
            SLICE
        };
        let mut follow = Follow::new(self.args.name.clone(), self.output);
        let mut last_frame = Instant::now();
        while !stop.requested()
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
            if let Some(window) = &mut self.window
                && !window.is_open()?
            {
                break;
            }
        }
        Ok(())
    }

    /// Takes the latest frame, if it is one that is expected, and copies it if it is needed for longer.
    fn take(&mut self, receiver: &mut Receiver) -> Result<Option<Frame>> {
        let keeps = self.window.is_some() || self.saver.is_some();
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

    fn accept(&mut self, frame: Frame) -> Result<()> {
        self.tally.add(frame);
        let event = Event::Frame {
            frame: frame.number,
            width: frame.shape.width(),
            height: frame.shape.height(),
            channels: frame.shape.channels(),
            sent_ms: frame.sent_ms,
            received_ms: frame.received_ms,
            delay_ms: ms(frame.delay_ns),
            skipped: frame.skipped,
            path: match frame.path {
                Path::Leased => "leased",
                Path::Copied => "copied",
                Path::Plain => "plain",
            },
        };
        self.output.frame(&event, || {
            Some(format!(
                "frame {}  {}  sent {}  delay {:.3} ms  skipped {}",
                frame.number,
                frame.shape,
                time_of_day(frame.sent_ms),
                ms(frame.delay_ns),
                frame.skipped
            ))
        })?;
        if let Some(saver) = &self.saver {
            saver.save(frame.number, &self.pixels, frame.shape)?;
        }
        if let Some(window) = &mut self.window {
            window.show(&self.pixels, frame.shape)?;
        }
        Ok(())
    }
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

/// What is told at the end.
struct Tally {
    frames: u64,
    skipped: u64,
    torn: u64,
    /// When the first frame and the last one came.
    span: Option<(Instant, Instant)>,
    delays: Spread,
}

impl Tally {
    fn add(&mut self, frame: Frame) {
        let now = Instant::now();
        self.span = Some((self.span.map_or(now, |(first, _)| first), now));
        self.frames += 1;
        self.skipped += frame.skipped;
        self.delays.add(frame.delay_ns);
    }

    fn summary(&self, output: Output) -> Result<()> {
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
