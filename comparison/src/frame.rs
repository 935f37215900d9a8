//! What the frames of the benchmark look like, so that a receiver can tell whose they are, how old,
//! and whether whole.
//!
//! A frame is words of 8 bytes, little-endian: its number, from 1; the monotonic clock in ns before
//! the copy began; the sum of all words that follow; and then noise, in which every so often a word
//! is the number again. Numbers that differ tell a torn frame at the price of a few cache lines;
//! the sum tells it for every byte.

use nix::time::{ClockId, clock_gettime};

/// Words that carry the number, the first and the last of the frame among them.
const MARKS: usize = 16;
const STAMP_AT: usize = 1;
const SUM_AT: usize = 2;
const NOISE_AT: usize = 3;

/// `CLOCK_MONOTONIC` in ns, the same in all processes.
pub fn now() -> u64 {
    clock(ClockId::CLOCK_MONOTONIC)
}

/// What a clock says, in ns.
pub fn clock(id: ClockId) -> u64 {
    let time = clock_gettime(id).expect("Linux has this clock");
    time.tv_sec().cast_unsigned() * 1_000_000_000 + time.tv_nsec().cast_unsigned()
}

/// Where the numbers stand in a frame of `len` bytes.
pub fn marks(len: usize) -> Vec<usize> {
    let words = len / 8;
    let mut marks = vec![0];
    marks.extend((1..MARKS).map(|i| NOISE_AT + i * (words - 1 - NOISE_AT) / (MARKS - 1)));
    marks.dedup();
    marks
}

fn word(frame: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(frame.as_chunks().0[at])
}

fn set_word(frame: &mut [u8], at: usize, word: u64) {
    frame.as_chunks_mut().0[at] = word.to_le_bytes();
}

pub fn number(frame: &[u8]) -> u64 {
    word(frame, 0)
}

/// When its sender began with it.
pub fn stamp(frame: &[u8]) -> u64 {
    word(frame, STAMP_AT)
}

/// Whether all numbers in it are the same.
pub fn is_whole(frame: &[u8], marks: &[usize]) -> bool {
    marks.iter().all(|&mark| word(frame, mark) == number(frame))
}

/// Whether every byte is what it should be: reads them all.
pub fn sum_is_right(frame: &[u8]) -> bool {
    word(frame, SUM_AT) == sum(frame)
}

fn sum(frame: &[u8]) -> u64 {
    let words = frame.as_chunks().0[NOISE_AT..].iter();
    words.fold(0, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)))
}

/// Changes the first 64 bytes of a frame that is sent in place.
pub fn change(frame: &mut [u8], number: u64) {
    for word in &mut frame.as_chunks_mut().0[..8] {
        *word = number.to_le_bytes();
    }
}

/// Stamps a frame that is sent in place, and returns the stamp.
pub fn stamp_now(frame: &mut [u8]) -> u64 {
    let stamp = now();
    set_word(frame, STAMP_AT, stamp);
    stamp
}

/// Two frames that take turns, as a camera's buffers do.
pub struct Source {
    buffers: [Buffer; 2],
    len: usize,
    marks: Vec<usize>,
    frames: u64,
}

struct Buffer {
    memory: Vec<u8>,
    start: usize,
    /// The sum without the numbers.
    noise: u64,
}

impl Source {
    /// Frames of `len` bytes, at addresses that are `at` modulo 4096, or wherever the allocator
    /// puts them.
    pub fn new(len: usize, at: Option<usize>) -> Self {
        let marks = marks(len);
        let buffers = [1_u64, 3].map(|seed| {
            let slack = if at.is_some() { 4096 } else { 0 };
            let mut memory = vec![1; len + slack];
            let start = at.map_or(0, |at| (4096 + at - memory.as_ptr().addr() % 4096) % 4096);
            let frame = &mut memory[start..start + len];
            let mut noise = seed;
            for word in frame.as_chunks_mut().0 {
                noise = noise
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(seed);
                *word = noise.to_le_bytes();
            }
            for &mark in &marks {
                set_word(frame, mark, 0);
            }
            let noise = sum(frame);
            Buffer {
                memory,
                start,
                noise,
            }
        });
        Self {
            buffers,
            len,
            marks,
            frames: 0,
        }
    }

    /// The next frame, stamped just now.
    pub fn next(&mut self) -> &[u8] {
        self.frames += 1;
        let buffer = &mut self.buffers[usize::from(self.frames.is_multiple_of(2))];
        let frame = &mut buffer.memory[buffer.start..buffer.start + self.len];
        for &mark in &self.marks {
            set_word(frame, mark, self.frames);
        }
        let numbers = self.frames.wrapping_mul(self.marks.len() as u64 - 1);
        set_word(frame, SUM_AT, buffer.noise.wrapping_add(numbers));
        set_word(frame, STAMP_AT, now());
        frame
    }
}
