#!/usr/bin/env python3
"""A receiver that reads frames in place, under a lease, written from docs/format.md alone.

Usage: lease.py NAME [SECONDS]

Receives for so many seconds, then prints how many frames it took, how many of them had more than
one byte value (torn, if sender.py sends), and how many went backwards. Needs permission to write
the segment, numpy, and libatomic (Debian: libatomic1) for atomic words and fences, which Python has
not.

It maps the segment, so a truncation by another process kills it with SIGBUS: see "Hostile or broken
memory" in format.md. The README's `frames` reads with pread(2) alone and cannot die of it.
"""

import ctypes
import fcntl
import mmap
import os
import platform
import struct
import sys
import time

import numpy as np

PAGE = 4096
LATEST, WAKE, STATE, ASKED, SLOT, LEASE = 64, 72, 76, 80, 128, 1152
LIFE, FIRST_LEASE, SLEEPERS = 0, 2, 16
# By their codes in the header.
ELEMENTS = [np.dtype(kind) for kind in ("u1", "i1", "<u2", "<i2", "<i4", "<f4", "<f8", "<f2")]
GETLK, SETLK, FUTEX_WAIT = 36, 37, 0
FUTEX = {"x86_64": 202, "aarch64": 98}[platform.machine()]
libc = ctypes.CDLL(None, use_errno=True)

RELAXED, ACQUIRE, RELEASE, SEQ_CST = 0, 2, 3, 5
atomic = ctypes.CDLL("libatomic.so.1")
load_u32 = getattr(atomic, "__atomic_load_4")
load_u64 = getattr(atomic, "__atomic_load_8")
store_u32 = getattr(atomic, "__atomic_store_4")
add_u32 = getattr(atomic, "__atomic_fetch_add_4")
load_u32.argtypes = load_u64.argtypes = [ctypes.c_void_p, ctypes.c_int]
load_u32.restype, load_u64.restype = ctypes.c_uint32, ctypes.c_uint64
store_u32.argtypes = add_u32.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int]


class Timespec(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


def flock(kind, byte):
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, byte, 1, 0)


def lock(fd, byte, kind=fcntl.F_WRLCK):
    try:
        fcntl.fcntl(fd, SETLK, flock(kind, byte))
        return True
    except (BlockingIOError, PermissionError):
        return False


def locked(fd, byte):
    answer = fcntl.fcntl(fd, GETLK, flock(fcntl.F_RDLCK, byte))
    return struct.unpack_from("h", answer)[0] != fcntl.F_UNLCK


