//! What goes over the wire besides pixels, in zenoh's own serialization: numbers little-endian, one
//! after the other, and bytes with their length before them. A program in another language reads it
//! with one call, `z_deserialize`; `README.md` tells how.
//!
//! It is read here by hand: it comes from whoever may publish, and zenoh-ext reserves as much
//! memory as a length claims.

use shm_frame::{Channels, Element, Format, Order, Shape, Size};

use crate::clock::Reading;

/// The first byte of everything.
const VERSION: u8 = 1;

/// Under which keys, beside a stream's own.
pub(crate) fn alive(key: &str) -> String {
    format!("{key}/@alive")
}

/// The same for questions about clocks.
pub(crate) fn clock(key: &str) -> String {
    format!("{key}/@clock")
}

/// The attachment of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attachment {
    /// Counts the frames that `put` handed to zenoh, from 1: a gap is a frame that was lost.
    pub serial: u64,
    /// The sender's, random: with another one, numbers begin anew.
    pub session: u64,
    /// The sender's count.
    pub number: u64,
    pub shape: Shape,
    /// `CLOCK_MONOTONIC` of the sender's machine before it wrote the first byte.
    pub begun_ns: i64,
    /// The same moment by the sender's wall clock.
    pub begun_unix_ns: i64,
    /// Unix time at which the picture was taken, by the sender's wall clock; 0 if it is unknown.
    pub captured_ns: u64,
    /// The sender's own bytes.
    pub meta: Vec<u8>,
}

impl Attachment {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let Size { width, height } = self.shape.size();
        let [channels, element, order, _] = self.shape.format().word().to_le_bytes();
        let mut bytes = vec![VERSION];
        bytes.extend(self.serial.to_le_bytes());
        bytes.extend(self.session.to_le_bytes());
        bytes.extend(self.number.to_le_bytes());
        bytes.extend(width.to_le_bytes());
        bytes.extend(height.to_le_bytes());
        bytes.extend([channels, element, order]);
        bytes.extend(self.begun_ns.to_le_bytes());
        bytes.extend(self.begun_unix_ns.to_le_bytes());
        bytes.extend(self.captured_ns.to_le_bytes());
        put_length(&mut bytes, self.meta.len());
        bytes.extend_from_slice(&self.meta);
        bytes
    }

    /// `Err`: what is wrong with it, for people.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let mut fields = Fields::new(bytes)?;
        let mut attachment = || {
            let (serial, session, number) = (fields.u64()?, fields.u64()?, fields.u64()?);
            let (width, height) = (fields.u32()?, fields.u32()?);
            let format = format(fields.u8()?, fields.u8()?, fields.u8()?)?;
            let attachment = Self {
                serial,
                session,
                number,
                shape: Shape::new(Size { width, height }, format).ok()?,
                begun_ns: fields.i64()?,
                begun_unix_ns: fields.i64()?,
                captured_ns: fields.u64()?,
                meta: fields.bytes()?.to_vec(),
            };
            fields.0.is_empty().then_some(attachment)
        };
        attachment().ok_or_else(|| "its attachment describes no frame".to_owned())
    }
}

fn format(channels: u8, element: u8, order: u8) -> Option<Format> {
    let &element = Element::ALL.get(usize::from(element))?;
    let format = Format::new(element, Channels::new(usize::from(channels))?);
    match order {
        0 => Some(format),
        1 if channels >= 3 => Some(format.ordered(Order::Rgb)),
        _ => None,
    }
}

/// What `get` asks, and reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Question {
    /// Random, the same for all questions of one process.
    pub id: u64,
    /// Whether it has just subscribed: the newest frame may be old, and is wanted all the same.
    pub fresh: bool,
    /// How many bytes are to come with the answer, to see how fast the link is.
    pub probe: u32,
    /// Frames that arrived.
    pub arrived: u64,
    /// Frames that were handed to zenoh at the other end, and did not arrive.
    pub lost: u64,
    /// What the link carries, in bits/s; 0 if it was not measured.
    pub link: u64,
}

impl Question {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend(self.id.to_le_bytes());
        bytes.push(self.fresh.into());
        bytes.extend(self.probe.to_le_bytes());
        bytes.extend(self.arrived.to_le_bytes());
        bytes.extend(self.lost.to_le_bytes());
        bytes.extend(self.link.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(bytes).ok()?;
        Some(Self {
            id: fields.u64()?,
            fresh: fields.u8()? != 0,
            probe: fields.u32()?,
            arrived: fields.u64()?,
            lost: fields.u64()?,
            link: fields.u64()?,
        })
    }
}

