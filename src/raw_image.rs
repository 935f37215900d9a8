//! `foxglove.RawImage` in protobuf: a frame as a message of an MCAP file. Foxglove and Rerun show
//! it.
//!
//! | field | number | type | value |
//! |---|---|---|---|
//! | timestamp | 1 | google.protobuf.Timestamp | when the picture was taken, or else begun |
//! | width, height | 2, 3 | fixed32 | in pixels |
//! | encoding | 4 | string | what a pixel is: see [`encoding`] |
//! | step | 5 | fixed32 | bytes from row to row |
//! | data | 6 | bytes | the rows |
//! | `frame_id` | 7 | string | the segment's name |

use anyhow::{Context, Result, bail, ensure};
use shm_frame::{Channels, Element, Format, Order, Shape, Size};

/// The name of the schema.
pub(crate) const SCHEMA: &str = "foxglove.RawImage";
/// The encoding of the schema and of messages.
pub(crate) const PROTOBUF: &str = "protobuf";
/// The key of a channel's metadata that has the exact format of its frames, as `Format` writes it.
pub(crate) const FORMAT: &str = "shm-frame.format";

/// Protobuf's wire types.
const VARINT: u64 = 0;
const EIGHT_BYTES: u64 = 1;
const BYTES: u64 = 2;
const FOUR_BYTES: u64 = 5;

fn varint(into: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        into.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    into.push(value.to_le_bytes()[0]);
}

fn number(into: &mut Vec<u8>, field: u64, value: u64) {
    varint(into, field << 3 | VARINT);
    varint(into, value);
}

fn fixed32(into: &mut Vec<u8>, field: u64, value: u32) {
    varint(into, field << 3 | FOUR_BYTES);
    into.extend(value.to_le_bytes());
}

fn bytes(into: &mut Vec<u8>, field: u64, value: &[u8]) {
    varint(into, field << 3 | BYTES);
    varint(into, value.len() as u64);
    into.extend(value);
}

/// The schema's data: the `FileDescriptorSet` of the message and of the time stamp in it.
pub(crate) fn descriptor() -> Vec<u8> {
    // google.protobuf.FieldDescriptorProto.Type
    const INT64: u64 = 3;
    const INT32: u64 = 5;
    const FIXED32: u64 = 7;
    const STRING: u64 = 9;
    const MESSAGE: u64 = 11;
    const BYTES: u64 = 12;
    let field = |name: &str, id: u64, kind: u64, type_name: Option<&str>| {
        let mut field = Vec::new();
        bytes(&mut field, 1, name.as_bytes());
        number(&mut field, 3, id);
        // Optional, as every field of proto3.
        number(&mut field, 4, 1);
        number(&mut field, 5, kind);
        if let Some(type_name) = type_name {
            bytes(&mut field, 6, type_name.as_bytes());
        }
        field
    };
    let file =
        |name: &str, package: &str, needs: Option<&str>, message: &str, fields: &[Vec<u8>]| {
            let mut kind = Vec::new();
            bytes(&mut kind, 1, message.as_bytes());
            for field in fields {
                bytes(&mut kind, 2, field);
            }
            let mut file = Vec::new();
            bytes(&mut file, 1, name.as_bytes());
            bytes(&mut file, 2, package.as_bytes());
            if let Some(needs) = needs {
                bytes(&mut file, 3, needs.as_bytes());
            }
            bytes(&mut file, 4, &kind);
            bytes(&mut file, 12, b"proto3");
            file
        };
    let time = "google/protobuf/timestamp.proto";
    let fields = [
        field("seconds", 1, INT64, None),
        field("nanos", 2, INT32, None),
    ];
    let timestamp = file(time, "google.protobuf", None, "Timestamp", &fields);
    let fields = [
        field("timestamp", 1, MESSAGE, Some(".google.protobuf.Timestamp")),
        field("frame_id", 7, STRING, None),
        field("width", 2, FIXED32, None),
        field("height", 3, FIXED32, None),
        field("encoding", 4, STRING, None),
        field("step", 5, FIXED32, None),
        field("data", 6, BYTES, None),
    ];
    let image = file(
        "foxglove/RawImage.proto",
        "foxglove",
        Some(time),
        "RawImage",
        &fields,
    );
    let mut set = Vec::new();
    bytes(&mut set, 1, &timestamp);
    bytes(&mut set, 1, &image);
    set
}

