//! A decoded frame: turns it upright, and converts it to the format that is sent.

use std::slice;

use anyhow::{Context, Result, ensure};
use ffmpeg_sys_the_third::{
    AV_PIX_FMT_FLAG_PAL, AV_PIX_FMT_FLAG_RGB, AVFrame, AVFrameSideDataType, AVPixelFormat,
    av_frame_get_side_data,
};
use opencv::core::{self, Mat, MatTraitConst};
use opencv::imgproc;
use shm_frame::{Channels, Element, Format, Shape, Size};

use super::Error;
use super::owned::{Owned, frame};
use super::scale::{Conversion, Scaler, describe};
use super::turn::Turn;
use crate::picture;

/// The pixels that were asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// 1, 3 or 4.
    pub channels: u8,
    /// At most 8 bits.
    pub eight_bit: bool,
}

/// A frame as the decoder gave it. Any thread may make a picture of it.
pub(crate) struct Decoded {
    pub(super) frame: Owned<AVFrame>,
    /// The film's display matrix, for frames that have none.
    pub(super) matrix: Option<[i32; 9]>,
}

/// A decoded frame, to be written as pixels.
pub(crate) struct Picture {
    frame: Owned<AVFrame>,
    wanted: Wanted,
    turn: Turn,
    scaler: Option<Scaler>,
    /// The frame in the format that is sent, before it is turned.
    converted: Option<Owned<AVFrame>>,
    /// The same without the padding of its rows.
    tight: Vec<u8>,
}

/// The formats that a frame is converted to.
#[derive(Clone, Copy, Debug)]
struct Target {
    /// The result of libswscale.
    pixels: AVPixelFormat,
    /// The same as a `Format`, after red and blue were swapped if `swaps` is set.
    converted: Format,
    swaps: bool,
    /// The format that is sent.
    sent: Format,
    /// The bits of the film, if they become 8.
    lost: Option<i32>,
}

impl Decoded {
    fn turn(&self) -> Turn {
        let matrix = display_matrix(&self.frame).or(self.matrix);
        matrix.map_or(Turn::NONE, Turn::of)
    }
}

impl Picture {
    pub(crate) fn new(decoded: Decoded, wanted: Wanted) -> Self {
        Self {
            turn: decoded.turn(),
            frame: decoded.frame,
            wanted,
            scaler: None,
            converted: None,
            tight: Vec::new(),
        }
    }

    /// Goes on to another frame, and keeps what was allocated for the last one.
    pub(crate) fn set(&mut self, decoded: Decoded) {
        self.turn = decoded.turn();
        self.frame = decoded.frame;
    }

    /// The frame's shape when it is sent.
    pub(crate) fn shape(&self) -> Result<Shape> {
        let size = self.size()?;
        let size = if self.turn.transposed {
            Size {
                width: size.height,
                height: size.width,
            }
        } else {
            size
        };
        Ok(Shape::new(size, self.target()?.sent)?)
    }

    /// The frame's size before it is turned.
    fn size(&self) -> Result<Size> {
        Ok(Size {
            width: self.frame.width.try_into()?,
            height: self.frame.height.try_into()?,
        })
    }

    /// More than 8 bits become 16. A gray film with `--channels 1` is not converted to BGR first.
    fn target(&self) -> Result<Target> {
        let from = AVPixelFormat(self.frame.format);
        let description =
            describe(from).context("its pixels are of no format that FFmpeg knows")?;
        let has = |flag: i32| description.flags & u64::from(flag.unsigned_abs()) != 0;
        let components = &description.comp[..usize::from(description.nb_components).min(4)];
        let bits = components.iter().map(|part| part.depth).max().unwrap_or(0);
        let deep = !has(AV_PIX_FMT_FLAG_PAL) && bits > 8;
        let lost = (deep && self.wanted.eight_bit).then_some(bits);
        let deep = deep && lost.is_none();
        let gray = components.len() < 3 && !has(AV_PIX_FMT_FLAG_PAL | AV_PIX_FMT_FLAG_RGB);
        let element = if deep { Element::U16 } else { Element::U8 };
        let (pixels, converted) = match (self.wanted.channels, deep) {
            (1, false) if gray => (AVPixelFormat::GRAY8, Channels::One),
            (1, true) if gray => (AVPixelFormat::GRAY16LE, Channels::One),
            (4, false) => (AVPixelFormat::BGRA, Channels::Four),
            // libswscale's BGRA is not exact (FFmpeg 5.1).
            (4, true) => (AVPixelFormat::RGBA64LE, Channels::Four),
            (_, false) => (AVPixelFormat::BGR24, Channels::Three),
            (_, true) => (AVPixelFormat::BGR48LE, Channels::Three),
        };
        let sent = if self.wanted.channels == 1 {
            Channels::One
        } else {
            converted
        };
        Ok(Target {
            pixels,
            converted: Format::new(element, converted),
            swaps: pixels == AVPixelFormat::RGBA64LE,
            sent: Format::new(element, sent),
            lost,
        })
    }

