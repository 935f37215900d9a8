//! Whole segments that lie: a sender and a receiver go on in one in which anything is changed between their steps.
//!
//! What must hold: nothing panics or hangs, no allocation is larger than the file, and whatever is taken for pixels is
//! what stands in the file where pixels of some slot begin.

#![no_main]

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use nix::fcntl::{FallocateFlags, fallocate};
use shm_frame::{
    Element, Error, Extras, Format, Frame, Name, Order, OwnedLease, Receiver, Sender,
    SenderOptions, Shape, Size,
};

const PAGE: u64 = 4096;
/// Beyond what a file may be: names, messages, the fuzzer's own.
const SLACK: usize = 64 << 10;
/// The largest file that a case makes.
const LARGEST: u64 = 1 << 20;

/// The largest frame that a case publishes.
const LARGEST_FRAME: u64 = 255 * 255 * 4 * 8;

/// The largest allocation that is allowed now.
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);

struct Bounded;

// SAFETY: passes everything on to the system's allocator, or ends the process.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() > LIMIT.load(Ordering::Relaxed) {
            std::process::abort();
        }
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Bounded = Bounded;

/// What a lie is about, by README.md's offsets.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum At {
    Width(u8),
    Height(u8),
    Channels(u8),
    Valid(u8),
    Magic,
    Version,
    Session,
    Slots,
    Stride,
    Capacity,
    Latest,
    Wake,
    State,
    Sequence(u8),
    Times(u8),
    Captured(u8),
    MetaLen(u8),
    Lease(u8),
    Anywhere(u32),
}

/// What is put there.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Value {
    /// Close to what stands there.
    Near(i8),
    Half,
    Double,
    Small(u8),
    Any(u64),
}

#[derive(Arbitrary, Debug)]
enum Step {
    Lie(At, Value),
    /// Lies that agree: a slot holds a frame, and that is the latest.
    Pretend {
        frame: u8,
        slot: u8,
    },
    Truncate(u32),
    /// Takes pages out of the file, and leaves its length.
    Punch(u8, u8),
    Overwrite(Vec<u8>),
    Remove,
    Publish {
        height: u8,
        width: u8,
        format: u8,
        captured_ns: u64,
        meta: u16,
    },
    Tend,
    Wait,
    Lease,
    /// Takes a lease that is kept.
    Keep,
    /// Ends the oldest one.
    Release,
    Copy,
    CopyToSlice(u16),
    Reopen,
    OpenAnother,
}

#[derive(Arbitrary, Debug)]
struct Case {
    slots: u8,
    capacity: u16,
    first: [u8; 3],
    /// A file without a control page, and nobody who looks after it.
    plain: Option<(Vec<u8>, u16)>,
    steps: Vec<Step>,
}

struct Run {
    name: Name,
    /// As many as the segment had at first, and not 0.
    slots: u8,
    sender: Option<Sender>,
    receiver: Option<Receiver>,
    pixels: Vec<u8>,
    meta: Vec<u8>,
    kept: Vec<OwnedLease>,
}

/// One of the 48 formats.
fn format(number: u8) -> Format {
    let element = Element::ALL[usize::from(number % 8)];
    let channels = shm_frame::Channels::ALL[usize::from(number / 8 % 4)];
    let order = if number < 128 { Order::Bgr } else { Order::Rgb };
    Format::new(element, channels).ordered(order)
}

