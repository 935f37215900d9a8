"""Publishing and loans."""

import gc
import threading

import numpy as np
import pytest

import shm_frame
from conftest import SHAPE, picture

DTYPES = ("uint8", "int8", "uint16", "int16", "int32", "float32", "float64", "float16")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_dtype_and_number_of_channels_goes_over(name, dtype, channels):
    shape = (5, 7) if channels == 1 else (5, 7, channels)
    image = np.random.default_rng(1).integers(0, 100, shape).astype(dtype)
    with shm_frame.Sender(name) as sender, shm_frame.Receiver(name) as receiver:
        sender.publish(image)
        frame = receiver.receive(5)
        assert frame.dtype == dtype and frame.array.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(frame.array, image)
        with sender.loan(5, 7, channels, image.dtype) as lent:
            assert lent.dtype == image.dtype and lent.shape == shape
            lent[:] = image
        frame = receiver.receive(5)
        np.testing.assert_array_equal(frame.array, image)
        np.testing.assert_array_equal(frame.copy(), image)


@pytest.mark.parametrize("dtype", ["uint16", np.uint16, np.dtype("uint16"), np.dtype("<u2")])
def test_a_loan_takes_a_dtype_in_every_form(name, dtype):
    with shm_frame.Sender(name) as sender:
        with sender.loan(4, 4, dtype=dtype) as image:
            assert image.dtype == np.uint16 and image.shape == (4, 4)


VIEWS = {
    "whole": lambda a: a,
    "part": lambda a: a[5:25, 7:47],
    "rows": lambda a: a[::2],
    "upside down": lambda a: a[::-1],
    "mirrored": lambda a: a[:, ::-1],
    "columns": lambda a: a[:, ::3],
    "channels swapped": lambda a: a[:, :, ::-1],
    "one channel": lambda a: a[:, :, 1],
    "two channels": lambda a: a[..., ::2],
    "turned": lambda a: a.transpose(1, 0, 2),
    "Fortran": np.asfortranarray,
    "one row again and again": lambda a: np.broadcast_to(a[:1], a.shape),
    "one pixel": lambda a: a[:1, :1],
}


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_any_view_of_an_array_is_published_as_it_looks(name, view, dtype):
    image = view(np.random.default_rng(1).integers(0, 255, (40, 60, 3)).astype(dtype))
    with shm_frame.Sender(name) as sender, shm_frame.Receiver(name) as receiver:
        sender.publish(image, meta=b"m")
        frame = receiver.receive(5)
        np.testing.assert_array_equal(frame.array, image)
        assert frame.meta == b"m"


def test_objects_with_an_array_are_images_too(name):
    class Tensor:
        def __array__(self, dtype=None, copy=None):
            return picture(4)

    with shm_frame.Sender(name) as sender, shm_frame.Receiver(name) as receiver:
        sender.publish(Tensor())
        frame = receiver.receive(5)
        assert (frame.array == 4).all()
        # A frame of one segment is an image for another.
        sender.publish(frame)
        assert (receiver.receive(5).array == 4).all()


def test_the_order_of_the_colours_goes_over(name):
    with shm_frame.Sender(name) as sender, shm_frame.Receiver(name) as receiver:
        sender.publish(picture(1), order="rgb")
        assert receiver.receive(5).order == "rgb"
        with sender.loan(4, 4, 4, order="rgb"):
            pass
        assert receiver.receive(5).order == "rgb"
        sender.publish(picture(1))
        assert receiver.receive(5).order == "bgr"
        with pytest.raises(shm_frame.InvalidError, match='"bgr" or "rgb"'):
            sender.publish(picture(1), order="brg")


