//! `shm-bridge get`: frames from zenoh into a segment.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use shm_frame::{Error, Loan, Sender, SenderOptions, Sent};
use zenoh::bytes::Encoding;
use zenoh::qos::Priority;
use zenoh::query::Reply;
use zenoh::sample::Sample;
use zenoh::{Session, Wait};

use crate::args::Get;
use crate::clock::{Offset, Reading};
use crate::event::{ClockState, GetLine, GetState};
use crate::inbox::{Arrived, Counts, Inbox};
use crate::jpeg::Decoder;
use crate::link::{self, text_of};
use crate::rate::{bit_rate, bits};
use crate::report::{Console, remedy};
use crate::stop;
use crate::units::{Pace, Spread, counted, duration_ms, ms, rounded};
use crate::wire::{self, Answer, Attachment, Question};

/// How often to look at everything else; a sender wants to be tended as often.
const TICK: Duration = Duration::from_millis(100);
/// How often to ask for the time.
const ASK: Duration = Duration::from_secs(1);
/// How often at first: of many answers, one is quick.
const ASK_FIRST: u32 = 10;
/// How long to wait for an answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes that are sent to show how fast the link is, until they take longer than this.
const PROBES: [u32; 5] = [64 << 10, 256 << 10, 1 << 20, 4 << 20, 8 << 20];
const PROBE_TIME: Duration = Duration::from_millis(50);

/// Runs the command.
pub(crate) fn get(args: &Get) -> Result<()> {
    // It publishes no pixels: how long those would wait does not matter.
    let session = link::open(&args.network, Duration::from_millis(50))?;
    let inbox = Arc::new(Inbox::default());
    let tokens = Arc::clone(&inbox);
    session
        .liveliness()
        .declare_subscriber(wire::alive(&args.key))
        .history(true)
        .callback(move |sample| tokens.token(sample.kind()))
        .background()
        .wait()
        .map_err(|error| anyhow!("cannot subscribe to {}: {}", args.key, text_of(&error)))?;
    let mut getting = Getting {
        args,
        console: Console::new(&args.output),
        session,
        inbox,
        id: RandomState::new().hash_one(0) | 1,
        sender: None,
        created: false,
        decoder: Decoder::new()?,
        missing: String::new(),
        discarded: Vec::new(),
        tally: Tally::new(),
    };
    let ran = getting.run();
    let told = getting.tell_summary();
    ran.and(told)
}

struct Getting<'a> {
    args: &'a Get,
    console: Console,
    session: Session,
    inbox: Arc<Inbox>,
    /// What the other end knows this one by.
    id: u64,
    sender: Option<Sender>,
    /// The name was this process's before.
    created: bool,
    decoder: Decoder,
    /// The reason for waiting that was told last.
    missing: String,
    /// The reasons told why frames could not be used.
    discarded: Vec<String>,
    tally: Tally,
}

/// All frames that were received.
struct Tally {
    /// Of the other end's senders before this one.
    past: Counts,
    got: u64,
    discarded: u64,
    delays: Spread,
    pace: Pace,
    last: Option<(Attachment, i64)>,
    offset: Option<Offset>,
}

impl Tally {
    fn new() -> Self {
        Self {
            past: Counts::default(),
            got: 0,
            discarded: 0,
            delays: Spread::new(),
            pace: Pace::default(),
            last: None,
            offset: None,
        }
    }

    fn state(&self, inbox: &Inbox) -> GetState {
        let mut counts = self.past;
        counts += inbox.counts();
        let Counts {
            asked,
            arrived,
            lost,
            overtaken,
        } = counts;
        GetState {
            asked,
            arrived,
            lost,
            overtaken,
            discarded: self.discarded,
            fps: rounded(self.pace.fps()),
            clock: self.offset.map(clock_state),
        }
    }
}

