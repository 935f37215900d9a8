//! The 24 bytes before the pixels.

use super::format::Shape;
use crate::Error;

/// The 24 packed bytes that every frame begins with, little-endian.
///
/// Bytes exist only in [`encode`](Self::encode) and [`decode`](Self::decode); what a header
/// *claims* is judged in one place, [`shape`](Self::shape).
///
/// ```
/// # use shm_frame::{Format, FrameHeader};
/// # fn main() -> Result<(), shm_frame::Error> {
/// let header = FrameHeader {
///     width: 640,
///     height: 404,
///     channels: Format::BGR8.word(),
///     timestamp_ms: 1_764_000_000_000,
///     frame_valid: 1,
/// };
/// let bytes = header.encode();
/// assert_eq!(FrameHeader::decode(&bytes), header);
/// assert_eq!(header.shape(1_000_000)?.bytes(), 640 * 404 * 3);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameHeader {
    /// Pixels per row.
    pub width: i32,
    /// Rows.
    pub height: i32,
    /// What a pixel is, as [`Format::word`](crate::Format::word) says: 1 gray, 3 BGR, 4 BGRA for 8
    /// bits.
    pub channels: i32,
    /// Unix time in ms when the sender began to write this frame.
    pub timestamp_ms: i64,
    /// 0 while the frame is being written, 1 when it is whole.
    pub frame_valid: i32,
}

impl FrameHeader {
    /// Bytes of a header, and where the pixels begin.
    pub const LEN: usize = 24;
    /// Where `frame_valid` stands.
    pub const FRAME_VALID_AT: usize = 20;

    /// The header as it stands in memory.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[0..4].copy_from_slice(&self.width.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.height.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.channels.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.timestamp_ms.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.frame_valid.to_le_bytes());
        bytes
    }

    /// Reads a header. Any 24 bytes decode; [`shape`](Self::shape) says whether they make sense.
    #[must_use]
    pub fn decode(bytes: &[u8; Self::LEN]) -> Self {
        let [w0, w1, w2, w3, h0, h1, h2, h3, c0, c1, c2, c3, rest @ ..] = *bytes;
        let [t0, t1, t2, t3, t4, t5, t6, t7, v0, v1, v2, v3] = rest;
        Self {
            width: i32::from_le_bytes([w0, w1, w2, w3]),
            height: i32::from_le_bytes([h0, h1, h2, h3]),
            channels: i32::from_le_bytes([c0, c1, c2, c3]),
            timestamp_ms: i64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7]),
            frame_valid: i32::from_le_bytes([v0, v1, v2, v3]),
        }
    }

    /// The shape that the header claims, if it is one and its pixels fit in `room` bytes after the
    /// header.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] for dimensions that are no image, [`Error::TooLarge`] for one that does not
    /// fit.
    #[inline]
    pub fn shape(&self, room: usize) -> Result<Shape, Error> {
        let shape = Shape::judge(self.width.into(), self.height.into(), self.channels)?;
        if shape.bytes() > room {
            return Err(Error::TooLarge { shape, room });
        }
        Ok(shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_header_stands_in_memory_byte_for_byte() {
        let header = FrameHeader {
            width: 640,
            height: 404,
            channels: 3,
            timestamp_ms: 0x0102_0304_0506_0708,
            frame_valid: 1,
        };
        #[rustfmt::skip]
        let golden = [
            0x80, 0x02, 0, 0, // width 640
            0x94, 0x01, 0, 0, // height 404
            3, 0, 0, 0,       // channels
            8, 7, 6, 5, 4, 3, 2, 1, // timestamp_ms
            1, 0, 0, 0,       // frame_valid
        ];
        assert_eq!(header.encode(), golden);
        assert_eq!(FrameHeader::decode(&golden), header);
    }

    #[test]
    fn dimensions_that_are_no_image_are_refused_with_the_numbers() {
        for (height, width, channels) in [
            (0, 1, 1),
            (1, 0, 1),
            (1, 1, 0),
            (-1, 1, 1),
            (1, -1, 3),
            (1, 1, -3),
            (1, 1, 5),
        ] {
            let header = FrameHeader {
                width,
                height,
                channels,
                ..FrameHeader::default()
            };
            let error = header.shape(usize::MAX).unwrap_err().to_string();
            assert!(
                error.contains(&format!("{width}x{height}x{channels}")),
                "{error}"
            );
        }
    }

    #[test]
    fn pixels_larger_than_the_room_are_refused() {
        let header = FrameHeader {
            height: 2,
            width: 2,
            channels: 3,
            ..FrameHeader::default()
        };
        assert_eq!(header.shape(12).unwrap().bytes(), 12);
        assert!(matches!(
            header.shape(11),
            Err(Error::TooLarge { room: 11, .. })
        ));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_and_encode_to_themselves(bytes: [u8; 24]) {
            prop_assert_eq!(FrameHeader::decode(&bytes).encode(), bytes);
        }

        #[test]
        fn a_shape_that_is_accepted_is_in_bounds(bytes: [u8; 24], room: usize) {
            let header = FrameHeader::decode(&bytes);
            if let Ok(shape) = header.shape(room) {
                let exact = i128::from(header.width)
                    * i128::from(header.height)
                    * i128::try_from(shape.format().pixel_bytes()).unwrap();
                prop_assert_eq!(i128::try_from(shape.bytes()).unwrap(), exact);
                prop_assert!(shape.bytes() > 0 && shape.bytes() <= room);
            }
        }
    }
}
