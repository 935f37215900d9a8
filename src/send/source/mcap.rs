//! A recording in an MCAP file, by `shm-recv --record FILE.mcap` or by another program that writes
//! `foxglove.RawImage`. Frames are sent at their own pace, with their capture times and bytes.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::mcap::McapError;
use ::mcap::records::{Channel, MessageHeader, Record};
use ::mcap::sans_io::{
    LinearReadEvent, LinearReader, LinearReaderOptions, SummaryReadEvent, SummaryReader,
};
use anyhow::{Context, Result, bail, ensure};
use shm_frame::{Format, Shape};

use super::film::Steps;
use super::{Next, RATE, Source};
use crate::raw_image::{FORMAT, PROTOBUF, RawImage, SCHEMA};
use crate::send::args::{Args, Rate};
use crate::send::outlet::{Outlet, Written};

/// The first bytes of an MCAP file.
const MAGIC: [u8; 8] = *b"\x89MCAP0\r\n";
/// The longest record that is accepted, in bytes.
const LONGEST: usize = 2 << 30;
/// The end of the name of a stream's channel for the sender's bytes.
const META: &str = "/meta";

/// Whether a file is an MCAP file.
pub(super) fn is_recording(path: &Path) -> bool {
    // Others, as a pipe, could be read only once.
    if !path.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return false;
    }
    let mut magic = [0; MAGIC.len()];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut magic));
    read.is_ok() && magic == MAGIC
}

pub(crate) struct Replay {
    path: PathBuf,
    messages: Messages,
    /// The stream that is sent.
    stream: String,
    /// The current frame.
    image: Image,
    /// The message that was read last.
    read: Vec<u8>,
    /// The sender's bytes that were read last, for the frame that follows.
    meta: Option<(MessageHeader, Vec<u8>)>,
    shape: Shape,
    /// The first frame was read at the opening, and not sent yet.
    fresh: bool,
    steps: Steps,
    /// When the first frame was begun, in ns.
    first: u64,
    start: Duration,
    /// The number of frames, if the file states it.
    frames: Option<u64>,
    rate: Option<f64>,
    asked: Option<Rate>,
    repeat: bool,
}

/// A message that is a frame.
#[derive(Debug, Default)]
struct Image {
    message: Vec<u8>,
    format: Option<Format>,
    publish_time: u64,
    log_time: u64,
    sequence: u32,
}

impl Replay {
    pub(super) fn open(path: &Path, args: &Args) -> Result<Self> {
        let mut file = File::open(path)?;
        let known = Known::of(&mut file);
        let stream = known.choose(args.stream.as_deref())?;
        let mut replay = Self {
            path: path.to_owned(),
            messages: Messages::new(file, known.finished)?,
            stream: stream.unwrap_or_default(),
            image: Image::default(),
            read: Vec::new(),
            meta: None,
            shape: Shape::new(
                shm_frame::Size {
                    width: 1,
                    height: 1,
                },
                Format::GRAY8,
            )?,
            fresh: true,
            steps: Steps::new(RATE.period.unwrap_or_default(), false),
            first: 0,
            start: args.start.unwrap_or_default(),
            frames: None,
            rate: None,
            asked: args.fps,
            repeat: args.repeat,
        };
        if !replay.read()? {
            bail!("has no frames, which are {SCHEMA} in {PROTOBUF}");
        }
        replay.first = replay.image.publish_time;
        replay.frames = known.frames.get(&replay.stream).copied();
        replay.rate = replay.frames.and_then(|frames| known.rate(frames));
        if !replay.skip_to_start()? {
            bail!(
                "--start {}: it ends before that",
                replay.start.as_secs_f64()
            );
        }
        replay.shape = replay.decode()?.shape;
        Ok(replay)
    }

    /// The rate, as text.
    pub(super) fn describe(&self) -> String {
        match (self.asked, self.rate) {
            (Some(rate), _) => super::describe(rate),
            (None, Some(fps)) => super::frames_per_second(fps),
            (None, None) => "at its own pace".to_owned(),
        }
    }

    /// Reads the next frame. `false`: there is none.
    fn read(&mut self) -> Result<bool> {
        loop {
            let Some((header, channel)) = self.messages.next(&mut self.read)? else {
                return Ok(false);
            };
            if channel.is_image && (self.stream.is_empty() || channel.topic == self.stream) {
                if self.stream.is_empty() {
                    // The file has no summary, as its writer was killed: take the first stream.
                    self.stream.clone_from(&channel.topic);
                }
                std::mem::swap(&mut self.image.message, &mut self.read);
                self.image.format = channel.format;
                self.image.publish_time = header.publish_time;
                self.image.log_time = header.log_time;
                self.image.sequence = header.sequence;
                return Ok(true);
            }
            if channel.topic.strip_suffix(META) == Some(&self.stream)
                || (self.stream.is_empty() && channel.topic.ends_with(META))
            {
                self.meta = Some((header, self.read.clone()));
            }
        }
    }

