//! `shm-bridge put`: frames of a segment into zenoh.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use bytes::Bytes;
use shm_frame::{End, Error, Followed, Follower, Frame, OwnedLease, Receiver, Shape};
use zenoh::bytes::{Encoding, ZBytes};
use zenoh::liveliness::LivelinessToken;
use zenoh::pubsub::Publisher;
use zenoh::qos::{CongestionControl, Priority};
use zenoh::query::Query;
use zenoh::{Session, Wait};

use crate::args::Put;
use crate::clock::Reading;
use crate::event::{PutLine, PutState};
use crate::jpeg::Encoder;
use crate::link::{self, LEASE, text_of};
use crate::look::Look;
use crate::rate::{bit_rate, bits};
use crate::report::{Console, remedy};
use crate::stop;
use crate::units::{Pace, Spread, counted, duration_ms, rounded};
use crate::wire::{self, Answer, Attachment, Question};

/// How often to look at everything else.
const TICK: Duration = Duration::from_millis(100);
/// How long a sender takes at most to go on in another segment, for frames that have grown.
const MOVE: Duration = Duration::from_millis(500);
/// Receivers that have not asked for the time for so long are gone.
const RECENT: Duration = Duration::from_secs(4);
/// How long to wait at the end until receivers have what is on its way: longer than they wait for
/// it.
const LAST: Duration = Duration::from_secs(3);
/// The most that is sent to show how fast the link is.
const MOST_PROBE: u32 = 8 << 20;
/// A stream whose last frame is older is no stream to somebody who comes: the frame is put again.
const STILL: Duration = Duration::from_millis(500);
/// How long to watch whether the link keeps up.
const WATCH: Duration = Duration::from_secs(2);

/// Runs the command.
pub(crate) fn put(args: &Put) -> Result<()> {
    let mut putting = Putting {
        args,
        console: Console::new(&args.output),
        follower: Follower::new(&args.name),
        jpeg: args.jpeg.map(Encoder::new).transpose()?,
        outlet: None,
        tally: Tally::new(),
        due: Instant::now(),
        put_at: Instant::now(),
        fresh: None,
        discarded: Vec::new(),
        wanted: false,
        moving: None,
    };
    let ran = putting.run();
    let told = putting.tell_summary();
    ran.and(told)
}

struct Putting<'a> {
    args: &'a Put,
    console: Console,
    follower: Follower,
    jpeg: Option<Encoder>,
    outlet: Option<Outlet>,
    tally: Tally,
    /// When the next frame may be sent.
    due: Instant,
    /// When the last one was.
    put_at: Instant,
    /// Since when somebody subscribes who has no frame yet.
    fresh: Option<Instant>,
    /// The reasons told why frames could not be sent.
    discarded: Vec<String>,
    /// Somebody subscribes, as was told.
    wanted: bool,
    /// Since when the segment's sender may be about to make another segment.
    moving: Option<Instant>,
}

