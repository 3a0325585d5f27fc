#!/usr/bin/env python3
"""Reads and writes a region that is much larger than the cache, beside a plain copy.

usage: crowded_cache.py make COPY --size MIB --seed N     makes the copy: random bytes and holes
       crowded_cache.py run FILE COPY CACHE [options]     random reads, writes, mapped ones; each read
                                                          is compared, and the cache's bytes are counted
       crowded_cache.py verify FILE COPY                  every byte is as in the copy

The mount is one with sync=remote, so that after an fsync nothing is uncommitted. The cache may take the
limit, the slack, and a chunk for each one written since.
"""
import argparse
import glob
import mmap
import os
import random
import sys
import time

CHUNK = 256 << 10
MIB = 1 << 20


def make(arguments):
    generator = random.Random(arguments.seed)
    with open(arguments.copy, "wb") as copy:
        copy.truncate(arguments.size * MIB)
        for at in range(arguments.size):
            if at % 16 != 15:
                copy.seek(at * MIB)
                copy.write(generator.randbytes(MIB))


def used(cache):
    blocks = 0
    for path in glob.glob(os.path.join(cache, "*", "data", "*")):
        try:
            blocks += os.stat(path).st_blocks
        except FileNotFoundError:
            pass
    return blocks * 512


class Run:
    def __init__(self, arguments):
        self.arguments = arguments
        self.random = random.Random(arguments.seed)
        self.file = os.open(arguments.file, os.O_RDWR)
        self.copy = os.open(arguments.copy, os.O_RDWR)
        self.size = os.fstat(self.copy).st_size
        self.map = mmap.mmap(self.file, self.size)
        self.written = set()
        self.most = 0

    def step(self):
        kind = self.random.random()
        length = self.random.choice([1, 4096, 65536, 300000])
        at = self.random.randrange(self.size - length)
        if self.random.random() < 0.5:
            at &= ~4095
        if kind >= self.arguments.writes:
            self.read(at, length, self.random.random() < 0.3)
        elif kind < self.arguments.writes / 3:
            self.zero(at, length)
        else:
            self.write(at, length, self.random.random() < 0.5)

    def read(self, at, length, mapped):
        found = self.map[at:at + length] if mapped else os.pread(self.file, length, at)
        if found != os.pread(self.copy, length, at):
            sys.exit(f"wrong bytes in {at}..{at + length} ({'mapped' if mapped else 'read'})")

    def note(self, at, length):
        self.written |= set(range(at // CHUNK, (at + length - 1) // CHUNK + 1))

    def write(self, at, length, mapped):
        data = self.random.randbytes(length)
        self.note(at, length)
        if mapped:
            self.map[at:at + length] = data
        else:
            os.pwrite(self.file, data, at)
        os.pwrite(self.copy, data, at)

    def zero(self, at, length):
        self.note(at, length)
        os.pwrite(self.file, bytes(length), at)
        os.pwrite(self.copy, bytes(length), at)

    def look(self):
        # What the kernel has cached would never come to the daemon again.
        os.posix_fadvise(self.file, 0, 0, os.POSIX_FADV_DONTNEED)
        allowed = (self.arguments.limit + self.arguments.slack) * MIB + len(self.written) * CHUNK
        found = used(self.arguments.cache)
        self.most = max(self.most, found)
        if found > allowed:
            sys.exit(f"the cache has {found} bytes, {allowed} are allowed")

    def flush(self):
        self.map.flush()
        os.fsync(self.file)
        self.written.clear()
        deadline = time.monotonic() + 300
        while used(self.arguments.cache) > self.arguments.limit * MIB:
            if time.monotonic() > deadline:
                sys.exit(f"{used(self.arguments.cache)} bytes long after everything was committed")
            self.read(self.random.randrange(self.size - 4096), 4096, False)
            time.sleep(0.01)

    def run(self):
        for step in range(self.arguments.steps):
            self.step()
            if step % 10 == 0:
                self.look()
            if step % 100 == 99:
                self.flush()
        # The last changes are only in the log when the daemon ends.
        self.map.flush()
        for _ in range(20 if self.arguments.writes > 0 else 0):
            self.write(self.random.randrange(self.size - 5000), 5000, False)
        print(self.most)


def verify(arguments):
    with open(arguments.file, "rb") as file, open(arguments.copy, "rb") as copy:
        at = 0
        while True:
            found, wanted = file.read(MIB), copy.read(MIB)
            if found != wanted:
                sys.exit(f"wrong bytes between {at} and {at + MIB}")
            if not wanted:
                return
            at += MIB


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
commands = parser.add_subparsers(dest="command", required=True)
command = commands.add_parser("make")
command.add_argument("copy")
command.add_argument("--size", type=int, required=True)
command.add_argument("--seed", type=int, default=1)
command = commands.add_parser("run")
for name in ("file", "copy", "cache"):
    command.add_argument(name)
command.add_argument("--limit", type=int, required=True)
command.add_argument("--slack", type=int, required=True)
command.add_argument("--seed", type=int, default=1)
command.add_argument("--steps", type=int, default=300)
command.add_argument("--writes", type=float, default=0.4)
command = commands.add_parser("verify")
command.add_argument("file")
command.add_argument("copy")
arguments = parser.parse_args()
if arguments.command == "make":
    make(arguments)
elif arguments.command == "run":
    Run(arguments).run()
else:
    verify(arguments)
