//! `shm-recv`: takes the newest frames out of a named shared-memory segment.
//!
//! | job | file |
//! |---|---|
//! | the flags | `args` |
//! | the segments of a name, one after the other | `follow` |
//! | the running loop: takes frames and hands them on | `reception` |
//! | a line for each frame, or a status line | `report`, `status` |
//! | a frame for views and sinks, and its memory | `taken` |
//! | the newest frame, between receiving and showing | `stage` |
//! | frames in a window or in the terminal, and keys | `view` |
//! | frames in files, videos, pipes and plots | `sink` |
//! | the summary | `tally`, `histogram` |
//! | `--list` and `--clean` | `inventory` |

mod args;
mod follow;
mod histogram;
mod inventory;
mod reception;
mod report;
mod sink;
mod stage;
mod status;
mod taken;
mod tally;
mod view;
mod wall;

use std::panic;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::Result;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use opencv::core::{LogLevel, set_log_level};

use crate::av::Container;
use crate::console::{Console, Settings};
use crate::exit;
use crate::recv::args::Args;
use crate::recv::reception::Reception;
use crate::recv::sink::{Opener, Sink, mcap, record};
use crate::recv::stage::Stage;
use crate::recv::tally::Tally;
use crate::recv::view::Viewer;
use crate::remedy;
use crate::stop;

/// The command's arguments, for completions and manual pages.
pub fn command() -> clap::Command {
    Args::command()
}

/// Runs the command with the arguments of this process.
pub fn main() -> ExitCode {
    let args = arguments();
    exit::exit("shm-recv", remedy::RECV, run(&args))
}

/// The arguments. Usage errors end the process.
fn arguments() -> Args {
    let args = Args::parse();
    let others = [
        (args.json, "--json"),
        (args.log, "--log"),
        (args.raw.is_some(), "--raw"),
    ];
    let path = args.record.as_deref();
    let is_mkv = path.and_then(record::container) == Some(Container::Mkv);
    for (given, fits, why) in [
        (
            args.lossless,
            is_mkv,
            "--lossless is for --record FILE.mkv: other films lose something, and .mcap never does",
        ),
        (
            args.compression.is_some(),
            path.is_some_and(mcap::is_mcap),
            "--compression is for --record FILE.mcap",
        ),
    ] {
        if given && !fits {
            Args::command()
                .error(ErrorKind::ArgumentConflict, why)
                .exit();
        }
    }
    // Clap knows conflicts of flags, but not of a single value of a flag.
    if args.view == args::View::Terminal
        && let Some((_, flag)) = others.into_iter().find(|(given, _)| *given)
    {
        let why = format!("--view terminal cannot be used with {flag}: both need the terminal");
        Args::command()
            .error(ErrorKind::ArgumentConflict, why)
            .exit();
    }
    args
}

fn run(args: &Args) -> Result<()> {
    let settings = Settings {
        json: args.json,
        quiet: args.quiet,
        stdout_taken: args.raw.is_some(),
    };
    if args.list {
        inventory::list(&Console::new(settings))
    } else if args.clean {
        inventory::clean(&Console::new(settings))
    } else {
        receive(args, settings)
    }
}

fn receive(args: &Args, settings: Settings) -> Result<()> {
    // Silence OpenCV's log: our errors carry the cause.
    set_log_level(LogLevel::LOG_LEVEL_SILENT)?;
    stop::on_signals()?;
    let opener = Opener::new(args, false)?;
    let sinks = opener.open(&args.name)?;
    let (place, screen) = view::open(args)?;
    let console = Console::with_screen(settings, screen);
    let mut viewer = Viewer::new(args.name.clone(), place, console.clone());
    let (received, tally) = if viewer.is_somewhere() {
        beside(args, &console, &mut viewer, sinks)
    } else {
        let mut reception = Reception::new(args, console.clone(), sinks, None);
        (reception.run(|| false), reception.tally)
    };
    let received = received.and(opener.finish(&console));
    // The summary comes in any case; an error of the run comes first.
    drop(viewer);
    console.close();
    let told = tally.tell(&console);
    received.and(told)
}

/// Receives in another thread than it shows, so that drawing never makes a frame late. The main
/// thread shows: Qt, which is under OpenCV's windows, wants that one.
fn beside(
    args: &Args,
    console: &Console,
    viewer: &mut Viewer,
    sinks: Vec<Box<dyn Sink>>,
) -> (Result<()>, Tally) {
    let stage = Stage::new(args.name.to_string());
    let closed = AtomicBool::new(false);
    thread::scope(|scope| {
        let receiving = scope.spawn(|| {
            let mut reception = Reception::new(args, console.clone(), sinks, Some(&stage));
            let received = reception.run(|| closed.load(Ordering::Relaxed));
            stage.end();
            (received, reception.tally)
        });
        let shown = viewer.run(&stage);
        closed.store(true, Ordering::Relaxed);
        let joined = receiving.join();
        let (received, tally) = joined.unwrap_or_else(|panic| panic::resume_unwind(panic));
        (received.and(shown), tally)
    })
}
