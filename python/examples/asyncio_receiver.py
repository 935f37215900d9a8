"""Frames in an asyncio program: a thread waits, so the event loop goes on.

python asyncio_receiver.py /cam
"""

import asyncio
import sys
from collections.abc import AsyncIterator

import shm_frame


async def frames(name: str) -> AsyncIterator[shm_frame.Frame]:
    """The newest frame, again and again."""
    receiver = shm_frame.Receiver(name)
    try:
        while True:
            yield await asyncio.to_thread(receiver.receive)
    finally:
        # Ends the wait of the thread, too, when this task is cancelled.
        receiver.close()


async def main() -> None:
    async for frame in frames(sys.argv[1]):
        with frame:
            print(f"frame {frame.number} is {frame.delay_ns / 1e6:.2f} ms old")


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        pass
