//! A segment that a receiver is attached to: looking at it, sleeping on it, holding and copying its
//! frames.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use super::POLL;
use super::frame::{Frame, Via};
use crate::clock::{Wall, monotonic_ns, unix_ns};
use crate::protocol::header::FrameHeader;
use crate::protocol::layout::{CLOSED, ControlPage, MAX_LEASES, OPEN};
use crate::protocol::slots::{self, Held, Latest};
use crate::protocol::sync::Ordering;
use crate::segment::found::named;
use crate::segment::mapping::{Control, Target};
use crate::segment::{LOOK, LOOK_NS, Look, Segment, lock, next_look_ns};
use crate::sender::random;
use crate::{End, Error, Shape};

/// Leases that are tried: each that fails means that the sender published meanwhile.
const LEASE_TRIES: u32 = 64;
/// Longer than anything runs.
const NEVER: Duration = Duration::from_secs(1 << 32);

/// A segment, and which of its lease entries are in use here. Leases that outlive their receiver
/// keep it.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) segment: Segment,
    /// The entries that leases without a borrow hold, as a bit mask, and [`ORPHANED`].
    pub(super) busy: AtomicU32,
}

/// In [`Shared::busy`]: the receiver is gone, and leases give their entries' locks back by
/// themselves.
const ORPHANED: u32 = 1 << 31;
const _: () = assert!(MAX_LEASES < 31);

impl Shared {
    pub(super) fn control(&self) -> Option<&ControlPage> {
        self.segment.control.as_ref().map(Control::page)
    }

    /// Whether leases are locks here, since the lease table may not be written.
    #[inline]
    pub(super) fn leases_by_lock(&self) -> bool {
        !self.segment.control.as_ref().is_some_and(Control::writable)
    }

    /// Ends the hold of an entry that a lease without a borrow had: it is empty by now.
    pub(super) fn give(&self, entry: u8) {
        // Release: pairs with the Acquire in `free_entry` and in the receiver's drop.
        // - The entry must be empty before it is used again, here or by another owner.
        let busy = self.busy.fetch_and(!(1 << entry), Ordering::AcqRel);
        if busy & ORPHANED != 0 {
            lock::give(self.segment.file(), lock::LEASES + usize::from(entry));
        }
    }
}

#[derive(Debug)]
pub(super) struct Attached {
    pub(super) shared: Arc<Shared>,
    /// The lease entries that this receiver owns, as a bit mask.
    entries: u32,
    /// Whether it is to own any.
    may_lease: bool,
    /// There was no further entry to own at the last try, so the next one is after the next look.
    no_more: bool,
    /// From when on this receiver may lease by locks, by the monotonic clock. `None`: the sender
    /// was not asked to mind them.
    known_from_ns: Option<u64>,
    /// When to look at the file next, by the monotonic clock.
    pub(super) look_at_ns: u64,
    /// When this receiver attached to the first segment of this sender, by the monotonic clock.
    pub(super) came_ns: u64,
    /// The same in ms of Unix time.
    pub(super) came_ms: i64,
    /// The sender was asked to wake this receiver, and does so from then on at the latest.
    woken_from: Option<Instant>,
    /// What the last look found: one more frame may be taken, if there is one.
    pub(super) ending: Option<End>,
    /// Taking the latest frame failed at this wake word: not again before it changes. Without a
    /// control page the word is 0, and changes after a pause.
    pub(super) failed_at: Option<u32>,
    /// A lease was not even tried: no entry was free, or the sender did not know of this receiver.
    untried: bool,
}

/// A slot under a lease entry of this receiver's.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) latest: Latest,
    pub(super) entry: u8,
    pub(super) held: Held,
    /// When the frame was found, by the monotonic clock.
    pub(super) found_ns: u64,
}

impl Attached {
    /// With a lease entry of its own if there is one and it `may_lease`.
    pub(super) fn new(segment: Segment, came_ns: u64, may_lease: bool) -> Self {
        let mut attached = Self {
            shared: Arc::new(Shared {
                segment,
                busy: AtomicU32::new(0),
            }),
            entries: 0,
            may_lease,
            no_more: !may_lease,
            known_from_ns: None,
            look_at_ns: monotonic_ns() + LOOK_NS,
            came_ns,
            came_ms: unix_ns().div_euclid(1_000_000),
            woken_from: None,
            ending: None,
            failed_at: None,
            untried: false,
        };
        if may_lease {
            // At once, so that a receiver that comes early can lease.
            attached.own_entry();
        }
        attached
    }

    pub(super) fn segment(&self) -> &Segment {
        &self.shared.segment
    }

    pub(super) fn control(&self) -> Option<&ControlPage> {
        self.shared.control()
    }

    /// The newest whole frame, if it is newer than `seen`.
    pub(super) fn newer(&self, control: &ControlPage, seen: u64) -> Option<Latest> {
        slots::latest(control, self.segment().slots.geometry().slots)
            .filter(|latest| latest.frame > seen)
    }

    /// Whether this receiver owns a lease entry, and its leases count.
    pub(super) fn can_lease(&self) -> bool {
        self.entries != 0 && self.leases_count()
    }

