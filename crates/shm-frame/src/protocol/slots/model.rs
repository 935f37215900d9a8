//! The protocol under the loom model checker: every interleaving and every stale value that the
//! memory model allows, within a bound on preemptions.
//!
//! Both sides are spawned threads: on the model's main thread a reader's bugs survive. Every model
//! also asserts that frames *were* delivered in some execution. `scripts/plant-bugs` shows what it
//! catches.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed as Plainly};

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use super::*;
use crate::protocol::layout::{CLOSED, MAX_LEASES, MOVED, OPEN};
use crate::protocol::sync::AtomicU64;

/// A slot's memory.
struct Memory {
    /// Stands for the time stamps and the header. Anybody may read it at any time.
    header: AtomicU64,
    /// Stands for the pixels as a copy reads them: at any time.
    pixels: AtomicU64,
    /// Stands for the pixels as a lease reads them: loom fails on any write that is not ordered
    /// with a read.
    leased: UnsafeCell<u64>,
}

struct Shared {
    control: Box<ControlPage>,
    slots: Vec<Memory>,
    locks: Locked,
    /// What the monotonic clock shows, in ns. It also stands for this: what was stored 0.1 s ago is
    /// seen by now.
    clock: AtomicU64,
}

/// The locks of the file, a word each: a bit for each process that shares it. The kernel's order is
/// stricter: there it is one for all locks of a file.
struct Locked {
    entry: [AtomicU64; MAX_LEASES],
    lessees: AtomicU64,
    slot: [AtomicU64; MAX_SLOTS],
}

/// The bit of a process that has a lock alone.
const ALONE: u64 = 1 << 63;

/// A process, and the locks as they are to it.
#[derive(Clone, Copy)]
struct Process<'a> {
    locked: &'a Locked,
    bit: u64,
}

impl Process<'_> {
    fn word(&self, byte: usize) -> &AtomicU64 {
        match byte {
            LESSEES_LOCK => &self.locked.lessees,
            SLOT_LOCKS.. => &self.locked.slot[byte - SLOT_LOCKS],
            _ => &self.locked.entry[byte - ENTRY_LOCKS],
        }
    }

    /// Has a lock alone.
    fn take(&self, byte: usize) -> bool {
        let taken = self
            .word(byte)
            .compare_exchange(0, ALONE, Ordering::AcqRel, Ordering::Acquire);
        taken.is_ok()
    }
}

impl Locks for Process<'_> {
    fn share(&self, byte: usize) -> bool {
        let free = self.word(byte).fetch_or(self.bit, Ordering::AcqRel) & ALONE == 0;
        if !free {
            self.give(byte);
        }
        free
    }

    fn give(&self, byte: usize) {
        self.word(byte).fetch_and(!self.bit, Ordering::AcqRel);
    }

    fn others(&self, byte: usize) -> bool {
        self.word(byte).fetch_or(0, Ordering::AcqRel) & !self.bit != 0
    }
}

/// The writer's side of a sender.
struct Sending {
    writer: Writer,
    lessees: Lessees,
}

impl Sending {
    fn new(slots: usize) -> Self {
        Self {
            writer: Writer::new(slots, 0),
            lessees: Lessees::default(),
        }
    }
}

// SAFETY is loom's to check here: it reports conflicting accesses to `leased`.
#[expect(
    unsafe_code,
    reason = "shared between the model's threads, which is what is being checked"
)]
unsafe impl Sync for Shared {}
#[expect(unsafe_code, reason = "as above")]
unsafe impl Send for Shared {}

impl Shared {
    fn new(slots: usize) -> Arc<Self> {
        let memory = || Memory {
            header: AtomicU64::new(0),
            pixels: AtomicU64::new(0),
            leased: UnsafeCell::new(0),
        };
        Arc::new(Self {
            control: ControlPage::zeroed(),
            slots: (0..slots).map(|_| memory()).collect(),
            locks: Locked {
                entry: std::array::from_fn(|_| AtomicU64::new(0)),
                lessees: AtomicU64::new(0),
                slot: std::array::from_fn(|_| AtomicU64::new(0)),
            },
            clock: AtomicU64::new(0),
        })
    }

