//! `--record FILE.mcap`: frames exactly as they came, with all their times and the sender's own
//! bytes. All streams are in one file.
//!
//! | in the file | value |
//! |---|---|
//! | channel `/NAME` | `foxglove.RawImage`; one per format, which its metadata states |
//! | channel `/NAME/meta` | the sender's bytes, at the same time: JSON, or else bytes |
//! | `log_time` | when the frame was received: Unix time in ns |
//! | `publish_time` | when the sender began it |
//! | `timestamp` | when its picture was taken; the same as `publish_time` if that is not known |
//! | `sequence` | the frame's number, as far as 32 bits go |

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use ::mcap::records::MessageHeader;
use ::mcap::{Compression, McapError, WriteOptions, Writer};
use anyhow::{Context, Result, anyhow, ensure};
use clap::ValueEnum;
use shm_frame::{Format, Name};

use super::record::{Named, ending_is};
use super::{Shared, Sink, has_field};
use crate::console::Console;
use crate::raw_image::{self, FORMAT, PROTOBUF, SCHEMA};
use crate::recv::args::Args;
use crate::recv::taken::Taken;
use crate::recv::wall::Wall;
use crate::units::counted;

/// How often the file is made whole, that is, readable up to its end.
const WHOLE: Duration = Duration::from_millis(500);
/// Bytes of a chunk, which is packed as a whole. A larger frame has a chunk of its own.
const CHUNK: u64 = 4 << 20;
/// Bytes that are written at once.
const BUFFER: usize = 1 << 20;

/// How pixels are packed
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::recv) enum Packing {
    /// Small files, for two thirds of a processor at 1080p and 30 frames a second
    Zstd,
    /// Larger files, for half a processor
    Lz4,
    /// As large as the pixels, for a third of a processor
    None,
}

/// An MCAP file, which all streams share.
struct Recording {
    path: PathBuf,
    packing: Packing,
    file: Mutex<Recorded>,
}

/// What has become of the file.
enum Recorded {
    /// It is new, and there was no frame yet.
    Nothing(Named),
    Frames(Box<Open>),
    /// It was finished or removed.
    Over,
}

/// Writes a stream's frames into the file.
struct Recorder {
    recording: Arc<Recording>,
    /// The stream's name.
    name: String,
    wall: Wall,
    message: Vec<u8>,
    /// The stream's channels, by format.
    channels: BTreeMap<String, u16>,
}

/// A file in which there are frames.
struct Open {
    writer: Writer<BufWriter<File>>,
    /// The same file, to cut it after an error.
    file: File,
    schema: u16,
    frames: u64,
    /// The file is whole up to this length, since this moment.
    whole: u64,
    whole_since: Instant,
    /// Something was written since.
    more: bool,
    failed: bool,
}

pub(super) fn prepare(args: &Args, _several: bool) -> Result<Option<Box<dyn Shared>>> {
    let Some(path) = args.record.clone().filter(|path| is_mcap(path)) else {
        return Ok(None);
    };
    ensure!(
        !has_field(&path),
        "--record {}: an .mcap file has all streams: leave {{name}} out",
        path.display()
    );
    let named = Named::take(&path).with_context(|| format!("--record {}", path.display()))?;
    Ok(Some(Box::new(Arc::new(Recording {
        path,
        packing: args.compression.unwrap_or(Packing::Zstd),
        file: Mutex::new(Recorded::Nothing(named)),
    }))))
}

/// Whether a name asks for such a file.
pub(in crate::recv) fn is_mcap(path: &Path) -> bool {
    ending_is(path, "mcap")
}

impl Shared for Arc<Recording> {
    fn open(&self, stream: &Name) -> Result<Box<dyn Sink>> {
        Ok(Box::new(Recorder {
            recording: Self::clone(self),
            name: stream.to_string(),
            wall: Wall::now()?,
            message: Vec::new(),
            channels: BTreeMap::new(),
        }))
    }

    fn finish(&self, console: &Console) -> Result<()> {
        let mut open = match mem::replace(&mut *self.lock(), Recorded::Over) {
            Recorded::Nothing(unused) => {
                unused.remove();
                return Ok(());
            }
            Recorded::Frames(open) => open,
            Recorded::Over => return Ok(()),
        };
        if !open.failed {
            let finished = open.writer.finish().map_err(|error| open.cut(error));
            finished.with_context(|| self.flag())?;
        }
        let frames = counted(open.frames, "frame");
        console.note(&format!("recorded {frames} in {}", self.path.display()));
        Ok(())
    }
}

impl Recording {
    fn flag(&self) -> String {
        format!("--record {}", self.path.display())
    }

    fn lock(&self) -> MutexGuard<'_, Recorded> {
        self.file.lock().expect("nobody panics while holding it")
    }

    /// Writes into the file, and begins it before.
    fn write(&self, write: impl FnOnce(&mut Open) -> Result<(), McapError>) -> Result<()> {
        let mut file = self.lock();
        if let Recorded::Nothing(_) = *file
            && let Recorded::Nothing(named) = mem::replace(&mut *file, Recorded::Over)
        {
            let open = Open::new(named, self.packing).with_context(|| self.flag())?;
            *file = Recorded::Frames(Box::new(open));
        }
        let Recorded::Frames(open) = &mut *file else {
            return Ok(());
        };
        // Another stream tells the error.
        if open.failed {
            return Ok(());
        }
        write(open)
            .map_err(|error| open.cut(error))
            .with_context(|| self.flag())
    }
}

