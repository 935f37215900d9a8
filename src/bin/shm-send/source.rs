//! What is sent.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, bail};
use opencv::boxed_ref::BoxedRefMut;
use opencv::core::{self, Mat, MatTraitConst, MatTraitConstManual, Point, Scalar, Vec3b, Vec4b};
use opencv::{imgcodecs, imgproc};
use shm_frame::{Sender, Sent, Shape};

use crate::cli::image;
use crate::cli::window::Window;

/// Where frames come from.
#[derive(Debug)]
pub(crate) enum Source {
    /// A picture from a file, sent as it is again and again.
    Still { shape: Shape, image: Mat },
    /// The moving test picture.
    Test(TestPicture),
}

impl Source {
    pub(crate) fn new(image: Option<&Path>, size: (u32, u32), channels: u8) -> Result<Self> {
        if let Some(path) = image {
            let image =
                read(path, channels).with_context(|| format!("--image {}", path.display()))?;
            let shape = shape(&image)?;
            return Ok(Self::Still { shape, image });
        }
        let (width, height) = size;
        let shape = Shape::new(height, width, channels.into()).context("--size and --channels")?;
        Ok(Self::Test(TestPicture { shape }))
    }

    pub(crate) fn shape(&self) -> Shape {
        match self {
            Self::Still { shape, .. } => *shape,
            Self::Test(picture) => picture.shape,
        }
    }

    /// Sends the next frame, which will have that number.
    pub(crate) fn send(&self, sender: &mut Sender, number: u64) -> Result<Sent> {
        match self {
            Self::Still { shape, image } => Ok(sender.publish(*shape, image.data_bytes()?)?),
            Self::Test(picture) => {
                let mut loan = sender.loan(picture.shape)?;
                picture.draw(number, loan.pixels())?;
                Ok(loan.publish())
            }
        }
    }

    /// Shows what was sent with that number.
    pub(crate) fn show(&self, window: &mut Window, number: u64) -> Result<()> {
        match self {
            Self::Still { shape, image } => window.show(image.data_bytes()?, *shape, ""),
            Self::Test(picture) => {
                let mut pixels = vec![0; picture.shape.bytes()];
                picture.draw(number, &mut pixels)?;
                window.show(&pixels, picture.shape, "")
            }
        }
    }
}

/// Reads a picture as 8 bits with that many channels, without gaps between its rows.
fn read(path: &Path, channels: u8) -> Result<Mat> {
    // OpenCV does not say why a file could not be read.
    if File::open(path)?.metadata()?.is_dir() {
        bail!("is a directory");
    }
    let name = path
        .to_str()
        .context("OpenCV takes no file name that is not UTF-8")?;
    let image = match channels {
        1 => imgcodecs::imread(name, imgcodecs::IMREAD_GRAYSCALE)?,
        3 => imgcodecs::imread(name, imgcodecs::IMREAD_COLOR)?,
        4 => with_alpha(name)?,
        _ => bail!("{channels} channels: there must be 1, 3 or 4"),
    };
    if image.empty() {
        bail!("is no picture that OpenCV can read");
    }
    Ok(if image.is_continuous() {
        image
    } else {
        image.try_clone()?
    })
}

/// Reads a picture as BGRA: its own alpha if it has 8 bits of it, else opaque.
fn with_alpha(name: &str) -> Result<Mat> {
    let image = imgcodecs::imread(name, imgcodecs::IMREAD_UNCHANGED)?;
    if image.typ() == core::CV_8UC4 {
        return Ok(image);
    }
    let color = imgcodecs::imread(name, imgcodecs::IMREAD_COLOR)?;
    let mut image = Mat::default();
    if !color.empty() {
        imgproc::cvt_color_def(&color, &mut image, imgproc::COLOR_BGR2BGRA)?;
    }
    Ok(image)
}

fn shape(image: &Mat) -> Result<Shape> {
    let size = image.size()?;
    Ok(Shape::new(
        size.height.try_into()?,
        size.width.try_into()?,
        image.channels().try_into()?,
    )?)
}

/// A gradient that moves to the left by some pixels a frame, with the frame's number on it: every frame is different, and a
/// torn one shows.
#[derive(Debug)]
pub(crate) struct TestPicture {
    shape: Shape,
}

/// Pixels that the gradient moves each frame: odd, so that it takes all 256 positions before one comes again.
const STEP: u64 = 3;
/// Width of a digit at scale 1, in pixels.
const DIGIT: f64 = 20.0;

impl TestPicture {
    /// Draws frame `number` over `pixels`.
    fn draw(&self, number: u64, pixels: &mut [u8]) -> Result<()> {
        let (width, height) = (self.shape.width(), self.shape.height());
        let channels = usize::try_from(self.shape.channels())?;
        let [shift, ..] = number.wrapping_mul(STEP).to_le_bytes();
        let mut row = Vec::with_capacity(usize::try_from(width)? * channels);
        for x in 0..width {
            let [x, ..] = x.to_le_bytes();
            let level = x.wrapping_add(shift);
            // Up and down, so that it has no edge: 0 to 254 and back.
            let ramp = if level < 128 {
                level * 2
            } else {
                (255 - level) * 2
            };
            row.extend_from_slice(&[ramp / 2 + 64, 255 - ramp, ramp, 255][..channels]);
        }
        let mut picture = view_mut(pixels, height, width, self.shape.channels())?;
        // Size and type fit, so this writes where `pixels` is and allocates nothing.
        core::repeat_to(
            &image::view(
                &row,
                Shape::new(
                    1,
                    width.unsigned_abs(),
                    self.shape.channels().unsigned_abs(),
                )?,
            )?,
            height,
            1,
            &mut picture,
        )?;

        let text = number.to_string();
        let margin = width.min(height) / 20;
        let digits = f64::from(u32::try_from(text.len())?);
        let room = f64::from(width - 2 * margin) / (digits * DIGIT);
        let scale = (f64::from(height) / 120.0).min(room);
        #[expect(clippy::cast_possible_truncation, reason = "a few pixels")]
        let thickness = (scale * 2.0).ceil().min(f64::from(i16::MAX)) as i32;
        let at = Point::new(margin, height - height / 10);
        for (color, thickness) in [
            (Scalar::new(0.0, 0.0, 0.0, 255.0), thickness * 3),
            (Scalar::all(255.0), thickness),
        ] {
            imgproc::put_text(
                &mut picture,
                &text,
                at,
                imgproc::FONT_HERSHEY_SIMPLEX,
                scale,
                color,
                thickness,
                imgproc::LINE_8,
                false,
            )?;
        }
        Ok(())
    }
}

fn view_mut(
    pixels: &mut [u8],
    height: i32,
    width: i32,
    channels: i32,
) -> opencv::Result<BoxedRefMut<'_, Mat>> {
    match channels {
        1 => Mat::new_rows_cols_with_bytes_mut::<u8>(height, width, pixels),
        3 => Mat::new_rows_cols_with_bytes_mut::<Vec3b>(height, width, pixels),
        _ => Mat::new_rows_cols_with_bytes_mut::<Vec4b>(height, width, pixels),
    }
}
