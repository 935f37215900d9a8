"""Frames: in place, read-only, and valid as long as they are kept."""

import gc
import pickle
import struct
import sys
import time

import numpy as np
import pytest

import shm_frame
from conftest import SHAPE, done, picture


def test_a_frame_is_read_in_place_and_read_only(name):
    with shm_frame.Sender(name) as sender, shm_frame.Receiver(name) as receiver:
        assert sender.publish(picture(7)) == 1
        frame = receiver.receive(5)
        assert (frame.in_place, frame.number, frame.skipped) == (True, 1, 0)
        assert (frame.shape, frame.dtype, frame.order) == (SHAPE, "uint8", "bgr")
        assert frame.is_whole and frame.is_intact() and not frame.found
        assert 0 <= frame.delay_ns < 5e9 and 0 <= frame.received_ms - frame.sent_ms < 5000
        assert frame.begun_ns <= frame.published_ns and frame.session != 0
        array = frame.array
        assert array.shape == SHAPE and (array == 7).all()
        assert array.flags.c_contiguous and not array.flags.writeable and not array.flags.owndata
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0, 0] = 1
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.setflags(write=True)
        assert name in repr(frame) and "in place" in repr(frame)


def test_two_arrays_of_a_frame_are_the_same_memory(name):
    with shm_frame.Sender(name) as sender, shm_frame.Receiver(name) as receiver:
        sender.publish(picture(7))
        frame = receiver.receive(5)
        assert np.shares_memory(frame.array, frame.array)
        assert not np.shares_memory(frame.array, frame.copy())


def test_gray_images_have_two_dimensions(name):
    with shm_frame.Sender(name) as sender, shm_frame.Receiver(name) as receiver:
        for shape in ((40, 60), (40, 60, 1)):
            sender.publish(picture(1, shape))
            frame = receiver.receive(5)
            assert frame.shape == frame.array.shape == (40, 60)


def test_an_array_that_is_kept_never_changes_and_later_frames_are_copies(name):
    with shm_frame.Sender(name, slots=6) as sender, shm_frame.Receiver(name) as receiver:
        kept = []
        for number in range(1, 50):
            sender.publish(picture(number))
            frame = receiver.receive(5)
            kept.append((frame.array, frame.in_place))
            for i, (array, _) in enumerate(kept):
                assert (array == i + 1).all()
        # Six slots have four leases.
        assert [in_place for _, in_place in kept] == [True] * 4 + [False] * 45
        del frame, array
        kept.clear()
        sender.publish(picture(99))
        assert receiver.receive(5).in_place


def test_an_array_outlives_its_frame_receiver_and_sender(name):
    sender = shm_frame.Sender(name)
    with shm_frame.Receiver(name) as receiver:
        sender.publish(picture(5))
        with receiver.receive(5) as frame:
            part = frame.array[3:, ::2]
    sender.close()
    del receiver, frame, sender
    gc.collect()
    assert part.shape == (37, 30, 3) and (part == 5).all()


def test_a_loop_reads_in_place_though_it_still_holds_the_frame_before(name):
    sender = shm_frame.Sender(name)
    receiver = shm_frame.Receiver(name, follow=False)
    sender.publish(picture(1))
    seen = []
    for frame in receiver:
        image = frame.array
        assert frame.in_place and (image == frame.number).all()
        seen.append(frame.number)
        if frame.number == 20:
            sender.close()
        else:
            sender.publish(picture(frame.number + 1))
    assert seen == list(range(1, 21))
    with pytest.raises(EOFError, match="closed"):
        receiver.receive(5)


def test_a_released_frame_says_so(name):
    with shm_frame.Sender(name) as sender, shm_frame.Receiver(name) as receiver:
        sender.publish(picture(5))
        frame = receiver.receive(5)
        kept = frame.array
        with frame:
            pass
        for use in (lambda: frame.array, lambda: memoryview(frame), frame.copy, frame.is_intact):
            with pytest.raises(shm_frame.ClosedError, match="released"):
                use()
        with pytest.raises(ValueError, match="released"):
            np.asarray(frame)
        with pytest.raises(ValueError, match="released"):
            np.array(frame, copy=True)
        frame.release()
        assert (kept == 5).all() and frame.number == 1


