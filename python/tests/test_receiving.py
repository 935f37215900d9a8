"""Waiting lets others run, and ends with a frame, a time, a signal, a close or the segment."""

import asyncio
import contextlib
import os
import pathlib
import runpy
import signal
import stat
import sys
import threading
import time

import numpy as np
import pytest

import shm_frame
from conftest import REPOSITORY, done, eventually, picture, said

MODES = ["sleep", "predict", "spin"]


@pytest.mark.parametrize("mode", MODES)
def test_a_receiver_waits_for_its_sender_and_for_the_next_one(name, mode):
    receiver = shm_frame.Receiver(name, wait_mode=mode)
    with pytest.raises(
        TimeoutError, match=f"no new frame from {name} in 0.05 s: there is no segment"
    ):
        receiver.receive(0.05)
    for life in range(3):
        got = []
        thread = threading.Thread(target=lambda: got.append(receiver.receive(30)))
        thread.start()
        with shm_frame.Sender(name) as sender:
            sender.publish(picture(life))
            thread.join(30)
            assert (got[0].array == life).all() and got[0].number == 1
            with pytest.raises(shm_frame.TimedOutError, match=r"in 0 s$"):
                receiver.receive(0)


def test_only_the_newest_frame_comes_and_the_others_are_counted(name):
    with shm_frame.Sender(name) as sender, shm_frame.Receiver(name) as receiver:
        sender.publish(picture(1))
        assert receiver.receive(5).skipped == 0
        for number in range(2, 8):
            sender.publish(picture(number))
        frame = receiver.receive(5)
        assert (frame.number, frame.skipped) == (7, 5)
        late = shm_frame.Receiver(name).receive(5)
        assert late.number == 7 and late.found and late.skipped == 0


def test_a_receiver_that_does_not_follow_needs_a_segment_and_ends_with_it(name):
    with pytest.raises(FileNotFoundError, match="no segment .*: start its sender") as caught:
        shm_frame.Receiver(name, follow=False)
    assert isinstance(caught.value, shm_frame.Error) and caught.value.errno == 2
    with shm_frame.Sender(name) as sender:
        receiver = shm_frame.Receiver(name, follow=False)
        sender.publish(picture(1))
        sender.close()
        assert [frame.number for frame in receiver] == [1]
        with pytest.raises(EOFError, match="its sender closed it"):
            receiver.receive()


@pytest.mark.parametrize("timeout", [-1, float("nan"), -0.5])
def test_a_timeout_is_a_number_of_seconds(name, timeout):
    with pytest.raises(shm_frame.InvalidError, match="timeout must be"):
        shm_frame.Receiver(name).receive(timeout)


def test_an_endless_timeout_ends_with_a_frame(name):
    with shm_frame.Sender(name) as sender, shm_frame.Receiver(name) as receiver:
        for timeout in (None, float("inf"), 1e9, 1e15):
            sender.publish(picture(1))
            assert receiver.receive(timeout).in_place


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("sender", [True, False], ids=["with a sender", "without a sender"])
def test_close_ends_a_wait_in_another_thread(name, sender, mode):
    with shm_frame.Sender(name) if sender else contextlib.nullcontext():
        receiver = shm_frame.Receiver(name, wait_mode=mode)
        ended = []

        def wait():
            try:
                receiver.receive(60)
            except shm_frame.ClosedError:
                ended.append("receive")

        def loop():
            for _ in receiver:
                pass
            ended.append("loop")

        threads = [threading.Thread(target=run) for run in (wait, loop)]
        for thread in threads:
            thread.start()
        time.sleep(0.1)
        begin = time.monotonic()
        receiver.close()
        for thread in threads:
            thread.join(30)
        took = time.monotonic() - begin
        assert sorted(ended) == ["loop", "receive"] and receiver.closed
        print(f"closed in {took * 1e3:.1f} ms")
        with pytest.raises(ValueError, match="is closed"):
            receiver.receive(0)
        assert list(receiver) == [] and "closed" in repr(receiver)
        receiver.close()


