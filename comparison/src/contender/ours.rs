//! shm-frame. Another way to wait is another line in the table, with the part [`Part::Asleep`].

use std::thread;
use std::time::Duration;

use shm_frame::{
    Channels, Element, Format, Name, Receiver, ReceiverOptions, Sender, SenderOptions, Shape, Size,
    WaitMode, Waited,
};

use super::{ALL, COPIED_IN, Contender, Ends, Group, Part};
use crate::Result;
use crate::spec::Spec;

pub const CONTENDERS: [Contender; 5] = [
    ours("shm-frame, lease", ALL, |_, channel| {
        Ok(Box::new(Leasing(open(channel)?)))
    }),
    ours("shm-frame, copy", COPIED_IN, |_, channel| {
        Ok(Box::new(Copying(open(channel)?, vec![])))
    }),
    // Without permission to write: in place all the same.
    ours("shm-frame, read-only", COPIED_IN, |_, channel| {
        let options = ReceiverOptions::new().read_only(true);
        let mut receiver = Receiver::open_with(&Name::new(channel)?, &options)?;
        // The sender has to know of it first.
        while !receiver.can_lease() {
            receiver.wait(Duration::from_millis(10))?;
        }
        Ok(Box::new(Leasing(receiver)))
    }),
    ours("shm-frame, predictive", &[Part::Asleep], |_, channel| {
        let mut receiver = open(channel)?;
        receiver.set_wait_mode(WaitMode::Predict);
        Ok(Box::new(Leasing(receiver)))
    }),
    // Owns its lease entry and never waits, to tell what publishing costs but for the wake-ups.
    ours("shm-frame, attached", &[], |_, channel| {
        Ok(Box::new(Attached(open(channel)?)))
    }),
];

const fn ours(
    name: &'static str,
    parts: &'static [Part],
    receiver: fn(&Spec, &str) -> Result<Box<dyn super::Receiver>>,
) -> Contender {
    Contender {
        name,
        group: Group::Ours,
        parts,
        ends: Ends::Functions { sender, receiver },
    }
}

fn open(channel: &str) -> Result<Receiver> {
    Ok(Receiver::open(&Name::new(channel)?)?)
}

fn sender(spec: &Spec, channel: &str) -> Result<Box<dyn super::Sender>> {
    let crate::spec::Shape(width, height, channels) = spec.shape;
    let channels = Channels::new(channels as usize).ok_or("1 to 4 channels")?;
    let shape = Shape::new(Size { width, height }, Format::new(Element::U8, channels))?;
    let options = SenderOptions::new()
        .capacity(shape.bytes())
        .slots(spec.slots);
    let sender = Sender::create(&Name::new(channel)?, &options)?;
    Ok(Box::new(Sending { sender, shape }))
}

struct Sending {
    sender: Sender,
    shape: Shape,
}

impl super::Sender for Sending {
    fn send(&mut self, frame: &[u8]) -> Result<()> {
        self.sender.publish(self.shape, frame)?;
        Ok(())
    }

    fn send_in_place(&mut self, fill: &mut dyn FnMut(&mut [u8])) -> Result<()> {
        let mut loan = self.sender.loan(self.shape)?;
        fill(loan.pixels());
        loan.publish()?;
        Ok(())
    }
}

struct Leasing(Receiver);

impl super::Receiver for Leasing {
    fn try_receive(&mut self, see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let Some(lease) = self.0.lease()? else {
            return Ok(false);
        };
        see(lease.pixels());
        Ok(lease.is_intact())
    }

    fn sleep(&mut self, timeout: Duration) -> Result<()> {
        wait(&mut self.0, timeout)
    }
}

struct Copying(Receiver, Vec<u8>);

impl super::Receiver for Copying {
    fn try_receive(&mut self, see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let Self(receiver, pixels) = self;
        if receiver.copy(pixels)?.is_none() {
            return Ok(false);
        }
        see(pixels);
        Ok(true)
    }

    fn sleep(&mut self, timeout: Duration) -> Result<()> {
        wait(&mut self.0, timeout)
    }
}

struct Attached(#[expect(dead_code, reason = "to be attached is all it does")] Receiver);

impl super::Receiver for Attached {
    fn try_receive(&mut self, _: &mut dyn FnMut(&[u8])) -> Result<bool> {
        Ok(false)
    }

    fn sleep(&mut self, timeout: Duration) -> Result<()> {
        thread::sleep(timeout);
        Ok(())
    }
}

fn wait(receiver: &mut Receiver, timeout: Duration) -> Result<()> {
    match receiver.wait(timeout)? {
        Waited::Frame | Waited::Timeout | Waited::Cancelled => Ok(()),
        Waited::Ended(end) => Err(format!("the segment ended: {end:?}").into()),
    }
}
