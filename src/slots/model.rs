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
use crate::layout::{CLOSED, MOVED, OPEN};
use crate::sync::AtomicU64;

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
        let writing = writer.begin(&self.control);
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
        writer.publish(&self.control, writing);
    }

    /// Takes the latest frame by lease, reads it twice, and gives it back.
    fn lease(&self, entry: usize, seen: u64) -> Option<u64> {
        let latest = latest(&self.control, self.count()).filter(|latest| latest.frame > seen)?;
        let held = lease(&self.control, entry, latest)?;
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
    fn copy(&self, seen: u64) -> Option<u64> {
        let latest = latest(&self.control, self.count()).filter(|latest| latest.frame > seen)?;
        if !begin_copy(&self.control, latest) {
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
                let mut seen = 0;
                for _ in 0..tries {
                    let taken = match reader {
                        Reader::Lease { entry } => shared.lease(entry, seen),
                        Reader::Copy => shared.copy(seen),
                    };
                    if let Some(frame) = taken {
                        assert!(frame > seen && frame <= frames, "{frame} after {seen}");
                        seen = frame;
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
    });
    assert!(DELIVERED.load(Plainly) > 0, "no frame was ever delivered");
}

const LEASE: Reader = Reader::Lease { entry: 0 };

#[test]
fn a_leased_frame_is_not_written() {
    check(3, 3, &[LEASE], 2, 4);
}

#[test]
fn a_lease_that_moves_behind_the_scan_is_seen() {
    check(4, 4, &[LEASE, Reader::Lease { entry: 1 }], 2, 2);
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
    check(3, 3, &[LEASE, Reader::Copy], 1, 3);
}

/// Whoever goes to sleep on a wake word is woken by what he did not see.
#[test]
fn no_news_is_slept_through() {
    static SLEPT: AtomicUsize = AtomicUsize::new(0);
    loom::model(|| {
        let shared = Shared::new(2);
        let writer = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let mut writer = Writer::new(2, 0);
                shared.publish(&mut writer);
                shared.publish(&mut writer);
                writer.end(&shared.control, CLOSED);
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
            assert_eq!((state, frame), (CLOSED, 2), "asleep for good");
        }
        if state == CLOSED {
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
                let taken = shared.lease(0, 0);
                if ended {
                    assert_eq!(taken, Some(2));
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
