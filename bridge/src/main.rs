//! `shm-bridge`: the newest frames of a segment on another machine, over zenoh.
//!
//! `put` takes frames out of a segment and publishes them under a key; `get` takes them from that
//! key and sends them into a segment of its own machine.
//!
//! | job | file |
//! |---|---|
//! | the flags | `args` |
//! | frames of a segment into zenoh | `put`, `look` |
//! | frames from zenoh into a segment | `get`, `inbox` |
//! | what goes over the wire: attachments, questions, answers | `wire` |
//! | zenoh's settings and errors | `link` |
//! | the clocks of two machines | `clock` |
//! | `--jpeg` | `jpeg` |
//! | lines of text and JSON | `report`, `event` |
//! | rates in bits/s | `rate` |
//! | the end by a signal; numbers for people | `crates/programs` |

mod args;
mod clock;
mod event;
mod get;
mod inbox;
mod jpeg;
mod link;
mod look;
mod put;
mod rate;
mod report;
mod wire;

use std::io;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use shm_frame_programs::{stop, units};

use crate::args::{Args, Command};

fn main() -> ExitCode {
    let args = Args::parse();
    let Err(error) = run(&args) else {
        return ExitCode::SUCCESS;
    };
    let is_closed_pipe = |cause: &(dyn std::error::Error + 'static)| {
        let error = cause.downcast_ref::<io::Error>();
        error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(is_closed_pipe) {
        // The reader of our output has seen enough: a success, as of `yes | head`.
        return ExitCode::SUCCESS;
    }
    eprintln!("shm-bridge: {}", report::explain(&error));
    ExitCode::FAILURE
}

fn run(args: &Args) -> Result<()> {
    stop::on_signals()?;
    // zenoh's own errors go to stderr; RUST_LOG=zenoh=debug shows all that it does.
    zenoh::init_log_from_env_or("off");
    match &args.command {
        Command::Put(args) => put::put(args),
        Command::Get(args) => get::get(args),
    }
}
