//! Where words go: results to stdout, for people or as JSON, and all else to stderr.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::errno::Errno;
use nix::libc::{self, PIPE_BUF};
use nix::poll::{PollFd, PollFlags, poll};
use serde::Serialize;

use crate::stop;

/// How a command reports.
#[derive(Clone, Copy)]
pub(crate) struct Output<'a> {
    json: bool,
    quiet: bool,
    /// Takes results, as [`line`] does.
    result: &'a dyn Fn(&str) -> Result<()>,
    /// Takes all else, as [`warn`] does.
    say: &'a dyn Fn(&str),
}

impl<'a> Output<'a> {
    pub(crate) fn new(
        json: bool,
        quiet: bool,
        result: &'a dyn Fn(&str) -> Result<()>,
        say: &'a dyn Fn(&str),
    ) -> Self {
        Self {
            json,
            quiet,
            result,
            say,
        }
    }

    /// What happens to every frame: the JSON object, or `text` for people, who may not want to know.
    pub(crate) fn frame(
        self,
        event: &impl Serialize,
        text: impl FnOnce() -> Option<String>,
    ) -> Result<()> {
        if self.quiet {
            Ok(())
        } else if self.json {
            self.json(event)
        } else {
            text().map_or(Ok(()), |text| (self.result)(&text))
        }
    }

    /// What happens now and then.
    pub(crate) fn event(self, event: &impl Serialize, text: &str) -> Result<()> {
        if self.json {
            self.json(event)?;
        }
        if !self.quiet {
            (self.say)(text);
        }
        Ok(())
    }

    /// What is told in any case, at the end.
    pub(crate) fn summary(self, event: &impl Serialize, text: &str) -> Result<()> {
        if self.json {
            self.json(event)?;
            (self.say)(text);
            Ok(())
        } else {
            (self.result)(text)
        }
    }

    fn json(self, event: &impl Serialize) -> Result<()> {
        (self.result)(&serde_json::to_string(event)?)
    }
}

/// Puts a line on stdout.
pub(crate) fn line(text: &str) -> Result<()> {
    write(format!("{text}\n").as_bytes())
}

/// Puts bytes on stdout.
pub(crate) fn write(bytes: &[u8]) -> Result<()> {
    static STDOUT: OnceLock<File> = OnceLock::new();
    Ok(write_all(opened(&STDOUT, &io::stdout())?, bytes)?)
}

/// Says something on stderr.
pub(crate) fn warn(text: &str) {
    static STDERR: OnceLock<File> = OnceLock::new();
    // If nobody reads stderr, nobody wants to know.
    let _ = opened(&STDERR, &io::stderr())
        .and_then(|stderr| write_all(stderr, format!("{text}\n").as_bytes()));
}

/// One of the standard streams, so that writing to it does not block. The description that there is others share.
fn opened<'a>(once: &'a OnceLock<File>, stream: &impl AsFd) -> io::Result<&'a File> {
    if let Some(file) = once.get() {
        return Ok(file);
    }
    let shared = File::from(stream.as_fd().try_clone_to_owned()?);
    let blocks = shared.is_terminal() || shared.metadata()?.file_type().is_fifo();
    // Another user's terminal, after su(1), has to do as it is.
    let own = blocks.then(|| anew(&shared)).and_then(io::Result::ok);
    Ok(once.get_or_init(|| own.unwrap_or(shared)))
}

/// A terminal or a pipe, opened anew, so that writing to it does not block.
pub(crate) fn anew(stream: &impl AsFd) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(format!("/proc/self/fd/{}", stream.as_fd().as_raw_fd()))
}

/// Writes all of it, unless a signal asks for the end and whoever should read does not: a write that blocks would keep that
/// from being heard.
pub(crate) fn write_all(mut to: &File, mut bytes: &[u8]) -> io::Result<()> {
    const SLICE: u16 = 100;
    const GRACE: Duration = Duration::from_secs(1);
    let mut taken = Instant::now();
    while !bytes.is_empty() {
        let mut fds = [PollFd::new(to.as_fd(), PollFlags::POLLOUT)];
        match poll(&mut fds, SLICE) {
            Ok(0) | Err(Errno::EINTR) => {}
            // Errors are for the write to find. What can block has room for so much (pipe(7), PIPE_BUF).
            Ok(_) | Err(_) => match to.write(&bytes[..bytes.len().min(PIPE_BUF)]) {
                Ok(written) => {
                    bytes = &bytes[written..];
                    taken = Instant::now();
                    continue;
                }
                // A terminal may have room, but not for a line end, which are two bytes to it.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    thread::sleep(Duration::from_millis(5));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            },
        }
        if stop::requested() && taken.elapsed() > GRACE {
            return Ok(());
        }
    }
    Ok(())
}
