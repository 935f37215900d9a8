//! Open-file-description locks on single bytes of a segment (fcntl(2)): the kernel drops them with
//! the process, however it dies, and sees them across containers. They need no bytes to be there.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use crate::protocol::layout::MAX_LEASES;

/// Held by the sender from before the segment has a name until the sender ends.
pub(crate) const LIFE: usize = 0;
/// Held while changing what the name means.
pub(crate) const NAME: usize = 1;
/// The first lease entry's: holding the byte is owning the entry.
pub(crate) const LEASES: usize = 2;
/// Shared by the receivers that sleep, or may: while nobody has it, the sender wakes nobody.
pub(crate) const SLEEPERS: usize = LEASES + 14;
const _: () = assert!(SLEEPERS == LEASES + MAX_LEASES);

fn byte(at: usize, kind: i32) -> libc::flock {
    libc::flock {
        l_type: i16::try_from(kind).expect("lock types are small"),
        l_whence: i16::try_from(libc::SEEK_SET).expect("SEEK_SET is 0"),
        l_start: i64::try_from(at).expect("a handful of bytes"),
        l_len: 1,
        // Must be 0 for locks of this kind.
        l_pid: 0,
    }
}

/// Takes the lock on a byte, for as long as this open file description lives. `false`: somebody
/// else has it. Needs permission to write.
pub(crate) fn take(file: impl AsFd, at: usize) -> Result<bool, Errno> {
    set(file, at, libc::F_WRLCK)
}

/// The same together with others that share it. Needs permission to read.
pub(crate) fn share(file: impl AsFd, at: usize) -> Result<bool, Errno> {
    set(file, at, libc::F_RDLCK)
}

fn set(file: impl AsFd, at: usize, kind: i32) -> Result<bool, Errno> {
    match fcntl(file, FcntlArg::F_OFD_SETLK(&byte(at, kind))) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Gives the lock on a byte back.
pub(crate) fn give(file: impl AsFd, at: usize) {
    // Fails for a bad descriptor only, and dropping that gives the lock back too.
    let _ = fcntl(file, FcntlArg::F_OFD_SETLK(&byte(at, libc::F_UNLCK)));
}

/// Gives all locks back that this open file description has, wherever else it is open.
pub(crate) fn give_all(file: impl AsFd) {
    let all = libc::flock {
        // To the end, wherever that is (fcntl(2)).
        l_len: 0,
        ..byte(0, libc::F_UNLCK)
    };
    let _ = fcntl(file, FcntlArg::F_OFD_SETLK(&all));
}

/// Whether somebody holds the lock on a byte alone. Needs permission to read.
pub(crate) fn held(file: impl AsFd, at: usize) -> Result<bool, Errno> {
    // Asks for a read lock: only a writer's lock conflicts with one, and taking that needs
    // permission to write. Else whoever may read could make a dead sender look alive.
    conflicts(file, at, libc::F_RDLCK)
}

/// How many of the first lease entries have an owner.
pub(crate) fn owned_leases(file: impl AsFd, entries: usize) -> usize {
    let owned = |entry: &usize| shared(&file, LEASES + entry) == Ok(true);
    (0..entries).filter(owned).count()
}

/// Whether somebody holds or shares the lock on a byte.
pub(crate) fn shared(file: impl AsFd, at: usize) -> Result<bool, Errno> {
    conflicts(file, at, libc::F_WRLCK)
}

fn conflicts(file: impl AsFd, at: usize, kind: i32) -> Result<bool, Errno> {
    let mut lock = byte(at, kind);
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock))?;
    Ok(i32::from(lock.l_type) != libc::F_UNLCK)
}
