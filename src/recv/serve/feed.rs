//! One stream: its newest frame, that frame as a picture, and its numbers.
//!
//! The receiving thread puts frames and numbers in, and never waits. Whoever wants a picture waits
//! for it, and only while somebody does is one made: one for all.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use hyper::body::Bytes;
use opencv::core::Vector;
use opencv::imgcodecs;
use serde::Serialize;
use shm_frame::{Frame, Name, Receiver, Waited};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use crate::event;
use crate::picture;
use crate::recv::sink::save::Kind;
use crate::recv::stage::STALE;
use crate::recv::taken::Taken;
use crate::recv::tally::Tally;
use crate::units::{ms, rounded};
use crate::visible::Visible;

/// Frames are kept for so long after the last one that was asked for: the next is asked for soon.
const LINGER: Duration = Duration::from_secs(2);
/// While nobody looks, one frame is kept in this time, so that there is one to be seen of a stream
/// that stands still.
const SPARE: Duration = Duration::from_secs(1);
/// How long the next frame is waited for, instead of an older one that was kept.
const SOON: Duration = Duration::from_secs(1);
/// Of JPEG, 0 to 100.
const QUALITY: i32 = 80;
/// JPEG has 16 bits for a side; libjpeg allows this many pixels.
const JPEG_SIDE: i32 = 65500;
/// How many periods of the numbers a browser that comes is told of: a minute.
const HISTORY: usize = 240;

/// What the receiving thread puts in.
pub(in crate::recv) struct Feed {
    stream: Arc<Stream>,
    /// Takes the stream from the list.
    end: Option<Box<dyn FnOnce() + Send>>,
}

/// The same stream, as clients have it.
#[derive(Debug)]
pub(super) struct Stream {
    pub name: Name,
    numbers: Mutex<Numbers>,
    kept: watch::Sender<Kept>,
    picture: watch::Receiver<Option<Arc<Picture>>>,
    /// Clients that wait for a picture or for a frame.
    waiting: watch::Sender<usize>,
    encoded: AtomicU64,
}

/// The newest frame of which there are pixels.
#[derive(Clone, Debug, Default)]
struct Kept {
    /// The frame's position among all that were received: numbers begin again with a sender.
    serial: u64,
    taken: Option<Arc<Taken>>,
    /// There will be no more.
    ended: bool,
}

/// A frame that can be shown.
#[derive(Debug)]
pub(super) struct Picture {
    pub serial: u64,
    pub frame: Frame,
    /// How it was made visible; empty if it is as it was.
    pub seen: String,
    /// JPEG, or why there is none.
    pub jpeg: Result<Bytes, String>,
}

#[derive(Debug, Default)]
struct Numbers {
    last: Option<(Frame, Instant)>,
    frames: u64,
    fps: f64,
    skipped: u64,
    torn: u64,
    /// There is a sender.
    attached: bool,
    /// Why no frame comes.
    why: String,
    /// Of this period, and of those before it.
    delays: Option<Delays>,
    history: VecDeque<Option<Delays>>,
    /// When a frame was kept last, and when one was asked for last.
    kept: Option<Instant>,
    asked: Option<Instant>,
}

/// Delays of frames within a period, in ms.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Delays {
    min: f64,
    mean: f64,
    max: f64,
    #[serde(skip)]
    count: u32,
}

/// One of the streams of `/streams.json`. Documented in `docs/json.md`.
#[derive(Debug, Serialize)]
pub(super) struct StreamLine {
    name: String,
    state: &'static str,
    why: Option<String>,
    received_ms: Option<i64>,
    silent_ms: Option<f64>,
    frame: Option<u64>,
    width: Option<i32>,
    height: Option<i32>,
    channels: Option<i32>,
    element: Option<&'static str>,
    order: Option<&'static str>,
    frames: u64,
    fps: f64,
    delay_ms: Option<f64>,
    found: Option<bool>,
    delays_ms: Option<Delays>,
    skipped: u64,
    torn: u64,
    pub watched: bool,
    encoded: u64,
    still: Option<&'static str>,
}

