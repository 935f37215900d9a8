//! Where frames go, besides being shown and counted.
//!
//! A new sink is a file with a `prepare`, and a line in [`SINKS`]. Each stream has its own sinks. A
//! sink that wants pixels runs in a thread of its own behind a bounded queue, so that it never
//! slows the receiving: frames that it is too slow for are dropped and counted.

pub(super) mod mcap;
mod plot;
mod raw;
pub(super) mod record;
pub(super) mod save;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Result;
use shm_frame::{Frame, Name};

use crate::console::Console;
use crate::recv::args::Args;
use crate::recv::taken::Taken;
use crate::recv::tally::Tally;
use crate::units::counted;

/// Takes every frame that is received.
pub(super) trait Sink: Send {
    /// The flag that it belongs to, without dashes.
    fn name(&self) -> &'static str;

    /// Whether the sink reads pixels. If not, it takes no time, and runs in the receiving thread.
    fn wants_pixels(&self) -> bool {
        true
    }

    /// Takes one of so many frames.
    fn every(&self) -> u64 {
        1
    }

    /// Takes a frame that is known, if it [does not want pixels](Self::wants_pixels).
    fn note(&mut self, _frame: Frame) {}

    /// Takes a frame.
    fn take(&mut self, _taken: &Arc<Taken>, _console: &Console) -> Result<()> {
        Ok(())
    }

    /// Called now and then while no frame comes.
    fn rest(&mut self) -> Result<()> {
        Ok(())
    }

    /// Completes the output after the last frame.
    fn finish(&mut self, _console: &Console) -> Result<()> {
        Ok(())
    }

    /// Completes the output of a sink that does not want pixels.
    fn conclude(&mut self, _tally: &Tally) -> Result<()> {
        Ok(())
    }
}

/// Opens a sink for each stream, and holds what these share.
pub(super) trait Shared: Send + Sync {
    fn open(&self, stream: &Name) -> Result<Box<dyn Sink>>;

    /// Completes what the streams share, when all of their sinks are finished.
    fn finish(&self, _console: &Console) -> Result<()> {
        Ok(())
    }
}

/// Checks a flag and takes what it needs, if it is given. The second argument: there are several
/// streams, or may be.
type Prepare = fn(&Args, bool) -> Result<Option<Box<dyn Shared>>>;

/// All sinks, in the order in which they are opened and take a frame.
const SINKS: [Prepare; 5] = [
    raw::prepare,
    record::prepare,
    mcap::prepare,
    save::prepare,
    plot::prepare,
];

/// The most bytes of frames that wait for one sink, and the least and most frames.
const QUEUED_BYTES: usize = 128 << 20;
const QUEUED_FRAMES: (usize, usize) = (2, 64);
/// How long without a frame until a sink is told so.
const REST_PERIOD: Duration = Duration::from_millis(500);
/// How often to say that a sink drops frames.
const SAY_PERIOD: Duration = Duration::from_secs(5);

/// The sinks of one run.
pub(super) struct Sinks {
    console: Console,
    /// The stream's name, if there are others to be told from.
    label: Option<String>,
    /// Those that run in the receiving thread.
    light: Vec<Box<dyn Sink>>,
    queued: Vec<Queued>,
}

/// A sink with a thread and a queue.
struct Queued {
    name: &'static str,
    /// Before the first frame, whose size says how long the queue is.
    waiting: Option<Box<dyn Sink>>,
    queue: Option<SyncSender<Arc<Taken>>>,
    thread: Option<JoinHandle<Result<()>>>,
    /// It takes one of so many frames.
    every: u64,
    /// Frames that came.
    seen: u64,
    dropped: u64,
    said: Option<Instant>,
}

/// Opens the sinks that the flags ask for, for one stream or for several.
pub(super) struct Opener(Vec<Box<dyn Shared>>);

impl Opener {
    /// Checks the flags, and takes what all streams share. With `several`, each stream's files are
    /// named by it.
    pub(super) fn new(args: &Args, several: bool) -> Result<Self> {
        let prepared = SINKS.into_iter().map(|prepare| prepare(args, several));
        let given = prepared.filter_map(Result::transpose);
        Ok(Self(given.collect::<Result<_>>()?))
    }

    /// Opens the sinks of a stream, and takes their names of files.
    pub(super) fn open(&self, stream: &Name) -> Result<Vec<Box<dyn Sink>>> {
        self.0.iter().map(|shared| shared.open(stream)).collect()
    }

    /// Completes what the streams share, when all of their sinks are finished. If several fail,
    /// returns the first error.
    pub(super) fn finish(&self, console: &Console) -> Result<()> {
        let finished = self.0.iter().map(|shared| shared.finish(console));
        finished.fold(Ok(()), Result::and)
    }
}

/// What stands for a stream's name in the path of a file.
const FIELD: &[u8] = b"{name}";

fn has_field(path: &Path) -> bool {
    let path = path.as_os_str().as_bytes();
    path.windows(FIELD.len()).any(|part| part == FIELD)
}