/// What `put` answers: to anybody, also without a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub reading: Reading,
    /// Frames that were handed to zenoh so far.
    pub asked: u64,
    /// What the stream needs, in bits/s; 0 if that is not known.
    pub needs: u64,
    /// The quality of the JPEGs; 0 for raw pixels.
    pub jpeg: u8,
}

impl Answer {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend(self.reading.monotonic_ns.to_le_bytes());
        bytes.extend(self.reading.unix_ns.to_le_bytes());
        bytes.extend(self.asked.to_le_bytes());
        bytes.extend(self.needs.to_le_bytes());
        bytes.push(self.jpeg);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(bytes).ok()?;
        Some(Self {
            reading: Reading {
                monotonic_ns: fields.i64()?,
                unix_ns: fields.i64()?,
            },
            asked: fields.u64()?,
            needs: fields.u64()?,
            jpeg: fields.u8()?,
        })
    }
}

/// Appends a length: seven bits a byte, the lowest first, and a bit that says that more follow.
fn put_length(bytes: &mut Vec<u8>, mut length: usize) {
    loop {
        let low = (length & 0x7f).to_le_bytes()[0];
        length >>= 7;
        if length == 0 {
            return bytes.push(low);
        }
        bytes.push(low | 0x80);
    }
}

/// What is left to be read.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, String> {
        match bytes {
            [VERSION, rest @ ..] => Ok(Self(rest)),
            [version, ..] => Err(format!(
                "it has version {version} of the attachment, this program knows version {VERSION}: \
                 use the same version at both ends"
            )),
            [] => Err("its attachment is empty".to_owned()),
        }
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.take().map(i64::from_le_bytes)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let mut length = 0_usize;
        // Four bytes: more than fits in a frame beside its pixels.
        for shift in [0, 7, 14, 21] {
            let byte = self.u8()?;
            length |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                let (bytes, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                return Some(bytes);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attachment(format: Format, meta: usize) -> Attachment {
        let size = Size {
            width: 640,
            height: 404,
        };
        Attachment {
            serial: 1,
            session: u64::MAX,
            number: 3,
            shape: Shape::new(size, format).unwrap(),
            begun_ns: 4,
            begun_unix_ns: -5,
            captured_ns: 6,
            meta: vec![b'x'; meta],
        }
    }

    #[test]
    fn every_format_and_length_comes_back() {
        for element in Element::ALL {
            for channels in Channels::ALL {
                for order in [Order::Bgr, Order::Rgb] {
                    let sent = attachment(Format::new(element, channels).ordered(order), 0);
                    assert_eq!(Attachment::decode(&sent.encode()), Ok(sent));
                }
            }
        }
        for meta in [1, 127, 128, 300, 16_383, 16_384, 1 << 20] {
            let sent = attachment(Format::BGR8, meta);
            assert_eq!(Attachment::decode(&sent.encode()), Ok(sent));
        }
    }

    #[test]
    fn attachments_that_were_cut_or_changed_are_refused_and_never_panic() {
        let whole = attachment(Format::GRAY16, 200).encode();
        for length in 0..whole.len() {
            assert!(
                Attachment::decode(&whole[..length]).is_err(),
                "{length} bytes"
            );
        }
        assert!(Attachment::decode(&[&whole[..], &[0]].concat()).is_err());
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = whole.clone();
                changed[at] = value;
                // Whatever it is, it is judged.
                let _ = Attachment::decode(&changed);
            }
        }
        let mut newer = whole;
        newer[0] = 2;
        let error = Attachment::decode(&newer).unwrap_err();
        assert!(error.contains("version 2"), "{error}");
    }

    #[test]
    fn a_length_that_lies_reserves_nothing() {
        let mut lying = attachment(Format::BGR8, 0).encode();
        lying.pop();
        lying.extend([0xff; 9]);
        assert!(Attachment::decode(&lying).is_err());
    }

    #[test]
    fn questions_and_answers_come_back() {
        let question = Question {
            id: 1,
            fresh: true,
            probe: 2,
            arrived: 3,
            lost: 4,
            link: 5,
        };
        assert_eq!(Question::decode(&question.encode()), Some(question));
        let answer = Answer {
            reading: Reading::now(),
            asked: 1,
            needs: 2,
            jpeg: 90,
        };
        assert_eq!(Answer::decode(&answer.encode()), Some(answer));
        assert_eq!(Answer::decode(&[]), None);
    }
}
