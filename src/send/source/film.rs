//! A film: a file, a pipe or an address.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{mem, panic};

use anyhow::{Context, Result, bail, ensure};
use shm_frame::Shape;

use super::{Next, RATE, SLICE, Source};
use crate::av::{Cancel, Decoded, Picture, Reader, Wanted};
use crate::console::Console;
use crate::send::args::{Args, Rate};
use crate::send::outlet::{Outlet, Written};
use crate::stop;

/// In formats whose time stamps may jump, a longer step is a jump.
const JUMP: Duration = Duration::from_secs(5);
/// In other formats, a longer step is a jump: nobody waits that long for a picture.
const STEP: Duration = Duration::from_secs(3600);
/// How far a frame's duration may be from the step to the next frame, since some films count in ms.
const ROUNDING: Duration = Duration::from_millis(2);

/// A film, which a thread of its own reads: however long that takes, the segment is looked after.
pub(crate) struct Video {
    path: PathBuf,
    thread: Reading,
    /// The current frame.
    picture: Picture,
    /// It is the first one, which was decoded at the opening, and was not sent yet.
    fresh: bool,
    /// The current frame's time, from the film's beginning.
    at: Duration,
    shape: Shape,
    /// The film's own.
    rate: Rate,
    /// What was asked for instead.
    asked: Option<Rate>,
    is_live: bool,
    /// About how many frames there are, if they end.
    frames: Option<u64>,
    /// When its recording began, if frames are sent with the time at which they were taken.
    recorded_ns: Option<u64>,
}

impl Video {
    pub(crate) fn open(path: &Path, args: &Args, console: &Console) -> Result<Self> {
        let wanted = Wanted {
            channels: args.channels,
            eight_bit: args.depth.is_some(),
        };
        let mut reader = Reader::open(path.as_os_str(), wanted)?;
        if args.repeat && !reader.can_start_over() {
            bail!("--loop: it cannot be started over, since it is no file");
        }
        let start = args.start.unwrap_or_default();
        if !start.is_zero() && !reader.go_to(start)? && !stop::requested() {
            bail!("--start {}: it ends before that", start.as_secs_f64());
        }
        let fps = reader.fps().filter(|fps| (0.001..=1000.0).contains(fps));
        let rate = fps.map_or(RATE, |fps| Rate {
            fps,
            period: Some(Duration::from_secs_f64(fps.recip())),
        });
        let ends = !args.repeat && !reader.is_live();
        let frames = reader.frames().filter(|_| ends);
        let frames = frames.map(|frames| left(frames, reader.length(), start));
        let (recorded_ns, is_live) = (reader.recorded_ns(), reader.is_live());
        let mut film = Film {
            steps: Steps::new(rate.period.unwrap_or_default(), reader.may_jump()),
            at: start,
            start,
            repeat: args.repeat,
            reader,
        };
        let picture = Picture::new(film.take()?.0, wanted);
        if let Some(bits) = picture.lost_bits()? {
            console.note(&format!(
                "--video {}: its {bits} bits are scaled to 8",
                path.display()
            ));
        }
        Ok(Self {
            path: path.to_owned(),
            shape: picture.shape()?,
            picture,
            fresh: true,
            at: start,
            rate,
            asked: args.fps,
            is_live,
            frames,
            recorded_ns: recorded_ns.filter(|_| args.captured),
            thread: Reading::start(film),
        })
    }

    pub(crate) fn rate(&self) -> Rate {
        self.rate
    }

    /// Whether frames are sent as they come, and not by their time stamps.
    pub(crate) fn is_live(&self) -> bool {
        self.is_live && self.asked.is_none()
    }

    /// The time between two frames when they are sent.
    fn paced(&self, step: Duration) -> Option<Duration> {
        match self.asked {
            Some(asked) => asked.period,
            None if self.is_live() => None,
            None => Some(step),
        }
    }
}

/// The frames that are left after the beginning of a film was passed over.
fn left(frames: u64, length: Option<Duration>, start: Duration) -> u64 {
    let length = length.unwrap_or_default();
    if start.is_zero() || length <= start {
        return frames;
    }
    let left = 1.0 - start.as_secs_f64() / length.as_secs_f64();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "for people"
    )]
    let left = (frames as f64 * left).round() as u64;
    left.max(1)
}

impl Source for Video {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn frames(&self) -> Option<u64> {
        self.frames
    }

    fn can_skip(&self) -> bool {
        true
    }

