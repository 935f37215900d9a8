//! The lock-free protocol over the words of the control page. No operating system, no pixels.
//!
//! One writer, any number of readers, nobody waits for anybody. Frames count from 1; what a slot
//! holds is told by its sequence ([`sequence`](crate::protocol::layout::SlotWords::sequence)), and
//! `latest` *determines* the sequence that must be found there, so that a reader that was lapped
//! never takes one frame for another.
//!
//! The writer, [`Writer::begin`] and [`Writer::publish`]; of the locks it asks only while it
//! [knows](Lessees) that there are receivers that lease by them:
//!
//! 1. Candidate: the lowest slot that is not the latest (with one slot: slot 0).
//! 2. The clock, into a local.
//! 3. The candidate's sequence odd, Release.
//! 4. `fence(SeqCst)`.
//! 5. Each lease entry once, Acquire, into a bit mask; and the candidate's lock.
//! 6. Candidate leased: *every* slot but the latest odd, fence again, each entry once again, take
//!    the lowest that is not in the mask and whose lock nobody shares, put the others' sequences
//!    back. One slot after the other would not do: a reader can move its lease behind the scan.
//!    There are at most `slots - 2` entries, so one slot is always free. Only a reader that means
//!    harm can share the locks of all: then the mask alone decides, and those whose leases are lost
//!    notice ([`still_held`]).
//! 7. Only now `frame_valid` = 0, header, begin time, pixels; while there are receivers that lease
//!    by locks, with a full fence before the pixels.
//! 8. After non-temporal stores, an `sfence`.
//! 9. Full fence, `frame_valid` = 1.
//! 10. Sequence even, Release.
//! 11. `latest`, Release.
//! 12. Wake word + 1, Release; only then a look at who asked to be woken; and the futex, if anybody
//!     sleeps.
//!
//! Steps 2, 7, 8, 9 and, of 12, all after the wake word are the sender's.
//!
//! A lease, [`lease`]: `latest` once, Acquire; slot + 1 into the own entry, Release;
//! `fence(SeqCst)`; the sequence is exactly `2 * frame`, Acquire. Either the writer's fence (4 or
//! 6) comes first, and the reader finds an odd sequence; or the reader's fence does, and the
//! writer's scan finds the lease.
//!
//! A lease by locks, for receivers that may not write the table:
//!
//! 1. Once, [`own_by_lock`]: share the lock of an entry, and only then see that nobody else has it
//!    and that the entry is empty. Of two that come at once, the second sees the first. So all
//!    receivers together still hold at most `slots - 2` slots.
//! 2. Once: share [`LESSEES_LOCK`], and wait until [`known_from_ns`]. The sender looks at that lock
//!    at least every 0.1 s. A frame that was begun in ignorance may be published later than that,
//!    but nothing else is in between: the slot that is the latest until then is not the one that
//!    the writer chose.
//! 3. [`lease_by_lock`]: `latest`, Acquire; share the slot's lock; fence; the sequence is exactly
//!    `2 * frame`, Acquire. Either the writer asks about the lock later and finds it shared, or
//!    this reader finds the odd sequence.
//! 4. [`release_lock`]: give it back.
//!
//! A copy, [`begin_copy`] and [`end_copy`]: the sequence is `2 * frame`, Acquire; copy;
//! `fence(Acquire)`; still is.

use super::layout::{
    ControlPage, ENTRY_LOCKS, LESSEES_LOCK, LOOK_NS, MAX_SLOTS, SLOT_LOCKS, leases,
};
use super::sync::{AtomicU32, AtomicU64, Ordering, fence};

/// Locks on bytes of the segment's file that any number of receivers can share. What is done to
/// them, by whatever process, has one order, and whoever finds a lock taken or free also finds what
/// was written before.
pub(crate) trait Locks {
    /// Shares the lock on a byte. `false`: somebody has it alone.
    fn share(&self, byte: usize) -> bool;
    /// Gives it back.
    fn give(&self, byte: usize);
    /// Whether anybody else holds or shares it.
    fn others(&self, byte: usize) -> bool;
}

