//! Copying pixels, at the same speed whatever the alignment.
//!
//! The C library's memcpy fell from 40 GB/s to 3 where source and destination differ by 8 modulo
//! 4096, and pixels at offset 24 copied from or to a large `Vec`, which begins at 16, are exactly
//! that. Loads and stores of 32 bytes, four at a time, are level at every offset. And cache lines
//! fetched before they are needed, which is a copy, too.

#![expect(unsafe_code, reason = "shared memory")]

use super::way::Way;

/// Copies `len` bytes, of which another process may be writing either side: then bytes that are
/// torn arrive.
///
/// Such a race has no meaning in Rust between plain accesses. So where it matters the bytes are
/// moved by assembly, which the compiler does not look into, or by atomics.
///
/// # Safety
///
/// `src` is readable and `dst` writable for `len` bytes, and they do not overlap.
pub(crate) unsafe fn copy(dst: *mut u8, src: *const u8, len: usize) {
    // SAFETY: this function's own contract.
    unsafe { copy_by(Way::Cached, dst, src, len) }
}

/// The same by a way. When it returns, a Release store publishes the bytes.
///
/// # Safety
///
/// As for [`copy`].
pub(crate) unsafe fn copy_by(way: Way, dst: *mut u8, src: *const u8, len: usize) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2; the rest is this function's own contract.
        return unsafe { avx2(dst, src, len, way == Way::Past) };
    }
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    // SAFETY: this function's own contract.
    unsafe {
        by_lines(way, dst, src, len);
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        let _ = way;
        // SAFETY: this function's own contract.
        unsafe { bytes(dst, src, len) }
    }
}

/// Copies with what every processor of this kind has.
///
/// # Safety
///
/// As for [`copy`].
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
unsafe fn by_lines(way: Way, dst: *mut u8, src: *const u8, len: usize) {
    // Up to the first line boundary of the destination, and from the last one on.
    let head = dst.align_offset(LINE).min(len);
    let lines = (len - head) / LINE;
    let end = head + lines * LINE;
    // SAFETY: head <= len.
    unsafe { bytes(dst, src, head) };
    if lines > 0 {
        let (dst, src) = (dst.wrapping_add(head), src.wrapping_add(head));
        // SAFETY: lines * LINE bytes from `head` on are readable and writable, and dst + head
        // begins a line.
        unsafe { lines_by(way, dst, src, lines) };
    }
    // SAFETY: end <= len.
    unsafe { bytes(dst.wrapping_add(end), src.wrapping_add(end), len - end) };
}

/// Bytes of a cache line.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const LINE: usize = 64;

/// Copies cache lines with SSE2.
///
/// # Safety
///
/// As for [`copy`], for `lines` lines, at least one; `dst` is a multiple of [`LINE`].
#[cfg(target_arch = "x86_64")]
unsafe fn lines_by(way: Way, dst: *mut u8, src: *const u8, lines: usize) {
    if way == Way::Cached {
        // Where it is fast, "rep movsb" is as fast as anything, and it is old processors' best,
        // too. SAFETY: lines * LINE bytes, by this function's contract.
        return unsafe { bytes(dst, src, lines * LINE) };
    }
    // SAFETY: lines * LINE bytes are readable and writable; movntdq wants a multiple of 16. The
    // sfence: see `avx2`.
    unsafe {
        std::arch::asm!(
            "2:",
            "movdqu {a}, [{src}]",
            "movdqu {b}, [{src} + 16]",
            "movdqu {c}, [{src} + 32]",
            "movdqu {d}, [{src} + 48]",
            "movntdq [{dst}], {a}",
            "movntdq [{dst} + 16], {b}",
            "movntdq [{dst} + 32], {c}",
            "movntdq [{dst} + 48], {d}",
            "add {src}, 64",
            "add {dst}, 64",
            "dec {lines}",
            "jnz 2b",
            "sfence",
            src = inout(reg) src => _,
            dst = inout(reg) dst => _,
            lines = inout(reg) lines => _,
            a = out(xmm_reg) _,
            b = out(xmm_reg) _,
            c = out(xmm_reg) _,
            d = out(xmm_reg) _,
            options(nostack),
        );
    }
}

