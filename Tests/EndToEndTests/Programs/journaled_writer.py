#!/usr/bin/env python3
"""Writes pages and keeps, in another place, a journal of what was accepted.

usage: journaled_writer.py write FILE JOURNAL --mode write|mmap [--pages N] [--workers N] [--seed S]
                           goes on until the file system fails (or is told to stop by SIGTERM)
       journaled_writer.py verify FILE JOURNAL [--pages N] [--workers N]

Each worker owns every N-th page. Before a store it journals "begin", after write(2) returned (or
after msync returned) "done". Whatever was done must be found; a page that was begun and not done
may be old or new, word by word.
"""
import argparse
import mmap
import os
import random
import signal
import struct
import sys
import time

PAGE = 4096
RECORD = struct.Struct("<BIQ")  # 0 begin, 1 done; page; version


def page(number, version):
    return struct.pack("<QQ", number, version) * (PAGE // 16)


def work(arguments, worker):
    journal = os.open(f"{arguments.journal}.{worker}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    descriptor = os.open(arguments.file, os.O_RDWR)
    mapping = mmap.mmap(descriptor, arguments.pages * PAGE) if arguments.mode == "mmap" else None
    choice = random.Random(arguments.seed * 1000 + worker)
    version = arguments.seed << 32
    mine = range(worker, arguments.pages, arguments.workers)
    while True:
        version += 1
        number = choice.choice(mine)
        os.write(journal, RECORD.pack(0, number, version))
        try:
            if mapping:
                mapping[number * PAGE:(number + 1) * PAGE] = page(number, version)
                mapping.flush(number * PAGE, PAGE)
            elif os.pwrite(descriptor, page(number, version), number * PAGE) != PAGE:
                raise OSError("short write")
        except OSError:
            os._exit(3)
        os.write(journal, RECORD.pack(1, number, version))


def write(arguments):
    descriptor = os.open(arguments.file, os.O_RDWR | os.O_CREAT)
    if os.fstat(descriptor).st_size < arguments.pages * PAGE:
        os.ftruncate(descriptor, arguments.pages * PAGE)
    os.close(descriptor)
    children = []
    for worker in range(arguments.workers):
        pid = os.fork()
        if pid == 0:
            work(arguments, worker)
        children.append(pid)

    def stop(*_):
        for pid in children:
            os.kill(pid, signal.SIGKILL)

    signal.signal(signal.SIGTERM, stop)
    print("started", flush=True)
    for pid in children:
        os.waitpid(pid, 0)


def read_journal(arguments):
    done, begun, count = {}, {}, 0
    for worker in range(arguments.workers):
        with open(f"{arguments.journal}.{worker}", "rb") as file:
            data = file.read()
        for at in range(0, len(data) - RECORD.size + 1, RECORD.size):
            kind, number, version = RECORD.unpack_from(data, at)
            if kind == 1:
                done[number] = version
                begun.pop(number, None)
                count += 1
            else:
                begun.setdefault(number, []).append(version)
    return done, begun, count


def verify(arguments):
    done, begun, count = read_journal(arguments)
    if count < 20:
        sys.exit(f"only {count} accepted writes: nothing was tested")
    descriptor = os.open(arguments.file, os.O_RDONLY)
    problems = []
    for number in range(arguments.pages):
        got = os.pread(descriptor, PAGE, number * PAGE)
        base = page(number, done[number]) if number in done else bytes(PAGE)
        allowed = [base] + [page(number, v) for v in begun.get(number, [])]
        if got in allowed:
            continue
        words = [got[i:i + 8] for i in range(0, PAGE, 8)]
        if len(allowed) > 1 and len(got) == PAGE and all(
                any(w == a[i * 8:i * 8 + 8] for a in allowed) for i, w in enumerate(words)):
            continue
        have = struct.unpack_from("<QQ", got) if len(got) == PAGE else len(got)
        problems.append(f"page {number}: has {have}, accepted {done.get(number)}, begun {begun.get(number)}")
    if problems:
        sys.exit(f"{len(problems)} pages lost of {count} accepted writes: " + "; ".join(problems[:5]))
    print(f"{count} accepted writes, {len(begun)} pages in the middle of one")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["write", "verify"])
    parser.add_argument("file")
    parser.add_argument("journal")
    parser.add_argument("--mode", choices=["write", "mmap"], default="write")
    parser.add_argument("--pages", type=int, default=2048)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    chosen = parser.parse_args()
    {"write": write, "verify": verify}[chosen.action](chosen)
