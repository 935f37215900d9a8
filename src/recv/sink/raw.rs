//! `--raw -`: pixels on stdout, for another program.

use std::io::{self, IsTerminal};

use anyhow::{Result, bail, ensure};
use shm_frame::{Frame, Shape};

use super::Sink;
use crate::console::Console;
use crate::recv::args::Args;
use crate::stdio;

/// Writes frames to stdout, one after the other with nothing in between.
#[derive(Debug)]
struct Raw {
    /// The shape of all frames: the reader cannot see where a frame ends.
    shape: Option<Shape>,
}

pub(super) fn open(args: &Args) -> Result<Option<Box<dyn Sink>>> {
    if args.raw.is_none() {
        return Ok(None);
    }
    ensure!(
        !io::stdout().is_terminal(),
        "--raw -: stdout is a terminal: pipe it into a program that takes pixels"
    );
    Ok(Some(Box::new(Raw { shape: None })))
}

impl Sink for Raw {
    fn take(&mut self, frame: Frame, pixels: &[u8], console: &Console) -> Result<()> {
        let shape = frame.shape;
        match self.shape {
            Some(first) if first != shape => bail!(
                "--raw -: frames are {shape} now and were {first}: raw pixels have one size; fix it with --width, --height and --channels"
            ),
            Some(_) => {}
            None => {
                self.shape = Some(shape);
                let format = match shape.channels() {
                    1 => "gray",
                    3 => "bgr24",
                    _ => "bgra",
                };
                console.note(&format!(
                    "raw {shape}, for ffmpeg and ffplay: -f rawvideo -pixel_format {format} -video_size {}x{}",
                    shape.width(),
                    shape.height()
                ));
            }
        }
        Ok(stdio::write(pixels)?)
    }
}
