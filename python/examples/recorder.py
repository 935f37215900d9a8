"""Writes the frames of a segment to PNG files, and a line of JSON for each: recorder.py NAME
DIRECTORY [COUNT].

What is known of the frames is in DIRECTORY/frames.jsonl.
"""

import itertools
import json
import pathlib
import sys

import cv2

import shm_frame


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit("usage: recorder.py NAME DIRECTORY [COUNT]")
    directory = pathlib.Path(sys.argv[2])
    count = int(sys.argv[3]) if len(sys.argv) > 3 else None
    directory.mkdir(parents=True, exist_ok=True)
    with (
        shm_frame.Receiver(sys.argv[1]) as receiver,
        (directory / "frames.jsonl").open("w") as lines,
    ):
        for frame in itertools.islice(receiver, count):
            with frame:
                # Writing may take long, so it works on a copy: a frame should be held shortly.
                image = frame.copy()
            if image.ndim == 3 and frame.order == "rgb":
                image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
            file = f"{frame.number:06}.png"
            cv2.imwrite(str(directory / file), image)
            meta = frame.meta
            line = {
                "frame": frame.number,
                "file": file,
                "captured_ns": frame.captured_ns,
                "meta": meta if isinstance(meta, dict) else None,
            }
            print(json.dumps(line), file=lines, flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
