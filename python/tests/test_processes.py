"""Beside other programs: the commands, an old reader, processes that die, children of forks."""

import contextlib
import gc
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import shm_frame
from conftest import REPOSITORY, SHAPE, done, eventually, picture, said

START_METHODS = ["fork", "spawn", "forkserver"]

SENDER = """
import sys, time
import numpy as np
import shm_frame
sender = shm_frame.Sender(sys.argv[1], slots=int(sys.argv[2]))
number = 0
while True:
    number += 1
    sender.publish(np.full((40, 60, 3), number & 255, np.uint8))
    if number == 1:
        print("sending", flush=True)
    time.sleep(float(sys.argv[3]))
"""


def test_frames_of_shm_send_come_whole_and_in_order(name, programs):
    program = programs.command("shm-send", "-n", name, "--size", "64x48", "-f", 200, "-q")
    last = 0
    with shm_frame.Receiver(name) as receiver:
        for _ in range(50):
            with receiver.receive(30) as frame:
                assert frame.shape == (48, 64, 3) and frame.is_whole and frame.in_place
                assert frame.number > last and frame.array.any()
                last = frame.number
    program.send_signal(signal.SIGINT)
    done(program)


def test_pixels_of_shm_send_arrive_as_they_were(name, programs):
    pixels = np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8)
    program = programs.command(
        "shm-send", "-n", name, "--raw", "64x48x3", "-q", stdin=subprocess.PIPE
    )
    program.stdin.buffer.write(pixels.tobytes())
    program.stdin.flush()
    with shm_frame.Receiver(name) as receiver:
        np.testing.assert_array_equal(receiver.receive(30).array, pixels)
    done(program)


def test_shm_recv_receives_what_python_sends(name, programs):
    image = np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8)
    with shm_frame.Sender(name) as sender:
        program = programs.command(
            "shm-recv", "-n", name, "--raw", "-", "-c", 3, "-t", 30, "--view", "none"
        )
        out = []
        reading = threading.Thread(target=lambda: out.append(program.stdout.buffer.read()))
        reading.start()
        while program.poll() is None:
            sender.publish(image)
            time.sleep(0.01)
        reading.join(30)
    assert program.returncode == 0, program.stderr.read()
    assert out[0] == image.tobytes() * 3


def test_shm_recv_tells_of_frames_that_python_sends(name, programs):
    with shm_frame.Sender(name) as sender:
        sender.publish(picture(1), meta={"boxes": [1, 2]}, captured_ns=1_764_086_399_980_125_000)
        lines = done(
            programs.command("shm-recv", "-n", name, "--json", "-c", 1, "-t", 30, "--view", "none")
        )
    events = {event["event"]: event for event in map(json.loads, lines.splitlines())}
    assert events["attached"]["pid"] == os.getpid()
    frame = events["frame"]
    assert (frame["frame"], frame["width"], frame["height"]) == (1, 60, 40)
    assert frame["meta"] == {"boxes": [1, 2]}
    assert frame["captured_ms"] == 1_764_086_399_980.125


def test_an_old_reader_receives_what_python_sends(name, programs, tmp_path):
    reader = REPOSITORY / "tests" / "programs" / "reader.py"
    out = tmp_path / "pixels"
    with shm_frame.Sender(name, slots=1) as sender:
        program = programs.start(sys.executable, reader, name, 60, 40, 3, 3, out)
        number = 0
        while program.poll() is None:
            number += 1
            with sender.loan(*SHAPE) as image:
                image[:] = number & 255
            time.sleep(0.05)
    assert program.returncode == 0, program.stderr.read()
    frames = np.fromfile(out, np.uint8).reshape(3, *SHAPE)
    assert [len(np.unique(frame)) for frame in frames] == [1, 1, 1]


