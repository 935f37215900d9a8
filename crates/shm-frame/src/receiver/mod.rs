//! Taking frames out of a segment.

mod attached;
mod frame;
mod lease;
mod plain;
mod predict;

use std::thread;
use std::time::{Duration, Instant};

use self::attached::{Attached, look, stated};
pub use self::frame::{End, Frame, Via, WaitMode, Waited};
pub use self::lease::Lease;
use self::plain::{age_ns, copy_plain};
use self::predict::Predictor;
use crate::clock::{Wall, monotonic_ns};
use crate::protocol::slots;
use crate::segment::found::{FileId, named};
use crate::segment::{LOOK, Segment};
use crate::{Error, Name};

/// Copies that are tried.
const COPIES: u32 = 8;
/// Copies that are tried by a receiver that can lease, before it does.
const COPIES_BEFORE_A_LEASE: u32 = 2;
/// How often to look where nobody wakes. Times in segments without a control page are in whole ms anyway.
const POLL: Duration = Duration::from_millis(1);
/// How long to leave a segment alone that ended.
const LEAVE: Duration = Duration::from_secs(1);
/// What is older than this when a receiver comes to a segment without a control page may be anybody's leftovers.
const STALE_NS: i64 = 1_000_000_000;

/// One of any number of processes that take frames out of a segment.
///
/// It never writes where pixels are, and nothing it does makes a sender wait.
#[derive(Debug)]
pub struct Receiver {
    name: Name,
    attached: Result<Attached, End>,
    /// A segment that ended and may still have the name, and until when not to look at it again: whoever brought its end
    /// about may have lied.
    left: Option<(FileId, Instant)>,
    sender_pid: Option<u32>,
    seen: Seen,
    torn: u64,
    wait_mode: WaitMode,
    predictor: Predictor,
    wall: Wall,
}

/// What this receiver has seen, whatever segment it came from.
#[derive(Debug, Default)]
struct Seen {
    /// Whose frames `frame` counts.
    session: u64,
    /// The newest frame taken, or refused for its age. Without a control page: how many were taken.
    frame: u64,
    /// The time stamp of the newest frame taken, or refused for its age, from a segment without a control page.
    stamp: Option<i64>,
    /// When that frame was taken.
    taken_at: Option<Instant>,
    /// A frame was taken, so that what is missed from now on was skipped.
    any: bool,
}

impl Seen {
    /// Forgets a number that cannot be, which somebody made this receiver believe: numbers only grow while a sender lives.
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

impl Receiver {
    /// Opens the segment that the name means. Its newest frame counts as new if its sender is alive; if that is dead, the
    /// first [`wait`](Self::wait) says so.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if there is none, [`Error::NotASegment`] if it is something else, [`Error::Denied`] if this user may
    /// not read it.
    pub fn open(name: &Name) -> Result<Self, Error> {
        let mut receiver = Self {
            name: name.clone(),
            attached: Err(End::Replaced),
            left: None,
            sender_pid: None,
            seen: Seen::default(),
            torn: 0,
            wait_mode: WaitMode::default(),
            predictor: Predictor::default(),
            wall: Wall::default(),
        };
        receiver.attach(Segment::open(name)?)?;
        Ok(receiver)
    }

