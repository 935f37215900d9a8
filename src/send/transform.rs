//! `--crop`, `--resize`, `--rotate`, `--flip`: what is done to a frame on its way into the segment,
//! in this order. The last step writes into the slot.

use anyhow::{Context, Result, ensure};
use opencv::core::{self, Mat, MatTraitConst, Rect, Size};
use opencv::imgproc;
use shm_frame::Shape;

use crate::picture;

/// A part of a picture: its size, and where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crop {
    pub width: u32,
    pub height: u32,
    pub left: u32,
    pub top: u32,
}

/// Another size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Resize {
    To(u32, u32),
    By(f64),
}

/// All that is to be done; nothing by default.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Transform {
    pub crop: Option<Crop>,
    pub resize: Option<Resize>,
    /// Degrees to the right: 0, 90, 180 or 270.
    pub rotate: u16,
    /// OpenCV's code: 0 upside down, 1 left to right, -1 both.
    pub flip: Option<i32>,
}

impl Transform {
    /// Whether frames stay as they are.
    pub(crate) fn is_nothing(&self) -> bool {
        self.crop.is_none() && self.resize.is_none() && self.rotate == 0 && self.flip.is_none()
    }

    /// The shape that a frame of this shape becomes.
    pub(crate) fn shape(&self, shape: Shape) -> Result<Shape> {
        let mut size = shape.size();
        if let Some(crop) = self.crop {
            let Crop {
                width,
                height,
                left,
                top,
            } = crop;
            let fits =
                |from: u32, side: u32, of: u32| from.checked_add(side).is_some_and(|end| end <= of);
            ensure!(
                fits(left, width, size.width) && fits(top, height, size.height),
                "--crop {width}x{height}+{left}+{top}: frames are {}x{}",
                size.width,
                size.height
            );
            (size.width, size.height) = (width, height);
        }
        match self.resize {
            None => {}
            Some(Resize::To(width, height)) => (size.width, size.height) = (width, height),
            Some(Resize::By(scale)) => {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a cast of a float saturates"
                )]
                let scaled = |side: u32| ((f64::from(side) * scale).round() as u32).max(1);
                (size.width, size.height) = (scaled(size.width), scaled(size.height));
            }
        }
        if self.rotate % 180 == 90 {
            (size.width, size.height) = (size.height, size.width);
        }
        Shape::new(size, shape.format()).context("--resize")
    }

    /// Writes a frame of `shape` into `to`, which has [the shape](Self::shape) that it becomes.
    pub(crate) fn apply(
        &self,
        pixels: &[u8],
        shape: Shape,
        to: &mut [u8],
        to_shape: Shape,
    ) -> Result<()> {
        let image = picture::view(pixels, shape)?;
        let crop = self
            .crop
            .map_or(Rect::new(0, 0, shape.width(), shape.height()), |crop| {
                let side = |side: u32| i32::try_from(side).unwrap_or(i32::MAX);
                Rect::new(
                    side(crop.left),
                    side(crop.top),
                    side(crop.width),
                    side(crop.height),
                )
            });
        let image = Mat::roi(&image, crop)?;
        let mut steps = Vec::new();
        if self.resize.is_some() {
            // Before the picture is turned.
            let (width, height) = (to_shape.width(), to_shape.height());
            let turned = self.rotate % 180 == 90;
            let (width, height) = if turned {
                (height, width)
            } else {
                (width, height)
            };
            steps.push(Step::Resize(Size::new(width, height)));
        }
        match self.rotate {
            90 => steps.push(Step::Rotate(core::ROTATE_90_CLOCKWISE)),
            180 => steps.push(Step::Rotate(core::ROTATE_180)),
            270 => steps.push(Step::Rotate(core::ROTATE_90_COUNTERCLOCKWISE)),
            _ => {}
        }
        steps.extend(self.flip.map(Step::Flip));
        let last = steps.pop();
        let mut between = None;
        for step in steps {
            let mut next = Mat::default();
            match &between {
                None => step.run(&image, &mut next)?,
                Some(image) => step.run(image, &mut next)?,
            }
            between = Some(next);
        }
        let address = to.as_ptr();
        let mut target = picture::view_mut(to, to_shape)?;
        match (last, &between) {
            (None, _) => image.copy_to(&mut target)?,
            (Some(step), None) => step.run(&image, &mut target)?,
            (Some(step), Some(image)) => step.run(image, &mut target)?,
        }
        ensure!(
            target.data() == address,
            "OpenCV did not make {to_shape} of {shape}"
        );
        Ok(())
    }
}