impl Sink for Recorder {
    fn name(&self) -> &'static str {
        "record"
    }

    fn take(&mut self, taken: &Arc<Taken>, _console: &Console) -> Result<()> {
        let frame = &taken.frame;
        let publish_time = self.wall.begun_ns(frame);
        let captured = frame.captured_ns.unwrap_or(publish_time);
        let id = self.name.trim_start_matches('/');
        raw_image::encode(&mut self.message, frame.shape, &taken.pixels, captured, id);
        let mut header = MessageHeader {
            channel_id: 0,
            #[expect(clippy::cast_possible_truncation, reason = "the format has 32 bits")]
            sequence: frame.number as u32,
            log_time: self.wall.received_ns(frame),
            publish_time,
        };
        let Self {
            recording,
            name,
            message,
            channels,
            ..
        } = self;
        recording.write(|open| {
            if !taken.meta.is_empty() {
                header.channel_id = open.meta_channel(channels, name, &taken.meta)?;
                open.writer.write_to_known_channel(&header, &taken.meta)?;
            }
            header.channel_id = open.channel(channels, name, frame.shape.format())?;
            open.writer.write_to_known_channel(&header, message)?;
            open.frames += 1;
            open.more = true;
            if open.whole_since.elapsed() >= WHOLE {
                open.make_whole()?;
            }
            Ok(())
        })
    }

    fn rest(&mut self) -> Result<()> {
        if !matches!(&*self.recording.lock(), Recorded::Frames(open) if open.more) {
            return Ok(());
        }
        self.recording.write(Open::make_whole)
    }
}

impl Open {
    fn new(named: Named, packing: Packing) -> Result<Self> {
        let options = WriteOptions::new()
            .library(concat!("shm-frame ", env!("CARGO_PKG_VERSION")))
            .chunk_size(Some(CHUNK));
        let options = match packing {
            // A higher level is too slow for 1080p.
            Packing::Zstd => options
                .compression(Some(Compression::Zstd))
                .compression_level(1),
            Packing::Lz4 => options.compression(Some(Compression::Lz4)),
            Packing::None => options.compression(None),
        };
        let file = named.file.try_clone()?;
        let mut writer = options.create(BufWriter::with_capacity(BUFFER, named.file))?;
        let schema = writer.add_schema(SCHEMA, PROTOBUF, &raw_image::descriptor())?;
        Ok(Self {
            writer,
            file,
            schema,
            frames: 0,
            whole: 0,
            whole_since: Instant::now(),
            more: false,
            failed: false,
        })
    }

    /// The channel for a stream's frames of a format.
    fn channel(
        &mut self,
        channels: &mut BTreeMap<String, u16>,
        name: &str,
        format: Format,
    ) -> Result<u16, McapError> {
        let key = format.to_string();
        if let Some(&id) = channels.get(&key) {
            return Ok(id);
        }
        let metadata = BTreeMap::from([(FORMAT.to_owned(), key.clone())]);
        let id = self
            .writer
            .add_channel(self.schema, name, PROTOBUF, &metadata)?;
        channels.insert(key, id);
        Ok(id)
    }

    /// The channel for the bytes of a stream's sender.
    fn meta_channel(
        &mut self,
        channels: &mut BTreeMap<String, u16>,
        name: &str,
        meta: &[u8],
    ) -> Result<u16, McapError> {
        let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(meta).is_ok();
        let encoding = if is_json { "json" } else { "bytes" };
        if let Some(&id) = channels.get(encoding) {
            return Ok(id);
        }
        let schema = if is_json {
            self.writer
                .add_schema("shm-frame.meta", "jsonschema", br#"{"type":"object"}"#)?
        } else {
            0
        };
        let topic = format!("{name}/meta");
        let id = self
            .writer
            .add_channel(schema, &topic, encoding, &BTreeMap::new())?;
        channels.insert(encoding.to_owned(), id);
        Ok(id)
    }

    /// Makes the file whole up to its present end.
    fn make_whole(&mut self) -> Result<(), McapError> {
        self.writer.flush()?;
        self.whole = self.file.metadata()?.len();
        self.whole_since = Instant::now();
        self.more = false;
        Ok(())
    }

    /// After an error: cuts the file to the length at which it was whole.
    fn cut(&mut self, error: McapError) -> anyhow::Error {
        self.failed = true;
        let error = match error {
            McapError::Io(error) => anyhow::Error::from(error),
            error => error.into(),
        };
        match self.file.set_len(self.whole) {
            Ok(()) => anyhow!("{error}: what was recorded until then can be replayed"),
            Err(_) => error,
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.failed {
            // The writer writes an end when it is dropped. Cut that off, too.
            let (whole, file) = (self.whole, self.file.try_clone());
            let _ = self.writer.finish();
            let _ = file.and_then(|file| file.set_len(whole));
        }
    }
}
