//! A video file.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use opencv::videoio::{self, VideoCapture, VideoCaptureTrait, VideoCaptureTraitConst};
use shm_frame::Shape;

use super::{Next, RATE, Source};
use crate::args::Rate;
use crate::mat;
use crate::outlet::{Outlet, Written};

pub(crate) struct Video {
    path: PathBuf,
    capture: VideoCapture,
    /// The capture's first frame was decoded, and nothing done with it yet.
    fresh: bool,
    /// When the current frame is to be seen, in ms from the file's beginning.
    at_ms: f64,
    shape: Shape,
    frame: mat::Converted,
    /// The file's own.
    rate: Rate,
    /// What was asked for instead.
    asked: Option<Rate>,
    repeat: bool,
}

impl Video {
    pub(crate) fn open(
        path: &Path,
        channels: u8,
        asked: Option<Rate>,
        repeat: bool,
    ) -> Result<Self> {
        let capture = open(path)?;
        let side = |property| -> Result<u32> {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a side in pixels"
            )]
            Ok(capture.get(property)?.clamp(0.0, f64::from(i32::MAX)) as u32)
        };
        let width = side(videoio::CAP_PROP_FRAME_WIDTH)?;
        let height = side(videoio::CAP_PROP_FRAME_HEIGHT)?;
        let fps = capture.get(videoio::CAP_PROP_FPS)?;
        let rate = if (0.001..=1000.0).contains(&fps) {
            Rate {
                fps,
                period: Some(Duration::from_secs_f64(fps.recip())),
            }
        } else {
            RATE
        };
        Ok(Self {
            path: path.to_owned(),
            fresh: true,
            at_ms: 0.0,
            shape: Shape::new(height, width, channels.into())?,
            frame: mat::Converted::new(channels),
            capture,
            rate,
            asked,
            repeat,
        })
    }

    pub(crate) fn rate(&self) -> Rate {
        self.rate
    }

    /// How long the file says it is, in ms.
    fn length_ms(&self) -> Result<f64> {
        Ok(self.capture.get(videoio::CAP_PROP_FRAME_COUNT)? / self.rate.fps * 1000.0)
    }

    /// Fails if the file ended long before it says. What it says is an estimate in some formats, and sound may go on longer than
    /// pictures do: so only what is missing a tenth and a second was broken off for sure.
    fn is_whole(&self) -> Result<()> {
        let (at, length) = (self.at_ms / 1000.0, self.length_ms()? / 1000.0);
        if at > 0.0 && at + 1.0 < 0.9 * length {
            bail!("breaks off after {at:.1} of {length:.1} s");
        }
        Ok(())
    }
}

/// Opens a video and decodes its first frame.
fn open(path: &Path) -> Result<VideoCapture> {
    if path.to_string_lossy().contains("://") {
        bail!("is no file: use ffmpeg -i URL -f rawvideo -pix_fmt bgr24 - | shm-send --raw WxHx3");
    }
    // OpenCV does not say why a file could not be read.
    if File::open(path)?.metadata()?.is_dir() {
        bail!("is a directory: --images sends pictures from one");
    }
    // Else what stands before a colon would be a protocol.
    let mut name = OsString::from("file:");
    name.push(path);
    let mut capture = VideoCapture::from_file(&name, videoio::CAP_FFMPEG)?;
    if !capture.is_opened()? {
        bail!("is no video that OpenCV can read");
    }
    if !capture.grab()? {
        bail!("has no frame that OpenCV can decode");
    }
    Ok(capture)
}

impl Source for Video {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn frames(&self) -> Option<u64> {
        let frames = self.capture.get(videoio::CAP_PROP_FRAME_COUNT).ok()?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "for people"
        )]
        (frames >= 1.0 && !self.repeat).then_some(frames as u64)
    }

    fn can_skip(&self) -> bool {
        true
    }

    fn next(&mut self) -> Result<Next> {
        let context = || format!("--video {}", self.path.display());
        if !std::mem::take(&mut self.fresh) && !self.capture.grab()? {
            self.is_whole().with_context(context)?;
            if !self.repeat {
                return Ok(Next::End);
            }
            self.capture = open(&self.path).with_context(context)?;
            self.at_ms = 0.0;
        }
        let before = self.at_ms;
        self.at_ms = self.capture.get(videoio::CAP_PROP_POS_MSEC)?;
        if let Some(asked) = self.asked {
            return Ok(Next::Frame(asked.period));
        }
        // Frames may be seen for different times. Where none are told, as at the beginning, all for the same.
        let step = Duration::try_from_secs_f64((self.at_ms - before) / 1000.0);
        let step = step.ok().filter(|step| !step.is_zero());
        Ok(Next::Frame(step.or(self.rate.period)))
    }

    fn send(&mut self, outlet: &mut Outlet) -> Result<Option<Written>> {
        let written = outlet.decode(self.shape, |image| {
            if !self.frame.retrieve(&mut self.capture, image)? {
                bail!("--video {}: a frame cannot be decoded", self.path.display());
            }
            Ok(true)
        })?;
        if let Some(written) = &written {
            self.shape = written.shape;
        }
        Ok(written)
    }
}
