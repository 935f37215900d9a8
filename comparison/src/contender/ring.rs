//! The floor: slots in a row and one word that counts frames. No safety at all: nobody knows when a
//! slot is being read.

use std::fs::{File, OpenOptions};
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use rustix::io::Errno;
use rustix::thread::futex;

use super::{ALL, COPIED_IN, Contender, Ends, Group, Part};
use crate::Result;
use crate::spec::{Spec, Wait};

pub const CONTENDERS: [Contender; 3] = [
    ring("bare ring", ALL, |spec, channel| {
        sender(spec, channel, copy_cached)
    }),
    ring("bare ring, non-temporal", COPIED_IN, |spec, channel| {
        if !std::arch::is_x86_feature_detected!("avx2") {
            return Err("this processor has no AVX2".into());
        }
        // SAFETY: the processor has AVX2.
        sender(spec, channel, |to, from| unsafe {
            copy_past_the_cache(to, from);
        })
    }),
    Contender {
        name: "cache line",
        group: Group::Floor,
        parts: &[],
        ends: Ends::Functions {
            sender: |spec, channel| Ok(Box::new(Line(Memory::create(spec, channel)?, 0))),
            receiver: |spec, channel| Ok(Box::new(Line(Memory::open(spec, channel)?, 0))),
        },
    },
];

const PAGE: usize = 4096;

const fn ring(
    name: &'static str,
    parts: &'static [Part],
    sender: fn(&Spec, &str) -> Result<Box<dyn super::Sender>>,
) -> Contender {
    Contender {
        name,
        group: Group::Floor,
        parts,
        ends: Ends::Functions { sender, receiver },
    }
}

/// A page with the word, then the slots.
struct Memory {
    base: NonNull<libc::c_void>,
    len: NonZeroUsize,
    slots: usize,
    frame: usize,
}

impl Memory {
    fn create(spec: &Spec, channel: &str) -> Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path(channel))?;
        file.set_len((stride(spec.shape.bytes()) * spec.slots + PAGE) as u64)?;
        Self::map(&file, spec)
    }

    fn open(spec: &Spec, channel: &str) -> Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path(channel))?;
        if file.metadata()?.len() == 0 {
            return Err("it is being made".into());
        }
        Self::map(&file, spec)
    }

    fn map(file: &File, spec: &Spec) -> Result<Self> {
        let frame = spec.shape.bytes();
        let len = NonZeroUsize::MIN.saturating_add(stride(frame) * spec.slots + PAGE - 1);
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_POPULATE;
        // SAFETY: a new mapping of a file that nobody truncates.
        let base = unsafe { mmap(None, len, protection, flags, file, 0) }?;
        Ok(Self {
            base,
            len,
            slots: spec.slots,
            frame,
        })
    }

    /// How many frames there were. The flag, and the futex.
    fn count(&self) -> &AtomicU32 {
        // SAFETY: the mapping begins with a page that has nothing but this word.
        unsafe { self.base.cast::<AtomicU32>().as_ref() }
    }

    fn slot(&self, count: u32) -> *mut u8 {
        let at = PAGE + stride(self.frame) * (count as usize % self.slots);
        // SAFETY: within the mapping, which has room for so many slots.
        unsafe { self.base.cast::<u8>().as_ptr().add(at) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: mapped by `map`; slices of it were lent for the length of a call only.
        let _ = unsafe { munmap(self.base, self.len.get()) };
    }
}

fn stride(frame: usize) -> usize {
    frame.next_multiple_of(PAGE)
}

fn path(channel: &str) -> String {
    format!("/dev/shm{channel}")
}

type Copy = fn(&mut [u8], &[u8]);

fn sender(spec: &Spec, channel: &str, copy: Copy) -> Result<Box<dyn super::Sender>> {
    let memory = Memory::create(spec, channel)?;
    Ok(Box::new(Sending {
        memory,
        copy,
        count: 0,
        wait: spec.wait,
    }))
}

