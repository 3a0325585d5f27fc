#!/usr/bin/env python3
"""Seeded random operations on FILE and on a model in memory; every answer must agree.

usage: random_operations.py FILE [--seed S] [--operations N] [--size BYTES] [--model OUT] [--resume MODEL]
       random_operations.py FILE --verify MODEL
Operations: read, write, append, mapped read, mapped write, msync, fsync, truncate, punch hole,
zero range, reopen, SEEK_DATA/SEEK_HOLE. With --model the final content is kept there (on another
file system), to be verified later, such as after a remount; --resume goes on from there.
"""
import argparse
import collections
import errno
import mmap
import os
import random
import sys

from posix_checks import KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE, fallocate

PAGE = 4096


class Exerciser:
    def __init__(self, path, seed, limit, model=None):
        self.path = path
        self.random = random.Random(seed)
        self.limit = limit
        self.model = bytearray(model or b"")
        self.descriptor = os.open(path, os.O_RDWR | (os.O_CREAT | os.O_TRUNC if model is None else 0))
        self.mapping = None
        self.done = 0
        self.log = collections.deque(maxlen=25)

    def fail(self, text):
        print("\n".join(self.log), file=sys.stderr)
        sys.exit(f"operation {self.done}: {text}")

    def range(self, inside=True):
        top = len(self.model) if inside else self.limit
        if top == 0:
            return 0, 0
        if self.random.random() < 0.4:  # whole pages
            first = self.random.randrange((top + PAGE - 1) // PAGE)
            count = self.random.choice([1, 1, 1, 2, 8, 64, 200])
            start, end = first * PAGE, min((first + count) * PAGE, top)
        else:
            start = self.random.randrange(top)
            end = min(top, start + self.random.choice([1, 7, 100, 4095, 4097, 20_000, 300_000]))
        return start, end - start

    def bytes(self, count):
        if self.random.random() < 0.1:
            return bytes(count)
        return self.random.randbytes(min(count, 5000)) * (count // 5000 + 1) if count > 5000 else self.random.randbytes(count)

    def compare(self, got, start, length, how):
        wanted = bytes(self.model[start:start + length])
        if got != wanted:
            at = next((i for i, (a, b) in enumerate(zip(got, wanted)) if a != b), min(len(got), len(wanted)))
            wrong = sum(a != b for a, b in zip(got, wanted))
            self.fail(
                f"{how} {start}+{length}: {wrong} bytes differ, first at {start + at} "
                f"(page {(start + at) // PAGE}), got {got[at:at + 8]!r}, expected {wanted[at:at + 8]!r}, "
                f"lengths {len(got)} and {len(wanted)}")

    def apply(self, start, data):
        if len(self.model) < start:
            self.model.extend(bytes(start - len(self.model)))
        self.model[start:start + len(data)] = data

    def read(self):
        start, length = self.range()
        self.compare(os.pread(self.descriptor, length, start), start, length, "read")

    def write(self):
        start, length = self.range(inside=False)
        data = self.bytes(length)[:length]
        if os.pwrite(self.descriptor, data, start) != length:
            self.fail("short write")
        self.apply(start, data)

    def map(self):
        if self.mapping is None and self.model:
            self.mapping = mmap.mmap(self.descriptor, len(self.model))

    def unmap(self):
        if self.mapping is not None:
            self.mapping.close()
            self.mapping = None

    def mapped_read(self):
        self.map()
        if self.mapping is None:
            return
        start, length = self.range()
        length = max(0, min(length, len(self.mapping) - start))
        self.compare(self.mapping[start:start + length], start, length, "mapped read")

    def mapped_write(self):
        self.map()
        if self.mapping is None:
            return
        start, length = self.range()
        length = max(0, min(length, len(self.mapping) - start))
        data = self.bytes(length)[:length]
        self.mapping[start:start + length] = data
        self.model[start:start + length] = data

    def msync(self):
        if self.mapping is not None:
            self.mapping.flush()

    def fsync(self):
        os.fsync(self.descriptor)

    def truncate(self):
        size = self.random.choice([0, self.random.randrange(self.limit), self.random.randrange(self.limit // PAGE) * PAGE, len(self.model) // 2])
        if size < len(self.model):
            self.unmap()
        os.ftruncate(self.descriptor, size)
        if size < len(self.model):
            del self.model[size:]
        else:
            self.model.extend(bytes(size - len(self.model)))
        self.check_size()

    def clear(self, mode):
        start, length = self.range()
        if length == 0:
            return
        try:
            fallocate(self.descriptor, mode | KEEP_SIZE, start, length)
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP and mode == ZERO_RANGE:
                return
            raise
        self.model[start:start + length] = bytes(length)

    def punch(self):
        self.clear(PUNCH_HOLE)

    def zero(self):
        self.clear(ZERO_RANGE)

    def reopen(self):
        self.unmap()
        os.close(self.descriptor)
        self.descriptor = os.open(self.path, os.O_RDWR)
        self.check_size()

    def drop_cache(self):
        os.fsync(self.descriptor)
        self.unmap()
        os.posix_fadvise(self.descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def holes(self):
        """What SEEK_HOLE calls a hole must read as zeros in the model."""
        self.msync()
        at, size = 0, len(self.model)
        while at < size:
            try:
                data = os.lseek(self.descriptor, at, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                data = size
            if self.model.count(0, at, data) != data - at:
                self.fail(f"SEEK_DATA from {at} says {data}, but there is data between")
            if data >= size:
                return
            at = os.lseek(self.descriptor, data, os.SEEK_HOLE)
            if at <= data:
                self.fail(f"SEEK_HOLE from {data} says {at}")

    def check_size(self):
        size = os.fstat(self.descriptor).st_size
        if size != len(self.model):
            self.fail(f"size is {size}, expected {len(self.model)}")

    def run(self, count):
        actions = [
            (self.read, 15), (self.write, 20), (self.mapped_read, 15), (self.mapped_write, 20),
            (self.msync, 4), (self.fsync, 2), (self.truncate, 3), (self.punch, 4), (self.zero, 3),
            (self.reopen, 2), (self.drop_cache, 2), (self.holes, 2),
        ]
        for _ in range(count):
            action = self.random.choices([a for a, _ in actions], [w for _, w in actions])[0]
            self.log.append(f"{self.done} {action.__name__} size {len(self.model)}")
            self.done += 1
            action()
        self.log.append("final comparison")
        self.compare(os.pread(self.descriptor, self.limit * 2, 0), 0, len(self.model), "final read")
        self.check_size()
        self.unmap()
        os.fsync(self.descriptor)


def verify(path, model):
    with open(path, "rb") as one, open(model, "rb") as two:
        got, wanted = one.read(), two.read()
    if got != wanted:
        pages = [i for i in range((max(len(got), len(wanted)) + PAGE - 1) // PAGE) if got[i * PAGE:(i + 1) * PAGE] != wanted[i * PAGE:(i + 1) * PAGE]]
        sys.exit(f"lengths {len(got)} and {len(wanted)}, {len(pages)} pages differ: {pages[:10]}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--operations", type=int, default=2000)
    parser.add_argument("--size", type=int, default=4 << 20)
    parser.add_argument("--model")
    parser.add_argument("--resume")
    parser.add_argument("--verify")
    arguments = parser.parse_args()
    if arguments.verify:
        verify(arguments.file, arguments.verify)
    else:
        model = None
        if arguments.resume:
            with open(arguments.resume, "rb") as file:
                model = file.read()
        exerciser = Exerciser(arguments.file, arguments.seed, arguments.size, model)
        if model is not None:
            exerciser.check_size()
        exerciser.run(arguments.operations)
        if arguments.model:
            with open(arguments.model, "wb") as file:
                file.write(exerciser.model)
