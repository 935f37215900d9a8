//! Takes frames, and hands each to the report, the sinks and the view.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use shm_frame::{End, Error, Frame, Name, Receiver, ReceiverOptions, Shape};

use crate::console::Console;
use crate::event::{Dimensions, RecvLine};
use crate::recv::args::Args;
use crate::recv::follow::{Follow, Step};
use crate::recv::report::Report;
use crate::recv::serve::Feed;
use crate::recv::sink::{Sink, Sinks};
use crate::recv::stage::Stage;
use crate::recv::taken::{Pool, Taken};
use crate::recv::tally::Tally;
use crate::recv::{Run, Stream};
use crate::remedy;
use crate::stop;
use crate::units::counted;

/// How long to wait at a time, so that signals and the end of a view are noticed.
const SLICE: Duration = Duration::from_millis(100);

/// The receiving of one stream.
pub(super) struct Reception<'a> {
    run: &'a Run<'a>,
    args: &'a Args,
    name: Name,
    console: Console,
    report: Report,
    sinks: Sinks,
    /// Where a view takes frames from, if there is one.
    stage: Option<Arc<Stage>>,
    /// Where browsers get frames from, with `--serve`.
    feed: Option<Feed>,
    pool: Pool,
    /// The unexpected shape that was told last.
    unexpected: Option<Shape>,
    /// The reason that was told last for throwing a frame away.
    discarded: String,
    pub tally: Tally,
}

impl<'a> Reception<'a> {
    pub(super) fn new(
        run: &'a Run<'a>,
        stream: &Stream,
        sinks: Vec<Box<dyn Sink>>,
        stage: Option<Arc<Stage>>,
        feed: Option<Feed>,
    ) -> Self {
        let Run { args, console, .. } = run;
        Self {
            run,
            args,
            name: stream.name.clone(),
            report: Report::new(stream, args.interval, console.clone()),
            sinks: Sinks::new(sinks, stream.label(), console.clone()),
            console: console.clone(),
            stage,
            feed,
            pool: Pool::default(),
            unexpected: None,
            discarded: String::new(),
            tally: Tally::new(),
        }
    }

    /// Receives until the end, and finishes the sinks even if receiving failed.
    pub(super) fn run(&mut self) -> Result<()> {
        let received = self.receive();
        let finished = self.sinks.finish(&self.tally);
        self.tally.dropped = self.sinks.dropped();
        self.tally.undrawn = self.stage.as_deref().map_or(0, Stage::undrawn);
        received.and(finished)
    }

    fn receive(&mut self) -> Result<()> {
        let mut follow = Follow::new(
            self.name.clone(),
            ReceiverOptions::new().read_only(self.args.read_only),
            self.args.wait.into(),
            self.console.clone(),
        );
        let begin = Instant::now();
        let mut last_frame = None;
        while !stop::requested() && !self.is_done() && !self.run.is_over() {
            let since = last_frame.unwrap_or(begin);
            let left = match self.args.timeout {
                None => SLICE,
                Some(timeout) => match timeout.checked_sub(since.elapsed()) {
                    Some(left) => left.min(SLICE),
                    None => bail!(
                        "no new frame for {} s: {}",
                        timeout.as_secs_f64(),
                        self.waits_for(&follow)
                    ),
                },
            };
            let left = left.min(self.run.left().unwrap_or(left));
            if let Step::Frame(receiver) = follow.step(left)? {
                if self.take(receiver)? {
                    last_frame = Some(Instant::now());
                    self.run.begin();
                }
                self.tally.torn = receiver.torn();
            } else {
                if let Some(end) = follow.end().filter(|_| self.args.until_closed) {
                    return until_closed(&self.name, end);
                }
                let why = self.waits_for(&follow);
                if let Some(stage) = &self.stage {
                    stage.wait_for(&why);
                }
                if let Some(feed) = &self.feed {
                    feed.wait_for(&why, follow.is_attached());
                }
                if let Some(last) = last_frame {
                    self.report.stale(last.elapsed(), &why);
                }
            }
            self.report.tick(&self.tally)?;
            self.sinks.check()?;
        }
        Ok(())
    }

    /// Whether `--count` frames were received.
    fn is_done(&self) -> bool {
        self.args
            .count
            .is_some_and(|count| self.tally.frames >= count)
    }