impl Putting<'_> {
    fn run(&mut self) -> Result<()> {
        while !stop::requested() && self.args.count.is_none_or(|count| self.tally.asked < count) {
            self.tick()?;
            if !self.follower.is_attached() {
                self.attend(TICK)?;
                continue;
            }
            if !self.is_open() && !self.open()? {
                // No frame yet.
                self.attend(TICK)?;
                continue;
            }
            let Some(outlet) = &self.outlet else { continue };
            let wanted = outlet.shared.wait_wanted(TICK);
            if outlet.shared.fresh.swap(false, Ordering::Relaxed) {
                self.fresh = Some(Instant::now());
            }
            let came = wanted && !self.wanted;
            self.tell_wanted(wanted)?;
            self.fresh = self.fresh.filter(|&since| self.put_at < since);
            if came || self.fresh.is_some() && self.put_at.elapsed() > STILL {
                // Whoever comes gets the newest frame, which may have been taken long ago.
                self.fresh = None;
                self.follower = Follower::new(&self.args.name);
                continue;
            }
            let pause = self.due.saturating_duration_since(Instant::now());
            if !wanted {
                // Nobody subscribes: nothing is read, but the end of the sender is seen.
                self.attend(Duration::ZERO)?;
            } else if pause.is_zero() {
                self.attend(TICK)?;
            } else {
                thread::sleep(pause.min(TICK));
                if pause > TICK {
                    self.attend(Duration::ZERO)?;
                }
            }
        }
        Ok(())
    }

    fn is_open(&self) -> bool {
        self.outlet
            .as_ref()
            .is_some_and(|outlet| outlet.token.is_some())
    }

    /// Waits for the segment's news, and sends a frame if one is due.
    fn attend(&mut self, time: Duration) -> Result<()> {
        let name = self.args.name.to_string();
        match self.follower.wait(time)? {
            Followed::Frame(receiver) => {
                if self.wanted && Instant::now() >= self.due {
                    let taken = Taken::take(receiver);
                    self.send(taken)?;
                }
            }
            Followed::Timeout | Followed::Cancelled => {}
            Followed::Attached(_) => self.moving = None,
            Followed::Missing(why) => {
                let text = format!("{why}{}", remedy(&why).unwrap_or_default());
                let event = PutLine::Waiting {
                    name: &name,
                    why: &text,
                };
                self.console
                    .event(&event, &format!("{text}: waiting for a sender"))?;
            }
            Followed::Ended(End::Replaced | End::Broken) => self.moving = Some(Instant::now()),
            Followed::Ended(end @ (End::Closed | End::Dead)) => self.end(end)?,
        }
        if self.moving.is_some_and(|since| since.elapsed() > MOVE) {
            self.end(End::Replaced)?;
        }
        Ok(())
    }

    /// Takes the frames from those who subscribe, as the segment's sender did.
    fn end(&mut self, end: End) -> Result<()> {
        self.moving = None;
        if let Some(outlet) = &mut self.outlet {
            outlet.token = None;
        }
        let name = self.args.name.to_string();
        let event = PutLine::Ended {
            name: &name,
            why: end.to_string(),
        };
        self.console
            .event(&event, &format!("the segment {name} ended: {end}"))
    }

    /// Makes the segment's frames available. `false`: there are none yet.
    fn open(&mut self) -> Result<bool> {
        let least_period = self
            .args
            .max_fps
            .map(|fps| Duration::from_secs_f64(fps.recip()));
        let Some(look) = Look::at(&self.args.name, self.jpeg.as_mut(), least_period)? else {
            return Ok(false);
        };
        self.tell_look(look)?;
        self.open_for(look.bytes, look.period)?;
        let outlet = self.outlet.as_mut().expect("it was opened");
        outlet
            .shared
            .needs
            .store(look.needs().unwrap_or(0), Ordering::Relaxed);
        outlet.token = Some(outlet.declare_token()?);
        Ok(true)
    }

    /// Opens a session in which frames of that size may wait as long as they must. One that is
    /// there stays if it will do.
    fn open_for(&mut self, bytes: usize, period: Option<Duration>) -> Result<()> {
        let wait = wait_for(bytes, period);
        if self
            .outlet
            .as_ref()
            .is_some_and(|outlet| outlet.wait >= wait)
        {
            return Ok(());
        }
        // The old one lets go of its port first.
        // What is on its way is soon superseded: it is no reason to keep others waiting.
        let shared = self.outlet.take().map(|outlet| outlet.close(TICK));
        let shared = shared.unwrap_or_else(|| Arc::new(Shared::new(self.args.jpeg.unwrap_or(0))));
        let outlet = Outlet::open(self.args, wait, period, shared)?;
        self.outlet = Some(outlet);
        Ok(())
    }

    fn tell_look(&self, look: Look) -> Result<()> {
        let Look {
            shape,
            bytes,
            period,
        } = look;
        let (key, name) = (self.args.key.as_str(), self.args.name.to_string());
        let wait = wait_for(bytes, period);
        let fps = period.map(|period| period.as_secs_f64().recip());
        let event = PutLine::Putting {
            key,
            name: &name,
            kind: shape.into(),
            fps: fps.map(rounded),
            bytes,
            needs: look.needs(),
            jpeg: self.args.jpeg,
            wait_ms: duration_ms(wait),
        };
        let rate = match (fps, look.needs()) {
            (Some(fps), Some(needs)) => {
                let kind = self.kind();
                format!(" at {fps:.1} frames/s: {kind} needs {}", bit_rate(needs))
            }
            _ if bytes == 0 => ": no JPEG".to_owned(),
            _ => ", one frame so far".to_owned(),
        };
        let how = link::where_to(&self.args.network);
        let text = format!("putting {name} under {key}, {how}: {shape}{rate}");
        self.console.event(&event, &text)
    }

    /// How frames are sent, for people.
    fn kind(&self) -> String {
        self.args
            .jpeg
            .map_or("raw".to_owned(), |quality| format!("--jpeg {quality}"))
    }

    fn tell_wanted(&mut self, wanted: bool) -> Result<()> {
        if self.wanted == wanted {
            return Ok(());
        }
        self.wanted = wanted;
        let key = self.args.key.as_str();
        let event = PutLine::Wanted { key, wanted };
        let text = if wanted {
            format!("{key} is subscribed to")
        } else {
            format!("nobody subscribes to {key}: nothing is read or sent")
        };
        self.console.event(&event, &text)
    }

    fn send(&mut self, taken: Result<Option<Taken>, Error>) -> Result<()> {
        let taken = match taken {
            Ok(Some(taken)) => taken,
            Ok(None) => return Ok(()),
            Err(error @ Error::System { .. }) => return Err(error.into()),
            // A fault of the sender, whose next frame may be better.
            Err(error) => return self.discard(error.to_string()),
        };
        let Taken {
            pixels,
            frame,
            meta,
        } = taken;
        self.tally.skipped += frame.skipped;
        self.tally.watch.skipped += frame.skipped;
        let shape = frame.shape;
        let (payload, encoding): (ZBytes, _) = if let Some(jpeg) = &mut self.jpeg {
            match jpeg.encode(shape, pixels.as_ref()) {
                Ok(jpeg) => (jpeg.into(), Encoding::IMAGE_JPEG),
                Err(why) => return self.discard(why),
            }
        } else {
            (Bytes::from_owner(pixels).into(), raw_encoding(shape))
        };
        let bytes = payload.len();
        let outlet = self
            .outlet
            .as_mut()
            .expect("frames are sent while it is open");
        if let Some(period) = outlet.period.filter(|_| self.args.jpeg.is_none()) {
            // Frames may have grown since the first look.
            let needs = bits(bytes as u64, period);
            outlet.shared.needs.fetch_max(needs, Ordering::Relaxed);
        }
        if wait_for(bytes, outlet.period) > outlet.wait {
            // Frames have grown: this session would give them up. The next look opens another.
            outlet.token = None;
            return Ok(());
        }
        self.tally.asked += 1;
        let attachment = attachment(&frame, self.tally.asked, meta);
        outlet
            .shared
            .asked
            .store(self.tally.asked, Ordering::Relaxed);
        let begun = Instant::now();
        let put = outlet.publisher.put(payload).encoding(encoding);
        let put = put.attachment(attachment.encode()).wait();
        put.map_err(|error| anyhow!("zenoh takes no frame: {}", text_of(&error)))?;
        let time = begun.elapsed();
        self.put_at = begun;
        if let Some(fps) = self.args.max_fps {
            let period = Duration::from_secs_f64(fps.recip());
            self.due = (self.due + period).max(begun);
        }
        self.tally.add(bytes, time);
        self.console.frame(&PutLine::Put {
            frame: frame.number,
            serial: self.tally.asked,
            bytes,
            skipped: frame.skipped,
            put_ms: duration_ms(time),
        })
    }

    fn discard(&mut self, why: String) -> Result<()> {
        self.tally.discarded += 1;
        if self.discarded.contains(&why) {
            return Ok(());
        }
        let event = PutLine::Discarded { why: &why };
        self.console
            .event(&event, &format!("a frame was not sent: {why}"))?;
        // A sender that has ever new reasons is not to fill the memory.
        self.discarded.truncate(47);
        self.discarded.push(why);
        Ok(())
    }

    fn tick(&mut self) -> Result<()> {
        let shared = self.outlet.as_ref().map(|outlet| &outlet.shared);
        let needs = shared.map_or(0, |shared| shared.needs.load(Ordering::Relaxed));
        // What a receiver measured, and what was seen here.
        let measured = shared.and_then(|shared| shared.slow().take());
        for carries in [measured, self.tally.watch.verdict()].into_iter().flatten() {
            if carries < needs {
                self.tell_slow(needs, carries)?;
            }
        }
        let (tally, outlet, key) = (&self.tally, &self.outlet, &self.args.key);
        let wanted = self.wanted;
        self.console.tick(|| {
            let state = tally.state(outlet.as_ref());
            let text = if wanted {
                format!("{key}: {}", told(&state))
            } else if outlet.is_some() {
                format!("{key}: nobody subscribes; {}", told(&state))
            } else {
                format!("{key}: no frame yet")
            };
            (PutLine::State(state), text)
        })
    }

    fn tell_slow(&mut self, needs: u64, carries: u64) -> Result<()> {
        // Once for each time that it gets much worse.
        if carries >= self.tally.slowest / 2 {
            return Ok(());
        }
        self.tally.slowest = carries;
        let remedy = match self.args.jpeg {
            None => "send JPEGs, with --jpeg 90",
            Some(_) => "use a lower --jpeg, or --max-fps",
        };
        let text = format!(
            "{} needs {}, the link to a receiver carries {}: {remedy}",
            self.kind(),
            bit_rate(needs),
            bit_rate(carries)
        );
        self.console.event(&PutLine::Slow { needs, carries }, &text)
    }

    fn tell_summary(&mut self) -> Result<()> {
        let state = self.tally.state(self.outlet.as_ref());
        let put_ms = self.tally.times.quantiles();
        let times = put_ms.map_or(String::new(), |put_ms| format!("; put {put_ms}"));
        let text = format!("{}{times}", told(&state));
        self.console
            .summary(&PutLine::Summary { state, put_ms }, &text)?;
        if let Some(outlet) = self.outlet.take() {
            outlet.close(LAST);
        }
        Ok(())
    }
}

