//! Forks made harmless.
//!
//! A lock belongs to the open file description, which a forked child shares: it would keep its
//! parent's locks alive, and its copy of a sender or a lease would act on the parent's segment when
//! it is dropped. So a handler runs in every child (`pthread_atfork(3)`): it counts, so that
//! whatever was opened before the fork is known to be the parent's, and it puts `/dev/null` in the
//! place of each registered descriptor, which lets go of the description and keeps the number.
//! Mappings are made by way of another description ([`super::mapping`]), since a mapping keeps its
//! own alive, too.

#![expect(unsafe_code, reason = "pthread_atfork and dup3")]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering, fence};
use std::thread;
use std::time::Duration;

use nix::libc;

use super::lock;

/// Descriptors at one time whose locks a child must not keep; one for each sender, receiver and
/// lease that lives on its own.
const MAX_FILES: usize = 1024;
const NONE: i32 = -1;

/// How often to open a file again because another thread forks.
const TRIES: u32 = 1000;
/// How long to wait while one does.
const FORK_TAKES: Duration = Duration::from_micros(50);

/// Forks between the first process that looked and this one.
static FORKS: AtomicU32 = AtomicU32::new(0);
/// Forks that threads of this process began, and those of them that are over.
static BEGUN: AtomicU32 = AtomicU32::new(0);
static OVER: AtomicU32 = AtomicU32::new(0);
static FILES: [AtomicI32; MAX_FILES] = [const { AtomicI32::new(NONE) }; MAX_FILES];
/// A descriptor of `/dev/null`.
static NULL: AtomicI32 = AtomicI32::new(NONE);

/// Runs before fork(2), in the thread that calls it.
unsafe extern "C" fn before_fork() {
    // Pairs with the fence in `OwnFile::open`: either that finds this fork, or the child finds the
    // file in the table.
    BEGUN.fetch_add(1, Ordering::SeqCst);
    fence(Ordering::SeqCst);
}

/// Runs after it, in the parent.
unsafe extern "C" fn in_parent() {
    OVER.fetch_add(1, Ordering::SeqCst);
}

/// Runs in the child, before fork(2) returns there. It only stores and makes system calls, so it is
/// async-signal-safe.
unsafe extern "C" fn in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    // Whatever other threads were about, they are not in this process.
    OVER.store(BEGUN.load(Ordering::Relaxed), Ordering::Relaxed);
    let null = NULL.load(Ordering::Relaxed);
    for file in &FILES {
        let file = file.swap(NONE, Ordering::Relaxed);
        if file != NONE && null != NONE {
            // SAFETY: a system call. The number stays open, so that its owner may close it.
            unsafe { libc::dup3(null, file, libc::O_CLOEXEC) };
        }
    }
}

/// Has every fork from now on counted.
fn watch() {
    static WATCHED: OnceLock<Option<OwnedFd>> = OnceLock::new();
    WATCHED.get_or_init(|| {
        let null = File::open("/dev/null").ok().map(OwnedFd::from);
        NULL.store(
            null.as_ref().map_or(NONE, AsRawFd::as_raw_fd),
            Ordering::Relaxed,
        );
        // SAFETY: the handlers have no arguments, and the child's makes async-signal-safe calls
        // only. Without memory for the registration, its only failure, forks go unnoticed.
        unsafe { libc::pthread_atfork(Some(before_fork), Some(in_parent), Some(in_child)) };
        null
    });
}

/// Forks so far. What was made at another count is another process's.
pub(crate) fn count() -> u32 {
    watch();
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
    /// Opens a file that no child of a fork keeps open: not even one that another thread makes
    /// between the two steps, opening it and putting it in the table. Then it is opened again; the
    /// child has a description on which there never is a lock.
    pub(crate) fn open(open: impl Fn() -> io::Result<File>) -> io::Result<Self> {
        watch();
        for _ in 0..TRIES {
            let begun = BEGUN.load(Ordering::SeqCst);
            if begun != OVER.load(Ordering::SeqCst) {
                thread::sleep(FORK_TAKES);
                continue;
            }
            let file = Self::registered(open()?);
            // Pairs with the fence in `before_fork`.
            fence(Ordering::SeqCst);
            if BEGUN.load(Ordering::SeqCst) == begun {
                return Ok(file);
            }
        }
        // A process that does nothing but fork.
        open().map(Self::registered)
    }

    fn registered(file: File) -> Self {
        let number = file.as_raw_fd();
        // With the table full, a child of a fork keeps this file's locks alive, as without this
        // module.
        let registered = FILES.iter().find(|entry| {
            entry
                .compare_exchange(NONE, number, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        });
        Self {
            registered,
            file,
            forks: count(),
        }
    }

    /// Whether this process opened it, and not one that this was forked from.
    #[inline]
    pub(crate) fn is_ours(&self) -> bool {
        self.forks == FORKS.load(Ordering::Relaxed)
    }
}

impl std::ops::Deref for OwnFile {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

impl AsFd for OwnFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        if !self.is_ours() {
            // The handler has emptied the entry, which may be another file's by now, and the locks
            // are the parent's.
            return;
        }
        // Before the number is closed and can be another file's.
        if let Some(entry) = self.registered {
            entry.store(NONE, Ordering::Relaxed);
        }
        // A child that was forked since has the description open. It keeps no locks alive.
        lock::give_all(&self.file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// What a fork of another thread does here.
    fn fork_elsewhere() {
        // SAFETY: it only counts.
        unsafe { before_fork() };
        // SAFETY: as above.
        unsafe { in_parent() };
    }

    #[test]
    fn a_file_that_was_opened_while_another_thread_forked_is_opened_again() {
        let opened = Cell::new(0);
        let file = OwnFile::open(|| {
            opened.set(opened.get() + 1);
            let file = File::open("/dev/null");
            if opened.get() <= 3 {
                fork_elsewhere();
            }
            file
        });
        assert!(file.unwrap().is_ours());
        assert!(opened.get() > 3, "opened {} times", opened.get());
    }

    #[test]
    fn a_process_that_forks_all_the_time_opens_files_all_the_same() {
        OwnFile::open(|| {
            fork_elsewhere();
            File::open("/dev/null")
        })
        .unwrap();
    }

    #[test]
    fn errors_of_opening_are_told() {
        let error = OwnFile::open(|| File::open("/dev/null/nothing")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
    }
}