/// The same with NEON. The pairs "stnp" are stores like others, but for the hint that the lines are
/// not needed again: a Release store orders them (Arm ARM, B2.3 and C3.2.4).
///
/// # Safety
///
/// As for [`copy`], for `lines` lines, at least one.
#[cfg(target_arch = "aarch64")]
unsafe fn lines_by(way: Way, dst: *mut u8, src: *const u8, lines: usize) {
    macro_rules! copy {
        ($store:literal) => {
            // SAFETY: lines * LINE bytes are readable and writable, at any alignment.
            unsafe {
                std::arch::asm!(
                    "2:",
                    "ldp {a:q}, {b:q}, [{src}]",
                    "ldp {c:q}, {d:q}, [{src}, #32]",
                    concat!($store, " {a:q}, {b:q}, [{dst}]"),
                    concat!($store, " {c:q}, {d:q}, [{dst}, #32]"),
                    "add {src}, {src}, #64",
                    "add {dst}, {dst}, #64",
                    "subs {lines}, {lines}, #1",
                    "b.ne 2b",
                    src = inout(reg) src => _,
                    dst = inout(reg) dst => _,
                    lines = inout(reg) lines => _,
                    a = out(vreg) _,
                    b = out(vreg) _,
                    c = out(vreg) _,
                    d = out(vreg) _,
                    options(nostack),
                );
            }
        };
    }
    match way {
        Way::Cached => copy!("stp"),
        Way::Past => copy!("stnp"),
    }
}