    fn process(&self, index: usize) -> Process<'_> {
        Process {
            locked: &self.locks,
            bit: 1 << index,
        }
    }

    /// What a receiver does that means harm.
    fn share_all(&self) {
        let process = self.process(61);
        let slots = (0..self.count()).map(slot_lock);
        slots.chain([LESSEES_LOCK]).for_each(|byte| {
            assert!(process.share(byte), "nobody has it alone");
        });
    }

    fn now_ns(&self) -> u64 {
        self.clock.fetch_add(0, Ordering::AcqRel)
    }

    fn count(&self) -> usize {
        self.slots.len()
    }

    /// Publishes a frame as a sender does. Its content is its number.
    fn publish(&self, writer: &mut Writer) {
        let writing = self.fill(writer);
        writer.publish(&self.control, writing);
    }

    /// The same where there may be receivers that lease by locks.
    fn publish_beside_locks(&self, sending: &mut Sending) {
        let Sending { writer, lessees } = sending;
        let sender = self.process(62);
        lessees.look_if_due(self.now_ns(), |byte| sender.others(byte));
        let writing = writer.begin(&self.control, |slot| {
            lessees.any() && sender.others(slot_lock(slot))
        });
        self.write(writer, &writing);
        writer.publish(&self.control, writing);
    }

    /// Begins a frame and writes it.
    fn fill(&self, writer: &mut Writer) -> Writing {
        let writing = writer.begin(&self.control, |_| false); // bug: begin
        self.write(writer, &writing);
        writing
    }

    fn write(&self, writer: &Writer, writing: &Writing) {
        let frame = writer.frames() + 1;
        let memory = &self.slots[writing.slot()];
        memory.header.store(frame, Ordering::Relaxed);
        memory.leased.with_mut(|pixels| {
            #[expect(unsafe_code, reason = "checked by loom")]
            unsafe {
                *pixels = frame;
            }
        });
        memory.pixels.store(frame, Ordering::Relaxed);
    }

    /// The latest frame, if it is newer than what was seen.
    fn newer(&self, seen: &Seen) -> Option<Latest> {
        let latest =
            latest(&self.control, self.count()).filter(|latest| latest.frame > seen.frame)?;
        // With one slot it is being rewritten. With more, who finds it gone finds a newer one at
        // the next look.
        assert!(
            self.count() == 1 || seen.gone != Some(latest),
            "{latest:?} is gone, and still the latest"
        );
        Some(latest)
    }

    /// Takes the latest frame by lease, reads it twice, and gives it back.
    fn lease(&self, entry: usize, seen: &mut Seen) -> Option<u64> {
        let latest = self.newer(seen)?;
        let Some(held) = lease(&self.control, entry, latest) else {
            seen.gone = Some(latest);
            return None;
        };
        self.read_in_place(&held, latest);
        release(&self.control, entry);
        Some(latest.frame)
    }

    /// Attaches as a receiver that may only read does. `false`: it gets no entry.
    fn attach_by_lock(&self, entry: usize, process: Process<'_>) -> bool {
        if !own_by_lock(&self.control, &process, entry) {
            return false;
        }
        assert!(process.share(LESSEES_LOCK), "nobody has it alone");
        let shared_ns = self.now_ns(); // bug: shared-at
        // Waits: what has to be, time brings.
        self.clock
            .fetch_add(known_from_ns(shared_ns) - shared_ns, Ordering::AcqRel);
        true
    }

    /// What is left of a receiver that died with a lease in hand: the kernel drops its locks.
    fn lease_and_die(&self, process: Process<'_>, entry: usize, seen: &mut Seen) {
        if let Some(latest) = self.newer(seen) {
            let _ = lease(&self.control, entry, latest);
        }
        process
            .word(ENTRY_LOCKS + entry)
            .fetch_and(!ALONE, Ordering::AcqRel);
    }

    /// Takes the latest frame by the lock of its slot, reads it twice, and gives it back.
    fn lease_by_lock(&self, process: Process<'_>, seen: &mut Seen) -> Option<u64> {
        let latest = self.newer(seen)?;
        let Some(held) = lease_by_lock(&self.control, &process, latest) else {
            seen.gone = Some(latest);
            return None;
        };
        self.read_in_place(&held, latest); // bug: read-by-lock
        let same = || self.slots[held.slot()].header.load(Ordering::Relaxed) == latest.frame;
        assert!(still_held(&self.control, latest, same), "held, and says no");
        release_lock(&process, held.slot()); // bug: release-lock
        Some(latest.frame)
    }

    fn read_in_place(&self, held: &Held, latest: Latest) {
        let memory = &self.slots[held.slot()];
        let read = || {
            memory.leased.with(|pixels| {
                #[expect(unsafe_code, reason = "checked by loom")]
                unsafe {
                    *pixels
                }
            })
        };
        assert_eq!(
            memory.header.load(Ordering::Relaxed),
            latest.frame,
            "leased header"
        );
        assert_eq!(read(), latest.frame, "leased pixels");
        thread::yield_now();
        assert_eq!(
            memory.header.load(Ordering::Relaxed),
            latest.frame,
            "leased header, later"
        );
        assert_eq!(read(), latest.frame, "leased pixels, later");
    }

    /// Takes the latest frame by copy.
    fn copy(&self, seen: &mut Seen) -> Option<u64> {
        let latest = self.newer(seen)?;
        if !begin_copy(&self.control, latest) {
            seen.gone = Some(latest);
            return None;
        }
        let memory = &self.slots[latest.slot];
        let header = memory.header.load(Ordering::Relaxed);
        let pixels = memory.pixels.load(Ordering::Relaxed);
        if !end_copy(&self.control, latest) {
            return None;
        }
        assert_eq!(
            (header, pixels),
            (latest.frame, latest.frame),
            "copied frame"
        );
        Some(latest.frame)
    }
}

