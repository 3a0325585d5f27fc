#!/usr/bin/env python3
"""Whole chunks of one generation: does a reader elsewhere ever see a chunk of two?

usage: generations.py write FILE --chunk BYTES --chunks N --seconds S [--resize]
                                            rewrites chunks whole, each page with the generation
       generations.py watch FILE --chunk BYTES --chunks N --seconds S [--direct]
                                            reads them, mapped or with O_DIRECT, until it has seen
                                            the time; prints what it saw as JSON
Each page holds the chunk's number and its generation, again and again. A chunk is written by one
write(2), which no commit takes apart. With O_DIRECT and chunks of 64 KiB one read is one answer of the
daemon: it must never be mixed. Through a mapping the kernel drops a chunk's pages one by one: a reader
in that moment may see both (counted as "passing"), but not while it looks for ten seconds ("torn").
"""
import argparse
import json
import mmap
import os
import random
import struct
import sys
import time

PAGE = 4096


def content(chunk, generation, size):
    return struct.pack("<II", chunk, generation) * (size // 8)


def write(arguments):
    descriptor = os.open(arguments.file, os.O_RDWR | os.O_CREAT)
    generator = random.Random(arguments.seed)
    for chunk in range(arguments.chunks):
        os.pwrite(descriptor, content(chunk, 1, arguments.chunk), chunk * arguments.chunk)
    print("ready", flush=True)
    end, generation = time.monotonic() + arguments.seconds, 1
    while time.monotonic() < end:
        generation += 1
        for chunk in generator.sample(range(arguments.chunks), max(1, arguments.chunks // 4)):
            os.pwrite(descriptor, content(chunk, generation, arguments.chunk), chunk * arguments.chunk)
        if arguments.resize:
            # The last chunk comes and goes.
            longer = arguments.chunks + generation % 2
            os.ftruncate(descriptor, longer * arguments.chunk)
            if generation % 2:
                os.pwrite(descriptor, content(arguments.chunks, generation, arguments.chunk),
                          arguments.chunks * arguments.chunk)
        time.sleep(0.02)
    os.ftruncate(descriptor, arguments.chunks * arguments.chunk)
    generation += 1
    for chunk in range(arguments.chunks):
        os.pwrite(descriptor, content(chunk, generation, arguments.chunk), chunk * arguments.chunk)
    os.fsync(descriptor)
    print(generation, flush=True)


def generations(data, chunk):
    """The generations in a chunk; None stands for bytes that nobody wrote there."""
    seen = set()
    for page in range(0, len(data), PAGE):
        number, generation = struct.unpack_from("<II", data, page)
        whole = data[page:page + PAGE] == content(chunk, generation, PAGE)
        seen.add(generation if whole and number == chunk else None)
    return seen


def watch(arguments):
    size = arguments.chunk * arguments.chunks
    if arguments.direct:
        descriptor = os.open(arguments.file, os.O_RDONLY | os.O_DIRECT)
        buffer = mmap.mmap(-1, arguments.chunk)

        def read(chunk):
            count = os.preadv(descriptor, [buffer], chunk * arguments.chunk)
            return bytes(buffer[:count])
    else:
        descriptor = os.open(arguments.file, os.O_RDONLY)
        mapping = mmap.mmap(descriptor, size, prot=mmap.PROT_READ)

        def read(chunk):
            return mapping[chunk * arguments.chunk:(chunk + 1) * arguments.chunk]
    newest, torn, passing, foreign, back, changes = {}, 0, 0, 0, 0, 0
    print("ready", flush=True)
    end, reads, last = time.monotonic() + arguments.seconds, 0, None
    while time.monotonic() < end:
        for chunk in range(arguments.chunks):
            seen = generations(read(chunk), chunk)
            reads += 1
            if len(seen) > 1 and not arguments.direct:
                # Of its own processor: it looks all the time, unless the machine lets it wait.
                deadline = time.process_time() + 10
                while len(seen) > 1 and time.process_time() < deadline:
                    seen = generations(read(chunk), chunk)
                passing += len(seen) == 1
            torn += len(seen) > 1
            foreign += None in seen
            if len(seen) == 1 and None not in seen:
                generation = next(iter(seen))
                back += generation < newest.get(chunk, 0)
                changes += generation > newest.get(chunk, 0)
                newest[chunk] = max(newest.get(chunk, 0), generation)
        time.sleep(0.001)
    print(json.dumps({"reads": reads, "changes": changes, "torn": torn, "passing": passing,
                      "foreign": foreign, "back": back, "newest": min(newest.values())}), flush=True)
    sys.exit(1 if torn or foreign or back else 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["write", "watch"])
    parser.add_argument("file")
    parser.add_argument("--chunk", type=int, default=65536)
    parser.add_argument("--chunks", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--resize", action="store_true")
    parser.add_argument("--direct", action="store_true")
    chosen = parser.parse_args()
    {"write": write, "watch": watch}[chosen.action](chosen)
