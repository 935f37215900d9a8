//! A camera, through V4L2.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use opencv::core::Vector;
use opencv::videoio::{self, VideoCapture, VideoCaptureTrait, VideoCaptureTraitConst, VideoWriter};
use rustix::time::{ClockId, clock_gettime};
use shm_frame::{Shape, Size};

use super::{Next, SLICE, Source, cameras, frames_per_second};
use crate::send::args::Rate;
use crate::send::capture;
use crate::send::outlet::{Outlet, Written};
use crate::{late, picture};

/// How long to wait for a frame: some cameras need seconds to begin.
const PATIENCE: Duration = Duration::from_secs(10);
/// One is filled while the other is read. With fewer, a camera loses every second frame; with more,
/// frames grow old in it.
const BUFFERS: f64 = 2.0;

pub(crate) struct Camera {
    path: PathBuf,
    /// The camera alone, in the form in which OpenCV waits for several.
    cameras: Vector<VideoCapture>,
    capture: VideoCapture,
    shape: Shape,
    frame: capture::Converted,
    /// When the last frame came.
    last: Instant,
    /// Whether to say when pictures were taken.
    captured: bool,
}

/// A size and a rate that a camera can be asked for.
#[derive(Clone, Copy, Debug)]
struct Mode {
    width: u32,
    height: u32,
    fps: f64,
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { width, height, fps } = self;
        write!(f, "{width}x{height} at {}", frames_per_second(*fps))
    }
}

impl Mode {
    /// Whether this is the mode that was asked for. Rates may differ by less than 1: OpenCV asks
    /// for whole frames per second, and cameras have rates such as 29.97.
    fn is(self, asked: Self) -> bool {
        self.width == asked.width
            && self.height == asked.height
            && (self.fps - asked.fps).abs() < 1.0
    }
}

impl Camera {
    /// Opens a camera. Also returns its rate as text, or its mode if that is not the one asked for.
    pub(crate) fn open(
        path: &Path,
        size: Option<(u32, u32)>,
        rate: Option<Rate>,
        channels: u8,
        captured: bool,
    ) -> Result<(Self, String)> {
        probe(path)?;
        picture::load_codecs()?;
        late::load("opencv_videoio")?;
        let mut capture = VideoCapture::from_file(path, videoio::CAP_V4L2)?;
        if !capture.is_opened()? {
            bail!("is no camera that OpenCV can read, or another program has it");
        }
        capture.set(videoio::CAP_PROP_BUFFERSIZE, BUFFERS)?;
        let mut given = mode(&capture)?;
        let asked = Mode {
            width: size.map_or(given.width, |(width, _)| width),
            height: size.map_or(given.height, |(_, height)| height),
            fps: rate
                .filter(|rate| rate.period.is_some())
                .map_or(given.fps, |rate| rate.fps),
        };
        if !given.is(asked) {
            given = ask(&mut capture, asked)?;
        }
        if !given.is(asked) {
            // Many cameras deliver their larger sizes and higher rates only as JPEG.
            let jpeg = VideoWriter::fourcc('M', 'J', 'P', 'G')?;
            if capture.set(videoio::CAP_PROP_FOURCC, jpeg.into())? {
                given = ask(&mut capture, asked)?;
            }
        }
        let what = if given.is(asked) {
            frames_per_second(given.fps)
        } else {
            format!("the camera gives {given}, not {asked}")
        };
        let shape = Shape::new(
            Size {
                width: given.width,
                height: given.height,
            },
            picture::eight_bit(channels),
        )?;
        let mut cameras = Vector::new();
        cameras.push(capture);
        let camera = Self {
            path: path.to_owned(),
            capture: cameras.get(0)?,
            cameras,
            shape,
            frame: capture::Converted::new(channels),
            last: Instant::now(),
            captured,
        };
        Ok((camera, what))
    }
}

