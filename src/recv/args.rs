//! The flags of `shm-recv`, with their help.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::{Parser, ValueEnum};
use clap_complete::engine::ArgValueCompleter;

use crate::complete;
use crate::parse;
use crate::recv::choice::Wanted;
use crate::recv::serve;
use crate::recv::sink::mcap::{self, Packing};
use crate::recv::sink::record;
use crate::recv::sink::save::Target;

/// Takes the newest whole frames out of a named shared-memory segment, and says how old they are
#[derive(Debug, Parser)]
#[command(name = "shm-recv", version, after_help = EXAMPLES)]
#[expect(clippy::struct_excessive_bools, reason = "flags are bools")]
pub(crate) struct Args {
    /// The same as --name
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(complete::streams), help_heading = TAKEN)]
    pub names: Vec<Wanted>,
    /// The segment's name, as in /dev/shm; a leading slash may be left out. Several times for
    /// several streams; a pattern like 'cam*' for all that match, also those that come later
    /// [default: the one stream there is, else /frame]
    #[arg(
        short, long, value_name = "NAME|PATTERN", add = ArgValueCompleter::new(complete::streams),
        help_heading = TAKEN
    )]
    pub name: Vec<Wanted>,
    /// Take only frames of this width, in pixels
    #[arg(long, value_name = "W", value_parser = clap::value_parser!(i32).range(1..), help_heading = TAKEN)]
    pub width: Option<i32>,
    /// Take only frames of this height, in pixels
    #[arg(long, value_name = "H", value_parser = clap::value_parser!(i32).range(1..), help_heading = TAKEN)]
    pub height: Option<i32>,
    /// Take only frames of this many channels: 1 gray, 3 BGR, 4 BGRA
    #[arg(long, value_name = "C", value_parser = parse::channels(), help_heading = TAKEN)]
    pub channels: Option<u8>,
    /// Stop after this many frames
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = TAKEN)]
    pub count: Option<u64>,
    /// Fail if no new frame comes for this long [default: wait for ever]
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds, help_heading = TAKEN)]
    pub timeout: Option<Duration>,
    /// Stop so long after the first frame
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds, help_heading = TAKEN)]
    pub duration: Option<Duration>,
    /// Stop when the sender ends; if it dies, that is an error
    #[arg(long, help_heading = TAKEN)]
    pub until_closed: bool,
    /// How to wait for a frame
    #[arg(short, long, value_name = "HOW", default_value = "predict", help_heading = TAKEN)]
    pub wait: WaitMode,
    /// Open the segment for reading only, even if you may write it: the first frames are copied
    #[arg(long, help_heading = TAKEN)]
    pub read_only: bool,

    /// Where to show frames
    #[arg(short, long, value_name = "WHERE", default_value = "auto", help_heading = DONE)]
    pub view: View,
    /// Save each frame in this directory, exactly, with a line about it in frames.jsonl. Files are
    /// named by the frame's number, or as in shots/{name}-{frame:06}-{captured}.png: the times
    /// {captured}, {sent} and {received} are Unix time in ns; also {width} and {height}
    #[arg(short, long, value_name = "DIR[/PATTERN]", value_parser = saving(), help_heading = DONE)]
    pub save: Option<Target>,
    /// Save only one of so many frames that are received
    #[arg(
        long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), requires = "save",
        help_heading = DONE
    )]
    pub every: Option<u64>,
    /// Record the frames, each at its own time: as a film, .mp4, .mkv or .avi; or exactly as they
    /// are, with all that is known of them, .mcap. {name} in a film's path is the segment's name
    #[arg(short, long, value_name = "FILE", value_parser = recording(), help_heading = DONE)]
    pub record: Option<PathBuf>,
    /// Record every pixel exactly, for .mkv: FFV1
    #[arg(long, requires = "record", help_heading = DONE)]
    pub lossless: bool,
    /// How to pack the pixels of .mcap [default: zstd]
    #[arg(long, value_name = "HOW", requires = "record", help_heading = DONE)]
    pub compression: Option<Packing>,
    /// Write the pixels of each frame to stdout (-), and all text to stderr
    #[arg(
        long, value_name = "-", value_parser = ["-"], allow_hyphen_values = true, conflicts_with = "json",
        help_heading = DONE
    )]
    pub raw: Option<String>,
    /// Show the stream in browsers, with its numbers, and as NAME.jpg and NAME.mjpg. For other
    /// machines give an address, 0.0.0.0:8080: then a token is wanted, which is printed. Port 0
    /// takes a free one
    #[arg(long, value_name = "[ADDRESS:]PORT", value_parser = serve::address::parse, help_heading = DONE)]
    pub serve: Option<SocketAddr>,

    /// Print a line for each frame, on a terminal too
    #[arg(long, conflicts_with_all = ["json", "quiet"], help_heading = PRINTED)]
    pub log: bool,
    /// Print rate, MB/s, delays and jitter every so many seconds, instead of each frame
    #[arg(long, value_name = "SECONDS", value_parser = seconds, conflicts_with = "log", help_heading = PRINTED)]
    pub interval: Option<Duration>,
    /// Print JSON, one object a line
    #[arg(short, long, help_heading = PRINTED)]
    pub json: bool,
    /// Print only the summary; with --json, everything except frames
    #[arg(short, long, help_heading = PRINTED)]
    pub quiet: bool,
    /// Draw the delays at the end, over time and as a histogram: .svg or .png
    #[arg(long, value_name = "FILE", value_parser = plot, help_heading = PRINTED)]
    pub plot: Option<PathBuf>,

    /// List the segments in /dev/shm and exit. Receivers that copy and never sleep are not counted
    #[arg(short, long, conflicts_with = "clean", conflicts_with_all = RECEIVING, help_heading = INSTEAD)]
    pub list: bool,
    /// With --list: list them again every second
    #[arg(long, requires = "list", help_heading = INSTEAD)]
    pub watch: bool,
    /// Remove the segments whose sender is dead, print their names, and exit
    #[arg(long, conflicts_with_all = RECEIVING, help_heading = INSTEAD)]
    pub clean: bool,
}