/// What the writer knows of receivers that lease by locks.
#[derive(Debug, Default)]
pub(crate) struct Lessees {
    any: bool,
    look_at_ns: u64,
}

impl Lessees {
    /// Asks about [`LESSEES_LOCK`], if that is due. To be called at the beginning of each frame,
    /// before anything else can fail, with a time of the monotonic clock that was read before.
    #[inline]
    pub(crate) fn look_if_due(&mut self, now_ns: u64, ask: impl FnOnce(usize) -> bool) {
        if now_ns >= self.look_at_ns {
            self.look_at_ns = now_ns + LOOK_NS; // bug: next-look
            self.any = ask(LESSEES_LOCK); // bug: look
        }
    }

    /// Whether there are any.
    #[inline]
    pub(crate) fn any(&self) -> bool {
        self.any
    }
}

/// From when on the writer knows of a receiver that shared [`LESSEES_LOCK`] before `shared_ns`: one
/// look later. The other 0.1 s are for what the writer stored before it read its clock to be seen
/// by this receiver.
pub(crate) fn known_from_ns(shared_ns: u64) -> u64 {
    shared_ns + 2 * LOOK_NS // bug: known-from
}

/// The lock of a slot.
pub(crate) fn slot_lock(slot: usize) -> usize {
    SLOT_LOCKS + slot
}

/// A word of `latest`: which frame is the newest whole one, and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Latest {
    pub(crate) frame: u64,
    /// Below the number of slots.
    pub(crate) slot: usize, // bug: where
}

impl Latest {
    pub(crate) fn new(frame: u64, slot: usize) -> Self {
        Self { frame, slot }
    }

    fn pack(self) -> u64 {
        self.frame << 8 | self.slot as u64
    }

    /// `None` when there is no frame yet, or the word is no such pair.
    fn unpack(word: u64, slots: usize) -> Option<Self> {
        let frame = word >> 8;
        let slot = usize::try_from(word & 0xff).ok()?;
        (frame != 0 && slot < slots).then_some(Self { frame, slot }) // bug: unpack
    }

    /// The sequence of a slot that holds this frame, whole.
    fn whole(self) -> u64 {
        2 * self.frame // bug: whole
    }
}

/// The newest whole frame. Step 1 of every reader.
pub(crate) fn latest(control: &ControlPage, slots: usize) -> Option<Latest> {
    // Acquire: pairs with the Release in publish.
    // - What was written before `latest` (the sequence, and through it the pixels) is visible
    //   after.
    Latest::unpack(load_u64(&control.latest), slots) // bug: read-latest
}

/// The writer's side. What it wrote it remembers here and never reads back: the control page is not
/// to be trusted.
#[derive(Debug)]
pub(crate) struct Writer {
    slots: usize,
    latest: Option<Latest>,
    /// Frames published in this session, in this segment or one before it.
    frames: u64,
    /// What each slot's sequence is when it is not marked only for a scan.
    sequences: [u64; MAX_SLOTS],
    wake: u32,
}

/// A slot that is the writer's to fill: odd, not the latest, and in nobody's lease. Made by
/// [`Writer::begin`] alone, and at most one at a time.
#[derive(Debug)]
pub(crate) struct Writing {
    slot: usize,
}

impl Writing {
    pub(crate) fn slot(&self) -> usize {
        self.slot
    }
}

impl Writer {
    /// For a segment of `slots` slots in which nothing was published yet, after `frames` frames
    /// elsewhere.
    pub(crate) fn new(slots: usize, frames: u64) -> Self {
        Self {
            slots,
            latest: None,
            frames,
            sequences: [0; MAX_SLOTS],
            wake: 0,
        }
    }

    /// Frames published in this session.
    pub(crate) fn frames(&self) -> u64 {
        self.frames
    }

