//! Open-file-description locks on single bytes of a segment (fcntl(2)): the kernel drops them with
//! the process, however it dies, and sees them across containers. They need no bytes to be there.

use std::cell::OnceCell;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use crate::clock::monotonic_ns;
use crate::protocol::layout::{ENTRY_LOCKS, LESSEES_LOCK, MAX_LEASES, MAX_SLOTS, SLOT_LOCKS};
use crate::protocol::slots::Locks;
use crate::segment::found::FileId;

/// Held by the sender from before the segment has a name until the sender ends.
pub(crate) const LIFE: usize = 0;
/// Held while changing what the name means.
pub(crate) const NAME: usize = 1;
/// The first lease entry's: see [`ENTRY_LOCKS`].
pub(crate) const LEASES: usize = ENTRY_LOCKS;
/// Shared by the receivers that sleep, or may: while nobody has it, the sender wakes nobody.
pub(crate) const SLEEPERS: usize = LEASES + 14;
/// Shared by the receivers that lease by locks: see [`LESSEES_LOCK`].
pub(crate) const LESSEES: usize = LESSEES_LOCK;
const _: () = assert!(SLEEPERS == LEASES + MAX_LEASES && SLOT_LOCKS + MAX_SLOTS == 48);

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

/// How many receivers a segment has, as far as locks show: those that may sleep, whichever way
/// they read, or the owners of its lease entries if that is more. Who copies and never sleeps is
/// not seen, and who never sleeps and holds several leases counts as often.
pub(crate) fn receivers(file: impl AsFd, id: FileId, entries: usize, all: &All) -> usize {
    let owned = |entry: &usize| shared(&file, LEASES + entry) == Ok(true);
    let owned = (0..entries).filter(owned).count();
    if shared(&file, SLEEPERS) != Ok(true) {
        return owned;
    }
    owned.max(all.sharers(id, SLEEPERS))
}

/// Bytes of a list of locks, some 60 for each.
const MOST_OF_LOCKS: u64 = 256 << 10;

/// All locks on files, as the kernel tells everybody (`proc_locks(5)`); none if there is no /proc.
/// Anybody may take very many, so no more than the first few thousand. They are read when they are
/// first needed: the kernel first waits until nobody changes a lock, for 5 to 10 ms.
#[derive(Debug, Default)]
pub(crate) struct All(OnceCell<String>);

impl All {
    fn read() -> String {
        let mut text = String::new();
        if let Ok(file) = File::open("/proc/locks") {
            // What was read before an error counts, too.
            let _ = file.take(MOST_OF_LOCKS).read_to_string(&mut text);
        }
        text
    }

    /// How many share the lock on a byte of a file.
    fn sharers(&self, id: FileId, byte: usize) -> usize {
        let file = id.in_proc();
        let shares = |line: &&str| {
            if !line.contains(&file) {
                return false;
            }
            let fields: Vec<_> = line.split_whitespace().collect();
            // Of one who waits for a lock the second field is an arrow.
            let &[_, "OFDLCK", "ADVISORY", "READ", _, of, first, last] = &fields[..] else {
                return false;
            };
            // Locks of one owner on bytes side by side are one.
            let first = first.parse().unwrap_or(usize::MAX);
            let last = last.parse().unwrap_or(usize::MAX);
            of == file && (first..=last).contains(&byte)
        };
        self.0
            .get_or_init(Self::read)
            .lines()
            .filter(shares)
            .count()
    }
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

/// The locks of a file for the protocol. The kernel changes and tests the locks of an inode under
/// one lock of its own (`flc_lock`), so all of it has one order.
impl<F: AsFd> Locks for F {
    fn share(&self, byte: usize) -> bool {
        share(self, byte) == Ok(true)
    }

    fn give(&self, byte: usize) {
        give(self, byte);
    }

