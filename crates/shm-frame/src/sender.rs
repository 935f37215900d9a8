use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU64;
use std::sync::Arc;

use crate::clock::{Wall, monotonic_ns};
use crate::futex;
use crate::protocol::format::Scalar;
use crate::protocol::layout::{CLOSED, ControlPage, Geometry, MOVED, room_for};
use crate::protocol::slots::{self, Lessees, Writer, Writing, slot_lock};
use crate::protocol::sync::{Ordering, fence};
use crate::segment::claim::Plan;
use crate::segment::found::named;
use crate::segment::mapping::{Slots, elements_mut};
use crate::segment::way::Ways;
use crate::segment::{LOOK_NS, Look, Segment, lock, next_look_ns};
use crate::{Error, Name, Shape};

/// How a [`Sender`] makes its segment.
///
/// ```
/// # use shm_frame::SenderOptions;
/// let options = SenderOptions::new().capacity(1920 * 1080 * 3).slots(6).mode(0o644);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SenderOptions {
    capacity: usize,
    slots: usize,
    mode: u32,
    replace: bool,
}

impl SenderOptions {
    /// Room for a frame of 640x480 in colour, 4 slots, mode 0600, and no living sender's name is
    /// taken over.
    pub const fn new() -> Self {
        Self {
            capacity: 640 * 480 * 4,
            slots: 4,
            mode: 0o600,
            replace: false,
        }
    }

    /// Bytes of pixels that each slot has room for at first: [`Shape::bytes`] of the largest frame
    /// expected. A larger frame is no error: the sender makes a new segment for it, and receivers
    /// follow.
    #[must_use]
    pub const fn capacity(self, bytes: usize) -> Self {
        Self {
            capacity: bytes,
            ..self
        }
    }

    /// 1 to 16 slots. All but two can be leased at a time; with 1 every frame is written where
    /// programs that know only the 24-byte header look for it.
    #[must_use]
    pub const fn slots(self, slots: usize) -> Self {
        Self { slots, ..self }
    }

    /// Permission bits, whatever the umask; the owner may always read and write. A user who may
    /// read can receive; a few of those can lease, too.
    #[must_use]
    pub const fn mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    /// Whether to take the name over even from a live sender.
    #[must_use]
    pub const fn replace(self, replace: bool) -> Self {
        Self { replace, ..self }
    }
}

impl Default for SenderOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// A frame that was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sent {
    /// Counts from 1 for each sender.
    pub number: u64,
    /// Unix time in ms before the first byte was written.
    pub sent_ms: i64,
}

/// What a sender may tell of a frame besides its pixels.
///
/// ```
/// # use shm_frame::Extras;
/// let extras = Extras::new().captured_ns(1_764_000_000_000_000_000).meta(br#"{"exposure":0.01}"#);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Extras<'a> {
    captured_ns: u64,
    meta: &'a [u8],
}

impl<'a> Extras<'a> {
    /// Nothing.
    pub const fn new() -> Self {
        Self {
            captured_ns: 0,
            meta: &[],
        }
    }

    /// Unix time in ns at which the picture was taken: exposure, sensor, recording.
    #[must_use]
    pub const fn captured_ns(self, captured_ns: u64) -> Self {
        Self {
            captured_ns,
            ..self
        }
    }

    /// Bytes of the sender's own: JSON by convention.
    #[must_use]
    pub const fn meta(self, meta: &'a [u8]) -> Self {
        Self { meta, ..self }
    }
}

/// The one process that writes a segment. Publishing never waits for anyone.
///
/// While it lives, it looks after its segment at each frame: one that was removed or truncated it
/// makes anew, and a lease that a dead receiver left it takes back. Dropping it tells the receivers
/// and removes the name, if that is still its own.
///
/// After a fork it stays the parent's: in the child it fails with [`Error::Forked`], and dropping
/// it there does nothing.
#[derive(Debug)]
pub struct Sender {
    segment: Segment,
    writer: Writer,
    plan: Plan,
    /// When to look after the segment next, by the monotonic clock.
    look_at_ns: u64,
    /// The name was gone at the last look.
    nameless: bool,
    /// Lease entries that were taken at the last look, as a bit mask.
    leased: u32,
    /// Receivers that lease by locks.
    lessees: Lessees,
    questions: lock::Questions,
    /// At the last look there were receivers that sleep.
    sleepers: bool,
    /// How many had asked to be woken before that look.
    asked: u32,
    /// When the last frame was published, by the monotonic clock.
    published_ns: u64,
    /// How to copy pixels in.
    ways: Ways,
    wall: Wall,
    /// Until then no time is spent on waiting for the right to change the name: another process had
    /// it for too long.
    impatient_until_ns: u64,
}

