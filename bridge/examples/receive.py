"""Takes frames from `shm-bridge put` without shm-bridge: pip install eclipse-zenoh numpy

usage: receive.py KEY ENDPOINT [COUNT], as in: receive.py robot/cam tcp/robot:7447
"""

import json
import sys
import time

import numpy as np
import zenoh
from zenoh.ext import Int64, UInt8, UInt32, UInt64, z_deserialize

# What an element is, by its number in the attachment.
ELEMENTS = ["u1", "i1", "<u2", "<i2", "<i4", "<f4", "<f8", "<f2"]
# version, serial, session, number; width, height; channels, element, order;
# begun (the sender's monotonic clock), begun (its wall clock), captured; the sender's bytes
ATTACHMENT = tuple[
    UInt8, UInt64, UInt64, UInt64, UInt32, UInt32, UInt8, UInt8, UInt8, Int64, Int64, UInt64, bytes
]


def frame(sample):
    """The image of a sample, and what is known of it."""
    fields = z_deserialize(ATTACHMENT, sample.attachment)
    version, serial, _, number, width, height, channels, element, order, _, begun, captured, meta = fields
    assert version == 1, f"version {version} of the attachment"
    about = {"number": number, "serial": serial, "order": "rgb" if order else "bgr", "begun_unix_ns": begun}
    about |= {"captured_ns": captured or None, "meta": meta.decode() or None}
    if sample.encoding == zenoh.Encoding.IMAGE_JPEG:
        import cv2

        image = cv2.imdecode(np.frombuffer(sample.payload.to_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
        return image.reshape(height, width, -1), about
    pixels = np.frombuffer(sample.payload.to_bytes(), ELEMENTS[element])
    return pixels.reshape(height, width, channels), about


def main():
    key, endpoint, count = sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else None
    config = zenoh.Config()
    config.insert_json5("connect/endpoints", json.dumps([endpoint]))
    config.insert_json5("scouting/multicast/enabled", "false")
    with zenoh.open(config) as session:
        # The newest alone: what is there already is replaced.
        subscriber = session.declare_subscriber(key, zenoh.handlers.RingChannel(1))
        for sample in subscriber:
            image, about = frame(sample)
            age = (time.time_ns() - about["begun_unix_ns"]) / 1e6  # if both machines' clocks agree
            print(image.shape, image.dtype, f"{image.sum(dtype=float):.0f}", f"{age:.3f} ms", json.dumps(about), flush=True)
            if count is not None:
                count -= 1
                if count == 0:
                    break


if __name__ == "__main__":
    main()
