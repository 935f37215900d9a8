//! The part of a frame that a person can see: 8 bits, gray or blue first.
//!
//! 16 bits and floats are scaled between two percentiles of their values, which follow the frames
//! slowly, so that a picture does not flicker. Depth and other single channels can be coloured.

use anyhow::{Context, Result};
use opencv::core::{self, CV_8U, CV_32F, Mat, MatTraitConst, MatTraitConstManual, Scalar, Vector};
use opencv::imgproc;
use shm_frame::{Channels, Element, Format, Order, Shape};

use crate::picture;

/// How many values are looked at for the percentiles, at most.
const SAMPLES: usize = 1 << 14;
/// So many thousandths of the values are below the one that becomes black, and as many above white.
const CLIPPED: usize = 10;
/// The part of the way to a frame's own percentiles that is gone with each frame.
const STEP: f64 = 0.1;

/// Makes frames visible, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Visible {
    /// The values that are shown as black and as white, and the element they are of.
    range: Option<(Element, f64, f64)>,
    /// The position in [`MAPS`].
    map: usize,
    /// The last frame had a single channel, which can be coloured.
    single: bool,
}

/// The colour maps of a single channel, and what they are called. The first is none.
const MAPS: [(&str, i32); 4] = [
    ("gray", -1),
    ("turbo", imgproc::COLORMAP_TURBO),
    ("viridis", imgproc::COLORMAP_VIRIDIS),
    ("jet", imgproc::COLORMAP_JET),
];

impl Visible {
    /// A visible frame of the same size. `None`: the frame is visible as it is.
    pub(crate) fn see(&mut self, pixels: &[u8], shape: Shape) -> Result<Option<(Vec<u8>, Shape)>> {
        let format = shape.format();
        self.single = format.channels() == Channels::One;
        let coloured = self.single && self.map != 0;
        if is_visible(format) && !coloured {
            self.range = None;
            return Ok(None);
        }
        let image = picture::view(pixels, shape)?;
        let levels = self.levels(&image, pixels, format)?;
        let shown = match format.channels() {
            Channels::One if coloured => {
                let mut colours = Mat::default();
                imgproc::apply_color_map(&levels, &mut colours, MAPS[self.map].1)?;
                colours
            }
            Channels::One => levels,
            // The two elements as blue and green.
            Channels::Two => {
                let mut planes = Vector::<Mat>::new();
                core::split(&levels, &mut planes)?;
                planes.push(Mat::new_size_with_default(
                    levels.size()?,
                    CV_8U,
                    Scalar::all(0.0),
                )?);
                let mut colours = Mat::default();
                core::merge(&planes, &mut colours)?;
                colours
            }
            Channels::Three => match format.order() {
                Order::Bgr => levels,
                Order::Rgb => converted(&levels, imgproc::COLOR_RGB2BGR)?,
            },
            Channels::Four => match (format.order(), format.element()) {
                (Order::Rgb, Element::U8) => converted(&levels, imgproc::COLOR_RGBA2BGRA)?,
                // Alpha has another range than the colours.
                (Order::Rgb, _) => converted(&levels, imgproc::COLOR_RGBA2BGR)?,
                (Order::Bgr, _) => converted(&levels, imgproc::COLOR_BGRA2BGR)?,
            },
        };
        let bytes = shown.data_bytes().context("OpenCV's image has gaps")?;
        Ok(Some((bytes.to_vec(), picture::shape(&shown)?)))
    }

    /// Chooses the next colour map.
    pub(crate) fn next_map(&mut self) {
        self.map = (self.map + 1) % MAPS.len();
    }

    /// How the last frame was made visible; empty if it was visible as it is.
    pub(crate) fn describe(&self) -> String {
        let mut words = Vec::new();
        if let Some((_, low, high)) = self.range {
            words.push(format!("range {} to {}", short(low), short(high)));
        }
        if self.single && self.map != 0 {
            words.push(MAPS[self.map].0.to_owned());
        }
        words.join("  ")
    }

    /// The image in 8 bits.
    fn levels(&mut self, image: &impl MatTraitConst, pixels: &[u8], format: Format) -> Result<Mat> {
        let element = format.element();
        let mut levels = Mat::default();
        if element == Element::U8 {
            self.range = None;
            image.copy_to(&mut levels)?;
            return Ok(levels);
        }
        let (low, high) = self.follow(pixels, format);
        // A picture of one value is gray.
        let scale = if high > low {
            255.0 / (high - low)
        } else {
            0.0
        };
        let offset = if high > low { -low * scale } else { 127.0 };
        if element == Element::F16 {
            // OpenCV converts these to floats only.
            let mut floats = Mat::default();
            image.convert_to(&mut floats, CV_32F, 1.0, 0.0)?;
            floats.convert_to(&mut levels, CV_8U, scale, offset)?;
        } else {
            image.convert_to(&mut levels, CV_8U, scale, offset)?;
        }
        Ok(levels)
    }

