//! Frames of a capture, as OpenCV gives them.

use opencv::boxed_ref::BoxedRefMut;
use opencv::core::{Mat, MatTraitConst};
use opencv::imgproc;
use opencv::videoio::{VideoCapture, VideoCaptureTrait, VideoCaptureTraitConst};

/// Width or height of a capture's frames.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a side in pixels"
)]
pub(crate) fn side(capture: &VideoCapture, property: i32) -> opencv::Result<u32> {
    Ok(capture.get(property)? as u32)
}

/// Takes frames from a capture, which are BGR, with the channels that are wanted.
pub(crate) struct Converted {
    channels: u8,
    /// Before the conversion.
    color: Mat,
}

impl Converted {
    pub(crate) fn new(channels: u8) -> Self {
        Self {
            channels,
            color: Mat::default(),
        }
    }

    /// Retrieves what was grabbed. `false`: that is no frame.
    pub(crate) fn retrieve(
        &mut self,
        capture: &mut VideoCapture,
        image: &mut BoxedRefMut<'_, Mat>,
    ) -> opencv::Result<bool> {
        let conversion = match self.channels {
            1 => imgproc::COLOR_BGR2GRAY,
            3 => return Ok(capture.retrieve_def(image)? && !image.empty()),
            _ => imgproc::COLOR_BGR2BGRA,
        };
        let retrieved = capture.retrieve_def(&mut self.color)? && !self.color.empty();
        if retrieved {
            imgproc::cvt_color_def(&self.color, image, conversion)?;
        }
        Ok(retrieved)
    }
}