// The headings of the help.
const TAKEN: &str = "What to receive";
const DONE: &str = "What to do with frames";
const PRINTED: &str = "What to print";
const INSTEAD: &str = "Instead of receiving";

/// Flags that conflict with --list and --clean.
const RECEIVING: [&str; 23] = [
    "name",
    "names",
    "duration",
    "until_closed",
    "interval",
    "width",
    "height",
    "channels",
    "count",
    "timeout",
    "wait",
    "read_only",
    "view",
    "save",
    "every",
    "record",
    "lossless",
    "compression",
    "raw",
    "serve",
    "log",
    "quiet",
    "plot",
];

const EXAMPLES: &str = "\
Examples:
  shm-recv                            the stream there is, in a window or in the terminal
  shm-recv left right                 two streams side by side; 'cam*' takes all that match
  shm-recv -n cam -v none -r cam.mp4  record it, until ^C
  shm-recv -n cam -v none --raw - |
    ffplay -f rawvideo -pixel_format bgr24 -video_size 640x404 -
  shm-recv -n cam -c 1000 --plot delay.svg
  shm-recv -n cam -v none --interval 1  rate and delay, every second
  shm-recv -n cam --serve 8080        show it in a browser, at http://localhost:8080/
  shm-recv --list                     all segments";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum View {
    /// In a window if there is a display, else in the terminal if stdout is one, else nowhere
    Auto,
    /// In a window; the key ? tells the keys
    Window,
    /// In the terminal, with the same keys
    Terminal,
    /// Nowhere
    None,
}

/// [`shm_frame::WaitMode`], as a flag.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum WaitMode {
    /// Sleep until the sender wakes this receiver
    Sleep,
    /// Sleep until shortly before a steady stream's next frame, then watch for it: at most 5 % of a
    /// processor
    Predict,
    /// Watch all the time: a whole processor
    Spin,
}

impl Args {
    /// The streams that the user asks for.
    pub(super) fn wanted(&self) -> Vec<&Wanted> {
        self.names.iter().chain(&self.name).collect()
    }
}

impl From<WaitMode> for shm_frame::WaitMode {
    fn from(wait: WaitMode) -> Self {
        match wait {
            WaitMode::Sleep => Self::Sleep,
            WaitMode::Predict => Self::Predict,
            WaitMode::Spin => Self::Spin,
        }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|&seconds| seconds > 0.0);
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "not a number of seconds above 0".to_owned())
}

/// Any path with one of these endings, whatever its bytes.
fn recording() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| {
        if record::container(&path).is_some() || mcap::is_mcap(&path) {
            Ok(path)
        } else {
            Err("not a .mp4, .mkv, .avi or .mcap")
        }
    })
}

/// A directory, with a pattern for the names of files in it or without.
fn saving() -> impl TypedValueParser<Value = Target> {
    PathBufValueParser::new().try_map(|path| Target::parse(&path))
}

fn plot(text: &str) -> Result<PathBuf, String> {
    ending(text, &["svg", "png"], "not a .svg or .png")
}

fn ending(text: &str, allowed: &[&str], or: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let ending = path.extension().and_then(|ending| ending.to_str());
    match ending {
        Some(ending) if allowed.contains(&ending) => Ok(path),
        _ => Err(or.to_owned()),
    }
}
