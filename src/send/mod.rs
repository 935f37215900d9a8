//! `shm-send`: puts images into a named shared-memory segment.
//!
//! | job | file |
//! |---|---|
//! | the flags | `args` |
//! | where frames come from | `source`, `capture` |
//! | when a frame is due | `pace` |
//! | the segment that frames are written into | `outlet` |
//! | the lines that go with the frames | `meta` |
//! | parts, sizes and turns of frames on their way | `transform` |
//! | the running loop: from the source into the segment | `transmission` |
//! | the window of `--show` | `display` |
//! | the summary | `tally` |

mod args;
mod capture;
mod display;
mod meta;
mod outlet;
mod pace;
mod source;
mod tally;
mod transform;
mod transmission;

use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, Parser};
use opencv::core::{LogLevel, set_log_level};

use crate::console::{Console, Settings};
use crate::exit;
use crate::remedy;
use crate::send::args::Args;
use crate::stop;

/// The command's arguments, for completions and manual pages.
pub fn command() -> clap::Command {
    Args::command()
}

/// Runs the command with the arguments of this process.
pub fn main() -> ExitCode {
    let args = Args::parse();
    exit::exit("shm-send", remedy::SEND, run(&args))
}

fn run(args: &Args) -> Result<()> {
    // Silence OpenCV's log: our errors carry the cause.
    set_log_level(LogLevel::LOG_LEVEL_SILENT)?;
    stop::on_signals()?;
    let console = Console::new(Settings {
        json: args.json,
        quiet: args.quiet,
        stdout_taken: false,
    });
    if args.camera == Some(args::Camera::List) {
        return source::cameras::list(&console);
    }
    if args.show {
        display::beside(&args.name, |window| {
            transmission::run(args, &console, || window.open())
        })
    } else {
        transmission::run(args, &console, || Ok(()))
    }
}
