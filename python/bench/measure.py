"""Measures the package beside what people use, in one run.

python bench/measure.py [--seconds S] [--rounds N]

Needs numpy, and iceoryx2 for its row. In one process: the cost of publishing and receiving by
themselves. In two processes: from before a frame is published until a numpy array of it is in the
other process's hand. In each round all contenders take their turn, so that a busy machine is busy
for all of them; a ratio is the median of the ratios of the rounds. Each end has a processor of its
own and real-time priority, if that is allowed.
"""

import argparse
import mmap
import multiprocessing
import multiprocessing.synchronize
import os
import pathlib
import queue
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import numpy as np

import shm_frame

CELLS = {"640x404 60/s": (404, 640, 60), "1920x1080 30/s": (1080, 1920, 30)}
PAIRS = multiprocessing.get_context("spawn")

Publish = Callable[[np.ndarray], object]
Arrays = Iterator[np.ndarray | None]


class Contender:
    """One way to hand images over. `receive` yields None now and then when there is no image."""

    def __init__(self, run: str, shape: tuple[int, ...]) -> None:
        self.run, self.shape = run, shape
        self.bytes = int(np.prod(shape))

    def send(self) -> Publish:
        raise NotImplementedError

    def receive(self) -> Arrays:
        raise NotImplementedError

    def end(self) -> None:
        """What is left to remove when both ends are done."""


class Ours(Contender):
    options: dict[str, Any] = {}

    def send(self) -> Publish:
        return shm_frame.Sender("/" + self.run, capacity=self.bytes).publish

    def receive(self) -> Arrays:
        receiver = shm_frame.Receiver("/" + self.run, **self.options)
        while True:
            try:
                with receiver.receive(0.2) as frame:
                    yield frame.array
            except TimeoutError:
                yield None


class OursPredict(Ours):
    options = {"wait_mode": "predict"}


class OursCopy(Ours):
    options = {"copy": True}


class Iceoryx(Contender):
    """Publish-subscribe and an event, in place."""

    def services(self) -> tuple[Any, Any, Any]:
        import ctypes

        import iceoryx2

        iceoryx2.set_log_level(iceoryx2.LogLevel.Error)
        node = iceoryx2.NodeBuilder.new().create(iceoryx2.ServiceType.Ipc)
        name = iceoryx2.ServiceName.new(self.run)
        images = node.service_builder(name).publish_subscribe(iceoryx2.Slice[ctypes.c_uint8])
        return node, images.open_or_create(), node.service_builder(name).event().open_or_create()

    def send(self) -> Publish:
        import ctypes

        kept = self.services()
        publisher = kept[1].publisher_builder().initial_max_slice_len(self.bytes).create()
        notifier = kept[2].notifier_builder().create()

        def publish(image: np.ndarray) -> None:
            sample = publisher.loan_slice_uninit(self.bytes)
            ctypes.memmove(sample.payload_ptr, image.ctypes.data, self.bytes)
            sample.assume_init().send()
            notifier.notify()
            assert kept

        return publish

    def receive(self) -> Arrays:
        import iceoryx2

        kept = self.services()
        subscriber = kept[1].subscriber_builder().create()
        listener = kept[2].listener_builder().create()
        wait = iceoryx2.Duration.from_millis(200)
        while True:
            newest = None
            while (sample := subscriber.receive()) is not None:
                newest = sample
            if newest is None:
                listener.timed_wait(wait)
                yield None
                continue
            yield np.frombuffer(newest.payload().as_memory_view(), np.uint8).reshape(self.shape)
            newest.delete()