#[derive(Clone, Copy)]
enum Reader {
    Lease {
        entry: usize,
    },
    Copy,
    /// Leases by locks, after it came.
    ByLock {
        entry: usize,
    },
    /// Leases by this entry if it gets its lock, and dies with the lease in hand.
    Dies {
        entry: usize,
    },
    /// Means harm: shares the locks of all slots all the time, and takes no frame.
    Greedy,
}

impl Reader {
    /// Whether the sender has to look for receivers that lease by locks.
    fn locks(self) -> bool {
        matches!(self, Self::ByLock { .. } | Self::Greedy)
    }
}

/// What a reader knows from its tries so far.
#[derive(Default)]
struct Seen {
    /// The newest frame that it took.
    frame: u64,
    /// What it found gone when it was about to take it.
    gone: Option<Latest>,
}

/// One writer of `frames` frames into `slots` slots, beside readers that each try `tries` times.
fn check(slots: usize, frames: u64, readers: &'static [Reader], tries: usize, preemptions: usize) {
    // To which readers frames were delivered, a bit each.
    let delivered: &'static AtomicUsize = Box::leak(Box::default());
    let beside_locks = readers.iter().any(|reader| reader.locks());
    let count = |what: fn(&Reader) -> bool| readers.iter().filter(|&reader| what(reader)).count();
    let dead = count(|reader| matches!(reader, Reader::Dies { .. }));
    let greedy = count(|reader| matches!(reader, Reader::Greedy));
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(move || {
        let shared = Shared::new(slots);
        if greedy > 0 {
            shared.share_all();
        }
        let writer = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let mut sending = Sending::new(slots);
                for _ in 0..frames {
                    if beside_locks {
                        shared.publish_beside_locks(&mut sending);
                    } else {
                        shared.publish(&mut sending.writer);
                    }
                }
            })
        };
        let spawned = readers.iter().enumerate().map(|(index, &reader)| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let mut seen = Seen::default();
                let process = shared.process(index);
                let may = match reader {
                    Reader::Lease { .. } | Reader::Copy => true,
                    Reader::ByLock { entry } => shared.attach_by_lock(entry, process),
                    Reader::Dies { entry } => process.take(ENTRY_LOCKS + entry),
                    Reader::Greedy => false,
                };
                for _ in 0..if may { tries } else { 0 } {
                    let taken = match reader {
                        Reader::Lease { entry } => shared.lease(entry, &mut seen),
                        Reader::Copy => shared.copy(&mut seen),
                        Reader::ByLock { .. } => shared.lease_by_lock(process, &mut seen),
                        Reader::Dies { entry } => {
                            shared.lease_and_die(process, entry, &mut seen);
                            break;
                        }
                        Reader::Greedy => None,
                    };
                    if let Some(frame) = taken {
                        assert!(
                            frame > seen.frame && frame <= frames,
                            "{frame} after {}",
                            seen.frame
                        );
                        seen.frame = frame;
                        delivered.fetch_or(1 << index, Plainly);
                    }
                }
            })
        });
        let spawned: Vec<_> = spawned.collect();
        writer.join().unwrap();
        for reader in spawned {
            reader.join().unwrap();
        }
        let last = latest(&shared.control, slots).unwrap();
        assert_eq!(last.frame, frames);
        assert!(begin_copy(&shared.control, last), "the last frame is whole");
        let left = entries(&shared.control, slots);
        assert!(left.count_ones() as usize <= dead, "a lease is left");
        for slot in &shared.locks.slot {
            let left = slot.load(Ordering::Relaxed).count_ones() as usize;
            assert!(left <= greedy, "a lock is left");
        }
        for (words, memory) in shared.control.slot.iter().zip(&shared.slots) {
            assert_eq!(
                words.sequence.load(Ordering::Relaxed),
                2 * memory.header.load(Ordering::Relaxed),
                "a slot does not say what it holds"
            );
        }
    });
    let delivered = delivered.load(Plainly).count_ones() as usize;
    assert_eq!(
        delivered,
        readers.len() - dead - greedy,
        "to some no frame was ever delivered"
    );
}

