//! The protocol under the loom model checker: every interleaving and every stale value that the memory model allows,
//! within a bound on preemptions.
//!
//! Both sides are spawned threads: on the model's main thread a reader's bugs survive. Every model also asserts that
//! frames *were* delivered in some execution. `scripts/plant-bugs` shows what it catches.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed as Plainly};

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use super::*;
use crate::protocol::layout::{CLOSED, MOVED, OPEN};
use crate::protocol::sync::AtomicU64;

/// A slot's memory.
struct Memory {
    /// Stands for the time stamps and the header. Anybody may read it at any time.
    header: AtomicU64,
    /// Stands for the pixels as a copy reads them: at any time.
    pixels: AtomicU64,
    /// Stands for the pixels as a lease reads them: loom fails on any write that is not ordered with a read.
    leased: UnsafeCell<u64>,
}

struct Shared {
    control: Box<ControlPage>,
    slots: Vec<Memory>,
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
        })
    }

    fn count(&self) -> usize {
        self.slots.len()
    }

    /// Publishes a frame as a sender does. Its content is its number.
    fn publish(&self, writer: &mut Writer) {
        let writing = self.fill(writer);
        writer.publish(&self.control, writing);
    }

    /// Begins a frame and writes it.
    fn fill(&self, writer: &mut Writer) -> Writing {
        let writing = writer.begin(&self.control); // plant: begin of the model
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
        writing
    }

    /// The latest frame, if it is newer than what was seen.
    fn newer(&self, seen: &Seen) -> Option<Latest> {
        let latest =
            latest(&self.control, self.count()).filter(|latest| latest.frame > seen.frame)?;
        // With one slot it is being rewritten. With more, who finds it gone finds a newer one at the next look.
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
        release(&self.control, entry);
        Some(latest.frame)
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
    Lease { entry: usize },
    Copy,
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
    static DELIVERED: AtomicUsize = AtomicUsize::new(0);
    // Models run one at a time: scripts/test passes --test-threads=1.
    DELIVERED.store(0, Plainly);
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(move || {
        let shared = Shared::new(slots);
        let writer = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let mut writer = Writer::new(slots, 0);
                for _ in 0..frames {
                    shared.publish(&mut writer);
                }
            })
        };
        let spawned = readers.iter().map(|&reader| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let mut seen = Seen::default();
                for _ in 0..tries {
                    let taken = match reader {
                        Reader::Lease { entry } => shared.lease(entry, &mut seen),
                        Reader::Copy => shared.copy(&mut seen),
                    };
                    if let Some(frame) = taken {
                        assert!(
                            frame > seen.frame && frame <= frames,
                            "{frame} after {}",
                            seen.frame
                        );
                        seen.frame = frame;
                        DELIVERED.fetch_add(1, Plainly);
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
        assert_eq!(entries(&shared.control, slots), 0, "a lease is left");
        for (words, memory) in shared.control.slot.iter().zip(&shared.slots) {
            assert_eq!(
                words.sequence.load(Ordering::Relaxed),
                2 * memory.header.load(Ordering::Relaxed),
                "a slot does not say what it holds"
            );
        }
    });
    assert!(DELIVERED.load(Plainly) > 0, "no frame was ever delivered");
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
                // Where frame 1 was. Whoever looks for that still may have it in his lease for a moment, and makes the next
                // begin put a sequence back.
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
