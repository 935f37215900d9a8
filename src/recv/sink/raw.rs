//! Pixels on stdout, for another program.

use anyhow::{Result, bail, ensure};
use shm_frame::Shape;
use std::io::{self, IsTerminal};

use crate::console as output;

/// Writes frames to stdout, one after the other and nothing between.
#[derive(Debug)]
pub(crate) struct Raw {
    /// Of all of them: who reads them does not see where one ends.
    shape: Option<Shape>,
}

impl Raw {
    pub(crate) fn new() -> Result<Self> {
        ensure!(
            !io::stdout().is_terminal(),
            "--raw -: stdout is a terminal: pipe it into a program that takes pixels"
        );
        Ok(Self { shape: None })
    }

    pub(crate) fn write(&mut self, pixels: &[u8], shape: Shape, note: &dyn Fn(&str)) -> Result<()> {
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
                note(&format!(
                    "raw {shape}, for ffmpeg and ffplay: -f rawvideo -pixel_format {format} -video_size {}x{}",
                    shape.width(),
                    shape.height()
                ));
            }
        }
        output::write(pixels)
    }
}
