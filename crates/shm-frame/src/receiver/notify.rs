//! News for poll loops: a thread that waits, and a descriptor that becomes readable.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};

use super::plain::PLAIN_STARVING;
use super::{Canceller, Followed, Follower, POLL};
use crate::segment::{LOOK, fork};
use crate::{Error, Name};

/// How long after a segment came or ended every receiver has found that out by a look of its own.
const AFTERWARDS: Duration = Duration::from_millis(3 * 100);
const _: () = assert!(AFTERWARDS.as_millis() == 3 * LOOK.as_millis());

/// A descriptor that becomes readable when there is news under a name: for `poll(2)`, `epoll(7)`,
/// and the event loops above them.
///
/// News is a frame, a segment that appeared, and one that ended. A thread of the notifier's own
/// waits for it; it leases nothing, copies nothing, and opens segments for reading only. Take the
/// frames with a [`Follower`] or a [`Receiver`](crate::Receiver) of your own: first
/// [`clear`](Self::clear), then take all there is, then wait for the descriptor again. In this order
/// no news is lost. There may be nothing when you look: the descriptor becomes readable a second
/// time shortly after a segment appeared or ended.
///
/// Each waiter needs a notifier of its own, since clearing is for all. The thread ends when the
/// notifier is dropped. In a child of a fork there is no such thread: make another notifier there.
///
/// With tokio, as in `examples/tokio.rs` (before tokio 1.54, `AsyncFd::with_interest` does the
/// same):
///
/// ```no_run
/// # use std::time::Duration;
/// # use shm_frame::{Followed, Follower, Name, Notifier};
/// # use tokio::io::Interest;
/// # use tokio::io::unix::AsyncFd;
/// # async fn receive() -> Result<(), Box<dyn std::error::Error>> {
/// let name = Name::new("/cam")?;
/// let mut follower = Follower::new(&name);
/// let notifier = Notifier::new(&name)?;
/// // SAFETY: a notifier keeps its descriptor open, and has the same one until it is dropped.
/// let notifier = unsafe { AsyncFd::register_with_interest(notifier, Interest::READABLE)? };
/// let mut pixels = Vec::new();
/// loop {
///     let mut ready = notifier.readable().await?;
///     ready.get_inner().clear();
///     ready.clear_ready();
///     loop {
///         match follower.wait(Duration::ZERO)? {
///             Followed::Frame(receiver) => {
///                 if let Some(frame) = receiver.copy(&mut pixels)? {
///                     println!("frame {} of {}", frame.number, frame.shape);
///                 }
///             }
///             Followed::Timeout => break,
///             _ => {}
///         }
///     }
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Notifier {
    event: Arc<EventFd>,
    canceller: Canceller,
    /// `None` once it ended.
    thread: Option<JoinHandle<()>>,
    forks: u32,
}

impl Notifier {
    /// Begins to wait for news under a name, whether it means something yet or not.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if the system has no descriptor or no thread to give.
    pub fn new(name: &Name) -> Result<Self, Error> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event = EventFd::from_value_and_flags(0, flags).map_err(name.errno("eventfd"))?;
        let event = Arc::new(event);
        let mut follower = Follower::watching(name);
        let canceller = follower.canceller();
        let thread = {
            let event = Arc::clone(&event);
            thread::Builder::new()
                .name("shm-frame-news".to_owned())
                .spawn(move || watch(follower, &event))
                .map_err(|error| name.failed("clone", error))?
        };
        Ok(Self {
            event,
            canceller,
            thread: Some(thread),
            forks: fork::count(),
        })
    }

    /// Makes the descriptor unreadable until there is other news. Says whether there was any.
    ///
    /// ```no_run
    /// # use shm_frame::{Name, Notifier};
    /// # fn main() -> Result<(), shm_frame::Error> {
    /// let notifier = Notifier::new(&Name::new("/cam")?)?;
    /// if notifier.clear() {
    ///     println!("there was news");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn clear(&self) -> bool {
        // Fails with EAGAIN when there was none.
        self.event.read().is_ok()
    }
}

impl AsFd for Notifier {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

impl AsRawFd for Notifier {
    fn as_raw_fd(&self) -> RawFd {
        self.event.as_fd().as_raw_fd()
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        if self.forks == fork::count() {
            self.canceller.cancel();
            // It has nothing to say; a panic there was printed.
            let _ = thread.join();
        } else {
            // The thread is the parent's, and there is none to join here.
            std::mem::forget(thread);
        }
    }
}

/// The thread: tells of all that happens, and of that which others may find out later a second
/// time.
fn watch(mut follower: Follower, event: &EventFd) {
    leave_signals_to_others();
    let tell = || {
        // Fails when nobody reads for so long that the count is full: then it is readable.
        let _ = event.write(1);
    };
    let mut told_at = Instant::now();
    let mut again_at: Option<Instant> = None;
    loop {
        let left = again_at.map_or(Duration::MAX, |at| {
            at.saturating_duration_since(Instant::now())
        });
        match follower.wait(left) {
            Ok(Followed::Cancelled) => return,
            Ok(Followed::Frame(receiver)) => {
                let whole = receiver.pass();
                if whole || told_at.elapsed() > PLAIN_STARVING {
                    told_at = Instant::now();
                    tell();
                }
                if !whole {
                    thread::sleep(POLL);
                }
            }
            Ok(Followed::Timeout) => {
                again_at = None;
                tell();
            }
            Ok(Followed::Attached(_) | Followed::Ended(_) | Followed::Missing(_)) => {
                again_at = Some(Instant::now() + AFTERWARDS);
                tell();
            }
            // The others will be told the same when they look.
            Err(_) => {
                tell();
                thread::sleep(LOOK);
                if follower.was_cancelled() {
                    return;
                }
            }
        }
    }
}

/// Blocks the signals that may be sent to any thread, so that handlers of the program do not run in
/// this one. Those of faults stay: one of them is the guard's.
fn leave_signals_to_others() {
    let mut others = SigSet::all();
    for fault in [
        Signal::SIGBUS,
        Signal::SIGSEGV,
        Signal::SIGFPE,
        Signal::SIGILL,
        Signal::SIGTRAP,
        Signal::SIGABRT,
        Signal::SIGSYS,
    ] {
        others.remove(fault);
    }
    // Without it, handlers run in this thread, too.
    let _ = pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&others), None);
}
