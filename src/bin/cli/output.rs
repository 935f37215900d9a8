//! Where words go: results to stdout, for people or as JSON, and all else to stderr.

use std::io::{self, Write};
use std::os::fd::AsFd;

use anyhow::Result;
use nix::errno::Errno;
use nix::libc::PIPE_BUF;
use nix::poll::{PollFd, PollFlags, poll};
use serde::Serialize;

use super::stop;

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
    let mut stdout = io::stdout().lock();
    // A pipe that is writable has room for so much; all of it at once could block.
    for piece in bytes.chunks(PIPE_BUF) {
        if !wait_until_writable(&stdout) {
            return Ok(());
        }
        stdout.write_all(piece)?;
        stdout.flush()?;
    }
    Ok(())
}

/// Says something on stderr.
pub(crate) fn warn(text: &str) {
    let mut stderr = io::stderr().lock();
    if wait_until_writable(&stderr) {
        // If nobody reads stderr, nobody wants to know.
        let _ = writeln!(stderr, "{text}");
    }
}

/// Waits until a line can be written without blocking: a pipe that is writable has room for one (`pipe(7)`, `PIPE_BUF`).
/// `false`: a signal asks for the end, and whoever should read does not. A write that blocks would keep that from being heard.
fn wait_until_writable(to: &impl AsFd) -> bool {
    const SLICE: u16 = 100;
    const GRACE: u16 = 1000;
    loop {
        let stop = stop::requested();
        let mut fds = [PollFd::new(to.as_fd(), PollFlags::POLLOUT)];
        match poll(&mut fds, if stop { GRACE } else { SLICE }) {
            Ok(0) if stop => return false,
            Ok(0) | Err(Errno::EINTR) => {}
            // Errors are for the write to find.
            Ok(_) | Err(_) => return true,
        }
    }
}