    /// The range of a frame, which follows those before it.
    fn follow(&mut self, pixels: &[u8], format: Format) -> (f64, f64) {
        let element = format.element();
        let before = self.range.filter(|(before, ..)| *before == element);
        let before = before.map(|(_, low, high)| (low, high));
        let range = match (before, percentiles(pixels, format)) {
            (None, now) => now.unwrap_or((0.0, 0.0)),
            (Some(before), None) => before,
            (Some((low, high)), Some(now)) => {
                (low + STEP * (now.0 - low), high + STEP * (now.1 - high))
            }
        };
        self.range = Some((element, range.0, range.1));
        range
    }
}

/// Whether a window or a terminal shows such a frame as it is.
fn is_visible(format: Format) -> bool {
    format.element() == Element::U8
        && format.order() == Order::Bgr
        && match format.channels() {
            Channels::One | Channels::Three | Channels::Four => true,
            Channels::Two => false,
        }
}

pub(crate) fn converted(image: &Mat, code: i32) -> Result<Mat> {
    let mut out = Mat::default();
    imgproc::cvt_color_def(image, &mut out, code)?;
    Ok(out)
}

/// Two percentiles of the finite values, of samples spread over the frame. `None`: there are none.
fn percentiles(pixels: &[u8], format: Format) -> Option<(f64, f64)> {
    let (element, bytes) = (format.element(), format.element().bytes());
    let count = pixels.len() / format.pixel_bytes();
    let colours = match format.channels() {
        Channels::Four => 3,
        Channels::One | Channels::Two | Channels::Three => format.channels().count(),
    };
    // An odd step, so that no column of the picture is looked at alone.
    let step = (count / SAMPLES).max(1) | 1;
    let mut values: Vec<f64> = (0..count)
        .step_by(step)
        .flat_map(|pixel| (0..colours).map(move |i| (pixel, i)))
        .map(|(pixel, i)| value(element, &pixels[pixel * format.pixel_bytes() + i * bytes..]))
        .filter(|value| value.is_finite())
        .collect();
    if values.is_empty() {
        return None;
    }
    let clipped = (values.len() - 1) * CLIPPED / 1000;
    let last = values.len() - 1 - clipped;
    let mut at = |n| *values.select_nth_unstable_by(n, f64::total_cmp).1;
    Some((at(clipped), at(last)))
}

/// The element that bytes begin with.
pub(crate) fn value(element: Element, bytes: &[u8]) -> f64 {
    fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
        bytes.first_chunk().copied().unwrap_or([0; N])
    }
    match element {
        Element::U8 => first::<1>(bytes)[0].into(),
        Element::I8 => i8::from_le_bytes(first(bytes)).into(),
        Element::U16 => u16::from_le_bytes(first(bytes)).into(),
        Element::I16 => i16::from_le_bytes(first(bytes)).into(),
        Element::I32 => i32::from_le_bytes(first(bytes)).into(),
        Element::F32 => f32::from_le_bytes(first(bytes)).into(),
        Element::F64 => f64::from_le_bytes(first(bytes)),
        Element::F16 => half::f16::from_le_bytes(first(bytes)).into(),
    }
}

/// The values of a frame's pixel, as text. `None`: it has no such pixel.
pub(crate) fn pixel(pixels: &[u8], shape: Shape, x: usize, y: usize) -> Option<String> {
    let format = shape.format();
    let (element, bytes) = (format.element(), format.pixel_bytes());
    let (width, height) = (shape.width(), shape.height());
    let inside =
        i64::try_from(x).ok()? < i64::from(width) && i64::try_from(y).ok()? < i64::from(height);
    let begin = (y * usize::try_from(width).ok()? + x) * bytes;
    let pixel = pixels.get(begin..begin + bytes).filter(|_| inside)?;
    let values = pixel.chunks_exact(element.bytes());
    let values: Vec<_> = values
        .map(|bytes| value(element, bytes).to_string())
        .collect();
    Some(values.join(" "))
}

/// A number in few digits.
pub(crate) fn short(x: f64) -> String {
    let digits = if x.abs() >= 100.0 || x.fract() == 0.0 {
        0
    } else if x.abs() >= 1.0 {
        2
    } else {
        4
    };
    format!("{x:.digits$}")
}

#[cfg(test)]
mod tests {
    use shm_frame::Size;

    use super::*;

    fn shape(width: u32, height: u32, format: Format) -> Shape {
        Shape::new(Size { width, height }, format).unwrap()
    }

