//! What a pixel is, and how many there are. The one place that knows.

use std::fmt;
use std::str::FromStr;

use super::header::FrameHeader;
use crate::Error;

/// What one element of a pixel is. All are little-endian.
///
/// The values are OpenCV's depth codes (`CV_8U` to `CV_16F`), and the second byte of the header's
/// `channels` word. The set is closed by the layout, so a match may name all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Element {
    /// Unsigned, 8 bits.
    U8 = 0,
    /// Signed, 8 bits.
    I8 = 1,
    /// Unsigned, 16 bits.
    U16 = 2,
    /// Signed, 16 bits.
    I16 = 3,
    /// Signed, 32 bits.
    I32 = 4,
    /// Floating point, 32 bits (IEEE 754 binary32).
    F32 = 5,
    /// Floating point, 64 bits (IEEE 754 binary64).
    F64 = 6,
    /// Floating point, 16 bits (IEEE 754 binary16).
    F16 = 7,
}

impl Element {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 8] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::I32,
        Self::F32,
        Self::F64,
        Self::F16,
    ];

    /// Bytes of one element.
    pub const fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 | Self::F16 => 2,
            Self::I32 | Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// Its name: `u8`, `f32`, ...
    pub const fn name(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::U16 => "u16",
            Self::I16 => "i16",
            Self::I32 => "i32",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::F16 => "f16",
        }
    }

    /// Its code: OpenCV's depth.
    pub const fn code(self) -> u8 {
        self as u8
    }

    const fn from_code(code: u8) -> Option<Self> {
        if (code as usize) < Self::ALL.len() {
            Some(Self::ALL[code as usize])
        } else {
            None
        }
    }
}

/// A type that elements can be read as: `u8`, `i8`, `u16`, `i16`, `i32`, `f32`, `f64`, and [`F16`].
///
/// It is sealed: every type of it is a number of which all bits are a value.
pub trait Scalar: sealed::Sealed + Copy {
    /// The element that this type is.
    const ELEMENT: Element;
}

/// The bits of an IEEE 754 binary16, which stable Rust has no type for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct F16(pub u16);

mod sealed {
    pub trait Sealed {}
}

macro_rules! scalar {
    ($($scalar:ty => $element:ident),*) => {
        $(
            impl sealed::Sealed for $scalar {}

            impl Scalar for $scalar {
                const ELEMENT: Element = Element::$element;
            }
        )*
    };
}

scalar!(
    u8 => U8, i8 => I8, u16 => U16, i16 => I16, i32 => I32, f32 => F32, f64 => F64, F16 => F16
);

/// How many elements a pixel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Channels {
    /// Gray, depth, a mask.
    One = 1,
    /// Optical flow, gray and alpha.
    Two = 2,
    /// Colour.
    Three = 3,
    /// Colour and alpha.
    Four = 4,
}

impl Channels {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [Self::One, Self::Two, Self::Three, Self::Four];

    /// 1 to 4.
    pub const fn count(self) -> usize {
        self as usize
    }

    /// For a count of 1 to 4.
    pub const fn new(count: usize) -> Option<Self> {
        match count {
            1 => Some(Self::One),
            2 => Some(Self::Two),
            3 => Some(Self::Three),
            4 => Some(Self::Four),
            _ => None,
        }
    }
}

/// In which order a pixel of three or four elements has its colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Order {
    /// Blue first, as OpenCV has them: BGR, BGRA.
    Bgr = 0,
    /// Red first: RGB, RGBA.
    Rgb = 1,
}

/// What a pixel is: its elements, how many, and in which order.
///
/// As text it is the count of elements, then what is not usual: `3` (BGR, u8), `1:u16`, `4:rgb`,
/// `3:f32:rgb`.
///
/// ```
/// # use shm_frame::{Channels, Element, Format, Order};
/// let depth: Format = "1:u16".parse()?;
/// assert_eq!(depth, Format::GRAY16);
/// let float_rgb = Format::new(Element::F32, Channels::Three).ordered(Order::Rgb);
/// assert_eq!(float_rgb.to_string(), "3:f32:rgb");
/// assert_eq!(float_rgb.pixel_bytes(), 12);
/// assert_eq!(Format::from_word(float_rgb.word()), Some(float_rgb));
/// # Ok::<(), shm_frame::ParseFormatError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Format {
    element: Element,
    channels: Channels,
    order: Order,
}

impl Format {
    /// One byte: gray.
    pub const GRAY8: Self = Self::new(Element::U8, Channels::One);
    /// Three bytes: blue, green, red.
    pub const BGR8: Self = Self::new(Element::U8, Channels::Three);
    /// Four bytes: blue, green, red, alpha.
    pub const BGRA8: Self = Self::new(Element::U8, Channels::Four);
    /// Three bytes: red, green, blue.
    pub const RGB8: Self = Self::BGR8.ordered(Order::Rgb);
    /// Four bytes: red, green, blue, alpha.
    pub const RGBA8: Self = Self::BGRA8.ordered(Order::Rgb);
    /// One element of 16 bits: gray, or the depth in mm that depth cameras give.
    pub const GRAY16: Self = Self::new(Element::U16, Channels::One);
    /// One float.
    pub const GRAY32F: Self = Self::new(Element::F32, Channels::One);

