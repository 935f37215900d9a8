//! `--save`: frames as files, exactly as they came, and `frames.jsonl`, a line for each of them.
//!
//! Files are encoded by as many threads as the machine has processors, and a file has its name only
//! when it is whole.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, bail, ensure};
use opencv::core::Vector;
use opencv::imgcodecs;
use shm_frame::{Channels, Element, Format, Name, Order, Shape};

use self::pattern::{Pattern, Values};
use super::{Shared, Sink, own_path};
use crate::console::Console;
use crate::event::SavedLine;
use crate::picture;
use crate::recv::args::Args;
use crate::recv::taken::{self, Taken};
use crate::recv::wall::Wall;

pub(in crate::recv) mod pattern;

/// The file beside the pictures that has a line for each.
const LINES: &str = "frames.jsonl";

/// Where frames are saved, and under which names.
#[derive(Clone, Debug)]
pub(in crate::recv) struct Target {
    directory: PathBuf,
    pattern: Option<Pattern>,
}

impl Target {
    /// `DIR`, or `DIR/PATTERN`, whose last part has a field in braces.
    pub(in crate::recv) fn parse(path: &Path) -> Result<Self, String> {
        let is_directory = path.as_os_str().as_encoded_bytes().ends_with(b"/");
        let file = path.file_name().and_then(|file| file.to_str());
        Ok(
            match file.filter(|file| !is_directory && file.contains('{')) {
                None => Self {
                    directory: path.to_owned(),
                    pattern: None,
                },
                Some(file) => Self {
                    directory: path.with_file_name(""),
                    pattern: Some(Pattern::parse(file)?),
                },
            },
        )
    }
}

/// Saves each stream's frames.
struct Saving {
    target: Target,
    every: u64,
    several: bool,
}

#[expect(clippy::unnecessary_wraps, reason = "as all of SINKS")]
pub(super) fn prepare(args: &Args, several: bool) -> Result<Option<Box<dyn Shared>>> {
    let saving = args.save.clone().map(|target| Saving {
        target,
        every: args.every.unwrap_or(1),
        several,
    });
    Ok(saving.map(|saving| Box::new(saving) as Box<dyn Shared>))
}

impl Shared for Saving {
    fn open(&self, stream: &Name) -> Result<Box<dyn Sink>> {
        let Target { directory, pattern } = &self.target;
        let directory = own_path(directory, stream, false);
        let flag = format!("--save {}", directory.display());
        let pattern = pattern
            .clone()
            .unwrap_or_else(|| Pattern::usual(self.several));
        if matches!(pattern.kind(), Some(Kind::Tiff | Kind::Jpeg)) {
            picture::load_codecs()?;
        }
        Ok(Box::new(Saver {
            lines: lines(&directory).with_context(|| flag.clone())?,
            flag,
            pattern,
            directory,
            stream: stream.clone(),
            every: self.every,
            wall: Wall::now()?,
            threads: thread::available_parallelism().map_or(1, usize::from),
            running: VecDeque::new(),
        }))
    }
}

/// Makes a directory, and opens its file of lines.
fn lines(directory: &Path) -> io::Result<File> {
    if directory != Path::new("") {
        fs::create_dir_all(directory)?;
    }
    let mut options = File::options();
    options.read(true).append(true).create(true);
    let mut lines = options.open(directory.join(LINES))?;
    // A line that was not completed stays, but must not spoil the next one.
    let mut last = [b'\n'];
    if lines.seek(SeekFrom::End(-1)).is_ok() {
        lines.read_exact(&mut last)?;
    }
    if last != [b'\n'] {
        lines.write_all(b"\n")?;
    }
    Ok(lines)
}

/// Writes the frames of a stream into a directory.
struct Saver {
    directory: PathBuf,
    flag: String,
    pattern: Pattern,
    stream: Name,
    every: u64,
    wall: Wall,
    lines: File,
    threads: usize,
    /// Frames that are being encoded and written, in their order.
    running: VecDeque<JoinHandle<Result<Saved>>>,
}

/// A frame that was written.
struct Saved {
    path: PathBuf,
    taken: Arc<Taken>,
}

impl Sink for Saver {
    fn name(&self) -> &'static str {
        "save"
    }

    fn every(&self) -> u64 {
        self.every
    }

    fn take(&mut self, taken: &Arc<Taken>, _console: &Console) -> Result<()> {
        if self.running.len() == self.threads {
            self.complete()?;
        }
        let stem = self.pattern.fill(&Values {
            stream: &self.stream,
            frame: &taken.frame,
            wall: self.wall,
        });
        let (directory, kind) = (self.directory.clone(), self.pattern.kind());
        let taken = Arc::clone(taken);
        self.running.push_back(thread::spawn(move || {
            let kind = kind.unwrap_or_else(|| Kind::of(taken.frame.shape.format()));
            let path = write_as(kind, &directory, &stem, &taken.pixels, taken.frame.shape)?;
            Ok(Saved { path, taken })
        }));
        Ok(())
    }

    fn rest(&mut self) -> Result<()> {
        while self.running.front().is_some_and(JoinHandle::is_finished) {
            self.complete()?;
        }
        Ok(())
    }

    fn finish(&mut self, _console: &Console) -> Result<()> {
        let mut first = Ok(());
        while !self.running.is_empty() {
            let completed = self.complete();
            first = first.and(completed);
        }
        first
    }
}

