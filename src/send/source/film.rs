//! A video file.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use opencv::videoio::{self, VideoCapture, VideoCaptureTrait, VideoCaptureTraitConst};
use shm_frame::{Shape, Size};

use super::{Next, RATE, Source};
use crate::picture;
use crate::send::args::Rate;
use crate::send::capture;
use crate::send::outlet::{Outlet, Written};

pub(crate) struct Video {
    path: PathBuf,
    capture: VideoCapture,
    /// The capture's first frame was decoded, and nothing done with it yet.
    fresh: bool,
    /// When the current frame is to be seen, about.
    at: Duration,
    shape: Shape,
    frame: capture::Converted,
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
        let width = capture::side(&capture, videoio::CAP_PROP_FRAME_WIDTH)?;
        let height = capture::side(&capture, videoio::CAP_PROP_FRAME_HEIGHT)?;
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
            at: Duration::ZERO,
            shape: Shape::new(Size { width, height }, picture::eight_bit(channels))?,
            frame: capture::Converted::new(channels),
            capture,
            rate,
            asked,
            repeat,
        })
    }

    pub(crate) fn rate(&self) -> Rate {
        self.rate
    }

    /// Fails if the file ended long before it says. What it says is an estimate in some formats, and sound may go on longer than
    /// pictures do: so only where a tenth and a second is missing it was broken off for sure.
    fn check_end(&self) -> Result<()> {
        let at = self.at.as_secs_f64();
        let claimed = self.capture.get(videoio::CAP_PROP_FRAME_COUNT)? / self.rate.fps;
        if at + 1.0 < 0.9 * claimed {
            bail!("breaks off after {at:.1} of the {claimed:.1} s it claims to have");
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
        let mut begins = std::mem::take(&mut self.fresh);
        if !begins && !self.capture.grab()? {
            self.check_end().with_context(context)?;
            if !self.repeat {
                return Ok(Next::End);
            }
            self.capture = open(&self.path).with_context(context)?;
            begins = true;
        }
        let at_ms = self.capture.get(videoio::CAP_PROP_POS_MSEC)?;
        let at = Duration::try_from_secs_f64(at_ms / 1000.0).unwrap_or_default();
        // Frames may be seen for different times. OpenCV knows it of most, but not of the last ones.
        let told = at.saturating_sub(self.at);
        let step = if begins || told.is_zero() {
            self.rate.period.unwrap_or_default()
        } else {
            told
        };
        self.at = if begins { at } else { self.at + step };
        Ok(Next::Frame(match self.asked {
            Some(asked) => asked.period,
            None => Some(step),
        }))
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
