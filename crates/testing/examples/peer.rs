//! One end of a segment, for tests between languages: `peer send NAME` sends frames that check
//! themselves, flat out and for ever; `peer receive NAME COUNT` takes that many and checks them.
//!
//! `capi/tests/check.hpp` says what stands in a frame. Ends with 0 if all was well, and says what
//! it saw.

use std::collections::HashSet;
use std::error::Error;
use std::time::Duration;

use shm_frame::{
    Channels, Element, Followed, Follower, Format, Lease, Name, Order, Sender, SenderOptions,
    Shape, Size,
};

const HASH: u64 = 0x9E37_79B9_7F4A_7C15;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["send", name] => send(&Name::new(name)?),
        ["receive", name, count] => receive(&Name::new(name)?, count.parse()?),
        _ => Err("usage: peer send NAME, or peer receive NAME COUNT".into()),
    }
}

fn formats() -> Vec<Format> {
    let channels = |element| Channels::ALL.map(|channels| Format::new(element, channels));
    let orders = |format: Format| {
        let rgb = (format.channels().count() >= 3).then(|| format.ordered(Order::Rgb));
        std::iter::once(format).chain(rgb)
    };
    let formats = Element::ALL.into_iter().flat_map(channels);
    formats.flat_map(orders).collect()
}

/// What stands in a frame follows from its number.
struct Checked(u64);

impl Checked {
    fn shape(&self, formats: &[Format]) -> Shape {
        let vary = u32::try_from(self.0 % 7).unwrap();
        let size = Size {
            width: 150 + vary,
            height: 100 - vary,
        };
        let index = (self.0.wrapping_mul(HASH) >> 32) % formats.len() as u64;
        Shape::new(size, formats[usize::try_from(index).unwrap()]).unwrap()
    }

    fn captured_ns(&self) -> u64 {
        self.0 * 1000
    }

    fn meta(&self) -> String {
        if self.0.is_multiple_of(3) {
            String::new()
        } else {
            self.0.to_string()
        }
    }

    fn word(&self, at: usize) -> [u8; 8] {
        (self.0.wrapping_mul(HASH) ^ at as u64).to_le_bytes()
    }

    fn fill(&self, pixels: &mut [u8]) {
        for (at, bytes) in pixels.chunks_mut(8).enumerate() {
            bytes.copy_from_slice(&self.word(at)[..bytes.len()]);
        }
    }

    fn stands_in(&self, pixels: &[u8]) -> bool {
        let mut words = pixels.chunks(8).enumerate();
        words.all(|(at, bytes)| *bytes == self.word(at)[..bytes.len()])
    }

    /// What is wrong with a frame.
    fn wrong(&self, lease: &Lease<'_>, formats: &[Format]) -> Option<&'static str> {
        let frame = lease.frame();
        if frame.shape != self.shape(formats) {
            Some("has another's shape")
        } else if frame.captured_ns != Some(self.captured_ns()) {
            Some("has another's captured_ns")
        } else if lease.meta() != self.meta().as_bytes() {
            Some("has another's meta")
        } else if !self.stands_in(lease.pixels()) || !self.stands_in(lease.pixels()) {
            Some("is torn")
        } else {
            None
        }
    }
}

fn send(name: &Name) -> Result<(), Box<dyn Error>> {
    let formats = formats();
    let mut sender = Sender::create(name, &SenderOptions::new().slots(16))?;
    for number in 1.. {
        let checked = Checked(number);
        let meta = checked.meta();
        let mut loan = sender.loan_with_room(checked.shape(&formats), meta.len())?;
        checked.fill(loan.pixels());
        loan.set_captured_ns(checked.captured_ns());
        loan.set_meta(meta.as_bytes())?;
        assert_eq!(loan.publish()?.number, number);
    }
    Ok(())
}

fn receive(name: &Name, count: u64) -> Result<(), Box<dyn Error>> {
    let formats = formats();
    let mut follower = Follower::new(name);
    let (mut session, mut last, mut taken, mut sessions) = (0, 0, 0, 0);
    let mut seen = HashSet::new();
    while taken < count {
        let Followed::Frame(receiver) = follower.wait(Duration::from_secs(1))? else {
            continue;
        };
        let Some(lease) = receiver.lease()? else {
            continue;
        };
        let frame = lease.frame();
        if frame.session != session {
            (session, last) = (frame.session, 0);
            sessions += 1;
            println!("session {sessions}");
        }
        let wrong = Checked(frame.number).wrong(&lease, &formats);
        // What was read of a truncated segment is not the frame.
        if !lease.is_intact() {
            continue;
        }
        if let Some(wrong) = wrong {
            return Err(format!("frame {} {wrong}", frame.number).into());
        }
        if frame.number <= last {
            return Err(format!("frame {} is older than the last", frame.number).into());
        }
        last = frame.number;
        seen.insert(frame.shape.format().word());
        taken += 1;
        if taken % 512 == 0 {
            println!("taken {taken}");
        }
    }
    println!("taken={taken} sessions={sessions} formats={}", seen.len());
    Ok(())
}
