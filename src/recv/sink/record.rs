//! Frames as a video.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::statvfs::statvfs;
use opencv::core::{Mat, Rect, Size};
use opencv::imgproc;
use opencv::videoio::{CAP_FFMPEG, VideoWriter, VideoWriterTrait, VideoWriterTraitConst};
use shm_frame::Shape;

use super::Sink;
use crate::console::Console;
use crate::picture as image;
use crate::recv::args::Args;
use crate::recv::sink::save;
use crate::recv::taken::Taken;
use crate::units::rate;

/// How long frames are kept to measure their rate, which a video says before its first frame.
const MEASURED: Duration = Duration::from_secs(1);
/// The most that is kept for that, in bytes.
const KEPT: usize = 256 << 20;
/// A single frame has no rate.
const ONE: f64 = 1.0;
/// Bytes to be left on the disk: OpenCV does not tell when it is full, and the end of a video has to be written, too.
const LEFT: u64 = 16 << 20;
/// How often to look at that.
const LOOK: Duration = Duration::from_millis(250);
/// How much faster or slower than it came a video may play before that is told.
const TOLERANCE: f64 = 0.1;

/// Writes frames into a video, and into another when their size changes.
struct Recorder {
    path: PathBuf,
    video: Option<Video>,
}

/// The frames of one size.
struct Video {
    path: PathBuf,
    shape: Shape,
    state: State,
    /// When the first frame came and when the last one.
    span: (Instant, Instant),
    frames: u64,
    looked: Instant,
}

enum State {
    /// The rate is being measured.
    Kept(Vec<Vec<u8>>),
    Written {
        writer: VideoWriter,
        fps: f64,
    },
}

pub(super) fn open(args: &Args) -> Result<Option<Box<dyn Sink>>> {
    let recorder = args.record.as_deref().map(Recorder::new).transpose()?;
    Ok(recorder.map(|recorder| Box::new(recorder) as Box<dyn Sink>))
}

impl Sink for Recorder {
    fn name(&self) -> &'static str {
        "record"
    }

    fn take(&mut self, taken: &Taken, console: &Console) -> Result<()> {
        self.add(&taken.pixels, taken.frame.shape, &|text| console.note(text))
    }

    fn finish(&mut self, console: &Console) -> Result<()> {
        self.end(&|text| console.note(text))
    }
}

impl Recorder {
    fn new(path: &Path) -> Result<Self> {
        let flag = || format!("--record {}", path.display());
        ensure!(
            !path.exists(),
            "{}: it is there already, and stays: use another name, or remove it",
            flag()
        );
        // What is wrong with the path is known now, and not when the first frame came.
        fs::File::create_new(path).with_context(flag)?;
        fs::remove_file(path).with_context(flag)?;
        Ok(Self {
            path: path.to_owned(),
            video: None,
        })
    }

    fn add(&mut self, pixels: &[u8], shape: Shape, note: &dyn Fn(&str)) -> Result<()> {
        let flag = format!("--record {}", self.path.display());
        if let Some(last) = self.video.take_if(|video| video.shape != shape) {
            last.finish(note).with_context(|| flag.clone())?;
        }
        let video = match &mut self.video {
            Some(video) => video,
            empty => {
                let video = Video::begin(next(&self.path), shape).with_context(|| flag.clone())?;
                if video.path != self.path {
                    note(&format!(
                        "{flag}: frames are {shape} now, and go on in {}",
                        video.path.display()
                    ));
                }
                empty.insert(video)
            }
        };
        video.add(pixels).context(flag)
    }

    fn end(&mut self, note: &dyn Fn(&str)) -> Result<()> {
        let flag = || format!("--record {}", self.path.display());
        let video = self.video.take();
        video
            .map_or(Ok(()), |video| video.finish(note))
            .with_context(flag)
    }
}

/// The path, or one like it if there is such a file.
fn next(path: &Path) -> PathBuf {
    let text = |part: Option<&OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let directory = path.parent().unwrap_or(Path::new(""));
    save::free(directory, &text(path.file_stem()), &text(path.extension()))
}

impl Video {
    fn begin(path: PathBuf, shape: Shape) -> Result<Self> {
        let now = Instant::now();
        ensure!(
            shape.width() > 1 && shape.height() > 1,
            "a video's sides are even, and frames are {shape}"
        );
        Ok(Self {
            path,
            shape,
            state: State::Kept(Vec::new()),
            span: (now, now),
            frames: 0,
            looked: now,
        })
    }

