//! `--raw -`: pixels on stdout, for another program.

use std::io::{self, IsTerminal};
use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use shm_frame::{Name, Shape};

use super::{Shared, Sink};
use crate::console::Console;
use crate::picture;
use crate::recv::args::Args;
use crate::recv::taken::Taken;
use crate::stdio;

/// Writes frames to stdout, one after the other with nothing in between.
#[derive(Debug)]
struct Raw {
    /// The shape of all frames: the reader cannot see where a frame ends.
    shape: Option<Shape>,
}

/// There is one stdout, so there is one stream.
struct Stdout;

pub(super) fn prepare(args: &Args, _several: bool) -> Result<Option<Box<dyn Shared>>> {
    if args.raw.is_none() {
        return Ok(None);
    }
    ensure!(
        !io::stdout().is_terminal(),
        "--raw -: stdout is a terminal: pipe it into a program that takes pixels"
    );
    Ok(Some(Box::new(Stdout)))
}

impl Shared for Stdout {
    fn open(&self, _stream: &Name) -> Result<Box<dyn Sink>> {
        Ok(Box::new(Raw { shape: None }))
    }
}

impl Sink for Raw {
    fn name(&self) -> &'static str {
        "raw"
    }

    fn take(&mut self, taken: &Arc<Taken>, console: &Console) -> Result<()> {
        let shape = taken.frame.shape;
        match self.shape {
            Some(first) if first != shape => bail!(
                "--raw -: frames are {shape} now and were {first}: raw pixels have one size; fix it with --width, --height and --channels"
            ),
            Some(_) => {}
            None => {
                self.shape = Some(shape);
                let (width, height) = (shape.width(), shape.height());
                console.note(&match picture::ffmpeg_name(shape.format()) {
                    Some(format) => format!(
                        "raw {shape}, for ffmpeg and ffplay: -f rawvideo -pixel_format {format} -video_size {width}x{height}"
                    ),
                    None => format!(
                        "raw {shape}, little-endian, {} bytes a frame: ffmpeg has no name for this format",
                        shape.bytes()
                    ),
                });
            }
        }
        Ok(stdio::write(&taken.pixels)?)
    }
}
