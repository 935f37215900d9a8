"""One end of a segment, for tests between languages: `peer.py send NAME` sends frames that check
themselves, flat out and for ever; `peer.py receive NAME COUNT` takes that many and checks them.

`capi/tests/check.hpp` says what stands in a frame. Ends with 0 if all was well, and says what it
saw.
"""

import sys

import numpy as np

import shm_frame

HASH = 0x9E3779B97F4A7C15
ELEMENTS = ["u1", "i1", "u2", "i2", "i4", "f4", "f8", "f2"]
FORMATS = [
    (element, channels, order)
    for element in ELEMENTS
    for channels in (1, 2, 3, 4)
    for order in (("bgr", "rgb") if channels >= 3 else ("bgr",))
]


class Checked:
    """What stands in a frame follows from its number."""

    def __init__(self, number: int) -> None:
        hashed = number * HASH % 2**64
        self.element, self.channels, self.order = FORMATS[(hashed >> 32) % len(FORMATS)]
        self.height, self.width = 100 - number % 7, 150 + number % 7
        self.captured_ns = number * 1000
        self.meta = str(number).encode() if number % 3 else None
        size = self.height * self.width * self.channels * np.dtype(self.element).itemsize
        words = np.arange((size + 7) // 8, dtype=np.uint64) ^ np.uint64(hashed)
        self.bytes = words.view(np.uint8)[:size]

    def wrong(self, frame: shm_frame.Frame) -> str | None:
        """What is wrong with a frame."""
        shape = (self.height, self.width, self.channels)
        array = frame.array
        if array.shape != (shape if self.channels > 1 else shape[:2]):
            return f"has another's shape, {array.shape}"
        if array.dtype != np.dtype(self.element) or frame.order != self.order:
            return "has another's format"
        if frame.captured_ns != self.captured_ns:
            return "has another's captured_ns"
        if frame.meta != self.meta:
            return f"has another's meta, {frame.meta!r}"
        if not np.array_equal(array.reshape(-1).view(np.uint8), self.bytes):
            return "is torn"
        return None


def send(name: str) -> None:
    with shm_frame.Sender(name, slots=16) as sender:
        number = 0
        while True:
            number += 1
            checked = Checked(number)
            with sender.loan(
                checked.height,
                checked.width,
                checked.channels,
                checked.element,
                order=checked.order,
                captured_ns=checked.captured_ns,
                meta=checked.meta,
            ) as image:
                image.reshape(-1).view(np.uint8)[:] = checked.bytes


def receive(name: str, count: int) -> None:
    session, last, taken, sessions = 0, 0, 0, 0
    seen = set()
    for frame in shm_frame.Receiver(name):
        with frame:
            if frame.session != session:
                session, last = frame.session, 0
                sessions += 1
                print(f"session {sessions}", flush=True)
            checked = Checked(frame.number)
            wrong = checked.wrong(frame)
            # What was read of a truncated segment is not the frame.
            if not frame.is_intact():
                continue
            if wrong:
                sys.exit(f"frame {frame.number} {wrong}")
            if frame.number <= last:
                sys.exit(f"frame {frame.number} is older than the last")
            last = frame.number
        seen.add((checked.element, checked.channels, checked.order))
        taken += 1
        if taken % 512 == 0:
            print(f"taken {taken}", flush=True)
        if taken >= count:
            break
    print(f"{taken=} {sessions=} formats={len(seen)}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["send", name]:
            send(name)
        case ["receive", name, count]:
            receive(name, int(count))
        case _:
            sys.exit("usage: peer.py send NAME, or peer.py receive NAME COUNT")