class Attached:
    """A segment, mapped, and a lease entry of its table."""

    def __init__(self, path):
        self.path = path
        self.fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            self.length = os.fstat(self.fd).st_size
            at = max(self.length - PAGE, 0)
            words = os.pread(self.fd, 48, at)
            magic, version, _, *numbers = struct.unpack("<8sIIQI4xQQ", words)
            session, slots, stride, capacity = numbers
            self.session, self.slots, self.stride, self.capacity = numbers
            if (magic, version) != (b"shmframe", 1) or not session:
                raise ValueError(f"{path} has no control page of version 1")
            fits = stride % PAGE == 0 and slots * stride + PAGE == self.length
            if not fits or not 24 <= capacity <= stride:
                raise ValueError(f"{path} claims {slots} slots of {stride} bytes in {self.length}")
            if not 3 <= slots <= 16:
                raise ValueError(f"{path} has {slots} slots, of which none can be leased")
            self.pixels = mmap.mmap(self.fd, at, prot=mmap.PROT_READ)
            self.control = mmap.mmap(self.fd, PAGE, offset=at)
            self.page = ctypes.addressof(ctypes.c_char.from_buffer(self.control))
            # Twice: a sender takes a free entry's lock for a moment.
            entries = 2 * list(range(slots - 2))
            taken = (entry for entry in entries if lock(self.fd, FIRST_LEASE + entry))
            self.entry = next(taken, None)
            if self.entry is None:
                raise ValueError(f"{path}: every lease entry has an owner")
            self.release()
            self.alive, self.asked = locked(self.fd, LIFE), False
            self.look_at = time.monotonic() + 0.1
        except BaseException:
            os.close(self.fd)
            raise

    def release(self):
        store_u32(self.page + LEASE + 64 * self.entry, 0, RELEASE)

    def lease(self, seen):
        """Holds the latest frame, if it is newer than `seen`: (number, image), until release()."""
        while True:
            latest = load_u64(self.page + LATEST, ACQUIRE)
            number, slot = latest >> 8, latest & 255
            if number <= seen or slot >= self.slots:
                return None
            store_u32(self.page + LEASE + 64 * self.entry, slot + 1, RELEASE)
            atomic.atomic_thread_fence(SEQ_CST)
            if load_u64(self.page + SLOT + 64 * slot, ACQUIRE) == 2 * number:
                break
            self.release()  # `latest` has moved on
        at = slot * self.stride
        header = self.pixels[at : at + 12]
        width, height, count, element, order, top = struct.unpack("<ii4B", header)
        known = 1 <= count <= 4 and element < 8 and order <= (count > 2) and top == 0
        elements = width * height * count
        size = elements * ELEMENTS[element].itemsize if known else 0
        if min(width, height, size) <= 0 or size > self.capacity - 24:
            self.release()
            return None
        image = np.frombuffer(self.pixels, ELEMENTS[element], elements, at + 24)
        return number, image.reshape(height, width, count)

    def intact(self):
        """Whether the segment is still the one that was opened: ask before a result is used."""
        words = self.control[0:8], struct.unpack_from("<Q", self.control, 16)[0]
        return os.fstat(self.fd).st_size == self.length and words == (b"shmframe", self.session)

    def wait(self, seen, seconds):
        """Waits for a frame. None: there is none yet. False: there will be none here."""
        end = time.monotonic() + seconds
        ending = not self.alive
        while True:
            if time.monotonic() >= self.look_at:
                self.look_at = time.monotonic() + 0.1
                info = os.fstat(self.fd)
                replaced = info.st_nlink == 0 and os.path.lexists(self.path)
                broken = info.st_size != self.length
                ending = ending or replaced or broken or not locked(self.fd, LIFE)
            wake = load_u32(self.page + WAKE, ACQUIRE)
            ending = ending or load_u32(self.page + STATE, ACQUIRE) != 0
            if self.alive and load_u64(self.page + LATEST, ACQUIRE) >> 8 > seen:
                return True
            if ending:
                return False
            if time.monotonic() >= end:
                return None
            self.sleep(wake, min(end, self.look_at) - time.monotonic())

    def sleep(self, wake, seconds):
        if not self.asked:
            self.asked = True
            lock(self.fd, SLEEPERS, fcntl.F_RDLCK)
            add_u32(self.page + ASKED, 1, RELEASE)
            seconds = 0.001  # a frame that is being published may miss it
        seconds = max(seconds, 0)
        left = ctypes.byref(Timespec(int(seconds), int(seconds % 1 * 1e9)))
        libc.syscall(FUTEX, ctypes.c_void_p(self.page + WAKE), FUTEX_WAIT, wake, left, None, 0)

    def close(self):
        """Unmaps and closes it: a mapping, too, keeps the memory and the locks."""
        self.pixels.close()
        self.control.close()
        os.close(self.fd)


def main():
    path = "/dev/shm/" + sys.argv[1].lstrip("/")
    end = time.monotonic() + float(sys.argv[2] if len(sys.argv) > 2 else 5)
    session = seen = frames = torn = backwards = ended = 0
    while time.monotonic() < end:
        try:
            attached = Attached(path)
        except (FileNotFoundError, struct.error):
            time.sleep(0.01)
            continue
        session, seen = attached.session, seen if attached.session == session else 0
        while time.monotonic() < end:
            news = attached.wait(seen, 0.1)
            if news is False:
                ended += attached.alive
                break
            if not news or (found := attached.lease(seen)) is None:
                continue
            number, image = found
            whole = (image == image.flat[0]).all()
            del image, found
            attached.release()
            if attached.intact():
                backwards += number <= seen
                frames, torn, seen = frames + 1, torn + (not whole), number
        attached.close()
        time.sleep(0.01)
    print(f"{frames} frames, {torn} torn, {backwards} backwards, {ended} senders ended")


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(f"lease.py: {error}")