impl Run {
    fn file(&self) -> Option<File> {
        let path = self.name.path();
        File::options().read(true).write(true).open(path).ok()
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Lie(at, value) => self.lie(at, value),
            Step::Pretend { frame, slot } => {
                let latest = u64::from(frame) << 8 | u64::from(slot % 20);
                self.lie(At::Sequence(slot % 20), Value::Any(2 * u64::from(frame)));
                self.lie(At::Latest, Value::Any(latest));
            }
            Step::Truncate(len) => {
                if let Some(file) = self.file() {
                    let _ = file.set_len(u64::from(len) % LARGEST);
                }
            }
            Step::Punch(first, pages) => {
                if let Some(file) = self.file() {
                    let mode =
                        FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
                    let (at, len) = (i64::from(first) * 4096, i64::from(pages) * 4096);
                    let _ = fallocate(&file, mode, at, len);
                }
            }
            Step::Overwrite(bytes) => {
                if let Some(file) = self.file() {
                    let _ = file.write_all_at(&bytes, 0);
                }
            }
            Step::Remove => {
                let _ = fs::remove_file(self.name.path());
            }
            Step::Publish {
                height,
                width,
                format: number,
                captured_ns,
                meta,
            } => {
                let size = Size {
                    width: width.into(),
                    height: height.into(),
                };
                let shape = Shape::new(size, format(number));
                let meta = vec![height; usize::from(meta % 5000)];
                if let (Some(sender), Ok(shape)) = (&mut self.sender, shape) {
                    let extras = Extras::new().captured_ns(captured_ns).meta(&meta);
                    let _ = sender.publish_with(shape, &vec![height; shape.bytes()], extras);
                }
            }
            Step::Tend => {
                if let Some(sender) = &mut self.sender {
                    let _ = sender.tend();
                }
            }
            Step::Wait => {
                if let Some(receiver) = &mut self.receiver {
                    let _ = receiver.wait(Duration::ZERO);
                }
            }
            Step::Lease => self.lease(),
            Step::Keep => self.keep(),
            Step::Release => {
                if !self.kept.is_empty() {
                    check_kept(&self.kept.remove(0));
                }
            }
            Step::Copy => self.copy(),
            Step::CopyToSlice(len) => self.copy_to_slice(len.into()),
            Step::Reopen => {
                if let Some(receiver) = &mut self.receiver {
                    let _ = receiver.reopen();
                }
            }
            Step::OpenAnother => self.receiver = Receiver::open(&self.name).ok(),
        }
    }

    fn lie(&self, at: At, value: Value) {
        let Some(file) = self.file() else { return };
        let len = file.metadata().map_or(0, |file| file.size());
        let page = len.saturating_sub(PAGE);
        let slot = |i: u8| u64::from(i % 20);
        let slots = u64::from(self.slots);
        let header = |i: u8| u64::from(i) % slots * (page / slots / PAGE * PAGE);
        let (at, bytes) = match at {
            At::Width(i) => (header(i), 4),
            At::Height(i) => (header(i) + 4, 4),
            At::Channels(i) => (header(i) + 8, 4),
            At::Valid(i) => (header(i) + 20, 4),
            At::Magic => (page, 8),
            At::Version => (page + 8, 4),
            At::Session => (page + 16, 8),
            At::Slots => (page + 24, 4),
            At::Stride => (page + 32, 8),
            At::Capacity => (page + 40, 8),
            At::Latest => (page + 64, 8),
            At::Wake => (page + 72, 4),
            At::State => (page + 76, 4),
            At::Sequence(i) => (page + 128 + 64 * slot(i), 8),
            At::Times(i) => (page + 136 + 64 * slot(i), 8),
            At::Captured(i) => (page + 152 + 64 * slot(i), 8),
            At::MetaLen(i) => (page + 160 + 64 * slot(i), 4),
            At::Lease(i) => (page + 1152 + 64 * slot(i), 4),
            At::Anywhere(at) => (u64::from(at) % (len + 1), 8),
        };
        let mut now = [0; 8];
        // What would make the file longer is another step.
        if file.read_exact_at(&mut now[..bytes], at).is_err() {
            return;
        }
        let now = u64::from_le_bytes(now);
        let lie = match value {
            Value::Near(by) => now.wrapping_add_signed(by.into()),
            Value::Half => now / 2,
            Value::Double => now.wrapping_mul(2),
            Value::Small(value) => value.into(),
            Value::Any(value) => value,
        };
        let _ = file.write_all_at(&lie.to_le_bytes()[..bytes], at);
    }

    fn lease(&mut self) {
        let file = self.file();
        let Some(receiver) = &mut self.receiver else {
            return;
        };
        if let Ok(Some(lease)) = receiver.lease() {
            // Every byte is read.
            let (pixels, meta) = (lease.pixels().to_vec(), lease.meta().to_vec());
            let frame = lease.frame();
            assert!(format!("{lease:?}").len() < 2000);
            assert_eq!(lease.elements::<f64>().is_some(), is_f64(&frame));
            if lease.is_intact() {
                assert_is_in(file, &frame, &pixels, &meta);
            }
        }
    }

    fn keep(&mut self) {
        let Some(receiver) = &mut self.receiver else {
            return;
        };
        if let Ok(Some(lease)) = receiver.lease_owned() {
            check_kept(&lease);
            self.kept.push(lease);
        }
        if self.kept.len() > 20 {
            // More than there are entries: of receivers that came and went.
            self.kept.remove(3);
        }
    }

    fn copy(&mut self) {
        let file = self.file();
        let Some(receiver) = &mut self.receiver else {
            return;
        };
        match receiver.copy_with_meta(&mut self.pixels, &mut self.meta) {
            Ok(Some(frame)) => assert_is_in(file, &frame, &self.pixels, &self.meta),
            Ok(None) | Err(_) => assert!(self.pixels.is_empty() && self.meta.is_empty()),
        }
    }

    fn copy_to_slice(&mut self, len: usize) {
        let file = self.file();
        let Some(receiver) = &mut self.receiver else {
            return;
        };
        let mut slice = vec![0; len];
        let taken = match receiver.copy_to_slice(&mut slice) {
            Err(Error::Length { shape, got }) => {
                assert!(got == len && shape.bytes() != len);
                // No larger than the file, which the receiver has judged.
                slice = vec![0; shape.bytes()];
                receiver.copy_to_slice(&mut slice)
            }
            taken => taken,
        };
        match taken {
            Ok(Some(frame)) => assert_is_in(file, &frame, &slice, &[]),
            Ok(None) | Err(_) => assert!(slice.iter().all(|&byte| byte == 0)),
        }
    }
}

