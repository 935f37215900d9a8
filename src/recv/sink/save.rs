//! `--save`: frames as files, exactly as they came.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use opencv::core::Vector;
use opencv::imgcodecs;
use shm_frame::{Channels, Element, Format, Order, Shape};

use super::Sink;
use crate::console::Console;
use crate::picture;
use crate::recv::args::Args;
use crate::recv::taken::Taken;

/// Writes each frame into a directory, named by its number.
#[derive(Debug)]
struct Saver {
    directory: PathBuf,
}

pub(super) fn open(args: &Args) -> Result<Option<Box<dyn Sink>>> {
    let Some(directory) = &args.save else {
        return Ok(None);
    };
    fs::create_dir_all(directory).with_context(|| format!("--save {}", directory.display()))?;
    Ok(Some(Box::new(Saver {
        directory: directory.clone(),
    })))
}

impl Sink for Saver {
    fn name(&self) -> &'static str {
        "save"
    }

    // A sender that was restarted counts from 1 again: `write` then takes another name.
    fn take(&mut self, taken: &Taken, _console: &Console) -> Result<()> {
        let stem = format!("{:06}", taken.frame.number);
        write(&self.directory, &stem, &taken.pixels, taken.frame.shape)
            .map(drop)
            .with_context(|| format!("--save {}", self.directory.display()))
    }
}

/// The number that TIFF has for no compression.
const UNCOMPRESSED: i32 = 1;

/// The kind of file that holds such pixels exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::recv) enum Kind {
    Png,
    Tiff,
    /// numpy's array format, which has every type of element.
    Npy,
}

impl Kind {
    pub(in crate::recv) fn of(format: Format) -> Self {
        match (format.element(), format.channels()) {
            (Element::U8 | Element::U16, Channels::One | Channels::Three | Channels::Four) => {
                Self::Png
            }
            (Element::F32, Channels::One | Channels::Three | Channels::Four) => Self::Tiff,
            (Element::U8 | Element::U16 | Element::F32, Channels::Two)
            | (Element::I8 | Element::I16 | Element::I32 | Element::F64 | Element::F16, _) => {
                Self::Npy
            }
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
        }
    }

    /// What HTTP calls it.
    pub(in crate::recv) fn media_type(self) -> &'static str {
        match self {
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
    let kind = Kind::of(shape.format());
    let path = free(directory, stem, kind.ending());
    let failed = || format!("cannot write {}", path.display());
    let bytes = encoded(kind, pixels, shape).with_context(failed)?;
    fs::write(&path, bytes)
        .inspect_err(|_| {
            // Leave no half picture.
            let _ = fs::remove_file(&path);
        })
        .with_context(failed)?;
    Ok(path)
}

/// A frame as the bytes of a file. Its kind must be that [of](Kind::of) its format, or `Npy`.
pub(in crate::recv) fn encoded(kind: Kind, pixels: &[u8], shape: Shape) -> Result<Vec<u8>> {
    match kind {
        Kind::Png | Kind::Tiff => encode(kind, pixels, shape),
        Kind::Npy => Ok(npy(pixels, shape)),
    }
}

fn encode(kind: Kind, pixels: &[u8], shape: Shape) -> Result<Vec<u8>> {
    let mut swapped;
    let pixels = match shape.format().order() {
        Order::Bgr => pixels,
        // OpenCV takes blue first, and writes red first.
        Order::Rgb => {
            swapped = pixels.to_vec();
            picture::swap_red_and_blue(&mut swapped, shape.format());
            &swapped
        }
    };
    let mut file = Vector::<u8>::new();
    let ending = format!(".{}", kind.ending());
    // OpenCV stores floats of three channels as logarithms unless it is told not to.
    let exact = [imgcodecs::IMWRITE_TIFF_COMPRESSION, UNCOMPRESSED];
    let options = match kind {
        Kind::Tiff => Vector::from_slice(&exact),
        Kind::Png | Kind::Npy => Vector::new(),
    };
    let image = picture::view(pixels, shape)?;
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

/// A path that does not exist: `STEM.ENDING`, or `STEM-2.ENDING` and so on.
pub(super) fn free(directory: &Path, stem: &str, ending: &str) -> PathBuf {
    let mut path = directory.join(format!("{stem}.{ending}"));
    let mut again = 1_u64;
    while path.exists() {
        again += 1;
        path = directory.join(format!("{stem}-{again}.{ending}"));
    }
    path
}