impl Sender {
    /// Makes the segment, with all its memory reserved.
    ///
    /// ```
    /// # use shm_frame::{Error, Name, Sender, SenderOptions};
    /// # fn main() -> Result<(), Error> {
    /// # let name = Name::new(&format!("/shm-frame-doc-create-{}", std::process::id()))?;
    /// let sender = Sender::create(&name, &SenderOptions::new().capacity(1920 * 1080 * 3))?;
    /// // The name is taken as long as it lives.
    /// assert!(matches!(
    ///     Sender::create(&name, &SenderOptions::new()),
    ///     Err(Error::Live { .. })
    /// ));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NoRoom`] if `/dev/shm` has too little memory, [`Error::Live`] or
    /// [`Error::PlainLive`] if the name has a sender and `replace` is not set, [`Error::Denied`] if
    /// the name is another user's, [`Error::NotASegment`] or [`Error::NotAFile`] if it is something
    /// else's, [`Error::Layout`] for slots that cannot be.
    pub fn create(name: &Name, options: &SenderOptions) -> Result<Self, Error> {
        let plan = Plan {
            geometry: geometry(options.slots, options.capacity)?,
            // A user who may not write a segment can't take its locks, not even to replace one of
            // his own.
            mode: options.mode | 0o600,
            session: random(),
        };
        let segment = Segment::create(name, plan, options.replace)?;
        Ok(Self {
            writer: Writer::new(plan.geometry.slots, 0),
            segment,
            plan,
            look_at_ns: monotonic_ns() + LOOK_NS,
            nameless: false,
            leased: 0,
            lessees: Lessees::default(),
            questions: lock::Questions::default(),
            sleepers: false,
            asked: 0,
            published_ns: 0,
            ways: Ways::default(),
            wall: Wall::default(),
            impatient_until_ns: 0,
        })
    }

    /// Copies a frame into a slot and publishes it.
    ///
    /// ```
    /// # use shm_frame::{Error, Format, Name, Sender, SenderOptions, Shape, Size};
    /// # fn main() -> Result<(), Error> {
    /// # let name = Name::new(&format!("/shm-frame-doc-publish-{}", std::process::id()))?;
    /// let mut sender = Sender::create(&name, &SenderOptions::new())?;
    /// let shape = Shape::new(Size { width: 640, height: 480 }, Format::BGR8)?;
    /// let sent = sender.publish(shape, &vec![0; shape.bytes()])?;
    /// assert_eq!(sent.number, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Length`] if `pixels` is not [`Shape::bytes`] long; [`Error::Lost`] if another
    /// process took the memory away, twice in a row; else as for [`loan`](Self::loan).
    pub fn publish(&mut self, shape: Shape, pixels: &[u8]) -> Result<Sent, Error> {
        self.publish_with(shape, pixels, Extras::new())
    }

    /// The same with what the sender knows of the frame besides.
    ///
    /// ```
    /// # use shm_frame::{Error, Extras, Format, Name, Receiver, Sender};
    /// # use shm_frame::{SenderOptions, Shape, Size};
    /// # fn main() -> Result<(), Error> {
    /// # let name = Name::new(&format!("/shm-frame-doc-extras-{}", std::process::id()))?;
    /// let mut sender = Sender::create(&name, &SenderOptions::new())?;
    /// let mut receiver = Receiver::open(&name)?;
    /// let shape = Shape::new(Size { width: 64, height: 48 }, Format::GRAY8)?;
    /// let extras = Extras::new().captured_ns(1_764_000_000_000_000_000).meta(br#"{"lamp":"on"}"#);
    /// sender.publish_with(shape, &vec![0; shape.bytes()], extras)?;
    ///
    /// let lease = receiver.lease()?.expect("a frame");
    /// assert_eq!(lease.meta(), br#"{"lamp":"on"}"#);
    /// assert_eq!(lease.frame().captured_ns, Some(1_764_000_000_000_000_000));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`publish`](Self::publish).
    pub fn publish_with(
        &mut self,
        shape: Shape,
        pixels: &[u8],
        extras: Extras<'_>,
    ) -> Result<Sent, Error> {
        if pixels.len() != shape.bytes() {
            return Err(Error::Length {
                shape,
                got: pixels.len(),
            });
        }
        self.publish_by(shape, extras, |loan| loan.write(pixels))
    }