/// How long frames of that size may wait for their link: in steps, so that frames that grow by and
/// by open few sessions.
fn wait_for(bytes: usize, period: Option<Duration>) -> Duration {
    link::wait_for(bytes.next_power_of_two(), period)
}

fn told(state: &PutState) -> String {
    let PutState {
        asked,
        arrived,
        lost,
        receivers,
        skipped,
        discarded,
        bytes: _,
        fps,
    } = *state;
    let receivers = counted(receivers as u64, "receiver");
    let discarded = match discarded {
        0 => String::new(),
        discarded => format!(", {discarded} could not be sent"),
    };
    format!(
        "{fps:.1} frames/s, {} sent, {skipped} skipped{discarded}; {receivers}: {arrived} arrived, {lost} lost",
        counted(asked, "frame")
    )
}

/// A frame that was taken from the segment.
struct Taken {
    pixels: Pixels,
    frame: Frame,
    meta: Vec<u8>,
}

/// A slot that is leased until zenoh has copied it, or a copy where there is no lease.
enum Pixels {
    Leased(OwnedLease),
    Copied(Vec<u8>),
}

impl AsRef<[u8]> for Pixels {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Leased(lease) => lease.pixels(),
            Self::Copied(pixels) => pixels,
        }
    }
}

impl Taken {
    fn take(receiver: &mut Receiver) -> Result<Option<Self>, Error> {
        if receiver.can_lease()
            && let Some(lease) = receiver.lease_owned()?
        {
            return Ok(Some(Self {
                frame: lease.frame(),
                meta: lease.meta().to_vec(),
                pixels: Pixels::Leased(lease),
            }));
        }
        let (mut pixels, mut meta) = (Vec::new(), Vec::new());
        let frame = receiver.copy_with_meta(&mut pixels, &mut meta)?;
        Ok(frame.map(|frame| Self {
            pixels: Pixels::Copied(pixels),
            frame,
            meta,
        }))
    }
}

