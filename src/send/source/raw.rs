//! Frames from stdin, as they are.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::libc;
use shm_frame::Shape;

use super::{Next, SLICE, Source};
use crate::input;
use crate::send::outlet::{Outlet, Written};
use crate::stop;
use crate::units::counted;

/// Reads frames of one shape. The writer of a pipe waits for this reader, so none is skipped.
pub(crate) struct Raw {
    shape: Shape,
    period: Option<Duration>,
    /// Without the buffer of [`io::Stdin`]: pixels go straight from the pipe into the slot.
    stdin: File,
    /// The first byte of the next frame, read to notice the end of the pipe before a slot is lent.
    first: [u8; 1],
    frames: u64,
}

impl Raw {
    pub(crate) fn open(shape: Shape, period: Option<Duration>) -> Result<Self> {
        let stdin = io::stdin();
        if stdin.is_terminal() {
            bail!("stdin is a terminal: pipe frames into it, or redirect it from a file");
        }
        Ok(Self {
            shape,
            period,
            stdin: stdin.as_fd().try_clone_to_owned()?.into(),
            first: [0],
            frames: 0,
        })
    }
}

/// Whether a signal ended the pipe: Ctrl-C goes to the writer, too, which may end first.
fn interrupted() -> bool {
    thread::sleep(SLICE);
    stop::requested()
}

/// Reads once. `None`: nothing came yet; 0: the pipe ended.
fn read(stdin: &File, buffer: &mut [u8]) -> Result<Option<usize>> {
    match input::read(stdin, buffer) {
        // Another process truncated the segment, whose slot the buffer is. Unlike the kernel, a
        // touch gets other memory in its place; the frame is lost, and the next one in the pipe is
        // not.
        Err(error) if error.raw_os_error() == Some(libc::EFAULT) => {
            buffer.fill(0);
            Ok(None)
        }
        read => read.context("cannot read stdin"),
    }
}

impl Source for Raw {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn next(&mut self) -> Result<Next> {
        match read(&self.stdin, &mut self.first)? {
            None => Ok(Next::Nothing),
            Some(0) if self.frames == 0 && !interrupted() => {
                bail!("--raw {}: stdin ended without a frame", self.shape)
            }
            Some(0) => Ok(Next::End(None)),
            Some(_) => Ok(Next::Frame(self.period)),
        }
    }

    fn send(&mut self, outlet: &mut Outlet) -> Result<Option<Written>> {
        let written = outlet.fill(self.shape, |pixels| {
            pixels[..1].copy_from_slice(&self.first);
            let mut filled = 1;
            while filled < pixels.len() {
                match read(&self.stdin, &mut pixels[filled..])? {
                    _ if stop::requested() => return Ok(false),
                    None => {}
                    Some(0) if interrupted() => return Ok(false),
                    Some(0) => bail!(
                        "--raw {}: stdin broke off after {}, {} into the next one of {}: it was cut off, or its frames have another size",
                        self.shape,
                        counted(self.frames, "frame"),
                        counted(filled as u64, "byte"),
                        pixels.len()
                    ),
                    Some(read) => filled += read,
                }
            }
            Ok(true)
        })?;
        self.frames += u64::from(written.is_some());
        Ok(written)
    }
}