/// One for every entry that a segment could have.
const LEASES: [Reader; MAX_SLOTS] = [
    Reader::Lease { entry: 0 },
    Reader::Lease { entry: 1 },
    Reader::Lease { entry: 2 },
    Reader::Lease { entry: 3 },
];

#[test]
fn a_leased_frame_is_not_written() {
    check(3, 4, &LEASES[..1], 2, 4);
}

#[test]
fn a_slot_is_free_when_every_entry_is_in_use() {
    check(3, 4, &LEASES[..leases(3)], 1, 2);
}

#[test]
fn a_lease_that_moves_behind_the_scan_is_seen() {
    check(4, 4, &LEASES[..2], 2, 2);
}

#[test]
fn a_copied_frame_is_whole() {
    check(2, 3, &[Reader::Copy], 2, 4);
}

#[test]
fn a_copy_from_one_slot_is_whole() {
    check(1, 3, &[Reader::Copy], 2, 4);
}

#[test]
fn leases_and_copies_go_together() {
    check(3, 3, &[LEASES[0], Reader::Copy], 1, 3);
}

#[test]
fn a_frame_leased_by_lock_is_not_written() {
    check(3, 4, &[Reader::ByLock { entry: 0 }], 2, 3);
}

#[test]
fn a_lease_by_lock_that_moves_behind_the_scan_is_seen() {
    const BY_LOCK: [Reader; 2] = [Reader::ByLock { entry: 0 }, Reader::ByLock { entry: 1 }];
    check(4, 4, &BY_LOCK, 2, 2);
}