impl Getting<'_> {
    fn run(&mut self) -> Result<()> {
        while self.goes_on() {
            let Some(gone) = self.inbox.wait_alive(TICK) else {
                self.wait()?;
                continue;
            };
            self.inbox.begin();
            if !self.meet(gone)? {
                continue;
            }
            self.stream(gone)?;
            self.part()?;
        }
        Ok(())
    }

    fn goes_on(&self) -> bool {
        !stop::requested() && self.args.count.is_none_or(|count| self.tally.got < count)
    }

    /// Tells why there are no frames, once per reason.
    fn wait(&mut self) -> Result<()> {
        let key = self.args.key.as_str();
        let why = if self.is_linked() {
            format!("nobody puts frames under {key}")
        } else {
            format!("no link {}", link::where_to(&self.args.network))
        };
        if self.missing != why {
            let event = GetLine::Waiting { key, why: &why };
            self.console.event(&event, &format!("{why}: waiting"))?;
            self.missing = why;
        }
        Ok(())
    }

    fn is_linked(&self) -> bool {
        let info = self.session.info();
        info.peers_zid().wait().next().is_some() || info.routers_zid().wait().next().is_some()
    }

    /// Compares clocks, and sees how fast the link is, before any frame comes. `false`: the other
    /// end is gone, or does not answer.
    fn meet(&mut self, gone: u64) -> Result<bool> {
        let mut answer = None;
        for _ in 0..ASK_FIRST {
            if !self.inbox.is_alive(gone) || stop::requested() {
                return Ok(false);
            }
            let question = self.question(0);
            if let Some((asked, answered, there)) = self.ask(question)? {
                self.inbox.answer(asked, answered, &there);
                answer = Some(there);
            }
        }
        let (Some(answer), Some(offset)) = (answer, self.inbox.offset()) else {
            let why = format!("{} does not answer", wire::clock(&self.args.key));
            if self.missing != why {
                let key = self.args.key.as_str();
                let event = GetLine::Waiting { key, why: &why };
                self.console.event(&event, &format!("{why}: waiting"))?;
                self.missing = why;
            }
            return Ok(false);
        };
        self.tally.offset = Some(offset);
        let needs = Some(answer.needs).filter(|&needs| needs > 0);
        let carries = match needs {
            Some(needs) => self.probe(needs, offset.round_trip)?,
            None => None,
        };
        self.missing.clear();
        self.tell_met(offset, answer, carries)?;
        Ok(true)
    }

    /// What the link carries, in bits/s: at least that, if it is twice what is needed.
    fn probe(&mut self, needs: u64, round_trip: Duration) -> Result<Option<u64>> {
        let mut carries = None;
        for probe in PROBES {
            let begun = Instant::now();
            let question = self.question(probe);
            // What does not come in time is not carried in that time.
            let answered = self.ask(question)?.is_some();
            let time = begun.elapsed();
            let seen = bits(probe.into(), time.saturating_sub(round_trip));
            carries = Some(seen);
            // A short probe may fit in buffers on the way.
            if !answered || time > PROBE_TIME || seen > 2 * needs && probe >= 1 << 20 {
                break;
            }
        }
        if let Some(link) = carries.filter(|&carries| carries < needs) {
            // So that the other end can say it, too.
            let question = Question {
                link,
                ..self.question(0)
            };
            self.ask(question)?;
        }
        Ok(carries)
    }

    fn question(&self, probe: u32) -> Question {
        let mut counts = self.tally.past;
        counts += self.inbox.counts();
        Question {
            id: self.id,
            fresh: false,
            probe,
            arrived: counts.arrived,
            lost: counts.lost,
            link: 0,
        }
    }

    /// Asks the other end, and waits for the answer: when it was asked, when it was answered.
    fn ask(&self, question: Question) -> Result<Option<(Reading, Reading, Answer)>> {
        let asked = Reading::now();
        let replies = self
            .session
            .get(wire::clock(&self.args.key))
            .payload(question.encode())
            .priority(Priority::RealTime)
            .express(true)
            .timeout(PATIENCE)
            .wait()
            .map_err(|error| self.cannot_ask(&error))?;
        let Ok(reply) = replies.recv() else {
            return Ok(None);
        };
        let answered = Reading::now();
        Ok(answer_in(&reply).map(|answer| (asked, answered, answer)))
    }

    /// The same without waiting: the answer goes into the inbox.
    fn ask_again(&self, fresh: bool) -> Result<()> {
        let question = Question {
            fresh,
            ..self.question(0)
        };
        let asked = Reading::now();
        let inbox = Arc::clone(&self.inbox);
        self.session
            .get(wire::clock(&self.args.key))
            .payload(question.encode())
            .priority(Priority::RealTime)
            .express(true)
            .timeout(PATIENCE)
            .callback(move |reply| {
                let answered = Reading::now();
                if let Some(answer) = answer_in(&reply) {
                    inbox.answer(asked, answered, &answer);
                }
            })
            .wait()
            .map_err(|error| self.cannot_ask(&error))
    }

    fn tell_met(&self, offset: Offset, answer: Answer, carries: Option<u64>) -> Result<()> {
        let (key, name) = (self.args.key.as_str(), self.args.name.to_string());
        let needs = Some(answer.needs).filter(|&needs| needs > 0);
        // Before all else, since the frames will not come as they should.
        if let (Some(needs), Some(carries)) = (needs, carries)
            && carries < needs
        {
            let (kind, remedy) = match answer.jpeg {
                0 => ("raw".to_owned(), "put with --jpeg 90"),
                quality => (
                    format!("--jpeg {quality}"),
                    "put with a lower --jpeg, or --max-fps",
                ),
            };
            let text = format!(
                "{kind} needs {}, the link carries {}: {remedy}",
                bit_rate(needs),
                bit_rate(carries)
            );
            self.console
                .event(&GetLine::Slow { needs, carries }, &text)?;
        }
        let event = GetLine::Getting {
            key,
            name: &name,
            clock: clock_state(offset),
            needs,
            carries,
        };
        let text = format!(
            "getting {key} into {name}; its clock is {}, {}",
            ahead(offset.wall_ns),
            known(offset)
        );
        self.console.event(&event, &text)
    }

    /// Takes frames until the other end is gone, or enough came.
    fn stream(&mut self, gone: u64) -> Result<()> {
        // What the other end told before this one subscribed is no promise.
        self.inbox.count_anew();
        let inbox = Arc::clone(&self.inbox);
        let begun = Reading::now();
        let subscriber = self
            .session
            .declare_subscriber(self.args.key.clone())
            .callback(move |sample| inbox.frame(sample))
            .wait()
            .map_err(|error| {
                anyhow!("cannot subscribe to {}: {}", self.args.key, text_of(&error))
            })?;
        self.ask_again(true)?;
        let mut ask_at = Instant::now() + ASK;
        while self.goes_on() && self.inbox.is_alive(gone) {
            if Instant::now() >= ask_at {
                ask_at = Instant::now() + ASK;
                self.ask_again(false)?;
            }
            match self.inbox.next(gone, TICK) {
                Some(arrived) => self.take(arrived, begun)?,
                None => self.tend()?,
            }
            self.tick()?;
        }
        self.finish(begun)?;
        // Which the other end waits for.
        drop(subscriber);
        Ok(())
    }

    /// Takes the frames of a sender that is gone: the news of its end overtakes them.
    fn finish(&mut self, begun: Reading) -> Result<()> {
        let session = self.tally.last.as_ref().map(|(last, _)| last.session);
        // The answer has the least priority, too: it comes after all frames that were put before,
        // by links that have one order for all priorities.
        let answers = self
            .session
            .get(wire::clock(&self.args.key))
            .payload(self.question(0).encode())
            .priority(Priority::Background)
            .timeout(PATIENCE)
            .wait()
            .map_err(|error| self.cannot_ask(&error))?;
        let mut is_over = false;
        while self.goes_on() && !is_over {
            // The link is gone, or the answer is there, or there will be none. Then one more look.
            let answer = answers.try_recv();
            is_over = !matches!(answer, Ok(None)) || !self.is_linked();
            if let Some(answer) = answer.ok().flatten().and_then(|reply| answer_in(&reply)) {
                self.inbox.last_answer(&answer);
            }
            let time = if is_over { Duration::ZERO } else { TICK / 10 };
            match self.inbox.rest(time) {
                // A new sender's: whoever subscribes gets it again.
                Some(arrived) if self.inbox.is_alive_now() && !arrived.is_of(session) => break,
                Some(arrived) => self.take(arrived, begun)?,
                None => self.tend()?,
            }
        }
        Ok(())
    }

    fn tend(&mut self) -> Result<()> {
        if let Some(sender) = &mut self.sender {
            sender.tend()?;
        }
        Ok(())
    }

    fn cannot_ask(&self, error: &zenoh::Error) -> anyhow::Error {
        anyhow!("cannot ask {}: {}", self.args.key, text_of(error))
    }

    /// Ends the segment, as the other end's did.
    fn part(&mut self) -> Result<()> {
        if !self.goes_on() {
            return Ok(());
        }
        self.tally.past += self.inbox.count_anew();
        self.tally.last = None;
        self.sender = None;
        let (key, name) = (self.args.key.as_str(), &self.args.name);
        // A link that ended takes its time to be gone from zenoh's list.
        let deadline = Instant::now() + TICK;
        while self.is_linked() && Instant::now() < deadline {
            thread::sleep(TICK / 10);
        }
        let (why, text) = if self.is_linked() {
            ("ended", format!("the sender behind {key} ended"))
        } else {
            ("link", format!("the link to {key} ended"))
        };
        let event = GetLine::Gone { key, why };
        self.console
            .event(&event, &format!("{text}, and so did segment {name}"))
    }

    fn take(&mut self, arrived: Arrived, begun: Reading) -> Result<()> {
        let Arrived { attachment, sample } = arrived;
        let attachment = match attachment {
            Ok(attachment) => attachment,
            Err(why) => return self.discard(why),
        };
        let is_again = |(last, _): &(Attachment, i64)| {
            last.session == attachment.session && last.number >= attachment.number
        };
        if attachment.session != 0 && self.tally.last.as_ref().is_some_and(is_again) {
            // It was put again for another receiver.
            return Ok(());
        }
        let bytes = sample.payload().len();
        let sent = match self.send(&sample, &attachment)? {
            Ok(sent) => sent,
            Err(why) => return self.discard(why),
        };
        let now = Reading::now();
        let Some(offset) = self.inbox.offset() else {
            return Ok(());
        };
        let begun_here = attachment.begun_ns.saturating_sub(offset.ns);
        let delay_ns = now.monotonic_ns.saturating_sub(begun_here);
        let found = begun_here < begun.monotonic_ns;
        self.tally.got += 1;
        self.tally.pace.add(Instant::now());
        self.tally.offset = Some(offset);
        if !found {
            self.tally.delays.add(delay_ns);
        }
        self.console.frame(&GetLine::Got {
            frame: attachment.number,
            number: sent.number,
            serial: attachment.serial,
            kind: attachment.shape.into(),
            bytes,
            delay_ms: ms(delay_ns),
            bound_ms: duration_ms(offset.bound),
            found,
        })?;
        self.tally.last = Some((attachment, delay_ns));
        Ok(())
    }

    /// Sends a frame into the segment. `Ok(Err)`: why it could not be used.
    fn send(&mut self, sample: &Sample, attachment: &Attachment) -> Result<Result<Sent, String>> {
        let payload = sample.payload();
        let shape = attachment.shape;
        let jpeg = match Kind::of(sample.encoding()) {
            Some(kind) => kind == Kind::Jpeg,
            None => return Ok(Err(format!("it is {}", sample.encoding()))),
        };
        if !jpeg && payload.len() != shape.bytes() {
            let (got, bytes) = (payload.len(), shape.bytes());
            return Ok(Err(format!(
                "a {shape} frame has {bytes} bytes of pixels, not {got}"
            )));
        }
        let jpeg = jpeg.then(|| payload.to_bytes());
        if let Some(Err(why)) = jpeg.as_ref().map(|jpeg| self.decoder.judge(jpeg, shape)) {
            return Ok(Err(why));
        }
        if self
            .tally
            .last
            .as_ref()
            .is_some_and(|(last, _)| last.session != attachment.session)
        {
            // Another sender took the name over at the other end.
            self.sender = None;
        }
        let meta = &attachment.meta;
        let sender = match &mut self.sender {
            Some(sender) => sender,
            none => {
                let options = SenderOptions::new()
                    .capacity(shape.bytes() + meta.len())
                    .slots(self.args.slots.into())
                    .mode(self.args.mode)
                    // Later the name may be somebody else's by right.
                    .replace(self.args.replace && !self.created);
                match Sender::create(&self.args.name, &options) {
                    Ok(sender) => {
                        self.created = true;
                        none.insert(sender)
                    }
                    Err(error) => return no_room(error),
                }
            }
        };
        let mut loan = match sender.loan_with_room(shape, meta.len()) {
            Ok(loan) => loan,
            Err(error) => return no_room(error),
        };
        match jpeg {
            Some(jpeg) => {
                if let Err(why) = self.decoder.decode(&jpeg, shape, loan.pixels()) {
                    return Ok(Err(why));
                }
            }
            None => fill(&mut loan, sample),
        }
        loan.set_captured_ns(attachment.captured_ns);
        loan.set_meta(meta)?;
        Ok(loan.publish().map_err(|error| error.to_string()))
    }

    fn discard(&mut self, why: String) -> Result<()> {
        self.tally.discarded += 1;
        if self.discarded.contains(&why) {
            return Ok(());
        }
        let event = GetLine::Discarded { why: &why };
        self.console
            .event(&event, &format!("a frame was not used: {why}"))?;
        // A sender that has ever new reasons is not to fill the memory.
        self.discarded.truncate(15);
        self.discarded.push(why);
        Ok(())
    }

    fn tick(&mut self) -> Result<()> {
        let (tally, inbox, key) = (&self.tally, &self.inbox, &self.args.key);
        self.console.tick(|| {
            let state = tally.state(inbox);
            let text = format!("{key}: {}", status(tally, &state));
            (GetLine::State(state), text)
        })
    }

    fn tell_summary(&mut self) -> Result<()> {
        let state = self.tally.state(&self.inbox);
        let delay_ms = self.tally.delays.quantiles();
        let delays = match (delay_ms, self.tally.offset) {
            (Some(delay_ms), Some(offset)) => {
                let bound = duration_ms(offset.bound);
                format!("; delay {delay_ms}, each ± {bound:.3} ms")
            }
            _ => String::new(),
        };
        // The other end's count is to know all that arrived here.
        if state.asked > 0 && self.inbox.is_alive_now() {
            let _ = self.ask(self.question(0));
        }
        let text = format!("{}{delays}", told(&state));
        let told = self
            .console
            .summary(&GetLine::Summary { state, delay_ms }, &text);
        self.sender = None;
        let _ = self.session.close().wait();
        told
    }
}

