use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::thread::futex;

use crate::clock::{Wall, monotonic_ns, unix_ns};
use crate::layout::{CLOSED, ControlPage, OPEN};
use crate::predict::Predictor;
use crate::segment::memory::Control;
use crate::segment::{FileId, LOOK, Look, Segment, lock, named};
use crate::slots::{self, Held, Latest};
use crate::sync::{Ordering, fence};
use crate::{Error, FrameHeader, Name, Shape};

/// Copies that are tried.
const COPIES: u32 = 8;
/// Copies that are tried by a receiver that can lease, before it does.
const COPIES_BEFORE_A_LEASE: u32 = 2;
/// Leases that are tried: each that fails means that the sender published meanwhile.
const LEASE_TRIES: u32 = 64;
/// How often to look where nobody wakes. Times in segments without a control page are in whole ms anyway.
const POLL: Duration = Duration::from_millis(1);
/// How long to leave a segment alone that ended.
const LEAVE: Duration = Duration::from_secs(1);
/// Longer than anything runs.
const NEVER: Duration = Duration::from_secs(1 << 32);
/// How long to watch such a segment for a whole frame before each copy.
const PLAIN_WATCH: Duration = Duration::from_micros(100);
/// How long such a segment may have new frames and none that is whole before a still picture is looked for.
const PLAIN_STARVING: Duration = Duration::from_millis(50);
/// How long to wait there for the next frame to be begun: no longer than such a sender takes for one.
const PLAIN_NEXT: Duration = Duration::from_millis(20);
/// What is older than this when a receiver comes to a segment without a control page may be anybody's leftovers.
const STALE_NS: i64 = 1_000_000_000;

/// What [`Receiver::wait`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// There is a frame newer than the last one taken.
    Frame,
    /// There was none in time.
    Timeout,
    /// There will be none from this segment. [`Receiver::reopen`] finds the next one.
    Ended(End),
}

/// How [`Receiver::wait`] waits. It matters for segments with a control page only: others are polled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WaitBy {
    /// Sleeps until the sender wakes it, which takes tens of microseconds.
    #[default]
    Sleep,
    /// On a steady stream sleeps until shortly before the next frame is due, and then watches for it, for 5 % of the time at
    /// most. Sleeps while frames are irregular, or stop, or come faster than 200 a second.
    Predict,
    /// Watches all the time, which takes a processor.
    Spin,
}

/// How a segment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its sender said so.
    Closed,
    /// Its sender died without a word.
    Dead,
    /// The name means another segment now, or none.
    Replaced,
    /// Somebody truncated or overwrote it.
    Broken,
}

/// How a frame came over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Read in place.
    Leased,
    /// Copied, and known to be whole.
    Copied,
    /// Copied from a segment without a control page: nobody can rule out that it is torn.
    Plain,
}

/// What is known of a frame that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The sender's count, from 1; without a control page, this receiver's.
    pub number: u64,
    /// Height x width x channels.
    pub shape: Shape,
    /// Unix time in ms when the sender began to write it.
    pub sent_ms: i64,
    /// Unix time in ms when the receiver had it.
    pub received_ms: i64,
    /// From before the first byte was written until the receiver had the frame: found it, if it is leased, and else had copied
    /// it; in ns. By the monotonic clock; without a control page by the wall clock, which has steps of a ms here and may have
    /// been set in between.
    pub delay_ns: i64,
    /// Frames that were published since the last one taken and never seen here. Unknown, and 0, without a control page.
    pub skipped: u64,
    /// How it came over.
    pub path: Path,
}

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
    wait_by: WaitBy,
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

#[derive(Debug)]
struct Attached {
    segment: Segment,
    /// The lease entry that this receiver owns.
    entry: Option<usize>,
    look_at: Instant,
    /// The sender was asked to wake this receiver, and does so from then on at the latest.
    woken_from: Option<Instant>,
    /// What the last look found: one more frame may be taken, if there is one.
    ending: Option<End>,
    /// Taking the latest frame failed at this wake word: not again before it changes. Without a control page the word
    /// is 0, and changes after a pause.
    failed_at: Option<u32>,
}

impl Attached {
    fn new(segment: Segment) -> Self {
        Self {
            entry: own_entry(&segment),
            segment,
            look_at: Instant::now() + LOOK,
            woken_from: None,
            ending: None,
            failed_at: None,
        }
    }

    fn control(&self) -> Option<&ControlPage> {
        self.segment.control.as_ref().map(Control::page)
    }

