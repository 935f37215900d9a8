//! The flags of `shm-bridge`, with their help.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use shm_frame::Name;
use zenoh::config::EndPoint;
use zenoh::key_expr::OwnedKeyExpr;

/// Carries the newest frames of a shared-memory segment to another machine, over zenoh: `put` where
/// the camera is, `get` where the frames are wanted
#[derive(Debug, Parser)]
#[command(name = "shm-bridge", version, after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Take frames out of a segment and publish them under a key, while anybody subscribes to it
    Put(Put),
    /// Subscribe to a key, and send its frames into a segment of this machine
    Get(Get),
}

const EXAMPLES: &str = "\
Examples:
  robot$ shm-bridge put robot/cam --name /cam --listen tcp/0.0.0.0:7447
  desk$  shm-bridge get robot/cam --name /cam --connect tcp/robot:7447
  robot$ shm-bridge put robot/cam --name /cam --listen tcp/0.0.0.0:7447 --jpeg 90 --max-fps 15";

#[derive(Debug, clap::Args)]
pub(crate) struct Put {
    /// Where the frames are published, like robot/cam
    #[arg(value_name = "KEY", value_parser = key)]
    pub key: OwnedKeyExpr,
    /// The segment's name, as in /dev/shm; a leading slash may be left out
    #[arg(short, long, value_name = "NAME", default_value = "/mmaptest_shm", help_heading = FRAMES)]
    pub name: Name,
    /// Send JPEGs of this quality, 1 to 100, instead of the pixels. For frames of 8 bits and 1, 3
    /// or 4 channels; alpha is not sent
    #[arg(
        long, value_name = "QUALITY", value_parser = clap::value_parser!(u8).range(1..=100),
        help_heading = FRAMES
    )]
    pub jpeg: Option<u8>,
    /// Send at most so many frames per second: the newest each time
    #[arg(long, value_name = "N", value_parser = rate, help_heading = FRAMES)]
    pub max_fps: Option<f64>,
    /// Stop after this many frames
    #[arg(
        short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..),
        help_heading = FRAMES
    )]
    pub count: Option<u64>,
    #[command(flatten)]
    pub network: Network,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Get {
    /// Where the frames are published, like robot/cam
    #[arg(value_name = "KEY", value_parser = key)]
    pub key: OwnedKeyExpr,
    /// Stop after this many frames
    #[arg(
        short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..),
        help_heading = FRAMES
    )]
    pub count: Option<u64>,
    /// The segment's name, as in /dev/shm; a leading slash may be left out
    #[arg(short, long, value_name = "NAME", default_value = "/mmaptest_shm", help_heading = SEGMENT)]
    pub name: Name,
    /// Slots, 1 to 16. Receivers can lease all but two
    #[arg(
        long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u8).range(1..=16),
        help_heading = SEGMENT
    )]
    pub slots: u8,
    /// Permissions of the segment. 0644 lets other users receive
    #[arg(
        long, value_name = "OCTAL", default_value = "0600", value_parser = mode,
        help_heading = SEGMENT
    )]
    pub mode: u32,
    /// Take the name over from a live sender
    #[arg(long, help_heading = SEGMENT)]
    pub replace: bool,
    #[command(flatten)]
    pub network: Network,
    #[command(flatten)]
    pub output: Output,
}

/// How the two ends find each other. Without any of these, by multicast on the local network.
#[derive(Debug, clap::Args)]
pub(crate) struct Network {
    /// Wait here for the other end: tcp/0.0.0.0:7447; or udp/ or tls/
    #[arg(short, long, value_name = "ENDPOINT", value_parser = endpoint, help_heading = NETWORK)]
    pub listen: Vec<EndPoint>,
    /// Connect to the other end, or to a zenoh router, again and again: tcp/robot:7447
    #[arg(short = 'e', long, value_name = "ENDPOINT", value_parser = endpoint, help_heading = NETWORK)]
    pub connect: Vec<EndPoint>,
    /// zenoh's settings, in JSON5: TLS, users, access control, and all else. The flags come on top
    #[arg(long, value_name = "FILE", help_heading = NETWORK)]
    pub config: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Output {
    /// Print JSON, one object a line
    #[arg(short, long, help_heading = OUTPUT)]
    pub json: bool,
    /// Print only the summary; with --json, everything except frames
    #[arg(short, long, help_heading = OUTPUT)]
    pub quiet: bool,
}

// The headings of the help.
const FRAMES: &str = "Frames";
const SEGMENT: &str = "Segment";
const NETWORK: &str = "Network";
const OUTPUT: &str = "Output";

fn key(text: &str) -> Result<OwnedKeyExpr, String> {
    match OwnedKeyExpr::try_from(text) {
        Ok(key) if !key.is_wild() && !text.contains('@') => Ok(key),
        _ => {
            Err("not a key like robot/cam: words with single slashes between, no * $ ? # @".into())
        }
    }
}

fn endpoint(text: &str) -> Result<EndPoint, String> {
    const PROTOCOLS: [&str; 3] = ["tcp", "udp", "tls"];
    let endpoint = text.parse::<EndPoint>().ok();
    endpoint
        .filter(|endpoint| PROTOCOLS.contains(&endpoint.protocol().as_str()))
        .ok_or_else(|| {
            "not an endpoint like tcp/robot:7447, udp/robot:7447 or tls/robot:7447".into()
        })
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(fps) if (0.001..=1e6).contains(&fps) => Ok(fps),
        _ => Err("not a number of frames per second: 0.001 to 1000000".into()),
    }
}

fn mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err("not permissions in octal, 0 to 0777".into()),
    }
}