    /// Whether the sender minds the leases of this receiver.
    #[inline]
    fn leases_count(&self) -> bool {
        !self.shared.leases_by_lock()
            || self
                .known_from_ns
                .is_some_and(|known_from_ns| known_from_ns <= monotonic_ns())
    }

    /// Whether it owns an entry that no lease is in, or may find one more.
    pub(super) fn can_hold(&self) -> bool {
        let busy = self.shared.busy.load(Ordering::Relaxed);
        let entry = self.entries & !busy != 0 || (self.entries != 0 && !self.no_more);
        entry && self.leases_count()
    }

    /// Takes one more lease entry that has no owner, if there is one. The lock is given back with
    /// the file.
    fn own_entry(&mut self) -> Option<usize> {
        let Shared { segment, .. } = &*self.shared;
        let control = segment.control.as_ref()?.page();
        let by_lock = self.shared.leases_by_lock();
        if by_lock && !segment.minds_locks() {
            self.no_more = true;
            return None;
        }
        let own = |entry| {
            if by_lock {
                return slots::own_by_lock(control, segment.file(), entry);
            }
            let taken = lock::take(segment.file(), lock::LEASES + entry) == Ok(true);
            if taken {
                slots::release(control, entry);
            }
            taken
        };
        let entries = 0..segment.slots.geometry().leases();
        // Twice: a sender takes an entry's lock for a moment to take back a dead receiver's lease.
        let entry = entries.clone().chain(entries).find(|entry| {
            // A second lock of the same owner would succeed.
            self.entries & (1 << entry) == 0 && own(*entry)
        });
        self.no_more = entry.is_none();
        let entry = entry?;
        self.entries |= 1 << entry;
        if by_lock && self.known_from_ns.is_none() {
            // For as long as the file is open: leases may outlive this receiver.
            let shared = lock::share(segment.file(), lock::LESSEES) == Ok(true);
            self.known_from_ns = shared.then(|| slots::known_from_ns(monotonic_ns()));
        }
        Some(entry)
    }

    /// A lease entry of this receiver's that no lease is in: one that it owns, or else one more.
    #[inline]
    fn free_entry(&mut self) -> Option<usize> {
        // Acquire: pairs with the Release when a lease without a borrow ends.
        // - The entry is empty before it is used again.
        let busy = self.shared.busy.load(Ordering::Acquire);
        let free = self.entries & !busy;
        if free != 0 {
            Some(free.trailing_zeros() as usize)
        } else if self.no_more {
            None
        } else {
            self.own_entry()
        }
    }