/// Without room for this frame, smaller ones or later ones may have some.
fn no_room<T>(error: Error) -> Result<Result<T, String>> {
    match error {
        Error::NoRoom { .. } | Error::Busy { .. } | Error::Layout { .. } => {
            let remedy = remedy(&error).unwrap_or_default();
            Ok(Err(format!("{error}{remedy}")))
        }
        error => Err(error.into()),
    }
}

/// Copies the pixels, which come in pieces, into a slot of as many bytes.
fn fill(loan: &mut Loan<'_>, sample: &Sample) {
    let mut rest = loan.pixels();
    for piece in sample.payload().slices() {
        let (now, later) = rest.split_at_mut(piece.len());
        now.copy_from_slice(piece);
        rest = later;
    }
}

/// How pixels come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Raw,
    Jpeg,
}

impl Kind {
    fn of(encoding: &Encoding) -> Option<Self> {
        let text = encoding.to_string();
        // Before the schema.
        match text.split(';').next() {
            Some("video/raw") => Some(Self::Raw),
            Some("image/jpeg") => Some(Self::Jpeg),
            _ => None,
        }
    }
}

fn answer_in(reply: &Reply) -> Option<Answer> {
    let sample = reply.result().ok()?;
    Answer::decode(&sample.payload().to_bytes())
}

