//! Ending a wait from another thread.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::futex;
use crate::protocol::sync::AtomicU32;

/// 1 when a wait is to end. A receiver sleeps on it beside the wake word of its segment.
#[derive(Debug, Default)]
pub(super) struct Cancelled(AtomicU32);

impl Cancelled {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire) != 0
    }

    /// Whether it was set, which it is not any more.
    pub(super) fn take(&self) -> bool {
        self.is_set() && self.0.swap(0, Ordering::Acquire) != 0
    }

    /// What to sleep on.
    pub(super) fn word(&self) -> (&AtomicU32, u32) {
        (&self.0, 0)
    }
}

/// Ends a wait of the [`Receiver`](crate::Receiver) that it came from, in whatever thread that
/// waits.
///
/// ```no_run
/// # use std::time::Duration;
/// # use shm_frame::{Name, Receiver, Waited};
/// # fn main() -> Result<(), shm_frame::Error> {
/// let mut receiver = Receiver::open(&Name::new("/cam")?)?;
/// let canceller = receiver.canceller();
/// std::thread::spawn(move || canceller.cancel());
/// assert_eq!(receiver.wait(Duration::MAX)?, Waited::Cancelled);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Canceller(Arc<Cancelled>);

impl Canceller {
    pub(super) fn new(cancelled: Arc<Cancelled>) -> Self {
        Self(cancelled)
    }

    /// Whether it was used since a wait ended by it. Then that wait is over.
    pub(super) fn was_used(&self) -> bool {
        self.0.take()
    }

    pub(super) fn shared(&self) -> Arc<Cancelled> {
        Arc::clone(&self.0)
    }

    /// Ends the wait that is going on, or else the next one, with
    /// [`Waited::Cancelled`](crate::Waited::Cancelled).
    pub fn cancel(&self) {
        let Cancelled(word) = &*self.0;
        // Release: pairs with the Acquire in `is_set`, for whatever the canceller did before.
        word.store(1, Ordering::Release);
        futex::wake(word);
    }
}