CTRL_C = """
import sys, time, shm_frame
receiver = shm_frame.Receiver(sys.argv[1], wait_mode=sys.argv[2])
print("waiting", flush=True)
try:
    receiver.receive() if sys.argv[3] == "receive" else next(receiver)
except KeyboardInterrupt:
    print(time.monotonic_ns(), flush=True)
"""


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("how", ["receive", "next"])
@pytest.mark.parametrize("sender", [True, False], ids=["with a sender", "without a sender"])
def test_ctrl_c_ends_a_wait(name, programs, how, sender, mode):
    with shm_frame.Sender(name) if sender else contextlib.nullcontext():
        program = programs.python(CTRL_C, name, mode, how)
        assert said(program) == "waiting"
        time.sleep(0.2)
        begin = time.monotonic_ns()
        program.send_signal(signal.SIGINT)
        took = (int(done(program)) - begin) / 1e6
        print(f"interrupted in {took:.1f} ms")


def test_a_signal_handler_may_use_and_close_the_receiver_that_waits(name):
    receiver = shm_frame.Receiver(name)
    seen = []

    def handler(_number, _frame):
        with contextlib.suppress(TimeoutError):
            receiver.receive(0)
        receiver.close()
        seen.append(True)

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        timer = threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGUSR1))
        timer.start()
        with pytest.raises(shm_frame.ClosedError):
            receiver.receive(60)
        assert seen == [True]
        timer.join()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_other_threads_run_while_one_waits(name):
    with shm_frame.Sender(name) as sender, shm_frame.Receiver(name) as receiver:
        got, running = [], threading.Event()

        def wait():
            running.set()
            got.append(receiver.receive(60).number)

        thread = threading.Thread(target=wait)
        thread.start()
        running.wait(30)
        # With the lock held, this thread would not come to publish at all.
        for _ in range(100_000):
            assert not got
        sender.publish(picture(1))
        thread.join(30)
        assert got == [1]


def test_other_threads_run_while_one_copies(name):
    go, ran = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: go.wait(60) and ran.set())
    thread.start()
    image = np.ones((4000, 8000, 3), np.uint8)
    interval = sys.getswitchinterval()
    with shm_frame.Sender(name, capacity=image.nbytes) as sender:
        # Nobody has to let others run: only a call that does so lets the thread come on.
        sys.setswitchinterval(1000)
        try:
            go.set()
            for _ in range(20):
                sender.publish(image)
                if ran.is_set():
                    break
            assert ran.is_set()
        finally:
            sys.setswitchinterval(interval)
            thread.join(30)


