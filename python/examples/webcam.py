"""Sends the frames of a webcam: webcam.py NAME [COUNT]. Without a camera, a moving picture.

Any number of processes receive it, each at its own pace: start `detector.py NAME /boxes` and
`recorder.py NAME DIRECTORY`.
"""

import itertools
import sys
import time
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

import shm_frame

SQUARE = 60


def draw(image: NDArray[Any], number: int) -> None:
    """A dark picture with a bright square that moves."""
    height, width, _ = image.shape
    image[:] = (np.arange(height) // 4)[:, None, None]
    x, y = 8 * number % (width - SQUARE), 4 * number % (height - SQUARE)
    image[y : y + SQUARE, x : x + SQUARE] = 255


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit("usage: webcam.py NAME [COUNT]")
    numbers = range(int(sys.argv[2])) if len(sys.argv) > 2 else itertools.count()
    camera = cv2.VideoCapture(0)
    ok, first = camera.read()
    if not ok:
        print("no camera: sending a moving picture", file=sys.stderr)
    height, width = first.shape[:2] if ok else (480, 640)
    with shm_frame.Sender(sys.argv[1], slots=6) as sender:
        for number in numbers:
            if ok:
                ok = camera.grab()
                if not ok:
                    break
            else:
                time.sleep(1 / 30)
            # In place: the picture is decoded or drawn into the shared memory.
            with sender.loan(height, width, 3, captured_ns=time.time_ns()) as image:
                if ok:
                    camera.retrieve(image)
                else:
                    draw(image, number)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
