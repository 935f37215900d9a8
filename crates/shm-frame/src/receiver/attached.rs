//! A segment that a receiver is attached to: looking at it, sleeping on it, holding and copying its frames.

use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::thread::futex;

use super::POLL;
use super::frame::{End, Frame, Via};
use super::lease::Hold;
use crate::clock::{Wall, monotonic_ns};
use crate::protocol::header::FrameHeader;
use crate::protocol::layout::{CLOSED, ControlPage, OPEN};
use crate::protocol::slots::{self, Latest};
use crate::protocol::sync::Ordering;
use crate::segment::found::named;
use crate::segment::mapping::Control;
use crate::segment::{LOOK, Look, Segment, lock};
use crate::{Error, Shape};

/// Leases that are tried: each that fails means that the sender published meanwhile.
const LEASE_TRIES: u32 = 64;
/// Longer than anything runs.
const NEVER: Duration = Duration::from_secs(1 << 32);

#[derive(Debug)]
pub(super) struct Attached {
    pub(super) segment: Segment,
    /// The lease entry that this receiver owns.
    pub(super) entry: Option<usize>,
    pub(super) look_at: Instant,
    /// The sender was asked to wake this receiver, and does so from then on at the latest.
    pub(super) woken_from: Option<Instant>,
    /// What the last look found: one more frame may be taken, if there is one.
    pub(super) ending: Option<End>,
    /// Taking the latest frame failed at this wake word: not again before it changes. Without a control page the word
    /// is 0, and changes after a pause.
    pub(super) failed_at: Option<u32>,
}

impl Attached {
    pub(super) fn new(segment: Segment) -> Self {
        Self {
            entry: own_entry(&segment),
            segment,
            look_at: Instant::now() + LOOK,
            woken_from: None,
            ending: None,
            failed_at: None,
        }
    }

    pub(super) fn control(&self) -> Option<&ControlPage> {
        self.segment.control.as_ref().map(Control::page)
    }

    /// The newest whole frame, if it is newer than `seen`.
    pub(super) fn newer(&self, control: &ControlPage, seen: u64) -> Option<Latest> {
        slots::latest(control, self.segment.slots.geometry().slots)
            .filter(|latest| latest.frame > seen)
    }

    /// Holds the newest whole frame, if it is newer than `seen` and this receiver can lease.
    pub(super) fn hold(&self, seen: u64) -> Option<(Latest, Hold<'_>)> {
        let control = self.control()?;
        let entry = self.entry?;
        for _ in 0..LEASE_TRIES {
            let latest = self.newer(control, seen)?;
            // The sender has changed the slot and looked at the lease: all lines at once, and the clock while they are on their way.
            self.segment.control.as_ref()?.fetch_lease(entry, true);
            self.segment.fetch_slot(latest.slot);
            let found_ns = monotonic_ns();
            if let Some(held) = slots::lease(control, entry, latest) {
                let hold = Hold {
                    attached: self,
                    control,
                    entry,
                    held,
                    found_ns,
                };
                return Some((latest, hold));
            }
        }
        None
    }

    /// What a slot says of its frame, which may be torn if it is not held.
    pub(super) fn words(&self, control: &ControlPage, slot: usize) -> Words {
        Words {
            header: self.segment.slots.header(slot),
            begin_ns: control.slot[slot].begin_ns.load(Ordering::Relaxed),
            publish_ns: control.slot[slot].publish_ns.load(Ordering::Relaxed),
        }
    }

    /// Copies the pixels that a slot's header claims, which may be torn.
    pub(super) fn copy(
        &self,
        slot: usize,
        header: FrameHeader,
        pixels: &mut Vec<u8>,
    ) -> Result<Shape, Error> {
        let shape = self.shape(header)?;
        self.segment.slots.copy(slot, shape, pixels)?;
        Ok(shape)
    }

    pub(super) fn shape(&self, header: FrameHeader) -> Result<Shape, Error> {
        let mut room = self.segment.slots.geometry().room();
        if self.segment.control.is_none() {
            // A sender reserved all it has, but another file may be sparse.
            let reserved = self.segment.reserved()?;
            room = room.min(reserved.saturating_sub(FrameHeader::LEN));
        }
        header.shape(room)
    }

