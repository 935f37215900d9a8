//! No SIGBUS when another process truncates a segment.
//!
//! A page of a mapping that lies beyond the end of its file cannot be touched: the kernel sends
//! SIGBUS (mmap(2)). A `/dev/shm` file cannot be sealed against that. So every mapping stands in a
//! table, and a handler looks the address up there, maps zero pages from it to the mapping's end,
//! and sets a flag that is asked before anything read from the mapping counts. Faults elsewhere go
//! to the handler that was there before.
//!
//! Two things take this protection away, and no library can prevent them: a thread that blocks
//! SIGBUS dies of a fault (sigprocmask(2)), and a later `sigaction` for SIGBUS that does not call
//! the handler before it replaces this one.

#![expect(unsafe_code, reason = "shared memory")]

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

use nix::libc;

use crate::protocol::layout::PAGE;

/// Mappings at one time in one process; a sender or a receiver has two.
pub(crate) const MAX_MAPPINGS: usize = 1024;

/// A mapping in one word, so that the handler never sees the base of one and the length of another:
/// page number of the base, then the count of pages, then whether it may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    base_page: u64,
    pages: u64,
    writable: bool,
}

/// Bits of a count of pages: 256 GiB.
const COUNT_BITS: u32 = 26;
/// Bits of a page number. User space ends at 2^47 on x86-64 and at 2^48 on ARM64, unless a program
/// asks for more.
const BASE_BITS: u32 = 63 - COUNT_BITS;

impl Range {
    /// `None`: it does not fit in a word, or begins on no page.
    fn new(base: usize, len: usize, writable: bool) -> Option<Self> {
        let range = Self {
            base_page: (base / PAGE) as u64,
            pages: len.div_ceil(PAGE) as u64,
            writable,
        };
        let fits = base.is_multiple_of(PAGE)
            && range.base_page != 0
            && range.base_page >> BASE_BITS == 0
            && range.pages >> COUNT_BITS == 0;
        fits.then_some(range)
    }

    fn pack(self) -> u64 {
        self.base_page << (COUNT_BITS + 1) | self.pages << 1 | u64::from(self.writable)
    }

    fn unpack(word: u64) -> Self {
        Self {
            base_page: word >> (COUNT_BITS + 1),
            pages: word >> 1 & ((1 << COUNT_BITS) - 1),
            writable: word & 1 != 0,
        }
    }

    /// Pages from `page` to the range's end; 0 if it is not in the range.
    fn pages_from(self, page: u64) -> u64 {
        let before = page.wrapping_sub(self.base_page);
        self.pages.saturating_sub(before)
    }
}

/// `si_code` of SIGBUS, which the crate libc lacks: no physical address behind the page, and a
/// machine check (asm-generic/siginfo.h).
const BUS_ADRERR: c_int = 2;
const BUS_MCEERR_AR: c_int = 4;

struct Entry {
    /// 0: free. 1: being filled in. Else a packed [`Range`].
    range: AtomicU64,
    hit: AtomicBool,
}

const FREE: u64 = 0;
/// No range: its base page is 0.
const CLAIMED: u64 = 1;

static TABLE: [Entry; MAX_MAPPINGS] = [const {
    Entry {
        range: AtomicU64::new(FREE),
        hit: AtomicBool::new(false),
    }
}; MAX_MAPPINGS];

/// The handler of SIGBUS before this one. Set once, never freed.
static BEFORE: AtomicPtr<libc::sigaction> = AtomicPtr::new(ptr::null_mut());

/// A mapping's place in the table, until dropped.
#[derive(Debug)]
pub(crate) struct Guard(usize);