    /// The bits of the film, if they are scaled to 8.
    pub(crate) fn lost_bits(&self) -> Result<Option<i32>> {
        Ok(self.target()?.lost)
    }

    /// Writes the pixels of [`shape`](Self::shape).
    pub(crate) fn write(&mut self, pixels: &mut [u8]) -> Result<()> {
        let target = self.target()?;
        let shape = self.shape()?;
        let upright = Shape::new(self.size()?, target.converted)?;
        self.convert(target.pixels)?;
        let converted = self.converted.as_ref().context("no frame was converted")?;
        let rows = rows(converted, upright);
        if self.turn == Turn::NONE && target.sent == target.converted {
            for (to, from) in pixels.chunks_exact_mut(upright.row_bytes()).zip(rows) {
                to.copy_from_slice(from);
                if target.swaps {
                    picture::swap_red_and_blue(to, target.sent);
                }
            }
            return Ok(());
        }
        self.tight.clear();
        rows.for_each(|row| self.tight.extend_from_slice(row));
        if target.swaps {
            picture::swap_red_and_blue(&mut self.tight, target.sent);
        }
        let mut image = picture::view(&self.tight, upright)?.clone_pointee();
        if target.sent != target.converted {
            let mut gray = Mat::default();
            imgproc::cvt_color_def(&image, &mut gray, imgproc::COLOR_BGR2GRAY)?;
            image = gray;
        }
        let address = pixels.as_ptr();
        let mut turned = picture::view_mut(pixels, shape)?;
        turn(&image, self.turn, &mut turned)?;
        ensure!(
            turned.data() == address,
            "OpenCV made another picture than {shape}"
        );
        Ok(())
    }

    fn convert(&mut self, to: AVPixelFormat) -> Result<()> {
        let conversion = Conversion::of(&self.frame, to);
        if !self
            .scaler
            .as_ref()
            .is_some_and(|scaler| scaler.does(&conversion))
        {
            let failed = || {
                let name = describe(conversion.from)
                    .map(super::name_of)
                    .unwrap_or_default();
                format!("its pixels, {name}, cannot be converted")
            };
            self.scaler = Some(Scaler::new(conversion).with_context(failed)?);
            self.converted = Some(frame()?);
        }
        let (Some(scaler), Some(converted)) = (&self.scaler, &mut self.converted) else {
            return Err(Error::NO_MEMORY.into());
        };
        scaler
            .run(&self.frame, converted)
            .context("a frame cannot be converted")
    }
}

/// Turns an image.
fn turn(image: &Mat, turn: Turn, to: &mut impl core::ToOutputArray) -> Result<()> {
    let Turn {
        transposed,
        mirrored,
        upside_down,
    } = turn;
    let flip = match (mirrored, upside_down) {
        (false, false) => None,
        (true, false) => Some(1),
        (false, true) => Some(0),
        (true, true) => Some(-1),
    };
    match (transposed, flip) {
        (false, None) => image.copy_to(to)?,
        (true, None) => core::transpose(image, to)?,
        (false, Some(flip)) => core::flip(image, to, flip)?,
        (true, Some(flip)) => {
            let mut columns = Mat::default();
            core::transpose(image, &mut columns)?;
            core::flip(&columns, to, flip)?;
        }
    }
    Ok(())
}

/// The rows of a frame of this shape, without padding.
fn rows(frame: &AVFrame, shape: Shape) -> impl Iterator<Item = &[u8]> {
    let (data, stride) = (frame.data[0], frame.linesize[0]);
    let (height, row_bytes) = (shape.height().unsigned_abs(), shape.row_bytes());
    (0..height).map(move |row| {
        let offset = row as usize * usize::try_from(stride).expect("libswscale writes downwards");
        // SAFETY: FFmpeg made the frame for pictures of this size.
        let begin = unsafe { data.add(offset) };
        // SAFETY: a row has that many bytes, and the frame is borrowed as long as the rows.
        unsafe { slice::from_raw_parts(begin, row_bytes) }
    })
}

/// The display matrix that comes with a frame.
fn display_matrix(frame: &Owned<AVFrame>) -> Option<[i32; 9]> {
    // SAFETY: the frame is valid.
    let found =
        unsafe { av_frame_get_side_data(frame.as_ptr(), AVFrameSideDataType::DISPLAYMATRIX) };
    // SAFETY: null or the frame's own.
    let found = unsafe { found.as_ref() }?;
    if found.size < size_of::<[i32; 9]>() {
        return None;
    }
    // SAFETY: it has that many bytes.
    Some(unsafe { found.data.cast::<[i32; 9]>().read_unaligned() })
}
