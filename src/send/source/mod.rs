//! Where frames come from.

mod camera;
pub(super) mod cameras;
mod decode;
mod film;
mod mcap;
mod pictures;
mod raw;
mod test_picture;
mod whole;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use shm_frame::{Shape, Size};

use crate::console::Console;
use crate::picture;

use self::camera::Camera;
use self::film::Video;
use self::mcap::Replay;
use self::pictures::{Pictures, Still};
use self::raw::Raw;
use self::test_picture::TestPicture;
use crate::send::args::{self, Args, Rate};
use crate::send::outlet::{Outlet, Written};

/// How long to wait at a time, so that signals are answered and the segment is looked after.
pub(crate) const SLICE: Duration = Duration::from_millis(50);

/// The rate of sources that have none of their own.
const RATE: Rate = Rate {
    fps: 30.0,
    period: Some(Duration::from_nanos(33_333_333)),
};
/// The size of the test picture.
const SIZE: (u32, u32) = (640, 404);

/// Where frames come from.
pub(crate) trait Source {
    /// The shape that the first frame probably has.
    fn shape(&self) -> Shape;

    /// About how many frames there are, if they end.
    fn frames(&self) -> Option<u64> {
        None
    }

    /// Whether the frame may be skipped if it is late.
    fn can_skip(&self) -> bool {
        false
    }

    /// Goes on to the next frame. If it has to wait for one, waits for [`SLICE`].
    fn next(&mut self) -> Result<Next>;

    /// Sends that frame. `None`: it could not be read whole, or the command is to end.
    fn send(&mut self, outlet: &mut Outlet) -> Result<Option<Written>>;
}

/// The result of [`Source::next`].
pub(crate) enum Next {
    /// A frame, due this long after the last one, or at once.
    Frame(Option<Duration>),
    /// None yet.
    Nothing,
    /// There are no more. The last one is to be seen so long.
    End(Option<Duration>),
}

/// What a path is, as the flags tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Picture,
    Pictures,
    Film,
}

/// What a path probably is. Nothing is read of what can be read only once.
pub(crate) fn kind(path: &Path) -> Kind {
    let metadata = path.metadata();
    if metadata.as_ref().is_ok_and(std::fs::Metadata::is_dir) {
        return Kind::Pictures;
    }
    let text = path.to_string_lossy();
    if metadata.is_err() && text.contains(['*', '?', '[']) && !text.contains("://") {
        return Kind::Pictures;
    }
    if pictures::is_picture(path) {
        Kind::Picture
    } else {
        Kind::Film
    }
}

/// A source, and its rate as text.
pub(crate) type Opened = (Box<dyn Source>, String);

/// Opens the source that the flags ask for.
pub(crate) fn open(args: &Args, console: &Console) -> Result<Opened> {
    let rate = args.fps.unwrap_or(RATE);
    if let Some(path) = &args.image {
        let context = || format!("--image {}", path.display());
        let still = Still::open(path, args, console, rate.period).with_context(context)?;
        Ok((Box::new(still), describe(rate)))
    } else if !args.images.is_empty() {
        let pictures = Pictures::open(args, console, rate.period)?;
        Ok((Box::new(pictures), describe(rate)))
    } else if let Some(path) = &args.video {
        let context = || format!("--video {}", path.display());
        if mcap::is_recording(path) {
            let replay = Replay::open(path, args).with_context(context)?;
            let rate = replay.describe();
            return Ok((Box::new(replay), rate));
        }
        if let Some(stream) = &args.stream {
            bail!("--stream {stream}: {} is no MCAP file", path.display());
        }
        let video = Video::open(path, args, console).with_context(context)?;
        let rate = if video.is_live() {
            "as they come".to_owned()
        } else {
            describe(args.fps.unwrap_or_else(|| video.rate()))
        };
        Ok((Box::new(video), rate))
    } else if let Some(args::Camera::Device(path)) = &args.camera {
        let context = || format!("--camera {}", path.display());
        let camera = Camera::open(path, args.size, args.fps, args.channels, args.captured);
        let (camera, rate) = camera.with_context(context)?;
        Ok((Box::new(camera), rate))
    } else if let Some(shape) = args.raw {
        let period = args.fps.and_then(|rate| rate.period);
        let raw = Raw::open(shape, period);
        let raw = raw.with_context(|| format!("--raw {shape}"))?;
        let rate = period.map_or("as they come".to_owned(), |_| describe(rate));
        Ok((Box::new(raw), rate))
    } else {
        let (width, height) = args.size.unwrap_or(SIZE);
        let shape = Shape::new(Size { width, height }, picture::eight_bit(args.channels))
            .context("--size and --channels")?;
        Ok((
            Box::new(TestPicture::new(shape, rate.period)),
            describe(rate),
        ))
    }
}

fn describe(rate: Rate) -> String {
    match rate.period {
        None => "as fast as possible".to_owned(),
        Some(_) => frames_per_second(rate.fps),
    }
}

fn frames_per_second(fps: f64) -> String {
    format!("{} frames/s", (fps * 100.0).round() / 100.0)
}