    /// The slot that is likely to be next: the first candidate.
    pub(crate) fn next(&self) -> usize {
        lowest(self.usable())
    }

    /// The slots that may be written: all but the latest, if there are others.
    fn usable(&self) -> u32 {
        let all = (1_u32 << self.slots) - 1;
        match self.latest {
            Some(latest) if self.slots > 1 => all & !(1 << latest.slot), // bug: usable
            _ => all,
        }
    }

    /// Steps 1 and 3 to 6: a slot that nobody reads. `is_locked` says whether a receiver shares a
    /// slot's lock.
    ///
    /// To give it up, drop it: its sequence stays odd until it is chosen again, so nobody takes
    /// what is in it for a frame.
    #[inline]
    pub(crate) fn begin(
        &mut self,
        control: &ControlPage,
        mut is_locked: impl FnMut(usize) -> bool,
    ) -> Writing {
        let usable = self.usable();
        let odd = 2 * (self.frames + 1) - 1; // bug: odd-number
        let mut slot = lowest(usable);
        // Release: pairs with the Acquire in `lease`.
        // - A reader that finds this odd value also finds the newer `latest` when it looks again.
        control.slot[slot].sequence.store(odd, Ordering::Release); // bug: odd
        // Pairs with the fence in `lease`: of a lease and a mark, at least one is seen by the other
        // side.
        // - The mark above must not move below it, nor the scan above it.
        fence(Ordering::SeqCst); // bug: fence
        if leased(control, self.slots) & (1 << slot) != 0 || is_locked(slot) {
            // bug: scan
            for other in bits(usable) {
                // bug: others
                control.slot[other].sequence.store(odd, Ordering::Release); // bug: mark
            }
            fence(Ordering::SeqCst); // bug: second-fence
            let free = usable & !leased(control, self.slots); // bug: second-scan
            // Each lock is asked about once, as each entry is.
            let unlocked = bits(free).find(|&slot| !is_locked(slot)); // bug: locks
            slot = unlocked.unwrap_or_else(|| lowest(free)); // bug: choice
            for other in bits(usable & !(1 << slot)) {
                // Release: a reader that finds the old value must find the old pixels with it,
                // which were never touched.
                control.slot[other] // bug: put-back
                    .sequence
                    .store(self.sequences[other], Ordering::Release);
            }
        }
        self.sequences[slot] = odd; // bug: remember
        Writing { slot }
    }

    /// Steps 10 to 12, up to the futex: makes the frame visible and returns its number.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the slot is not the writer's any more"
    )]
    #[inline]
    pub(crate) fn publish(&mut self, control: &ControlPage, writing: Writing) -> u64 {
        self.frames += 1;
        let latest = Latest {
            frame: self.frames,
            slot: writing.slot, // bug: published-slot
        };
        self.sequences[writing.slot] = latest.whole(); // bug: remember-whole
        // Release: pairs with the Acquire in `lease` and `begin_copy`.
        // - Header, times and pixels must not move below.
        control.slot[writing.slot] // bug: even
            .sequence
            .store(latest.whole(), Ordering::Release);
        // Release: pairs with the Acquire in `latest`.
        // - The sequence must not move below.
        control.latest.store(latest.pack(), Ordering::Release); // bug: latest
        self.latest = Some(latest);
        self.wake(control); // bug: wake-frame
        latest.frame
    }

    /// Sets the state to `state`: nothing will be published here any more.
    pub(crate) fn end(&mut self, control: &ControlPage, state: u32) {
        // Release: pairs with the Acquire in `state`.
        // - The last `latest` must not move below: a reader that sees the end also sees the last
        //   frame.
        control.state.store(state, Ordering::Release); // bug: state
        self.wake(control); // bug: wake-end
    }

    fn wake(&mut self, control: &ControlPage) {
        self.wake = self.wake.wrapping_add(1);
        // Release: pairs with the Acquire in `wake`.
        // - What is news (`latest`, `state`) must not move below: a reader that read the new word
        //   must see the news.
        control.wake.store(self.wake, Ordering::Release); // bug: wake
    }
}

