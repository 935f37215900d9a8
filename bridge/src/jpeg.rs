//! JPEGs, from the slot where the pixels are and into the slot where they go.

use anyhow::Result;
use shm_frame::{Channels, Element, Format, Order, Shape};
use turbojpeg::{Compressor, Decompressor, Image, OutputBuf, PixelFormat, Subsamp};

/// Whether frames of this format can be JPEGs, and as what.
pub(crate) fn format(format: Format) -> Option<PixelFormat> {
    if format.element() != Element::U8 {
        return None;
    }
    match (format.channels(), format.order()) {
        (Channels::One, _) => Some(PixelFormat::GRAY),
        (Channels::Two, _) => None,
        (Channels::Three, Order::Bgr) => Some(PixelFormat::BGR),
        (Channels::Three, Order::Rgb) => Some(PixelFormat::RGB),
        (Channels::Four, Order::Bgr) => Some(PixelFormat::BGRA),
        (Channels::Four, Order::Rgb) => Some(PixelFormat::RGBA),
    }
}

fn image<T>(shape: Shape, format: PixelFormat, pixels: T) -> Image<T> {
    let size = shape.size();
    Image {
        pixels,
        width: size.width as usize,
        pitch: shape.row_bytes(),
        height: size.height as usize,
        format,
    }
}

/// Makes JPEGs of one quality.
pub(crate) struct Encoder {
    compressor: Compressor,
    output: OutputBuf<'static>,
}

impl Encoder {
    pub(crate) fn new(quality: u8) -> Result<Self> {
        let mut compressor = Compressor::new()?;
        compressor.set_quality(quality.into())?;
        Ok(Self {
            compressor,
            output: OutputBuf::new_owned(),
        })
    }

    /// `Err`: why there is no JPEG of this frame, for people.
    pub(crate) fn encode(&mut self, shape: Shape, pixels: &[u8]) -> Result<&[u8], String> {
        let Some(format) = format(shape.format()) else {
            let format = shape.format();
            return Err(format!(
                "a frame of {format} has no JPEG: --jpeg is for u8, of 1, 3 or 4 channels"
            ));
        };
        let subsampling = match format {
            PixelFormat::GRAY => Subsamp::Gray,
            // Half the colours each way, as OpenCV and cameras do it.
            _ => Subsamp::Sub2x2,
        };
        let Self { compressor, output } = self;
        compressor
            .set_subsamp(subsampling)
            .and_then(|()| compressor.compress(image(shape, format, pixels), output))
            .map_err(|error| format!("a {shape} frame has no JPEG: {error}"))?;
        Ok(output)
    }
}

/// Reads JPEGs.
pub(crate) struct Decoder(Decompressor);

impl Decoder {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(Decompressor::new()?))
    }

    /// Whether a JPEG says of itself that it has that shape. `Err`: what is wrong with it, for
    /// people.
    pub(crate) fn judge(&mut self, jpeg: &[u8], shape: Shape) -> Result<(), String> {
        if format(shape.format()).is_none() {
            return Err(format!("a JPEG is no {shape} frame"));
        }
        let header = self
            .0
            .read_header(jpeg)
            .map_err(|error| error.to_string())?;
        let size = shape.size();
        let (width, height) = (header.width, header.height);
        if (width, height) != (size.width as usize, size.height as usize) {
            return Err(format!(
                "its JPEG is {width}x{height}, and it is said to be {shape}"
            ));
        }
        Ok(())
    }

    /// Decodes a JPEG that was judged into pixels of its shape.
    pub(crate) fn decode(
        &mut self,
        jpeg: &[u8],
        shape: Shape,
        pixels: &mut [u8],
    ) -> Result<(), String> {
        let format = format(shape.format()).ok_or("a frame that has no JPEG")?;
        let decoded = self.0.decompress(jpeg, image(shape, format, pixels));
        decoded.map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use shm_frame::Size;

    use super::*;

    fn shape(format: Format) -> Shape {
        let size = Size {
            width: 64,
            height: 48,
        };
        Shape::new(size, format).unwrap()
    }

    #[test]
    fn colours_keep_their_places_in_every_format_that_can_be_a_jpeg() {
        for format in [
            Format::GRAY8,
            Format::BGR8,
            Format::RGB8,
            Format::BGRA8,
            Format::RGBA8,
        ] {
            let shape = shape(format);
            let colour = &[200, 120, 40, 255][..shape.format().pixel_bytes()];
            let pixels = colour.repeat(64 * 48);
            let mut encoder = Encoder::new(95).unwrap();
            let jpeg = encoder.encode(shape, &pixels).unwrap().to_vec();
            let mut decoded = vec![0; shape.bytes()];
            Decoder::new()
                .unwrap()
                .decode(&jpeg, shape, &mut decoded)
                .unwrap();
            for (got, sent) in decoded.iter().zip(&pixels) {
                assert!(got.abs_diff(*sent) <= 3, "{format}: {got} for {sent}");
            }
        }
    }

    #[test]
    fn what_is_no_jpeg_of_that_shape_is_refused() {
        let mut encoder = Encoder::new(90).unwrap();
        let depth = shape(Format::GRAY16);
        assert!(encoder.encode(depth, &vec![0; depth.bytes()]).is_err());
        let gray = shape(Format::GRAY8);
        let jpeg = encoder
            .encode(gray, &vec![7; gray.bytes()])
            .unwrap()
            .to_vec();
        let mut decoder = Decoder::new().unwrap();
        let size = Size {
            width: 64,
            height: 47,
        };
        let other = Shape::new(size, Format::GRAY8).unwrap();
        for (jpeg, shape) in [
            (&jpeg[..], other),
            (&jpeg[..], depth),
            (b"nonsense", gray),
            (&[], gray),
        ] {
            assert!(decoder.judge(jpeg, shape).is_err(), "{shape}");
        }
    }
}
