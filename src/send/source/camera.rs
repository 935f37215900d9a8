//! A camera, by V4L2.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use opencv::core::Vector;
use opencv::videoio::{self, VideoCapture, VideoCaptureTrait, VideoCaptureTraitConst, VideoWriter};
use shm_frame::{Shape, Size};

use super::{Next, SLICE, Source, frames_per_second};
use crate::picture;
use crate::send::args::Rate;
use crate::send::capture;
use crate::send::outlet::{Outlet, Written};

/// How long a camera may give no frame: some need seconds to begin.
const PATIENCE: Duration = Duration::from_secs(10);
/// One is filled while the other one is read: with less a camera loses every second frame, with more frames grow old in it.
const BUFFERS: f64 = 2.0;

pub(crate) struct Camera {
    path: PathBuf,
    /// The camera, alone: OpenCV waits for one of several.
    cameras: Vector<VideoCapture>,
    capture: VideoCapture,
    shape: Shape,
    frame: capture::Converted,
    /// When the last frame came.
    last: Instant,
}

/// What a camera can be asked for.
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
    /// Whether this is what was asked for: OpenCV asks for whole frames a second, and cameras have rates like 29.97.
    fn is(self, asked: Self) -> bool {
        self.width == asked.width
            && self.height == asked.height
            && (self.fps - asked.fps).abs() < 1.0
    }
}

impl Camera {
    /// Opens a camera, and says what it gives.
    pub(crate) fn open(
        path: &Path,
        size: Option<(u32, u32)>,
        rate: Option<Rate>,
        channels: u8,
    ) -> Result<(Self, String)> {
        probe(path)?;
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
            // Many have their larger sizes and higher rates only compressed.
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
        };
        Ok((camera, what))
    }
}

/// What the camera gives now.
fn mode(capture: &VideoCapture) -> Result<Mode> {
    Ok(Mode {
        width: capture::side(capture, videoio::CAP_PROP_FRAME_WIDTH)?,
        height: capture::side(capture, videoio::CAP_PROP_FRAME_HEIGHT)?,
        fps: capture.get(videoio::CAP_PROP_FPS)?,
    })
}

/// Asks for something, and says what is given.
fn ask(capture: &mut VideoCapture, asked: Mode) -> Result<Mode> {
    // Whether it was heeded is seen by what is given.
    capture.set(videoio::CAP_PROP_FRAME_WIDTH, asked.width.into())?;
    capture.set(videoio::CAP_PROP_FRAME_HEIGHT, asked.height.into())?;
    capture.set(videoio::CAP_PROP_FPS, asked.fps)?;
    mode(capture)
}

/// Says why a device cannot be a camera, which OpenCV does not.
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

/// What cameras there are instead of one that is not.
fn others() -> Result<String> {
    let mut devices = Vec::new();
    for entry in fs::read_dir("/dev")? {
        let path = entry?.path();
        let path = path.to_string_lossy();
        if path.starts_with("/dev/video") {
            devices.push(path.into_owned());
        }
    }
    if devices.is_empty() {
        return Ok("there is no camera, no /dev/video* at all: plug one in, or give the container --device".to_owned());
    }
    devices.sort();
    Ok(format!("there is none, but {}", devices.join(", ")))
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
            // What OpenCV says of it is about its own code.
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
        let written = outlet.decode(self.shape, |image| {
            // One that was damaged on its way is none.
            Ok(self.frame.retrieve(&mut self.capture, image)?)
        })?;
        if let Some(written) = &written {
            self.shape = written.shape;
        }
        Ok(written)
    }
}