def test_a_released_frame_gives_its_slot_back_with_its_last_array(name):
    with shm_frame.Sender(name, slots=3) as sender, shm_frame.Receiver(name) as receiver:
        sender.publish(picture(1))
        with receiver.receive(5) as frame:
            array = frame.array
        sender.publish(picture(2))
        assert not receiver.receive(5).in_place
        del array
        sender.publish(picture(3))
        assert receiver.receive(5).in_place


def test_a_copy_is_writable_and_goes_where_it_is_told(name):
    with shm_frame.Sender(name) as sender, shm_frame.Receiver(name) as receiver:
        sender.publish(picture(5))
        frame = receiver.receive(5)
        own = frame.copy()
        own[0, 0, 0] = 9
        assert own.sum() == frame.array.sum() + 4
        out = np.zeros(SHAPE, np.uint8)
        assert frame.copy(out=out) is out and (out == 5).all()
        for wrong, why in (
            (np.zeros((60, 40, 3), np.uint8), "60x40x3 uint8"),
            (np.zeros(SHAPE, np.int8), "40x60x3 int8"),
            (np.zeros((40, 60), np.uint8), "40x60 uint8"),
            (np.zeros((40, 120, 3), np.uint8)[:, ::2], "rows"),
            (frame.array, "writable"),
        ):
            with pytest.raises(shm_frame.InvalidError, match=why):
                frame.copy(out=wrong)
        with pytest.raises(TypeError, match="out must be an array"):
            frame.copy(out=[1])


@pytest.mark.parametrize("slots", [4, 2], ids=["under a lease", "without leases"])
def test_frames_are_received_into_the_callers_array(name, slots):
    with shm_frame.Sender(name, slots=slots) as sender, shm_frame.Receiver(name) as receiver:
        out = np.zeros(SHAPE, np.uint8)
        for number in range(1, 4):
            sender.publish(picture(number), meta={"n": number}, captured_ns=number)
            frame = receiver.receive(5, out=out)
            assert frame.array is out and (out == number).all() and out.flags.writeable
            assert (frame.number, frame.in_place, frame.captured_ns) == (number, False, number)
            assert frame.meta == {"n": number}
            assert bytes(frame) == out.tobytes() and (frame.copy() == out).all()
        for wrong in (np.zeros((60, 40, 3), np.uint8), np.zeros((41, 60, 3), np.uint8)):
            sender.publish(picture(9))
            with pytest.raises(shm_frame.InvalidError, match="40x60x3 uint8, out is"):
                receiver.receive(5, out=wrong)
        assert (out == 3).all()


def test_a_receiver_that_copies_leases_nothing(name):
    with shm_frame.Sender(name, slots=3) as sender:
        with shm_frame.Receiver(name, copy=True) as receiver:
            kept = []
            for number in range(1, 5):
                sender.publish(picture(number), meta=b"\xff")
                kept.append(receiver.receive(5))
            assert not any(frame.in_place for frame in kept)
            assert [int(frame.array[0, 0, 0]) for frame in kept] == [1, 2, 3, 4]
            assert kept[0].meta == b"\xff" and not kept[0].array.flags.writeable


def test_frames_are_buffers_of_every_kind(name):
    with shm_frame.Sender(name) as sender, shm_frame.Receiver(name) as receiver:
        sender.publish(np.arange(24, dtype=np.uint16).reshape(2, 4, 3))
        frame = receiver.receive(5)
        view = memoryview(frame)
        assert (view.readonly, view.format, view.itemsize, view.ndim) == (True, "H", 2, 3)
        assert (view.shape, view.strides, view.nbytes) == ((2, 4, 3), (24, 6, 2), 48)
        assert view[1, 0, 0] == 12 and view.c_contiguous
        assert bytes(frame) == np.arange(24, dtype=np.uint16).tobytes()
        with pytest.raises(TypeError, match="read-write"):
            struct.pack_into("B", frame, 0, 1)