/// `video/raw` with the frame's shape, as people write it: `640x404x3`.
fn raw_encoding(shape: Shape) -> Encoding {
    Encoding::VIDEO_RAW.with_schema(shape.to_string())
}

fn attachment(frame: &Frame, serial: u64, meta: Vec<u8>) -> Attachment {
    let now = Reading::now();
    let begun_ns = match i64::try_from(frame.begun_ns) {
        Ok(begun_ns) if begun_ns > 0 => begun_ns,
        // Without a control page.
        _ => now.monotonic_ns.saturating_sub(frame.delay_ns),
    };
    Attachment {
        serial,
        session: frame.session,
        number: frame.number,
        shape: frame.shape,
        begun_ns,
        begun_unix_ns: now.unix_ns - (now.monotonic_ns - begun_ns),
        captured_ns: frame.captured_ns.unwrap_or(0),
        meta,
    }
}

/// What zenoh's threads share with the one that sends.
struct Shared {
    /// Whether somebody subscribes.
    wanted: Mutex<bool>,
    changed: Condvar,
    /// Somebody has just subscribed, maybe beside others.
    fresh: AtomicBool,
    asked: AtomicU64,
    /// What the stream needs, in bits/s; 0 if that is not known.
    needs: AtomicU64,
    jpeg: u8,
    /// What receivers reported, by their id.
    receivers: Mutex<BTreeMap<u64, Reported>>,
    /// A link that was measured carries only so many bits/s.
    slow: Mutex<Option<u64>>,
}