fn lowest(slots: u32) -> usize {
    slots.trailing_zeros() as usize // bug: lowest
}

/// The slots that are in somebody's lease, as a bit mask. Each entry is read once.
fn leased(control: &ControlPage, slots: usize) -> u32 {
    control.lease[..leases(slots)]
        .iter()
        // Acquire: pairs with the Release in `release`.
        // - What is written next must not move above: the reader's last look at the pixels comes
        //   before it.
        .map(|entry| entry.slot_plus_1.load(Ordering::Acquire)) // bug: read-entry
        .filter(|&slot_plus_1| (1..=slots).contains(&(slot_plus_1 as usize))) // bug: in-range
        .fold(0, |mask, slot_plus_1| mask | 1 << (slot_plus_1 - 1))
}

/// The lease entries that are in use, as a bit mask.
pub(crate) fn entries(control: &ControlPage, slots: usize) -> u32 {
    (0..leases(slots))
        .filter(|&entry| control.lease[entry].slot_plus_1.load(Ordering::Relaxed) != 0)
        .fold(0, |mask, entry| mask | 1 << entry)
}

/// The numbers of the bits of a mask, lowest first.
pub(crate) fn bits(mask: u32) -> impl Iterator<Item = usize> {
    (0..MAX_SLOTS).filter(move |bit| mask & (1 << bit) != 0)
}

/// A slot that its reader holds: it has frame `frame`, whole, and a cooperating sender writes
/// nothing in it until [`release`]. Made by [`lease`] alone.
#[derive(Debug)]
pub(crate) struct Held {
    slot: u8,
}

impl Held {
    pub(crate) fn slot(&self) -> usize {
        self.slot.into()
    }
}

/// Takes the latest frame into the own lease entry `entry`, which must be free. `None`: it is not
/// there any more (or with one slot: not yet again), look at `latest` anew.
pub(crate) fn lease(control: &ControlPage, entry: usize, latest: Latest) -> Option<Held> {
    #[expect(clippy::cast_possible_truncation, reason = "a slot is at most 15")]
    let slot = latest.slot as u8;
    let slot_plus_1 = u32::from(slot) + 1; // bug: entry-value
    // Release: pairs with the Acquire in `leased`.
    // - What this reader read under its lease before must not move below.
    control.lease[entry] // bug: lease
        .slot_plus_1
        .store(slot_plus_1, Ordering::Release);
    // Pairs with the fences in `begin`.
    // - The lease must not move below it, nor the look at the sequence above it.
    fence(Ordering::SeqCst); // bug: lease-fence
    if is_whole(control, latest) {
        // bug: lease-check
        Some(Held { slot })
    } else {
        release(control, entry); // bug: lease-undo
        None
    }
}

/// Ends the hold of lease entry `entry`, or empties it for a new owner.
pub(crate) fn release(control: &ControlPage, entry: usize) {
    // Release: pairs with the Acquire in `leased`.
    // - Reads of the pixels must not move below.
    control.lease[entry].slot_plus_1.store(0, Ordering::Release); // bug: release
}

/// Takes lease entry `entry` for a receiver that may not write it. `false`: somebody else has it,
/// or may: of two that come at once, both may be refused.
pub(crate) fn own_by_lock(control: &ControlPage, locks: &impl Locks, entry: usize) -> bool {
    let byte = ENTRY_LOCKS + entry; // bug: entry-lock
    if !locks.share(byte) {
        return false;
    }
    // Only now: whoever shares it later finds this one.
    let alone = !locks.others(byte); // bug: alone
    // A dead receiver's lease, which only the sender takes back: until then it counts.
    // Acquire: pairs with the Release in `release`.
    let empty = load_u32(&control.lease[entry].slot_plus_1) == 0; // bug: empty
    if alone && empty {
        return true;
    }
    locks.give(byte);
    false
}

