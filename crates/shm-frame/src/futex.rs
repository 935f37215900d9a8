//! Sleeping on a word, and waking those who do (futex(2)). The words are shared between processes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::thread::futex::{self, Flags, Timespec, Wait, WaitFlags, WaitPtr, WaitvFlags};
use rustix::time::{ClockId, clock_gettime};

use crate::protocol::sync::AtomicU32;

/// The most words that one call can sleep on: `FUTEX_WAITV_MAX`.
pub(crate) const MAX_WORDS: usize = 128;

/// The most sleepers that are woken at a time. Each takes microseconds, and whoever may read a
/// segment can put thousands of threads to sleep on it. Those that are passed over wake up by
/// themselves, within 0.1 s.
const MAX_WOKEN: u32 = 64;

/// How often to look where the system cannot sleep on several words.
const SLICE: Duration = Duration::from_millis(2);

/// Sleeps until the word is not `value` any more, or for that long. It may also return for no
/// reason.
pub(crate) fn wait(word: &AtomicU32, value: u32, time: Duration) -> Result<(), Errno> {
    let time = Timespec::try_from(time).map_err(|_| Errno::INVAL)?;
    woken(futex::wait(word, Flags::empty(), value, Some(&time)))
}

/// The same for several words, of which any may change: up to [`MAX_WORDS`], and no more are looked
/// at.
pub(crate) fn wait_any(words: &[(&AtomicU32, u32)], time: Duration) -> Result<(), Errno> {
    /// `futex_waitv(2)` came with Linux 5.16, and sandboxes may refuse it.
    static MISSING: AtomicBool = AtomicBool::new(false);
    match words {
        [] => {
            std::thread::sleep(time);
            Ok(())
        }
        [(word, value)] => wait(word, *value, time),
        [(word, value), ..] => {
            if !MISSING.load(Ordering::Relaxed) {
                let waits: Vec<Wait> = words
                    .iter()
                    .take(MAX_WORDS)
                    .map(|(word, value)| {
                        let mut wait = Wait::new();
                        wait.val = u64::from(*value);
                        wait.uaddr = WaitPtr::new(word.as_ptr().cast());
                        wait.flags = WaitFlags::SIZE_U32;
                        wait
                    })
                    .collect();
                // Here, unlike above, the time is when to end.
                let now = clock_gettime(ClockId::Monotonic);
                let time = Timespec::try_from(time).map_err(|_| Errno::INVAL)?;
                let end = now.checked_add(time).ok_or(Errno::INVAL)?;
                let done =
                    futex::waitv(&waits, WaitvFlags::empty(), Some(&end), ClockId::Monotonic);
                match done {
                    Err(Errno::NOSYS | Errno::PERM) => MISSING.store(true, Ordering::Relaxed),
                    done => return woken(done.map(drop)),
                }
            }
            wait(word, *value, time.min(SLICE))
        }
    }
}

fn woken(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        // FAULT: the page is gone, which the next look at the segment finds.
        Ok(()) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT | Errno::FAULT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Wakes those who sleep on the word.
pub(crate) fn wake(word: &AtomicU32) {
    // Fails with EFAULT when the page is gone; then the sleepers find that out by themselves.
    let _ = futex::wake(word, Flags::empty(), MAX_WOKEN);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::{Arc, Mutex};
    use std::thread;
    use std::time::Instant;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn wait_until(what: &str, mut happened: impl FnMut() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !happened() {
            assert!(Instant::now() < end, "waited in vain until {what}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_crowd_of_sleepers_is_not_woken_at_once() {
        const CROWD: usize = 100;
        let word = Arc::new(AtomicU32::new(0));
        let awake = Arc::new(AtomicUsize::new(0));
        let tasks = Arc::new(Mutex::new(Vec::new()));
        let sleepers: Vec<_> = (0..CROWD)
            .map(|_| {
                let (word, awake) = (Arc::clone(&word), Arc::clone(&awake));
                let tasks = Arc::clone(&tasks);
                thread::spawn(move || {
                    let task = rustix::thread::gettid().as_raw_nonzero();
                    tasks.lock().unwrap().push(task);
                    wait(&word, 0, PATIENCE).unwrap();
                    awake.fetch_add(1, Ordering::SeqCst);
                })
            })
            .collect();
        // Where each thread is in the kernel: in a futex.
        let asleep = |task| {
            let path = format!("/proc/self/task/{task}/stat");
            let stat = std::fs::read_to_string(path).unwrap_or_default();
            stat.rsplit(')')
                .next()
                .unwrap()
                .trim_start()
                .starts_with('S')
        };
        wait_until("all sleep", || {
            let tasks = tasks.lock().unwrap();
            tasks.len() == CROWD && tasks.iter().all(|&task| asleep(task))
        });
        wake(&word);
        wait_until("some are awake", || awake.load(Ordering::SeqCst) > 0);
        thread::sleep(Duration::from_millis(100));
        let woken = awake.load(Ordering::SeqCst);
        assert!(woken <= 64, "{woken} were woken");
        wait_until("the others are awake after another time", || {
            wake(&word);
            awake.load(Ordering::SeqCst) == CROWD
        });
        for sleeper in sleepers {
            sleeper.join().unwrap();
        }
    }
}