    /// Sleeps until the wake word is not `value` any more, or for that long, or less.
    pub(super) fn sleep(&mut self, value: u32, time: Duration) -> Result<(), Error> {
        let Some(control) = &self.segment.control else {
            return Ok(());
        };
        let now = Instant::now();
        let woken_from = *self
            .woken_from
            .get_or_insert_with(|| now + ask_to_be_woken(&self.segment, control));
        let time = if now < woken_from {
            time.min(POLL)
        } else {
            time
        };
        let time = futex::Timespec::try_from(time).expect("no more than LOOK");
        match futex::wait(
            &control.page().wake,
            futex::Flags::empty(),
            value,
            Some(&time),
        ) {
            // EFAULT: the page is gone, which the next look at the segment finds.
            Ok(()) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT | Errno::FAULT) => Ok(()),
            Err(errno) => Err(self.segment.name().failed("futex", errno)),
        }
    }

    /// Looks at the wake word until it is not `value` any more, or for that long.
    pub(super) fn watch(&self, value: u32, time: Duration) {
        /// The clock costs as much as so many looks.
        const LOOKS: u32 = 64;
        let end = Instant::now() + time;
        while let Some(control) = self.control() {
            for _ in 0..LOOKS {
                if slots::wake(control) != value {
                    return;
                }
                std::hint::spin_loop();
            }
            if Instant::now() >= end {
                return;
            }
        }
    }
}

/// What stands beside the pixels of a frame.
pub(super) struct Words {
    pub(super) header: FrameHeader,
    pub(super) begin_ns: u64,
    pub(super) publish_ns: u64,
}

impl Words {
    /// The frame that was received at `now`.
    pub(super) fn frame(
        &self,
        number: u64,
        shape: Shape,
        skipped: u64,
        via: Via,
        now: u64,
        wall: &mut Wall,
    ) -> Frame {
        Frame {
            number,
            shape,
            sent_ms: self.header.timestamp_ms,
            received_ms: wall.ms(now),
            // May be any number if somebody else wrote it; a difference is then one, too.
            delay_ns: now.wrapping_sub(self.begin_ns).cast_signed(),
            skipped,
            via,
        }
    }
}

/// Asks the sender to wake those who sleep here. Until then, which is how long from now at most, nobody does.
fn ask_to_be_woken(segment: &Segment, control: &Control) -> Duration {
    if lock::share(segment.file(), lock::SLEEPERS) != Ok(true) {
        // Nothing is lost but time.
        return NEVER;
    }
    if !control.writable() {
        // The sender looks by itself.
        return 2 * LOOK;
    }
    // Release: pairs with the Acquire in the sender's `asked`.
    // - The lock above must not move below.
    control.page().asked.fetch_add(1, Ordering::Release);
    // A frame that is being published just now may miss it, and is visible by then.
    POLL
}

/// Takes a lease entry that nobody owns, if there is one. The lock is given back with the file.
fn own_entry(segment: &Segment) -> Option<usize> {
    let control = segment
        .control
        .as_ref()
        .filter(|control| control.writable())?;
    let entries = 0..segment.slots.geometry().leases();
    // Twice: a sender takes an entry's lock for a moment to take back a dead receiver's lease.
    let entry = entries
        .clone()
        .chain(entries)
        .find(|entry| lock::take(segment.file(), lock::LEASES + entry) == Ok(true))?;
    slots::release(control.page(), entry);
    Some(entry)
}

/// What became of a segment, by a look at its file.
pub(super) fn look(segment: &Segment) -> Result<Option<End>, Error> {
    let look = segment.look()?;
    if look == Look::Broken {
        return Ok(Some(End::Broken));
    }
    if segment.control.is_some() && !segment.alive()? {
        return Ok(Some(End::Dead));
    }
    // A sender whose name was removed goes on here until it has made the next segment, and then says so.
    let between = || Ok(segment.control.is_some() && named(segment.name())?.is_none());
    Ok((look == Look::Nameless && !between()?).then_some(End::Replaced))
}

/// What became of a segment, by its sender's word.
pub(super) fn stated(state: u32) -> Option<End> {
    match state {
        OPEN => None,
        CLOSED => Some(End::Closed),
        _ => Some(End::Replaced),
    }
}