    /// The newest whole frame, if it is newer than `seen`.
    fn newer(&self, control: &ControlPage, seen: u64) -> Option<Latest> {
        slots::latest(control, self.segment.slots.geometry().slots)
            .filter(|latest| latest.frame > seen)
    }

    /// Holds the newest whole frame, if it is newer than `seen` and this receiver can lease.
    fn hold(&self, seen: u64) -> Option<(Latest, Hold<'_>)> {
        let control = self.control()?;
        let entry = self.entry?;
        for _ in 0..LEASE_TRIES {
            let latest = self.newer(control, seen)?;
            // The sender has changed the slot and looked at the lease: all lines at once, and the clock while they are on their way.
            self.segment.control.as_ref()?.fetch_lease(entry, true);
            self.segment.fetch_slot(latest.slot);
            let found_ns = monotonic_ns();
            if let Some(held) = slots::lease(control, entry, latest) {
                let hold = Hold {
                    attached: self,
                    control,
                    entry,
                    held,
                    found_ns,
                };
                return Some((latest, hold));
            }
        }
        None
    }

    /// What a slot says of its frame, which may be torn if it is not held.
    fn words(&self, control: &ControlPage, slot: usize) -> Words {
        Words {
            header: self.segment.slots.header(slot),
            begin_ns: control.slot[slot].begin_ns.load(Ordering::Relaxed),
            publish_ns: control.slot[slot].publish_ns.load(Ordering::Relaxed),
        }
    }

    /// Copies the pixels that a slot's header claims, which may be torn.
    fn copy(&self, slot: usize, header: FrameHeader, pixels: &mut Vec<u8>) -> Result<Shape, Error> {
        let shape = self.shape(header)?;
        self.segment.slots.copy(slot, shape, pixels)?;
        Ok(shape)
    }

    fn shape(&self, header: FrameHeader) -> Result<Shape, Error> {
        let mut room = self.segment.slots.geometry().room();
        if self.segment.control.is_none() {
            // A sender reserved all it has, but another file may be sparse.
            let reserved = self.segment.reserved()?;
            room = room.min(reserved.saturating_sub(FrameHeader::LEN));
        }
        header.shape(room)
    }

    /// Sleeps until the wake word is not `value` any more, or for that long, or less.
    fn sleep(&mut self, value: u32, time: Duration) -> Result<(), Error> {
        let Some(control) = &self.segment.control else {
            return Ok(());
        };
        let now = Instant::now();
        let woken_from = *self
            .woken_from
            .get_or_insert_with(|| now + ask_to_be_woken(&self.segment, control));
        let time = if now < woken_from {
            time.min(POLL)
        } else {
            time
        };
        let time = futex::Timespec::try_from(time).expect("no more than LOOK");
        match futex::wait(
            &control.page().wake,
            futex::Flags::empty(),
            value,
            Some(&time),
        ) {
            // EFAULT: the page is gone, which the next look at the segment finds.
            Ok(()) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT | Errno::FAULT) => Ok(()),
            Err(errno) => Err(self.segment.name().failed("futex", errno)),
        }
    }

    /// Looks at the wake word until it is not `value` any more, or for that long.
    fn watch(&self, value: u32, time: Duration) {
        /// The clock costs as much as so many looks.
        const LOOKS: u32 = 64;
        let end = Instant::now() + time;
        while let Some(control) = self.control() {
            for _ in 0..LOOKS {
                if slots::wake(control) != value {
                    return;
                }
                std::hint::spin_loop();
            }
            if Instant::now() >= end {
                return;
            }
        }
    }
}

/// What stands beside the pixels of a frame.
struct Words {
    header: FrameHeader,
    begin_ns: u64,
    publish_ns: u64,
}

impl Words {
    /// The frame that was received at `now`.
    fn frame(
        &self,
        number: u64,
        shape: Shape,
        skipped: u64,
        path: Path,
        now: u64,
        wall: &mut Wall,
    ) -> Frame {
        Frame {
            number,
            shape,
            sent_ms: self.header.timestamp_ms,
            received_ms: wall.ms(now),
            // May be any number if somebody else wrote it; a difference is then one, too.
            delay_ns: now.wrapping_sub(self.begin_ns).cast_signed(),
            skipped,
            path,
        }
    }
}

/// Asks the sender to wake those who sleep here. Until then, which is how long from now at most, nobody does.
fn ask_to_be_woken(segment: &Segment, control: &Control) -> Duration {
    if lock::share(segment.file(), lock::SLEEPERS) != Ok(true) {
        // Nothing is lost but time.
        return NEVER;
    }
    if !control.writable() {
        // The sender looks by itself.
        return 2 * LOOK;
    }
    // Release: pairs with the Acquire in the sender's `asked`.
    // - The lock above must not move below.
    control.page().asked.fetch_add(1, Ordering::Release);
    // A frame that is being published just now may miss it, and is visible by then.
    POLL
}