/// A step from one image to another.
#[derive(Clone, Copy, Debug)]
enum Step {
    Resize(Size),
    Rotate(i32),
    Flip(i32),
}

impl Step {
    fn run(
        self,
        from: &(impl MatTraitConst + core::ToInputArray),
        to: &mut impl core::ToOutputArray,
    ) -> opencv::Result<()> {
        match self {
            Self::Resize(size) => {
                let way = if size.width < from.cols() {
                    imgproc::INTER_AREA
                } else {
                    imgproc::INTER_LINEAR
                };
                imgproc::resize(from, to, size, 0.0, 0.0, way)
            }
            Self::Rotate(code) => core::rotate(from, to, code),
            Self::Flip(code) => core::flip(from, to, code),
        }
    }
}

#[cfg(test)]
mod tests {
    use shm_frame::{Format, Size as Sides};

    use super::*;

    /// What becomes of a picture of 3x2 pixels.
    fn transformed(transform: Transform) -> (String, Vec<u8>) {
        let size = Sides {
            width: 3,
            height: 2,
        };
        let shape = Shape::new(size, Format::GRAY8).unwrap();
        let to_shape = transform.shape(shape).unwrap();
        let mut to = vec![0; to_shape.bytes()];
        let pixels = [1, 2, 3, 4, 5, 6];
        transform.apply(&pixels, shape, &mut to, to_shape).unwrap();
        (to_shape.to_string(), to)
    }

    #[test]
    fn each_step_does_what_it_is_called() {
        let none = Transform::default();
        let crop = Crop {
            width: 2,
            height: 1,
            left: 1,
            top: 1,
        };
        for (transform, shape, pixels) in [
            (none, "3x2x1", vec![1, 2, 3, 4, 5, 6]),
            (
                Transform {
                    crop: Some(crop),
                    ..none
                },
                "2x1x1",
                vec![5, 6],
            ),
            (
                Transform { rotate: 90, ..none },
                "2x3x1",
                vec![4, 1, 5, 2, 6, 3],
            ),
            (
                Transform {
                    rotate: 180,
                    ..none
                },
                "3x2x1",
                vec![6, 5, 4, 3, 2, 1],
            ),
            (
                Transform {
                    rotate: 270,
                    ..none
                },
                "2x3x1",
                vec![3, 6, 2, 5, 1, 4],
            ),
            (
                Transform {
                    flip: Some(1),
                    ..none
                },
                "3x2x1",
                vec![3, 2, 1, 6, 5, 4],
            ),
            (
                Transform {
                    crop: Some(crop),
                    resize: Some(Resize::By(2.0)),
                    rotate: 90,
                    flip: Some(0),
                },
                "2x4x1",
                vec![6, 6, 6, 6, 5, 5, 5, 5],
            ),
        ] {
            assert_eq!(
                transformed(transform),
                (shape.to_owned(), pixels),
                "{transform:?}"
            );
        }
    }

    #[test]
    fn a_crop_beyond_the_picture_is_refused_with_the_numbers() {
        let crop = Crop {
            width: 3,
            height: 1,
            left: 1,
            top: 0,
        };
        let transform = Transform {
            crop: Some(crop),
            ..Transform::default()
        };
        let size = Sides {
            width: 3,
            height: 2,
        };
        let error = transform.shape(Shape::new(size, Format::BGR8).unwrap());
        assert_eq!(
            error.unwrap_err().to_string(),
            "--crop 3x1+1+0: frames are 3x2"
        );
    }
}
