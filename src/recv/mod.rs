//! `shm-recv`: takes the newest frames out of a named shared-memory segment.
//!
//! | what | where |
//! |---|---|
//! | the flags | `args` |
//! | the segments that a name means, one after the other | `follow` |
//! | taking frames, and handing them to whoever wants them | `reception` |
//! | a line for each frame, or one that stays in place | `report`, `status`; `terminal` draws it |
//! | showing frames, and keys | `view`; the terminal's part is in `terminal`, the window's in `cli` |
//! | frames as files, as a video, as bytes | `save`, `record`, `raw` |
//! | the summary, the delays as text and as a drawing | `tally`, `histogram`, `plot` |
//! | `--list` and `--clean` | `inventory` |

mod args;
pub(crate) mod follow;
mod histogram;
mod inventory;
mod reception;
mod report;
pub(crate) mod sink;
pub(crate) mod status;
pub(crate) mod tally;
pub(crate) mod view;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use anyhow::Result;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use opencv::core::{LogLevel, set_log_level};

use crate::console::{self as output, Output};
use crate::exit;
use crate::recv::args::Args;
use crate::recv::reception::{Reception, Sinks};
use crate::recv::report::Report;
use crate::recv::tally::Tally;
use crate::recv::view::Viewer;
use crate::stop;

/// The command's arguments, for completions and manual pages.
pub fn command() -> clap::Command {
    Args::command()
}

/// Runs the command with the arguments of this process.
pub fn main() -> ExitCode {
    let args = arguments();
    exit::exit("shm-recv", run(&args))
}

/// Those of the command. What makes no sense ends it.
fn arguments() -> Args {
    let args = Args::parse();
    let other = [
        (args.json, "--json"),
        (args.log, "--log"),
        (args.raw.is_some(), "--raw"),
    ];
    if args.view == args::View::Terminal
        && let Some((_, flag)) = other.into_iter().find(|(given, _)| *given)
    {
        // That a value of one flag excludes another, clap does not know.
        let why = format!("--view terminal cannot be used with {flag}: both need the terminal");
        Args::command()
            .error(ErrorKind::ArgumentConflict, why)
            .exit();
    }
    args
}

fn run(args: &Args) -> Result<()> {
    if args.list {
        inventory::list(args.json)
    } else if args.clean {
        inventory::clean(args.json)
    } else {
        receive(args)
    }
}

fn receive(args: &Args) -> Result<()> {
    // What OpenCV would say, the errors say better.
    set_log_level(LogLevel::LOG_LEVEL_SILENT)?;
    stop::on_signals()?;
    let sinks = Sinks::new(args)?;
    let (place, screen) = view::open(args)?;
    let screen = screen.as_ref();
    let result = |text: &str| {
        if args.raw.is_some() {
            output::warn(text);
            Ok(())
        } else {
            output::line(text)
        }
    };
    // Above what stays in place, if both are on the terminal.
    let above = screen.filter(|_| io::stderr().is_terminal());
    let say = |text: &str| above.map_or_else(|| output::warn(text), |screen| screen.say(text));
    let note = |text: &str| {
        if !args.quiet {
            say(text);
        }
    };
    let output = Output::new(args.json, args.quiet, &result, &say);
    let report = match screen {
        Some(screen) if !args.quiet => Report::status(screen),
        _ => Report::Lines(output),
    };
    let viewer = Viewer::new(&args.name, place, screen, &say);
    let mut reception = Reception::new(args, output, &note, report, viewer, sinks);
    let received = reception.run();
    if let Some(screen) = screen {
        screen.close();
    }
    received.and(conclude(args, output, &result, &reception.tally))
}

/// What is told at the end: the summary, and how the delays spread.
fn conclude(
    args: &Args,
    output: Output,
    result: &dyn Fn(&str) -> Result<()>,
    tally: &Tally,
) -> Result<()> {
    tally.summary(output)?;
    let histogram = histogram::text(&tally.delays.times);
    if args.quiet || args.json || histogram.is_empty() {
        return Ok(());
    }
    result(&histogram)
}
