//! No SIGBUS when somebody truncates a segment.
//!
//! A page of a mapping that lies beyond the end of its file cannot be touched: the kernel sends SIGBUS (mmap(2)). A
//! `/dev/shm` file cannot be sealed against that. So every mapping stands in a table, and a handler looks the address
//! up there, maps zero pages from it to the mapping's end, and sets a flag that is asked before anything read from the
//! mapping counts. Faults elsewhere go to whoever handled SIGBUS before.

#![expect(unsafe_code, reason = "shared memory")]

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

use nix::libc;

use crate::protocol::layout::PAGE;

/// Mappings at one time in one process; a sender or a receiver has two.
pub(crate) const MAX_MAPPINGS: usize = 1024;

struct Entry {
    /// 0: free. 1: being filled in. Else the mapping's first address.
    base: AtomicUsize,
    len: AtomicUsize,
    hit: AtomicBool,
}

static TABLE: [Entry; MAX_MAPPINGS] = [const {
    Entry {
        base: AtomicUsize::new(0),
        len: AtomicUsize::new(0),
        hit: AtomicBool::new(false),
    }
}; MAX_MAPPINGS];

/// What handled SIGBUS before. Set once, never freed.
static BEFORE: AtomicPtr<libc::sigaction> = AtomicPtr::new(ptr::null_mut());

/// A mapping's place in the table, until dropped.
#[derive(Debug)]
pub(crate) struct Guard(usize);

impl Guard {
    /// Guards `len` bytes at `base`, which are mapped and stay so for longer than the guard. `None`: the table is full.
    pub(crate) fn new(base: usize, len: usize) -> Option<Self> {
        install();
        let index = TABLE.iter().position(|entry| {
            // Acquire: pairs with the Release in drop, so the last owner is done with the entry.
            entry
                .base
                .compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
        })?;
        let entry = &TABLE[index];
        entry.len.store(len, Ordering::Relaxed);
        entry.hit.store(false, Ordering::Relaxed);
        // Release: pairs with the Acquire in the handler, so the length is this mapping's.
        entry.base.store(base, Ordering::Release);
        Some(Self(index))
    }

    /// Whether a page of the mapping was missing when it was touched: what was read since is zeros, what was written
    /// is lost.
    pub(crate) fn hit(&self) -> bool {
        // Relaxed: the handler ran in the thread that touched the page, and a lease does not leave its thread unasked.
        TABLE[self.0].hit.load(Ordering::Relaxed)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        TABLE[self.0].base.store(0, Ordering::Release);
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
    // SAFETY: the handler has the signature that SA_SIGINFO asks for, and makes async-signal-safe calls only.
    unsafe { libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut()) };
}

/// Runs in the thread that touched the page, in the middle of anything.
extern "C" fn handler(signal: c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes a valid siginfo (sigaction(2)).
    let info_ref = unsafe { &*info };
    // SAFETY: SIGBUS is one of the signals that have an address.
    let address = unsafe { info_ref.si_addr() } as usize;
    // Positive: the kernel's own, for a fault. Else somebody sent it, and there is no address.
    let fault = info_ref.si_code > 0;
    if fault && patch(address) {
        return;
    }
    // Acquire: pairs with the Release in `install`.
    let before = BEFORE.load(Ordering::Acquire);
    // SAFETY: `install` stored a sigaction that is never freed, before this handler was in place.
    let before = unsafe { &*before };
    match before.sa_sigaction {
        libc::SIG_DFL | libc::SIG_IGN => {
            // The fault repeats as soon as this returns, and then has its default effect.
            // SAFETY: `before` is a sigaction the kernel gave.
            unsafe { libc::sigaction(signal, before, ptr::null_mut()) };
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
                // The standard library's handler gives the signal its default effect back, for a fault that it expects
                // to repeat.
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

/// Maps zero pages from `address` to the end of the guarded mapping that it is in, if it is in one.
fn patch(address: usize) -> bool {
    let found = TABLE.iter().find_map(|entry| {
        // Acquire: pairs with the Release in `new`.
        let base = entry.base.load(Ordering::Acquire);
        let end = base.checked_add(entry.len.load(Ordering::Relaxed))?;
        (base > 1 && (base..end).contains(&address)).then_some((entry, end))
    });
    let Some((entry, end)) = found else {
        return false;
    };
    entry.hit.store(true, Ordering::Relaxed);
    let page = address & !(PAGE - 1);
    // SAFETY: page..end.max(page) is inside a mapping that its owner keeps until after the guard, and nothing but the mapping's
    // contents changes, which are shared memory's: anything at any time.
    let mapped = unsafe {
        libc::mmap(
            page as *mut libc::c_void,
            end - page,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
            -1,
            0,
        )
    };
    mapped != libc::MAP_FAILED
}
