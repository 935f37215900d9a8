//! A terminal: its size, its keyboard, and writes that never wait.

use std::env;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::libc;
use rustix::process::getpgrp;
use rustix::termios::{
    LocalModes, OptionalActions, QueueSelector, Termios, tcflush, tcgetattr, tcgetpgrp,
    tcgetwinsize, tcsetattr,
};

/// A stream that may be a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// A terminal that understands escape sequences.
#[derive(Debug)]
pub(crate) struct Tty {
    /// Of its own description, so that it does not block and nobody else's mode changes.
    file: File,
    /// How the keyboard was, while keys are taken one by one.
    before: Option<Termios>,
}

/// A terminal's size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub columns: usize,
    pub rows: usize,
    /// Of a cell in pixels, if the terminal says.
    pub cell: Option<(usize, usize)>,
}

impl Size {
    pub(super) fn cells(self) -> (usize, usize) {
        (self.columns, self.rows)
    }

    /// What is left above some rows.
    pub(super) fn less_rows(self, rows: usize) -> Self {
        Self {
            rows: self.rows.saturating_sub(rows),
            ..self
        }
    }
}

impl Tty {
    /// The terminal that a stream is, if it is one that can be drawn on, and this process is not in
    /// its background.
    pub(crate) fn of(stream: Stream) -> Option<Self> {
        let (is_terminal, file) = match stream {
            Stream::Stdout => (io::stdout().is_terminal(), open(&io::stdout())),
            Stream::Stderr => (io::stderr().is_terminal(), open(&io::stderr())),
        };
        let term = env::var("TERM").unwrap_or_default();
        if !is_terminal || matches!(term.as_str(), "" | "dumb" | "unknown") {
            return None;
        }
        let file = file.ok()?;
        // Fails for a terminal that is not this process's: then there is no foreground.
        if tcgetpgrp(&file).is_ok_and(|group| group != getpgrp()) {
            return None;
        }
        Some(Self { file, before: None })
    }

    pub(super) fn size(&self) -> Size {
        let (columns, rows, x, y) = tcgetwinsize(&self.file)
            .map(|size| {
                let [columns, rows, x, y] =
                    [size.ws_col, size.ws_row, size.ws_xpixel, size.ws_ypixel].map(usize::from);
                (columns, rows, x, y)
            })
            .unwrap_or_default();
        if columns == 0 || rows == 0 {
            // A serial line does not know.
            return Size {
                columns: 80,
                rows: 24,
                cell: None,
            };
        }
        let cell = (x / columns, y / rows);
        Size {
            columns,
            rows,
            cell: (cell.0 > 0 && cell.1 > 0).then_some(cell),
        }
    }

    /// From now on keys come one by one and unseen, if there is a keyboard.
    pub(super) fn take_keys(&mut self) {
        let Ok(before) = tcgetattr(&self.file) else {
            return;
        };
        let mut modes = before.clone();
        modes.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        if tcsetattr(&self.file, OptionalActions::Now, &modes).is_ok() {
            self.before = Some(before);
        }
    }

    /// The keyboard as it was.
    pub(super) fn give_keys(&mut self) {
        if let Some(before) = self.before.take() {
            // Typed ahead, to a picture: not for the shell. An error is a terminal that is gone.
            // That all is written is not waited for.
            let _ = tcflush(&self.file, QueueSelector::IFlush);
            let _ = tcsetattr(&self.file, OptionalActions::Now, &before);
        }
    }

    pub(super) fn has_keys(&self) -> bool {
        self.before.is_some()
    }

    /// What was typed or answered. Nothing: nothing more for now. An error: the terminal is gone.
    pub(super) fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = [0; 1024];
        match (&self.file).read(&mut bytes) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => Ok(bytes[..length].to_vec()),
            Err(error) => passing(&error).then(Vec::new).ok_or(error),
        }
    }

    /// Writes as much as the terminal takes now. Returns how much that is.
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match (&self.file).write(bytes) {
            Err(error) if passing(&error) => Ok(0),
            written => written,
        }
    }

    /// Throws away what was written and the terminal did not take yet.
    pub(super) fn discard(&self) {
        // An error is a terminal that is gone.
        let _ = tcflush(&self.file, QueueSelector::OFlush);
    }
}

impl AsFd for Tty {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Opens the terminal behind a stream again, without blocking. Keys come from it as well: stdin may
/// be something else.
fn open(stream: &impl AsFd) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(format!("/proc/self/fd/{}", stream.as_fd().as_raw_fd()))
}

fn passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