impl Feed {
    /// `end` is called when it is dropped.
    pub(super) fn new(
        name: Name,
        runtime: &tokio::runtime::Handle,
        end: impl FnOnce() + Send + 'static,
    ) -> (Self, Arc<Stream>) {
        let (pictures, picture) = watch::channel(None);
        let stream = Arc::new(Stream {
            name,
            numbers: Mutex::default(),
            kept: watch::Sender::default(),
            picture,
            waiting: watch::Sender::default(),
            encoded: AtomicU64::new(0),
        });
        runtime.spawn(encode(Arc::clone(&stream), pictures));
        let feed = Self {
            stream: Arc::clone(&stream),
            end: Some(Box::new(end)),
        };
        (feed, stream)
    }

    /// Whether the next frame is to be [put](Self::put): somebody looks, or there is none of late.
    pub(in crate::recv) fn wants_pixels(&self) -> bool {
        let numbers = self.stream.numbers();
        self.stream.is_watched(&numbers) || numbers.kept.is_none_or(|kept| kept.elapsed() >= SPARE)
    }

    /// Takes note of a frame that was received.
    pub(in crate::recv) fn note(&self, frame: Frame, tally: &Tally) {
        let mut numbers = self.stream.numbers();
        numbers.last = Some((frame, Instant::now()));
        numbers.frames = tally.frames;
        numbers.fps = tally.pace.fps();
        numbers.skipped = tally.skipped;
        numbers.torn = tally.torn;
        numbers.attached = true;
        if !frame.found {
            let delay = ms(frame.delay_ns);
            let delays = numbers.delays;
            numbers.delays = Some(delays.map_or_else(|| Delays::of(delay), |of| of.and(delay)));
        }
    }

    /// Puts the frame that was noted last in place of the one before.
    pub(in crate::recv) fn put(&self, taken: Arc<Taken>) {
        let mut numbers = self.stream.numbers();
        numbers.kept = Some(Instant::now());
        let serial = numbers.frames;
        drop(numbers);
        self.stream.kept.send_replace(Kept {
            serial,
            taken: Some(taken),
            ended: false,
        });
    }

    /// Says why no frame comes, and whether there is a sender.
    pub(in crate::recv) fn wait_for(&self, why: &str, attached: bool) {
        let mut numbers = self.stream.numbers();
        numbers.attached = attached;
        if numbers.why != why {
            why.clone_into(&mut numbers.why);
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.stream.kept.send_modify(|kept| kept.ended = true);
        if let Some(end) = self.end.take() {
            end();
        }
    }
}

/// Somebody waits for a frame of a stream.
struct Asking<'a>(&'a Stream);

impl<'a> Asking<'a> {
    fn new(stream: &'a Stream) -> Self {
        stream.waiting.send_modify(|waiting| *waiting += 1);
        Self(stream)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.numbers().asked = Some(Instant::now());
        self.0.waiting.send_modify(|waiting| *waiting -= 1);
    }
}