    /// Holds the newest whole frame, if it is newer than `seen` and this receiver can lease.
    #[expect(
        clippy::inline_always,
        reason = "structs written and read again: 10 ns a frame"
    )]
    #[inline(always)]
    pub(super) fn hold(&mut self, seen: u64) -> Option<Taken> {
        let entry = self.free_entry();
        // Before the first look at `latest`.
        let Some(entry) = entry.filter(|_| self.leases_count()) else {
            self.untried = true;
            return None;
        };
        let segment = &self.shared.segment;
        let control = self.control()?;
        let by_lock = self.shared.leases_by_lock();
        for _ in 0..LEASE_TRIES {
            let latest = self.newer(control, seen)?;
            // The sender has changed the slot and looked at the lease: all lines at once, and the
            // clock while they are on their way.
            segment.control.as_ref()?.fetch_lease(entry, !by_lock);
            segment.fetch_slot(latest.slot);
            let found_ns = monotonic_ns();
            let held = if by_lock {
                slots::lease_by_lock(control, segment.file(), latest)
            } else {
                slots::lease(control, entry, latest)
            };
            if let Some(held) = held {
                return Some(Taken {
                    latest,
                    #[expect(clippy::cast_possible_truncation, reason = "an entry is at most 13")]
                    entry: entry as u8,
                    held,
                    found_ns,
                });
            }
        }
        None
    }

    /// What a slot says of its frame, which may be torn if it is not held.
    #[expect(
        clippy::inline_always,
        reason = "structs written and read again: 10 ns a frame"
    )]
    #[inline(always)]
    pub(super) fn words(&self, control: &ControlPage, slot: usize) -> Words {
        let line = &control.slot[slot];
        Words {
            header: self.segment().slots.header(slot),
            begin_ns: line.begin_ns.load(Ordering::Relaxed),
            publish_ns: line.publish_ns.load(Ordering::Relaxed),
            captured_ns: line.captured_ns.load(Ordering::Relaxed),
            meta_len: line.meta_len.load(Ordering::Relaxed),
        }
    }

    /// Copies the pixels that a slot's header claims, which may be torn.
    pub(super) fn copy(
        &self,
        slot: usize,
        header: FrameHeader,
        pixels: &mut Target<'_>,
    ) -> Result<Shape, Error> {
        let shape = self.shape(header)?;
        self.segment().slots.copy(slot, shape, pixels)?;
        Ok(shape)
    }

    #[expect(
        clippy::inline_always,
        reason = "structs written and read again: 10 ns a frame"
    )]
    #[inline(always)]
    pub(super) fn shape(&self, header: FrameHeader) -> Result<Shape, Error> {
        let mut room = self.segment().slots.geometry().room();
        if self.segment().control.is_none() {
            // A sender with a control page reserved all it has, but this file may be sparse.
            let there = self.segment().bytes_before_a_hole()?;
            room = room.min(there.saturating_sub(FrameHeader::LEN));
        }
        header.shape(room)
    }

    /// Looks at the file, if that is due.
    #[inline]
    pub(super) fn look_if_due(&mut self, now_ns: u64) -> Result<bool, Error> {
        if now_ns < self.look_at_ns {
            return Ok(false);
        }
        self.look().map(|()| true)
    }

    /// The same for a receiver that takes frames without waiting for them, and may have no lease
    /// entry: others have looked by then.
    #[inline]
    pub(super) fn look_if_overdue(&mut self, now_ns: u64) -> Result<(), Error> {
        self.look_if_due(now_ns.saturating_sub(LOOK_NS)).map(drop)
    }

    #[cold]
    fn look(&mut self) -> Result<(), Error> {
        let now_ns = monotonic_ns();
        self.look_at_ns = now_ns + LOOK_NS;
        self.ending = self.ending.or(look(self.segment())?);
        self.no_more = !self.may_lease;
        if self.entries == 0 && self.may_lease {
            self.own_entry();
        }
        let busy = self.shared.busy.load(Ordering::Relaxed);
        if self.untried && self.entries & !busy != 0 && self.leases_count() {
            // The frame that was there can be leased now, and may be the last one for long.
            (self.untried, self.failed_at) = (false, None);
        }
        self.look_at_ns = next_look_ns(now_ns, monotonic_ns());
        if self.entries == 0 && self.may_lease && self.shared.leases_by_lock() {
            // Receivers that share locks at the same moment refuse each other: not again.
            self.look_at_ns -= random() % (LOOK_NS / 2);
        }
        Ok(())
    }

    /// How long to sleep on the wake word, of `time`: asks the sender to wake this receiver, which
    /// is not certain at once.
    pub(super) fn nap(&mut self, time: Duration) -> Duration {
        let Some(control) = &self.shared.segment.control else {
            self.failed_at = None;
            return time.min(POLL);
        };
        let now = Instant::now();
        let woken_from = *self
            .woken_from
            .get_or_insert_with(|| now + ask_to_be_woken(&self.shared.segment, control));
        if now < woken_from {
            time.min(POLL)
        } else {
            time
        }
    }

    /// Looks at the wake word until it is not `value` any more, or `enough`, or for that long.
    pub(super) fn watch(&self, value: u32, time: Duration, enough: impl Fn() -> bool) {
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
            if enough() || Instant::now() >= end {
                return;
            }
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // A lease may keep the file and its locks. It needs that of its own entry alone, and gives
        // it back at its end.
        let segment = self.segment();
        if Arc::strong_count(&self.shared) > 1 && segment.is_ours() {
            let busy = self.shared.busy.fetch_or(ORPHANED, Ordering::AcqRel);
            for entry in slots::bits(self.entries & !busy) {
                lock::give(segment.file(), lock::LEASES + entry);
            }
            if self.woken_from.is_some() {
                lock::give(segment.file(), lock::SLEEPERS);
            }
        }
    }
}

/// What stands beside the pixels of a frame.
#[derive(Debug)]
pub(super) struct Words {
    pub(super) header: FrameHeader,
    begin_ns: u64,
    pub(super) publish_ns: u64,
    captured_ns: u64,
    pub(super) meta_len: u32,
}

impl Words {
    /// The frame that was received at `now`.
    #[expect(
        clippy::inline_always,
        reason = "structs written and read again: 10 ns a frame"
    )]
    #[inline(always)]
    pub(super) fn frame(
        &self,
        attached: &Attached,
        received: Received,
        shape: Shape,
        now: u64,
        wall: &mut Wall,
    ) -> Frame {
        Frame {
            number: received.number,
            session: attached.segment().session(),
            shape,
            sent_ms: self.header.timestamp_ms,
            received_ms: wall.ms(now),
            begun_ns: self.begin_ns,
            published_ns: self.publish_ns,
            captured_ns: (self.captured_ns != 0).then_some(self.captured_ns),
            // May be any number if another process wrote it; a difference is then one, too.
            delay_ns: now.wrapping_sub(self.begin_ns).cast_signed(),
            found: self.publish_ns < attached.came_ns,
            skipped: received.skipped,
            via: received.via,
        }
    }
}

/// What a receiver adds to the words of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received {
    pub(super) number: u64,
    pub(super) skipped: u64,
    pub(super) via: Via,
}

/// Asks the sender to wake those who sleep here. Until then, which is how long from now at most,
/// nobody does.
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

/// What became of a segment, by a look at its file.
fn look(segment: &Segment) -> Result<Option<End>, Error> {
    let look = segment.look()?;
    if look == Look::Broken {
        return Ok(Some(End::Broken));
    }
    if segment.control.is_some() && !segment.alive()? {
        return Ok(Some(End::Dead));
    }
    // A sender whose name was removed goes on here until it has made the next segment, and then
    // says so.
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
