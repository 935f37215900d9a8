#!/usr/bin/env python3
"""A sender with a control page, written from docs/format.md alone.

Usage: sender.py NAME [WIDTH HEIGHT [FRAMES_PER_SECOND]] [--replace]

Every byte of a frame is the low byte of its number. Needs libatomic (Debian: libatomic1) for atomic
words and fences, which Python has not. The numbers in the comments are the steps of "To publish" in
format.md.

It maps the segment, so a truncation by another process kills it with SIGBUS: see "Hostile or broken
memory" there.
"""

import ctypes
import fcntl
import mmap
import os
import platform
import secrets
import signal
import stat
import struct
import sys
import time

PAGE = 4096
MAGIC, VERSION = b"shmframe", 1
OPEN, CLOSED, MOVED = 0, 1, 2
# Offsets in the control page.
SLOTS, STRIDE, CAPACITY, LATEST, WAKE, STATE, SLOT, LEASE = 24, 32, 40, 64, 72, 76, 128, 1152
# Bytes of the lock space.
LIFE, NAME, FIRST_LEASE = 0, 1, 2

# F_OFD_GETLK and F_OFD_SETLK of fcntl(2), and FUTEX_WAKE of futex(2).
GETLK, SETLK, FUTEX_WAKE = 36, 37, 1
FUTEX = {"x86_64": 202, "aarch64": 98}[platform.machine()]
libc = ctypes.CDLL(None, use_errno=True)

# Memory orders, as libatomic numbers them.
RELAXED, ACQUIRE, RELEASE, SEQ_CST = 0, 2, 3, 5
atomic = ctypes.CDLL("libatomic.so.1")
load_u32 = getattr(atomic, "__atomic_load_4")
load_u64 = getattr(atomic, "__atomic_load_8")
store_u32 = getattr(atomic, "__atomic_store_4")
store_u64 = getattr(atomic, "__atomic_store_8")
load_u32.argtypes = load_u64.argtypes = [ctypes.c_void_p, ctypes.c_int]
load_u32.restype, load_u64.restype = ctypes.c_uint32, ctypes.c_uint64
store_u32.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int]
store_u64.argtypes = [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_int]


def fence():
    atomic.atomic_thread_fence(SEQ_CST)


def flock(kind, byte):
    """struct flock: type, whence, start, length, pid."""
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, byte, 1, 0)


def lock(fd, byte, kind=fcntl.F_WRLCK):
    """Takes or gives back a lock of the open file description. False: somebody else has it."""
    try:
        fcntl.fcntl(fd, SETLK, flock(kind, byte))
        return True
    except (BlockingIOError, PermissionError):
        return False


def locked(fd, byte):
    """Whether somebody has the write lock on a byte."""
    answer = fcntl.fcntl(fd, GETLK, flock(fcntl.F_RDLCK, byte))
    return struct.unpack_from("h", answer)[0] != fcntl.F_UNLCK


def pixel_bytes(channels):
    """Bytes of a pixel by the header's word, or 0 for a value that is none."""
    count, element, order, top = struct.pack("<i", channels)
    known = 1 <= count <= 4 and element < 8 and order <= (count > 2) and top == 0
    return count * [1, 1, 2, 2, 4, 4, 8, 2][element] if known else 0


def aligned(length):
    """Where the sender's own bytes begin."""
    return (length + 7) // 8 * 8


def file_id(info):
    return info.st_dev, info.st_ino


def named(path):
    """Which file the name means, if any."""
    try:
        return file_id(os.lstat(path))
    except FileNotFoundError:
        return None


def remove(path):
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