def test_a_sender_that_knows_only_the_header_is_received_and_said_to_be_unproven(name):
    header = np.array([60, 40, 3], "<i4").tobytes()

    def write(number):
        now = (time.time_ns() // 1_000_000).to_bytes(8, "little")
        file.seek(20)
        file.write((0).to_bytes(4, "little"))
        file.seek(0)
        file.write(header + now)
        file.seek(24)
        file.write(picture(number).tobytes())
        file.seek(20)
        file.write((1).to_bytes(4, "little"))

    with open("/dev/shm" + name, "w+b", buffering=0) as file:
        write(1)
        with shm_frame.Receiver(name) as receiver:
            out = np.empty(SHAPE, np.uint8)
            for number in range(2, 6):
                time.sleep(0.01)
                write(number)
                frame = receiver.receive(30, out=out if number % 2 else None)
                assert not frame.is_whole and not frame.in_place and frame.meta is None
                assert (frame.array == number).all()
    os.unlink("/dev/shm" + name)


def test_a_sender_killed_is_seen_dead_and_the_next_one_is_followed(name, programs):
    with shm_frame.Receiver(name) as receiver:
        for _ in range(2):
            program = programs.python(SENDER, name, 4, 0.005)
            assert said(program) == "sending"
            once = shm_frame.Receiver(name, follow=False)
            kept = receiver.receive(30).array
            value = int(kept[0, 0, 0])
            program.kill()
            program.wait()
            with pytest.raises(shm_frame.EndedError, match="its sender died"):
                while True:
                    once.receive(30)
            # Frames that are kept stay.
            assert (kept == value).all()
            with contextlib.suppress(TimeoutError):
                while True:
                    receiver.receive(0.2)
            with pytest.raises(TimeoutError, match="no segment|ended: its sender died"):
                receiver.receive(0.2)
    (dead,) = [segment for segment in shm_frame.list() if segment.name == name]
    assert dead.alive is False
    removed = {removed.name: removed.error for removed in shm_frame.clean()}
    assert removed[name] is None


def test_a_receiver_killed_with_frames_in_hand_costs_nobody_anything(name, programs):
    code = """
import sys, time, shm_frame
receiver = shm_frame.Receiver(sys.argv[1])
kept = [receiver.receive(30) for _ in range(2)]
assert all(frame.in_place for frame in kept)
print("holding", flush=True)
time.sleep(600)
"""
    with shm_frame.Sender(name, slots=4) as sender:

        def pump():
            while not stop.is_set():
                sender.publish(picture(1))
                time.sleep(0.005)

        stop = threading.Event()
        pumping = threading.Thread(target=pump)
        pumping.start()
        try:
            program = programs.python(code, name)
            assert said(program) == "holding"
            with shm_frame.Receiver(name) as receiver:
                assert not receiver.receive(30).in_place
                program.kill()
                program.wait()
                eventually(
                    lambda: receiver.receive(30).in_place, "the dead receiver's lease is free"
                )
        finally:
            stop.set()
            pumping.join()


@pytest.mark.parametrize("copy", [False, True], ids=["in place", "copied"])
def test_frames_flat_out_are_whole_and_never_go_backwards(name, programs, copy):
    program = programs.python(SENDER, name, 5, 0)
    assert said(program) == "sending"
    kept, last, seen = [], 0, 0
    end = time.monotonic() + 2
    with shm_frame.Receiver(name, copy=copy) as receiver:
        for frame in receiver:
            array = frame.array
            assert frame.number > last and (array == frame.number & 255).all()
            last, seen = frame.number, seen + 1
            if seen % 7 == 0:
                kept.append((frame.number, array))
            if len(kept) > 5:
                number, array = kept.pop(0)
                assert (array == number & 255).all()
            if time.monotonic() > end:
                break
    assert seen > 20
    program.kill()
    program.wait()
    shm_frame.clean()


def test_a_segment_truncated_under_an_array_reads_as_zeros_and_says_so(name, programs):
    """In a process of its own: a fault would end it by SIGBUS."""
    code = """
import os, sys
import numpy as np
import shm_frame
name = sys.argv[1]
sender = shm_frame.Sender(name)
receiver = shm_frame.Receiver(name)
sender.publish(np.full((400, 600, 3), 7, np.uint8))
frame = receiver.receive(30)
array = frame.array
assert frame.is_intact() and array.sum() == 7 * array.size
os.truncate("/dev/shm" + name, 0)
assert array.sum() == 0 and not frame.is_intact()
try:
    frame.copy()
    raise SystemExit("copied what is not the frame")
except shm_frame.LostError:
    pass
# The sender makes its segment anew, and the receiver follows.
for number in range(2, 100):
    sender.publish(np.full((400, 600, 3), number, np.uint8))
    try:
        frame = receiver.receive(0.2)
        break
    except TimeoutError:
        pass
assert (frame.array == frame.number).all() and frame.is_intact(), frame
with sender.loan(400, 600, 3) as image:
    image[:] = 1
    os.truncate("/dev/shm" + name, 0)
    try:
        image[:] = 2
    finally:
        print("drawn", flush=True)
"""
    program = programs.python(code, name)
    out, err = program.communicate(timeout=60)
    assert out == "drawn\n" and "LostError" in err and program.returncode == 1, (
        program.returncode,
        err,
    )


CHILD = """
import multiprocessing, sys
import numpy as np
import shm_frame

def child(name, receiver, ready, sending):
    frame = receiver.receive(30)
    assert (frame.array == 8).all() and frame.in_place
    own = shm_frame.Receiver(name).receive(30)
    assert (own.array == 8).all()
    ready.set()
    assert sending.wait(30)
    assert (receiver.receive(30).array == 9).all()

if __name__ == "__main__":
    name, method = sys.argv[1:]
    context = multiprocessing.get_context(method)
    sender = shm_frame.Sender(name)
    sender.publish(np.full((40, 60, 3), 8, np.uint8))
    receiver = shm_frame.Receiver(name)
    ready, sending = context.Event(), context.Event()
    process = context.Process(target=child, args=(name, receiver, ready, sending))
    process.start()
    assert ready.wait(30)
    sender.publish(np.full((40, 60, 3), 9, np.uint8))
    sending.set()
    process.join(30)
    assert process.exitcode == 0, process.exitcode
    assert (receiver.receive(30).array == 9).all()
    sender.publish(np.full((40, 60, 3), 10, np.uint8))
    assert (receiver.receive(30).array == 10).all()
"""


@pytest.mark.parametrize("method", START_METHODS)
def test_processes_of_multiprocessing_receive(name, programs, tmp_path, method):
    script = tmp_path / "script.py"
    script.write_text(CHILD)
    done(programs.start(sys.executable, "-W", "ignore", script, name, method), 60)


def forked(run) -> None:
    """Runs in a forked child, which must come to the end of it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            run()
            code = 0
        except BaseException as error:
            print(f"in the child: {error!r}", file=sys.stderr, flush=True)
        finally:
            os._exit(code)
    eventually(
        lambda: os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT), "the child ends"
    )
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_forked_child_leaves_its_parents_segment_and_frames_alone(name):
    with shm_frame.Sender(name) as sender, shm_frame.Receiver(name) as receiver:
        sender.publish(picture(1))
        frames = [receiver.receive(30)]
        array = frames[0].array

        def child():
            assert (array == 1).all()
            for use in (
                lambda: sender.publish(picture(2)),
                sender.tend,
                sender.loan(4, 4).__enter__,
            ):
                with pytest.raises(RuntimeError, match="forked") as caught:
                    use()
                assert isinstance(caught.value, shm_frame.ForkedError)
            sender.close()
            frames.clear()
            gc.collect()
            # By an opening of its own, which knows what was seen.
            with pytest.raises(TimeoutError):
                receiver.receive(0.1)
            assert (shm_frame.Receiver(name).receive(30).array == 1).all()
            receiver.close()

        forked(child)
        assert os.path.exists("/dev/shm" + name)
        for number in range(2, 9):
            assert sender.publish(picture(number)) == number
        assert (array == 1).all()
        assert (receiver.receive(30).array == 8).all()


def test_a_fork_within_a_loan_does_not_publish_it(name):
    with shm_frame.Sender(name) as sender, shm_frame.Receiver(name) as receiver:

        def child():
            with pytest.raises(shm_frame.ForkedError):
                loan.__exit__(None, None, None)

        loan = sender.loan(*SHAPE)
        with loan as image:
            image[:] = 1
            forked(child)
            with pytest.raises(TimeoutError):
                receiver.receive(0.05)
            image[:] = 2
        frame = receiver.receive(30)
        assert frame.number == 1 and (frame.array == 2).all()


def test_a_child_forked_while_another_thread_waits_can_receive(name):
    with shm_frame.Sender(name) as sender, shm_frame.Receiver(name) as receiver:
        waiting = threading.Thread(target=lambda: list(receiver))
        waiting.start()
        time.sleep(0.1)

        def child():
            with pytest.raises(TimeoutError):
                receiver.receive(0.05)
            assert not receiver.closed
            receiver.close()

        with (
            pytest.warns(DeprecationWarning)
            if sys.version_info >= (3, 12)
            else contextlib.nullcontext()
        ):
            forked(child)
        sender.publish(picture(1))
        receiver.close()
        waiting.join(30)


def test_a_dead_parent_is_seen_dead_while_an_idle_child_lives(name, programs):
    code = """
import os, sys, time
import numpy as np
import shm_frame
sender = shm_frame.Sender(sys.argv[1])
sender.publish(np.ones((4, 4), np.uint8))
child = os.fork()
if child == 0:
    os.close(1)
    os.close(2)
    time.sleep(600)
print(child, flush=True)
time.sleep(600)
"""
    program = programs.python(code, name)
    child = int(said(program))
    try:
        receiver = shm_frame.Receiver(name, follow=False)
        assert receiver.receive(30).number == 1
        program.kill()
        program.wait()
        with pytest.raises(shm_frame.EndedError, match="its sender died"):
            receiver.receive(30)
        os.kill(child, 0)
        # The name is free for another sender.
        with shm_frame.Sender(name) as sender:
            assert sender.publish(picture(1)) == 1
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_pool_of_workers_receives(name):
    with shm_frame.Sender(name) as sender:
        sender.publish(picture(5))
        with multiprocessing.get_context("forkserver").Pool(2) as pool:
            sums = pool.map(total, [shm_frame.Receiver(name)] * 4)
    assert sums == [5 * 7200] * 4


def total(receiver: shm_frame.Receiver) -> int:
    return int(receiver.receive(30).array.sum())


def viewer(programs, name, *arguments):
    return programs.start(sys.executable, "-m", "shm_frame", name, *arguments)


def test_the_viewer_prints_a_line_for_each_frame_where_there_is_no_window(
    name, programs, monkeypatch
):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with shm_frame.Sender(name) as sender:
        sender.publish(np.zeros((40, 60), np.float32))
        program = viewer(programs, name)
        line = said(program)
        assert line.startswith("frame 1 60x40x1 float32 ") and line.endswith(" ms")
        program.send_signal(signal.SIGINT)
        out, err = program.communicate(timeout=30)
    assert program.returncode == 0 and out == ""
    assert err.startswith("no window, so a line for each frame: ")


def test_the_viewer_ends_quietly_with_its_reader(name, programs):
    with shm_frame.Sender(name) as sender:
        sender.publish(picture(1))
        program = viewer(programs, name, "--lines")
        said(program)
        program.stdout.close()
        program.stdout = None
        while program.poll() is None:
            sender.publish(picture(1))
            time.sleep(0.01)
        assert (program.returncode, program.stderr.read()) == (0, "")


def test_the_viewer_says_what_is_wrong(name, programs):
    for arguments, code, why in (
        (("a/b",), 2, "slash"),
        ((), 2, "name"),
        ((name,), 1, "is no segment"),
    ):
        if why == "is no segment":
            os.mkfifo("/dev/shm" + name)
        program = programs.start(sys.executable, "-m", "shm_frame", *arguments)
        out, err = program.communicate(timeout=30)
        assert program.returncode == code and why in err and "Traceback" not in err, err
    os.unlink("/dev/shm" + name)
