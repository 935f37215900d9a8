//! Frames as OpenCV's images. The only place of the commands that maps formats to OpenCV's types.

use std::sync::Arc;

use anyhow::{Context, Result};
use opencv::boxed_ref::{BoxedRef, BoxedRefMut};
use opencv::core::{DataType, LogLevel, Mat, MatTraitConst, VecN, set_log_level};
use shm_frame::{Channels, Element, Format, Order, Shape, Size};

use crate::late;

/// A frame to be shown, which shares its pixels with whatever else has them.
pub(crate) struct Picture {
    pixels: Arc<dyn AsRef<[u8]> + Send + Sync>,
    pub shape: Shape,
}

impl Picture {
    pub(crate) fn new(pixels: Arc<dyn AsRef<[u8]> + Send + Sync>, shape: Shape) -> Self {
        Self { pixels, shape }
    }

    pub(crate) fn pixels(&self) -> &[u8] {
        (*self.pixels).as_ref()
    }
}

/// Has OpenCV's core and imgproc loaded, which takes a hundredth of a second, and silences their
/// log: our errors carry the cause. To be called before anything else of OpenCV, and before a
/// stream begins that must not wait for it.
pub(crate) fn load() -> Result<()> {
    for library in ["opencv_core", "opencv_imgproc"] {
        late::load(library)?;
    }
    set_log_level(LogLevel::LOG_LEVEL_SILENT)?;
    Ok(())
}

/// Has OpenCV's encoders and decoders loaded, which takes a tenth of a second the first time: to be
/// called before any of them, and before a stream begins that must not wait for it.
pub(crate) fn load_codecs() -> Result<()> {
    late::load("opencv_imgcodecs")
}

/// Pixels as an image to read, without a copy.
pub(crate) fn view(pixels: &[u8], shape: Shape) -> Result<BoxedRef<'_, Mat>> {
    fn of<T: DataType>(pixels: &[u8], shape: Shape) -> opencv::Result<BoxedRef<'_, Mat>>
    where
        VecN<T, 2>: DataType,
        VecN<T, 3>: DataType,
        VecN<T, 4>: DataType,
    {
        let (rows, columns) = (shape.height(), shape.width());
        match shape.format().channels() {
            Channels::One => Mat::new_rows_cols_with_bytes::<T>(rows, columns, pixels),
            Channels::Two => Mat::new_rows_cols_with_bytes::<VecN<T, 2>>(rows, columns, pixels),
            Channels::Three => Mat::new_rows_cols_with_bytes::<VecN<T, 3>>(rows, columns, pixels),
            Channels::Four => Mat::new_rows_cols_with_bytes::<VecN<T, 4>>(rows, columns, pixels),
        }
    }
    Ok(match shape.format().element() {
        Element::U8 => of::<u8>(pixels, shape),
        Element::I8 => of::<i8>(pixels, shape),
        Element::U16 => of::<u16>(pixels, shape),
        Element::I16 => of::<i16>(pixels, shape),
        Element::I32 => of::<i32>(pixels, shape),
        Element::F32 => of::<f32>(pixels, shape),
        Element::F64 => of::<f64>(pixels, shape),
        Element::F16 => of::<half::f16>(pixels, shape),
    }?)
}

