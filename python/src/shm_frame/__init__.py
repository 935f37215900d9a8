"""Whole image frames from process to process of one Linux machine, through shared memory.

with shm_frame.Sender("/cam") as sender:
    sender.publish(image)                        # one copy
    with sender.loan(480, 640, 3) as image:      # none: draw, decode or capture into it
        camera.read(image)

for frame in shm_frame.Receiver("/cam"):
    image = frame.array                          # numpy, read-only, in place
"""

from ._errors import (
    BusyError,
    ClosedError,
    DeniedError,
    EndedError,
    Error,
    ForkedError,
    InvalidError,
    LiveError,
    LoanOpenError,
    LostError,
    NoRoomError,
    NotASegmentError,
    NotFoundError,
    SystemCallError,
    TakenOverError,
    TimedOutError,
)
from ._inventory import Listing, Removed, Segment, clean, list
from ._native import Frame, Loan, Receiver, Sender, __version__

__all__ = [
    "BusyError",
    "ClosedError",
    "DeniedError",
    "EndedError",
    "Error",
    "ForkedError",
    "Frame",
    "InvalidError",
    "Listing",
    "LiveError",
    "Loan",
    "LoanOpenError",
    "LostError",
    "NoRoomError",
    "NotASegmentError",
    "NotFoundError",
    "Receiver",
    "Removed",
    "Segment",
    "Sender",
    "SystemCallError",
    "TakenOverError",
    "TimedOutError",
    "__version__",
    "clean",
    "list",
]