    fn others(&self, byte: usize) -> bool {
        // If that cannot be asked, there may be others.
        shared(self, byte).unwrap_or(true)
    }
}

/// A question takes so long if another process made it slow, or somebody stopped this one.
const SLOW_NS: u64 = 1_000_000;
/// No more is held against a question, since the process may have been stopped meanwhile.
const SLOWEST_NS: u64 = 50 * SLOW_NS;
/// So much time for slow questions is there at first, and at most.
const CREDIT_NS: u64 = 2 * SLOWEST_NS;

/// The sender's questions about locks that any receiver may take.
///
/// A process that may read the file can make each question slow, with very many locks on it. Then a
/// tenth of the time goes into questions; those beyond that are not asked, and the answer is that
/// nobody has the lock. Receivers that lease by locks may lose their leases by that, and notice.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    /// Of the time for slow questions.
    spent_ns: u64,
    /// When that was so, by the monotonic clock.
    at_ns: u64,
}

impl Questions {
    /// Whether anybody else holds or shares the lock on a byte.
    pub(crate) fn ask(&mut self, file: impl AsFd, byte: usize) -> bool {
        let began_ns = monotonic_ns();
        if !self.may_ask(began_ns) {
            return false;
        }
        let answer = file.others(byte);
        self.took(monotonic_ns().saturating_sub(began_ns));
        answer
    }

    fn may_ask(&mut self, now_ns: u64) -> bool {
        let regained_ns = now_ns.saturating_sub(self.at_ns) / 10;
        self.spent_ns = self.spent_ns.saturating_sub(regained_ns);
        self.at_ns = now_ns;
        self.spent_ns < CREDIT_NS
    }

    fn took(&mut self, ns: u64) {
        if ns >= SLOW_NS {
            self.spent_ns += ns.min(SLOWEST_NS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_share_a_byte_are_counted() {
        let text = "\
            1: OFDLCK ADVISORY  READ -1 00:1a:7 16 16\n\
            2: OFDLCK ADVISORY  READ -1 00:1a:7 16 17\n\
            3: OFDLCK ADVISORY  READ -1 00:1a:7 0 EOF\n\
            3: -> OFDLCK ADVISORY  READ -1 00:1a:7 16 16\n\
            4: OFDLCK ADVISORY  WRITE -1 00:1a:7 2 2\n\
            5: OFDLCK ADVISORY  READ -1 00:1a:7 17 17\n\
            6: OFDLCK ADVISORY  READ -1 00:1b:7 16 16\n\
            7: OFDLCK ADVISORY  READ -1 00:1a:77 16 16\n\
            8: POSIX  ADVISORY  READ 99 00:1a:7 16 16\n\
            9: FLOCK  ADVISORY  WRITE 99 00:1a:7 0 EOF\n\
            nonsense\n";
        let all = All(text.to_owned().into());
        let id = |minor, inode| FileId::new(libc::makedev(0, minor), inode);
        assert_eq!(all.sharers(id(0x1a, 7), 16), 3);
        assert_eq!(all.sharers(id(0x1a, 7), 17), 3);
        assert_eq!(all.sharers(id(0x1b, 7), 16), 1);
        assert_eq!(all.sharers(id(0x1c, 7), 16), 0);
    }

    const MS: u64 = 1_000_000;
    const S: u64 = 1000 * MS;

    #[test]
    fn slow_questions_take_a_tenth_of_the_time_whatever_is_asked_in_between() {
        let (mut questions, mut now, mut asking) = (Questions::default(), 0, 0);
        while now < 100 * S {
            for took in [20 * MS, MS / 1000] {
                if questions.may_ask(now) {
                    questions.took(took);
                    now += took;
                    asking += took;
                }
            }
            now += MS;
        }
        assert!((9 * S..11 * S).contains(&asking), "{asking} ns of 100 s");
    }

    #[test]
    fn a_process_that_was_stopped_now_and_then_asks_on() {
        let mut questions = Questions::default();
        for second in 1..9 {
            assert!(questions.may_ask(second * S));
            questions.took(900 * MS);
        }
    }
}
