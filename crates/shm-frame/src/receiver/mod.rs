//! Taking frames out of a segment.

mod attached;
mod cancel;
mod follow;
mod frame;
mod lease;
mod notify;
mod plain;
mod predict;

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::attached::{Attached, Received, Shared, Words, stated};
use self::cancel::Cancelled;
pub use self::cancel::Canceller;
pub use self::follow::{Followed, Follower};
pub use self::frame::{Frame, Via, WaitMode, Waited};
use self::lease::{Hold, Keep};
pub use self::lease::{Lease, OwnedLease};
pub use self::notify::Notifier;
use self::plain::{age_ns, copy_plain};
use self::predict::Predictor;
use crate::clock::{Wall, monotonic_ns};
use crate::futex;
use crate::protocol::slots;
use crate::segment::found::{FileId, named};
use crate::segment::mapping::{Access, Target};
use crate::segment::{LOOK, LOOK_NS, Segment};
use crate::{End, Error, Name};

/// Copies that are tried.
const COPIES: u32 = 8;
/// Copies that are tried by a receiver that can lease, before it does.
const COPIES_BEFORE_A_LEASE: u32 = 2;
/// How often to look where nobody wakes. Times in segments without a control page are in whole ms
/// anyway.
const POLL: Duration = Duration::from_millis(1);
/// How long to leave a segment alone that ended.
const LEAVE: Duration = Duration::from_secs(1);
/// A header that is older than this when a receiver comes to a segment without a control page may
/// be left over.
const STALE_NS: i64 = 1_000_000_000;

/// One of any number of processes that take frames out of a segment.
///
/// It never writes where pixels are, and nothing it does makes a sender wait.
///
/// ```no_run
/// use std::time::Duration;
/// use shm_frame::{Name, Receiver, Waited};
///
/// # fn main() -> Result<(), shm_frame::Error> {
/// let mut receiver = Receiver::open(&Name::new("/cam")?)?;
/// let mut pixels = Vec::new();
/// while receiver.wait(Duration::from_secs(1))? == Waited::Frame {
///     if let Some(frame) = receiver.copy(&mut pixels)? {
///         println!("frame {} is {} ns old", frame.number, frame.delay_ns);
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Receiver {
    name: Name,
    attached: Result<Attached, End>,
    /// A segment that ended and may still have the name, and until when not to look at it again:
    /// the process that brought its end about may have lied.
    left: Option<(FileId, Instant)>,
    sender_pid: Option<u32>,
    seen: Seen,
    torn: u64,
    options: ReceiverOptions,
    wait_mode: WaitMode,
    cancelled: Option<Arc<Cancelled>>,
    predictor: Predictor,
    wall: Wall,
}

/// How a [`Receiver`] opens segments.
///
/// ```
/// # use shm_frame::ReceiverOptions;
/// let viewer = ReceiverOptions::new().read_only(true);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ReceiverOptions {
    read_only: bool,
    /// Whether it is to own lease entries.
    may_lease: bool,
}

impl ReceiverOptions {
    /// As much as this user may: a segment that can be written is opened for that, since it is
    /// leased from by a store in its control page.
    pub const fn new() -> Self {
        Self {
            read_only: false,
            may_lease: true,
        }
    }

    /// Whether to open segments for reading only, even if this user may write them. Then the system
    /// sees to it that nothing in this process changes a frame, or what other receivers see.
    ///
    /// Frames are leased by locks then ([`Via::LeasedReadOnly`]), as they are where a user has no
    /// permission to write. That takes the receiver 1.5 us for each frame, and the sender 0.4 us;
    /// and for the first 0.2 s it can only copy.
    #[must_use]
    pub const fn read_only(self, read_only: bool) -> Self {
        Self { read_only, ..self }
    }

    fn access(self) -> Access {
        if self.read_only {
            Access::Read
        } else {
            Access::Write
        }
    }
}

impl Default for ReceiverOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// What this receiver has seen, whatever segment it came from.
#[derive(Debug, Default)]
struct Seen {
    /// Whose frames `frame` counts.
    session: u64,
    /// When this receiver first attached to a segment of that sender, by the monotonic clock.
    came_ns: u64,
    /// The newest frame taken, or refused for its age. Without a control page: how many were taken.
    frame: u64,
    /// The time stamp of the newest frame taken, or refused for its age, from a segment without a
    /// control page.
    stamp: Option<i64>,
    /// When that frame was taken.
    taken_at: Option<Instant>,
    /// A frame was taken, so that what is missed from now on was skipped.
    any: bool,
}

