use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU64;

use rustix::thread::futex;

use crate::clock::{Wall, monotonic_ns};
use crate::protocol::layout::{CLOSED, ControlPage, Geometry, MOVED};
use crate::protocol::slots::{self, Writer, Writing};
use crate::protocol::sync::Ordering;
use crate::segment::claim::Plan;
use crate::segment::found::named;
use crate::segment::{LOOK, Look, Segment, lock};
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
    /// Room for whatever the first frame needs, 4 slots, mode 0600, and nobody's name is taken over.
    pub const fn new() -> Self {
        Self {
            capacity: 0,
            slots: 4,
            mode: 0o600,
            replace: false,
        }
    }

    /// Bytes of pixels that each slot has room for at first: [`Shape::bytes`] of the largest frame expected. A larger frame is no
    /// error: the sender makes a new segment for it, and receivers follow.
    #[must_use]
    pub const fn capacity(self, bytes: usize) -> Self {
        Self {
            capacity: bytes,
            ..self
        }
    }

    /// 1 to 16 slots. All but two can be leased at a time; with 1 every frame is written where programs that know only the 24-byte
    /// header look for it.
    #[must_use]
    pub const fn slots(self, slots: usize) -> Self {
        Self { slots, ..self }
    }

    /// Permission bits, whatever the umask; the owner may always read and write. A user who may only read receives by copying; one
    /// who may also write can lease.
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

/// The one process that writes a segment. Publishing never waits for anyone.
///
/// While it lives, it looks after its segment at each frame: one that was removed or truncated it makes anew, and a
/// lease that a dead receiver left it takes back. Dropping it tells the receivers and removes the name, if that is
/// still its own.
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
    /// At the last look there were receivers that sleep.
    sleepers: bool,
    /// How many had asked to be woken before that look.
    asked: u32,
    /// When the last frame was published, by the monotonic clock.
    published_ns: u64,
    wall: Wall,
}

impl Sender {
    /// Makes the segment, with all its memory reserved.
    ///
    /// # Errors
    ///
    /// [`Error::NoRoom`] if `/dev/shm` has too little memory, [`Error::Live`] or [`Error::PlainLive`] if the name has a sender
    /// and `replace` is not set, [`Error::Denied`] if the name is another user's, [`Error::NotASegment`] if it is something
    /// else's, [`Error::Layout`] for slots that cannot be.
    pub fn create(name: &Name, options: &SenderOptions) -> Result<Self, Error> {
        let plan = Plan {
            geometry: geometry(options.slots, options.capacity)?,
            // Whoever may not write a segment can't take its locks, not even to replace what he left himself.
            mode: options.mode | 0o600,
            session: new_session(),
        };
        let segment = Segment::create(name, plan, options.replace)?;
        Ok(Self {
            writer: Writer::new(plan.geometry.slots, 0),
            segment,
            plan,
            look_at_ns: monotonic_ns() + LOOK_NS,
            nameless: false,
            leased: 0,
            sleepers: false,
            asked: 0,
            published_ns: 0,
            wall: Wall::default(),
        })
    }

    /// Copies a frame into a slot and publishes it.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] if `pixels` is not height x width x channels long; else as for [`loan`](Self::loan).
    pub fn publish(&mut self, shape: Shape, pixels: &[u8]) -> Result<Sent, Error> {
        if pixels.len() != shape.bytes() {
            return Err(Error::Length {
                shape,
                got: pixels.len(),
            });
        }
        let mut loan = self.loan(shape)?;
        loan.write(pixels);
        Ok(loan.publish())
    }