fn clock_state(offset: Offset) -> ClockState {
    ClockState {
        clock_ms: ms(offset.wall_ns),
        bound_ms: duration_ms(offset.bound),
        round_trip_ms: duration_ms(offset.round_trip),
    }
}

/// How far a clock is ahead, for people.
fn ahead(ns: i64) -> String {
    let ms = ms(ns);
    let side = if ms < 0.0 { "behind" } else { "ahead" };
    let ms = ms.abs();
    if ms < 1000.0 {
        format!("{ms:.3} ms {side}")
    } else {
        format!("{:.3} s {side}", ms / 1000.0)
    }
}

fn known(offset: Offset) -> String {
    let Offset {
        bound, round_trip, ..
    } = offset;
    format!(
        "± {:.3} ms (round trip {:.3} ms)",
        duration_ms(bound),
        duration_ms(round_trip)
    )
}

fn told(state: &GetState) -> String {
    let GetState {
        asked,
        arrived,
        lost,
        overtaken,
        discarded,
        ..
    } = *state;
    let discarded = match discarded {
        0 => String::new(),
        discarded => format!(", {discarded} not usable"),
    };
    format!(
        "{arrived} of {} arrived, {lost} lost, {overtaken} overtaken{discarded}",
        counted(asked, "frame")
    )
}

/// The status line, the most important values first.
fn status(tally: &Tally, state: &GetState) -> String {
    let Some((attachment, delay_ns)) = &tally.last else {
        return "no frame yet".to_owned();
    };
    let bound = state.clock.map_or(0.0, |clock| clock.bound_ms);
    let delays = tally.delays.quantiles().map_or(String::new(), |delays| {
        format!(", p50 {:.3}, p99 {:.3}", delays.p50, delays.p99)
    });
    format!(
        "frame {}  {}  {:.1} frames/s  delay {:.3} ± {bound:.3} ms{delays}  {}",
        attachment.number,
        attachment.shape,
        state.fps,
        ms(*delay_ns),
        told(state)
    )
}