@pytest.mark.parametrize(
    ("meta", "got"),
    [
        (None, None),
        ({}, {}),
        ({"exposure": 0.01, "boxes": [[1, 2, 3, 4]]}, {"exposure": 0.01, "boxes": [[1, 2, 3, 4]]}),
        ({"ort": "Zürich"}, {"ort": "Zürich"}),
        (b"\x00\xff", b"\x00\xff"),
        (b'{"a": 1}', {"a": 1}),
        (b"{not json", b"{not json"),
        (b"[1]", b"[1]"),
        (bytearray(b"abc"), b"abc"),
        (memoryview(b"abc"), b"abc"),
    ],
)
def test_meta_is_a_dict_or_bytes(name, meta, got):
    with shm_frame.Sender(name) as sender, shm_frame.Receiver(name) as receiver:
        sender.publish(picture(1), meta=meta, captured_ns=1_764_000_000_000_000_000)
        frame = receiver.receive(5)
        assert frame.meta == got and frame.captured_ns == 1_764_000_000_000_000_000
        frame.release()
        assert frame.meta == got
        sender.publish(picture(1))
        assert (receiver.receive(5).meta, receiver.name) == (None, name)


def test_more_meta_than_there_was_room_for_makes_room(name):
    big = {"points": list(range(20_000))}
    with shm_frame.Sender(name, capacity=1000) as sender, shm_frame.Receiver(name) as receiver:
        sender.publish(picture(1, (10, 10)), meta=big)
        assert receiver.receive(5).meta == big
        with sender.loan(10, 10, meta=big) as image:
            image[:] = 2
        assert receiver.receive(5).meta == big


def test_meta_that_json_does_not_know_is_refused(name):
    with shm_frame.Sender(name) as sender:
        for meta, error in (
            ([1, 2], TypeError),
            ("text", TypeError),
            ({"x": object()}, TypeError),
            ({"x": float("nan")}, ValueError),
        ):
            with pytest.raises(error):
                sender.publish(picture(1), meta=meta)
        with pytest.raises(OverflowError):
            sender.publish(picture(1), captured_ns=-1)
        assert sender.publish(picture(1)) == 1


def test_a_loan_can_say_more_once_the_picture_is_taken(name):
    with shm_frame.Sender(name) as sender, shm_frame.Receiver(name) as receiver:
        loan = sender.loan(40, 60, 3, captured_ns=1, meta={"a": 1}, meta_room=100)
        assert loan.number is None
        with loan as image:
            image[:] = 9
            loan.set_captured_ns(5)
            loan.set_meta({"exposure": 0.02})
        assert loan.number == 1
        frame = receiver.receive(5)
        assert (frame.captured_ns, frame.meta) == (5, {"exposure": 0.02})
        with pytest.raises(shm_frame.ClosedError, match="is over"):
            loan.set_meta({})
        with pytest.raises(shm_frame.ClosedError, match="had its block"):
            with loan:
                pass
        with pytest.raises(shm_frame.ClosedError, match="has not begun"):
            memoryview(sender.loan(4, 4))
    with shm_frame.Sender(name, capacity=48) as sender:
        with pytest.raises(shm_frame.InvalidError, match="meta_room"):
            loan = sender.loan(4, 4, 3)
            with loan:
                loan.set_meta(bytes(10_000))


def test_a_loan_is_published_at_its_end_and_read_only_from_then_on(name):
    with shm_frame.Sender(name) as sender, shm_frame.Receiver(name) as receiver:
        with sender.loan(*SHAPE) as image:
            image[:] = 9
            with pytest.raises(TimeoutError):
                receiver.receive(0)
        with pytest.raises(ValueError, match="read-only"):
            image[0, 0] = 1
        frame = receiver.receive(5)
        assert (frame.array == 9).all() and frame.in_place


def test_a_loan_is_given_up_on_an_exception(name):
    with shm_frame.Sender(name) as sender, shm_frame.Receiver(name) as receiver:
        sender.publish(picture(1))
        assert receiver.receive(5).number == 1
        for _ in range(5):
            with pytest.raises(ZeroDivisionError), sender.loan(*SHAPE) as image:
                image[:] = 2
                1 / 0
            with pytest.raises(ValueError, match="read-only"):
                image[0, 0] = 1
        with pytest.raises(TimeoutError):
            receiver.receive(0.05)
        sender.publish(picture(3))
        frame = receiver.receive(5)
        assert (frame.number, frame.skipped) == (2, 0) and (frame.array == 3).all()


