"""The Python side of a measurement: what src/role.rs and src/frame.rs do, for programs that are told in words.

Arguments: RUN WIDTH HEIGHT HZ busy|asleep. HZ 0 is flat out. Frames have three channels.
A frame is words of 8 bytes: its number, its stamp, the sum of all that follow, and noise with the number here and there.
"""

import json
import os
import resource
import sys
import time

import numpy as np

run, how = sys.argv[1], sys.argv[5]
width, height, hz = map(int, sys.argv[2:5])
busy = how == "busy"
size = width * height * 3
words = size // 8
marks = np.unique([0] + [3 + i * (words - 4) // 15 for i in range(1, 16)])


def take_part():
    """Says that this end is ready; returns begin, count and end of the schedule."""
    print("ready", flush=True)
    return map(int, sys.stdin.readline().split())


def done(**outcome):
    print(json.dumps(outcome), flush=True)
    sys.stdin.readline()


def send(publish):
    """Calls publish with one frame after the other."""
    buffers = []
    for seed in 1, 3:
        frame = np.random.default_rng(seed).integers(0, 1 << 64, words, np.uint64)
        frame[marks] = 0
        buffers.append((frame, int(frame[3:].sum())))
    begin, count, end = take_part()
    published, cpu, due, number = [], time.process_time_ns(), begin, 0
    while due < end:
        time.sleep(max(0, due - time.monotonic_ns()) / 1e9)
        number += 1
        frame, noise = buffers[number % 2]
        frame[marks] = number
        frame[2] = (noise + number * (len(marks) - 1)) % (1 << 64)
        frame[1] = stamp = time.monotonic_ns()
        publish(frame.view(np.uint8))
        if stamp >= count:
            published.append(time.monotonic_ns() - stamp)
        else:
            cpu = time.process_time_ns()
        due = due + 1_000_000_000 // hz if hz else time.monotonic_ns()
    done(published=published, cpu=time.process_time_ns() - cpu)


def receive(frames):
    """Takes frames, as arrays of bytes, from frames(end), which yields None to have the clock looked at."""
    _, count, end = take_part()
    arrival, consumed, torn, disorder, last = [], [], 0, 0, 0
    cpu, summing = time.process_time_ns(), 0
    for frame in frames(end):
        arrived = time.monotonic_ns()
        if frame is None:
            if arrived >= end:
                break
            continue
        frame = frame.view(np.uint64)
        number, stamp = int(frame[0]), int(frame[1])
        whole = bool((frame[marks] == frame[0]).all())
        if hz and stamp >= count:
            before = time.thread_time_ns()
            whole &= bool(frame[3:].sum() == frame[2])
            consumed.append(time.monotonic_ns() - stamp)
            summing += time.thread_time_ns() - before
        if number <= last:
            disorder += 1
        elif not whole:
            torn += 1
        elif stamp >= count:
            arrival.append(arrived - stamp)
        else:
            cpu = time.process_time_ns()
        last = number
        if arrived >= end:
            break
    cpu = time.process_time_ns() - cpu - summing
    done(arrival=arrival, consumed=consumed, torn=torn, disorder=disorder, cpu=cpu)