/// Takes a lease entry that nobody owns, if there is one. The lock is given back with the file.
fn own_entry(segment: &Segment) -> Option<usize> {
    let control = segment
        .control
        .as_ref()
        .filter(|control| control.writable())?;
    let entries = 0..segment.slots.geometry().leases();
    // Twice: a sender takes an entry's lock for a moment to take back a dead receiver's lease.
    let entry = entries
        .clone()
        .chain(entries)
        .find(|entry| lock::take(segment.file(), lock::LEASES + entry) == Ok(true))?;
    slots::release(control.page(), entry);
    Some(entry)
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
            wait_by: WaitBy::default(),
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
    pub fn set_wait_by(&mut self, wait_by: WaitBy) {
        self.wait_by = wait_by;
    }

    /// Waits until there is a frame newer than the last one taken: asleep, unless it is told to wait
    /// [otherwise](Self::set_wait_by).
    ///
    /// # Errors
    ///
    /// [`Error::System`] if the system refuses what it never should.
    pub fn wait(&mut self, timeout: Duration) -> Result<Wait, Error> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            let attached = match &mut self.attached {
                Ok(attached) => attached,
                Err(end) => return Ok(Wait::Ended(*end)),
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
                return Ok(Wait::Frame);
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
                return Ok(Wait::Ended(end));
            }
            let left = deadline.map_or(LOOK, |deadline| deadline.saturating_duration_since(now));
            if left.is_zero() {
                return Ok(Wait::Timeout);
            }
            let left = left.min(attached.look_at.saturating_duration_since(now));
            if attached.segment.control.is_some() {
                let clock = monotonic_ns();
                match (self.wait_by, self.predictor.watch(clock)) {
                    (WaitBy::Spin, _) => attached.watch(wake, left),
                    (WaitBy::Predict, Some(due)) if due.contains(&clock) => {
                        attached.watch(wake, left.min(Duration::from_nanos(due.end - clock)));
                    }
                    (WaitBy::Predict, Some(due)) => {
                        let begin = Duration::from_nanos(due.start - clock);
                        attached.sleep(wake, left.min(begin))?;
                    }
                    (WaitBy::Predict, None) | (WaitBy::Sleep, _) => attached.sleep(wake, left)?,
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
        if self.wait_by == WaitBy::Predict {
            self.predictor.published(latest.frame, words.publish_ns);
        }
        let shape = attached.shape(words.header)?;
        let (number, found_ns) = (latest.frame, hold.found_ns);
        let frame = words.frame(
            number,
            shape,
            skipped,
            Path::Leased,
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
        if self.wait_by == WaitBy::Predict {
            self.predictor.published(latest.frame, words.publish_ns);
        }
        let (number, now) = (latest.frame, monotonic_ns());
        Ok(Some(words.frame(
            number,
            shape?,
            skipped,
            Path::Copied,
            now,
            &mut self.wall,
        )))
    }
}

/// The same from a segment without a control page.
fn copy_plain(
    attached: &Attached,
    seen: &mut Seen,
    torn: &mut u64,
    pixels: &mut Vec<u8>,
) -> Result<Option<Frame>, Error> {
    let Some((header, shape)) = copy_between_writes(attached, seen, torn, pixels)
        .or_else(|| copy_still_picture(attached, seen, torn, pixels))
    else {
        return Ok(None);
    };
    if !attached.segment.intact() {
        return Ok(None);
    }
    seen.stamp = Some(header.timestamp_ms);
    seen.taken_at = Some(Instant::now());
    let number = seen.frame + 1;
    seen.take(number);
    Ok(Some(Frame {
        number,
        shape: shape?,
        sent_ms: header.timestamp_ms,
        received_ms: unix_ns().div_euclid(1_000_000),
        delay_ns: age_ns(header),
        skipped: 0,
        path: Path::Plain,
    }))
}

/// A frame, and what its header claims.
type Copied = (FrameHeader, Result<Shape, Error>);

/// Copies a frame whose header says, before and after, that it is whole. Between the two looks the sender may have
/// written any number of frames within one ms.
fn copy_between_writes(
    attached: &Attached,
    seen: &Seen,
    torn: &mut u64,
    pixels: &mut Vec<u8>,
) -> Option<Copied> {
    let slots = &attached.segment.slots;
    let end = Instant::now() + PLAIN_WATCH;
    for _ in 0..COPIES {
        let mut header = slots.header(0);
        while !(seen.is_news(header) && header.frame_valid == 1) {
            if Instant::now() > end {
                return None;
            }
            std::hint::spin_loop();
            header = slots.header(0);
        }
        let shape = attached.copy(0, header, pixels);
        // The reads of the copy must not move below.
        fence(Ordering::Acquire);
        if slots.header(0) == header {
            return Some((header, shape));
        }
        *torn += 1;
    }
    None
}

/// Copies a still picture from a sender that begins the next frame as soon as one is whole, so that no time is left in
/// between to copy one: whatever is the same in two copies, with a new frame begun in between, is what the sender writes
/// again and again. A moving picture from such a sender is torn, and thrown away.
fn copy_still_picture(
    attached: &Attached,
    seen: &Seen,
    torn: &mut u64,
    pixels: &mut Vec<u8>,
) -> Option<Copied> {
    if seen
        .taken_at
        .is_some_and(|taken_at| taken_at.elapsed() < PLAIN_STARVING)
    {
        return None;
    }
    let slots = &attached.segment.slots;
    let first = slots.header(0);
    let shape = attached.copy(0, first, pixels).ok()?;
    fence(Ordering::Acquire);
    let end = Instant::now() + PLAIN_NEXT;
    let mut second = slots.header(0);
    while second.timestamp_ms == first.timestamp_ms {
        if Instant::now() > end {
            // It stands still in the middle of a frame.
            return None;
        }
        thread::sleep(PLAIN_WATCH);
        second = slots.header(0);
    }
    let mut again = Vec::new();
    if attached.shape(second).ok()? == shape {
        slots.copy(0, shape, &mut again).ok()?;
        fence(Ordering::Acquire);
    }
    if again == *pixels && attached.shape(slots.header(0)).ok()? == shape {
        return Some((second, Ok(shape)));
    }
    *torn += 1;
    None
}

impl Seen {
    /// Whether a header without a control page is that of a frame that was not taken yet, whole or not.
    fn is_news(&self, header: FrameHeader) -> bool {
        header != FrameHeader::default() && self.stamp != Some(header.timestamp_ms)
    }
}

/// By the wall clock, from the header's time stamp until now.
fn age_ns(header: FrameHeader) -> i64 {
    unix_ns().saturating_sub(header.timestamp_ms.saturating_mul(1_000_000))
}

/// What became of a segment, by a look at its file.
fn look(segment: &Segment) -> Result<Option<End>, Error> {
    let look = segment.look()?;
    if look == Look::Broken {
        return Ok(Some(End::Broken));
    }
    if segment.control.is_some() && !segment.alive()? {
        return Ok(Some(End::Dead));
    }
    // A sender whose name was removed goes on here until it has made the next segment, and then says so.
    let between = || Ok(segment.control.is_some() && named(segment.name())?.is_none());
    Ok((look == Look::Nameless && !between()?).then_some(End::Replaced))
}

/// What became of a segment, by its sender's word.
fn stated(state: u32) -> Option<End> {
    match state {
        OPEN => None,
        CLOSED => Some(End::Closed),
        _ => Some(End::Replaced),
    }
}

/// A slot in this receiver's lease entry, until dropped.
#[derive(Debug)]
struct Hold<'a> {
    attached: &'a Attached,
    control: &'a ControlPage,
    entry: usize,
    held: Held,
    /// When the frame was found, by the monotonic clock.
    found_ns: u64,
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        slots::release(self.control, self.entry);
    }
}

/// The latest frame, read in place. No sender writes where it is until the lease is dropped.
#[derive(Debug)]
pub struct Lease<'a> {
    hold: Hold<'a>,
    frame: Frame,
}

impl Lease<'_> {
    /// What is known of the frame.
    pub fn frame(&self) -> Frame {
        self.frame
    }

    /// The pixels: height x width x channels, row after row.
    pub fn pixels(&self) -> &[u8] {
        self.hold
            .attached
            .segment
            .slots
            .pixels(&self.hold.held, self.frame.shape)
    }

    /// Copies the pixels over what is in `pixels`.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`] if there is none for it.
    pub fn copy_to(&self, pixels: &mut Vec<u8>) -> Result<(), Error> {
        let slots = &self.hold.attached.segment.slots;
        slots.copy(self.hold.held.slot(), self.frame.shape, pixels)
    }

    /// Whether what was read is the frame. If not, somebody truncated or overwrote the segment meanwhile, and parts of it
    /// were read as zeros: ask before using a result.
    pub fn is_intact(&self) -> bool {
        self.hold.attached.segment.intact()
    }
}
