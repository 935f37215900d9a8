//! Forks made harmless.
//!
//! A lock belongs to the open file description, which a forked child shares: it would keep its parent's locks alive, and its copy of
//! a sender or a lease would act on the parent's segment when it is dropped. So a handler runs in every child (`pthread_atfork(3)`):
//! it counts, so that whatever was opened before the fork is known to be the parent's, and it puts `/dev/null` in the place
//! of each registered descriptor, which lets go of the description and keeps the number. Mappings are made by way of another
//! description ([`super::mapping`]), since a mapping keeps its own alive, too.

#![expect(unsafe_code, reason = "pthread_atfork and dup3")]

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use nix::libc;

/// Descriptors at one time whose locks a child must not keep; one for each sender, receiver and lease that lives on its own.
const MAX_FILES: usize = 1024;
const NONE: i32 = -1;

/// Forks between the first process that looked and this one.
static FORKS: AtomicU32 = AtomicU32::new(0);
static FILES: [AtomicI32; MAX_FILES] = [const { AtomicI32::new(NONE) }; MAX_FILES];
/// A descriptor of `/dev/null`.
static NULL: AtomicI32 = AtomicI32::new(NONE);

/// Runs in the child, before fork(2) returns there. It only stores and makes system calls, so it is async-signal-safe.
unsafe extern "C" fn in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    let null = NULL.load(Ordering::Relaxed);
    for file in &FILES {
        let file = file.swap(NONE, Ordering::Relaxed);
        if file != NONE && null != NONE {
            // SAFETY: a system call. The number stays open, so that its owner may close it.
            unsafe { libc::dup3(null, file, libc::O_CLOEXEC) };
        }
    }
}

/// Forks so far. What was opened at another count is another process's.
pub(crate) fn count() -> u32 {
    static WATCHED: OnceLock<Option<OwnedFd>> = OnceLock::new();
    WATCHED.get_or_init(|| {
        let null = File::open("/dev/null").ok().map(OwnedFd::from);
        NULL.store(
            null.as_ref().map_or(NONE, AsRawFd::as_raw_fd),
            Ordering::Relaxed,
        );
        // SAFETY: the handler has no arguments and makes async-signal-safe calls only. Without memory for the registration,
        // its only failure, forks go unnoticed.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        null
    });
    FORKS.load(Ordering::Relaxed)
}

/// An open file whose locks are this process's alone.
#[derive(Debug)]
pub(crate) struct OwnFile {
    registered: Option<&'static AtomicI32>,
    file: File,
    forks: u32,
}

impl OwnFile {
    pub(crate) fn new(file: File) -> Self {
        let forks = count();
        let number = file.as_raw_fd();
        // With the table full, a child of a fork keeps this file's locks alive, as without this module.
        let registered = FILES.iter().find(|entry| {
            entry
                .compare_exchange(NONE, number, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        });
        Self {
            registered,
            file,
            forks,
        }
    }

    /// Whether this process opened it, and not one that this was forked from.
    pub(crate) fn is_ours(&self) -> bool {
        self.forks == count()
    }
}

impl std::ops::Deref for OwnFile {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

impl AsFd for OwnFile {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        // Before the number is closed and can be another file's. In a child the handler has emptied the entry, and it may be
        // another's by now.
        if let Some(entry) = self.registered
            && self.is_ours()
        {
            entry.store(NONE, Ordering::Relaxed);
        }
    }
}