impl Guard {
    /// Guards `len` bytes at `base`. `None`: the table is full, or has no word for such a mapping.
    ///
    /// # Safety
    ///
    /// The bytes are a shared mapping of the caller's, which outlives the guard, and whose contents
    /// may be replaced by zeros at any time. `writable` says whether it is mapped for writing.
    pub(crate) unsafe fn new(base: usize, len: usize, writable: bool) -> Option<Self> {
        install();
        let range = Range::new(base, len, writable)?;
        let index = TABLE.iter().position(|entry| {
            // Acquire: pairs with the Release in drop, so the last owner is done with the entry.
            entry
                .range
                .compare_exchange(FREE, CLAIMED, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
        })?;
        let entry = &TABLE[index];
        entry.hit.store(false, Ordering::Relaxed);
        // Release: pairs with the Acquire in the handler, so the flag is this mapping's.
        entry.range.store(range.pack(), Ordering::Release);
        Some(Self(index))
    }

    /// Whether a page of the mapping was missing when it was touched: bytes that were read since
    /// are zeros, bytes that were written are lost.
    pub(crate) fn hit(&self) -> bool {
        // Acquire: pairs with the Release in the handler, for a lease that another thread reads.
        TABLE[self.0].hit.load(Ordering::Acquire)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        TABLE[self.0].range.store(FREE, Ordering::Release);
    }
}

fn install() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        let mut before = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: a null `act` only asks, and `before` has room for the answer.
        unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), before.as_mut_ptr()) };
        // SAFETY: all zeros is a valid sigaction, and the kernel may have filled it in.
        let before = Box::new(unsafe { before.assume_init() });
        // Release: pairs with the Acquire in the handler.
        BEFORE.store(Box::into_raw(before), Ordering::Release);

        set_handler();
    });
}

fn set_handler() {
    // SAFETY: all zeros is a valid sigaction: no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = handler as *const () as usize;
    // ONSTACK: the standard library's handler, which may be next, runs on the alternate stack.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: the handler has the signature that SA_SIGINFO asks for, and makes async-signal-safe
    // calls only.
    unsafe { libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut()) };
}

/// Runs in the thread that touched the page, in the middle of anything.
extern "C" fn handler(signal: c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes a valid siginfo (sigaction(2)).
    let info_ref = unsafe { &*info };
    // SAFETY: SIGBUS is one of the signals that have an address.
    let address = unsafe { info_ref.si_addr() } as usize;
    // Positive: the kernel's own, for a fault. Else a process sent it, and there is no address.
    let fault = info_ref.si_code > 0;
    // A missing page, or memory that broke. Another fault, BUS_ADRALN, would only repeat.
    let missing = matches!(info_ref.si_code, BUS_ADRERR | BUS_MCEERR_AR);
    if missing && patch(address) {
        return;
    }
    // Acquire: pairs with the Release in `install`.
    let before = BEFORE.load(Ordering::Acquire);
    // SAFETY: `install` stored a sigaction that is never freed, before this handler was in place.
    let before = unsafe { &*before };
    match before.sa_sigaction {
        // As it would be without this handler, which stays in place.
        libc::SIG_IGN if !fault => {}
        libc::SIG_DFL | libc::SIG_IGN => {
            // A fault repeats as soon as this returns, and then has the default effect: the kernel
            // ignores none (sigaction(2)). SAFETY: signal takes any number, and SIG_DFL.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
            if !fault {
                // SAFETY: raise takes any number.
                unsafe { libc::raise(signal) };
            }
        }
        next if before.sa_flags & libc::SA_SIGINFO != 0 => {
            type Next = extern "C" fn(c_int, *mut libc::siginfo_t, *mut libc::c_void);
            // SAFETY: a handler that was installed with SA_SIGINFO has this signature.
            let next = unsafe { std::mem::transmute::<usize, Next>(next) };
            next(signal, info, context);
            if !fault {
                // The standard library's handler gives the signal its default effect back, for a
                // fault that it expects to repeat.
                set_handler();
            }
        }
        next => {
            // SAFETY: a handler that was installed without SA_SIGINFO has this signature.
            let next = unsafe { std::mem::transmute::<usize, extern "C" fn(c_int)>(next) };
            next(signal);
        }
    }
}