/// The name of a format: Foxglove's if it has one, else the one of ROS and OpenCV.
pub(crate) fn encoding(format: Format) -> String {
    let rgb = format.order() == Order::Rgb;
    let name = match (format.element(), format.channels()) {
        (Element::U8, Channels::One) => "mono8",
        (Element::U8, Channels::Three) if rgb => "rgb8",
        (Element::U8, Channels::Three) => "bgr8",
        (Element::U8, Channels::Four) if rgb => "rgba8",
        (Element::U8, Channels::Four) => "bgra8",
        (Element::U16, Channels::Three) if rgb => "rgb16",
        (Element::U16, Channels::Three) => "bgr16",
        (Element::U16, Channels::Four) if rgb => "rgba16",
        (Element::U16, Channels::Four) => "bgra16",
        (element, channels) => {
            let kind = match element {
                Element::U8 => "8U",
                Element::I8 => "8S",
                Element::U16 => "16U",
                Element::I16 => "16S",
                Element::I32 => "32S",
                Element::F16 => "16F",
                Element::F32 => "32F",
                Element::F64 => "64F",
            };
            return format!("{kind}C{}", channels.count());
        }
    };
    name.to_owned()
}

/// The format of a name. `None`: frames have no such pixels, as `yuyv`.
fn format_of(encoding: &str) -> Option<Format> {
    let alias = match encoding {
        "mono16" => Some(Format::GRAY16),
        "8UC3" => Some(Format::BGR8),
        "8UC4" => Some(Format::BGRA8),
        "8UC1" => Some(Format::GRAY8),
        _ => None,
    };
    alias.or_else(|| {
        let formats = Element::ALL.into_iter().flat_map(|element| {
            let of = move |channels| Format::new(element, channels);
            Channels::ALL.into_iter().map(of)
        });
        formats
            .flat_map(|format| [format, format.ordered(Order::Rgb)])
            .find(|&format| self::encoding(format) == encoding)
    })
}

/// Writes a message.
pub(crate) fn encode(
    into: &mut Vec<u8>,
    shape: Shape,
    pixels: &[u8],
    time_ns: u64,
    frame_id: &str,
) {
    const SECOND: u64 = 1_000_000_000;
    into.clear();
    into.reserve(pixels.len() + 128);
    let mut time = Vec::new();
    number(&mut time, 1, time_ns / SECOND);
    number(&mut time, 2, time_ns % SECOND);
    bytes(into, 1, &time);
    let Size { width, height } = shape.size();
    fixed32(into, 2, width);
    fixed32(into, 3, height);
    bytes(into, 4, encoding(shape.format()).as_bytes());
    // No reader takes longer rows.
    fixed32(
        into,
        5,
        u32::try_from(shape.row_bytes()).unwrap_or(u32::MAX),
    );
    bytes(into, 7, frame_id.as_bytes());
    bytes(into, 6, pixels);
}

/// A message that was read.
#[derive(Debug)]
pub(crate) struct RawImage<'a> {
    pub shape: Shape,
    /// Bytes from row to row.
    step: usize,
    data: &'a [u8],
    /// Its time stamp, Unix time in ns; 0 if there is none.
    pub time_ns: u64,
}

/// The value of a field.
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Takes a number of a message.
fn take_varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Takes a field of a message.
fn take_field<'a>(message: &mut &'a [u8]) -> Option<(u64, Value<'a>)> {
    let key = take_varint(message)?;
    let mut take = |length: usize| {
        let (taken, rest) = message.split_at_checked(length)?;
        *message = rest;
        Some(taken)
    };
    let value = match key & 7 {
        VARINT => Value::Number(take_varint(message)?),
        EIGHT_BYTES => Value::Number(u64::from_le_bytes(take(8)?.try_into().ok()?)),
        FOUR_BYTES => Value::Number(u32::from_le_bytes(take(4)?.try_into().ok()?).into()),
        BYTES => {
            let length = usize::try_from(take_varint(message)?).ok()?;
            let (taken, rest) = message.split_at_checked(length)?;
            *message = rest;
            Value::Bytes(taken)
        }
        _ => return None,
    };
    Some((key >> 3, value))
}

impl<'a> RawImage<'a> {
    /// Reads a message. `format` is the exact one, if the file says it.
    pub(crate) fn decode(mut message: &'a [u8], format: Option<Format>) -> Result<Self> {
        let (mut width, mut height, mut step, mut time_ns) = (0, 0, 0, 0);
        let (mut encoding, mut data) = (&b""[..], &b""[..]);
        while !message.is_empty() {
            match take_field(&mut message).context("a message is no foxglove.RawImage")? {
                (1, Value::Bytes(time)) => time_ns = decode_time(time),
                (2, Value::Number(value)) => width = value,
                (3, Value::Number(value)) => height = value,
                (4, Value::Bytes(value)) => encoding = value,
                (5, Value::Number(value)) => step = value,
                (6, Value::Bytes(value)) => data = value,
                _ => {}
            }
        }
        let encoding = String::from_utf8_lossy(encoding);
        let Some(format) = format.or_else(|| format_of(&encoding)) else {
            bail!("its pixels are {encoding}, which no frame has");
        };
        let size = Size {
            width: width.try_into()?,
            height: height.try_into()?,
        };
        let shape = Shape::new(size, format)?;
        let row = shape.row_bytes();
        let step = match usize::try_from(step)? {
            0 => row,
            step => step,
        };
        let rows = usize::try_from(shape.height())? - 1;
        let needed = step.checked_mul(rows).and_then(|n| n.checked_add(row));
        ensure!(
            step >= row && needed.is_some_and(|needed| needed <= data.len()),
            "a picture of {shape} has {} bytes in rows of {step}",
            data.len()
        );
        Ok(Self {
            shape,
            step,
            data,
            time_ns,
        })
    }