    fn decode(&self) -> Result<RawImage<'_>> {
        RawImage::decode(&self.image.message, self.image.format)
    }

    fn skip_to_start(&mut self) -> Result<bool> {
        let start = u64::try_from(self.start.as_nanos()).unwrap_or(u64::MAX);
        while self.image.publish_time.saturating_sub(self.first) < start {
            if !self.read()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn next(&mut self) -> Result<Next> {
        let first = std::mem::take(&mut self.fresh);
        let mut step = None;
        if !first && !self.read()? {
            let last = self.steps.last();
            if !self.repeat {
                return Ok(Next::End(self.paced(last)));
            }
            self.messages.begin_again()?;
            ensure!(
                self.read()? && self.skip_to_start()?,
                "has no frames any more"
            );
            self.steps.begin();
            step = Some(last);
        }
        let told = self
            .steps
            .next(i64::try_from(self.image.publish_time).ok(), None);
        Ok(Next::Frame(self.paced(step.unwrap_or(told))))
    }

    fn paced(&self, step: Duration) -> Option<Duration> {
        match self.asked {
            Some(asked) => asked.period,
            None => Some(step),
        }
    }

    fn send(&mut self, outlet: &mut Outlet) -> Result<Option<Written>> {
        let meta = self.meta.take().filter(|(header, _)| {
            header.log_time == self.image.log_time && header.sequence == self.image.sequence
        });
        let image = self.decode()?;
        // If the capture time was not known, the recording has the time of the begin there.
        if image.time_ns != self.image.publish_time {
            outlet.set_captured_ns(image.time_ns);
        }
        outlet.set_meta(meta.map(|(_, bytes)| bytes).unwrap_or_default());
        outlet.fill(image.shape, |pixels| {
            image.copy_to(pixels);
            Ok(true)
        })
    }

    fn flag(&self) -> String {
        format!("--video {}", self.path.display())
    }
}

impl Source for Replay {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn frames(&self) -> Option<u64> {
        self.frames.filter(|_| !self.repeat && self.start.is_zero())
    }

    fn can_skip(&self) -> bool {
        true
    }

    fn next(&mut self) -> Result<Next> {
        let next = Replay::next(self);
        next.with_context(|| self.flag())
    }

    fn send(&mut self, outlet: &mut Outlet) -> Result<Option<Written>> {
        let sent = Replay::send(self, outlet);
        sent.with_context(|| self.flag())
    }
}

/// The summary at the end of a file. Empty if the file was not finished.
#[derive(Debug, Default)]
struct Known {
    finished: bool,
    /// Streams of pictures, and how many frames each has.
    frames: HashMap<String, u64>,
    /// From the first message to the last one.
    length: Duration,
}

impl Known {
    fn of(file: &mut File) -> Self {
        let Some(summary) = summary(file) else {
            return Self::default();
        };
        let mut known = Self {
            finished: true,
            ..Self::default()
        };
        let counts = summary
            .stats
            .as_ref()
            .map(|stats| &stats.channel_message_counts);
        for (id, channel) in &summary.channels {
            let schema = channel.schema.as_ref();
            if schema.is_some_and(|schema| schema.name == SCHEMA && schema.encoding == PROTOBUF) {
                let count = counts.and_then(|counts| counts.get(id)).copied();
                *known.frames.entry(channel.topic.clone()).or_default() += count.unwrap_or(0);
            }
        }
        if let Some(stats) = &summary.stats {
            let ns = stats
                .message_end_time
                .saturating_sub(stats.message_start_time);
            known.length = Duration::from_nanos(ns);
        }
        known
    }

    /// The stream to send. `None`: the file does not state which streams it has.
    fn choose(&self, asked: Option<&str>) -> Result<Option<String>> {
        let names: BTreeSet<_> = self.frames.keys().map(String::as_str).collect();
        let all = || names.iter().copied().collect::<Vec<_>>().join(", ");
        match asked {
            None if names.len() > 1 => {
                bail!(
                    "has {} streams: choose one by --stream: {}",
                    names.len(),
                    all()
                )
            }
            None => Ok(names.first().map(|&name| name.to_owned())),
            Some(asked) if names.is_empty() => Ok(Some(with_slash(asked))),
            Some(asked) => match [asked, &with_slash(asked)]
                .into_iter()
                .find(|&name| names.contains(name))
            {
                Some(name) => Ok(Some(name.to_owned())),
                None => bail!("--stream {asked}: it has none of that name, but {}", all()),
            },
        }
    }

    /// Frames per second on average.
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    fn rate(&self, frames: u64) -> Option<f64> {
        let seconds = self.length.as_secs_f64();
        (frames > 1 && seconds > 0.0).then(|| (frames - 1) as f64 / seconds)
    }
}

fn with_slash(name: &str) -> String {
    if name.starts_with('/') {
        name.to_owned()
    } else {
        format!("/{name}")
    }
}

fn summary(file: &mut File) -> Option<::mcap::Summary> {
    let mut reader = SummaryReader::new();
    while let Some(event) = reader.next_event() {
        match event.ok()? {
            SummaryReadEvent::ReadRequest(length) => {
                let read = file.read(reader.insert(length)).ok()?;
                reader.notify_read(read);
            }
            SummaryReadEvent::SeekRequest(to) => reader.notify_seeked(file.seek(to).ok()?),
        }
    }
    reader.finish()
}

/// The messages of a file, in their order.
struct Messages {
    file: File,
    reader: LinearReader,
    /// The ids of schemas that are those of pictures.
    schemas: BTreeSet<u16>,
    streams: HashMap<u16, Stream>,
    /// The writer finished the file.
    finished: bool,
    ended: bool,
}

/// A channel of the file.
#[derive(Clone, Debug)]
struct Stream {
    topic: String,
    is_image: bool,
    format: Option<Format>,
}

impl Messages {
    fn new(mut file: File, finished: bool) -> io::Result<Self> {
        file.rewind()?;
        let options = LinearReaderOptions::default()
            .with_record_length_limit(LONGEST)
            .with_validate_chunk_crcs(true);
        Ok(Self {
            file,
            reader: LinearReader::new_with_options(options),
            schemas: BTreeSet::new(),
            streams: HashMap::new(),
            finished,
            ended: false,
        })
    }

    fn begin_again(&mut self) -> io::Result<()> {
        *self = Self::new(self.file.try_clone()?, self.finished)?;
        Ok(())
    }

    /// Puts the next message into `data`. `None`: there are no more. A file whose writer was killed
    /// ends anywhere.
    fn next(&mut self, data: &mut Vec<u8>) -> Result<Option<(MessageHeader, Stream)>> {
        while !self.ended {
            match self.reader.next_event() {
                None => self.ended = true,
                Some(Ok(LinearReadEvent::ReadRequest(length))) => {
                    let read = self.file.read(self.reader.insert(length))?;
                    self.reader.notify_read(read);
                }
                Some(Ok(LinearReadEvent::Record {
                    data: record,
                    opcode,
                })) => match ::mcap::parse_record(opcode, record)? {
                    Record::Schema { header, .. }
                        if header.name == SCHEMA && header.encoding == PROTOBUF =>
                    {
                        self.schemas.insert(header.id);
                    }
                    Record::Channel(channel) => {
                        let stream = Stream::of(&channel, &self.schemas);
                        self.streams.insert(channel.id, stream);
                    }
                    Record::Message {
                        header,
                        data: message,
                    } => {
                        if let Some(stream) = self.streams.get(&header.channel_id) {
                            data.clear();
                            data.extend_from_slice(&message);
                            return Ok(Some((header, stream.clone())));
                        }
                    }
                    _ => {}
                },
                Some(Err(error)) => {
                    self.ended = true;
                    if self.finished || !is_cut(&error) {
                        return Err(error).context("breaks off");
                    }
                }
            }
        }
        Ok(None)
    }
}

/// Whether that is what is found where a writer was killed amid a chunk.
fn is_cut(error: &McapError) -> bool {
    matches!(
        error,
        McapError::UnexpectedEof
            | McapError::UnexpectedEoc
            | McapError::BadChunkLength { .. }
            | McapError::DecompressionError(_)
    )
}

impl Stream {
    fn of(channel: &Channel, schemas: &BTreeSet<u16>) -> Self {
        let format = channel.metadata.get(FORMAT);
        Self {
            is_image: schemas.contains(&channel.schema_id) && channel.message_encoding == PROTOBUF,
            topic: channel.topic.clone(),
            format: format.and_then(|format| format.parse().ok()),
        }
    }
}