    /// The same for pixels that `fill` writes, such as the rows of a part of a larger image. It is
    /// called with the slot's bytes, and with those of another slot if the first one is lost.
    ///
    /// # Errors
    ///
    /// As for [`loan`](Self::loan).
    pub fn publish_filled(
        &mut self,
        shape: Shape,
        extras: Extras<'_>,
        mut fill: impl FnMut(&mut [u8]),
    ) -> Result<Sent, Error> {
        self.publish_by(shape, extras, |loan| fill(loan.pixels()))
    }

    fn publish_by(
        &mut self,
        shape: Shape,
        extras: Extras<'_>,
        mut write: impl FnMut(&mut Loan<'_>),
    ) -> Result<Sent, Error> {
        // Once more when the segment breaks meanwhile: the next loan makes another.
        for _ in 0..2 {
            let mut loan = self.loan_with_room(shape, extras.meta.len())?;
            write(&mut loan);
            loan.set_captured_ns(extras.captured_ns);
            loan.set_meta(extras.meta)?;
            match loan.publish() {
                Err(Error::Lost { .. }) => {}
                result => return result,
            }
        }
        Err(Error::Lost {
            name: self.name().clone(),
        })
    }

    /// Lends a slot to be filled in place. The frame's delay counts from here.
    ///
    /// ```no_run
    /// # use shm_frame::{Format, Name, Sender, SenderOptions, Shape, Size};
    /// # fn main() -> Result<(), shm_frame::Error> {
    /// let mut sender = Sender::create(&Name::new("/depth")?, &SenderOptions::new())?;
    /// let shape = Shape::new(Size { width: 640, height: 480 }, Format::GRAY16)?;
    /// let mut loan = sender.loan(shape)?;
    /// if let Some(depths) = loan.elements_mut::<u16>() {
    ///     depths.fill(500);
    /// }
    /// loan.publish()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::TakenOver`] when another sender has the name by now: there is nothing left to do
    /// but to end. [`Error::Forked`] in a child of a fork. If the frame is too large for the
    /// segment and the next one cannot be made, why ([`Error::NoRoom`], [`Error::Busy`]); the
    /// segment stays usable for smaller frames.
    pub fn loan(&mut self, shape: Shape) -> Result<Loan<'_>, Error> {
        self.loan_with_room(shape, 0)
    }

