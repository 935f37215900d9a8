//! Files and pipes, read in a way that a signal can always end.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// A read waits this long at a time, in ms.
const SLICE_MS: u16 = 50;

/// Opens a file or a pipe, and does not wait for the writer of a pipe.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
}

/// Reads once, waiting for a moment at most. `None`: nothing came yet; 0: the end.
pub(crate) fn read(mut file: &File, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    let mut polled = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
    match poll(&mut polled, PollTimeout::from(SLICE_MS)) {
        Ok(0) | Err(Errno::EINTR) => return Ok(None),
        Ok(_) => {}
        Err(error) => return Err(error.into()),
    }
    match file.read(buffer) {
        Ok(read) => Ok(Some(read)),
        // A process that shares the pipe may have made it non-blocking, or read these bytes first.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
