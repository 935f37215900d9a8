//! What the command can be told.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use shm_frame::Name;

use crate::cli::parse;

/// Takes the newest whole frames out of a named shared-memory segment, and says how old they are.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Args {
    /// The segment's name, as in /dev/shm; a leading slash may be left out
    #[arg(long, value_name = "NAME", default_value = "/mmaptest_shm")]
    pub name: Name,
    /// Take only frames of this width, in pixels
    #[arg(long, value_name = "W", value_parser = clap::value_parser!(i32).range(1..))]
    pub width: Option<i32>,
    /// Take only frames of this height, in pixels
    #[arg(long, value_name = "H", value_parser = clap::value_parser!(i32).range(1..))]
    pub height: Option<i32>,
    /// Take only frames of this many channels: 1 gray, 3 BGR, 4 BGRA
    #[arg(long, value_name = "C", value_parser = parse::channels)]
    pub channels: Option<u8>,
    /// Stop after this many frames
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Fail when no new frame came for so long [default: wait for ever]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<Duration>,
    /// Where to show frames
    #[arg(long, value_name = "WHERE", default_value = "auto")]
    pub view: View,
    /// Write each frame taken into this directory as a PNG, named by its number
    #[arg(long, value_name = "DIR")]
    pub save: Option<PathBuf>,
    /// Print JSON, one object a line
    #[arg(long)]
    pub json: bool,
    /// Print only the summary; with --json, all but frames
    #[arg(long)]
    pub quiet: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum View {
    /// In a window if there is a display, else nowhere
    Auto,
    /// In a window; q or Esc ends
    Window,
    /// Nowhere
    None,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|&seconds| seconds > 0.0);
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "not a number of seconds above 0".to_owned())
}
