"""What can go wrong. Each exception is also the one that Python raises for such a thing."""

import errno as _errno


class Error(Exception):
    """Any error of shm_frame. Arguments of a wrong type are a plain TypeError."""


class NotFoundError(Error, FileNotFoundError):
    """No segment has this name."""

    errno = _errno.ENOENT


class NotASegmentError(Error, ValueError):
    """The name means something that is no segment, or one of another version of the layout."""


class DeniedError(Error, PermissionError):
    """The segment is another user's, or /dev/shm is read-only."""

    errno = _errno.EACCES


class LiveError(Error, FileExistsError):
    """Another sender is alive and has this name."""

    errno = _errno.EEXIST


class TakenOverError(Error, ConnectionAbortedError):
    """Another sender took this sender's name."""

    errno = _errno.ECONNABORTED


class NoRoomError(Error, MemoryError):
    """/dev/shm is too small or too full, or this process has no memory for a copy."""


class LostError(Error, ConnectionResetError):
    """Another process truncated or overwrote the segment, and the frame is lost."""

    errno = _errno.ECONNRESET


class EndedError(Error, EOFError):
    """The segment ended, and the receiver was made with follow=False."""


class TimedOutError(Error, TimeoutError):
    """No new frame came in time."""

    errno = _errno.ETIMEDOUT


class BusyError(Error, BlockingIOError):
    """Other processes kept changing the meaning of the name."""

    errno = _errno.EBUSY


class SystemCallError(Error, OSError):
    """A system call failed. `errno` says why."""


class ForkedError(Error, RuntimeError):
    """The sender belongs to the process that this one was forked from."""


class LoanOpenError(Error, RuntimeError):
    """The sender has a loan open."""


class ClosedError(Error, ValueError):
    """It was closed or released."""


class InvalidError(Error, ValueError):
    """A value that cannot be: a name, a shape, a number of slots."""