struct Reported {
    arrived: u64,
    lost: u64,
    at: Instant,
}

impl Shared {
    fn new(jpeg: u8) -> Self {
        Self {
            wanted: Mutex::default(),
            changed: Condvar::new(),
            fresh: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            needs: AtomicU64::new(0),
            jpeg,
            receivers: Mutex::default(),
            slow: Mutex::default(),
        }
    }

    fn set_wanted(&self, wanted: bool) {
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = wanted;
        self.changed.notify_all();
    }

    /// Waits until somebody subscribes, for so long at most.
    fn wait_wanted(&self, time: Duration) -> bool {
        self.wait_until(true, time)
    }

    /// Waits until nobody does.
    fn wait_unwanted(&self, time: Duration) {
        self.wait_until(false, time);
    }

    fn wait_until(&self, goal: bool, time: Duration) -> bool {
        let guard = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .changed
            .wait_timeout_while(guard, time, |wanted| *wanted != goal);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// How many receivers asked a short while ago.
    fn recent(&self) -> usize {
        let receivers = self.receivers();
        let recent = receivers
            .values()
            .filter(|reported| reported.at.elapsed() < RECENT);
        recent.count()
    }

    fn receivers(&self) -> MutexGuard<'_, BTreeMap<u64, Reported>> {
        self.receivers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn slow(&self) -> MutexGuard<'_, Option<u64>> {
        self.slow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a question about the clock, and takes note of what came with it.
    fn answer(&self, query: &Query) {
        let question = query.payload();
        let question = question.and_then(|question| Question::decode(&question.to_bytes()));
        let question = question.unwrap_or_default();
        let answer = Answer {
            reading: Reading::now(),
            asked: self.asked.load(Ordering::Relaxed),
            needs: self.needs.load(Ordering::Relaxed),
            jpeg: self.jpeg,
        };
        let mut reply = query.reply(query.key_expr().clone(), answer.encode());
        if question.probe > 0 {
            reply = reply.attachment(vec![0; question.probe.min(MOST_PROBE) as usize]);
        }
        // A receiver that is gone asks no more.
        let _ = reply.wait();
        if question.id == 0 {
            return;
        }
        self.fresh.fetch_or(question.fresh, Ordering::Relaxed);
        let reported = Reported {
            arrived: question.arrived,
            lost: question.lost,
            at: Instant::now(),
        };
        self.receivers().insert(question.id, reported);
        if question.link != 0 && question.link < answer.needs {
            *self.slow() = Some(question.link);
        }
    }
}

/// A session with a publisher in it.
struct Outlet {
    // In the order in which they are dropped.
    token: Option<LivelinessToken>,
    publisher: Publisher<'static>,
    session: Session,
    shared: Arc<Shared>,
    alive: String,
    wait: Duration,
    period: Option<Duration>,
}

impl Outlet {
    fn open(
        args: &Put,
        wait: Duration,
        period: Option<Duration>,
        shared: Arc<Shared>,
    ) -> Result<Self> {
        let session = link::open(&args.network, wait)?;
        let key = args.key.clone();
        let failed = |error: zenoh::Error| anyhow!("cannot publish {key}: {}", text_of(&error));
        let answering = Arc::clone(&shared);
        session
            .declare_queryable(wire::clock(&key))
            .callback(move |query| answering.answer(&query))
            .background()
            .wait()
            .map_err(failed)?;
        let publisher = session
            .declare_publisher(key.clone())
            .congestion_control(CongestionControl::Drop)
            // As all else that a robot says: pictures are not to hold up commands.
            .priority(Priority::Data)
            .express(true)
            .wait()
            .map_err(failed)?;
        let matching = Arc::clone(&shared);
        publisher
            .matching_listener()
            .callback(move |status| matching.set_wanted(status.matching()))
            .background()
            .wait()
            .map_err(failed)?;
        let status = publisher.matching_status().wait().map_err(failed)?;
        shared.set_wanted(status.matching());
        let alive = wire::alive(&key);
        let deadline = Instant::now() + LEASE;
        loop {
            let others = session.liveliness().get(&alive).wait().map_err(failed)?;
            if !others.into_iter().any(|reply| reply.result().is_ok()) {
                break;
            }
            if Instant::now() > deadline || stop::requested() {
                bail!("somebody else puts frames under {key}: stop that, or use another key");
            }
            // It may have died a moment ago, which a router does not know yet.
            thread::sleep(TICK);
        }
        Ok(Self {
            token: None,
            publisher,
            session,
            shared,
            alive,
            wait,
            period,
        })
    }

