"""vectors.json, which the tests of every language read: bytes, and what they mean."""

import fcntl
import json
import os
import struct

import numpy as np
import pytest

import shm_frame
from conftest import REPOSITORY

VECTORS = json.loads((REPOSITORY / "crates/shm-frame/tests/vectors.json").read_text())
DTYPES = {
    "u8": "uint8",
    "i8": "int8",
    "u16": "uint16",
    "i16": "int16",
    "i32": "int32",
    "f32": "float32",
    "f64": "float64",
    "f16": "float16",
}
# fcntl(2): locks of an open file description.
F_OFD_SETLK = 37


def by(key):
    return lambda vector: str(vector[key]) if isinstance(vector, dict) else None


@pytest.mark.parametrize("vector", VECTORS["formats"], ids=by("text"))
def test_every_format_goes_over_under_its_word(name, vector):
    shape = (3, 5) if vector["channels"] == 1 else (3, 5, vector["channels"])
    image = np.arange(np.prod(shape)).astype(DTYPES[vector["element"]]).reshape(shape)
    with shm_frame.Sender(name, slots=1) as sender, shm_frame.Receiver(name) as receiver:
        sender.publish(image, order=vector["order"])
        with open("/dev/shm" + name, "rb") as file:
            width, height, word = struct.unpack("<iii", file.read(12))
        assert (width, height, word) == (5, 3, vector["word"])
        frame = receiver.receive(30)
        assert (frame.dtype, frame.order) == (str(image.dtype), vector["order"])
        assert frame.array.strides[1] == vector["pixel_bytes"]
        np.testing.assert_array_equal(frame.array, image)


@pytest.mark.parametrize("vector", VECTORS["segments"], ids=by("what"))
def test_segments_are_accepted_with_this_frame_or_refused(name, vector):
    # Written from end to end: a segment with holes is refused.
    content = bytearray(vector["len"])
    for at, part in vector["bytes"].items():
        part = bytes.fromhex(part)
        content[int(at) : int(at) + len(part)] = part
    with open("/dev/shm" + name, "w+b", buffering=0) as file:
        file.write(content)
        # Byte 0 says that the sender lives: this process.
        life = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)
        fcntl.fcntl(file, F_OFD_SETLK, life)
        try:
            if vector.get("refused"):
                with pytest.raises(shm_frame.NotASegmentError):
                    shm_frame.Receiver(name, follow=False)
            elif not vector.get("frame"):
                with shm_frame.Receiver(name) as receiver, pytest.raises(TimeoutError):
                    receiver.receive(0.05)
            else:
                check(name, vector["frame"])
        finally:
            os.unlink("/dev/shm" + name)


def check(name, expected):
    channels, *rest = expected["format"].split(":")
    element = next((word for word in rest if word in DTYPES), "u8")
    shape = (expected["height"], expected["width"])
    if channels != "1":
        shape += (int(channels),)
    for copy in (False, True):
        with shm_frame.Receiver(name, copy=copy) as receiver:
            frame = receiver.receive(30)
            assert (frame.number, frame.shape) == (expected["number"], shape)
            assert (frame.dtype, frame.sent_ms) == (DTYPES[element], expected["sent_ms"])
            assert frame.order == ("rgb" if "rgb" in rest else "bgr")
            assert (frame.captured_ns or 0) == expected["captured_ns"]
            assert bytes(frame) == bytes.fromhex(expected["pixels"])
            meta = expected["meta"]
            assert frame.meta == (
                json.loads(meta) if meta.startswith("{") else meta.encode() or None
            )
