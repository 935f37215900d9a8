"""The examples run together: a camera, a detector that answers with boxes, and a recorder of both."""

import json
import pathlib
import signal
import sys

import cv2

from conftest import REPOSITORY, done, eventually

EXAMPLES = REPOSITORY / "python" / "examples"


def test_a_camera_feeds_a_detector_and_recorders_write_what_both_send(name, programs, tmp_path):
    def start(example, *arguments):
        return programs.start(sys.executable, EXAMPLES / f"{example}.py", *arguments)

    found = name + "-found"
    detector = start("detector", name, found)
    raw = start("recorder", name, tmp_path / "raw", 10)
    boxed = start("recorder", found, tmp_path / "boxed", 10)
    webcam = start("webcam", name)
    done(raw)
    done(boxed)
    for program in webcam, detector:
        program.send_signal(signal.SIGINT)
        done(program)
    eventually(lambda: not pathlib.Path("/dev/shm" + found).exists(), f"{found} is removed")
    for directory in "raw", "boxed":
        lines = (tmp_path / directory / "frames.jsonl").read_text().splitlines()
        assert len(lines) == 10
        for line in map(json.loads, lines):
            image = cv2.imread(str(tmp_path / directory / line["file"]))
            assert image.ndim == 3 and line["captured_ns"] > 0
            if directory == "raw":
                assert line["meta"] is None
            elif not pathlib.Path("/dev/video0").exists():
                [box] = line["meta"]["boxes"]
                x, y = box["x"], box["y"]
                assert (box["width"], box["height"]) == (60, 60)
                assert (image[y : y + 60, x : x + 60] == 255).all()
