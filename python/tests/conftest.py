"""What the tests share: names of their own, programs that end with the test, and pictures."""

import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
COMMANDS = pathlib.Path(os.environ.get("SHM_FRAME_COMMANDS", REPOSITORY / "target" / "debug"))
SHAPE = (40, 60, 3)

# In the background of a shell Ctrl-C is ignored, and programs that are started from here would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def picture(number: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Every byte is the number: a torn frame has two values."""
    return np.full(shape, number & 255, np.uint8)


def eventually(condition: Callable[[], object], what: str, seconds: float = 20) -> None:
    """Waits until a condition is true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.005)


@pytest.fixture
def name() -> Iterator[str]:
    """The name of a segment that is gone after the test."""
    name = f"/shm-frame-py-{os.getpid()}-{time.monotonic_ns():x}"
    yield name
    try:
        os.unlink("/dev/shm" + name)
    except FileNotFoundError:
        return
    raise AssertionError(f"the test left {name} behind")


class Programs:
    """Starts programs, and kills those that still run after the test."""

    def __init__(self) -> None:
        self.running: list[subprocess.Popen[str]] = []

    def start(self, *arguments: object, stdin: int | None = None) -> subprocess.Popen[str]:
        program = subprocess.Popen(
            [str(argument) for argument in arguments],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.running.append(program)
        return program

    def python(self, code: str, *arguments: object) -> subprocess.Popen[str]:
        return self.start(sys.executable, "-c", code, *arguments)

    def command(
        self, command: str, *arguments: object, stdin: int | None = None
    ) -> subprocess.Popen[str]:
        path = COMMANDS / command
        assert path.exists(), f"{path} is not built: cargo build first, or set SHM_FRAME_COMMANDS"
        return self.start(path, *arguments, stdin=stdin)


@pytest.fixture
def programs() -> Iterator[Programs]:
    programs = Programs()
    yield programs
    for program in programs.running:
        program.kill()
        program.wait()
        for pipe in (program.stdin, program.stdout, program.stderr):
            if pipe:
                pipe.close()


def said(program: subprocess.Popen[str]) -> str:
    """The next line of a program."""
    assert program.stdout
    line = program.stdout.readline().strip()
    if not line:
        program.kill()
        raise AssertionError(f"the program ended: {program.communicate()}")
    return line


def done(program: subprocess.Popen[str], seconds: float = 30) -> str:
    """All that a program still says until it ends well."""
    out, err = program.communicate(timeout=seconds)
    assert program.returncode == 0, f"exit {program.returncode}\n{out}\n{err}"
    return out