impl Seen {
    /// Forgets a number that cannot be, which another process made this receiver believe: numbers
    /// only grow while a sender lives.
    fn doubt(&mut self, attached: &Attached) {
        if let Some(latest) = attached
            .control()
            .and_then(|control| attached.newer(control, 0))
        {
            self.frame = self.frame.min(latest.frame);
        }
    }

    /// Marks a frame as taken, and says how many were skipped before it.
    fn take(&mut self, frame: u64) -> u64 {
        let skipped = if self.any { frame - self.frame - 1 } else { 0 };
        self.frame = frame;
        self.any = true;
        skipped
    }
}

/// What a look for news found.
enum News {
    /// Something to tell.
    Told(Waited),
    /// Nothing. It can only change with this wake word (0 without a control page), or when that
    /// long has passed.
    None { wake: u32, rest: Duration },
}

/// How to spend the time until there may be news.
enum Rest {
    Sleep(Duration),
    Watch(Duration),
}

impl Receiver {
    /// Opens the segment that the name means. Its newest frame counts as new if its sender is
    /// alive; if that is dead, the first [`wait`](Self::wait) says so.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if there is none, [`Error::NotASegment`] or [`Error::NotAFile`] if it is
    /// something else, [`Error::Version`] if it is of another version, [`Error::Denied`] if this
    /// user may not read it.
    pub fn open(name: &Name) -> Result<Self, Error> {
        Self::open_with(name, &ReceiverOptions::new())
    }

    /// The same with options.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use shm_frame::{Error, Format, Name, Receiver, ReceiverOptions, Sender, SenderOptions};
    /// # use shm_frame::{Shape, Size, Via};
    /// # fn main() -> Result<(), Error> {
    /// # let name = Name::new(&format!("/shm-frame-doc-with-{}", std::process::id()))?;
    /// # let mut sender = Sender::create(&name, &SenderOptions::new())?;
    /// # let shape = Shape::new(Size { width: 64, height: 48 }, Format::GRAY16)?;
    /// let mut viewer = Receiver::open_with(&name, &ReceiverOptions::new().read_only(true))?;
    /// # while !viewer.can_lease() {
    /// #     viewer.wait(Duration::from_millis(10))?;
    /// # }
    /// # sender.publish(shape, &vec![1; shape.bytes()])?;
    /// // After 0.2 s:
    /// let lease = viewer.lease()?.expect("a frame");
    /// assert_eq!(lease.frame().via, Via::LeasedReadOnly);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open).
    pub fn open_with(name: &Name, options: &ReceiverOptions) -> Result<Self, Error> {
        let mut receiver = Self {
            name: name.clone(),
            attached: Err(End::Replaced),
            left: None,
            sender_pid: None,
            seen: Seen::default(),
            torn: 0,
            options: *options,
            wait_mode: WaitMode::default(),
            cancelled: None,
            predictor: Predictor::default(),
            wall: Wall::default(),
        };
        receiver.attach(Segment::open(name, options.access())?)?;
        Ok(receiver)
    }