    /// The same with room for so many bytes of the sender's own: see [`Loan::set_meta`].
    ///
    /// ```
    /// # use shm_frame::{Error, Format, Name, Sender, SenderOptions, Shape, Size};
    /// # fn main() -> Result<(), Error> {
    /// # let name = Name::new(&format!("/shm-frame-doc-room-{}", std::process::id()))?;
    /// # let mut sender = Sender::create(&name, &SenderOptions::new())?;
    /// # let shape = Shape::new(Size { width: 64, height: 48 }, Format::GRAY8)?;
    /// let mut loan = sender.loan_with_room(shape, 100)?;
    /// loan.pixels().fill(7);
    /// loan.set_meta(br#"{"objects":3}"#)?;
    /// loan.publish()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`loan`](Self::loan).
    pub fn loan_with_room(&mut self, shape: Shape, meta: usize) -> Result<Loan<'_>, Error> {
        let begun = self.begin(shape, meta)?;
        Ok(Loan {
            sender: self,
            begun,
        })
    }

    /// The same as [`loan_with_room`](Self::loan_with_room), for a loan that owns the sender and
    /// gives it back when it ends: for languages that have no borrows, and for threads.
    ///
    /// ```
    /// # use shm_frame::{Error, Format, Name, Sender, SenderOptions, Shape, Size};
    /// # fn main() -> Result<(), Error> {
    /// # let name = Name::new(&format!("/shm-frame-doc-into-{}", std::process::id()))?;
    /// let sender = Sender::create(&name, &SenderOptions::new())?;
    /// let shape = Shape::new(Size { width: 64, height: 48 }, Format::GRAY8)?;
    /// let mut loan = sender.into_loan(shape, 0).map_err(|(_sender, error)| error)?;
    /// let loan = std::thread::spawn(move || {
    ///     loan.pixels().fill(7);
    ///     loan
    /// });
    /// let (sender, sent) = loan.join().expect("it filled it").publish();
    /// assert_eq!(sent?.number, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`loan`](Self::loan), with the sender.
    #[expect(clippy::result_large_err, reason = "the sender comes back either way")]
    pub fn into_loan(mut self, shape: Shape, meta: usize) -> Result<OwnedLoan, (Self, Error)> {
        match self.begin(shape, meta) {
            Ok(begun) => Ok(OwnedLoan {
                sender: self,
                begun,
            }),
            Err(error) => Err((self, error)),
        }
    }

    #[inline]
    fn begin(&mut self, shape: Shape, meta: usize) -> Result<Begun, Error> {
        self.must_be_ours()?;
        // Step 2 of the protocol comes before step 1 here; it touches nothing but a local.
        self.segment.fetch_leases();
        let begin_ns = monotonic_ns();
        // Before anything else can fail: receivers count on it.
        let (file, questions) = (self.segment.file(), &mut self.questions);
        self.lessees
            .look_if_due(begin_ns, |byte| questions.ask(file, byte));
        self.tend_at(begin_ns)?;
        let needed = room_for(shape.bytes(), meta).ok_or(Error::MetaTooLong {
            got: meta,
            room: usize::MAX - shape.bytes(),
        })?;
        if needed > self.plan.geometry.room() {
            self.grow(needed)?;
        }
        let sent_ms = self.wall.ms(begin_ns);
        let control = control(&self.segment);
        let (file, questions, lessees) = (self.segment.file(), &mut self.questions, &self.lessees);
        let writing = self.writer.begin(control, |slot| {
            lessees.any() && questions.ask(file, slot_lock(slot))
        });
        self.segment.slots.begin(&writing, shape.header(sent_ms));
        let line = &control.slot[writing.slot()];
        line.begin_ns.store(begin_ns, Ordering::Relaxed);
        line.captured_ns.store(0, Ordering::Relaxed);
        line.meta_len.store(0, Ordering::Relaxed);
        if self.lessees.any() {
            // Pixels that are stored past the cache could be seen before `frame_valid` is 0 and the
            // times, by which those who lease by locks know that a lease was lost: `still_held`.
            fence(Ordering::SeqCst);
        }
        Ok(Begun {
            writing,
            shape,
            begin_ns,
            sent_ms,
        })
    }

    /// Makes a segment for larger frames, with some headroom: frames that grow one by one are not
    /// to take a segment each.
    #[cold]
    fn grow(&mut self, needed: usize) -> Result<(), Error> {
        let slots = self.plan.geometry.slots;
        let room = self.plan.geometry.room();
        let roomy = needed.max(room.saturating_add(room / 2));
        let plan = |capacity| -> Result<Plan, Error> {
            Ok(Plan {
                geometry: geometry(slots, capacity)?,
                ..self.plan
            })
        };
        let (exact, roomy) = (plan(needed)?, plan(roomy).or_else(|_| plan(needed))?);
        match self.move_to(roomy) {
            Err(Error::NoRoom { .. }) => self.move_to(exact),
            result => result,
        }
    }

    #[inline]
    fn must_be_ours(&self) -> Result<(), Error> {
        if self.segment.is_ours() {
            return Ok(());
        }
        Err(Error::Forked {
            name: self.name().clone(),
        })
    }

    /// Looks after the segment, if that is due: every 0.1 s. Every [`loan`](Self::loan) does it; a
    /// sender that publishes less than ten times a second calls it in between.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # fn next_picture(_: Duration) -> Option<(shm_frame::Shape, Vec<u8>)> { None }
    /// # fn send(mut sender: shm_frame::Sender) -> Result<(), shm_frame::Error> {
    /// loop {
    ///     match next_picture(Duration::from_millis(100)) {
    ///         Some((shape, pixels)) => drop(sender.publish(shape, &pixels)?),
    ///         None => sender.tend()?,
    ///     }
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`loan`](Self::loan).
    pub fn tend(&mut self) -> Result<(), Error> {
        self.must_be_ours()?;
        self.tend_at(monotonic_ns())
    }

    #[inline]
    fn tend_at(&mut self, now: u64) -> Result<(), Error> {
        if now >= self.look_at_ns || !self.segment.intact() {
            self.look(now)?;
        }
        Ok(())
    }

    /// The segment's name.
    pub fn name(&self) -> &Name {
        self.segment.name()
    }

    /// Receivers that are attached to the segment and lease or may sleep: one that only copies and
    /// never sleeps is not seen. Asks the kernel once for each lease entry, which takes about
    /// 0.4 us, and if any may sleep for the locks of all files, which takes 5 to 10 ms: nothing for
    /// the thread that sends at a pace. [`list`](crate::list) tells the same to any other one.
    pub fn receivers(&self) -> usize {
        let (file, entries) = (self.segment.file(), self.plan.geometry.leases());
        lock::receivers(file, self.segment.id(), entries, &lock::All::default())
    }

    /// Bytes that the segment takes in `/dev/shm`.
    pub fn segment_bytes(&self) -> usize {
        self.plan.geometry.len()
    }

    /// Looks after the segment.
    #[cold]
    fn look(&mut self, now: u64) -> Result<(), Error> {
        self.look_at_ns = now + LOOK_NS;
        let looked = self.look_after();
        self.look_at_ns = self.look_at_ns.max(next_look_ns(now, monotonic_ns()));
        looked
    }

    fn look_after(&mut self) -> Result<(), Error> {
        if self.segment.look()? == Look::Broken || !self.segment.constants_hold() {
            return self.replace_broken();
        }
        match named(self.segment.name())? {
            Some(id) if id == self.segment.id() => self.nameless = false,
            Some(_) => return Err(self.segment.taken_over()),
            // A sender without a control page may be between its unlink and its create: look again.
            None if !self.nameless => self.nameless = true,
            None => match self.move_to(self.plan) {
                // This one still has the memory, and its receivers: go on for them, and where there
                // is no room don't try all the time.
                Err(Error::NoRoom { .. } | Error::Busy { .. }) => self.look_at_ns += 9 * LOOK_NS,
                result => return result,
            },
        }
        self.take_back_leases();
        self.asked = asked(control(&self.segment));
        self.sleepers = anybody_sleeps(&self.segment);
        Ok(())
    }

    /// Makes a segment anew that another process truncated or overwrote.
    fn replace_broken(&mut self) -> Result<(), Error> {
        match self.move_to(self.plan) {
            Err(Error::NoRoom { .. }) => {
                // Nobody can use the old one any more: its memory makes room.
                self.segment.give_up()?;
                self.move_to(self.plan)
            }
            // Another process is changing what the name means, and is done by the next look.
            Err(Error::Busy { .. }) => Ok(()),
            result => result,
        }
    }

    /// Empties lease entries whose owner died. To take the entry's lock is the only way to know
    /// that it stays so meanwhile.
    fn take_back_leases(&mut self) {
        let leased = slots::entries(control(&self.segment), self.plan.geometry.slots);
        for entry in slots::bits(leased & self.leased) {
            if let Ok(true) = lock::take(self.segment.file(), lock::LEASES + entry) {
                slots::release(control(&self.segment), entry);
                lock::give(self.segment.file(), lock::LEASES + entry);
            }
        }
        self.leased = leased;
    }

    /// Goes on in a new segment of the same name. Session and frame numbers go on.
    fn move_to(&mut self, plan: Plan) -> Result<(), Error> {
        let now = monotonic_ns();
        let patient = now >= self.impatient_until_ns;
        let next = self
            .segment
            .create_next(plan, patient)
            .inspect_err(|error| {
                if matches!(error, Error::Busy { .. }) {
                    self.impatient_until_ns = now + 10 * LOOK_NS;
                }
            })?;
        self.end(MOVED);
        self.writer = Writer::new(plan.geometry.slots, self.writer.frames());
        self.segment = next;
        self.plan = plan;
        self.nameless = false;
        self.leased = 0;
        self.lessees = Lessees::default();
        self.sleepers = false;
        self.asked = 0;
        Ok(())
    }

    fn end(&mut self, state: u32) {
        self.writer.end(control(&self.segment), state);
        futex::wake(&control(&self.segment).wake);
    }

    /// Steps 8 to 12 of a frame that was begun.
    #[inline]
    fn finish(&mut self, begun: Begun) -> Result<Sent, Error> {
        // A fork within a loan copies the loan: the frame is the parent's to publish.
        self.must_be_ours()?;
        let Self {
            segment,
            writer,
            sleepers,
            asked: asked_before,
            published_ns,
            ..
        } = self;
        // What the pixels pushed out of the cache and what receivers look at, all at once, while
        // the clock is read.
        segment.fetch_publication(begun.writing.slot());
        let publish_ns = monotonic_ns();
        let control = control(segment);
        control.slot[begun.writing.slot()]
            .publish_ns
            .store(publish_ns, Ordering::Relaxed);
        *published_ns = publish_ns;
        if !segment.intact() {
            // What was written is in no file, or nobody looks for it there. The slot stays odd, and
            // the next loan makes another segment.
            return Err(Error::Lost {
                name: segment.name().clone(),
            });
        }
        segment.slots.finish(&begun.writing);
        let number = writer.publish(control, begun.writing);
        let asked = asked(control);
        if asked != *asked_before {
            *asked_before = asked;
            *sleepers = anybody_sleeps(segment);
        }
        // The system call takes longer than all the rest.
        if *sleepers {
            futex::wake(&control.wake);
        }
        // The next frame's, which readers of the one before it have in their caches.
        segment.fetch_slot(writer.next());
        Ok(Sent {
            number,
            sent_ms: begun.sent_ms,
        })
    }

    fn set_captured_ns(&mut self, begun: &Begun, captured_ns: u64) {
        control(&self.segment).slot[begun.writing.slot()]
            .captured_ns
            .store(captured_ns, Ordering::Relaxed);
    }

    fn set_meta(&mut self, begun: &mut Begun, meta: &[u8]) -> Result<(), Error> {
        let slots = &self.segment.slots;
        let len = u32::try_from(meta.len()).ok();
        let len = len.filter(|_| slots.write_meta(&mut begun.writing, begun.shape, meta));
        let Some(len) = len else {
            let room = slots.geometry().meta(begun.shape.bytes());
            return Err(Error::MetaTooLong {
                got: meta.len(),
                room: room.map_or(0, |(_, room)| room),
            });
        };
        control(&self.segment).slot[begun.writing.slot()]
            .meta_len
            .store(len, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        if !self.segment.is_ours() {
            // The sender of the process that this one was forked from, which goes on.
            return;
        }
        self.end(CLOSED);
        // What can't be removed is a dead sender's segment to the next one: nothing to report to
        // anybody here.
        let _ = self.segment.remove();
    }
}

