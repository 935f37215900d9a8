//! Frames that check themselves, in every format, and what sends and takes them.
//!
//! What stands in a frame follows from a number, which goes along as the capture time: at the far
//! end frames are numbered anew.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use shm_frame::{
    Channels, Element, Followed, Follower, Format, Name, Order, OwnedLease, Sender, SenderOptions,
    Shape, Size,
};

const HASH: u64 = 0x9E37_79B9_7F4A_7C15;

pub fn formats() -> Vec<Format> {
    let mut formats = Vec::new();
    for element in Element::ALL {
        for channels in Channels::ALL {
            let format = Format::new(element, channels);
            formats.push(format);
            if channels.count() >= 3 {
                formats.push(format.ordered(Order::Rgb));
            }
        }
    }
    formats
}

/// Which frames are sent.
#[derive(Clone, Copy)]
enum Kind {
    /// Of all formats in turn, of different sizes.
    All,
    /// Of one shape.
    One(Shape),
}

impl Kind {
    fn shape(self, number: u64) -> Shape {
        let Self::One(shape) = self.varied(number) else {
            unreachable!("it was varied")
        };
        shape
    }

    fn varied(self, number: u64) -> Self {
        match self {
            Self::One(_) => self,
            Self::All => {
                let vary = u32::try_from(number % 7).unwrap();
                let size = Size {
                    width: 150 + vary,
                    height: 100 - vary,
                };
                let formats = formats();
                let index = usize::try_from(number).unwrap() % formats.len();
                Self::One(Shape::new(size, formats[index]).unwrap())
            }
        }
    }

    fn parse(text: &str) -> Self {
        if text == "all" {
            return Self::All;
        }
        let (sides, format) = text.rsplit_once('x').unwrap();
        let (width, height) = sides.split_once('x').unwrap();
        let size = Size {
            width: width.parse().unwrap(),
            height: height.parse().unwrap(),
        };
        Self::One(Shape::new(size, format.parse().unwrap()).unwrap())
    }
}

fn meta(number: u64) -> String {
    if number.is_multiple_of(3) {
        String::new()
    } else {
        format!("{{\"number\":{number}}}")
    }
}

fn word(number: u64, at: usize) -> [u8; 8] {
    (number.wrapping_mul(HASH) ^ at as u64).to_le_bytes()
}

fn fill(number: u64, pixels: &mut [u8]) {
    for (at, bytes) in pixels.chunks_mut(8).enumerate() {
        bytes.copy_from_slice(&word(number, at)[..bytes.len()]);
    }
}

/// How numpy shows a frame of [`Kind::All`]: its shape, its type, and the sum of its elements as
/// far as it is exact.
pub fn in_numpy(number: u64) -> (String, &'static str, String) {
    let shape = Kind::All.shape(number);
    let format = shape.format();
    let (element, bytes) = match format.element() {
        Element::U8 => ("uint8", 1),
        Element::I8 => ("int8", 1),
        Element::U16 => ("uint16", 2),
        Element::I16 => ("int16", 2),
        Element::I32 => ("int32", 4),
        Element::F32 => ("float32", 0),
        Element::F64 => ("float64", 0),
        Element::F16 => ("float16", 0),
    };
    let mut pixels = vec![0; shape.bytes()];
    fill(number, &mut pixels);
    let sum = |bytes: usize| -> i64 {
        let value = |chunk: &[u8]| {
            let mut wide = [0; 8];
            wide[..bytes].copy_from_slice(chunk);
            let value = i64::from_le_bytes(wide);
            let signed = matches!(format.element(), Element::I8 | Element::I16 | Element::I32);
            let bits = 64 - 8 * bytes;
            if signed { value << bits >> bits } else { value }
        };
        pixels.chunks(bytes).map(value).sum()
    };
    // Floats of any bits have no sum.
    let sum = if bytes == 0 {
        String::new()
    } else {
        format!("{} ", sum(bytes))
    };
    let (height, width, channels) = (shape.height(), shape.width(), shape.channels());
    (format!("({height}, {width}, {channels})"), element, sum)
}

