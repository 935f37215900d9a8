//! The flags of `shm-send`, with their help.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Parser, ValueEnum};
use clap_complete::engine::ArgValueCompleter;
use shm_frame::{Format, Name, Shape, Size};

use crate::complete;
use crate::parse;
use crate::recv;
use crate::send::source::{self, Kind};
use crate::send::transform::{Crop, Resize, Transform};

/// Puts images into a named shared-memory segment, from which shm-recv and others take the newest.
/// Without a source, sends a moving test picture with numbered frames
#[derive(Debug, Parser)]
#[command(
    name = "shm-send",
    version,
    group = ArgGroup::new("source").args(["paths", "image", "images", "video", "camera", "raw"]),
    group = ArgGroup::new("files").args(["paths", "image", "images", "video"]).multiple(true),
    group = ArgGroup::new("film").args(["paths", "video"]).multiple(true),
    after_help = EXAMPLES
)]
#[expect(clippy::struct_excessive_bools, reason = "flags are bools")]
pub(crate) struct Args {
    /// A picture, several of them, a folder, a pattern or a film: the same as --image, --images or
    /// --video, whichever fits
    #[arg(value_name = "PATH", help_heading = SOURCE)]
    pub paths: Vec<PathBuf>,
    /// A picture, again and again, in any format that OpenCV reads
    #[arg(short, long, value_name = "PATH", help_heading = SOURCE)]
    pub image: Option<PathBuf>,
    /// Pictures in natural order, img2 before img10, one frame each: files, folders, or patterns
    /// like 'shots/*.png'
    #[arg(long, value_name = "GLOB|DIR", num_args = 1.., help_heading = SOURCE)]
    pub images: Vec<PathBuf>,
    /// A film at its own pace; - is stdin; with a protocol, as in `rtsp://HOST/PATH`, it comes over
    /// the network
    #[arg(long, value_name = "FILE|-|URL", allow_hyphen_values = true, help_heading = SOURCE)]
    pub video: Option<PathBuf>,
    /// The stream of an .mcap file to send, if it has several: the name of its segment
    #[arg(long, value_name = "NAME", requires = "film", help_heading = SOURCE)]
    pub stream: Option<String>,
    /// Begin the film after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = parse::seconds, requires = "film", help_heading = SOURCE)]
    pub start: Option<Duration>,
    /// A camera, as fast as it delivers frames: 0 is /dev/video0; list shows all cameras with their
    /// formats, sizes and rates, and sends nothing
    #[arg(
        long, value_name = "N|/dev/videoN|list", value_parser = camera, allow_negative_numbers = true,
        help_heading = SOURCE
    )]
    pub camera: Option<Camera>,
    /// Frames of this shape from stdin, as they come: ffmpeg's rawvideo in gray, bgr24, bgra, rgb24
    /// (3:rgb) or gray16le (1:u16)
    #[arg(long, value_name = "WxHxC[:ELEMENT][:rgb]", value_parser = raw, help_heading = SOURCE)]
    pub raw: Option<Shape>,
    /// Start pictures and videos again when they end
    #[arg(long = "loop", requires = "files", help_heading = SOURCE)]
    pub repeat: bool,
    /// Size of the test picture [default: 640x404], or the size to ask the camera for
    #[arg(long, value_name = "WxH", value_parser = size, conflicts_with_all = ["files", "raw"], help_heading = SOURCE)]
    pub size: Option<(u32, u32)>,
    /// Convert frames to this many channels: 1 gray, 3 BGR, 4 BGRA
    #[arg(
        long, value_name = "C", default_value = "3", value_parser = parse::channels(), conflicts_with = "raw",
        help_heading = SOURCE
    )]
    pub channels: u8,
    /// Convert pictures and films to 8 bits, and say how. Without this they keep their depth
    #[arg(long, value_name = "8", value_parser = ["8"], conflicts_with = "raw", help_heading = SOURCE)]
    pub depth: Option<String>,
    /// Send this part of each frame: its size, and where its upper left corner is
    #[arg(long, value_name = "WxH+X+Y", value_parser = crop, help_heading = SOURCE)]
    pub crop: Option<Crop>,
    /// Send frames in this size, or so many times as large
    #[arg(long, value_name = "WxH|SCALE", value_parser = resize, help_heading = SOURCE)]
    pub resize: Option<Resize>,
    /// Turn frames to the right by so many degrees
    #[arg(long, value_name = "DEGREES", value_parser = ["90", "180", "270"], help_heading = SOURCE)]
    pub rotate: Option<String>,
    /// Mirror frames: left to right, upside down, or both
    #[arg(long, value_name = "HOW", help_heading = SOURCE)]
    pub flip: Option<Flip>,
    /// Send a line of JSON with each frame: of a file, in order, and the last one again; or the
    /// newest of stdin (-)
    #[arg(
        long, value_name = "FILE|-", allow_hyphen_values = true, help_heading = SOURCE
    )]
    pub meta: Option<PathBuf>,
    /// Send the time at which each picture was taken, if the camera or the film tells
    #[arg(long, conflicts_with_all = ["image", "images", "raw"], help_heading = SOURCE)]
    pub captured: bool,
    /// Frames per second; a camera is asked for this rate; 0 is as fast as possible [default: the
    /// source's own, else 30]
    #[arg(short, long, value_name = "N", value_parser = rate, help_heading = PACE)]
    pub fps: Option<Rate>,
    /// Stop after this many frames
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = PACE)]
    pub count: Option<u64>,
    /// The segment's name, as in /dev/shm; a leading slash may be left out
    #[arg(short, long, value_name = "NAME", default_value = recv::DEFAULT, add = ArgValueCompleter::new(complete::streams), help_heading = SEGMENT)]
    pub name: Name,
    /// Slots, 1 to 16. Receivers can lease all but two. With 1, every frame is where old programs
    /// look for it
    #[arg(
        long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u8).range(1..=16),
        help_heading = SEGMENT
    )]
    pub slots: u8,
    /// Permissions of the segment. 0644 lets other users receive
    #[arg(long, value_name = "OCTAL", default_value = "0600", value_parser = mode, help_heading = SEGMENT)]
    pub mode: u32,
    /// Take the name over from a live sender
    #[arg(long, help_heading = SEGMENT)]
    pub replace: bool,
    /// Show what is sent in a window, which is one more receiver; q or Esc ends
    #[arg(long, help_heading = OUTPUT)]
    pub show: bool,
    /// Print JSON, one object a line
    #[arg(short, long, help_heading = OUTPUT)]
    pub json: bool,
    /// Print only the summary; with --json, everything except frames
    #[arg(short, long, help_heading = OUTPUT)]
    pub quiet: bool,
}