/// The guarded mapping that a page is in: its entry, whether it may be written, and the pages from
/// this one to its end.
fn guarded(page: u64) -> Option<(&'static Entry, bool, u64)> {
    TABLE.iter().find_map(|entry| {
        // One load: the base, length and access are those of one mapping.
        // Acquire: pairs with the Release in `new`.
        let range = Range::unpack(entry.range.load(Ordering::Acquire));
        let pages = range.pages_from(page);
        (range.base_page != 0 && pages > 0).then_some((entry, range.writable, pages))
    })
}

/// Maps zero pages from `address` to the end of the guarded mapping that it is in, if it is in one.
fn patch(address: usize) -> bool {
    let Some((entry, writable, pages)) = guarded((address / PAGE) as u64) else {
        return false;
    };
    // Release: pairs with the Acquire in `hit`.
    entry.hit.store(true, Ordering::Release);
    // No more than the mapping allows, and nothing that is counted against a limit: neither
    // read-only nor shared pages are data (setrlimit(2), RLIMIT_DATA), and NORESERVE lets a segment
    // be larger than memory (mmap(2)).
    let (protection, sharing) = if writable {
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED)
    } else {
        (libc::PROT_READ, libc::MAP_PRIVATE)
    };
    // SAFETY: the pages are inside a mapping that its owner keeps until after the guard: this
    // thread is touching it, so its owner has not begun to drop it, and the table's word is that
    // mapping's. Only its contents change, which are shared memory's: anything at any time.
    let mapped = unsafe {
        libc::mmap(
            (address & !(PAGE - 1)) as *mut libc::c_void,
            usize::try_from(pages).unwrap_or(0) * PAGE,
            protection,
            sharing | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    mapped != libc::MAP_FAILED
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_word_that_is_no_mapping_covers_no_address() {
        for word in [FREE, CLAIMED] {
            assert_eq!(Range::unpack(word).base_page, 0);
        }
        assert_eq!(Range::new(0, PAGE, true), None);
        assert_eq!(Range::new(PAGE + 1, PAGE, true), None);
        assert_eq!(Range::new(PAGE, PAGE << COUNT_BITS, true), None);
        assert_eq!(Range::new(PAGE << BASE_BITS, PAGE, true), None);
    }

    #[test]
    fn an_entry_that_changes_hands_never_covers_more_than_one_of_its_mappings() {
        static DONE: AtomicBool = AtomicBool::new(false);
        // Far beyond what the other tests of this process map: nothing is touched here.
        let base = PAGE << 34;
        let (low, high) = ((base, PAGE), (base + 4 * PAGE, 9 * PAGE));
        // In neither: but in one that has the first one's base and the second one's length.
        let between = (base / PAGE) as u64 + 2;
        let owner = std::thread::spawn(move || {
            let mut turns = 0_u64;
            while !DONE.load(Ordering::Relaxed) {
                for (base, len) in [low, high] {
                    // SAFETY: nobody maps these pages, so no fault is ever found in them.
                    drop(unsafe { Guard::new(base, len, false) });
                }
                turns += 1;
            }
            turns
        });
        for _ in 0..1_000_000 {
            assert!(guarded(between).is_none());
        }
        DONE.store(true, Ordering::Relaxed);
        assert!(owner.join().unwrap() > 0);
    }

    proptest! {
        #[test]
        fn a_mapping_is_the_same_after_it_was_a_word(
            base in 1..1_u64 << 35, len in 1..1_usize << 37, writable: bool, beyond in 0..99_u64,
        ) {
            let range = Range::new(usize::try_from(base).unwrap() * PAGE, len, writable).unwrap();
            prop_assert_eq!(Range::unpack(range.pack()), range);
            prop_assert_eq!(range.pages_from(base), range.pages);
            prop_assert_eq!(range.pages_from(base + range.pages - 1), 1);
            prop_assert_eq!(range.pages_from(base + range.pages + beyond), 0);
            prop_assert_eq!(range.pages_from(base - 1), 0);
        }
    }
}