def test_dlpack_and_array_give_the_same_memory(name):
    with shm_frame.Sender(name) as sender, shm_frame.Receiver(name) as receiver:
        sender.publish(picture(3))
        frame = receiver.receive(5)
        array = np.from_dlpack(frame)
        assert np.shares_memory(array, frame.array) and not array.flags.writeable
        assert frame.__dlpack_device__() == (1, 0)
        assert np.shares_memory(np.asarray(frame), frame.array)
        assert frame.__array__(np.float32).dtype == np.float32
        assert frame.__array__(copy=True).flags.owndata
        with pytest.raises(ValueError, match="copy=False"):
            frame.__array__(np.float32, copy=False)
        assert np.asarray(frame, dtype=np.float64).sum() == 3 * array.size


def test_frames_and_senders_are_not_pickled_and_say_what_to_do(name):
    with shm_frame.Sender(name) as sender, shm_frame.Receiver(name) as receiver:
        sender.publish(picture(3))
        with pytest.raises(TypeError, match=r"frame\.copy\(\)"):
            pickle.dumps(receiver.receive(5))
        with pytest.raises(TypeError, match="the process that sends"):
            pickle.dumps(sender)


def test_a_receiver_that_only_reads_has_frames_in_place_too(name):
    with shm_frame.Sender(name) as sender:
        receiver = shm_frame.Receiver(name, read_only=True)
        ways = []
        while "leased-read-only" not in ways:
            sender.publish(picture(len(ways) % 250))
            with receiver.receive(5) as frame:
                assert (frame.array == len(ways) % 250).all() and frame.is_intact()
                assert frame.in_place == (frame.via == "leased-read-only")
                ways.append(frame.via)
            time.sleep(0.01)
        assert set(ways) == {"copied", "leased-read-only"}, "copied until the sender knows of it"
        other = pickle.loads(pickle.dumps(receiver))
        assert other.__getnewargs_ex__() == receiver.__getnewargs_ex__()


def test_a_receiver_is_pickled_by_its_name_and_options(name):
    with shm_frame.Sender(name) as sender:
        sender.publish(picture(3))
        receiver = shm_frame.Receiver(name, wait_mode="predict", copy=True, follow=False)
        other = pickle.loads(pickle.dumps(receiver))
        frame = other.receive(5)
        assert (frame.array == 3).all() and not frame.in_place and other.name == name
        assert other.__getnewargs_ex__() == receiver.__getnewargs_ex__()


def test_numpy_is_needed_only_for_arrays(name, programs):
    code = """
import builtins, sys
sys.modules["numpy"] = None
import shm_frame
name = sys.argv[1]
with shm_frame.Sender(name) as sender, shm_frame.Receiver(name) as receiver:
    sender.publish(memoryview(bytes(range(24))).cast("B", (2, 4, 3)))
    frame = receiver.receive(5)
    assert bytes(memoryview(frame)) == bytes(range(24)), bytes(frame)
    with sender.loan(2, 4, 3) as view:
        assert isinstance(view, memoryview)
        view[0, 0, 0] = 77
    try:
        view[0, 0, 0] = 78
        raise SystemExit("written after the loan")
    except ValueError:
        pass
    assert memoryview(receiver.receive(5))[0, 0, 0] == 77
    try:
        frame.array
        raise SystemExit("an array without numpy")
    except ImportError:
        pass
    try:
        sender.publish([[1, 2]])
        raise SystemExit("a list is no buffer")
    except TypeError as error:
        assert "an image is an array" in str(error), error
"""
    done(programs.python(code, name))


def test_a_frame_is_released_by_its_reference_count_alone(name):
    with shm_frame.Sender(name, slots=3) as sender, shm_frame.Receiver(name) as receiver:
        gc.disable()
        try:
            for number in range(1, 20):
                sender.publish(picture(number))
                frame = receiver.receive(5)
                assert frame.in_place
                assert sys.getrefcount(frame) <= 2
                del frame
        finally:
            gc.enable()
