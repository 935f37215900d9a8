//! The processes of a measurement: what a sender and a receiver do, whoever carries the frames.

use std::io::{BufRead, Write};
use std::time::Duration;

use nix::time::{ClockId, ClockNanosleepFlags, clock_nanosleep};

use crate::Result;
use crate::contender::{Contender, Ends, Receiver, Sender, contenders};
use crate::frame::{self, Source, now};
use crate::spec::{Mode, Outcome, Schedule, Spec, Wait};

/// How long one end is looked for by the other.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an answer is waited for.
const ANSWER: Duration = Duration::from_millis(10);
/// Looks between two looks at the clock.
const SPINS: u32 = 1000;

/// Which of the processes this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    Sender,
    Receiver,
}

/// Takes part in a measurement: says when it is ready, is told when to do what, and says what came
/// out.
pub fn run(role: Role, spec: &Spec) -> Result<()> {
    let ends = Open::find(spec)?;
    let (there, back) = (format!("/{}", spec.run), format!("/{}-back", spec.run));
    match (spec.mode, role) {
        (Mode::PingPong, Role::Sender) => {
            let (mut sender, mut receiver) = (ends.sender(&there)?, ends.receiver(&back)?);
            take_part(|schedule| ping(&mut *sender, &mut *receiver, spec, schedule))
        }
        (Mode::PingPong, Role::Receiver) => {
            let (mut sender, mut receiver) = (ends.sender(&back)?, ends.receiver(&there)?);
            take_part(|schedule| pong(&mut *sender, &mut *receiver, spec, schedule))
        }
        (_, Role::Sender) => {
            let mut sender = ends.sender(&there)?;
            let mut source = Source::new(spec.shape.bytes(), spec.source_at);
            take_part(|schedule| send(&mut *sender, &mut source, spec, schedule))
        }
        (_, Role::Receiver) => {
            let mut receiver = ends.receiver(&there)?;
            take_part(|schedule| receive(&mut *receiver, spec, schedule))
        }
    }
}

struct Open<'a> {
    spec: &'a Spec,
    contender: &'static Contender,
}

impl<'a> Open<'a> {
    fn find(spec: &'a Spec) -> Result<Self> {
        let contender = contenders().find(|contender| contender.name == spec.contender);
        let contender = contender.ok_or_else(|| format!("no contender {}", spec.contender))?;
        Ok(Self { spec, contender })
    }

    fn sender(&self, channel: &str) -> Result<Box<dyn Sender>> {
        match self.contender.ends {
            Ends::Functions { sender, .. } => sender(self.spec, channel),
            Ends::Programs { .. } => Err("not this program's".into()),
        }
    }

    /// Opens it as soon as the sender has.
    fn receiver(&self, channel: &str) -> Result<Box<dyn Receiver>> {
        let Ends::Functions { receiver, .. } = self.contender.ends else {
            return Err("not this program's".into());
        };
        let deadline = now() + ns(PATIENCE);
        loop {
            match receiver(self.spec, channel) {
                Err(_) if now() < deadline => std::thread::sleep(Duration::from_millis(2)),
                result => return result,
            }
        }
    }
}

fn take_part(measure: impl FnOnce(Schedule) -> Result<Outcome>) -> Result<()> {
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    writeln!(output, "ready")?;
    let mut line = String::new();
    input.read_line(&mut line)?;
    let times: Vec<u64> = line
        .split_whitespace()
        .map(str::parse)
        .collect::<std::result::Result<_, _>>()?;
    let &[begin, count, end] = &times[..] else {
        return Err(format!("not a schedule: {line:?}").into());
    };
    let outcome = measure(Schedule { begin, count, end })?;
    serde_json::to_writer(&mut output, &outcome)?;
    writeln!(output)?;
    // Until the others are done, too.
    input.read_line(&mut line)?;
    Ok(())
}

fn send(
    sender: &mut dyn Sender,
    source: &mut Source,
    spec: &Spec,
    schedule: Schedule,
) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut cpu = process_cpu();
    let period = match spec.mode {
        Mode::Paced(hz) | Mode::Decoded(hz) | Mode::Idle(hz) => 1_000_000_000 / u64::from(hz),
        Mode::FlatOut | Mode::PingPong => 0,
    };
    let mut due = schedule.begin;
    let mut number = 0_u64;
    let end = if let Mode::Idle(_) = spec.mode {
        schedule.count
    } else {
        schedule.end
    };
    while due < end {
        sleep_until(due);
        let (stamp, sent) = if let Mode::Decoded(_) = spec.mode {
            number += 1;
            let mut stamp = 0;
            let sent = sender.send_in_place(&mut |pixels| {
                pixels.fill(number.to_le_bytes()[0]);
                frame::change(pixels, number);
                stamp = frame::stamp_now(pixels);
            });
            (stamp, sent)
        } else {
            let frame = source.next();
            (frame::stamp(frame), sender.send(frame))
        };
        let published = now() - stamp;
        if now() >= schedule.end {
            break; // the receivers may be gone
        }
        sent?;
        if stamp >= schedule.count {
            outcome.published.push(published);
        } else {
            cpu = process_cpu();
        }
        due = if period == 0 { now() } else { due + period };
    }
    outcome.cpu = process_cpu() - cpu;
    sleep_until(schedule.end);
    Ok(outcome)
}

