//! Copying pixels, at the same speed whatever the alignment.
//!
//! The C library's memcpy fell from 40 GB/s to 3 where source and destination differ by 8 modulo 4096, and pixels at
//! offset 24 copied from or to a large `Vec`, which begins at 16, are exactly that. Loads and stores of 32 bytes, four
//! at a time, are level at every offset. And cache lines fetched before they are needed, which is a copy, too.

#![expect(unsafe_code, reason = "shared memory")]

/// So many bytes are cold at any rate: two frames and two slots push each other out of most processors' caches.
const COLD_FROM: usize = 4 << 20;

/// Copies `len` bytes. Another process may be changing them: then what arrives is torn, byte for byte.
///
/// # Safety
///
/// `src` is readable and `dst` writable for `len` bytes, and they do not overlap.
pub(crate) unsafe fn copy(dst: *mut u8, src: *const u8, len: usize) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2; the rest is this function's own contract.
        return unsafe { avx2(dst, src, len, false) };
    }
    // SAFETY: this function's own contract.
    unsafe { std::ptr::copy_nonoverlapping(src, dst, len) }
}

/// Copies `len` bytes into a slot. When it returns, a Release store publishes them.
///
/// A slot that is `cold`, or large, is written past the cache: a store would first fetch what it is about to overwrite. Measured
/// at 60 frames/s, that takes 60 us instead of 80 at 640x404x3, 490 instead of 700 at 1920x1080x3, and readers take no
/// longer; the same holds from 12 kB on and up to 4000 frames/s. Flat out a small slot is still in the cache, where writing it
/// takes 24 us, and past it 38.
///
/// # Safety
///
/// As for [`copy`].
pub(crate) unsafe fn copy_into_slot(dst: *mut u8, src: *const u8, len: usize, cold: bool) {
    #[cfg(target_arch = "x86_64")]
    if (cold || len >= COLD_FROM) && std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2; the rest is this function's own contract.
        return unsafe { avx2(dst, src, len, true) };
    }
    // SAFETY: this function's own contract.
    unsafe { copy(dst, src, len) }
}

/// Has the processor fetch a cache line, for itself alone if it is to be written. The line of another core takes as long
/// as all the instructions of a publication, and several at a time take no longer than one.
pub(crate) fn fetch(line: *const u8, write: bool) {
    #[cfg(target_arch = "x86_64")]
    if write {
        // By hand: the compiler makes a fetch for reading of it, unless it may rely on the instruction. Every 64-bit processor
        // takes it, as a hint or as nothing.
        // SAFETY: a hint touches no memory, whatever the address (Intel SDM 2B, PREFETCHW).
        unsafe {
            std::arch::asm!("prefetchw [{}]", in(reg) line, options(nostack, preserves_flags, readonly));
        }
    } else {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: as above (PREFETCHh).
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (line, write);
}

/// # Safety
///
/// As for [`copy`], on a processor with AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "one step of the loop: four loads and four stores"
)]
#[expect(
    clippy::cast_ptr_alignment,
    reason = "loadu and storeu take any address; stream's is aligned below"
)]
unsafe fn avx2(dst: *mut u8, src: *const u8, len: usize, past_the_cache: bool) {
    use std::arch::x86_64::{
        __m256i, _mm_sfence, _mm256_loadu_si256, _mm256_storeu_si256, _mm256_stream_si256,
    };
    const LINE: usize = 64;
    const STEP: usize = 128;

    // Up to the first line boundary of the destination, so that each store stays within a line.
    let head = dst.align_offset(LINE).min(len);
    // SAFETY: head <= len.
    unsafe { std::ptr::copy_nonoverlapping(src, dst, head) };
    let mut at = head;
    while len - at >= STEP {
        // SAFETY: at + STEP <= len; dst + at is a multiple of LINE, as stream wants of 32.
        unsafe {
            let from = src.add(at).cast::<__m256i>();
            let to = dst.add(at).cast::<__m256i>();
            let a = _mm256_loadu_si256(from);
            let b = _mm256_loadu_si256(from.add(1));
            let c = _mm256_loadu_si256(from.add(2));
            let d = _mm256_loadu_si256(from.add(3));
            if past_the_cache {
                _mm256_stream_si256(to, a);
                _mm256_stream_si256(to.add(1), b);
                _mm256_stream_si256(to.add(2), c);
                _mm256_stream_si256(to.add(3), d);
            } else {
                _mm256_storeu_si256(to, a);
                _mm256_storeu_si256(to.add(1), b);
                _mm256_storeu_si256(to.add(2), c);
                _mm256_storeu_si256(to.add(3), d);
            }
        }
        at += STEP;
    }
    if past_the_cache {
        // Neither a Release store nor fence(Release) orders stores past the cache on x86 (Intel SDM 3A, 9.2.2).
        _mm_sfence();
    }
    // SAFETY: at <= len.
    unsafe { std::ptr::copy_nonoverlapping(src.add(at), dst.add(at), len - at) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_arrives_at_every_alignment_and_none_beyond() {
        let source: Vec<u8> = (0..2000_u32)
            .map(|i| i.to_le_bytes()[0] ^ i.to_le_bytes()[1])
            .collect();
        for len in (0..70).chain([127, 128, 129, 255, 256, 1000, 1500]) {
            for offset in [0, 1, 8, 24, 31, 63] {
                for past_the_cache in [false, true] {
                    let mut target = vec![0xAA; 2200];
                    let src = source[offset..].as_ptr();
                    let dst = target[24..].as_mut_ptr();
                    #[cfg(target_arch = "x86_64")]
                    if std::arch::is_x86_feature_detected!("avx2") {
                        // SAFETY: 63 + 1500 <= 2000 and 24 + 1500 <= 2200.
                        unsafe { avx2(dst, src, len, past_the_cache) };
                        assert_eq!(target[24..24 + len], source[offset..offset + len]);
                        assert!(
                            target[..24]
                                .iter()
                                .chain(&target[24 + len..])
                                .all(|&byte| byte == 0xAA)
                        );
                    }
                    target.fill(0xAA);
                    let dst = target[24..].as_mut_ptr();
                    // SAFETY: as above.
                    unsafe { copy_into_slot(dst, src, len, past_the_cache) };
                    assert_eq!(target[24..24 + len], source[offset..offset + len]);
                }
            }
        }
    }
}