/// A frame that is being written.
#[derive(Debug)]
struct Begun {
    writing: Writing,
    shape: Shape,
    begin_ns: u64,
    sent_ms: i64,
}

/// A slot on loan from a [`Sender`], to be filled. Dropped without [`publish`](Self::publish),
/// nobody sees it.
#[derive(Debug)]
pub struct Loan<'a> {
    sender: &'a mut Sender,
    begun: Begun,
}

/// A [`Loan`] that owns its sender, and gives it back when it ends. Dropped, it ends the sender,
/// too.
#[derive(Debug)]
pub struct OwnedLoan {
    sender: Sender,
    begun: Begun,
}

macro_rules! loan {
    ($($loan:tt)*) => {
        impl $($loan)* {
            /// The shape that was asked for.
            pub fn shape(&self) -> Shape {
                self.begun.shape
            }

            /// The pixels: height x width x elements, row after row, with whatever was there
            /// before.
            pub fn pixels(&mut self) -> &mut [u8] {
                let slots = &self.sender.segment.slots;
                slots.pixels_mut(&mut self.begun.writing, self.begun.shape)
            }

            /// The pixels as elements, in the same order. `None`: the frame's elements are of
            /// another type.
            pub fn elements_mut<T: Scalar>(&mut self) -> Option<&mut [T]> {
                if self.begun.shape.format().element() != T::ELEMENT {
                    return None;
                }
                elements_mut(self.pixels())
            }

            /// Says when the picture was taken: Unix time in ns, 0 for not known.
            pub fn set_captured_ns(&mut self, captured_ns: u64) {
                self.sender.set_captured_ns(&self.begun, captured_ns);
            }

            /// Adds bytes of the sender's own: JSON by convention.
            ///
            /// # Errors
            ///
            /// [`Error::MetaTooLong`] if there is no room for them beside the pixels: see
            /// [`loan_with_room`](Sender::loan_with_room).
            pub fn set_meta(&mut self, meta: &[u8]) -> Result<(), Error> {
                self.sender.set_meta(&mut self.begun, meta)
            }
        }
    };
}