const SOURCE: &str = "Source";
const PACE: &str = "Rate and length";
const SEGMENT: &str = "Segment";
const OUTPUT: &str = "Output";

const EXAMPLES: &str = "\
Examples:
  shm-send                                        the test picture
  shm-send photo.jpg -n cam                       a picture, as segment /cam
  shm-send --images shots/ --loop -f 5            a folder, five pictures a second, in a loop
  shm-send clip.mp4                               a video, once, at its own rate
  shm-send --camera 0 --size 1280x720 -f 30       a webcam
  ffmpeg -i URL -f rawvideo -pix_fmt bgr24 - | shm-send --raw 1280x720x3";

/// A camera, or the wish to know which there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Camera {
    Device(PathBuf),
    List,
}

/// How to mirror frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Flip {
    /// Left to right
    Horizontal,
    /// Upside down
    Vertical,
    /// Both
    Both,
}

impl Args {
    /// Makes paths without a flag the value of the flag that fits.
    pub(super) fn sort_paths(&mut self) {
        let mut paths = std::mem::take(&mut self.paths);
        let kind = match paths.as_slice() {
            [] => return,
            [only] => source::kind(only),
            _ => Kind::Pictures,
        };
        match kind {
            Kind::Picture => self.image = paths.pop(),
            Kind::Pictures => self.images = paths,
            Kind::Film => self.video = paths.pop(),
        }
    }

    /// What is done to each frame on its way.
    pub(crate) fn transform(&self) -> Transform {
        Transform {
            crop: self.crop,
            resize: self.resize,
            rotate: self
                .rotate
                .as_deref()
                .map_or(0, |degrees| degrees.parse().unwrap_or(0)),
            flip: self.flip.map(|flip| match flip {
                Flip::Horizontal => 1,
                Flip::Vertical => 0,
                Flip::Both => -1,
            }),
        }
    }
}

fn crop(text: &str) -> Result<Crop, String> {
    let parts = || {
        let mut parts = text.split('+');
        let (width, height) = size(parts.next()?).ok()?;
        let crop = Crop {
            width,
            height,
            left: parts.next()?.parse().ok()?,
            top: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(crop)
    };
    parts().ok_or_else(|| "not a size and a place like 320x240+160+80".to_owned())
}

fn resize(text: &str) -> Result<Resize, String> {
    if let Ok((width, height)) = size(text) {
        return Ok(Resize::To(width, height));
    }
    match text.parse::<f64>() {
        Ok(scale) if (0.001..=1000.0).contains(&scale) => Ok(Resize::By(scale)),
        _ => Err("not a size like 320x240, nor a number like 0.5".to_owned()),
    }
}

/// A rate, and its period. No period: as fast as possible.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate {
    pub fps: f64,
    pub period: Option<Duration>,
}

fn rate(text: &str) -> Result<Rate, String> {
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

fn mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err("not permissions in octal, 0 to 0777".to_owned()),
    }
}

fn size(text: &str) -> Result<(u32, u32), String> {
    let sides = text.split_once('x').and_then(|(width, height)| {
        let side = |text: &str| text.parse().ok().filter(|&side| side > 0);
        Some((side(width)?, side(height)?))
    });
    sides.ok_or_else(|| "not a size like 640x404".to_owned())
}

fn raw(text: &str) -> Result<Shape, String> {
    const EXAMPLES: &str =
        "not a size and channels like 1280x720x3 (bgr24) or 640x480x1:u16 (gray16le)";
    let (sides, format) = text.rsplit_once('x').ok_or(EXAMPLES)?;
    let (width, height) = size(sides).map_err(|_| EXAMPLES)?;
    let format = format
        .parse::<Format>()
        .map_err(|error| error.to_string())?;
    Shape::new(Size { width, height }, format).map_err(|error| error.to_string())
}

fn camera(text: &str) -> Result<Camera, String> {
    match text.parse::<u8>() {
        Ok(number) => Ok(Camera::Device(format!("/dev/video{number}").into())),
        Err(_) if text.starts_with('/') => Ok(Camera::Device(text.into())),
        Err(_) if text == "list" => Ok(Camera::List),
        Err(_) => {
            Err("not a camera: a number like 0, a device like /dev/video0, or list".to_owned())
        }
    }
}