impl Saver {
    /// Waits for the first frame that is being written, and adds its line.
    fn complete(&mut self) -> Result<()> {
        let Some(thread) = self.running.pop_front() else {
            return Ok(());
        };
        let written = thread.join();
        let written = written.unwrap_or_else(|panic| panic::resume_unwind(panic));
        written
            .and_then(|saved| self.add_line(&saved))
            .with_context(|| self.flag.clone())
    }

    /// A line is one write, so that lines of several streams do not mix.
    fn add_line(&mut self, Saved { path, taken }: &Saved) -> Result<()> {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let meta = taken::json_of(&taken.meta);
        let line = SavedLine::new(&file, &self.stream, &taken.frame, meta.as_ref());
        let line = serde_json::to_string(&line)? + "\n";
        let added = self.lines.write_all(line.as_bytes());
        added.with_context(|| format!("cannot write {LINES}"))
    }
}

/// The number that TIFF has for no compression.
const UNCOMPRESSED: i32 = 1;

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::recv) enum Kind {
    Png,
    Tiff,
    /// numpy's array format, which has every type of element.
    Npy,
    /// Not exact: only when it is asked for.
    Jpeg,
}

impl Kind {
    /// The kind that holds such pixels exactly.
    pub(in crate::recv) fn of(format: Format) -> Self {
        [Self::Png, Self::Tiff]
            .into_iter()
            .find(|kind| kind.holds(format))
            .unwrap_or(Self::Npy)
    }

    /// Whether files of this kind hold such pixels, and exactly, but for JPEG.
    fn holds(self, format: Format) -> bool {
        use Channels::{Four, One, Three, Two};
        use Element::{F16, F32, F64, I8, I16, I32, U8, U16};
        match (self, format.element(), format.channels()) {
            (Self::Npy, _, _)
            | (Self::Png | Self::Tiff, U8 | U16, One | Three | Four)
            | (Self::Tiff, F32, One | Three | Four)
            | (Self::Jpeg, U8, One | Three) => true,
            (Self::Png | Self::Tiff | Self::Jpeg, I8 | I16 | I32 | F64 | F16, _)
            | (Self::Png | Self::Jpeg, F32, _)
            | (Self::Png | Self::Tiff | Self::Jpeg, _, Two)
            | (Self::Jpeg, _, Four)
            | (Self::Jpeg, U16, _) => false,
        }
    }

    /// The kind that an ending asks for.
    fn of_ending(ending: &str) -> Option<Self> {
        match ending.to_ascii_lowercase().as_str() {
            "png" => Some(Self::Png),
            "tif" | "tiff" => Some(Self::Tiff),
            "npy" => Some(Self::Npy),
            "jpg" | "jpeg" => Some(Self::Jpeg),
            _ => None,
        }
    }

    /// The kind of files whose names end in this.
    pub(in crate::recv) fn with_ending(ending: &str) -> Option<Self> {
        let all = [Self::Png, Self::Tiff, Self::Npy];
        all.into_iter().find(|kind| kind.ending() == ending)
    }

    pub(in crate::recv) fn ending(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Tiff => "tiff",
            Self::Npy => "npy",
            Self::Jpeg => "jpg",
        }
    }

    /// What HTTP calls it.
    pub(in crate::recv) fn media_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Tiff => "image/tiff",
            Self::Npy => "application/octet-stream",
        }
    }
}

/// Writes a frame exactly: `STEM.png` for 8 and 16 bits, `.tiff` for floats of 32 bits, `.npy` for
/// other formats; or `STEM-2.png` and so on if that exists. Returns its path.
pub(in crate::recv) fn write(
    directory: &Path,
    stem: &str,
    pixels: &[u8],
    shape: Shape,
) -> Result<PathBuf> {
    write_as(Kind::of(shape.format()), directory, stem, pixels, shape)
}

/// Writes a frame as such a file.
fn write_as(
    kind: Kind,
    directory: &Path,
    stem: &str,
    pixels: &[u8],
    shape: Shape,
) -> Result<PathBuf> {
    let path = directory.join(format!("{stem}.{}", kind.ending()));
    let failed = || format!("cannot write {}", path.display());
    if !kind.holds(shape.format()) {
        bail!(
            "a .{} cannot hold frames of {shape} exactly: leave the ending out, and each frame gets one that can",
            kind.ending()
        );
    }
    let bytes = encoded(kind, pixels, shape).with_context(failed)?;
    put(directory, stem, kind.ending(), &bytes).with_context(failed)
}

