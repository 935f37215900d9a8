"""A viewer: python -m shm_frame /cam.

It shows a window if there is OpenCV with one, else it prints a line for each frame.
"""

import argparse
import os
import sys
from typing import Any

from . import Error, Frame, InvalidError, Receiver, TimedOutError


def line(frame: Frame) -> str:
    height, width, *channels = frame.shape
    kind = f"{width}x{height}x{channels[0] if channels else 1}"
    if frame.dtype != "uint8":
        kind += f" {frame.dtype}"
    skipped = f", {frame.skipped} skipped" if frame.skipped else ""
    return f"frame {frame.number} {kind} {frame.delay_ns / 1e6:.3f} ms{skipped}"


def print_lines(receiver: Receiver) -> None:
    for frame in receiver:
        with frame:
            print(line(frame), flush=True)


def for_the_screen(cv2: Any, frame: Frame) -> Any:
    """A copy of the frame's image with 8 bits, in the order that OpenCV shows."""
    image: Any = frame.array
    if image.ndim == 3 and image.shape[2] == 2:
        image = image[:, :, 0]
    if image.dtype != "uint8":
        image = cv2.normalize(image.astype("float32"), None, 0, 255, cv2.NORM_MINMAX).astype(
            "uint8"
        )
    if frame.order == "rgb":
        image = cv2.cvtColor(
            image, cv2.COLOR_RGB2BGR if image.shape[2] == 3 else cv2.COLOR_RGBA2BGR
        )
    return image if image.flags.writeable else image.copy()


def show(cv2: Any, receiver: Receiver) -> None:
    """Shows frames in a window until q, Esc or its end."""
    title = receiver.name
    cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
    size = None
    while True:
        try:
            with receiver.receive(0.05) as frame:
                image = for_the_screen(cv2, frame)
                cv2.setWindowTitle(title, f"{title}: {line(frame)}")
            if image.shape[:2] != size:
                size = image.shape[:2]
                cv2.resizeWindow(title, size[1], size[0])
            cv2.imshow(title, image)
        except TimedOutError:
            pass
        if cv2.waitKey(1) & 0xFF in (ord("q"), 27):
            return
        if cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) < 1:
            return


def windows() -> tuple[Any, str]:
    """OpenCV if it can show windows here, or why not."""
    try:
        import cv2
    except ImportError as error:
        return None, f"OpenCV cannot be imported ({error})"
    gui = [
        text for text in cv2.getBuildInformation().splitlines() if text.strip().startswith("GUI:")
    ]
    if gui and gui[0].split(":", 1)[1].strip() == "NONE":
        return None, "this OpenCV has no windows: opencv-python has, opencv-python-headless has not"
    if not os.environ.get("DISPLAY") and not os.environ.get("WAYLAND_DISPLAY"):
        return None, "there is no display"
    return cv2, ""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m shm_frame",
        description="Shows the frames of a segment in a window of OpenCV (q or Esc ends), or, "
        "where there is none, prints a line for each frame.",
    )
    parser.add_argument("name", help="the segment's name, such as /cam")
    parser.add_argument(
        "--lines", action="store_true", help="print lines even where a window can be had"
    )
    args = parser.parse_args()
    try:
        receiver = Receiver(args.name)
    except InvalidError as error:
        parser.error(str(error))
    with receiver:
        if not args.lines:
            cv2, why = windows()
            if cv2 is not None:
                show(cv2, receiver)
                return 0
            print(f"no window, so a line for each frame: {why}", file=sys.stderr)
        print_lines(receiver)
    return 0


def run() -> int:
    """The viewer, with an exit code for what ends it."""
    try:
        return main()
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:
        # The reader has enough. Python would complain when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Error as error:
        print(f"python -m shm_frame: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(run())