/// A stream's own file: with its name for `{name}`, or with several streams `FILE-NAME.ENDING`.
fn own_path(path: &Path, stream: &Name, several: bool) -> PathBuf {
    let stream = stream.to_string();
    let stream = stream.trim_start_matches('/');
    let mut rest = path.as_os_str().as_bytes();
    let mut filled = Vec::new();
    while let Some(at) = rest.windows(FIELD.len()).position(|part| part == FIELD) {
        filled.extend_from_slice(&rest[..at]);
        filled.extend_from_slice(stream.as_bytes());
        rest = &rest[at + FIELD.len()..];
    }
    if has_field(path) || !several {
        filled.extend_from_slice(rest);
        return OsString::from_vec(filled).into();
    }
    let mut file = path.file_stem().unwrap_or_default().to_owned();
    file.push(format!("-{stream}"));
    if let Some(ending) = path.extension() {
        file.push(".");
        file.push(ending);
    }
    path.with_file_name(file)
}

impl Sinks {
    pub(super) fn new(sinks: Vec<Box<dyn Sink>>, label: Option<String>, console: Console) -> Self {
        let (heavy, light): (Vec<_>, Vec<_>) =
            sinks.into_iter().partition(|sink| sink.wants_pixels());
        let queued = heavy.into_iter().map(|sink| Queued {
            name: sink.name(),
            every: sink.every(),
            seen: 0,
            waiting: Some(sink),
            queue: None,
            thread: None,
            dropped: 0,
            said: None,
        });
        Self {
            console,
            label,
            light,
            queued: queued.collect(),
        }
    }

    /// Whether a sink wants the pixels of the next frame.
    pub(super) fn want_pixels(&self) -> bool {
        self.queued.iter().any(Queued::is_due)
    }

    /// Takes note of a frame, and of its pixels if there are any.
    pub(super) fn take(&mut self, frame: Frame, taken: Option<&Arc<Taken>>) -> Result<()> {
        for sink in &mut self.light {
            sink.note(frame);
        }
        for sink in &mut self.queued {
            sink.take(taken, self.label.as_deref(), &self.console)?;
        }
        Ok(())
    }

    /// Fails with the error of a sink that failed.
    pub(super) fn check(&mut self) -> Result<()> {
        self.queued.iter_mut().try_for_each(Queued::check)
    }

    /// Finishes all sinks. If several fail, returns the first error.
    pub(super) fn finish(&mut self, tally: &Tally) -> Result<()> {
        let mut first = Ok(());
        for sink in &mut self.queued {
            let finished = sink.finish(&self.console);
            first = first.and(finished);
        }
        for sink in &mut self.light {
            let finished = sink.conclude(tally);
            first = first.and(finished);
        }
        first
    }

    /// The frames that each sink dropped.
    pub(super) fn dropped(&self) -> BTreeMap<&'static str, u64> {
        let dropped = self.queued.iter().map(|sink| (sink.name, sink.dropped));
        dropped.collect()
    }
}