    fn declare_token(&self) -> Result<LivelinessToken> {
        let token = self.session.liveliness().declare_token(&self.alive).wait();
        token.map_err(|error| anyhow!("cannot publish {}: {}", self.alive, text_of(&error)))
    }

    /// Ends the session, after what is on its way: zenoh would cut off what it is just writing.
    /// `time`: how long to wait for that at most.
    fn close(self, time: Duration) -> Arc<Shared> {
        let Self {
            token,
            publisher,
            session,
            shared,
            ..
        } = self;
        drop(token);
        // `get` has all frames before it no longer subscribes. Others may never do that: beside
        // them it takes all of the time.
        if shared.recent() > 0 {
            shared.wait_unwanted(time);
        }
        drop(publisher);
        // If it cannot be closed, the other end notices all the same.
        let _ = session.close().wait();
        shared.set_wanted(false);
        shared
    }
}

/// All frames that were sent.
struct Tally {
    asked: u64,
    bytes: u64,
    skipped: u64,
    discarded: u64,
    times: Spread,
    pace: Pace,
    watch: Watch,
    /// The least that a link was told to carry, in bits/s.
    slowest: u64,
}

impl Tally {
    fn new() -> Self {
        Self {
            asked: 0,
            bytes: 0,
            skipped: 0,
            discarded: 0,
            times: Spread::new(),
            pace: Pace::default(),
            watch: Watch::new(),
            slowest: u64::MAX,
        }
    }

    fn add(&mut self, bytes: usize, time: Duration) {
        self.bytes += bytes as u64;
        self.times
            .add(i64::try_from(time.as_nanos()).unwrap_or(i64::MAX));
        self.pace.add(Instant::now());
        self.watch.bytes += bytes as u64;
        self.watch.frames += 1;
        self.watch.busy += time;
    }

    fn state(&self, outlet: Option<&Outlet>) -> PutState {
        let (mut arrived, mut lost) = (0, 0);
        if let Some(outlet) = outlet {
            for reported in outlet.shared.receivers().values() {
                arrived += reported.arrived;
                lost += reported.lost;
            }
        }
        let receivers = outlet.map_or(0, |outlet| outlet.shared.recent());
        PutState {
            asked: self.asked,
            arrived,
            lost,
            receivers,
            skipped: self.skipped,
            discarded: self.discarded,
            bytes: self.bytes,
            fps: rounded(self.pace.fps()),
        }
    }
}

/// Whether the link keeps up.
struct Watch {
    since: Instant,
    frames: u64,
    skipped: u64,
    bytes: u64,
    /// How long zenoh took for the frames.
    busy: Duration,
}

impl Watch {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            frames: 0,
            skipped: 0,
            bytes: 0,
            busy: Duration::ZERO,
        }
    }

    /// Now and then: what the link carries, in bits/s, if that is the reason why frames are
    /// skipped.
    fn verdict(&mut self) -> Option<u64> {
        let time = self.since.elapsed();
        if time < WATCH {
            return None;
        }
        let Self {
            frames,
            skipped,
            bytes,
            busy,
            ..
        } = std::mem::replace(self, Self::new());
        let slow = skipped * 10 > frames + skipped && busy > time / 2;
        slow.then(|| bits(bytes, time))
    }
}
