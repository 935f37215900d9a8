"""What segments there are, and the removal of those that dead senders left."""

import builtins
from dataclasses import dataclass

from . import _native
from ._errors import Error


@dataclass(frozen=True)
class Segment:
    """One segment, as it was found. Without a control page (`alive` is None) little is known."""

    name: str
    bytes: int
    """Of its file."""
    shape: tuple[int, ...] | None
    """Of the newest frame, as an array has it. None: there is no frame yet."""
    dtype: str | None
    order: str | None
    age_ns: int | None
    """Since the newest frame was begun."""
    alive: bool | None
    """Whether its sender lives."""
    pid: int | None
    """The sender's process, in its own pid namespace."""
    command: str | None
    """The command of that process."""
    slots: int | None
    fps: float | None
    """Frames that were published in a second, lately."""
    receivers: int | None
    """Receivers that can read in place. Those that only copy are not seen."""


class Listing(builtins.list[Segment]):
    """The segments, in the order of their names."""

    unreadable: int = 0
    """Files that this user may not read, or that could not be: segments or not."""


@dataclass(frozen=True)
class Removed:
    """A segment that `clean` removed, or could not."""

    name: str
    bytes: int
    error: Error | None
    """Why it is still there."""


def list() -> Listing:
    """Looks at every file in /dev/shm and tells which are segments.

    It takes 0.15 s if any of them has a live sender, whose rate is measured.
    """
    segments, unreadable = _native._list()
    listing = Listing(Segment(*segment) for segment in segments)
    listing.unreadable = unreadable
    return listing


def clean() -> builtins.list[Removed]:
    """Removes the segments whose sender is dead.

    Those without a control page stay: nobody can tell whether they are in use.
    """
    return [Removed(*removed) for removed in _native._clean()]
