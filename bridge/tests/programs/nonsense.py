"""Publishes under a key what is no frame: nonsense.py KEY ENDPOINT..."""

import json
import struct
import sys
import time

import zenoh

key, *endpoints = sys.argv[1:]


def attachment(version=1, width=3, meta=b"\0"):
    fields = struct.pack("<BQQQIIBBBqqQ", version, 10**9, 1, 1, width, 1, 3, 0, 0, 0, 0, 0)
    return fields + meta


config = zenoh.Config()
config.insert_json5("connect/endpoints", json.dumps(endpoints))
config.insert_json5("scouting/multicast/enabled", "false")
with zenoh.open(config) as session:
    time.sleep(0.5)
    for payload, attached in [
        (b"", None),
        (b"pixels", b""),
        (b"pixels", b"\1"),
        (b"12345", attachment()),
        (b"123456789", attachment(version=7)),
        (b"123456789", attachment(width=0)),
        # Lengths that lie.
        (b"123456789", attachment(meta=b"\xff" * 9)),
        (b"123456789", attachment(meta=b"\x05ab")),
    ] * 3:
        session.put(key, payload, attachment=attached, encoding=zenoh.Encoding.VIDEO_RAW)
        time.sleep(0.05)
    # Questions that lie, too.
    for question in [b"", b"\1", b"\1" * 12, b"\xff" * 40]:
        list(session.get(f"{key}/@clock", payload=question))