/// The same as [`lease`] by the lock of the slot, for a receiver that owns an entry
/// [by lock](own_by_lock) and is [known](known_from_ns) to the sender.
pub(crate) fn lease_by_lock(
    control: &ControlPage,
    locks: &impl Locks,
    latest: Latest,
) -> Option<Held> {
    #[expect(clippy::cast_possible_truncation, reason = "a slot is at most 15")]
    let slot = latest.slot as u8;
    // Who holds it alone means harm.
    if !locks.share(slot_lock(latest.slot)) {
        return None;
    }
    // Pairs with the fences in `begin`, for locks that order less than the kernel's.
    // - The lock must not move below it, nor the look at the sequence above it.
    fence(Ordering::SeqCst); // bug: lock-fence
    if is_whole(control, latest) {
        // bug: lock-check
        Some(Held { slot })
    } else {
        release_lock(locks, latest.slot); // bug: lock-undo
        None
    }
}

/// Ends a lease by lock.
pub(crate) fn release_lock(locks: &impl Locks, slot: usize) {
    locks.give(slot_lock(slot)); // bug: unlock
}

/// Whether a slot still has the frame that was [leased by lock](lease_by_lock), after it was read:
/// receivers that mean harm can bring about that it is written. `same_header` says whether the
/// slot's header and times are those of that frame, and the frame valid.
pub(crate) fn still_held(
    control: &ControlPage,
    latest: Latest,
    same_header: impl FnOnce() -> bool,
) -> bool {
    // As in `end_copy`.
    fence(Ordering::Acquire); // bug: held-fence
    let sequence = control.slot[latest.slot].sequence.load(Ordering::Relaxed);
    // Odd: the slot is being written, or marked for a moment while the writer looks for a free one.
    // The header, which is written before the pixels, says which.
    sequence == latest.whole() || (sequence % 2 == 1 && same_header()) // bug: held-check
}

/// Whether a copy of the latest frame may begin.
pub(crate) fn begin_copy(control: &ControlPage, latest: Latest) -> bool {
    is_whole(control, latest) // bug: copy-begin
}

/// Whether what was copied since [`begin_copy`] is that frame, whole.
pub(crate) fn end_copy(control: &ControlPage, latest: Latest) -> bool {
    // Pairs with the Release of the odd sequence in `begin`, and the fence after it.
    // - The reads of the copy must not move below: one that saw a newer byte makes the odd sequence
    //   visible here.
    fence(Ordering::Acquire); // bug: copy-fence
    control.slot[latest.slot].sequence.load(Ordering::Relaxed) == latest.whole() // bug: copy-check
}

fn is_whole(control: &ControlPage, latest: Latest) -> bool {
    // Acquire: pairs with the Release in `publish`.
    // - Reads of header, times and pixels must not move above.
    load_u64(&control.slot[latest.slot].sequence) == latest.whole() // bug: check
}

/// Loads a word with Acquire, as a receiver may: its control page can be mapped for reading only,
/// and there the standard library promises no more than Relaxed loads (`std::sync::atomic`, "Atomic
/// accesses to read-only memory"). The fence makes the Acquire.
#[inline]
fn load_u64(word: &AtomicU64) -> u64 {
    let value = word.load(Ordering::Relaxed);
    fence(Ordering::Acquire);
    value
}

/// The same for a word of 32 bits.
#[inline]
fn load_u32(word: &AtomicU32) -> u32 {
    let value = word.load(Ordering::Relaxed);
    fence(Ordering::Acquire);
    value
}

/// The wake word, to sleep on. To be read *before* `state`, and that before `latest`: news that
/// comes in between changes the word.
pub(crate) fn wake(control: &ControlPage) -> u32 {
    // Acquire: pairs with the Release in `Writer::wake`.
    // - The looks at the state and `latest` must not move above.
    load_u32(&control.wake) // bug: read-wake
}