    /// Opens the segment that the name means by now, after this one ended. `Ok(false)`: there is
    /// none yet. If this one has not ended, it stays.
    ///
    /// Frame numbers go on if it has the same sender; else they begin anew, and all frames of the
    /// new sender until the first one taken count as skipped. A segment that ended is left alone
    /// for a second, since its end may have been forged; that of the next sender is another one. A
    /// [`Follower`] does all of this by itself.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use shm_frame::{Name, Receiver, Waited};
    /// # fn main() -> Result<(), shm_frame::Error> {
    /// # let mut receiver = Receiver::open(&Name::new("/cam")?)?;
    /// if let Waited::Ended(_) = receiver.wait(Duration::from_secs(1))? {
    ///     while !receiver.reopen()? {
    ///         std::thread::sleep(Duration::from_millis(10));
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open), but for a segment that is not there.
    pub fn reopen(&mut self) -> Result<bool, Error> {
        let Some(id) = named(&self.name)? else {
            return Ok(false);
        };
        if let Ok(attached) = &self.attached
            && attached.segment().id() == id
            && attached.segment().is_ours()
            && attached.segment().intact()
        {
            return Ok(true);
        }
        if self
            .left
            .is_some_and(|(left, until)| left == id && Instant::now() < until)
        {
            return Ok(false);
        }
        match Segment::open(&self.name, self.options.access()) {
            Ok(segment) => self.attach(segment).map(|()| true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn attach(&mut self, segment: Segment) -> Result<(), Error> {
        if segment.session() != self.seen.session || segment.session() == 0 {
            self.seen.came_ns = monotonic_ns();
        }
        let attached = Attached::new(segment, self.seen.came_ns, self.options.may_lease);
        let segment = attached.segment();
        if segment.session() != self.seen.session {
            self.seen.session = segment.session();
            self.seen.frame = 0;
        }
        self.sender_pid = attached.control().map(|_| segment.pid());
        if let Some(control) = attached.control() {
            if !segment.alive()? {
                // What is in it is no news, and the next segment may need its memory.
                self.left = Some((segment.id(), Instant::now() + LEAVE));
                self.attached = Err(stated(slots::state(control)).unwrap_or(End::Dead));
                return Ok(());
            }
        } else {
            let header = segment.slots.header(0);
            if header.frame_valid == 1 && !(0..STALE_NS).contains(&age_ns(header)) {
                self.seen.stamp = Some(header.timestamp_ms);
            }
        }
        self.attached = Ok(attached);
        Ok(())
    }

    /// The segment's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The sender's process, if there is or was a control page to say so.
    pub fn sender_pid(&self) -> Option<u32> {
        self.sender_pid
    }

    /// Slots of the segment, if it has a control page.
    pub fn slots(&self) -> Option<usize> {
        let attached = self.attached.as_ref().ok()?;
        attached
            .control()
            .map(|_| attached.segment().slots.geometry().slots)
    }

    /// How the segment ended, if it did.
    pub fn ended(&self) -> Option<End> {
        self.attached.as_ref().err().copied()
    }

    /// Whether this receiver can lease: it can if the segment has a control page, and not all of
    /// its `slots - 2` lease entries were taken. One that found none looks for one every 0.1 s. One
    /// that may only read the segment can lease 0.2 s after it found one: by then the sender knows
    /// of it.
    pub fn can_lease(&self) -> bool {
        self.attached.as_ref().is_ok_and(Attached::can_lease)
    }

    /// Frames that were overwritten while they were copied, seen to be so and thrown away.
    pub fn torn(&self) -> u64 {
        self.torn
    }

    /// Says how to wait from now on.
    pub fn set_wait_mode(&mut self, mode: WaitMode) {
        self.wait_mode = mode;
    }

    /// What ends a [`wait`](Self::wait) of this receiver from another thread: see [`Canceller`].
    pub fn canceller(&mut self) -> Canceller {
        Canceller::new(Arc::clone(self.cancelled.get_or_insert_default()))
    }

    /// Waits until there is a frame newer than the last one taken: asleep, unless it is told to
    /// wait [otherwise](Self::set_wait_mode). With a timeout of 0 it only looks.
    ///
    /// After a frame that could not be taken it waits for another, or, if that was for want of a
    /// lease entry, until there is one. With segments that have one slot taking may fail again and
    /// again.
    ///
    /// ```
    /// # use shm_frame::{Error, Format, Name, Receiver, Sender, SenderOptions};
    /// # use shm_frame::{Shape, Size, Waited};
    /// # fn main() -> Result<(), Error> {
    /// # let name = Name::new(&format!("/shm-frame-doc-wait-{}", std::process::id()))?;
    /// # let mut sender = Sender::create(&name, &SenderOptions::new())?;
    /// # let shape = Shape::new(Size { width: 64, height: 48 }, Format::GRAY16)?;
    /// # sender.publish(shape, &vec![1; shape.bytes()])?;
    /// use std::time::Duration;
    ///
    /// let mut receiver = Receiver::open(&name)?;
    /// assert_eq!(receiver.wait(Duration::from_secs(1))?, Waited::Frame);
    /// receiver.copy(&mut Vec::new())?;
    /// assert_eq!(receiver.wait(Duration::from_millis(1))?, Waited::Timeout);
    /// drop(sender);
    /// assert!(matches!(receiver.wait(Duration::from_secs(1))?, Waited::Ended(_)));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::System`] if the system refuses what it never should.
    pub fn wait(&mut self, timeout: Duration) -> Result<Waited, Error> {
        let deadline = deadline_ns(timeout);
        loop {
            let (wake, rest) = match self.news(deadline)? {
                News::Told(waited) => return Ok(waited),
                News::None { wake, rest } => (wake, rest),
            };
            let cancelled = self.cancelled.clone();
            match self.rest(rest) {
                Rest::Watch(time) => {
                    let enough = || {
                        cancelled
                            .as_ref()
                            .is_some_and(|cancelled| cancelled.is_set())
                    };
                    if let Ok(attached) = &self.attached {
                        attached.watch(wake, time, enough);
                    }
                }
                Rest::Sleep(time) => {
                    let cancelled = cancelled.as_ref().map(|cancelled| cancelled.word());
                    match (self.word(wake), cancelled) {
                        (Some(news), Some(cancelled)) => futex::wait_any(&[news, cancelled], time),
                        (Some(word), None) | (None, Some(word)) => futex::wait_any(&[word], time),
                        (None, None) => futex::wait_any(&[], time),
                    }
                    .map_err(|errno| self.name.failed("futex", errno))?;
                }
            }
        }
    }

    /// Waits until one of several receivers has something to tell, and says which ones do and what,
    /// by their index. None: not in time.
    ///
    /// It sleeps until one of them is woken, whatever their [`WaitMode`], on up to 120 segments
    /// with a control page; where the system is older than Linux 5.16, and with segments without a
    /// control page, it looks every few milliseconds. One that has ended tells so every time: leave
    /// it out, or reopen it.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use shm_frame::{Name, Receiver, Waited};
    /// # fn main() -> Result<(), shm_frame::Error> {
    /// let mut left = Receiver::open(&Name::new("/left")?)?;
    /// let mut right = Receiver::open(&Name::new("/right")?)?;
    /// let mut pixels = Vec::new();
    /// let mut both = [&mut left, &mut right];
    /// for (i, waited) in Receiver::wait_any(&mut both, Duration::from_secs(1))? {
    ///     if waited == Waited::Frame {
    ///         both[i].copy(&mut pixels)?;
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`wait`](Self::wait).
    pub fn wait_any(
        receivers: &mut [&mut Self],
        timeout: Duration,
    ) -> Result<Vec<(usize, Waited)>, Error> {
        let deadline = deadline_ns(timeout);
        loop {
            let mut told = Vec::new();
            let mut wakes = Vec::new();
            let left = deadline.saturating_sub(monotonic_ns());
            let mut time = LOOK.min(Duration::from_nanos(left));
            for (i, receiver) in receivers.iter_mut().enumerate() {
                match receiver.news(deadline)? {
                    News::Told(Waited::Timeout) => time = Duration::ZERO,
                    News::Told(waited) => told.push((i, waited)),
                    News::None { wake, rest } => {
                        let rest = match &mut receiver.attached {
                            Ok(attached) => attached.nap(rest),
                            Err(_) => rest,
                        };
                        time = time.min(rest);
                        wakes.push((i, wake));
                    }
                }
            }
            if !told.is_empty() || time.is_zero() {
                return Ok(told);
            }
            let words = wakes.iter().flat_map(|&(i, wake)| {
                let cancelled = receivers[i].cancelled.as_ref();
                let word = receivers[i].word(wake);
                word.into_iter()
                    .chain(cancelled.map(|cancelled| cancelled.word()))
            });
            let words: Vec<_> = words.collect();
            if words.len() > futex::MAX_WORDS {
                time = time.min(POLL);
            }
            let slept = futex::wait_any(&words, time);
            if let (Err(errno), Some(first)) = (slept, receivers.first()) {
                return Err(first.name.failed("futex_waitv", errno));
            }
        }
    }

    /// The word to sleep on, and what it must still be.
    fn word(&self, wake: u32) -> Option<(&crate::protocol::sync::AtomicU32, u32)> {
        let attached = self.attached.as_ref().ok()?;
        attached.control().map(|control| (&control.wake, wake))
    }

    /// Looks whether there is something to tell.
    fn news(&mut self, deadline: u64) -> Result<News, Error> {
        if let Some(cancelled) = &self.cancelled
            && cancelled.take()
        {
            return Ok(News::Told(Waited::Cancelled));
        }
        self.leave_the_parents()?;
        let attached = match &mut self.attached {
            Ok(attached) => attached,
            Err(end) => return Ok(News::Told(Waited::Ended(*end))),
        };
        let now = monotonic_ns();
        let last_chance = attached.ending.is_none();
        // The look comes first, and then wake word, state, latest in this order: what comes later
        // changes the word, and the last frame is seen before the end.
        if attached.look_if_due(now)? {
            self.seen.doubt(attached);
        }
        let mut end = attached.ending;
        let wake = attached.control().map_or(0, slots::wake);
        let (news, stated) = if let Some(control) = attached.control() {
            let stated = stated(slots::state(control));
            (attached.newer(control, self.seen.frame).is_some(), stated)
        } else {
            let header = attached.segment().slots.header(0);
            (self.seen.is_news(header), None)
        };
        if !attached.segment().intact() {
            end = Some(End::Broken);
        } else if news && last_chance && attached.failed_at != Some(wake) {
            return Ok(News::Told(Waited::Frame));
        }
        // A sender that ended is not alive either, and said so before.
        let end = if end == Some(End::Broken) {
            end
        } else {
            stated.or(end)
        };
        if let Some(end) = end {
            self.end(end);
            return Ok(News::Told(Waited::Ended(end)));
        }
        if deadline <= now {
            return Ok(News::Told(Waited::Timeout));
        }
        let until = deadline.min(attached.look_at_ns);
        Ok(News::None {
            wake,
            rest: Duration::from_nanos(until.saturating_sub(now)),
        })
    }

    /// Lets go of a segment that ended, and of its memory, which the next one may need.
    fn end(&mut self, end: End) {
        let Ok(attached) = &self.attached else {
            return;
        };
        let native = attached.control().is_some();
        // A frame that a dead sender left stays where it is: not to be taken for the next one's.
        // And whatever ended a segment with a control page may have lied: the sender's next one is
        // another file. A plain one that was replaced is looked at again at once.
        if native || matches!(end, End::Closed | End::Dead) {
            self.left = Some((attached.segment().id(), Instant::now() + LEAVE));
        }
        self.attached = Err(end);
    }

    /// In a process that was forked: opens the segment anew, since locks and leases so far are the
    /// parent's.
    #[inline]
    fn leave_the_parents(&mut self) -> Result<(), Error> {
        match &self.attached {
            Ok(attached) if !attached.segment().is_ours() => self.open_anew(),
            _ => Ok(()),
        }
    }

    #[cold]
    fn open_anew(&mut self) -> Result<(), Error> {
        self.attached = Err(End::Replaced);
        self.reopen().map(drop)
    }

    /// Takes note of the latest frame as if it had been taken. `false`: it is not whole yet, as a
    /// segment without a control page says, and stays news.
    fn pass(&mut self) -> bool {
        let Ok(attached) = &self.attached else {
            return true;
        };
        if let Some(control) = attached.control() {
            if let Some(latest) = attached.newer(control, self.seen.frame) {
                self.seen.take(latest.frame);
            }
            return true;
        }
        let header = attached.segment().slots.header(0);
        let whole = header.frame_valid == 1;
        if whole {
            self.seen.stamp = Some(header.timestamp_ms);
        }
        whole
    }

    /// How to wait for so long at most.
    fn rest(&mut self, rest: Duration) -> Rest {
        let Ok(attached) = &mut self.attached else {
            return Rest::Sleep(rest);
        };
        if attached.control().is_none() {
            return Rest::Sleep(attached.nap(rest));
        }
        let clock = monotonic_ns();
        match (self.wait_mode, self.predictor.watch(clock)) {
            (WaitMode::Spin, _) => Rest::Watch(rest),
            (WaitMode::Predict, Some(Range { start, end })) if start <= clock => {
                Rest::Watch(rest.min(Duration::from_nanos(end - clock)))
            }
            (WaitMode::Predict, Some(due)) => {
                let begin = Duration::from_nanos(due.start - clock);
                Rest::Sleep(attached.nap(rest.min(begin)))
            }
            (WaitMode::Predict, None) | (WaitMode::Sleep, _) => Rest::Sleep(attached.nap(rest)),
        }
    }

    /// The segment, if it has not ended.
    #[inline]
    fn attached(&mut self) -> Result<&mut Attached, Error> {
        self.leave_the_parents()?;
        match &mut self.attached {
            Ok(attached) => Ok(attached),
            Err(end) => Err(ended(&self.name, *end)),
        }
    }

    /// When no frame was taken: what [`wait`](Self::wait) does now and then, for those who do
    /// without it.
    fn attend(&mut self) -> Result<(), Error> {
        let now = monotonic_ns();
        let seen = self.seen.frame;
        let attached = self.attached()?;
        // A receiver that waits has looked by then.
        if now < attached.look_at_ns + LOOK_NS {
            return Ok(());
        }
        attached.look_if_due(now)?;
        let mut end = attached.ending;
        if let Some(control) = attached.control() {
            end = match end {
                Some(End::Broken) => end,
                // What is there is taken first.
                _ if attached.newer(control, seen).is_some() => None,
                _ => stated(slots::state(control)).or(end),
            };
        }
        if let Ok(attached) = &self.attached {
            self.seen.doubt(attached);
        }
        if let Some(end) = end {
            self.end(end);
        }
        self.attached().map(drop)
    }

    /// Takes the latest frame under a lease entry, which is given back with the hold.
    #[inline]
    fn take<'a, S: Keep>(
        &'a mut self,
        keep: impl FnOnce(&'a Arc<Shared>) -> S,
    ) -> Result<Option<(Hold<S>, Frame)>, Error> {
        let seen = self.seen.frame;
        let attached = self.attached()?;
        // Before the first look at `latest`, as in `wait`.
        attached.failed_at = attached.control().map(slots::wake);
        let Some(taken) = attached.hold(seen) else {
            return self.attend().map(|()| None);
        };
        let (latest, now) = (taken.latest, taken.found_ns);
        let by_lock = attached.shared.leases_by_lock();
        let Some(control) = attached.control() else {
            return Ok(None);
        };
        let words = attached.words(control, latest.slot);
        // After all that was read but the pixels. A lease by lock can be lost, and then its words
        // are another frame's: they are what tells later whether it was.
        let lost = by_lock && !slots::end_copy(control, latest);
        if lost || !attached.segment().intact() {
            drop(Hold::new(&*attached.shared, taken));
            return self.attend().map(|()| None);
        }
        let looked = attached.look_if_overdue(now);
        let Ok(attached) = &self.attached else {
            return Ok(None);
        };
        let mut hold = Hold::new(keep(&attached.shared), taken);
        looked?;
        let skipped = self.seen.take(latest.frame);
        if self.wait_mode == WaitMode::Predict {
            self.predictor.published(latest.frame, words.publish_ns);
        }
        let received = Received {
            number: latest.frame,
            skipped,
            via: if by_lock {
                Via::LeasedReadOnly
            } else {
                Via::Leased
            },
        };
        let shape = attached.shape(words.header)?;
        let frame = words.frame(attached, received, shape, now, &mut self.wall);
        if !hold.set_meta_len(shape, words.meta_len) {
            return Err(meta_too_long(attached, &frame, &words));
        }
        Ok(Some((hold, frame)))
    }

    /// Takes the latest frame in place. `None`: there is nothing new that is whole, or this
    /// receiver [cannot lease](Self::can_lease).
    ///
    /// While the lease is held, an old program, which looks at one slot only, may see nothing new:
    /// keep it short.
    ///
    /// ```
    /// # use shm_frame::{Error, Format, Name, Receiver, Sender, SenderOptions, Shape, Size};
    /// # fn main() -> Result<(), Error> {
    /// # let name = Name::new(&format!("/shm-frame-doc-lease-{}", std::process::id()))?;
    /// # let mut sender = Sender::create(&name, &SenderOptions::new())?;
    /// # let shape = Shape::new(Size { width: 64, height: 48 }, Format::GRAY16)?;
    /// # sender.publish(shape, &vec![1; shape.bytes()])?;
    /// let mut receiver = Receiver::open(&name)?;
    /// if let Some(lease) = receiver.lease()? {
    ///     let depths = lease.elements::<u16>().expect("a frame of u16");
    ///     let sum: f64 = depths.iter().map(|&depth| f64::from(depth)).sum();
    ///     let mean = sum / depths.len() as f64;
    ///     // Only now: a process that truncates the file is found out by it.
    ///     if lease.is_intact() {
    ///         println!("frame {}: {mean}", lease.frame().number);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] or [`Error::TooLarge`] if the frame's header is no image that fits,
    /// [`Error::Ended`] when the segment has ended: [`reopen`](Self::reopen) finds the next one.
    pub fn lease(&mut self) -> Result<Option<Lease<'_>>, Error> {
        let taken = self.take(|shared| &**shared)?;
        Ok(taken.map(|(hold, frame)| Lease { hold, frame }))
    }

    /// The same as [`lease`](Self::lease), for a lease that borrows nothing: it can be kept, queued
    /// and sent to other threads. Each that is held takes one of the segment's `slots - 2` lease
    /// entries, so one receiver may hold several. `None` also when no entry is left:
    /// [`copy`](Self::copy) then.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use shm_frame::{Name, Receiver};
    /// # fn main() -> Result<(), shm_frame::Error> {
    /// let mut receiver = Receiver::open(&Name::new("/cam")?)?;
    /// receiver.wait(Duration::from_secs(1))?;
    /// if let Some(lease) = receiver.lease_owned()? {
    ///     std::thread::spawn(move || println!("{} bytes", lease.pixels().len()));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`lease`](Self::lease).
    pub fn lease_owned(&mut self) -> Result<Option<OwnedLease>, Error> {
        let taken = self.take(Arc::clone)?;
        Ok(taken.map(|(hold, frame)| OwnedLease { hold, frame }))
    }

    /// Copies the pixels of the latest frame over what is in `pixels`. `None`: there is nothing new
    /// that is whole, and `pixels` is empty.
    ///
    /// ```
    /// # use shm_frame::{Error, Format, Name, Receiver, Sender, SenderOptions, Shape, Size};
    /// # fn main() -> Result<(), Error> {
    /// # let name = Name::new(&format!("/shm-frame-doc-copy-{}", std::process::id()))?;
    /// # let mut sender = Sender::create(&name, &SenderOptions::new())?;
    /// # let shape = Shape::new(Size { width: 64, height: 48 }, Format::GRAY16)?;
    /// # sender.publish(shape, &vec![1; shape.bytes()])?;
    /// let mut receiver = Receiver::open(&name)?;
    /// let mut pixels = Vec::new();
    /// if let Some(frame) = receiver.copy(&mut pixels)? {
    ///     assert_eq!(pixels.len(), frame.shape.bytes());
    ///     println!("{} frames were skipped before frame {}", frame.skipped, frame.number);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] or [`Error::TooLarge`] if the frame's header is no image that fits,
    /// [`Error::NoMemory`] if there is none for the copy, [`Error::Ended`] when the segment has
    /// ended: [`reopen`](Self::reopen) finds the next one.
    pub fn copy(&mut self, pixels: &mut Vec<u8>) -> Result<Option<Frame>, Error> {
        self.copy_to(&mut Target::vec(pixels), None)
    }

    /// The same, and the bytes that the sender added to the frame over those in `meta`, which is
    /// empty if there are none.
    ///
    /// ```
    /// # use shm_frame::{Error, Format, Name, Receiver, Sender, SenderOptions, Shape, Size};
    /// # fn main() -> Result<(), Error> {
    /// # let name = Name::new(&format!("/shm-frame-doc-meta-{}", std::process::id()))?;
    /// # let mut sender = Sender::create(&name, &SenderOptions::new())?;
    /// # let shape = Shape::new(Size { width: 64, height: 48 }, Format::GRAY16)?;
    /// # sender.publish(shape, &vec![1; shape.bytes()])?;
    /// let mut receiver = Receiver::open(&name)?;
    /// let (mut pixels, mut meta) = (Vec::new(), Vec::new());
    /// if receiver.copy_with_meta(&mut pixels, &mut meta)?.is_some() {
    ///     println!("{}", String::from_utf8_lossy(&meta));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`copy`](Self::copy).
    pub fn copy_with_meta(
        &mut self,
        pixels: &mut Vec<u8>,
        meta: &mut Vec<u8>,
    ) -> Result<Option<Frame>, Error> {
        self.copy_to(&mut Target::vec(pixels), Some(meta))
    }

    /// The same into a slice, which must be as long as the frame. `None`: there is nothing new that
    /// is whole, and the slice holds zeros, or what it held if nothing was tried.
    ///
    /// ```
    /// # use shm_frame::{Error, Format, Name, Receiver, Sender, SenderOptions, Shape, Size};
    /// # fn main() -> Result<(), Error> {
    /// # let name = Name::new(&format!("/shm-frame-doc-slice-{}", std::process::id()))?;
    /// # let mut sender = Sender::create(&name, &SenderOptions::new())?;
    /// # let shape = Shape::new(Size { width: 64, height: 48 }, Format::GRAY16)?;
    /// # sender.publish(shape, &vec![1; shape.bytes()])?;
    /// let mut receiver = Receiver::open(&name)?;
    /// let mut pixels = vec![0; 3];
    /// let frame = match receiver.copy_to_slice(&mut pixels) {
    ///     // It tells how long the frame is, which can be taken then.
    ///     Err(Error::Length { shape, .. }) => {
    ///         pixels.resize(shape.bytes(), 0);
    ///         receiver.copy_to_slice(&mut pixels)?
    ///     }
    ///     taken => taken?,
    /// };
    /// assert_eq!(frame.expect("a frame").number, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Length`] if the frame is of another length, which says its shape; that frame is not
    /// taken. Else as for [`copy`](Self::copy).
    pub fn copy_to_slice(&mut self, pixels: &mut [u8]) -> Result<Option<Frame>, Error> {
        self.copy_to(&mut Target::slice(pixels), None)
    }

    /// The same, and the bytes that the sender added to the frame over those in `meta`.
    ///
    /// # Errors
    ///
    /// As for [`copy_to_slice`](Self::copy_to_slice).
    pub fn copy_to_slice_with_meta(
        &mut self,
        pixels: &mut [u8],
        meta: &mut Vec<u8>,
    ) -> Result<Option<Frame>, Error> {
        self.copy_to(&mut Target::slice(pixels), Some(meta))
    }

    fn copy_to(
        &mut self,
        pixels: &mut Target<'_>,
        mut meta: Option<&mut Vec<u8>>,
    ) -> Result<Option<Frame>, Error> {
        pixels.clear();
        if let Some(meta) = &mut meta {
            meta.clear();
        }
        let copied = self.try_to_copy(pixels, &mut meta);
        if !matches!(copied, Ok(Some(_))) {
            // Nobody is to take bytes for a frame that may be torn.
            pixels.clear();
            if let Some(meta) = &mut meta {
                meta.clear();
            }
        }
        copied
    }

    fn try_to_copy(
        &mut self,
        pixels: &mut Target<'_>,
        meta: &mut Option<&mut Vec<u8>>,
    ) -> Result<Option<Frame>, Error> {
        let seen = self.seen.frame;
        let attached = self.attached()?;
        attached.failed_at = Some(attached.control().map_or(0, slots::wake));
        if attached.control().is_none() {
            self.attend()?;
            let (Ok(attached), seen, torn) = (&self.attached, &mut self.seen, &mut self.torn)
            else {
                return Ok(None);
            };
            return copy_plain(attached, seen, torn, pixels);
        }
        let copy = |attached: &Attached,
                    words: &Words,
                    slot,
                    pixels: &mut Target<'_>,
                    meta: &mut Option<&mut Vec<u8>>| {
            let shape = attached.copy(slot, words.header, pixels)?;
            let slots = &attached.segment().slots;
            let fits = meta
                .as_mut()
                .is_none_or(|meta| slots.copy_meta(slot, shape, words.meta_len as usize, meta));
            Ok::<_, Error>((shape, fits))
        };
        let mut torn = 0;
        let mut taken = None;
        for _ in 0..if attached.can_hold() {
            COPIES_BEFORE_A_LEASE
        } else {
            COPIES
        } {
            let Some(control) = attached.control() else {
                break;
            };
            let Some(latest) = attached.newer(control, seen) else {
                break;
            };
            if !slots::begin_copy(control, latest) {
                continue;
            }
            let words = attached.words(control, latest.slot);
            let copied = copy(attached, &words, latest.slot, pixels, meta);
            if slots::end_copy(control, latest) {
                taken = Some((latest, words, copied));
                break;
            }
            torn += 1;
        }
        if taken.is_none()
            && torn > 0
            && let Some(held) = attached.hold(seen)
            && let Some(control) = attached.control()
        {
            let latest = held.latest;
            let words = attached.words(control, latest.slot);
            let copied = copy(attached, &words, held.held.slot(), pixels, meta);
            // A lease by lock can be lost.
            let whole = !attached.shared.leases_by_lock() || slots::end_copy(control, latest);
            drop(Hold::new(&*attached.shared, held));
            if whole {
                taken = Some((latest, words, copied));
            } else {
                torn += 1;
            }
        }
        let intact = attached.segment().intact();
        if matches!(taken, Some((_, _, Err(Error::Length { .. })))) {
            // Not taken: the caller comes again with room for it, and may wait for it before.
            attached.failed_at = None;
        }
        self.torn += torn;
        let Some((latest, words, copied)) = taken.filter(|_| intact) else {
            return self.attend().map(|()| None);
        };
        let Ok(attached) = &mut self.attached else {
            return Ok(None);
        };
        if matches!(copied, Err(Error::Length { .. })) {
            return Err(copied.expect_err("it is an error"));
        }
        let now = monotonic_ns();
        attached.look_if_overdue(now)?;
        let skipped = self.seen.take(latest.frame);
        if self.wait_mode == WaitMode::Predict {
            self.predictor.published(latest.frame, words.publish_ns);
        }
        let received = Received {
            number: latest.frame,
            skipped,
            via: Via::Copied,
        };
        let (shape, fits) = copied?;
        let frame = words.frame(attached, received, shape, now, &mut self.wall);
        if fits {
            Ok(Some(frame))
        } else {
            Err(meta_too_long(attached, &frame, &words))
        }
    }
}

#[cold]
fn ended(name: &Name, end: End) -> Error {
    let name = name.clone();
    Error::Ended { name, end }
}

/// When that long has passed, by the monotonic clock.
fn deadline_ns(timeout: Duration) -> u64 {
    monotonic_ns().saturating_add(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX))
}

/// A frame that claims more of the sender's own bytes than a slot has.
fn meta_too_long(attached: &Attached, frame: &Frame, words: &Words) -> Error {
    let geometry = attached.segment().slots.geometry();
    let room = geometry.meta(frame.shape.bytes());
    Error::MetaTooLong {
        got: words.meta_len as usize,
        room: room.map_or(0, |(_, room)| room),
    }
}
