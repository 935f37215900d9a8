"""A reader that knows the 24-byte header and nothing else, the way people write them.

Usage: reader.py NAME WIDTH HEIGHT CHANNELS COUNT OUT
Takes COUNT frames with different time stamps and writes their pixels to the file OUT, one frame after the other.
"""

import mmap
import os
import struct
import sys
import time

import numpy as np

name, out = sys.argv[1].lstrip("/"), sys.argv[6]
width, height, channels, count = map(int, sys.argv[2:6])
size = 24 + width * height * channels


def read_frame():
    fd = os.open("/dev/shm/" + name, os.O_RDONLY)
    try:
        with mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ) as memory:
            w, h, c, timestamp_ms, _ = struct.unpack_from("<iiiqi", memory, 0)
            if (w, h, c) != (width, height, channels):
                raise ValueError(f"segment is {w}x{h}x{c}, expected {width}x{height}x{channels}")
            pixels = np.frombuffer(memory, np.uint8, size - 24, 24).reshape(height, width, channels).copy()
    finally:
        os.close(fd)
    return timestamp_ms, pixels


seen, last, missing, frames = 0, None, "", open(out, "wb")
deadline = time.monotonic() + 20
while seen < count:
    if time.monotonic() > deadline:
        sys.exit(f"only {seen} frames in 20 s")
    try:
        timestamp_ms, pixels = read_frame()
    except (FileNotFoundError, ValueError) as error:
        if str(error) != missing:
            missing = str(error)
            print(f"waiting: {missing}", file=sys.stderr)
        time.sleep(0.05)
        continue
    if timestamp_ms != last:
        seen, last = seen + 1, timestamp_ms
        pixels.tofile(frames)
        print(f"frame {seen} {pixels.shape} delay {time.time() * 1000 - timestamp_ms:.0f} ms", flush=True)
    time.sleep(0.002)
frames.close()
