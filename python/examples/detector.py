"""Finds what is bright in the frames of one segment, and answers with the frames and the boxes in
another: detector.py FROM TO [COUNT].

The boxes are JSON in the frame's meta: {"boxes":[{"x":8,"y":4,"width":60,"height":60}]}.
"""

import itertools
import sys
from typing import Any

import cv2
from numpy.typing import NDArray

import shm_frame


def boxes(image: NDArray[Any]) -> list[dict[str, int]]:
    gray = image[..., 0] if image.ndim == 3 else image
    _, bright = cv2.threshold(gray, 200, 255, cv2.THRESH_BINARY)
    outlines, _ = cv2.findContours(bright, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [
        dict(zip(("x", "y", "width", "height"), cv2.boundingRect(outline), strict=True))
        for outline in outlines
    ]


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit("usage: detector.py FROM TO [COUNT]")
    count = int(sys.argv[3]) if len(sys.argv) > 3 else None
    with shm_frame.Receiver(sys.argv[1]) as receiver, shm_frame.Sender(sys.argv[2]) as sender:
        for frame in itertools.islice(receiver, count):
            with frame:
                # Read in place: nobody writes there until the frame is released.
                image = frame.array
                meta = {"boxes": boxes(image)}
                sender.publish(image, order=frame.order, captured_ns=frame.captured_ns, meta=meta)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
