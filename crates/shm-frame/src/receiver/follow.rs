//! Following a name through the segments that it means, one after the other.

use std::thread;
use std::time::{Duration, Instant};

use super::{Canceller, Receiver, ReceiverOptions, WaitMode, Waited};
use crate::segment::found::named;
use crate::{End, Error, Name};

/// How often to look whether the name means something: 1 us each.
const LOOK: Duration = Duration::from_millis(2);

/// What a step of a [`Follower`] found.
#[derive(Debug)]
pub enum Followed<'a> {
    /// A frame newer than the last one taken: take it from this receiver.
    Frame(&'a mut Receiver),
    /// There was none in time.
    Timeout,
    /// The follower attached to a segment with a living sender.
    Attached(&'a mut Receiver),
    /// The segment ended. The follower looks for the next one.
    Ended(End),
    /// There is nothing to attach to, and why: no segment, one that a dead sender left
    /// ([`Error::Ended`]), or something else. Told again only when the reason is another.
    Missing(Error),
    /// A [`Canceller`] of the follower was used.
    Cancelled,
}

/// A receiver that attaches to whatever its name means, now and later: sender and receiver may
/// start in any order, and each may be restarted.
///
/// ```no_run
/// use std::time::Duration;
/// use shm_frame::{Followed, Follower, Name};
///
/// # fn main() -> Result<(), shm_frame::Error> {
/// let mut follower = Follower::new(&Name::new("/cam")?);
/// let mut pixels = Vec::new();
/// loop {
///     match follower.wait(Duration::from_secs(1))? {
///         Followed::Frame(receiver) => {
///             if let Some(frame) = receiver.copy(&mut pixels)? {
///                 println!("frame {}", frame.number);
///             }
///         }
///         Followed::Missing(why) => eprintln!("waiting: {why}"),
///         Followed::Ended(end) => eprintln!("the segment ended: {end}"),
///         _ => {}
///     }
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Follower {
    name: Name,
    options: ReceiverOptions,
    mode: WaitMode,
    receiver: Option<Receiver>,
    /// The receiver's segment has not ended.
    attached: bool,
    /// The last reason told that there is nothing to attach to.
    missing: String,
    canceller: Option<Canceller>,
}

impl Follower {
    /// Follows a name, whether it means something yet or not.
    pub fn new(name: &Name) -> Self {
        Self::with_options(name, &ReceiverOptions::new())
    }

    /// The same with options for its receivers.
    ///
    /// ```no_run
    /// # use shm_frame::{Follower, Name, ReceiverOptions};
    /// # fn main() -> Result<(), shm_frame::Error> {
    /// let options = ReceiverOptions::new().read_only(true);
    /// let viewer = Follower::with_options(&Name::new("/cam")?, &options);
    /// # drop(viewer);
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_options(name: &Name, options: &ReceiverOptions) -> Self {
        Self {
            name: name.clone(),
            options: *options,
            mode: WaitMode::default(),
            receiver: None,
            attached: false,
            missing: String::new(),
            canceller: None,
        }
    }

    /// Follows a name to see when there is news, and takes nothing.
    pub(super) fn watching(name: &Name) -> Self {
        let options = ReceiverOptions {
            may_lease: false,
            read_only: true,
        };
        Self::with_options(name, &options)
    }

    /// Says how to wait from now on.
    pub fn set_wait_mode(&mut self, mode: WaitMode) {
        self.mode = mode;
        if let Some(receiver) = &mut self.receiver {
            receiver.set_wait_mode(mode);
        }
    }

    /// The name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Whether there is a segment that has not ended.
    pub fn is_attached(&self) -> bool {
        self.attached
    }

    /// What ends a [`wait`](Self::wait) from another thread.
    pub fn canceller(&mut self) -> Canceller {
        let new = || match &mut self.receiver {
            Some(receiver) => receiver.canceller(),
            None => Canceller::new(std::sync::Arc::default()),
        };
        self.canceller.get_or_insert_with(new).clone()
    }

    /// Waits for a frame, or for something else to tell, for so long at most.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if the system refuses what it never should. All else is told as
    /// [`Followed::Missing`].
    pub fn wait(&mut self, timeout: Duration) -> Result<Followed<'_>, Error> {
        // An attached follower looks at no clock of its own.
        let begun = (!self.attached).then(Instant::now);
        let left = || timeout.saturating_sub(begun.map_or(Duration::ZERO, |begun| begun.elapsed()));
        while !self.attached {
            match self.attach() {
                Ok(receiver) => {
                    let receiver = self.receiver.insert(receiver);
                    self.attached = true;
                    self.missing.clear();
                    return Ok(Followed::Attached(receiver));
                }
                Err(error @ Error::System { .. }) => return Err(error),
                Err(error) => {
                    let why = error.to_string();
                    if why != self.missing {
                        self.missing = why;
                        return Ok(Followed::Missing(error));
                    }
                }
            }
            if self.was_cancelled() {
                return Ok(Followed::Cancelled);
            }
            if left().is_zero() {
                return Ok(Followed::Timeout);
            }
            thread::sleep(left().min(LOOK));
        }
        let Some(receiver) = &mut self.receiver else {
            return Ok(Followed::Timeout);
        };
        match receiver.wait(left())? {
            Waited::Frame => Ok(Followed::Frame(receiver)),
            Waited::Timeout => Ok(Followed::Timeout),
            Waited::Cancelled => Ok(Followed::Cancelled),
            Waited::Ended(end) => {
                self.attached = false;
                Ok(Followed::Ended(end))
            }
        }
    }

    /// Whether a canceller was used since a wait ended by one.
    pub(super) fn was_cancelled(&self) -> bool {
        self.canceller.as_ref().is_some_and(Canceller::was_used)
    }

    /// A receiver of a segment with a living sender. `Err`: why there is none.
    fn attach(&mut self) -> Result<Receiver, Error> {
        let ended = |end| {
            let name = self.name.clone();
            Error::Ended { name, end }
        };
        if let Some(mut receiver) = self.receiver.take() {
            let reopened = receiver.reopen();
            let end = receiver.ended();
            match (reopened, end) {
                (Ok(true), None) => return Ok(receiver),
                (Err(error), _) => {
                    self.receiver = Some(receiver);
                    return Err(error);
                }
                (Ok(_), Some(end)) if named(&self.name)?.is_some() => {
                    self.receiver = Some(receiver);
                    return Err(ended(end));
                }
                (Ok(_), _) => {
                    self.receiver = Some(receiver);
                    let name = self.name.clone();
                    return Err(Error::NotFound { name });
                }
            }
        }
        let mut receiver = Receiver::open_with(&self.name, &self.options)?;
        receiver.set_wait_mode(self.mode);
        if let Some(canceller) = &self.canceller {
            receiver.cancelled = Some(canceller.shared());
        }
        match receiver.ended() {
            None => Ok(receiver),
            Some(end) => {
                self.receiver = Some(receiver);
                Err(ended(end))
            }
        }
    }
}