class Segment:
    """A file in /dev/shm with everything in place but a name."""

    def __init__(self, slots, room, session):
        self.slots, self.capacity, self.session = slots, 24 + room, session
        self.stride = -(-self.capacity // PAGE) * PAGE
        self.length = slots * self.stride + PAGE
        self.fd = os.open("/dev/shm", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        os.fchmod(self.fd, 0o600)
        os.posix_fallocate(self.fd, 0, self.length)
        if not lock(self.fd, LIFE):
            raise OSError("a new file cannot be locked")
        self.memory = mmap.mmap(self.fd, self.length)
        self.start = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        self.page = self.start + slots * self.stride
        at = slots * self.stride
        struct.pack_into("<II", self.memory, at + 8, VERSION, os.getpid())
        struct.pack_into("<Q", self.memory, at + 16, session)
        struct.pack_into("<I", self.memory, at + SLOTS, slots)
        struct.pack_into("<QQ", self.memory, at + STRIDE, self.stride, self.capacity)
        store_u64(self.page, int.from_bytes(MAGIC, "little"), RELEASE)
        self.id = file_id(os.fstat(self.fd))

    def link(self, path):
        """Gives the file a name. False: the name is taken."""
        try:
            # With src_dir_fd, Python calls linkat(2), which follows the link in /proc.
            os.link(f"/proc/self/fd/{self.fd}", path, src_dir_fd=self.fd, follow_symlinks=True)
            return True
        except FileExistsError:
            return False

    def rename_over(self, path, last):
        """Takes the place of `last`, whose byte 1 the caller holds."""
        temporary = f"/dev/shm/.shm-frame-{last[1]}"
        remove(temporary)
        if not self.link(temporary):
            raise OSError(f"{temporary} is in the way")
        os.rename(temporary, path)

    def close(self):
        """Unmaps and closes it, which gives its locks back: a mapping keeps them, too."""
        self.memory.close()
        os.close(self.fd)

    def sound(self):
        """Whether the file and the constants of the control page are what they were made to be."""
        numbers = self.session, self.slots, self.stride, self.capacity
        constants = struct.pack("<8sIIQI4xQQ", MAGIC, VERSION, os.getpid(), *numbers)
        return (
            os.fstat(self.fd).st_size == self.length
            and os.pread(self.fd, 48, self.slots * self.stride) == constants
            and load_u32(self.page + STATE, RELAXED) == OPEN
        )


class Sender:
    def __init__(self, name, room, slots=4, replace=False):
        self.path = "/dev/shm/" + name.lstrip("/")
        self.number = 0
        self.segment = Segment(slots, room, secrets.randbits(63) + 1)
        self.take_name(replace)
        self.begin_segment()

    def begin_segment(self):
        """Nothing was published yet in this segment."""
        self.latest_slot, self.wake = None, 0
        self.sequences = [0] * self.segment.slots
        self.nameless, self.leased, self.look_at = False, set(), time.monotonic() + 0.1

    def take_name(self, replace):
        for _ in range(100):
            try:
                fd = os.open(self.path, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:
                if self.segment.link(self.path):
                    return
                continue  # somebody else was faster
            try:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    raise OSError(f"{self.path} is no regular file")
                if not wait_for(lambda: lock(fd, NAME), 2.0):
                    raise OSError(f"{self.path} is being changed by others")
                if named(self.path) != file_id(os.fstat(fd)):
                    continue
                if not replace:
                    self.refuse_if_alive(fd)
                self.segment.rename_over(self.path, file_id(os.fstat(fd)))
                return
            finally:
                os.close(fd)  # gives byte 1 back
        raise OSError(f"{self.path} is being changed by others")

    def refuse_if_alive(self, fd):
        length = os.fstat(fd).st_size
        page = os.pread(fd, 16, max(length - PAGE, 0))
        native = length % PAGE == 0 and page[:8] == MAGIC
        if locked(fd, LIFE):
            pid = struct.unpack_from("<I", page, 12)[0] if native else "not known"
            raise OSError(f"{self.path} has a live sender, pid {pid}")
        if native:
            return
        header = os.pread(fd, 24, 0)
        width, height, channels = struct.unpack_from("<iii", header.ljust(24, b"\xff"))
        size = width * height * pixel_bytes(channels)
        plain = min(width, height, size) > 0 and 24 + size <= length
        if not plain and header != bytes(24):
            raise OSError(f"{self.path} is no segment")
        # A sender without a control page holds no lock: its header moves.
        if wait_for(lambda: os.pread(fd, 24, 0) != header, 0.2):
            raise OSError(f"{self.path} is being rewritten")

    def begin(self):
        """Steps 1 and 3 to 6: a slot that nobody reads."""
        s = self.segment
        sequence = lambda slot: s.page + SLOT + 64 * slot
        usable = [i for i in range(s.slots) if i != self.latest_slot or s.slots == 1]
        slot, odd = usable[0], 2 * (self.number + 1) - 1  # 1
        store_u64(sequence(slot), odd, RELEASE)  # 3
        fence()  # 4
        if slot in self.scan():  # 5
            for other in usable:  # 6
                store_u64(sequence(other), odd, RELEASE)
            fence()
            leased = self.scan()
            slot = next(slot for slot in usable if slot not in leased)
            for other in usable:
                if other != slot:
                    store_u64(sequence(other), self.sequences[other], RELEASE)
        self.sequences[slot] = odd
        return slot

    def scan(self):
        """The slots that are in the lease table. Each entry is read once."""
        return {load_u32(word, ACQUIRE) - 1 for word in self.lease_words()}

    def lease_words(self):
        return [self.segment.page + LEASE + 64 * j for j in range(max(self.segment.slots - 2, 0))]

    def publish(self, pixels, width, height, channels, captured_ns=0, meta=b""):
        if time.monotonic() >= self.look_at:
            self.look()
        room = aligned(24 + len(pixels)) + len(meta) if meta else 24 + len(pixels)
        if room > self.segment.capacity:
            self.move(room - 24)
        s = self.segment
        begin_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)  # 2
        slot = self.begin()  # 1, 3 to 6
        at, words = slot * s.stride, s.page + SLOT + 64 * slot
        store_u32(s.start + at + 20, 0, RELAXED)  # 7
        fence()
        sent_ms = time.time_ns() // 1_000_000
        struct.pack_into("<iiiq", s.memory, at, width, height, channels, sent_ms)
        store_u64(words + 8, begin_ns, RELAXED)
        store_u64(words + 24, captured_ns, RELAXED)
        store_u32(words + 32, len(meta), RELAXED)
        s.memory[at + 24 : at + 24 + len(pixels)] = pixels
        own = at + aligned(24 + len(pixels))
        s.memory[own : own + len(meta)] = meta
        # 8: memcpy(3) orders its own non-temporal stores.
        store_u64(words + 16, time.clock_gettime_ns(time.CLOCK_MONOTONIC), RELAXED)
        fence()  # 9
        store_u32(s.start + at + 20, 1, RELAXED)
        self.number += 1
        self.sequences[slot], self.latest_slot = 2 * self.number, slot
        store_u64(words, 2 * self.number, RELEASE)  # 10
        store_u64(s.page + LATEST, self.number << 8 | slot, RELEASE)  # 11
        self.wake_all()  # 12

    def wake_all(self):
        s = self.segment
        self.wake = (self.wake + 1) & 0xFFFFFFFF
        store_u32(s.page + WAKE, self.wake, RELEASE)
        word = ctypes.c_void_p(s.page + WAKE)
        libc.syscall(FUTEX, word, FUTEX_WAKE, 0x7FFFFFFF, None, None, 0)

    def end(self, state):
        store_u32(self.segment.page + STATE, state, RELEASE)
        self.wake_all()

    def look(self):
        """Every 0.1 s: is the segment intact, has it the name, did the dead leave a lease?"""
        self.look_at = time.monotonic() + 0.1
        s = self.segment
        now = named(self.path)
        if now is not None and now != s.id:
            raise OSError(f"{self.path} was taken over by another sender")
        # A plain sender may be between its unlink and its create: look twice.
        missing, self.nameless = now is None and self.nameless, now is None
        if missing or not s.sound():
            return self.move(s.capacity - 24)
        words = self.lease_words()
        leased = {entry for entry, word in enumerate(words) if load_u32(word, RELAXED)}
        for entry in leased & self.leased:
            if lock(s.fd, FIRST_LEASE + entry):
                store_u32(words[entry], 0, RELEASE)
                lock(s.fd, FIRST_LEASE + entry, fcntl.F_UNLCK)
        self.leased = leased

    def move(self, room):
        """Goes on in a new segment of the same name: the name first, then the state."""
        last = self.segment
        following = Segment(last.slots, room, last.session)
        if not wait_for(lambda: lock(last.fd, NAME), 0.1):
            raise OSError(f"{self.path} is being changed by others")
        now = named(self.path)
        if now == last.id:
            following.rename_over(self.path, last.id)
        elif now is not None or not following.link(self.path):
            raise OSError(f"{self.path} was taken over by another sender")
        self.end(MOVED)
        self.segment = following
        self.begin_segment()
        last.close()

    def close(self):
        """The state first, then the name."""
        self.end(CLOSED)
        s = self.segment
        if wait_for(lambda: lock(s.fd, NAME), 0.1):
            remove(f"/dev/shm/.shm-frame-{s.id[1]}")
            if named(self.path) == s.id:
                os.unlink(self.path)
        s.close()


def wait_for(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.001)
    return True


def main():
    replace = "--replace" in sys.argv
    name, *numbers = [argument for argument in sys.argv[1:] if argument != "--replace"]
    width, height, fps = [float(number) for number in numbers] + [320, 200, 0][len(numbers) :]
    width, height = int(width), int(height)
    stop = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.append(True))
    sender = Sender(name, width * height * 3, replace=replace)
    pictures = [bytes([byte]) * (width * height * 3) for byte in range(256)]
    due = time.monotonic()
    while not stop:
        sender.publish(pictures[(sender.number + 1) & 255], width, height, 3)
        if fps > 0:
            due += 1 / fps
            time.sleep(max(due - time.monotonic(), 0))
    sender.close()


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        sys.exit(f"sender.py: {error}")
