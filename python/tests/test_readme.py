"""The examples of README.md run as they stand there."""

import re
import signal
import time

import pytest

import shm_frame
from conftest import REPOSITORY, done, picture, said

README = (REPOSITORY / "python" / "README.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)

# What the reader has by then.
BEFORE = """
import time
import numpy as np
import shm_frame
image = np.ones((480, 640, 3), np.uint8)
class camera:
    def read(image):
        image[:] = 2
        return True, image
"""


def test_all_examples_are_tested():
    assert len(BLOCKS) == 3


def test_the_example_of_a_loop_prints_each_frame_until_ctrl_c(name, programs):
    program = programs.python(BLOCKS[0].replace("/cam", name))
    with shm_frame.Sender(name) as sender:
        sender.publish(picture(1), meta={"exposure": 0.01}, captured_ns=5)
        number, _, skipped, in_place = said(program).split()
        assert (number, skipped, in_place) == ("1", "0", "True")
        program.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in program.communicate(timeout=30)[1]


def test_the_example_of_single_frames_ends_well(name, programs):
    program = programs.python(BEFORE + BLOCKS[1].replace("/cam", name).replace("1.0", "30"))
    with shm_frame.Sender(name) as sender:
        while program.poll() is None:
            sender.publish(picture(1))
            time.sleep(0.01)
    done(program)


def test_the_example_of_sending_ends_well(name, programs):
    with shm_frame.Receiver(name) as receiver:
        program = programs.python(BEFORE + BLOCKS[2].replace("/cam", name) + "    time.sleep(1)")
        frame = receiver.receive(30)
        while frame.number < 4:
            frame = receiver.receive(30)
        assert (frame.array == 2).all()
    done(program)


@pytest.mark.parametrize("error", [name for name in shm_frame.__all__ if name.endswith("Error")])
def test_every_exception_is_in_the_readme(error):
    assert error == "Error" or f"`{error}`" in README
    assert issubclass(getattr(shm_frame, error), shm_frame.Error)