/// A frame as the bytes of a file, whose kind must [hold](Kind::holds) its format.
pub(in crate::recv) fn encoded(kind: Kind, pixels: &[u8], shape: Shape) -> Result<Vec<u8>> {
    match kind {
        Kind::Png => png(pixels, shape),
        Kind::Tiff | Kind::Jpeg => encode(kind, pixels, shape),
        Kind::Npy => Ok(npy(pixels, shape)),
    }
}

/// Writes a file that has its name only when it is whole: `STEM.ENDING`, or `STEM-2.ENDING` and so
/// on if that exists.
fn put(directory: &Path, stem: &str, ending: &str, bytes: &[u8]) -> io::Result<PathBuf> {
    let here = if directory == Path::new("") {
        Path::new(".")
    } else {
        directory
    };
    let mut file = tempfile::Builder::new()
        // As for any new file: the umask has its say.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(here)?;
    file.as_file_mut().write_all(bytes)?;
    let mut path = directory.join(format!("{stem}.{ending}"));
    let mut again = 1_u64;
    loop {
        match file.persist_noclobber(&path) {
            Ok(_) => return Ok(path),
            Err(failed) if failed.error.kind() == io::ErrorKind::AlreadyExists => {
                file = failed.file;
                again += 1;
                path = directory.join(format!("{stem}-{again}.{ending}"));
            }
            Err(failed) => return Err(failed.error),
        }
    }
}

/// The pixels in an order of colours, copied only if they have the other one.
fn ordered(pixels: &[u8], format: Format, order: Order) -> Cow<'_, [u8]> {
    let is_gray = matches!(format.channels(), Channels::One | Channels::Two);
    if is_gray || format.order() == order {
        return Cow::Borrowed(pixels);
    }
    let mut swapped = pixels.to_vec();
    picture::swap_red_and_blue(&mut swapped, format);
    Cow::Owned(swapped)
}

/// A PNG, packed quickly.
fn png(pixels: &[u8], shape: Shape) -> Result<Vec<u8>> {
    let format = shape.format();
    let mut pixels = ordered(pixels, format, Order::Rgb);
    let mut file = Vec::new();
    let (width, height) = (shape.width().try_into()?, shape.height().try_into()?);
    let mut encoder = ::png::Encoder::new(&mut file, width, height);
    encoder.set_color(match format.channels() {
        Channels::One => ::png::ColorType::Grayscale,
        Channels::Two => ::png::ColorType::GrayscaleAlpha,
        Channels::Three => ::png::ColorType::Rgb,
        Channels::Four => ::png::ColorType::Rgba,
    });
    if format.element() == Element::U16 {
        encoder.set_depth(::png::BitDepth::Sixteen);
        // PNG has the high byte first.
        let (elements, _) = pixels.to_mut().as_chunks_mut::<2>();
        for element in elements {
            element.reverse();
        }
    }
    encoder.set_compression(::png::Compression::Fastest);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&pixels)?;
    writer.finish()?;
    Ok(file)
}

/// A file that OpenCV encodes.
fn encode(kind: Kind, pixels: &[u8], shape: Shape) -> Result<Vec<u8>> {
    picture::load_codecs()?;
    // OpenCV takes blue first, and writes red first.
    let pixels = ordered(pixels, shape.format(), Order::Bgr);
    let mut file = Vector::<u8>::new();
    let ending = format!(".{}", kind.ending());
    // OpenCV stores floats of three channels as logarithms unless it is told not to.
    let exact = [imgcodecs::IMWRITE_TIFF_COMPRESSION, UNCOMPRESSED];
    let options = match kind {
        Kind::Tiff => Vector::from_slice(&exact),
        Kind::Jpeg | Kind::Png | Kind::Npy => Vector::new(),
    };
    let image = picture::view(&pixels, shape)?;
    let encoded = imgcodecs::imencode(&ending, &image, &mut file, &options)?;
    ensure!(encoded, "OpenCV cannot encode {shape} as {}", kind.ending());
    Ok(file.as_slice().to_vec())
}

/// A file of numpy's array format, version 1.0: magic, version, length of the text, the text padded
/// to a multiple of 64 bytes, the elements (numpy.lib.format).
fn npy(pixels: &[u8], shape: Shape) -> Vec<u8> {
    /// Bytes before the text.
    const BEFORE: usize = 10;
    let descr = match shape.format().element() {
        Element::U8 => "|u1",
        Element::I8 => "|i1",
        Element::U16 => "<u2",
        Element::I16 => "<i2",
        Element::I32 => "<i4",
        Element::F32 => "<f4",
        Element::F64 => "<f8",
        Element::F16 => "<f2",
    };
    let (height, width, channels) = (shape.height(), shape.width(), shape.channels());
    let mut text = format!(
        "{{'descr': '{descr}', 'fortran_order': False, 'shape': ({height}, {width}, {channels}), }}"
    );
    while !(BEFORE + text.len() + 1).is_multiple_of(64) {
        text.push(' ');
    }
    text.push('\n');
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes());
    file.extend(text.as_bytes());
    file.extend(pixels);
    file
}