    /// Lends a slot to be filled in place. The frame's delay counts from here.
    ///
    /// # Errors
    ///
    /// [`Error::TakenOver`] when another sender has the name by now: there is nothing left to do but to end. If the
    /// frame is too large for the segment and the next one cannot be made, why; the segment stays usable for
    /// smaller frames.
    pub fn loan(&mut self, shape: Shape) -> Result<Loan<'_>, Error> {
        // Step 2 of the protocol comes before step 1 here; it touches nothing but a local.
        self.segment.fetch_leases();
        let begin_ns = monotonic_ns();
        self.tend_at(begin_ns)?;
        if shape.bytes() > self.plan.geometry.room() {
            let larger = geometry(self.plan.geometry.slots, shape.bytes())?;
            self.move_to(Plan {
                geometry: larger,
                ..self.plan
            })?;
        }
        let sent_ms = self.wall.ms(begin_ns);
        let writing = self.writer.begin(control(&self.segment));
        self.segment.slots.begin(&writing, shape.header(sent_ms));
        control(&self.segment).slot[writing.slot()]
            .begin_ns
            .store(begin_ns, Ordering::Relaxed);
        Ok(Loan {
            sender: self,
            writing,
            shape,
            begin_ns,
            sent_ms,
        })
    }

    /// Looks after the segment, if that is due. Every [`loan`](Self::loan) does it; who publishes less than ten times a second
    /// calls it in between.
    ///
    /// # Errors
    ///
    /// As for [`loan`](Self::loan).
    pub fn tend(&mut self) -> Result<(), Error> {
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

    /// Bytes that the segment takes in `/dev/shm`.
    pub fn segment_bytes(&self) -> usize {
        self.plan.geometry.len()
    }

    /// Looks after the segment.
    #[cold]
    fn look(&mut self, now: u64) -> Result<(), Error> {
        self.look_at_ns = now + LOOK_NS;
        if self.segment.look()? == Look::Broken || !self.segment.constants_hold() {
            return self.replace_broken();
        }
        match named(self.segment.name())? {
            Some(id) if id == self.segment.id() => self.nameless = false,
            Some(_) => return Err(self.segment.taken_over()),
            // A sender without a control page may be between its unlink and its create: look again.
            None if !self.nameless => self.nameless = true,
            None => match self.move_to(self.plan) {
                // This one still has the memory, and its receivers: go on for them, and where there is no room don't try all
                // the time.
                Err(Error::NoRoom { .. }) => self.look_at_ns = now + 10 * LOOK_NS,
                Err(Error::Busy { .. }) => {}
                result => return result,
            },
        }
        self.take_back_leases();
        self.asked = asked(control(&self.segment));
        self.sleepers = anybody_sleeps(&self.segment);
        Ok(())
    }

    /// Makes a segment anew that somebody truncated or overwrote.
    fn replace_broken(&mut self) -> Result<(), Error> {
        match self.move_to(self.plan) {
            Err(Error::NoRoom { .. }) => {
                // Nobody can use the old one any more: its memory makes room.
                self.segment.give_up()?;
                self.move_to(self.plan)
            }
            // Somebody is changing what the name means, and is done by the next look.
            Err(Error::Busy { .. }) => Ok(()),
            result => result,
        }
    }

    /// Empties lease entries whose owner died. To take the entry's lock is the only way to know that it stays so
    /// meanwhile.
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
        let next = self.segment.create_next(plan)?;
        self.end(MOVED);
        self.writer = Writer::new(plan.geometry.slots, self.writer.frames());
        self.segment = next;
        self.plan = plan;
        self.nameless = false;
        self.leased = 0;
        self.sleepers = false;
        self.asked = 0;
        Ok(())
    }

    fn end(&mut self, state: u32) {
        self.writer.end(control(&self.segment), state);
        wake_all(control(&self.segment));
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.end(CLOSED);
        // What can't be removed is a dead sender's segment to the next one: nothing to report to anybody here.
        let _ = self.segment.remove();
    }
}

/// A slot on loan from a [`Sender`], to be filled. Dropped without [`publish`](Self::publish), nobody sees it.
#[derive(Debug)]
pub struct Loan<'a> {
    sender: &'a mut Sender,
    writing: Writing,
    shape: Shape,
    begin_ns: u64,
    sent_ms: i64,
}

impl Loan<'_> {
    /// The pixels: height x width x channels, row after row, with whatever was there before.
    pub fn pixels(&mut self) -> &mut [u8] {
        self.sender
            .segment
            .slots
            .pixels_mut(&mut self.writing, self.shape)
    }

    fn write(&mut self, pixels: &[u8]) {
        let pause_ns = self.begin_ns.saturating_sub(self.sender.published_ns);
        self.sender.segment.slots.write(
            &mut self.writing,
            self.shape,
            pixels,
            pause_ns > COLD_AFTER_NS,
        );
    }

    /// Makes the frame visible.
    pub fn publish(self) -> Sent {
        let Sender {
            segment,
            writer,
            sleepers,
            asked: asked_before,
            published_ns,
            ..
        } = self.sender;
        // What the pixels pushed out of the cache and what receivers look at, all at once, while the clock is read.
        segment.fetch_publication(self.writing.slot());
        let publish_ns = monotonic_ns();
        control(segment).slot[self.writing.slot()]
            .publish_ns
            .store(publish_ns, Ordering::Relaxed);
        *published_ns = publish_ns;
        segment.slots.finish(&self.writing);
        let control = control(segment);
        let number = writer.publish(control, self.writing);
        let asked = asked(control);
        if asked != *asked_before {
            *asked_before = asked;
            *sleepers = anybody_sleeps(segment);
        }
        // The system call takes longer than all the rest.
        if *sleepers {
            wake_all(control);
        }
        // The next frame's, which readers of the one before it have in their caches.
        segment.fetch_slot(writer.next());
        Sent {
            number,
            sent_ms: self.sent_ms,
        }
    }
}

/// After a pause this long, the next slot is in a receiver's cache or in none, no longer in the sender's: whoever reads frames
/// reads them now.
const COLD_AFTER_NS: u64 = 100_000;

#[expect(clippy::cast_possible_truncation, reason = "100 ms in ns")]
const LOOK_NS: u64 = LOOK.as_nanos() as u64;

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

/// Whether there are receivers that sleep. What can't be asked may be so.
fn anybody_sleeps(segment: &Segment) -> bool {
    lock::shared(segment.file(), lock::SLEEPERS).unwrap_or(true)
}

fn geometry(slots: usize, capacity: usize) -> Result<Geometry, Error> {
    Geometry::new(slots, capacity).ok_or(Error::Layout { slots, capacity })
}

/// Wakes all receivers that sleep on the wake word. Step 12's second half.
fn wake_all(control: &ControlPage) {
    // Fails with EFAULT when the page is gone (futex(2)); then the receivers find that out by themselves.
    let _ = futex::wake(
        &control.wake,
        futex::Flags::empty(),
        i32::MAX.unsigned_abs(),
    );
}

/// A random number that is not 0.
fn new_session() -> u64 {
    // The keys of a RandomState come from the system's random source.
    let random = || NonZeroU64::new(RandomState::new().hash_one(std::process::id()));
    std::iter::repeat_with(random)
        .flatten()
        .next()
        .expect("an endless iterator")
        .get()
}