/// Has the processor fetch a cache line, for itself alone if it is to be written. The line of
/// another core takes as long as all the instructions of a publication, and several at a time take
/// no longer than one.
pub(crate) fn fetch(line: *const u8, write: bool) {
    #[cfg(target_arch = "x86_64")]
    if write {
        // By hand: the compiler makes a fetch for reading of it, unless it may rely on the
        // instruction. Every 64-bit processor takes it, as a hint or as nothing. SAFETY: a hint
        // touches no memory, whatever the address (Intel SDM 2B, PREFETCHW).
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

/// Copies bytes without AVX2, in assembly or as relaxed atomics.
///
/// # Safety
///
/// As for [`copy`].
unsafe fn bytes(dst: *mut u8, src: *const u8, len: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: `len` readable bytes at `src`, `len` writable ones at `dst`; the direction flag is
    // clear on entry to any function (System V ABI, 3.2.1).
    unsafe {
        std::arch::asm!(
            "rep movsb",
            inout("rcx") len => _,
            inout("rdi") dst => _,
            inout("rsi") src => _,
            options(nostack, preserves_flags),
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

        const WORD: usize = size_of::<u64>();
        let mut at = 0;
        // Words where both sides are aligned: pixels begin at a multiple of 8, and so do large
        // allocations.
        if (src as usize | dst as usize).is_multiple_of(WORD) {
            while at + WORD <= len {
                // SAFETY: at + WORD <= len, and the address is aligned; every access to these bytes
                // is atomic here.
                let from = unsafe { &*src.add(at).cast::<AtomicU64>() };
                // SAFETY: as above.
                let to = unsafe { &*dst.add(at).cast::<AtomicU64>() };
                to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
                at += WORD;
            }
        }
        while at < len {
            // SAFETY: at < len.
            let from = unsafe { &*src.add(at).cast::<AtomicU8>() };
            // SAFETY: at < len.
            let to = unsafe { &*dst.add(at).cast::<AtomicU8>() };
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
            at += 1;
        }
    }
}

/// # Safety
///
/// As for [`copy`], on a processor with AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn avx2(dst: *mut u8, src: *const u8, len: usize, past_the_cache: bool) {
    use std::arch::asm;

    const LINE: usize = 64;
    const STEP: usize = 128;

    // Up to the first line boundary of the destination, so that each store stays within a line.
    let head = dst.align_offset(LINE).min(len);
    // SAFETY: head <= len.
    unsafe { less_than_a_step(dst, src, head) };
    let steps = (len - head) / STEP;
    let end = head + steps * STEP;
    if steps > 0 && past_the_cache {
        // SAFETY: steps * STEP bytes from `head` on are readable and writable; dst + head is a
        // multiple of LINE, as vmovntdq wants of 32. The sfence: neither a Release store nor
        // fence(Release) orders stores past the cache on x86 (Intel SDM 3A, 9.2.2).
        unsafe {
            asm!(
                "2:",
                "vmovdqu {a}, [{src}]",
                "vmovdqu {b}, [{src} + 32]",
                "vmovdqu {c}, [{src} + 64]",
                "vmovdqu {d}, [{src} + 96]",
                "vmovntdq [{dst}], {a}",
                "vmovntdq [{dst} + 32], {b}",
                "vmovntdq [{dst} + 64], {c}",
                "vmovntdq [{dst} + 96], {d}",
                "add {src}, 128",
                "add {dst}, 128",
                "dec {steps}",
                "jnz 2b",
                "sfence",
                src = inout(reg) src.wrapping_add(head) => _,
                dst = inout(reg) dst.wrapping_add(head) => _,
                steps = inout(reg) steps => _,
                a = out(ymm_reg) _,
                b = out(ymm_reg) _,
                c = out(ymm_reg) _,
                d = out(ymm_reg) _,
                options(nostack),
            );
        }
    } else if steps > 0 {
        // SAFETY: as above, but that vmovdqu takes any address.
        unsafe {
            asm!(
                "2:",
                "vmovdqu {a}, [{src}]",
                "vmovdqu {b}, [{src} + 32]",
                "vmovdqu {c}, [{src} + 64]",
                "vmovdqu {d}, [{src} + 96]",
                "vmovdqu [{dst}], {a}",
                "vmovdqu [{dst} + 32], {b}",
                "vmovdqu [{dst} + 64], {c}",
                "vmovdqu [{dst} + 96], {d}",
                "add {src}, 128",
                "add {dst}, 128",
                "dec {steps}",
                "jnz 2b",
                src = inout(reg) src.wrapping_add(head) => _,
                dst = inout(reg) dst.wrapping_add(head) => _,
                steps = inout(reg) steps => _,
                a = out(ymm_reg) _,
                b = out(ymm_reg) _,
                c = out(ymm_reg) _,
                d = out(ymm_reg) _,
                options(nostack),
            );
        }
    }
    // SAFETY: end <= len.
    unsafe { less_than_a_step(dst.wrapping_add(end), src.wrapping_add(end), len - end) };
    // The compiler, which does this after code of its own, does not know what the assembly left in
    // the registers: code with 16-byte vectors, which is most of what comes next, would be slower.
    std::arch::x86_64::_mm256_zeroupper();
}

/// Copies fewer than 128 bytes: 64, 32, 16, 8, 4, 2 and 1 of them, as the bits of `len` say.
///
/// # Safety
///
/// As for [`avx2`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn less_than_a_step(dst: *mut u8, src: *const u8, len: usize) {
    // SAFETY: `len` bytes are readable and writable, and the bits of `len` add up to it.
    unsafe {
        std::arch::asm!(
            "test {len:l}, 64",
            "jz 2f",
            "vmovdqu {a}, [{src}]",
            "vmovdqu {b}, [{src} + 32]",
            "vmovdqu [{dst}], {a}",
            "vmovdqu [{dst} + 32], {b}",
            "add {src}, 64",
            "add {dst}, 64",
            "2:",
            "test {len:l}, 32",
            "jz 3f",
            "vmovdqu {a}, [{src}]",
            "vmovdqu [{dst}], {a}",
            "add {src}, 32",
            "add {dst}, 32",
            "3:",
            "test {len:l}, 16",
            "jz 4f",
            "vmovdqu {a:x}, [{src}]",
            "vmovdqu [{dst}], {a:x}",
            "add {src}, 16",
            "add {dst}, 16",
            "4:",
            "test {len:l}, 8",
            "jz 5f",
            "mov {word}, [{src}]",
            "mov [{dst}], {word}",
            "add {src}, 8",
            "add {dst}, 8",
            "5:",
            "test {len:l}, 4",
            "jz 6f",
            "mov {word:e}, [{src}]",
            "mov [{dst}], {word:e}",
            "add {src}, 4",
            "add {dst}, 4",
            "6:",
            "test {len:l}, 2",
            "jz 7f",
            "mov {word:x}, [{src}]",
            "mov [{dst}], {word:x}",
            "add {src}, 2",
            "add {dst}, 2",
            "7:",
            "test {len:l}, 1",
            "jz 8f",
            "mov {word:l}, [{src}]",
            "mov [{dst}], {word:l}",
            "8:",
            src = inout(reg) src => _,
            dst = inout(reg) dst => _,
            len = in(reg) len,
            word = out(reg) _,
            a = out(ymm_reg) _,
            b = out(ymm_reg) _,
            options(nostack),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Copy = unsafe fn(Way, *mut u8, *const u8, usize);

    /// All that there is on this processor.
    fn copies() -> Vec<Copy> {
        let mut copies: Vec<Copy> = vec![copy_by];
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        copies.push(by_lines);
        copies
    }

    #[test]
    fn every_byte_arrives_at_every_alignment_and_none_beyond() {
        let source: Vec<u8> = (0..2000_u32)
            .map(|i| i.to_le_bytes()[0] ^ i.to_le_bytes()[1])
            .collect();
        for len in (0..70).chain([127, 128, 129, 255, 256, 1000, 1500]) {
            for offset in [0, 1, 8, 24, 31, 63] {
                for way in [Way::Cached, Way::Past] {
                    for copy in copies() {
                        let mut target = vec![0xAA; 2200];
                        let src = source[offset..].as_ptr();
                        let dst = target[24..].as_mut_ptr();
                        // SAFETY: 63 + 1500 <= 2000 and 24 + 1500 <= 2200.
                        unsafe { copy(way, dst, src, len) };
                        assert_eq!(target[24..24 + len], source[offset..offset + len]);
                        let mut beside = target[..24].iter().chain(&target[24 + len..]);
                        assert!(beside.all(|&byte| byte == 0xAA));
                    }
                }
            }
        }
    }
}