    /// Pixels of so many elements, in OpenCV's order.
    pub const fn new(element: Element, channels: Channels) -> Self {
        Self {
            element,
            channels,
            order: Order::Bgr,
        }
    }

    /// The same in this order. One and two elements have no order, and stay as they are.
    #[must_use]
    pub const fn ordered(self, order: Order) -> Self {
        match self.channels {
            Channels::One | Channels::Two => self,
            Channels::Three | Channels::Four => Self { order, ..self },
        }
    }

    /// What an element is.
    pub const fn element(self) -> Element {
        self.element
    }

    /// How many elements a pixel has.
    pub const fn channels(self) -> Channels {
        self.channels
    }

    /// The order of the colours. [`Order::Bgr`] for one and two elements.
    pub const fn order(self) -> Order {
        self.order
    }

    /// Bytes of a pixel.
    pub const fn pixel_bytes(self) -> usize {
        self.channels.count() * self.element.bytes()
    }

    /// The header's `channels` word: count, element and order, a byte each. For 8 bits in OpenCV's
    /// order it is the count.
    pub const fn word(self) -> i32 {
        i32::from_le_bytes([self.channels as u8, self.element as u8, self.order as u8, 0])
    }

    /// What a header's `channels` word says. `None`: it says nothing that the layout knows.
    pub const fn from_word(word: i32) -> Option<Self> {
        let [channels, element, order, 0] = word.to_le_bytes() else {
            return None;
        };
        let (Some(channels), Some(element)) = (
            Channels::new(channels as usize),
            Element::from_code(element),
        ) else {
            return None;
        };
        let format = Self::new(element, channels);
        match order {
            0 => Some(format),
            1 => match channels {
                // A word that differs from the usual one for nothing.
                Channels::One | Channels::Two => None,
                Channels::Three | Channels::Four => Some(format.ordered(Order::Rgb)),
            },
            _ => None,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.channels.count())?;
        if self.element != Element::U8 {
            write!(f, ":{}", self.element.name())?;
        }
        match self.order {
            Order::Bgr => Ok(()),
            Order::Rgb => f.write_str(":rgb"),
        }
    }
}

/// A text that is no [`Format`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no pixel format: it is 1 to 4 elements, then :u8, :i8, :u16, :i16, :i32, :f32, :f64 or :f16, then :rgb for red first"
)]
pub struct ParseFormatError(String);

impl FromStr for Format {
    type Err = ParseFormatError;

    fn from_str(text: &str) -> Result<Self, ParseFormatError> {
        let format = || {
            let mut words = text.split(':');
            let channels = Channels::new(words.next()?.parse().ok()?)?;
            let mut format = Self::new(Element::U8, channels);
            let mut word = words.next();
            if let Some(&element) = Element::ALL
                .iter()
                .find(|element| word == Some(element.name()))
            {
                format.element = element;
                word = words.next();
            }
            if let Some(order) = word {
                format = match (order, channels) {
                    ("bgr", _) => format,
                    ("rgb", Channels::Three | Channels::Four) => format.ordered(Order::Rgb),
                    _ => return None,
                };
            }
            words.next().is_none().then_some(format)
        };
        format().ok_or_else(|| ParseFormatError(text.to_owned()))
    }
}

/// The sides of an image, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Size {
    /// Pixels per row.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// The dimensions of an image: height x width x elements of a format. A value of this type is one
/// that can exist: its sides are 1 to 2^31 - 1, and its bytes, with a header before them, fit in an
/// `isize`.
///
/// ```
/// # use shm_frame::{Format, Shape, Size};
/// # fn main() -> Result<(), shm_frame::Error> {
/// let shape = Shape::new(Size { width: 640, height: 480 }, Format::GRAY16)?;
/// assert_eq!((shape.row_bytes(), shape.bytes()), (1280, 614_400));
/// assert_eq!(shape.to_string(), "640x480x1:u16");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    width: i32,
    height: i32,
    format: Format,
    bytes: usize,
}

impl Shape {
    /// An image of that size and format.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] when a side is 0 or above 2^31 - 1, or the bytes are not addressable.
    pub fn new(size: Size, format: Format) -> Result<Self, Error> {
        Self::judge(size.width.into(), size.height.into(), format.word())
    }

