//! Frames as OpenCV's images. The only place of the commands that maps formats to OpenCV's types.

use anyhow::{Context, Result, ensure};
use opencv::boxed_ref::{BoxedRef, BoxedRefMut};
use opencv::core::{DataType, Mat, MatTraitConst, VecN};
use shm_frame::{Channels, Element, Format, Order, Shape, Size};

/// A frame of one's own, to be shown or kept.
#[derive(Debug)]
pub(crate) struct Picture {
    pub pixels: Vec<u8>,
    pub shape: Shape,
    /// The frame's number.
    pub number: u64,
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

/// Fails unless the pixels have 8 bits in OpenCV's order: views and sinks take nothing else.
pub(crate) fn must_be_eight_bit(shape: Shape) -> Result<()> {
    let format = shape.format();
    ensure!(
        format.element() == Element::U8 && format.order() == Order::Bgr,
        "frames are {shape}: shm-recv takes 8 bits only, gray or blue first"
    );
    Ok(())
}