    /// Copies the pixels, row after row.
    pub(crate) fn copy_to(&self, pixels: &mut [u8]) {
        let row = self.shape.row_bytes();
        let rows = self.data.chunks(self.step);
        for (to, from) in pixels.chunks_exact_mut(row).zip(rows) {
            to.copy_from_slice(&from[..row]);
        }
    }
}

/// The ns of a `google.protobuf.Timestamp`.
fn decode_time(mut time: &[u8]) -> u64 {
    let (mut seconds, mut ns) = (0_u64, 0);
    while let Some((field, value)) = take_field(&mut time) {
        match (field, value) {
            (1, Value::Number(value)) => seconds = value,
            (2, Value::Number(value)) => ns = value,
            _ => {}
        }
    }
    seconds.saturating_mul(1_000_000_000).saturating_add(ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formats() -> impl Iterator<Item = Format> {
        Element::ALL.into_iter().flat_map(|element| {
            Channels::ALL.into_iter().flat_map(move |channels| {
                let format = Format::new(element, channels);
                [format, format.ordered(Order::Rgb)]
            })
        })
    }

    #[test]
    fn a_message_comes_back_in_every_format() {
        for format in formats() {
            let shape = Shape::new(
                Size {
                    width: 3,
                    height: 2,
                },
                format,
            )
            .unwrap();
            let pixels: Vec<u8> = (0..shape.bytes()).map(|i| i.to_le_bytes()[0]).collect();
            let mut message = Vec::new();
            encode(
                &mut message,
                shape,
                &pixels,
                1_764_000_000_123_456_789,
                "cam",
            );
            let image = RawImage::decode(&message, Some(format)).unwrap();
            assert_eq!(
                (image.shape, image.time_ns),
                (shape, 1_764_000_000_123_456_789)
            );
            let mut copied = vec![0; shape.bytes()];
            image.copy_to(&mut copied);
            assert_eq!(copied, pixels);
            // The name says it, too, but for the order that some names don't have.
            let named = format_of(&encoding(format)).unwrap();
            assert_eq!(named.element(), format.element());
            assert_eq!(named.channels(), format.channels());
        }
    }

    #[test]
    fn rows_may_have_padding() {
        let shape = Shape::new(
            Size {
                width: 2,
                height: 2,
            },
            Format::GRAY8,
        )
        .unwrap();
        let mut message = Vec::new();
        fixed32(&mut message, 2, 2);
        fixed32(&mut message, 3, 2);
        bytes(&mut message, 4, b"8UC1");
        fixed32(&mut message, 5, 4);
        bytes(&mut message, 6, &[1, 2, 9, 9, 3, 4]);
        let image = RawImage::decode(&message, None).unwrap();
        let mut pixels = vec![0; shape.bytes()];
        image.copy_to(&mut pixels);
        assert_eq!((image.shape, pixels), (shape, vec![1, 2, 3, 4]));
    }

    #[test]
    fn what_is_no_picture_is_an_error() {
        assert!(RawImage::decode(b"\xff\xff", None).is_err());
        assert!(RawImage::decode(b"", None).is_err());
        let mut message = Vec::new();
        fixed32(&mut message, 2, u32::MAX);
        fixed32(&mut message, 3, 2);
        bytes(&mut message, 4, b"mono8");
        assert!(RawImage::decode(&message, None).is_err());
        message.clear();
        fixed32(&mut message, 2, 9);
        fixed32(&mut message, 3, 9);
        bytes(&mut message, 4, b"mono8");
        bytes(&mut message, 6, b"short");
        let error = RawImage::decode(&message, None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a picture of 9x9x1 has 5 bytes in rows of 9"
        );
        message.clear();
        bytes(&mut message, 4, b"yuyv");
        let error = RawImage::decode(&message, None).unwrap_err();
        assert_eq!(error.to_string(), "its pixels are yuyv, which no frame has");
    }
}