/// Pixels as an image to write, without a copy.
pub(crate) fn view_mut(pixels: &mut [u8], shape: Shape) -> Result<BoxedRefMut<'_, Mat>> {
    fn of<T: DataType>(pixels: &mut [u8], shape: Shape) -> opencv::Result<BoxedRefMut<'_, Mat>>
    where
        VecN<T, 2>: DataType,
        VecN<T, 3>: DataType,
        VecN<T, 4>: DataType,
    {
        let (rows, columns) = (shape.height(), shape.width());
        match shape.format().channels() {
            Channels::One => Mat::new_rows_cols_with_bytes_mut::<T>(rows, columns, pixels),
            Channels::Two => Mat::new_rows_cols_with_bytes_mut::<VecN<T, 2>>(rows, columns, pixels),
            Channels::Three => {
                Mat::new_rows_cols_with_bytes_mut::<VecN<T, 3>>(rows, columns, pixels)
            }
            Channels::Four => {
                Mat::new_rows_cols_with_bytes_mut::<VecN<T, 4>>(rows, columns, pixels)
            }
        }
    }
    Ok(match shape.format().element() {
        Element::U8 => of::<u8>(pixels, shape),
        Element::I8 => of::<i8>(pixels, shape),
        Element::U16 => of::<u16>(pixels, shape),
        Element::I16 => of::<i16>(pixels, shape),
        Element::I32 => of::<i32>(pixels, shape),
        Element::F32 => of::<f32>(pixels, shape),
        Element::F64 => of::<f64>(pixels, shape),
        Element::F16 => of::<half::f16>(pixels, shape),
    }?)
}

/// The shape of an image. OpenCV's colours are blue first.
pub(crate) fn shape(image: &Mat) -> Result<Shape> {
    let element = Element::ALL
        .into_iter()
        .find(|element| i32::from(element.code()) == image.depth());
    let channels = usize::try_from(image.channels())
        .ok()
        .and_then(Channels::new);
    let format = element.zip(channels).map(|(e, c)| Format::new(e, c));
    let format = format.with_context(|| {
        format!(
            "OpenCV gives pixels of {} elements of depth {}, which no frame can have",
            image.channels(),
            image.depth()
        )
    })?;
    let size = Size {
        width: image.cols().try_into()?,
        height: image.rows().try_into()?,
    };
    Ok(Shape::new(size, format)?)
}

/// The 8-bit format for a value of `--channels`: 1 gray, 3 BGR, 4 BGRA.
pub(crate) fn eight_bit(channels: u8) -> Format {
    match channels {
        1 => Format::GRAY8,
        3 => Format::BGR8,
        4 => Format::BGRA8,
        _ => unreachable!("--channels is 1, 3 or 4"),
    }
}

/// Swaps the first and the third element of each pixel: red and blue.
pub(crate) fn swap_red_and_blue(pixels: &mut [u8], format: Format) {
    let bytes = format.element().bytes();
    match format.channels() {
        Channels::One | Channels::Two => {}
        Channels::Three | Channels::Four => {
            for pixel in pixels.chunks_exact_mut(format.pixel_bytes()) {
                let (first, rest) = pixel.split_at_mut(bytes);
                first.swap_with_slice(&mut rest[bytes..2 * bytes]);
            }
        }
    }
}

/// The name that ffmpeg has for such pixels. `None`: it has none.
pub(crate) fn ffmpeg_name(format: Format) -> Option<&'static str> {
    use Channels::{Four, One, Three, Two};
    use Order::{Bgr, Rgb};
    match (format.element(), format.channels(), format.order()) {
        (Element::U8, One, _) => Some("gray"),
        (Element::U8, Two, _) => Some("ya8"),
        (Element::U8, Three, Bgr) => Some("bgr24"),
        (Element::U8, Three, Rgb) => Some("rgb24"),
        (Element::U8, Four, Bgr) => Some("bgra"),
        (Element::U8, Four, Rgb) => Some("rgba"),
        (Element::U16, One, _) => Some("gray16le"),
        (Element::U16, Two, _) => Some("ya16le"),
        (Element::U16, Three, Bgr) => Some("bgr48le"),
        (Element::U16, Three, Rgb) => Some("rgb48le"),
        (Element::U16, Four, Bgr) => Some("bgra64le"),
        (Element::U16, Four, Rgb) => Some("rgba64le"),
        (Element::F32, One, _) => Some("grayf32le"),
        (Element::F32, Two | Three | Four, _)
        | (Element::I8 | Element::I16 | Element::I32 | Element::F64 | Element::F16, _, _) => None,
    }
}