    fn add(&mut self, pixels: &[u8]) -> Result<()> {
        self.span.1 = Instant::now();
        self.frames += 1;
        match &mut self.state {
            State::Kept(kept) => {
                kept.push(pixels.to_vec());
                let bytes = (kept.len() + 1) * pixels.len();
                if self.frames > 1 && (self.span.1 - self.span.0 >= MEASURED || bytes > KEPT) {
                    self.open()?;
                }
            }
            State::Written { writer, .. } => write(writer, pixels, self.shape)?,
        }
        if self.looked.elapsed() >= LOOK {
            self.looked = Instant::now();
            self.check_room()?;
        }
        Ok(())
    }

    /// Frames in a second, as they came.
    fn fps(&self) -> f64 {
        let seconds = (self.span.1 - self.span.0).as_secs_f64();
        match rate(self.frames - 1, seconds) {
            0.0 => ONE,
            // MPEG-4 has 16 bits for what OpenCV makes of it: the rate by 1, 10 or 100.
            fps if fps < 500.0 => (fps * 100.0).round().max(1.0) / 100.0,
            fps => fps.round().min(60_000.0),
        }
    }

    /// Opens the file at the rate measured, and writes what was kept.
    fn open(&mut self) -> Result<()> {
        self.check_room()?;
        let fps = self.fps();
        let codec = if self.path.extension() == Some(OsStr::new("avi")) {
            ['M', 'J', 'P', 'G']
        } else {
            ['m', 'p', '4', 'v']
        };
        let [a, b, c, d] = codec;
        let sides = Size::new(self.shape.width() & !1, self.shape.height() & !1);
        let codec = VideoWriter::fourcc(a, b, c, d)?;
        let mut writer =
            VideoWriter::new_with_backend(&self.path, CAP_FFMPEG, codec, fps, sides, true)?;
        ensure!(
            writer.is_opened()?,
            "OpenCV cannot write a video of {}x{} at {fps:.1} frames/s there",
            sides.width,
            sides.height
        );
        if let State::Kept(kept) = &self.state {
            for pixels in kept {
                write(&mut writer, pixels, self.shape)?;
            }
        }
        self.state = State::Written { writer, fps };
        Ok(())
    }

    fn check_room(&self) -> Result<()> {
        let directory = match self.path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let disk = statvfs(directory)?;
        let free = disk.blocks_available() * disk.fragment_size();
        if free < LEFT {
            #[expect(clippy::cast_precision_loss, reason = "for people, with one decimal")]
            let mb = |bytes: u64| bytes as f64 / 1e6;
            bail!(
                "its disk has {:.1} MB free, and the last {:.1} MB are left alone: free some",
                mb(free),
                mb(LEFT)
            );
        }
        Ok(())
    }

    fn finish(mut self, note: &dyn Fn(&str)) -> Result<()> {
        if matches!(self.state, State::Kept(_)) {
            self.open()?;
        }
        let came = self.fps();
        if let State::Written { writer, fps } = &mut self.state {
            writer.release()?;
            let (frames, path) = (self.frames, self.path.display());
            let even = if (self.shape.width() | self.shape.height()) & 1 == 1 {
                ", without the odd column or row"
            } else {
                ""
            };
            note(&format!(
                "recorded {frames} frames at {fps:.1} frames/s in {path}{even}"
            ));
            if self.frames > 1 && (*fps / came - 1.0).abs() > TOLERANCE {
                note(&format!(
                    "{path} plays {:.1} times as fast as it came: the rate in its first second was {fps:.1} frames/s, and {came:.1} in all",
                    *fps / came
                ));
            }
        }
        Ok(())
    }
}

/// As BGR, and with even sides, which is what OpenCV takes.
fn write(writer: &mut VideoWriter, pixels: &[u8], shape: Shape) -> Result<()> {
    let frame = image::view(pixels, shape)?;
    let even = Rect::new(0, 0, shape.width() & !1, shape.height() & !1);
    let even = Mat::roi(&frame, even)?;
    let code = match shape.channels() {
        1 => imgproc::COLOR_GRAY2BGR,
        4 => imgproc::COLOR_BGRA2BGR,
        _ => return Ok(writer.write(&even)?),
    };
    let mut bgr = Mat::default();
    imgproc::cvt_color_def(&even, &mut bgr, code)?;
    Ok(writer.write(&bgr)?)
}