/// Plays a role of `frames::role`: `send KIND FPS [COUNT]`, which takes the name over from another
/// sender; `old FPS`; or `receive KIND`, which tells what it sees for ever.
pub fn play(role: &str, name: &Name) {
    let words: Vec<_> = role.split(' ').collect();
    match words[..] {
        ["send", kind, fps] => send(name, Kind::parse(kind), fps, u64::MAX),
        ["send", kind, fps, count] => send(name, Kind::parse(kind), fps, count.parse().unwrap()),
        ["old", fps] => send_as_old_programs(name, fps),
        ["receive", kind] => receive(name, Kind::parse(kind)),
        _ => panic!("no role {role}"),
    }
}

fn send(name: &Name, kind: Kind, fps: &str, count: u64) {
    let period = Duration::from_secs_f64(fps.parse::<f64>().unwrap().recip());
    let mut sender = Sender::create(name, &SenderOptions::new().replace(true)).unwrap();
    println!("sending");
    let begun = Instant::now();
    for number in 1..=count {
        let meta = meta(number);
        let mut loan = sender
            .loan_with_room(kind.shape(number), meta.len())
            .unwrap();
        fill(number, loan.pixels());
        loan.set_captured_ns(number);
        loan.set_meta(meta.as_bytes()).unwrap();
        loan.publish().unwrap();
        let due = begun + period * u32::try_from(number).unwrap();
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    println!("sent {count}");
    // The last frame is there as long as its sender.
    thread::sleep(Duration::from_secs(3600));
}

/// Sends black frames of 64x48x3, as programs do that know the 24-byte header alone.
fn send_as_old_programs(name: &Name, fps: &str) {
    let period = Duration::from_secs_f64(fps.parse::<f64>().unwrap().recip());
    let path = format!("/dev/shm{name}");
    fs::write(&path, vec![0; 24 + 64 * 48 * 3]).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    loop {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now = i64::try_from(now.as_millis()).unwrap();
        let mut header = Vec::new();
        for word in [64_i32, 48, 3] {
            header.extend(word.to_le_bytes());
        }
        header.extend(now.to_le_bytes());
        header.extend(1_i32.to_le_bytes());
        file.write_all_at(&header, 0).unwrap();
        thread::sleep(period);
    }
}

fn check(lease: &OwnedLease, kind: Kind) -> u64 {
    let frame = lease.frame();
    let number = frame.captured_ns.expect("frames tell when they were taken");
    assert_eq!(frame.shape, kind.shape(number), "frame {number}");
    assert_eq!(lease.meta(), meta(number).as_bytes(), "frame {number}");
    for (at, bytes) in lease.pixels().chunks(8).enumerate() {
        assert!(
            *bytes == word(number, at)[..bytes.len()],
            "frame {number} is wrong at word {at}"
        );
    }
    number
}

fn receive(name: &Name, kind: Kind) {
    let mut follower = Follower::new(name);
    let (mut last, mut taken) = (0, 0_u64);
    let mut seen = BTreeSet::new();
    loop {
        match follower.wait(Duration::from_secs(1)).unwrap() {
            Followed::Frame(receiver) => {
                let Some(lease) = receiver.lease_owned().unwrap() else {
                    continue;
                };
                let number = check(&lease, kind);
                assert!(number > last, "frame {number} after {last}");
                last = number;
                taken += 1;
                if seen.insert(lease.frame().shape.format().word()) || taken % 10 == 0 {
                    println!("taken={taken} formats={}", seen.len());
                }
            }
            Followed::Attached(_) => {
                last = 0;
                println!("attached");
            }
            Followed::Ended(end) => println!("ended {end}"),
            Followed::Timeout | Followed::Missing(_) | Followed::Cancelled => {}
        }
    }
}