    #[test]
    fn eight_bits_blue_first_are_shown_as_they_are() {
        for format in [Format::GRAY8, Format::BGR8, Format::BGRA8] {
            let shape = shape(2, 2, format);
            let seen = Visible::default().see(&vec![9; shape.bytes()], shape);
            assert_eq!(seen.unwrap(), None, "{format}");
        }
    }

    #[test]
    fn red_first_is_not_shown_as_blue() {
        let shape = shape(1, 1, Format::RGB8);
        let (bytes, seen) = Visible::default().see(&[1, 2, 3], shape).unwrap().unwrap();
        assert_eq!(
            (bytes.as_slice(), seen.format()),
            (&[3, 2, 1][..], Format::BGR8)
        );
        let shape = self::shape(1, 1, Format::RGBA8);
        let (bytes, seen) = Visible::default()
            .see(&[1, 2, 3, 4], shape)
            .unwrap()
            .unwrap();
        assert_eq!(
            (bytes.as_slice(), seen.format()),
            (&[3, 2, 1, 4][..], Format::BGRA8)
        );
    }

    #[test]
    fn every_format_is_made_visible_with_its_extremes_dark_and_bright() {
        for element in Element::ALL {
            for channels in Channels::ALL {
                for order in [Order::Bgr, Order::Rgb] {
                    let format = Format::new(element, channels).ordered(order);
                    let shape = shape(100, 10, format);
                    let mut pixels = vec![0; shape.bytes()];
                    let bytes = element.bytes();
                    for (i, to) in pixels.chunks_exact_mut(bytes).enumerate() {
                        let i = u8::try_from(i / channels.count() % 100).unwrap();
                        match element {
                            Element::U8 => to.copy_from_slice(&[i]),
                            Element::I8 => {
                                to.copy_from_slice(&(i.cast_signed() - 50).to_le_bytes());
                            }
                            Element::U16 => to.copy_from_slice(&(500 * u16::from(i)).to_le_bytes()),
                            Element::I16 => {
                                to.copy_from_slice(&(300 * i16::from(i) - 9000).to_le_bytes());
                            }
                            Element::I32 => to.copy_from_slice(&(i32::from(i) << 20).to_le_bytes()),
                            Element::F32 => to.copy_from_slice(&(f32::from(i) / 7.0).to_le_bytes()),
                            Element::F64 => to.copy_from_slice(&(f64::from(i) * 1e9).to_le_bytes()),
                            Element::F16 => {
                                let value = half::f16::from_f32(f32::from(i) / 100.0);
                                to.copy_from_slice(&value.to_le_bytes());
                            }
                        }
                    }
                    let mut visible = Visible::default();
                    let Some((seen, seen_shape)) = visible.see(&pixels, shape).unwrap() else {
                        assert!(is_visible(format));
                        continue;
                    };
                    assert!(is_visible(seen_shape.format()), "{format}");
                    assert_eq!(seen_shape.size(), shape.size());
                    if element != Element::U8 {
                        let n = usize::try_from(seen_shape.channels()).unwrap();
                        let row = &seen[..seen_shape.row_bytes()];
                        assert!(row[0] < 10 && row[row.len() - n] > 245, "{format}: {row:?}");
                        assert!(visible.describe().starts_with("range "), "{format}");
                    }
                }
            }
        }
    }

    #[test]
    fn values_that_are_no_numbers_do_not_spoil_the_range() {
        let values = [f32::NAN, f32::INFINITY, 1.0, 2.0, f32::NEG_INFINITY];
        let pixels: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let mut visible = Visible::default();
        visible
            .see(&pixels, shape(5, 1, Format::GRAY32F))
            .unwrap()
            .unwrap();
        assert_eq!(visible.describe(), "range 1 to 2");
    }

    #[test]
    fn a_range_follows_slowly_and_a_single_value_is_gray() {
        let depth = |value: u16| value.to_le_bytes().repeat(16);
        let shape = shape(4, 4, Format::GRAY16);
        let mut visible = Visible::default();
        let (seen, _) = visible.see(&depth(1000), shape).unwrap().unwrap();
        assert!(seen.iter().all(|&level| level == 127), "{seen:?}");
        visible.see(&depth(2000), shape).unwrap();
        assert_eq!(visible.describe(), "range 1100 to 1100");
    }

    #[test]
    fn a_single_channel_can_be_coloured() {
        let mut visible = Visible::default();
        visible.next_map();
        let gray = shape(2, 1, Format::GRAY8);
        let (_, seen) = visible.see(&[0, 255], gray).unwrap().unwrap();
        assert_eq!(seen.format(), Format::BGR8);
        assert_eq!(visible.describe(), "turbo");
        let colour = shape(1, 1, Format::BGR8);
        assert_eq!(visible.see(&[1, 2, 3], colour).unwrap(), None);
        assert_eq!(visible.describe(), "");
    }
}