/// The state. To be read *before* `latest`, so that the last frame is seen before the end.
pub(crate) fn state(control: &ControlPage) -> u32 {
    // Acquire: pairs with the Release in `end`.
    // - The look at `latest` must not move above.
    load_u32(&control.state) // bug: read-state
}

#[cfg(all(test, loom))]
mod model;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::protocol::layout::OPEN;

    fn page() -> Box<ControlPage> {
        ControlPage::zeroed()
    }

    fn publish(writer: &mut Writer, control: &ControlPage) -> usize {
        let writing = writer.begin(control, |_| false);
        let slot = writing.slot();
        writer.publish(control, writing);
        slot
    }

    #[test]
    fn two_slots_stay_warm_when_nobody_leases() {
        let (control, mut writer) = (page(), Writer::new(4, 0));
        let slots: Vec<_> = (0..6).map(|_| publish(&mut writer, &control)).collect();
        assert_eq!(slots, [0, 1, 0, 1, 0, 1]);
        assert_eq!(latest(&control, 4), Some(Latest { frame: 6, slot: 1 }));
        assert_eq!(state(&control), OPEN);
        assert_eq!(wake(&control), 6);
    }

    #[test]
    fn one_slot_is_rewritten() {
        let (control, mut writer) = (page(), Writer::new(1, 0));
        assert_eq!(
            [0, 0],
            [
                publish(&mut writer, &control),
                publish(&mut writer, &control)
            ]
        );
        let seen = latest(&control, 1).unwrap();
        let writing = writer.begin(&control, |_| false);
        assert!(!begin_copy(&control, seen), "frame 2 is being overwritten");
        writer.publish(&control, writing);
        assert!(begin_copy(&control, latest(&control, 1).unwrap()));
    }

    #[test]
    fn a_leased_slot_is_not_written_and_the_others_keep_their_frames() {
        let (control, mut writer) = (page(), Writer::new(4, 0));
        publish(&mut writer, &control);
        let first = latest(&control, 4).unwrap();
        let held = lease(&control, 0, first).unwrap();
        let slots: Vec<_> = (0..5).map(|_| publish(&mut writer, &control)).collect();
        assert_eq!(slots, [1, 2, 1, 2, 1]);
        assert!(
            end_copy(&control, first),
            "slot {} still holds frame 1",
            held.slot()
        );
        release(&control, 0);
        assert_eq!(publish(&mut writer, &control), 0);
    }

    #[test]
    fn a_slot_that_was_given_up_is_not_taken_for_a_frame() {
        let (control, mut writer) = (page(), Writer::new(2, 0));
        publish(&mut writer, &control);
        publish(&mut writer, &control);
        let old = Latest { frame: 1, slot: 0 };
        let _given_up = writer.begin(&control, |_| false);
        assert!(!begin_copy(&control, old));
        assert_eq!(publish(&mut writer, &control), 0);
        assert_eq!(latest(&control, 2), Some(Latest { frame: 3, slot: 0 }));
    }

    #[test]
    fn words_that_are_no_frame_are_none() {
        let control = page();
        for word in [0, 7, 1 << 8 | 4, u64::MAX] {
            control.latest.store(word, Ordering::Relaxed);
            assert_eq!(latest(&control, 4), None, "{word:#x}");
        }
    }

    #[test]
    fn lease_entries_of_any_value_leave_the_writer_a_slot() {
        for slots in 1..=MAX_SLOTS {
            let (control, mut writer) = (page(), Writer::new(slots, 0));
            for (i, entry) in control.lease.iter().enumerate() {
                let lies = [0, u32::MAX, 17, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
                entry.slot_plus_1.store(lies[i], Ordering::Relaxed);
            }
            for _ in 0..100 {
                assert!(publish(&mut writer, &control) < slots);
            }
        }
    }
}