def test_threads_share_a_receiver_and_each_frame_goes_to_one_of_them(name):
    with shm_frame.Sender(name, slots=8) as sender, shm_frame.Receiver(name) as receiver:
        taken = []

        def take():
            for frame in receiver:
                taken.append((frame.number, int(frame.array[0, 0, 0])))

        threads = [threading.Thread(target=take) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number in range(1, 101):
            sender.publish(picture(number))
            eventually(lambda: len(taken) == number, f"frame {number} is taken")
        receiver.close()
        for thread in threads:
            thread.join(30)
        assert sorted(taken) == [(number, number) for number in range(1, 101)]


def test_a_thread_waits_no_longer_than_it_was_told_while_another_has_the_receiver(name):
    with shm_frame.Sender(name), shm_frame.Receiver(name) as receiver:
        thread = threading.Thread(target=lambda: list(receiver))
        thread.start()
        for _ in range(5):
            with pytest.raises(TimeoutError):
                receiver.receive(0.02)
        receiver.close()
        thread.join(30)


def test_what_is_no_segment_is_told_once_nobody_fills_it(name):
    path = pathlib.Path("/dev/shm" + name)
    receiver = shm_frame.Receiver(name)
    path.write_bytes(b"no segment at all")
    try:
        with pytest.raises(ValueError, match="is no segment") as caught:
            receiver.receive(60)
        assert isinstance(caught.value, shm_frame.NotASegmentError)
        with pytest.raises(shm_frame.NotASegmentError):
            receiver.receive(0.1)
        with pytest.raises(shm_frame.NotASegmentError, match="replace=True"):
            shm_frame.Sender(name)
    finally:
        path.unlink()
    with shm_frame.Sender(name) as sender:
        sender.publish(picture(1))
        assert receiver.receive(5).number == 1


def test_what_is_no_file_is_refused_at_once(name):
    path = pathlib.Path("/dev/shm" + name)
    os.mkfifo(path)
    try:
        with pytest.raises(shm_frame.NotASegmentError, match="FIFO|pipe"):
            shm_frame.Receiver(name)
    finally:
        path.unlink()


def test_another_users_segment_is_denied_with_what_to_do(name, programs):
    """As the user nobody, if this is root; else with a file that this user may not read."""
    path = pathlib.Path("/dev/shm" + name)
    with shm_frame.Sender(name) as sender:
        sender.publish(picture(1))
        code = """
import os, sys, shm_frame
if os.getuid() == 0:
    os.setuid(65534)
else:
    os.chmod("/dev/shm" + sys.argv[1], 0)
for role in (shm_frame.Receiver, shm_frame.Sender):
    try:
        role(sys.argv[1])
    except PermissionError as error:
        print(error.errno, type(error).__name__, error)
"""
        mode = stat.S_IMODE(path.stat().st_mode)
        lines = done(programs.python(code, name)).splitlines()
        path.chmod(mode)
        assert len(lines) == (2 if os.getuid() == 0 else 1), lines
        assert lines[0].startswith("13 DeniedError segment") and "mode=0o644" in lines[0]
        if os.getuid() == 0:
            assert lines[1].endswith(": use another name")


def test_errors_are_pythons_own_and_say_what_to_do(name):
    with shm_frame.Sender(name):
        with pytest.raises(FileExistsError, match=f"pid {os.getpid()}: .*replace=True") as caught:
            shm_frame.Sender(name)
        assert isinstance(caught.value, shm_frame.LiveError) and caught.value.errno == 17
    with pytest.raises(
        MemoryError, match=r"/dev/shm has .*shm_frame\.clean\(\).*--shm-size="
    ) as caught:
        shm_frame.Sender(name, capacity=1 << 45)
    assert isinstance(caught.value, shm_frame.NoRoomError)
    for call in (
        lambda: shm_frame.Receiver("a/b"),
        lambda: shm_frame.Sender(name, slots=17),
        lambda: shm_frame.Sender(name, capacity=(1 << 64) - 1),
        lambda: shm_frame.Receiver(name, wait_mode="hope"),
    ):
        with pytest.raises(shm_frame.InvalidError):
            call()


def test_a_sender_whose_name_was_taken_over_ends(name):
    first = shm_frame.Sender(name)
    with shm_frame.Sender(name, replace=True) as second:
        with pytest.raises(ConnectionAbortedError, match="taken over") as caught:
            end = time.monotonic() + 30
            while time.monotonic() < end:
                first.publish(picture(1))
                time.sleep(0.01)
        assert isinstance(caught.value, shm_frame.TakenOverError)
        first.close()
        with pytest.raises(ValueError, match="closed"):
            first.publish(picture(1))
        assert second.publish(picture(2)) == 1


def test_segments_are_listed(name):
    with shm_frame.Sender(name, slots=5) as sender:
        sender.publish(np.zeros((4, 6, 3), np.uint16), order="rgb")
        with shm_frame.Receiver(name):
            listing = shm_frame.list()
        (segment,) = [segment for segment in listing if segment.name == name]
        assert (segment.shape, segment.dtype, segment.order) == ((4, 6, 3), "uint16", "rgb")
        assert (segment.alive, segment.pid, segment.slots) == (True, os.getpid(), 5)
        assert segment.receivers == 1 and segment.age_ns >= 0 and segment.command
        assert segment.bytes == os.stat("/dev/shm" + name).st_size
        assert listing.unreadable >= 0


@pytest.mark.parametrize(
    "cancel", [False, True], ids=["until it is stopped", "until it is cancelled"]
)
def test_the_asyncio_example_receives(name, cancel):
    example = runpy.run_path(str(REPOSITORY / "python" / "examples" / "asyncio_receiver.py"))
    numbers = []

    async def receive():
        async for frame in example["frames"](name):
            numbers.append(frame.number)
            if len(numbers) == 5 and not cancel:
                break

    async def send():
        with shm_frame.Sender(name) as sender:
            while len(numbers) < 5:
                sender.publish(picture(1))
                await asyncio.sleep(0.005)

    async def both():
        receiving = asyncio.create_task(receive())
        await asyncio.wait_for(send(), 30)
        if cancel:
            # It waits in a thread by now, which must not keep the program from its end.
            receiving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await receiving
        else:
            await asyncio.wait_for(receiving, 30)

    asyncio.run(both())
    assert numbers == sorted(set(numbers)) and len(numbers) >= 5