fn receive(receiver: &mut dyn Receiver, spec: &Spec, schedule: Schedule) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let marks = match spec.mode {
        Mode::Paced(_) | Mode::FlatOut | Mode::Idle(_) => frame::marks(spec.shape.bytes()),
        Mode::PingPong | Mode::Decoded(_) => vec![0],
    };
    let mut cpu = process_cpu();
    let mut summing = 0;
    let mut last = 0;
    let mut see = |frame: &[u8]| {
        let (stamp, arrival) = (frame::stamp(frame), now());
        let counts = stamp >= schedule.count;
        let number = frame::number(frame);
        let mut whole = frame::is_whole(frame, &marks);
        if counts && let Mode::Paced(_) = spec.mode {
            let before = thread_cpu();
            whole &= frame::sum_is_right(frame);
            outcome.consumed.push(now() - stamp);
            summing += thread_cpu() - before;
        }
        if number <= last {
            outcome.disorder += 1;
        } else if !whole {
            outcome.torn += 1;
        } else if counts {
            outcome.arrival.push(arrival - stamp);
        } else {
            cpu = process_cpu();
        }
        last = number;
    };
    while next(receiver, spec.wait, schedule.end, &mut see)? {}
    outcome.cpu = process_cpu() - cpu - summing;
    Ok(outcome)
}

fn ping(
    sender: &mut dyn Sender,
    receiver: &mut dyn Receiver,
    spec: &Spec,
    schedule: Schedule,
) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    sleep_until(schedule.begin);
    let mut number = 1;
    while now() < schedule.end {
        let begin = now();
        sender.send_in_place(&mut |pixels| frame::change(pixels, number))?;
        // The first may be lost, where the ends have not found each other yet.
        let deadline = schedule.end.min(begin + ns(ANSWER));
        let mut answer = 0;
        while answer < number
            && next(receiver, spec.wait, deadline, &mut |frame| {
                answer = frame::number(frame);
            })?
        {}
        if answer == number {
            if begin >= schedule.count {
                outcome.arrival.push((now() - begin) / 2);
            }
            number += 1;
        }
    }
    Ok(outcome)
}

fn pong(
    sender: &mut dyn Sender,
    receiver: &mut dyn Receiver,
    spec: &Spec,
    schedule: Schedule,
) -> Result<Outcome> {
    let mut number = 0_u64;
    while next(receiver, spec.wait, schedule.end, &mut |frame| {
        number = frame::number(frame);
    })? {
        let sent = sender.send_in_place(&mut |pixels| frame::change(pixels, number));
        if now() >= schedule.end {
            break; // the other may be gone
        }
        sent?;
    }
    Ok(Outcome::default())
}

/// The next frame. `false`: there was none before the end.
fn next(
    receiver: &mut dyn Receiver,
    wait: Wait,
    end: u64,
    see: &mut dyn FnMut(&[u8]),
) -> Result<bool> {
    loop {
        for _ in 0..SPINS {
            if receiver.try_receive(see)? {
                return Ok(true);
            }
            if wait == Wait::Asleep {
                break;
            }
        }
        let left = Duration::from_nanos(end.saturating_sub(now()));
        if left.is_zero() {
            return Ok(false);
        }
        if wait == Wait::Asleep {
            receiver.sleep(left)?;
        }
    }
}

fn sleep_until(due: u64) {
    if now() < due {
        let due = Duration::from_nanos(due).into();
        // Interrupted by a signal: none is sent.
        let _ = clock_nanosleep(
            ClockId::CLOCK_MONOTONIC,
            ClockNanosleepFlags::TIMER_ABSTIME,
            &due,
        );
    }
}

fn process_cpu() -> u64 {
    frame::clock(ClockId::CLOCK_PROCESS_CPUTIME_ID)
}

fn thread_cpu() -> u64 {
    frame::clock(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("a few seconds")
}
