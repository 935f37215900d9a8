//! `vectors.json`, which the tests of every language read: bytes, and what they mean.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use serde_json::Value;
use shm_frame::{Error, Format, FrameHeader, Receiver, Waited};
use shm_frame_testing::TestName;

const PAGE: usize = 4096;
/// Where `latest` and the slots' lines stand in the control page.
const LATEST: usize = 64;
const LINES: usize = 128;

fn vectors(what: &str) -> Vec<Value> {
    let vectors: Value = serde_json::from_str(include_str!("vectors.json")).unwrap();
    let vectors = vectors[what].as_array().unwrap().clone();
    assert!(!vectors.is_empty());
    vectors
}

fn hex(text: &Value) -> Vec<u8> {
    let digits = text.as_str().unwrap().as_bytes();
    digits
        .as_chunks::<2>()
        .0
        .iter()
        .map(|digits| u8::from_str_radix(str::from_utf8(digits).unwrap(), 16).unwrap())
        .collect()
}

fn int<T: TryFrom<i64>>(value: &Value) -> T {
    T::try_from(value.as_i64().unwrap()).ok().unwrap()
}

fn word(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

#[test]
fn headers_are_these_bytes_and_images_of_that_size_or_none() {
    for vector in vectors("headers") {
        let header = FrameHeader {
            width: int(&vector["width"]),
            height: int(&vector["height"]),
            channels: int(&vector["channels"]),
            timestamp_ms: int(&vector["timestamp_ms"]),
            frame_valid: int(&vector["frame_valid"]),
        };
        let bytes: [u8; FrameHeader::LEN] = hex(&vector["bytes"]).try_into().unwrap();
        assert_eq!(header.encode(), bytes, "{vector}");
        assert_eq!(FrameHeader::decode(&bytes), header, "{vector}");
        let shape = header.shape(usize::MAX).ok();
        let pixel_bytes = shape.map(|shape| shape.bytes() as u64);
        assert_eq!(pixel_bytes, vector["pixel_bytes"].as_u64(), "{vector}");
    }
}

#[test]
fn these_words_are_all_formats_and_others_are_none() {
    let formats = vectors("formats");
    assert_eq!(formats.len(), 48);
    for vector in formats {
        let format: Format = vector["text"].as_str().unwrap().parse().unwrap();
        assert_eq!(format.word(), int::<i32>(&vector["word"]), "{vector}");
        assert_eq!(Format::from_word(format.word()), Some(format));
        assert_eq!(format.to_string(), vector["text"].as_str().unwrap());
        assert_eq!(format.element().name(), vector["element"], "{vector}");
        assert_eq!(format.channels().count() as u64, word(&vector["channels"]));
        let order = format!("{:?}", format.order()).to_lowercase();
        assert_eq!(order, vector["order"], "{vector}");
        assert_eq!(format.pixel_bytes() as u64, word(&vector["pixel_bytes"]));
    }
    for refused in vectors("refused_words") {
        assert_eq!(Format::from_word(int(&refused)), None, "{refused}");
    }
}

/// A file of these bytes, with a sender that is alive: this process.
struct Segment {
    name: TestName,
    _file: File,
}

impl Segment {
    fn new(bytes: &[u8]) -> Self {
        let name = TestName::new("vector");
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(name.file())
            .unwrap();
        file.write_all_at(bytes, 0).unwrap();
        let life = libc::flock {
            l_type: i16::try_from(libc::F_WRLCK).unwrap(),
            l_whence: i16::try_from(libc::SEEK_SET).unwrap(),
            l_start: 0,
            l_len: 1,
            l_pid: 0,
        };
        fcntl(&file, FcntlArg::F_OFD_SETLK(&life)).unwrap();
        Self { name, _file: file }
    }

    /// Opens it, and waits for a frame if there ought to be one.
    fn open(&self, frame: bool) -> Result<Receiver, Error> {
        let mut receiver = Receiver::open(&self.name.name())?;
        let time = if frame { 30_000 } else { 10 };
        let waited = receiver.wait(Duration::from_millis(time)).unwrap();
        assert_eq!(waited == Waited::Frame, frame);
        Ok(receiver)
    }
}

fn bytes_of(segment: &Value) -> Vec<u8> {
    let mut bytes = vec![0; int::<usize>(&segment["len"])];
    for (at, part) in segment["bytes"].as_object().unwrap() {
        let (at, part) = (at.parse::<usize>().unwrap(), hex(part));
        bytes[at..at + part.len()].copy_from_slice(&part);
    }
    bytes
}

#[test]
fn segments_are_accepted_with_this_frame_or_refused() {
    for vector in vectors("segments") {
        let segment = Segment::new(&bytes_of(&vector));
        if let Some(why) = vector["refused"].as_str() {
            let error = Receiver::open(&segment.name.name()).unwrap_err();
            let as_told = match why {
                "version" => matches!(error, Error::Version { .. }),
                "not a segment" => matches!(error, Error::NotASegment { .. }),
                _ => panic!("{vector}"),
            };
            assert!(as_told, "{vector}: {error}");
            continue;
        }
        let expected = &vector["frame"];
        let whole = matches!(expected, Value::Object(_));
        // What `latest` names may not be there: then there is news, but no frame.
        let news = whole || vector["what"].as_str().unwrap().starts_with("a slot that");
        let mut receiver = segment.open(news).unwrap();
        let (mut pixels, mut meta) = (Vec::new(), Vec::new());
        let frame = receiver.copy_with_meta(&mut pixels, &mut meta).unwrap();
        assert_eq!(frame.is_some(), whole, "{vector}");
        let Some(frame) = frame else { continue };
        assert_eq!(frame.number, word(&expected["number"]), "{vector}");
        assert_eq!(frame.shape.width(), int::<i32>(&expected["width"]));
        assert_eq!(frame.shape.height(), int::<i32>(&expected["height"]));
        assert_eq!(frame.shape.format().to_string(), expected["format"]);
        assert_eq!(frame.sent_ms, int::<i64>(&expected["sent_ms"]));
        let captured_ns = frame.captured_ns.unwrap_or(0);
        assert_eq!(captured_ns, word(&expected["captured_ns"]), "{vector}");
        assert_eq!(meta, expected["meta"].as_str().unwrap().as_bytes());
        assert_eq!(pixels, hex(&expected["pixels"]), "{vector}");
    }
}

#[test]
fn words_of_latest_name_this_frame_or_none() {
    for vector in vectors("latest") {
        // The first segment, with as many slots and this word.
        let slots = int::<usize>(&vector["slots"]);
        let mut bytes = bytes_of(&vectors("segments")[0]);
        let page = bytes.split_off(bytes.len() - PAGE);
        let frame = bytes[2 * PAGE..3 * PAGE].to_vec();
        let mut bytes = frame.repeat(slots);
        let page_at = bytes.len();
        bytes.extend(page);
        let mut put = |at: usize, part: &[u8]| {
            bytes[page_at + at..page_at + at + part.len()].copy_from_slice(part);
        };
        put(24, &u32::try_from(slots).unwrap().to_le_bytes());
        put(LATEST, &word(&vector["word"]).to_le_bytes());
        let number = vector["frame"].as_u64();
        if let Some(number) = number {
            let line = LINES + 64 * int::<usize>(&vector["slot"]);
            put(line, &(2 * number).to_le_bytes());
        }
        let segment = Segment::new(&bytes);
        let mut receiver = segment.open(number.is_some()).unwrap();
        let taken = receiver.copy(&mut Vec::new()).unwrap();
        assert_eq!(taken.map(|frame| frame.number), number, "{vector}");
        assert!(fs::exists(segment.name.file()).unwrap());
    }
}
