//! Pixels as OpenCV sees them, without a copy.

use opencv::Result;
use opencv::boxed_ref::BoxedRef;
use opencv::core::{Mat, Vec3b, Vec4b};
use shm_frame::Shape;

/// Pixels to look at.
pub(crate) fn view(pixels: &[u8], shape: Shape) -> Result<BoxedRef<'_, Mat>> {
    let (height, width) = (shape.height(), shape.width());
    match shape.channels() {
        1 => Mat::new_rows_cols_with_bytes::<u8>(height, width, pixels),
        3 => Mat::new_rows_cols_with_bytes::<Vec3b>(height, width, pixels),
        _ => Mat::new_rows_cols_with_bytes::<Vec4b>(height, width, pixels),
    }
}