fn is_f64(frame: &Frame) -> bool {
    frame.shape.format().element() == Element::F64
}

/// Reads every byte of a lease that may be older than its segment.
fn check_kept(lease: &OwnedLease) {
    let frame = lease.frame();
    assert_eq!(lease.pixels().len(), frame.shape.bytes());
    let sum = |bytes: &[u8]| bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>();
    std::hint::black_box(sum(lease.pixels()) + sum(lease.meta()));
    assert_eq!(lease.elements::<f64>().is_some(), is_f64(&frame));
}

/// Pixels begin 24 bytes after a page does, and what the sender added at the next multiple of 8 after them.
fn assert_is_in(file: Option<File>, frame: &Frame, pixels: &[u8], meta: &[u8]) {
    assert_eq!(pixels.len(), frame.shape.bytes());
    // Without a name, or with another file's, the receiver has what was there before.
    let Some(file) = file else { return };
    let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    let stands_there = (0..bytes.len()).step_by(PAGE as usize).any(|page| {
        let slot = &bytes[page..];
        let after = (24 + pixels.len()).next_multiple_of(8);
        slot.get(24..24 + pixels.len()) == Some(pixels)
            && (meta.is_empty() || slot.get(after..after + meta.len()) == Some(meta))
    });
    let elsewhere = OTHER_FILE.load(Ordering::Relaxed) != 0;
    assert!(
        stands_there || elsewhere,
        "{} bytes that are nowhere",
        pixels.len()
    );
}

/// Set once a receiver may look at another file than the name means.
static OTHER_FILE: AtomicUsize = AtomicUsize::new(0);

fn run(case: Case) {
    let path = PathBuf::from(format!("/dev/shm/shm-frame-fuzz-{}", std::process::id()));
    let name = Name::new(path.file_name().unwrap().to_str().unwrap()).unwrap();
    let slots = case.slots % 16 + 1;
    let sender = if let Some((mut bytes, rest)) = case.plain {
        // What follows is memory or, every other time, a hole.
        let len = bytes.len() + usize::from(rest);
        if rest % 2 == 0 {
            bytes.resize(len, 0);
        }
        fs::write(&path, bytes).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(len as u64).unwrap();
        None
    } else {
        let options = SenderOptions::new()
            .slots(slots.into())
            .capacity(case.capacity.into())
            .replace(true);
        Sender::create(&name, &options).ok()
    };
    let receiver = Receiver::open(&name).ok();
    let mut run = Run {
        name,
        slots,
        sender,
        receiver,
        pixels: Vec::new(),
        meta: Vec::new(),
        kept: Vec::new(),
    };
    let [height, width, format] = case.first;
    run.step(Step::Publish {
        height,
        width,
        format,
        captured_ns: 1,
        meta: 100,
    });
    OTHER_FILE.store(0, Ordering::Relaxed);
    let before = fs::metadata(&path).map(|file| file.ino()).ok();
    for step in case.steps.into_iter().take(64) {
        // A frame that was larger than the file is now may still be copied from before.
        let len = fs::metadata(&path)
            .map_or(0, |file| file.len())
            .max(LARGEST_FRAME);
        // What this target makes up itself is not what is asked about.
        let own = matches!(step, Step::Publish { .. } | Step::Overwrite(_));
        let limit = if own {
            usize::MAX
        } else {
            usize::try_from(len).unwrap() + SLACK
        };
        LIMIT.store(limit, Ordering::Relaxed);
        run.step(step);
        LIMIT.store(usize::MAX, Ordering::Relaxed);
        if fs::metadata(&path).map(|file| file.ino()).ok() != before {
            OTHER_FILE.store(1, Ordering::Relaxed);
        }
    }
    drop(run);
    let _ = fs::remove_file(&path);
}

fuzz_target!(|case: Case| run(case));