/// The camera's current mode.
fn mode(capture: &VideoCapture) -> Result<Mode> {
    Ok(Mode {
        width: capture::side(capture, videoio::CAP_PROP_FRAME_WIDTH)?,
        height: capture::side(capture, videoio::CAP_PROP_FRAME_HEIGHT)?,
        fps: capture.get(videoio::CAP_PROP_FPS)?,
    })
}

/// Asks for a mode, and returns the one that the camera chose.
fn ask(capture: &mut VideoCapture, asked: Mode) -> Result<Mode> {
    // The result of `set` tells nothing: read the mode back.
    capture.set(videoio::CAP_PROP_FRAME_WIDTH, asked.width.into())?;
    capture.set(videoio::CAP_PROP_FRAME_HEIGHT, asked.height.into())?;
    capture.set(videoio::CAP_PROP_FPS, asked.fps)?;
    mode(capture)
}

/// Fails with the reason if a device cannot be a camera: OpenCV tells no reason.
fn probe(path: &Path) -> Result<()> {
    let found = fs::metadata(path).and_then(|metadata| {
        if metadata.file_type().is_char_device() {
            File::options().read(true).write(true).open(path)?;
            return Ok(true);
        }
        Ok(false)
    });
    match found {
        Ok(true) => Ok(()),
        Ok(false) => bail!("is no device"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => bail!("{}", others()?),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(error).context("its group, often video, must be one of yours")
        }
        Err(error) => Err(error.into()),
    }
}

/// The cameras of this machine, as a message for a camera that does not exist.
fn others() -> Result<String> {
    let devices = cameras::devices()?;
    if devices.is_empty() {
        return Ok(cameras::NONE.to_owned());
    }
    let devices: Vec<_> = devices.iter().map(|path| path.to_string_lossy()).collect();
    Ok(format!(
        "there is no such camera, but {}",
        devices.join(", ")
    ))
}

/// When the driver took the picture that was grabbed: Unix time in ns. `None`: it does not tell.
fn captured_ns(capture: &VideoCapture) -> Result<Option<u64>> {
    /// An older picture is none of this camera's: the time is by another clock.
    const OLDEST: Duration = Duration::from_secs(10);
    // V4L2's time of a buffer, by the monotonic clock in nearly all drivers.
    let ms = capture.get(videoio::CAP_PROP_POS_MSEC)?;
    let Ok(taken) = Duration::try_from_secs_f64(ms / 1000.0) else {
        return Ok(None);
    };
    let now = clock_gettime(ClockId::Monotonic);
    let now = Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec)?);
    let age = now.checked_sub(taken).filter(|age| *age < OLDEST);
    let unix = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let taken = age.and_then(|age| unix.checked_sub(age));
    Ok(taken
        .map(|taken| u64::try_from(taken.as_nanos()))
        .transpose()?)
}

impl Source for Camera {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn next(&mut self) -> Result<Next> {
        let slice = i64::try_from(SLICE.as_nanos())?;
        match VideoCapture::wait_any(&self.cameras, &mut Vector::new(), slice) {
            Ok(true) => {
                self.last = Instant::now();
                return Ok(Next::Frame(None));
            }
            Ok(false) => {}
            // OpenCV's error tells about its own code only.
            Err(_) => bail!(
                "--camera {}: breaks off, as if it was unplugged",
                self.path.display()
            ),
        }
        if self.last.elapsed() > PATIENCE {
            bail!(
                "--camera {}: no frame for {} s",
                self.path.display(),
                PATIENCE.as_secs()
            );
        }
        Ok(Next::Nothing)
    }

    fn send(&mut self, outlet: &mut Outlet) -> Result<Option<Written>> {
        if self.captured {
            outlet.set_captured_ns(captured_ns(&self.capture)?.unwrap_or(0));
        }
        let written = outlet.decode(self.shape, |image| {
            // A damaged frame is left out.
            Ok(self.frame.retrieve(&mut self.capture, image)?)
        })?;
        if let Some(written) = &written {
            self.shape = written.shape;
        }
        Ok(written)
    }
}