impl Stream {
    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().expect("nobody panics while holding it")
    }

    fn is_watched(&self, numbers: &Numbers) -> bool {
        *self.waiting.borrow() > 0 || numbers.asked.is_some_and(|asked| asked.elapsed() < LINGER)
    }

    /// The newest frame as a picture, if it comes within a time and is newer than the one with the
    /// serial `after`. `None`: it does not, or the stream has ended.
    pub(super) async fn picture(&self, after: u64, time: Duration) -> Option<Arc<Picture>> {
        let _asking = Asking::new(self);
        let received = self.numbers().frames;
        // A page that was loaded from a server before this one has a serial of that.
        let after = if after > received { 0 } else { after };
        let newest = received.max(after + 1);
        let mut pictures = self.picture.clone();
        let mut wait = async |serial: u64, time| {
            let came = |picture: &Option<Arc<Picture>>| {
                picture
                    .as_ref()
                    .is_some_and(|picture| picture.serial >= serial)
            };
            let came = timeout(time, pictures.wait_for(came)).await;
            came.ok()?.ok()?.clone()
        };
        self.fetch_if_still().await;
        if let Some(picture) = wait(newest, SOON.min(time)).await {
            return Some(picture);
        }
        self.fetch().await;
        let kept = self.kept.borrow().serial;
        wait(kept.max(after + 1), time).await
    }

    /// The newest frame itself: one that comes soon, or the last one.
    pub(super) async fn frame(&self) -> Option<(u64, Arc<Taken>)> {
        let _asking = Asking::new(self);
        let received = self.numbers().frames.max(1);
        let mut kept = self.kept.subscribe();
        let came = |kept: &Kept| kept.serial >= received || kept.ended;
        self.fetch_if_still().await;
        if timeout(SOON, kept.wait_for(came)).await.is_err() {
            self.fetch().await;
        }
        let kept = self.kept.borrow();
        Some((kept.serial, kept.taken.clone()?))
    }

    /// Does not wait for a frame, if there was none for long.
    async fn fetch_if_still(&self) {
        let state = self.numbers().state();
        if state != LIVE {
            self.fetch().await;
        }
    }

    /// Keeps the last frame, if that was taken without its pixels, and if it is there still.
    async fn fetch(&self) {
        let Some((serial, frame)) = self.missing() else {
            return;
        };
        let name = self.name.clone();
        let fetched = spawn_blocking(move || latest(&name)).await;
        // It is said to be the frame that was noted, whose times are those of its reception.
        if let Ok(Some((found, pixels))) = fetched
            && (found.number, found.shape) == (frame.number, frame.shape)
        {
            let taken = Arc::new(Taken {
                frame,
                pixels,
                meta: Vec::new(),
            });
            self.kept.send_if_modified(|kept| {
                let missing = kept.serial < serial;
                if missing {
                    kept.serial = serial;
                    kept.taken = Some(taken);
                }
                missing
            });
        }
    }

    /// The last frame and its serial, if that was taken without its pixels and there is a sender.
    fn missing(&self) -> Option<(u64, Frame)> {
        let numbers = self.numbers();
        let is_missing = numbers.frames > self.kept.borrow().serial && numbers.attached;
        let (frame, _) = numbers.last.filter(|_| is_missing)?;
        Some((numbers.frames, frame))
    }

    /// Ends a period of the numbers.
    pub(super) fn tick(&self) {
        let mut numbers = self.numbers();
        let delays = numbers.delays.take().map(|delays| Delays {
            mean: rounded(delays.mean),
            ..delays
        });
        if numbers.history.len() == HISTORY {
            numbers.history.pop_front();
        }
        numbers.history.push_back(delays);
    }

    /// The delays of the last minute, period by period, but for the one that a [line](Self::line)
    /// has.
    pub(super) fn history(&self) -> Vec<Option<Delays>> {
        let numbers = self.numbers();
        let before = numbers.history.len().saturating_sub(1);
        numbers.history.iter().copied().take(before).collect()
    }

    pub(super) fn line(&self) -> StreamLine {
        let numbers = self.numbers();
        let last = numbers.last.map(|(frame, _)| frame);
        let shape = last.map(|frame| frame.shape);
        let format = shape.map(|shape| shape.format());
        let state = numbers.state();
        StreamLine {
            name: self.name.to_string(),
            state,
            why: Some(numbers.why.clone()).filter(|why| state != LIVE && !why.is_empty()),
            received_ms: last.map(|frame| frame.received_ms),
            silent_ms: numbers.last.map(|(_, last)| silent_ms(last)),
            frame: last.map(|frame| frame.number),
            width: shape.map(|shape| shape.width()),
            height: shape.map(|shape| shape.height()),
            channels: shape.map(|shape| shape.channels()),
            element: format.map(|format| format.element().name()),
            order: format.map(|format| event::order_name(format.order())),
            frames: numbers.frames,
            fps: if state == LIVE {
                rounded(numbers.fps)
            } else {
                0.0
            },
            delay_ms: last.map(|frame| ms(frame.delay_ns)),
            found: last.map(|frame| frame.found),
            delays_ms: numbers.history.back().copied().flatten(),
            skipped: numbers.skipped,
            torn: numbers.torn,
            watched: self.is_watched(&numbers),
            encoded: self.encoded.load(Ordering::Relaxed),
            still: format.map(|format| Kind::of(format).ending()),
        }
    }

    /// Why there is no frame.
    pub(super) fn why(&self) -> String {
        self.numbers().why.clone()
    }

    /// Whether there will be no more frames.
    pub(super) fn has_ended(&self) -> bool {
        // Without an encoder there are no more pictures either.
        self.kept.borrow().ended || self.picture.has_changed().is_err()
    }
}