loan!(Loan<'_>);
loan!(OwnedLoan);

impl Loan<'_> {
    fn write(&mut self, pixels: &[u8]) {
        let Begun {
            writing,
            shape,
            begin_ns,
            ..
        } = &mut self.begun;
        let pause_ns = begin_ns.saturating_sub(self.sender.published_ns);
        let Sender { segment, ways, .. } = &mut *self.sender;
        let choice = ways.choose(pixels.len(), pause_ns > COLD_AFTER_NS);
        if !choice.is_timed() {
            return segment.slots.write(writing, *shape, pixels, choice.way);
        }
        let began_ns = monotonic_ns();
        segment.slots.write(writing, *shape, pixels, choice.way);
        ways.took(choice, monotonic_ns().saturating_sub(began_ns));
    }

    /// Makes the frame visible.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] if another process took the memory away while it was written,
    /// [`Error::Forked`] if the loan is that of the process that this one was forked from.
    pub fn publish(self) -> Result<Sent, Error> {
        self.sender.finish(self.begun)
    }
}

impl OwnedLoan {
    /// What keeps the pixels' memory mapped, for views that outlive the loan. It keeps neither the
    /// segment's name nor its locks.
    pub fn memory(&self) -> LoanMemory {
        LoanMemory {
            _slots: Arc::clone(&self.sender.segment.slots),
        }
    }

