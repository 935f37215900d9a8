"""multiprocessing.shared_memory, two frames of it in turn, and semaphores that count the full and the free ones."""

from multiprocessing.shared_memory import SharedMemory

import numpy as np
import posix_ipc

from measure import run, send, size

memory = SharedMemory(run, create=True, size=2 * size)
slots = np.ndarray((2, size), np.uint8, memory.buf)
free = posix_ipc.Semaphore(f"/{run}-free", posix_ipc.O_CREX, initial_value=2)
full = posix_ipc.Semaphore(f"/{run}-full", posix_ipc.O_CREX, initial_value=0)
count = 0


def publish(frame):
    global count
    try:
        free.acquire(0.5)
    except posix_ipc.BusyError:
        return  # the receiver is gone
    slots[count % 2] = frame
    count += 1
    full.release()


send(publish)
free.unlink()
full.unlink()
del slots
memory.close()
memory.unlink()