class Semaphore(Contender):
    """SharedMemory, a semaphore that counts frames, and a copy. It can tear."""

    def __init__(self, run: str, shape: tuple[int, ...]) -> None:
        super().__init__(run, shape)
        self.memory = SharedMemory(run, create=True, size=self.bytes)
        self.full = PAIRS.Semaphore(0)

    def view(self) -> np.ndarray:
        return np.ndarray(self.shape, np.uint8, self.memory.buf)

    def send(self) -> Publish:
        shared = self.view()

        def publish(image: np.ndarray) -> None:
            np.copyto(shared, image)
            self.full.release()

        return publish

    def receive(self) -> Arrays:
        shared = self.view()
        while True:
            if not self.full.acquire(timeout=0.2):
                yield None
                continue
            while self.full.acquire(block=False):
                pass
            yield shared.copy()

    def end(self) -> None:
        self.memory.close()
        self.memory.unlink()


class MmapByHand(Contender):
    """A header and pixels in a file, looked at each millisecond, and a copy. It can tear."""

    def path(self) -> str:
        return "/dev/shm/" + self.run

    def map(self, access: int) -> tuple[np.ndarray, np.ndarray]:
        with open(self.path(), "r+b") as file:
            memory = mmap.mmap(file.fileno(), 24 + self.bytes, access=access)
        return np.frombuffer(memory, "<i4", 6), np.frombuffer(
            memory, np.uint8, self.bytes, 24
        ).reshape(self.shape)

    def send(self) -> Publish:
        with open(self.path() + ".new", "wb") as file:
            file.truncate(24 + self.bytes)
        os.rename(self.path() + ".new", self.path())
        header, pixels = self.map(mmap.ACCESS_WRITE)

        def publish(image: np.ndarray) -> None:
            header[5] = 0
            header[3] = (header[3] + 1) & 0x7FFFFFFF
            np.copyto(pixels, image)
            header[5] = 1

        return publish

    def receive(self) -> Arrays:
        while not os.path.exists(self.path()):
            yield None
        header, pixels = self.map(mmap.ACCESS_READ)
        last = 0
        while True:
            stamp = int(header[3])
            if stamp == last or header[5] == 0:
                time.sleep(0.001)
                yield None
                continue
            last = stamp
            yield pixels.copy()

    def end(self) -> None:
        pathlib.Path(self.path()).unlink(missing_ok=True)


class Queue(Contender):
    """multiprocessing.Queue: each image is pickled into a pipe."""

    def __init__(self, run: str, shape: tuple[int, ...]) -> None:
        super().__init__(run, shape)
        self.queue: Any = PAIRS.Queue(1)

    def send(self) -> Publish:
        def publish(image: np.ndarray) -> None:
            try:
                # A thread pickles it later: the image is the sender's own again after this.
                self.queue.put_nowait(image.copy())
            except queue.Full:
                pass

        return publish

    def receive(self) -> Arrays:
        while True:
            try:
                yield self.queue.get(timeout=0.2)
            except queue.Empty:
                yield None


CONTENDERS: dict[str, type[Contender]] = {
    "ours, in place, asleep": Ours,
    "ours, in place, predictive": OursPredict,
    "ours, copied": OursCopy,
    "iceoryx2, event, in place": Iceoryx,
    "SharedMemory, semaphore, copied": Semaphore,
    "mmap by hand, 1 ms poll, copied": MmapByHand,
    "multiprocessing.Queue": Queue,
}
LARGE = set(CONTENDERS) - {"multiprocessing.Queue"}


def settle(processor: int) -> str:
    """A processor of its own, and real-time priority if that is allowed."""
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[processor % os.cpu_count()]})
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(10))
        return "real-time priority"
    except PermissionError:
        return "usual priority"


