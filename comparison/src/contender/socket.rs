//! A Unix stream socket, the frame's length before it.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{COPIED_IN, Contender, Ends, Group};
use crate::Result;
use crate::spec::{Spec, Wait};

pub const CONTENDERS: [Contender; 1] = [Contender {
    name: "Unix socket",
    group: Group::Peer,
    parts: COPIED_IN,
    ends: Ends::Functions { sender, receiver },
}];

fn sender(spec: &Spec, channel: &str) -> Result<Box<dyn super::Sender>> {
    let listener = UnixListener::bind(format!("{}/{channel}", spec.directory))?;
    Ok(Box::new(Sending {
        listener,
        stream: None,
    }))
}

struct Sending {
    listener: UnixListener,
    stream: Option<UnixStream>,
}

impl super::Sender for Sending {
    fn send(&mut self, frame: &[u8]) -> Result<()> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => none.insert(self.listener.accept()?.0),
        };
        stream.write_all(&(frame.len() as u64).to_le_bytes())?;
        stream.write_all(frame)?;
        Ok(())
    }
}

fn receiver(spec: &Spec, channel: &str) -> Result<Box<dyn super::Receiver>> {
    let stream = UnixStream::connect(format!("{}/{channel}", spec.directory))?;
    stream.set_nonblocking(true)?;
    Ok(Box::new(Receiving {
        stream,
        wait: spec.wait,
        frame: Vec::new(),
    }))
}

struct Receiving {
    stream: UnixStream,
    wait: Wait,
    frame: Vec<u8>,
}

impl Receiving {
    fn read_exact(&mut self, range: std::ops::Range<usize>) -> Result<()> {
        let mut at = range.start;
        while at < range.end {
            match self.stream.read(&mut self.frame[at..range.end]) {
                Ok(0) => return Err(io::Error::from(ErrorKind::UnexpectedEof).into()),
                Ok(read) => at += read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if self.wait == Wait::Asleep {
                        poll_in(&self.stream, PollTimeout::NONE)?;
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl super::Receiver for Receiving {
    fn try_receive(&mut self, see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let mut len = [0; 8];
        match self.stream.read(&mut len) {
            Ok(8) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            other => return Err(format!("the frame's length: {other:?}").into()),
        }
        self.frame
            .resize(usize::try_from(u64::from_le_bytes(len))?, 0);
        self.read_exact(0..self.frame.len())?;
        see(&self.frame);
        Ok(true)
    }

    fn sleep(&mut self, timeout: Duration) -> Result<()> {
        poll_in(&self.stream, PollTimeout::try_from(timeout)?)
    }
}

fn poll_in(stream: impl AsFd, timeout: PollTimeout) -> Result<()> {
    poll(
        &mut [PollFd::new(stream.as_fd(), PollFlags::POLLIN)],
        timeout,
    )?;
    Ok(())
}