#[test]
fn leases_by_entry_and_by_lock_go_together() {
    check(4, 4, &[LEASES[0], Reader::ByLock { entry: 1 }], 2, 2);
}

/// Else there would be more leases than the sender has slots to spare.
#[test]
fn an_entry_has_one_owner() {
    static OWNERS: AtomicUsize = AtomicUsize::new(0);
    loom::model(|| {
        let shared = Shared::new(3);
        let owners = (0..3).map(|index| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let process = shared.process(index);
                if index == 2 {
                    process.take(ENTRY_LOCKS)
                } else {
                    own_by_lock(&shared.control, &process, 0)
                }
            })
        });
        let owners: Vec<_> = owners.collect();
        let owners = owners.into_iter().map(|owner| owner.join().unwrap());
        let owners = owners.filter(|&owns| owns).count();
        assert!(owners <= 1, "{owners} owners");
        OWNERS.fetch_add(owners, Plainly);
    });
    assert!(OWNERS.load(Plainly) > 0, "nobody ever owned it");
}

#[test]
fn the_lease_of_a_dead_receiver_counts_until_the_sender_takes_it_back() {
    const NEXT: Reader = Reader::ByLock { entry: 0 };
    check(3, 4, &[Reader::Dies { entry: 0 }, NEXT], 1, 2);
}

/// A receiver that found a frame long ago comes to its lock only now, while the writer looks for a
/// slot.
#[test]
fn a_lock_that_is_shared_behind_the_scan_is_seen() {
    static LEASED: AtomicUsize = AtomicUsize::new(0);
    loom::model(|| {
        let shared = Shared::new(4);
        let mut sending = Sending::new(4);
        let first = shared.process(0);
        assert!(first.share(LESSEES_LOCK), "nobody has it alone");
        shared.publish_beside_locks(&mut sending);
        let latest = || latest(&shared.control, 4).unwrap();
        assert!(lease_by_lock(&shared.control, &first, latest()).is_some());
        shared.publish_beside_locks(&mut sending);
        let found = latest();
        shared.publish_beside_locks(&mut sending);
        assert_ne!(found, latest());
        let writer = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.publish_beside_locks(&mut sending))
        };
        let reader = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let process = shared.process(1);
                if let Some(held) = lease_by_lock(&shared.control, &process, found) {
                    shared.read_in_place(&held, found);
                    release_lock(&process, held.slot());
                    LEASED.fetch_add(1, Plainly);
                }
            })
        };
        writer.join().unwrap();
        reader.join().unwrap();
    });
    assert!(LEASED.load(Plainly) > 0, "no frame was ever delivered");
}

#[test]
fn leases_by_entry_hold_whoever_shares_all_locks() {
    check(3, 3, &[LEASES[0], Reader::Greedy], 1, 3);
}

/// A receiver that means harm shares the locks of all slots: leases are lost, and noticed.
#[test]
fn a_lease_that_was_lost_is_noticed() {
    static TAKEN: AtomicUsize = AtomicUsize::new(0);
    static LOST: AtomicUsize = AtomicUsize::new(0);
    loom::model(|| {
        let shared = Shared::new(3);
        shared.share_all();
        let writer = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let mut writer = Writer::new(3, 0);
                for _ in 0..3 {
                    let sender = shared.process(62);
                    let writing =
                        writer.begin(&shared.control, |slot| sender.others(slot_lock(slot)));
                    let memory = &shared.slots[writing.slot()];
                    // Stands for `frame_valid` and the times.
                    memory.header.store(writer.frames() + 1, Ordering::Relaxed);
                    fence(Ordering::Release);
                    memory.pixels.store(writer.frames() + 1, Ordering::Relaxed);
                    writer.publish(&shared.control, writing);
                }
            })
        };
        let reader = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let process = shared.process(0);
                let Some(latest) = latest(&shared.control, 3) else {
                    return;
                };
                let Some(held) = lease_by_lock(&shared.control, &process, latest) else {
                    return;
                };
                let memory = &shared.slots[held.slot()];
                let pixels = memory.pixels.load(Ordering::Relaxed);
                let same = || memory.header.load(Ordering::Relaxed) == latest.frame;
                if still_held(&shared.control, latest, same) {
                    assert_eq!(pixels, latest.frame, "torn, and taken for whole");
                    TAKEN.fetch_add(1, Plainly);
                } else {
                    LOST.fetch_add(1, Plainly);
                }
                release_lock(&process, held.slot());
            })
        };
        writer.join().unwrap();
        reader.join().unwrap();
    });
    assert!(TAKEN.load(Plainly) > 0, "no frame was ever delivered");
    assert!(LOST.load(Plainly) > 0, "no lease was ever lost");
}