/// Gives a sink the frames of its queue, until there are no more.
fn run(sink: &mut dyn Sink, frames: &Receiver<Arc<Taken>>, console: &Console) -> Result<()> {
    loop {
        match frames.recv_timeout(REST_PERIOD) {
            Ok(taken) => sink.take(&taken, console)?,
            Err(RecvTimeoutError::Timeout) => sink.rest()?,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

impl Queued {
    /// Whether the next frame is one that the sink takes.
    fn is_due(&self) -> bool {
        self.seen.is_multiple_of(self.every)
    }

    fn take(
        &mut self,
        taken: Option<&Arc<Taken>>,
        label: Option<&str>,
        console: &Console,
    ) -> Result<()> {
        let is_due = self.is_due();
        self.seen += 1;
        let Some(taken) = taken.filter(|_| is_due) else {
            return Ok(());
        };
        if let Some(mut sink) = self.waiting.take() {
            let (least, most) = QUEUED_FRAMES;
            let frames = QUEUED_BYTES / taken.pixels.len().max(1);
            let (queue, frames) = mpsc::sync_channel::<Arc<Taken>>(frames.clamp(least, most));
            let console = console.clone();
            self.queue = Some(queue);
            self.thread = Some(thread::spawn(move || {
                let taken = run(sink.as_mut(), &frames, &console);
                // What there is is completed, whatever happened.
                taken.and(sink.finish(&console))
            }));
        }
        let Some(queue) = &self.queue else {
            return Ok(());
        };
        match queue.try_send(Arc::clone(taken)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => {
                self.dropped += 1;
                if self.said.is_none_or(|said| said.elapsed() >= SAY_PERIOD) {
                    self.said = Some(Instant::now());
                    let frames = counted(self.dropped, "frame");
                    let of = label.map_or(String::new(), |name| format!(" of {name}"));
                    let name = self.name;
                    console.note(&format!("--{name} is too slow: {frames}{of} dropped"));
                }
                Ok(())
            }
            Err(TrySendError::Disconnected(_)) => self.join(),
        }
    }

    fn check(&mut self) -> Result<()> {
        if self.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            return self.join();
        }
        Ok(())
    }

    fn finish(&mut self, console: &Console) -> Result<()> {
        if let Some(mut sink) = self.waiting.take() {
            return sink.finish(console);
        }
        self.join()
    }

    /// Lets the thread finish what is queued.
    fn join(&mut self) -> Result<()> {
        self.queue = None;
        self.thread.take().map_or(Ok(()), |thread| {
            let result = thread.join();
            result.unwrap_or_else(|panic| panic::resume_unwind(panic))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;

    use clap::Parser;
    use shm_frame::{Sender, SenderOptions};
    use shm_frame_testing::{Scratch, TestName, open, shape, take};

    use super::*;
    use crate::console::Settings;

    /// Gives the sinks of two streams two frames each, and finishes all.
    fn two_streams(name: &TestName, flag: &str, path: &Path) {
        let args = ["shm-recv", "--quiet", flag].map(OsStr::new);
        let args = Args::parse_from(args.into_iter().chain([path.as_os_str()]));
        let console = Console::new(Settings {
            quiet: true,
            ..Settings::default()
        });
        let mut sender = Sender::create(&name.name(), &SenderOptions::new()).unwrap();
        let shape = shape(64, 48, 3);
        let opener = Opener::new(&args, true).unwrap();
        let streams = ["left", "right"].map(|stream| Name::new(stream).unwrap());
        let mut sinks = streams.map(|stream| {
            let sinks = opener.open(&stream).unwrap();
            Sinks::new(sinks, None, console.clone())
        });
        for level in 0..2 {
            for (i, sinks) in (0..).zip(&mut sinks) {
                sender
                    .publish(shape, &vec![10 * i + level; shape.bytes()])
                    .unwrap();
                let (frame, pixels) = take(&mut open(name));
                let meta = format!(r#"{{"stream":{i}}}"#).into_bytes();
                let taken = Taken {
                    frame,
                    pixels,
                    meta,
                };
                sinks.take(frame, Some(&Arc::new(taken))).unwrap();
            }
        }
        for mut sinks in sinks {
            sinks.finish(&Tally::new()).unwrap();
        }
        opener.finish(&console).unwrap();
    }

    fn names(scratch: &Scratch) -> Vec<String> {
        let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        scratch.files().into_iter().map(name).collect()
    }

    #[test]
    fn all_streams_are_in_one_mcap_file_each_with_channels_of_its_own() {
        let name = TestName::new("sinks-mcap");
        let scratch = Scratch::new(&name);
        two_streams(&name, "--record", &scratch.path().join("all.mcap"));
        assert_eq!(names(&scratch), ["all.mcap"]);
        let file = fs::read(scratch.path().join("all.mcap")).unwrap();
        let mut levels = BTreeMap::<_, Vec<_>>::new();
        for message in ::mcap::MessageStream::new(&file).unwrap() {
            let message = message.unwrap();
            let topic = message.channel.topic.clone();
            // The last byte of the pixels, or of the sender's object.
            levels
                .entry(topic)
                .or_default()
                .push(*message.data.last().unwrap());
        }
        let levels: Vec<_> = levels.into_iter().collect();
        let of = |topic: &str, bytes: [u8; 2]| (topic.to_owned(), bytes.to_vec());
        let expected = [
            of("/left", [0, 1]),
            of("/left/meta", *b"}}"),
            of("/right", [10, 11]),
            of("/right/meta", *b"}}"),
        ];
        assert_eq!(levels, expected);
    }

    #[test]
    fn each_stream_has_its_own_film_plot_and_pictures() {
        for (flag, file, expected) in [
            (
                "--record",
                "cam.mkv",
                &["cam-left.mkv", "cam-right.mkv"][..],
            ),
            ("--record", "{name}.mkv", &["left.mkv", "right.mkv"]),
            (
                "--plot",
                "delays.svg",
                &["delays-left.svg", "delays-right.svg"],
            ),
            (
                "--save",
                "",
                &[
                    "frames.jsonl",
                    "left-000001.png",
                    "left-000003.png",
                    "right-000002.png",
                    "right-000004.png",
                ],
            ),
        ] {
            let name = TestName::new("sinks-own");
            let scratch = Scratch::new(&name);
            two_streams(&name, flag, &scratch.path().join(file));
            assert_eq!(names(&scratch), expected, "{flag} {file}");
        }
    }

    #[test]
    fn each_stream_has_a_file_of_its_own() {
        let left = Name::new("left").unwrap();
        let own = |path: &str, several| own_path(Path::new(path), &left, several);
        for (path, one, of_several) in [
            ("a/cam.mp4", "a/cam.mp4", "a/cam-left.mp4"),
            ("cam", "cam", "cam-left"),
            ("{name}.mkv", "left.mkv", "left.mkv"),
            ("{name}/{name}-1.svg", "left/left-1.svg", "left/left-1.svg"),
            (
                "2026-11-25T17:00.mp4",
                "2026-11-25T17:00.mp4",
                "2026-11-25T17:00-left.mp4",
            ),
        ] {
            assert_eq!(own(path, false), Path::new(one));
            assert_eq!(own(path, true), Path::new(of_several));
        }
    }
}