struct Sending {
    memory: Memory,
    copy: Copy,
    count: u32,
    wait: Wait,
}

impl super::Sender for Sending {
    fn send(&mut self, frame: &[u8]) -> Result<()> {
        let copy = self.copy;
        self.send_in_place(&mut |slot| copy(slot, frame))
    }

    fn send_in_place(&mut self, fill: &mut dyn FnMut(&mut [u8])) -> Result<()> {
        self.count += 1;
        let slot = self.memory.slot(self.count);
        // SAFETY: a slot has room for a frame. That receivers read it meanwhile is what "no safety"
        // means: they look for it in what they read.
        fill(unsafe { std::slice::from_raw_parts_mut(slot, self.memory.frame) });
        self.memory.count().store(self.count, Ordering::Release);
        if self.wait == Wait::Asleep {
            futex::wake(
                self.memory.count(),
                futex::Flags::empty(),
                i32::MAX.unsigned_abs(),
            )?;
        }
        Ok(())
    }
}

fn receiver(spec: &Spec, channel: &str) -> Result<Box<dyn super::Receiver>> {
    Ok(Box::new(Receiving {
        memory: Memory::open(spec, channel)?,
        seen: 0,
    }))
}

struct Receiving {
    memory: Memory,
    seen: u32,
}

impl super::Receiver for Receiving {
    fn try_receive(&mut self, see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let count = self.memory.count().load(Ordering::Acquire);
        if count == self.seen {
            return Ok(false);
        }
        self.seen = count;
        // SAFETY: a slot has room for a frame; as in `send_in_place`, it may be torn.
        see(unsafe { std::slice::from_raw_parts(self.memory.slot(count), self.memory.frame) });
        Ok(true)
    }

    fn sleep(&mut self, timeout: Duration) -> Result<()> {
        let timeout = futex::Timespec::try_from(timeout)?;
        match futex::wait(
            self.memory.count(),
            futex::Flags::empty(),
            self.seen,
            Some(&timeout),
        ) {
            Ok(()) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Another floor: no frame, the word alone.
struct Line(Memory, u32);

impl super::Sender for Line {
    fn send(&mut self, _: &[u8]) -> Result<()> {
        self.1 += 1;
        self.0.count().store(self.1, Ordering::Release);
        Ok(())
    }

    fn send_in_place(&mut self, _: &mut dyn FnMut(&mut [u8])) -> Result<()> {
        self.send(&[])
    }
}

impl super::Receiver for Line {
    fn try_receive(&mut self, see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let count = self.0.count().load(Ordering::Acquire);
        if count == self.1 {
            return Ok(false);
        }
        self.1 = count;
        see(&u64::from(count).to_le_bytes());
        Ok(true)
    }

    fn sleep(&mut self, _: Duration) -> Result<()> {
        Err("the word wakes nobody".into())
    }
}

/// The C library's memcpy.
fn copy_cached(to: &mut [u8], from: &[u8]) {
    to.copy_from_slice(from);
}

/// 32 bytes at a time, past the cache.
#[target_feature(enable = "avx2")]
fn copy_past_the_cache(to: &mut [u8], from: &[u8]) {
    use std::arch::x86_64::{_mm_sfence, _mm256_loadu_si256, _mm256_stream_si256};

    let (to, to_rest) = to.as_chunks_mut::<32>();
    let (from, from_rest) = from.as_chunks::<32>();
    for (to, from) in to.iter_mut().zip(from) {
        // SAFETY: 32 bytes may be read there.
        let bytes = unsafe { _mm256_loadu_si256(from.as_ptr().cast()) };
        // SAFETY: 32 bytes may be written there, and a slot begins on a page.
        unsafe { _mm256_stream_si256(to.as_mut_ptr().cast(), bytes) };
    }
    to_rest.copy_from_slice(from_rest);
    // No Release store orders stores past the cache.
    _mm_sfence();
}