#[test]
fn a_slot_that_was_given_up_holds_no_frame() {
    static DELIVERED: AtomicUsize = AtomicUsize::new(0);
    loom::model(|| {
        let shared = Shared::new(3);
        let writer = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let mut writer = Writer::new(3, 0);
                shared.publish(&mut writer);
                shared.publish(&mut writer);
                // Where frame 1 was. Whoever looks for that still may have it in his lease for a
                // moment, and makes the next begin put a sequence back.
                let _given_up = shared.fill(&mut writer);
                shared.publish(&mut writer);
            })
        };
        let reader = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                if shared.lease(0, &mut Seen::default()).is_some() {
                    DELIVERED.fetch_add(1, Plainly);
                }
            })
        };
        writer.join().unwrap();
        reader.join().unwrap();
    });
    assert!(DELIVERED.load(Plainly) > 0, "no frame was ever delivered");
}

/// Whoever goes to sleep on a wake word is woken by what he did not see.
#[test]
fn no_news_is_slept_through() {
    // Each kind of news by itself: a later one would wake the reader for the earlier.
    for news in [OPEN, CLOSED] {
        sleep_beside(news);
    }
}

/// One reader about to sleep, and a writer of two frames that ends in that state.
fn sleep_beside(end: u32) {
    static SLEPT: AtomicUsize = AtomicUsize::new(0);
    SLEPT.store(0, Plainly);
    loom::model(move || {
        let shared = Shared::new(2);
        let writer = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let mut writer = Writer::new(2, 0);
                shared.publish(&mut writer);
                shared.publish(&mut writer);
                if end != OPEN {
                    writer.end(&shared.control, end);
                }
            })
        };
        let reader = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let wake = wake(&shared.control);
                let state = state(&shared.control);
                let latest = latest(&shared.control, 2);
                (wake, state, latest.map_or(0, |latest| latest.frame))
            })
        };
        writer.join().unwrap();
        let (slept_on, state, frame) = reader.join().unwrap();
        if slept_on == wake(&shared.control) {
            SLEPT.fetch_add(1, Plainly);
            assert_eq!((state, frame), (end, 2), "asleep for good");
        }
        if state != OPEN {
            assert_eq!(frame, 2, "the last frame is seen before the end");
        }
    });
    assert!(SLEPT.load(Plainly) > 0, "the reader never came last");
}

/// A frame is read after the segment was closed or left, as any other.
#[test]
fn the_last_frame_outlives_the_end() {
    static DELIVERED: AtomicUsize = AtomicUsize::new(0);
    loom::model(|| {
        let shared = Shared::new(3);
        let writer = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let mut writer = Writer::new(3, 0);
                shared.publish(&mut writer);
                shared.publish(&mut writer);
                writer.end(&shared.control, MOVED);
            })
        };
        let reader = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let ended = state(&shared.control) != OPEN;
                let taken = shared.lease(0, &mut Seen::default());
                if ended {
                    assert_eq!(taken, Some(2), "the last frame is seen after the end");
                    DELIVERED.fetch_add(1, Plainly);
                }
            })
        };
        writer.join().unwrap();
        reader.join().unwrap();
    });
    assert!(
        DELIVERED.load(Plainly) > 0,
        "the reader never came after the end"
    );
}