def test_a_sender_has_one_loan_at_a_time(name):
    with shm_frame.Sender(name) as sender:
        with sender.loan(*SHAPE):
            for use in (
                lambda: sender.publish(picture(1)),
                sender.tend,
                sender.loan(4, 4).__enter__,
            ):
                with pytest.raises(RuntimeError, match="loan open"):
                    use()
        assert sender.publish(picture(1)) == 2


def test_a_sender_closed_within_a_loan_ends_with_it(name):
    sender = shm_frame.Sender(name)
    with shm_frame.Receiver(name, follow=False) as receiver:
        with sender.loan(*SHAPE) as image:
            image[:] = 6
            sender.close()
            assert sender.closed
        assert (receiver.receive(5).array == 6).all()
        with pytest.raises(EOFError):
            receiver.receive(5)


def test_a_loan_that_nobody_finished_gives_its_sender_back(name):
    def block(sender):
        with sender.loan(*SHAPE) as image:
            yield image

    with shm_frame.Sender(name) as sender:
        generator = block(sender)
        next(generator)
        del generator
        gc.collect()
        loan = sender.loan(*SHAPE)
        loan.__enter__()[:] = 1
        del loan
        gc.collect()
        assert sender.publish(picture(1)) == 1


def test_an_array_outlives_its_loan_and_its_segment(name):
    with shm_frame.Sender(name, capacity=7200) as sender:
        with sender.loan(*SHAPE) as image:
            image[:] = 4
            part = image[2:]
        # A larger frame takes another segment.
        sender.publish(picture(1, (400, 600, 3)))
        part[0, 0, 0] = 5
        assert image[5].sum() == 4 * 180
    del sender
    gc.collect()
    assert image[5].sum() == 4 * 180 and part[0, 0, 0] == 5


def test_images_that_are_none_are_refused_by_name(name):
    with shm_frame.Sender(name) as sender:
        for wrong, error, why in (
            (np.zeros((4, 4), np.int64), TypeError, "not int64"),
            (np.zeros((4, 4), np.uint32), TypeError, "not uint32"),
            (np.zeros((4, 4), bool), TypeError, r"not bool: use array\.view"),
            (np.zeros((4, 4), ">f4"), TypeError, "newbyteorder"),
            (np.zeros((4, 4), complex), TypeError, "not complex128"),
            (np.zeros(4, np.uint8), ValueError, "2 or 3 dimensions, .* not 1"),
            (np.zeros((1, 4, 4, 3), np.uint8), ValueError, "not 4"),
            (np.zeros((3, 4, 5), np.uint8), ValueError, "1 to 4 channels, not 5"),
            (np.zeros((0, 4), np.uint8), ValueError, "4x0x1 is no image"),
            (None, TypeError, "an image|object"),
            ("text", TypeError, "str|<U"),
        ):
            with pytest.raises(error, match=why):
                sender.publish(wrong)
        with pytest.raises(TypeError, match="uint8, int8, .*float16, not .*uint32"):
            sender.loan(4, 4, dtype=np.uint32)
        with pytest.raises(ValueError, match="channels"):
            sender.loan(4, 4, 5)
        assert sender.publish(picture(1)) == 1


def test_a_larger_frame_takes_a_larger_segment_and_receivers_follow(name):
    with shm_frame.Sender(name, capacity=100) as sender, shm_frame.Receiver(name) as receiver:
        for number, side in enumerate((5, 50, 500), 1):
            sender.publish(picture(number, (side, side, 3)))
            frame = receiver.receive(5)
            assert frame.number == number and frame.shape == (side, side, 3)
            assert (frame.array == number).all()


def test_threads_share_a_sender(name):
    with shm_frame.Sender(name) as sender:
        numbers = []

        def send():
            for _ in range(50):
                numbers.append(sender.publish(picture(1, (400, 600, 3))))

        threads = [threading.Thread(target=send) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(numbers) == list(range(1, 151))