def send(contender: Contender, hz: int, seconds: float, ready: Any, done: Any) -> None:
    settle(0)
    image = np.random.default_rng(1).integers(0, 256, contender.shape, np.uint8)
    words = image.reshape(-1)[: image.size // 8 * 8].view(np.uint64)
    publish = contender.send()
    ready.wait(30)
    due = time.monotonic_ns() + 50_000_000
    end = due + int(seconds * 1e9)
    while due < end:
        time.sleep(max(0, due - time.monotonic_ns()) / 1e9)
        words[0] = words[-1] = time.monotonic_ns()
        publish(image)
        due += 1_000_000_000 // hz
    done.wait(30)


def receive(contender: Contender, seconds: float, ready: Any, done: Any, result: Any) -> None:
    settle(1)
    delays, torn, begun = [], 0, None
    for array in contender.receive():
        now = time.monotonic_ns()
        if begun is None:
            # The sender begins when the first look is over.
            ready.set()
            begun = now
        if array is not None:
            words = array.reshape(-1)[: array.size // 8 * 8].view(np.uint64)
            first, last = int(words[0]), int(words[-1])
            if first == last:
                delays.append((now - first) / 1e3)
            else:
                torn += 1
            del array, words
        if now - begun > (seconds + 0.2) * 1e9:
            break
    done.set()
    # The first ones warm memory and caches.
    result.send((delays[len(delays) // 10 :], torn))


def hand_over(
    kind: type[Contender], run: str, cell: tuple[int, int, int], seconds: float
) -> tuple[list[float], int]:
    height, width, hz = cell
    contender = kind(run, (height, width, 3))
    ready, done = PAIRS.Event(), PAIRS.Event()
    result, answer = PAIRS.Pipe(False)
    ends = [
        PAIRS.Process(target=send, args=(contender, hz, seconds, ready, done)),
        PAIRS.Process(target=receive, args=(contender, seconds, ready, done, answer)),
    ]
    try:
        for end in ends:
            end.start()
        if not result.poll(seconds + 60):
            raise SystemExit(f"{kind.__name__}: nothing in time")
        delays, torn = result.recv()
        for end in ends:
            end.join(30)
        return delays, torn
    finally:
        for end in ends:
            end.kill()
        contender.end()


def in_turn(count: int, *calls: Callable[[], object]) -> list[list[float]]:
    """Times of each call in us, called one after the other, again and again."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(count):
        for call, taken in zip(calls, times, strict=True):
            begin = time.perf_counter_ns()
            call()
            taken.append((time.perf_counter_ns() - begin) / 1e3)
    return times


def alone(run: str) -> bool:
    """What calls cost in one process, without waiting."""
    print("\none process, us, median of calls in turn")
    print(
        f"{'':14}{'publish':>9}{'copyto':>9}{'ratio':>7}{'slice':>9}{'copyto':>9}{'ratio':>7}"
        f"{'receive':>9}{'+array, release':>17}"
    )
    met = True
    for height, width in ((404, 640), (1080, 1920), (2160, 3840)):
        image = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
        part = np.zeros((height + 10, width + 10, 3), np.uint8)[5:-5, 5:-5]
        # As many as the sender has slots in turn: memory that is as warm.
        targets = [np.empty_like(image) for _ in range(2)]
        turn = iter(range(1 << 60))
        with (
            shm_frame.Sender(run, capacity=image.nbytes) as sender,
            shm_frame.Receiver(run) as receiver,
        ):

            def copy(source: np.ndarray, targets: list[np.ndarray] = targets) -> None:
                np.copyto(targets[next(turn) % 2], source)

            count = 3_000_000_000 // image.nbytes // 4
            taken = in_turn(
                min(count, 1500),
                lambda: sender.publish(image),
                lambda: copy(image),
                lambda: sender.publish(part),
                lambda: copy(part),
            )
            publish, copyto, part_publish, part_copyto = map(statistics.median, taken)
            received, whole = [], []
            for _ in range(1500):
                # A large publication would leave other things in the cache than a receiver has there.
                sender.publish(image if height == 404 else image[:1, :1])
                begin = time.perf_counter_ns()
                frame = receiver.receive(1)
                between = time.perf_counter_ns()
                array = frame.array
                del array
                frame.release()
                whole.append((time.perf_counter_ns() - begin) / 1e3)
                received.append((between - begin) / 1e3)
        taking = statistics.median(whole)
        ratio, part_ratio = publish / copyto, part_publish / part_copyto
        print(
            f"{f'{width}x{height}':14}{publish:9.1f}{copyto:9.1f}{ratio:7.2f}{part_publish:9.1f}{part_copyto:9.1f}{part_ratio:7.2f}"
            f"{statistics.median(received):9.2f}{taking:17.2f}"
        )
        met &= verdict(f"publish at {width}x{height} takes at most 1.15 of np.copyto", ratio, 1.15)
        if height == 404:
            met &= verdict("receive, array and release at 640x404 take at most 2 us", taking, 2)
    return met


def verdict(what: str, value: float, limit: float) -> bool:
    print(f"  {'met' if value <= limit else 'NOT MET'}: {what}: {value:.2f}")
    return value <= limit


def quantile(values: list[float], part: float) -> float:
    return sorted(values)[min(int(len(values) * part), len(values) - 1)] if values else float("nan")


def main() -> int:
    parser = argparse.ArgumentParser(description="Measures the package beside what people use.")
    parser.add_argument("--seconds", type=float, default=3, help="of each contender in each round")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    run = f"shm-frame-py-bench-{os.getpid()}"
    contenders = dict(CONTENDERS)
    try:
        import iceoryx2  # noqa: F401
    except ImportError:
        print("iceoryx2 is not installed: no row for it")
        del contenders["iceoryx2, event, in place"]
    processor = next(
        (
            line.split(":")[1].strip()
            for line in open("/proc/cpuinfo")
            if line.startswith("model name")
        ),
        "unknown",
    )
    print(
        f"{processor}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}; Python {sys.version.split()[0]}, numpy {np.__version__}"
    )
    before = os.sched_getaffinity(0)
    print(f"{settle(0)}; {args.rounds} rounds of {args.seconds} s")
    met = alone("/" + run)
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    os.sched_setaffinity(0, before)
    print(
        "\ntwo processes, from before a publication until the array is in the other's hand, us; ratios to iceoryx2 and the semaphore"
    )
    for title, cell in CELLS.items():
        medians: dict[str, list[float]] = {}
        delays: dict[str, list[float]] = {}
        torn: dict[str, int] = {}
        for _ in range(args.rounds):
            for name, kind in contenders.items():
                if cell[0] > 404 and name not in LARGE:
                    continue
                got, broken = hand_over(kind, run, cell, args.seconds)
                medians.setdefault(name, []).append(quantile(got, 0.5))
                delays.setdefault(name, []).extend(got)
                torn[name] = torn.get(name, 0) + broken
        print(f"\n{title:34}{'p50':>8}{'p99':>8}{'frames':>8}{'torn':>6}")
        for name, values in delays.items():
            print(
                f"{name:34}{quantile(values, 0.5):8.0f}{quantile(values, 0.99):8.0f}{len(values):8}{torn[name]:6}"
            )

        def ratio(ours: str, other: str) -> float:
            return statistics.median(
                a / b for a, b in zip(medians[ours], medians[other], strict=True)
            )

        for ours in ("ours, in place, asleep", "ours, in place, predictive"):
            if "iceoryx2, event, in place" in medians:
                met &= verdict(
                    f"{ours} takes at most 0.9 of iceoryx2's",
                    ratio(ours, "iceoryx2, event, in place"),
                    0.9,
                )
            met &= verdict(
                f"{ours} takes less than the semaphore",
                ratio(ours, "SharedMemory, semaphore, copied"),
                1,
            )
        # A receiver that copies is compared with one that does.
        met &= verdict(
            "ours, copied, takes less than the semaphore",
            ratio("ours, copied", "SharedMemory, semaphore, copied"),
            1,
        )
    print("\nall met" if met else "\nnot all met")
    return 0


if __name__ == "__main__":
    sys.exit(main())