    /// The one place that judges dimensions.
    pub(super) fn judge(width: i64, height: i64, word: i32) -> Result<Self, Error> {
        let shape = || {
            let format = Format::from_word(word)?;
            let side = |n: i64| i32::try_from(n).ok().filter(|&n| n > 0);
            let (width, height) = (side(width)?, side(height)?);
            let bytes = [height, width]
                .iter()
                .try_fold(format.pixel_bytes(), |product, &n| {
                    product.checked_mul(usize::try_from(n).ok()?)
                })?;
            // A slice must not be longer than this; see std::slice::from_raw_parts.
            isize::try_from(bytes)
                .ok()?
                .checked_add_unsigned(FrameHeader::LEN)?;
            Some(Self {
                width,
                height,
                format,
                bytes,
            })
        };
        shape().ok_or(Error::Shape {
            width,
            height,
            channels: word,
        })
    }

    /// Pixels per row.
    pub const fn width(&self) -> i32 {
        self.width
    }

    /// Rows.
    pub const fn height(&self) -> i32 {
        self.height
    }

    /// Both sides.
    pub const fn size(&self) -> Size {
        Size {
            width: self.width.unsigned_abs(),
            height: self.height.unsigned_abs(),
        }
    }

    /// What a pixel is.
    pub const fn format(&self) -> Format {
        self.format
    }

    /// Elements per pixel, 1 to 4.
    pub const fn channels(&self) -> i32 {
        self.format.channels as i32
    }

    /// Bytes of a row, which has no padding.
    pub const fn row_bytes(&self) -> usize {
        self.width.unsigned_abs() as usize * self.format.pixel_bytes()
    }

    /// Bytes of all pixels: height x width x elements x bytes of an element.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The header of a frame of this shape that is not whole yet.
    pub(crate) fn header(&self, timestamp_ms: i64) -> FrameHeader {
        FrameHeader {
            width: self.width,
            height: self.height,
            channels: self.format.word(),
            timestamp_ms,
            frame_valid: 0,
        }
    }
}

/// Width x height x format, as people write resolutions: `640x404x3`, `640x480x1:u16`.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.width, self.height, self.format)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn formats() -> impl Iterator<Item = Format> {
        Element::ALL.into_iter().flat_map(|element| {
            Channels::ALL.into_iter().flat_map(move |channels| {
                let format = Format::new(element, channels);
                let rgb = format.ordered(Order::Rgb);
                [Some(format), (rgb != format).then_some(rgb)]
                    .into_iter()
                    .flatten()
            })
        })
    }

    #[test]
    fn every_format_has_a_word_and_a_text_of_its_own() {
        assert_eq!(formats().count(), 8 * 6);
        let mut words = Vec::new();
        for format in formats() {
            assert_eq!(Format::from_word(format.word()), Some(format));
            assert_eq!(format.to_string().parse(), Ok(format));
            assert!(!words.contains(&format.word()), "{format}");
            words.push(format.word());
        }
    }

    #[test]
    fn eight_bit_formats_have_the_word_that_they_always_had() {
        for (format, word) in [(Format::GRAY8, 1), (Format::BGR8, 3), (Format::BGRA8, 4)] {
            assert_eq!(format.word(), word);
        }
        assert_eq!(Format::new(Element::U16, Channels::Three).word(), 515);
        assert_eq!(Format::RGB8.word(), 0x1_0003);
    }

    #[test]
    fn words_and_texts_that_the_layout_does_not_know_are_no_formats() {
        for word in [0, 5, -1, 0x801, 0x2_0003, 0x1_0001, 0x0100_0003] {
            assert_eq!(Format::from_word(word), None, "{word:#x}");
        }
        for text in [
            "",
            "0",
            "5",
            "3:u32",
            "3:rgb:u16",
            "1:rgb",
            "3:u8:rgb:x",
            "3:",
            "x",
        ] {
            let error = text.parse::<Format>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
        assert_eq!("3:bgr".parse(), Ok(Format::BGR8));
        assert_eq!("4:u8:rgb".parse(), Ok(Format::RGBA8));
    }

    #[test]
    fn a_shape_knows_its_bytes() {
        let size = Size {
            width: 640,
            height: 404,
        };
        for format in formats() {
            let shape = Shape::new(size, format).unwrap();
            assert_eq!(shape.row_bytes(), 640 * format.pixel_bytes());
            assert_eq!(shape.bytes(), 404 * shape.row_bytes());
            assert_eq!(shape.size(), size);
        }
        assert_eq!(
            Shape::new(size, Format::GRAY16).unwrap().to_string(),
            "640x404x1:u16"
        );
    }

    proptest! {
        #[test]
        fn any_word_is_a_format_with_that_word_or_none(word: i32) {
            if let Some(format) = Format::from_word(word) {
                prop_assert_eq!(format.word(), word);
            }
        }

        #[test]
        fn any_sides_are_judged_without_overflow(width: u32, height: u32, word: i32) {
            if let Some(format) = Format::from_word(word)
                && let Ok(shape) = Shape::new(Size { width, height }, format)
            {
                let exact = u128::from(width) * u128::from(height) * format.pixel_bytes() as u128;
                prop_assert_eq!(shape.bytes() as u128, exact);
            }
        }
    }
}