    /// Opens the segment that the name means by now, after this one ended. `Ok(false)`: there is none yet.
    ///
    /// Frame numbers go on if it has the same sender; else they begin anew, and all frames of the new sender until the
    /// first one taken count as skipped.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open), but for a segment that is not there.
    pub fn reopen(&mut self) -> Result<bool, Error> {
        let now = named(&self.name)?;
        let Some(id) = now else {
            return Ok(false);
        };
        if self
            .left
            .is_some_and(|(left, until)| left == id && Instant::now() < until)
        {
            return Ok(false);
        }
        match Segment::open(&self.name) {
            Ok(segment) => self.attach(segment).map(|()| true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn attach(&mut self, segment: Segment) -> Result<(), Error> {
        let attached = Attached::new(segment);
        let segment = &attached.segment;
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
            .map(|_| attached.segment.slots.geometry().slots)
    }

    /// Whether this receiver owns a lease entry: it does if the segment has a control page, this user may write it, and not
    /// all of its `slots - 2` entries were taken.
    pub fn can_lease(&self) -> bool {
        self.attached
            .as_ref()
            .is_ok_and(|attached| attached.entry.is_some())
    }

    /// Frames that were overwritten while they were copied, seen to be so and thrown away.
    pub fn torn(&self) -> u64 {
        self.torn
    }

    /// Says how to wait from now on.
    pub fn set_wait_mode(&mut self, wait_mode: WaitMode) {
        self.wait_mode = wait_mode;
    }

    /// Waits until there is a frame newer than the last one taken: asleep, unless it is told to wait
    /// [otherwise](Self::set_wait_mode).
    ///
    /// # Errors
    ///
    /// [`Error::System`] if the system refuses what it never should.
    pub fn wait(&mut self, timeout: Duration) -> Result<Waited, Error> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            let attached = match &mut self.attached {
                Ok(attached) => attached,
                Err(end) => return Ok(Waited::Ended(*end)),
            };
            let now = Instant::now();
            let mut end = attached.ending;
            let last_chance = end.is_none();
            // The look comes first, and then wake word, state, latest in this order: what comes later changes the word, and
            // the last frame is seen before the end.
            if now >= attached.look_at {
                attached.look_at = now + LOOK;
                end = end.or(look(&attached.segment)?);
                attached.ending = end;
                self.seen.doubt(attached);
            }
            let wake = attached.control().map_or(0, slots::wake);
            let (news, stated) = match attached.control() {
                Some(control) => {
                    let stated = stated(slots::state(control));
                    (attached.newer(control, self.seen.frame).is_some(), stated)
                }
                None => (self.seen.is_news(attached.segment.slots.header(0)), None),
            };
            if !attached.segment.intact() {
                end = Some(End::Broken);
            } else if news && last_chance && attached.failed_at != Some(wake) {
                return Ok(Waited::Frame);
            }
            // A sender that ended is not alive either, and said so before.
            let end = if end == Some(End::Broken) {
                end
            } else {
                stated.or(end)
            };
            if let Some(end) = end {
                // A frame that a dead sender left stays where it is: not to be taken for the next one's.
                // A broken one would pass for one without a control page; its sender makes another.
                let native = attached.segment.control.is_some();
                if matches!(end, End::Closed | End::Dead) || native && end == End::Broken {
                    self.left = Some((attached.segment.id(), now + LEAVE));
                }
                // Let go of the memory, which the next segment may need.
                self.attached = Err(end);
                return Ok(Waited::Ended(end));
            }
            let left = deadline.map_or(LOOK, |deadline| deadline.saturating_duration_since(now));
            if left.is_zero() {
                return Ok(Waited::Timeout);
            }
            let left = left.min(attached.look_at.saturating_duration_since(now));
            if attached.segment.control.is_some() {
                let clock = monotonic_ns();
                match (self.wait_mode, self.predictor.watch(clock)) {
                    (WaitMode::Spin, _) => attached.watch(wake, left),
                    (WaitMode::Predict, Some(due)) if due.contains(&clock) => {
                        attached.watch(wake, left.min(Duration::from_nanos(due.end - clock)));
                    }
                    (WaitMode::Predict, Some(due)) => {
                        let begin = Duration::from_nanos(due.start - clock);
                        attached.sleep(wake, left.min(begin))?;
                    }
                    (WaitMode::Predict, None) | (WaitMode::Sleep, _) => {
                        attached.sleep(wake, left)?;
                    }
                }
            } else {
                thread::sleep(left.min(POLL));
                attached.failed_at = None;
            }
        }
    }

    /// Takes the latest frame in place. `None`: there is nothing new that is whole, or this receiver
    /// [cannot lease](Self::can_lease).
    ///
    /// While the lease is held, an old program, which looks at one slot only, may see nothing new: keep it short.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] or [`Error::TooLarge`] if the frame's header is no image that fits.
    pub fn lease(&mut self) -> Result<Option<Lease<'_>>, Error> {
        let Ok(attached) = &mut self.attached else {
            return Ok(None);
        };
        // Before the first look at `latest`, as in `wait`.
        attached.failed_at = attached.control().map(slots::wake);
        let attached = &*attached;
        let Some((latest, hold)) = attached.hold(self.seen.frame) else {
            return Ok(None);
        };
        let words = attached.words(hold.control, latest.slot);
        if !attached.segment.intact() {
            return Ok(None);
        }
        let skipped = self.seen.take(latest.frame);
        if self.wait_mode == WaitMode::Predict {
            self.predictor.published(latest.frame, words.publish_ns);
        }
        let shape = attached.shape(words.header)?;
        let (number, found_ns) = (latest.frame, hold.found_ns);
        let frame = words.frame(
            number,
            shape,
            skipped,
            Via::Leased,
            found_ns,
            &mut self.wall,
        );
        Ok(Some(Lease { hold, frame }))
    }

    /// Copies the pixels of the latest frame over what is in `pixels`. `None`: there is nothing new that is whole.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] or [`Error::TooLarge`] if the frame's header is no image that fits, [`Error::NoMemory`] if there is none
    /// for the copy.
    pub fn copy(&mut self, pixels: &mut Vec<u8>) -> Result<Option<Frame>, Error> {
        let Ok(attached) = &mut self.attached else {
            return Ok(None);
        };
        attached.failed_at = Some(attached.control().map_or(0, slots::wake));
        let attached = &*attached;
        let Some(control) = attached.control() else {
            return copy_plain(attached, &mut self.seen, &mut self.torn, pixels);
        };
        let mut taken = None;
        for _ in 0..if attached.entry.is_some() {
            COPIES_BEFORE_A_LEASE
        } else {
            COPIES
        } {
            let Some(latest) = attached.newer(control, self.seen.frame) else {
                return Ok(None);
            };
            if !slots::begin_copy(control, latest) {
                continue;
            }
            let words = attached.words(control, latest.slot);
            let shape = attached.copy(latest.slot, words.header, pixels);
            if slots::end_copy(control, latest) {
                taken = Some((latest, words, shape));
                break;
            }
            self.torn += 1;
        }
        if taken.is_none()
            && let Some((latest, hold)) = attached.hold(self.seen.frame)
        {
            let words = attached.words(control, latest.slot);
            let shape = attached.copy(hold.held.slot(), words.header, pixels);
            taken = Some((latest, words, shape));
        }
        let Some((latest, words, shape)) = taken.filter(|_| attached.segment.intact()) else {
            return Ok(None);
        };
        let skipped = self.seen.take(latest.frame);
        if self.wait_mode == WaitMode::Predict {
            self.predictor.published(latest.frame, words.publish_ns);
        }
        let (number, now) = (latest.frame, monotonic_ns());
        Ok(Some(words.frame(
            number,
            shape?,
            skipped,
            Via::Copied,
            now,
            &mut self.wall,
        )))
    }
}
