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
//! | the status line, the summary | `status`, `tally` |

mod args;
mod capture;
mod display;
mod meta;
mod outlet;
mod pace;
mod source;
mod status;
mod tally;
mod transform;
mod transmission;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use clap::{CommandFactory, Parser};
use clap_complete::CompleteEnv;

use crate::console::{Console, Settings};
use crate::exit;
use crate::picture;
use crate::remedy;
use crate::send::args::Args;
use crate::stop;
use crate::terminal::{Screen, Stream, Tty};

/// The command's arguments, for completions and manual pages.
pub fn command() -> clap::Command {
    Args::command()
}

/// Runs the command with the arguments of this process.
pub fn main() -> ExitCode {
    CompleteEnv::with_factory(command).complete();
    let mut args = Args::parse();
    args.sort_paths();
    exit::exit("shm-send", remedy::SEND, run(&args))
}

fn run(args: &Args) -> Result<()> {
    picture::load()?;
    stop::on_signals()?;
    let settings = Settings {
        json: args.json,
        quiet: args.quiet,
        stdout_taken: false,
    };
    if args.camera == Some(args::Camera::List) {
        return source::cameras::list(&Console::new(settings));
    }
    let tty = Tty::of(Stream::Stderr).filter(|_| !args.json && !args.quiet);
    let screen = tty.map(Screen::status_line).transpose()?;
    let console = Console::with_screen(settings, screen.map(Arc::new));
    transmission::run(args, &console)
}
