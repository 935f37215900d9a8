//! `shm-send`: puts images into a named shared-memory segment.

mod args;
mod capture;
mod outlet;
mod pace;
mod source;

use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::{CommandFactory, Parser};
use indicatif::{ProgressBar, ProgressStyle};
use opencv::core::{LogLevel, set_log_level};
use serde::Serialize;
use shm_frame::{Sender, SenderOptions, Shape};

use crate::console::{self as output, Output};
use crate::exit;
use crate::send::args::Args;
use crate::send::outlet::Outlet;
use crate::send::pace::Pace;
use crate::send::source::{Next, SLICE, Source};
use crate::stop;
use crate::units::{Quantiles, Spread, ms, rate, rounded};
use crate::window::Window;

/// A line of JSON.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event {
    Sending {
        name: String,
        width: i32,
        height: i32,
        channels: i32,
        slots: u8,
        segment_bytes: usize,
    },
    Sent {
        frame: u64,
        sent_ms: i64,
        write_ms: f64,
    },
    Summary {
        frames: u64,
        seconds: f64,
        fps: f64,
        skipped: u64,
        write_ms: Option<Quantiles>,
    },
}

/// The command's arguments, for completions and manual pages.
pub fn command() -> clap::Command {
    Args::command()
}

/// Runs the command with the arguments of this process.
pub fn main() -> ExitCode {
    let args = Args::parse();
    exit::exit("shm-send", run(&args))
}

fn run(args: &Args) -> Result<()> {
    // What it would say, the errors say better.
    set_log_level(LogLevel::LOG_LEVEL_SILENT)?;
    stop::on_signals()?;
    let output = Output::new(args.json, args.quiet, &output::line, &output::warn);
    let (source, rate) = match source::open(args) {
        // A signal ended the wait for a film that did not come.
        Err(_) if stop::requested() => return Ok(()),
        opened => opened?,
    };
    let open = || Window::open(&format!("shm-send {}", args.name)).context("--show");
    let window = args.show.then(open).transpose()?;
    let shape = source.shape();
    let sender = Sender::create(
        &args.name,
        &SenderOptions::new()
            .capacity(shape.bytes())
            .slots(args.slots.into())
            .mode(args.mode)
            .replace(args.replace),
    )?;
    let event = Event::Sending {
        name: args.name.to_string(),
        width: shape.width(),
        height: shape.height(),
        channels: shape.channels(),
        slots: args.slots,
        segment_bytes: sender.segment_bytes(),
    };
    output.event(&event, &announcement(args, &sender, shape, &rate))?;

    let mut transmission = Transmission {
        args,
        output,
        bar: progress(args, source.as_ref()),
        source,
        outlet: Outlet::new(sender, window),
        tally: Tally {
            frames: 0,
            skipped: 0,
            start: Instant::now(),
            writing: Spread::new(),
        },
    };
    let result = transmission.run();
    let tally = transmission.end();
    let summary = tally.summary(output);
    result.and(summary)
}

fn announcement(args: &Args, sender: &Sender, shape: Shape, rate: &str) -> String {
    #[expect(clippy::cast_precision_loss, reason = "one decimal")]
    let mb = sender.segment_bytes() as f64 / 1e6;
    let Args { name, slots, .. } = args;
    format!("sending {shape} to {name}, {rate}; {slots} slots, {mb:.1} MB")
}

/// A bar that shows how far a source is that ends. It is drawn on a terminal alone.
fn progress(args: &Args, source: &dyn Source) -> ProgressBar {
    let frames = match (source.frames(), args.count) {
        (Some(frames), Some(count)) => frames.min(count),
        (Some(frames), None) => frames,
        (None, _) => return ProgressBar::hidden(),
    };
    if args.quiet || args.json {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} frames, {eta} left");
    ProgressBar::new(frames).with_style(style.expect("a template in its language"))
}

/// One run of the command.
struct Transmission<'a> {
    args: &'a Args,
    output: Output<'a>,
    bar: ProgressBar,
    source: Box<dyn Source>,
    outlet: Outlet,
    tally: Tally,
}

impl Transmission<'_> {
    fn run(&mut self) -> Result<()> {
        let mut pace = Pace::new();
        while !stop::requested()
            && self
                .args
                .count
                .is_none_or(|count| self.tally.frames < count)
        {
            match self.source.next()? {
                Next::End(last) => {
                    pace.ends(last);
                    self.wait(&pace)?;
                    break;
                }
                Next::Nothing => {
                    if !self.outlet.rest()? {
                        break;
                    }
                }
                Next::Frame(step) => {
                    self.bar.inc(1);
                    if pace.skips(Instant::now(), step, self.source.can_skip()) {
                        self.tally.skipped += 1;
                    } else if !self.wait(&pace)? || !self.send()? {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Waits until what is next is due. `false`: the end was asked for.
    fn wait(&mut self, pace: &Pace) -> Result<bool> {
        while let Some(left) = pace.left() {
            // Short enough to end when asked to, and to look after the segment.
            thread::sleep(left.min(SLICE));
            if stop::requested() || !self.outlet.rest()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Sends the frame. `false`: the end was asked for.
    fn send(&mut self) -> Result<bool> {
        let Some(written) = self.source.send(&mut self.outlet)? else {
            return Ok(true);
        };
        let writing = i64::try_from(written.time.as_nanos())?;
        self.tally.frames = written.sent.number;
        self.tally.writing.add(writing);
        let event = Event::Sent {
            frame: written.sent.number,
            sent_ms: written.sent.sent_ms,
            write_ms: ms(writing),
        };
        self.output.frame(&event, || None)?;
        self.outlet.show()
    }

    /// Tells the receivers and clears the bar.
    fn end(self) -> Tally {
        self.bar.finish_and_clear();
        self.tally
    }
}

/// What is told at the end.
struct Tally {
    frames: u64,
    skipped: u64,
    start: Instant,
    writing: Spread,
}

impl Tally {
    fn summary(&self, output: Output) -> Result<()> {
        let seconds = self.start.elapsed().as_secs_f64();
        let fps = rate(self.frames, seconds);
        let write_ms = self.writing.quantiles();
        let &Self {
            frames, skipped, ..
        } = self;
        let event = Event::Summary {
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
        let text = format!("{frames} frames in {seconds:.2} s, {fps:.1} frames/s{late}{writing}");
        output.summary(&event, &text)
    }
}