    fn next(&mut self) -> Result<Next> {
        if mem::take(&mut self.fresh) {
            return Ok(Next::Frame(self.paced(Duration::ZERO)));
        }
        let shot = match self.thread.next() {
            // Because of the signal.
            Err(_) if stop::requested() => return Ok(Next::Nothing),
            shot => shot.with_context(|| format!("--video {}", self.path.display()))?,
        };
        Ok(match shot {
            None => Next::Nothing,
            Some(Shot::Frame { decoded, at, step }) => {
                self.picture.set(decoded);
                self.at = at;
                Next::Frame(self.paced(step))
            }
            Some(Shot::End(last)) => Next::End(self.paced(last)),
        })
    }

    fn send(&mut self, outlet: &mut Outlet) -> Result<Option<Written>> {
        if let Some(begin) = self.recorded_ns {
            let since = u64::try_from(self.at.as_nanos()).unwrap_or(0);
            outlet.set_captured_ns(begin.saturating_add(since));
        }
        self.shape = self.picture.shape()?;
        outlet
            .fill(self.shape, |pixels| {
                self.picture.write(pixels)?;
                Ok(true)
            })
            .with_context(|| format!("--video {}", self.path.display()))
    }
}

/// What is read of a film.
enum Shot {
    Frame {
        decoded: Decoded,
        /// Its time, from the film's beginning.
        at: Duration,
        /// The time since the last frame.
        step: Duration,
    },
    /// There are no more. The last one is to be seen so long.
    End(Duration),
}

/// The thread that reads a film, one frame ahead.
struct Reading {
    shots: Option<Receiver<Result<Shot>>>,
    cancel: Cancel,
    thread: Option<JoinHandle<()>>,
}

impl Reading {
    fn start(mut film: Film) -> Self {
        let (hand_over, shots) = mpsc::sync_channel(0);
        Self {
            cancel: film.reader.cancel(),
            thread: Some(thread::spawn(move || {
                while let Some(shot) = film.next().transpose() {
                    let is_last = !matches!(shot, Ok(Shot::Frame { .. }));
                    if hand_over.send(shot).is_err() || is_last {
                        break;
                    }
                }
            })),
            shots: Some(shots),
        }
    }

    /// Waits for the next frame, or the end, for [`SLICE`] at most.
    fn next(&mut self) -> Result<Option<Shot>> {
        let shots = self.shots.as_ref().context("the film was closed")?;
        match shots.recv_timeout(SLICE) {
            Ok(shot) => shot.map(Some),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
                    panic::resume_unwind(panic);
                }
                Ok(None)
            }
        }
    }
}

impl Drop for Reading {
    /// FFmpeg must not run while the process ends. A read that cannot be ended, as of a disk that
    /// does not answer, is not waited for.
    fn drop(&mut self) {
        const PATIENCE: Duration = Duration::from_secs(1);
        const SLICE: Duration = Duration::from_millis(2);
        self.cancel.request();
        self.shots = None;
        let end = Instant::now() + PATIENCE;
        let runs = || {
            self.thread
                .as_ref()
                .is_some_and(|thread| !thread.is_finished())
        };
        while runs() && Instant::now() < end {
            thread::sleep(SLICE);
        }
    }
}

/// A film that is being read.
struct Film {
    reader: Reader,
    steps: Steps,
    /// The current frame's time, from the film's beginning.
    at: Duration,
    /// Where to begin.
    start: Duration,
    repeat: bool,
}

impl Film {
    /// Reads the next frame, or the end. `None`: the end was asked for.
    fn next(&mut self) -> Result<Option<Shot>> {
        let mut over = None;
        if !self.reader.decode()? {
            if self.reader.cancel().is_requested() {
                return Ok(None);
            }
            let last = self.steps.last();
            self.at += last;
            self.check_end()?;
            if !self.repeat {
                return Ok(Some(Shot::End(last)));
            }
            if !self.reader.go_to(self.start)? {
                ensure!(
                    self.reader.cancel().is_requested(),
                    "cannot be started over"
                );
                return Ok(None);
            }
            self.at = self.start;
            self.steps.begin();
            over = Some(last);
        }
        let (decoded, told) = self.take()?;
        if over.is_none() {
            self.at += told;
        }
        Ok(Some(Shot::Frame {
            decoded,
            at: self.at,
            step: over.unwrap_or(told),
        }))
    }

    /// Takes the frame that was decoded, and the step to it.
    fn take(&mut self) -> Result<(Decoded, Duration)> {
        let step = self.steps.next(self.reader.time(), self.reader.duration());
        Ok((self.reader.take()?, step))
    }