    /// Makes the frame visible, and gives the sender back.
    pub fn publish(mut self) -> (Sender, Result<Sent, Error>) {
        let sent = self.sender.finish(self.begun);
        (self.sender, sent)
    }

    /// Gives the slot up, so that nobody sees it, and the sender back.
    pub fn discard(self) -> Sender {
        self.sender
    }
}

/// Memory that stays mapped as long as this lives: see [`OwnedLoan::memory`].
#[derive(Clone, Debug)]
pub struct LoanMemory {
    _slots: Arc<Slots>,
}

/// After a pause this long, the next slot is in a receiver's cache or in none, no longer in the
/// sender's: receivers read the last frame by then.
const COLD_AFTER_NS: u64 = 100_000;

fn control(segment: &Segment) -> &ControlPage {
    segment
        .control
        .as_ref()
        .expect("a sender's segment has a control page")
        .page()
}

/// How many receivers have asked to be woken.
fn asked(control: &ControlPage) -> u32 {
    // Acquire: pairs with the Release in `ask_to_be_woken`.
    // - The look at the lock must not move above.
    control.asked.load(Ordering::Acquire)
}

/// Whether there are receivers that sleep. If that can't be asked, there may be.
fn anybody_sleeps(segment: &Segment) -> bool {
    lock::shared(segment.file(), lock::SLEEPERS).unwrap_or(true)
}

fn geometry(slots: usize, capacity: usize) -> Result<Geometry, Error> {
    Geometry::new(slots, capacity).ok_or(Error::Layout { slots, capacity })
}

/// A random number that is not 0.
pub(crate) fn random() -> u64 {
    // The keys of a RandomState come from the system's random source.
    let random = || NonZeroU64::new(RandomState::new().hash_one(std::process::id()));
    std::iter::repeat_with(random)
        .flatten()
        .next()
        .expect("an endless iterator")
        .get()
}
