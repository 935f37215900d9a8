//! `--record`: frames as a film, each at its own time.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use shm_frame::{Frame, Name, Shape};

use super::{Shared, Sink, own_path};
use crate::av::{self, Container, Writer};
use crate::console::Console;
use crate::recv::args::Args;
use crate::recv::taken::Taken;
use crate::recv::wall::Wall;
use crate::units::counted;

/// Writes frames into a film, and into another one when their shape changes.
struct Recorder {
    path: PathBuf,
    container: Container,
    lossless: bool,
    /// The new file, before the first frame.
    first: Option<Named>,
    film: Option<Film>,
}

/// A new file.
pub(super) struct Named {
    pub path: PathBuf,
    pub file: File,
}

/// The frames of one shape.
struct Film {
    path: PathBuf,
    shape: Shape,
    writer: Writer,
    frames: u64,
    wall: Wall,
    /// When the first frame was begun, and the last one: Unix time in ns.
    span: (u64, u64),
}

/// Records a film of each stream.
struct Films {
    path: PathBuf,
    container: Container,
    lossless: bool,
    several: bool,
}

#[expect(clippy::unnecessary_wraps, reason = "as all of SINKS")]
pub(super) fn prepare(args: &Args, several: bool) -> Result<Option<Box<dyn Shared>>> {
    let path = args.record.clone();
    let films = path.and_then(|path| {
        Some(Films {
            container: container(&path)?,
            path,
            lossless: args.lossless,
            several,
        })
    });
    Ok(films.map(|films| Box::new(films) as Box<dyn Shared>))
}

impl Shared for Films {
    fn open(&self, stream: &Name) -> Result<Box<dyn Sink>> {
        let path = own_path(&self.path, stream, self.several);
        let recorder = Recorder::new(&path, self.container, self.lossless);
        let recorder = recorder.with_context(|| format!("--record {}", path.display()))?;
        Ok(Box::new(recorder))
    }
}

/// The kind of film that a name asks for.
pub(in crate::recv) fn container(path: &Path) -> Option<Container> {
    let containers = [
        ("mp4", Container::Mp4),
        ("mkv", Container::Mkv),
        ("avi", Container::Avi),
    ];
    let found = containers
        .into_iter()
        .find(|(ending, _)| ending_is(path, ending));
    found.map(|(_, container)| container)
}

/// Whether a name ends so, in capital letters or not.
pub(super) fn ending_is(path: &Path, ending: &str) -> bool {
    path.extension()
        .is_some_and(|own| own.eq_ignore_ascii_case(ending))
}

impl Sink for Recorder {
    fn name(&self) -> &'static str {
        "record"
    }

    fn take(&mut self, taken: &Arc<Taken>, console: &Console) -> Result<()> {
        self.add(taken, console).with_context(|| self.flag())
    }

    fn rest(&mut self) -> Result<()> {
        let rested = self.film.as_mut().map_or(Ok(()), |film| film.writer.rest());
        rested.with_context(|| self.flag())
    }

    fn finish(&mut self, console: &Console) -> Result<()> {
        if let Some(unused) = self.first.take() {
            unused.remove();
        }
        let finished = self.film.take().map_or(Ok(()), |film| film.finish(console));
        finished.with_context(|| self.flag())
    }
}

impl Recorder {
    fn new(path: &Path, container: Container, lossless: bool) -> Result<Self> {
        av::load()?;
        Ok(Self {
            path: path.to_owned(),
            container,
            lossless,
            first: Some(Named::take(path)?),
            film: None,
        })
    }

    fn flag(&self) -> String {
        format!("--record {}", self.path.display())
    }

    fn add(&mut self, taken: &Taken, console: &Console) -> Result<()> {
        let shape = taken.frame.shape;
        if let Some(last) = self.film.take_if(|film| film.shape != shape) {
            last.finish(console)?;
        }
        let film = match &mut self.film {
            Some(film) => film,
            empty => {
                let named = match self.first.take() {
                    Some(first) => first,
                    None => Named::next(&self.path)?,
                };
                let film = Film::begin(named, self.container, taken, self.lossless)?;
                let flag = format!("--record {}", self.path.display());
                if film.path != self.path {
                    console.note(&format!(
                        "{flag}: frames are {shape} now, and go on in {}",
                        film.path.display()
                    ));
                }
                console.note(&format!("{flag}: {shape} as {}", film.writer.describe()));
                empty.insert(film)
            }
        };
        film.add(taken)
    }
}

impl Named {
    /// Takes a name, which must be free.
    pub(super) fn take(path: &Path) -> Result<Self> {
        match Self::create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                bail!("it is there already, and stays: use another name, or remove it")
            }
            created => Ok(created?),
        }
    }

    /// Makes a file of this name, if there is none.
    fn create(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: File::create_new(path)?,
        })
    }

    /// Makes a file of a name like this one: `STEM-2.mp4`, or `STEM-3.mp4` and so on.
    fn next(path: &Path) -> io::Result<Self> {
        let part = |part: Option<&OsStr>| part.unwrap_or_default().to_owned();
        let (stem, ending) = (part(path.file_stem()), part(path.extension()));
        let mut number = 2_u64;
        loop {
            let mut name = OsString::from(&stem);
            name.push(format!("-{number}."));
            name.push(&ending);
            match Self::create(&path.with_file_name(name)) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                created => return created,
            }
        }
    }

    /// Removes the empty file, unless the name means another one by now.
    pub(super) fn remove(self) {
        remove(&self.path, &self.file);
    }
}

/// Removes a file, unless the name means another one by now.
fn remove(path: &Path, file: &File) {
    let id = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    let ours = file.metadata().map(id);
    let named = fs::symlink_metadata(path).map(id);
    if ours.is_ok_and(|ours| named.is_ok_and(|named| named == ours)) {
        // It is empty: no harm if it stays.
        let _ = fs::remove_file(path);
    }
}

/// When a frame was begun. A frame that was there before the receiver came may be old: it counts
/// from when it was received.
fn begun_ns(wall: Wall, frame: &Frame) -> u64 {
    if frame.found {
        wall.received_ns(frame)
    } else {
        wall.begun_ns(frame)
    }
}

impl Film {
    fn begin(named: Named, container: Container, taken: &Taken, lossless: bool) -> Result<Self> {
        let shape = taken.frame.shape;
        let kept = named.file.try_clone()?;
        let writer = Writer::create(named.file, container, shape, lossless)
            .inspect_err(|_| remove(&named.path, &kept))?;
        let wall = Wall::now()?;
        let first = begun_ns(wall, &taken.frame);
        Ok(Self {
            path: named.path,
            shape,
            writer,
            frames: 0,
            wall,
            span: (first, first),
        })
    }

    fn add(&mut self, taken: &Taken) -> Result<()> {
        let begun = begun_ns(self.wall, &taken.frame);
        let at = begun.saturating_sub(self.span.0);
        self.writer.write(&taken.pixels, Duration::from_nanos(at))?;
        self.span.1 = self.span.1.max(begun);
        self.frames += 1;
        Ok(())
    }

    /// Frames in a second, as they came.
    fn fps(&self) -> f64 {
        let seconds = Duration::from_nanos(self.span.1 - self.span.0).as_secs_f64();
        crate::units::rate(self.frames.saturating_sub(1), seconds)
    }

    fn finish(self, console: &Console) -> Result<()> {
        let frames = counted(self.frames, "frame");
        let said = format!(
            "recorded {frames} at {:.1} frames/s in {}",
            self.fps(),
            self.path.display()
        );
        self.writer.finish()?;
        console.note(&said);
        Ok(())
    }
}
