//! The standard streams, written to in a way that a signal can always end.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc::{self, PIPE_BUF};
use nix::poll::{PollFd, PollFlags, poll};

use crate::stop;

/// Writes bytes to stdout.
pub(crate) fn write(bytes: &[u8]) -> io::Result<()> {
    static STDOUT: OnceLock<File> = OnceLock::new();
    write_all(opened(&STDOUT, &io::stdout())?, bytes)
}

/// Writes a line to stdout.
pub(crate) fn line(text: &str) -> io::Result<()> {
    write(format!("{text}\n").as_bytes())
}

/// Writes a line to stderr.
pub(crate) fn warn(text: &str) {
    static STDERR: OnceLock<File> = OnceLock::new();
    // An error means that nobody reads stderr, so there is nobody to tell.
    let _ = opened(&STDERR, &io::stderr())
        .and_then(|stderr| write_all(stderr, format!("{text}\n").as_bytes()));
}

/// A standard stream that does not block. Its file description is shared with other processes, so
/// `O_NONBLOCK` must not be set on it: terminals and pipes are opened again.
fn opened<'a>(once: &'a OnceLock<File>, stream: &impl AsFd) -> io::Result<&'a File> {
    if let Some(file) = once.get() {
        return Ok(file);
    }
    let shared = File::from(stream.as_fd().try_clone_to_owned()?);
    let can_block = shared.is_terminal() || shared.metadata()?.file_type().is_fifo();
    // Another user's terminal (after su) cannot be opened: then the shared description must do.
    let own = can_block.then(|| reopen(&shared)).and_then(io::Result::ok);
    Ok(once.get_or_init(|| own.unwrap_or(shared)))
}

/// Opens the terminal or pipe behind a stream again, without blocking.
pub(crate) fn reopen(stream: &impl AsFd) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(format!("/proc/self/fd/{}", stream.as_fd().as_raw_fd()))
}

/// Writes all bytes. If a signal asks for the end while the reader takes nothing, gives up after a
/// second: a blocked write would keep the signal from being seen.
pub(crate) fn write_all(mut to: &File, mut bytes: &[u8]) -> io::Result<()> {
    const SLICE_MS: u16 = 100;
    const GRACE: Duration = Duration::from_secs(1);
    let mut progress = Instant::now();
    while !bytes.is_empty() {
        let mut fds = [PollFd::new(to.as_fd(), PollFlags::POLLOUT)];
        match poll(&mut fds, SLICE_MS) {
            Ok(0) | Err(Errno::EINTR) => {}
            // The write reports errors. A pipe that is ready has room for PIPE_BUF bytes (pipe(7)).
            Ok(_) | Err(_) => match to.write(&bytes[..bytes.len().min(PIPE_BUF)]) {
                Ok(written) => {
                    bytes = &bytes[written..];
                    progress = Instant::now();
                    continue;
                }
                // A terminal may be ready with one byte of room: a line end takes two.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    thread::sleep(Duration::from_millis(5));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            },
        }
        if stop::requested() && progress.elapsed() > GRACE {
            return Ok(());
        }
    }
    Ok(())
}
