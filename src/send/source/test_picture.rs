//! The moving test picture.

use std::time::Duration;

use anyhow::Result;
use opencv::core::{self, Point, Scalar};
use opencv::imgproc;
use shm_frame::{Shape, Size};

use super::{Next, Source};
use crate::picture;
use crate::send::outlet::{Outlet, Written};

/// A gradient that moves to the left, with the frame's number on it: no two frames are the same,
/// and a torn frame is visible.
#[derive(Debug)]
pub(crate) struct TestPicture {
    shape: Shape,
    period: Option<Duration>,
    number: u64,
}

impl Source for TestPicture {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn next(&mut self) -> Result<Next> {
        Ok(Next::Frame(self.period))
    }

    fn send(&mut self, outlet: &mut Outlet) -> Result<Option<Written>> {
        self.number += 1;
        outlet.fill(self.shape, |pixels| {
            self.draw(pixels)?;
            Ok(true)
        })
    }
}

/// Pixels that the gradient moves per frame: odd, so that it repeats only after 256 frames.
const STEP: u64 = 3;
/// Width of a digit at scale 1, in pixels.
const DIGIT: f64 = 20.0;

impl TestPicture {
    pub(crate) fn new(shape: Shape, period: Option<Duration>) -> Self {
        Self {
            shape,
            period,
            number: 0,
        }
    }

    /// Draws the frame into `pixels`.
    fn draw(&self, pixels: &mut [u8]) -> Result<()> {
        let (width, height) = (self.shape.width(), self.shape.height());
        let channels = usize::try_from(self.shape.channels())?;
        let [shift, ..] = self.number.wrapping_mul(STEP).to_le_bytes();
        let mut row = Vec::with_capacity(usize::try_from(width)? * channels);
        for x in 0..width {
            let [x, ..] = x.to_le_bytes();
            let level = x.wrapping_add(shift);
            // 0 to 254 and back, so that the gradient has no edge.
            let ramp = if level < 128 {
                level * 2
            } else {
                (255 - level) * 2
            };
            row.extend_from_slice(&[ramp / 2 + 64, 255 - ramp, ramp, 255][..channels]);
        }
        let mut image = picture::view_mut(pixels, self.shape)?;
        // Size and type fit, so OpenCV writes into `pixels` and allocates nothing.
        core::repeat_to(
            &picture::view(
                &row,
                Shape::new(
                    Size {
                        height: 1,
                        ..self.shape.size()
                    },
                    self.shape.format(),
                )?,
            )?,
            height,
            1,
            &mut image,
        )?;

        let text = self.number.to_string();
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
                &mut image,
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