/// Frames come.
const LIVE: &str = "live";

impl Numbers {
    fn state(&self) -> &'static str {
        match self.last {
            None => "waiting",
            Some(_) if !self.attached => "gone",
            Some((_, last)) if last.elapsed() >= STALE => "stale",
            Some(_) => LIVE,
        }
    }
}

impl Delays {
    fn of(delay: f64) -> Self {
        Self {
            min: delay,
            mean: delay,
            max: delay,
            count: 1,
        }
    }

    fn and(self, delay: f64) -> Self {
        let count = self.count.saturating_add(1);
        Self {
            min: self.min.min(delay),
            mean: self.mean + (delay - self.mean) / f64::from(count),
            max: self.max.max(delay),
            count,
        }
    }
}

fn silent_ms(last: Instant) -> f64 {
    rounded(last.elapsed().as_secs_f64() * 1000.0)
}

/// Makes pictures of frames, one for all who wait, while somebody does.
async fn encode(stream: Arc<Stream>, pictures: watch::Sender<Option<Arc<Picture>>>) {
    let mut visible = Visible::default();
    let (mut waiting, mut frames) = (stream.waiting.subscribe(), stream.kept.subscribe());
    let mut last = 0;
    loop {
        if waiting.wait_for(|&waiting| waiting > 0).await.is_err() {
            return;
        }
        let next = |kept: &Kept| kept.serial > last || kept.ended;
        let Ok(kept) = frames.wait_for(next).await.map(|kept| kept.clone()) else {
            return;
        };
        let Some(taken) = kept.taken.filter(|_| !kept.ended) else {
            return;
        };
        if *waiting.borrow() == 0 {
            continue;
        }
        last = kept.serial;
        let begin = Instant::now();
        let made = spawn_blocking(move || {
            let jpeg = jpeg(&taken, &mut visible).map_err(|error| format!("{error:#}"));
            let seen = visible.describe();
            let picture = Picture {
                serial: last,
                frame: taken.frame,
                seen,
                jpeg,
            };
            (visible, picture)
        });
        let Ok((before, picture)) = made.await else {
            return;
        };
        visible = before;
        stream.encoded.fetch_add(1, Ordering::Relaxed);
        pictures.send_replace(Some(Arc::new(picture)));
        // At most half of a processor goes into pictures.
        sleep(begin.elapsed()).await;
    }
}

fn jpeg(taken: &Taken, visible: &mut Visible) -> Result<Bytes> {
    let shape = taken.frame.shape;
    ensure!(
        shape.width().max(shape.height()) <= JPEG_SIDE,
        "frames are {shape}, and JPEG has at most {JPEG_SIDE} pixels on a side"
    );
    let seen = visible.see(&taken.pixels, shape)?;
    let (pixels, shape) = match &seen {
        Some((pixels, shape)) => (pixels.as_slice(), *shape),
        None => (taken.pixels.as_slice(), shape),
    };
    let image = picture::view(pixels, shape)?;
    picture::load_codecs()?;
    let mut file = Vector::<u8>::new();
    let options = Vector::from_slice(&[imgcodecs::IMWRITE_JPEG_QUALITY, QUALITY]);
    let encoded = imgcodecs::imencode(".jpg", &image, &mut file, &options)?;
    ensure!(encoded, "OpenCV cannot encode {shape} as JPEG");
    Ok(Bytes::copy_from_slice(file.as_slice()))
}

/// The frame that is in a segment now, by a receiver of its own.
fn latest(name: &Name) -> Option<(Frame, Vec<u8>)> {
    let mut receiver = Receiver::open(name).ok()?;
    let mut pixels = Vec::new();
    match receiver.wait(Duration::ZERO).ok()? {
        Waited::Frame => Some((receiver.copy(&mut pixels).ok()??, pixels)),
        Waited::Timeout | Waited::Cancelled | Waited::Ended(_) => None,
    }
}