    /// Takes the latest frame and hands it on. `false`: it is not whole, not usable or not of the
    /// expected shape.
    fn take(&mut self, receiver: &mut Receiver) -> Result<bool> {
        let is_watched = self.feed.as_ref().is_some_and(Feed::wants_pixels);
        let keeps = self.stage.is_some() || self.sinks.want_pixels() || is_watched;
        let (mut pixels, mut meta) = if keeps || !receiver.can_lease() {
            self.pool.take()
        } else {
            Default::default()
        };
        match self.take_any(receiver, keeps, &mut pixels, &mut meta) {
            Ok(Some(frame)) if self.unmet(frame.shape).is_empty() => {
                self.unexpected = None;
                self.tally.add(frame);
                self.report.frame(frame, &meta)?;
                if let Some(feed) = &self.feed {
                    feed.note(frame, &self.tally);
                }
                let taken = keeps.then(|| {
                    Arc::new(Taken {
                        frame,
                        pixels,
                        meta,
                    })
                });
                self.sinks.take(frame, taken.as_ref())?;
                if let Some(taken) = taken {
                    self.pool.lend(&taken);
                    if let Some(feed) = &self.feed {
                        feed.put(Arc::clone(&taken));
                    }
                    if let Some(stage) = &self.stage {
                        stage.put(taken, &self.tally);
                    }
                }
                return Ok(true);
            }
            Ok(Some(frame)) => self.tell_unexpected(frame.shape)?,
            Ok(None) => {}
            // Most likely a header that makes no sense, and the sender's next one may be better.
            Err(error) => self.tell_discarded(remedy::RECV.explain_error(&error))?,
        }
        Ok(false)
    }

    /// Takes the latest frame in place if possible, and copies it if a view or a sink needs that.
    fn take_any(
        &self,
        receiver: &mut Receiver,
        keeps: bool,
        pixels: &mut Vec<u8>,
        meta: &mut Vec<u8>,
    ) -> Result<Option<Frame>, Error> {
        if !receiver.can_lease() {
            return receiver.copy_with_meta(pixels, meta);
        }
        let Some(lease) = receiver.lease()? else {
            return Ok(None);
        };
        if keeps {
            lease.copy_to(pixels)?;
        }
        if keeps || self.console.is_json() {
            meta.clear();
            meta.extend_from_slice(lease.meta());
        }
        Ok(lease.is_intact().then(|| lease.frame()))
    }

    /// The expectations of the flags that a shape does not meet, as text; empty if it meets all.
    fn unmet(&self, shape: Shape) -> String {
        let Args {
            width,
            height,
            channels,
            ..
        } = self.args;
        let mut unmet = Vec::new();
        if let Some(width) = width.filter(|&width| width != shape.width()) {
            unmet.push(format!("{width} wide"));
        }
        if let Some(height) = height.filter(|&height| height != shape.height()) {
            unmet.push(format!("{height} high"));
        }
        if let Some(channels) = channels.filter(|&channels| i32::from(channels) != shape.channels())
        {
            unmet.push(format!("of {}", counted(channels.into(), "channel")));
        }
        unmet.join(" nor ")
    }

    /// Tells of a shape that is not expected, once per change.
    fn tell_unexpected(&mut self, got: Shape) -> Result<()> {
        if self.unexpected.replace(got) == Some(got) {
            return Ok(());
        }
        let event = RecvLine::Mismatch {
            name: self.name.to_string(),
            expected: Dimensions {
                width: self.args.width,
                height: self.args.height,
                channels: self.args.channels.map(i32::from),
            },
            got: Dimensions {
                width: got.width(),
                height: got.height(),
                channels: got.channels(),
            },
        };
        let text = format!("{}: not shown", self.differs(got));
        self.console.event(&event, &text)
    }

    /// Tells why a frame is thrown away, once per reason.
    fn tell_discarded(&mut self, why: String) -> Result<()> {
        if self.discarded == why {
            return Ok(());
        }
        let text = format!("frame of {} thrown away: {why}", self.name);
        let event = RecvLine::Discarded {
            name: self.name.to_string(),
            why: &why,
        };
        self.console.event(&event, &text)?;
        self.discarded = why;
        Ok(())
    }

    fn differs(&self, got: Shape) -> String {
        let unmet = self.unmet(got);
        format!("frames of {} are {got}, not {unmet}", self.name)
    }

    /// The reason why no frame comes.
    fn waits_for(&self, follow: &Follow) -> String {
        match self.unexpected {
            Some(got) if follow.is_attached() => self.differs(got),
            _ => follow.waits_for(),
        }
    }
}

/// The end of a run that ends with its sender.
fn until_closed(name: &Name, end: End) -> Result<()> {
    match end {
        End::Closed | End::Replaced => Ok(()),
        End::Dead | End::Broken => bail!("the stream of {name} did not end, it broke off"),
    }
}