    /// Fails if the film ended long before the length that it claims. The claim may be a little
    /// off, so a tenth and a second must be missing.
    fn check_end(&mut self) -> Result<()> {
        let at = self.at.as_secs_f64();
        let length = self.reader.length().map(|length| length.as_secs_f64());
        if let Some(why) = self.reader.broken() {
            let of = length.map_or_else(String::new, |length| {
                format!(" of the {length:.1} s it claims to have")
            });
            return Err(why).with_context(|| format!("breaks off after {at:.1}{of}"));
        }
        // Some formats count the length from 0, others from the first frame.
        let until = at + self.reader.first().as_secs_f64();
        match length {
            Some(length) if until + 1.0 < 0.9 * length => {
                bail!("breaks off after {at:.1} of the {length:.1} s it claims to have")
            }
            _ => Ok(()),
        }
    }
}

/// Makes steps between frames of their time stamps.
#[derive(Debug)]
pub(super) struct Steps {
    /// The step if nothing else is known.
    period: Duration,
    /// A longer step is a jump.
    longest: Duration,
    /// The current frame's time stamp, in ns.
    time: Option<i64>,
    /// The current frame's duration, if the film has it.
    told: Option<Duration>,
    /// All durations were right so far.
    honest: bool,
    /// The step to the current frame.
    step: Option<Duration>,
}

impl Steps {
    pub(super) fn new(period: Duration, may_jump: bool) -> Self {
        Self {
            period,
            longest: if may_jump { JUMP } else { STEP },
            time: None,
            told: None,
            honest: true,
            step: None,
        }
    }

    /// The film is started over.
    pub(super) fn begin(&mut self) {
        self.time = None;
    }

    /// Takes the next frame's time stamp and duration. Returns the step to it.
    pub(super) fn next(&mut self, time: Option<i64>, told: Option<Duration>) -> Duration {
        let since = self.time.zip(time).and_then(|(before, time)| {
            let ns = u64::try_from(time.checked_sub(before)?).ok()?;
            (ns > 0).then(|| Duration::from_nanos(ns))
        });
        let as_told = |since: Duration| {
            self.told
                .is_some_and(|told| told.abs_diff(since) <= ROUNDING)
        };
        let step = match since {
            Some(since) if as_told(since) => since,
            Some(since) if since <= self.longest => {
                self.honest &= self.told.is_none();
                since
            }
            // The time stamps jump, or stand still.
            _ => self.told.filter(|_| self.honest).unwrap_or(self.period),
        };
        if self.time.is_some() {
            self.step = Some(step);
        }
        self.time = time;
        self.told = told;
        step
    }

    /// The duration of the current frame if it is the last one.
    pub(super) fn last(&self) -> Duration {
        let told = self.told.filter(|_| self.honest);
        told.or(self.step).unwrap_or(self.period)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// The steps to frames at these times, in ms, and how long the last one is to be seen.
    fn steps(may_jump: bool, frames: &[(i64, Option<u64>)]) -> (Vec<u64>, u64) {
        let mut steps = Steps::new(ms(40), may_jump);
        let as_ms = |step: Duration| u64::try_from(step.as_millis()).unwrap();
        let taken = frames
            .iter()
            .map(|&(time, told)| as_ms(steps.next(Some(time * MS), told.map(ms))))
            .skip(1)
            .collect();
        (taken, as_ms(steps.last()))
    }

    #[test]
    fn a_film_that_says_how_long_frames_are_seen_is_believed() {
        let gif = [
            (0, Some(100)),
            (100, Some(300)),
            (400, Some(100)),
            (500, Some(500)),
        ];
        assert_eq!(steps(false, &gif), (vec![100, 300, 100], 500));
        assert_eq!(steps(false, &[(7, Some(900))]), (vec![], 900));
    }

    #[test]
    fn a_film_that_was_wrong_about_that_is_not_believed() {
        let film = [
            (0, Some(50)),
            (50, Some(50)),
            (1000, Some(50)),
            (1950, Some(50)),
        ];
        assert_eq!(steps(false, &film), (vec![50, 950, 950], 950));
    }

    #[test]
    fn jumps_of_the_clock_are_one_period() {
        let jumps = [
            (0, None),
            (30, None),
            (10_000_000, None),
            (500, None),
            (530, None),
        ];
        assert_eq!(steps(true, &jumps), (vec![30, 40, 40, 30], 30));
        let told = [
            (0, Some(30)),
            (30, Some(30)),
            (9_000, Some(30)),
            (9_030, Some(30)),
        ];
        assert_eq!(steps(true, &told), (vec![30, 30, 30], 30));
    }

    #[test]
    fn a_picture_every_20_seconds_is_no_jump_where_clocks_do_not_jump() {
        let slides = [(0, None), (20_000, None), (40_000, None)];
        assert_eq!(steps(false, &slides), (vec![20_000, 20_000], 20_000));
        let slides = [(0, Some(20_000)), (20_000, Some(20_000))];
        assert_eq!(steps(true, &slides), (vec![20_000], 20_000));
    }
}
