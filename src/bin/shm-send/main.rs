//! `shm-send`: puts images into a named shared-memory segment.

#[path = "../cli/mod.rs"]
mod cli;
mod source;

use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use serde::Serialize;
use shm_frame::{Name, Sender, SenderOptions};

use crate::cli::output::{self, Output};
use crate::cli::spread::{Quantiles, Spread, ms, rate, rounded};
use crate::cli::stop::Stop;
use crate::cli::window::{Input, Window};
use crate::source::Source;

/// Puts images into a named shared-memory segment, for shm-recv and others to take the newest from.
#[derive(Debug, Parser)]
#[command(version)]
#[expect(clippy::struct_excessive_bools, reason = "flags are bools")]
struct Args {
    /// Send this picture, whatever OpenCV reads [default: a moving test picture, every frame numbered]
    #[arg(long, value_name = "PATH")]
    image: Option<PathBuf>,
    /// The segment's name, as in /dev/shm; a leading slash may be left out
    #[arg(long, value_name = "NAME", default_value = "/mmaptest_shm")]
    name: Name,
    /// Frames per second; 0 is as fast as it can
    #[arg(long, value_name = "N", default_value = "30", value_parser = parse_rate)]
    fps: Rate,
    /// Stop after this many frames
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Slots, 1 to 16; all but two can be leased, and 1 writes every frame where old programs look for it
    #[arg(long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u8).range(1..=16))]
    slots: u8,
    /// Permissions of the segment: 0644 lets other users receive
    #[arg(long, value_name = "OCTAL", default_value = "0600", value_parser = parse_mode)]
    mode: u32,
    /// Take the name over from a live sender
    #[arg(long)]
    replace: bool,
    /// Size of the test picture
    #[arg(long, value_name = "WxH", default_value = "640x404", value_parser = parse_size, conflicts_with = "image")]
    size: (u32, u32),
    /// 1 gray, 3 BGR, 4 BGRA
    #[arg(long, value_name = "C", default_value = "3", value_parser = cli::parse::channels)]
    channels: u8,
    /// Show what is sent in a window; q or Esc ends
    #[arg(long)]
    show: bool,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
    /// Print only the summary; with --json, all but frames
    #[arg(long)]
    quiet: bool,
}

/// The period of a rate; none is as fast as it can.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rate {
    fps: f64,
    period: Option<Duration>,
}

fn parse_rate(text: &str) -> Result<Rate, String> {
    match text.parse::<f64>() {
        Ok(0.0) => Ok(Rate {
            fps: 0.0,
            period: None,
        }),
        Ok(fps) if (0.001..=1e6).contains(&fps) => Ok(Rate {
            fps,
            period: Some(Duration::from_secs_f64(fps.recip())),
        }),
        _ => Err("not a number of frames per second: 0.001 to 1000000, or 0".to_owned()),
    }
}

fn parse_mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err("not permissions in octal, 0 to 0777".to_owned()),
    }
}

fn parse_size(text: &str) -> Result<(u32, u32), String> {
    let sides = text.split_once('x').and_then(|(width, height)| {
        let side = |text: &str| text.parse().ok().filter(|&side| side > 0);
        Some((side(width)?, side(height)?))
    });
    sides.ok_or_else(|| "not a size like 640x404".to_owned())
}

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
        write_ms: Option<Quantiles>,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    cli::exit("shm-send", run(&args))
}

fn run(args: &Args) -> Result<()> {
    let stop = Stop::on_signals()?;
    let output = Output::new(args.json, args.quiet, &output::line, &output::warn);
    let mut source = Source::new(args.image.as_deref(), args.size, args.channels)?;
    let open = || Window::open(&format!("shm-send {}", args.name)).context("--show");
    let mut window = args.show.then(open).transpose()?;
    let shape = source.shape();
    let mut sender = Sender::create(
        &args.name,
        &SenderOptions {
            capacity: shape.bytes(),
            slots: args.slots.into(),
            mode: args.mode,
            replace: args.replace,
        },
    )?;
    let event = Event::Sending {
        name: args.name.to_string(),
        width: shape.width(),
        height: shape.height(),
        channels: shape.channels(),
        slots: args.slots,
        segment_bytes: sender.segment_bytes(),
    };
    output.event(&event, &announcement(args, &sender, shape))?;

    let mut tally = Tally {
        frames: 0,
        start: Instant::now(),
        writing: Spread::new(),
    };
    let result = send(
        args,
        &stop,
        output,
        &mut source,
        &mut sender,
        window.as_mut(),
        &mut tally,
    );
    drop(sender);
    let summary = tally.summary(output);
    result.and(summary)
}

fn announcement(args: &Args, sender: &Sender, shape: shm_frame::Shape) -> String {
    #[expect(clippy::cast_precision_loss, reason = "one decimal")]
    let mb = sender.segment_bytes() as f64 / 1e6;
    let rate = match args.fps.period {
        None => "as fast as it can".to_owned(),
        Some(_) => format!("{} frames/s", args.fps.fps),
    };
    let Args { name, slots, .. } = args;
    format!("sending {shape} to {name}, {rate}; {slots} slots, {mb:.1} MB")
}

fn send(
    args: &Args,
    stop: &Stop,
    output: Output,
    source: &mut Source,
    sender: &mut Sender,
    mut window: Option<&mut Window>,
    tally: &mut Tally,
) -> Result<()> {
    let mut due = Instant::now();
    while !stop.requested() && args.count.is_none_or(|count| tally.frames < count) {
        let begin = Instant::now();
        let sent = source.send(sender, tally.frames + 1)?;
        let writing = i64::try_from(begin.elapsed().as_nanos())?;
        tally.frames = sent.frame;
        tally.writing.add(writing);
        let event = Event::Sent {
            frame: sent.frame,
            sent_ms: sent.sent_ms,
            write_ms: ms(writing),
        };
        output.frame(&event, || None)?;
        if let Some(window) = &mut window {
            source.show(window, sent.frame)?;
            if window.input()? == Some(Input::End) {
                return Ok(());
            }
        }
        let Some(period) = args.fps.period else {
            continue;
        };
        if args.count == Some(tally.frames) {
            break;
        }
        // What is late is skipped, not caught up with.
        due = (due + period).max(Instant::now());
        while let Some(left) = due
            .checked_duration_since(Instant::now())
            .filter(|left| !left.is_zero())
        {
            if stop.requested() {
                return Ok(());
            }
            // Short enough to end when asked to, and to look after the segment.
            thread::sleep(left.min(Duration::from_millis(50)));
            sender.tend()?;
        }
    }
    Ok(())
}

/// What is told at the end.
struct Tally {
    frames: u64,
    start: Instant,
    writing: Spread,
}

impl Tally {
    fn summary(&self, output: Output) -> Result<()> {
        let seconds = self.start.elapsed().as_secs_f64();
        let fps = rate(self.frames, seconds);
        let write_ms = self.writing.quantiles();
        let event = Event::Summary {
            frames: self.frames,
            seconds: rounded(seconds),
            fps: rounded(fps),
            write_ms,
        };
        let writing = write_ms.map_or(String::new(), |write_ms| format!("; writing {write_ms}"));
        let frames = self.frames;
        let text = format!("{frames} frames in {seconds:.2} s, {fps:.1} frames/s{writing}");
        output.summary(&event, &text)
    }
}
