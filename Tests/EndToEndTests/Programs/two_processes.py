#!/usr/bin/env python3
"""Two processes map FILE shared and see each other's stores, without and with msync.

usage: two_processes.py FILE [--pages N] [--rounds N]
The processes take turns over pipes: each fills its pages with a value of the round, the other
must see all of them at once. At the end the file, read with read(2), must agree.
"""
import argparse
import mmap
import os
import struct
import sys

PAGE = 4096


def page(role, number, turn):
    return struct.pack("<IIQ", role, number, turn) * (PAGE // 16)


def fill(mapping, role, pages, turn):
    for number in range(role, pages, 2):
        mapping[number * PAGE:(number + 1) * PAGE] = page(role, number, turn)
        if turn % 3 == 0 and number % 8 == role:
            mapping.flush(number * PAGE, PAGE)


def expect(mapping, role, pages, turn):
    for number in range(role, pages, 2):
        got = mapping[number * PAGE:(number + 1) * PAGE]
        if got != page(role, number, turn):
            sys.exit(f"turn {turn}: page {number} of process {role} is not seen by the other one")


def run(path, role, pages, rounds, receive, send):
    descriptor = os.open(path, os.O_RDWR)
    mapping = mmap.mmap(descriptor, pages * PAGE)
    for turn in range(1, rounds + 1):
        if role == 0:
            fill(mapping, 0, pages, turn)
            os.write(send, b"x")
            if os.read(receive, 1) != b"x":
                sys.exit("the other process ended early")
            expect(mapping, 1, pages, turn)
        else:
            if os.read(receive, 1) != b"x":
                sys.exit("the other process ended early")
            expect(mapping, 0, pages, turn)
            fill(mapping, 1, pages, turn)
            os.write(send, b"x")
    mapping.flush()
    mapping.close()
    os.close(descriptor)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    parser.add_argument("--pages", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=12)
    arguments = parser.parse_args()
    path, pages, rounds = arguments.file, arguments.pages, arguments.rounds
    os.truncate(os.open(path, os.O_RDWR | os.O_CREAT), pages * PAGE)
    down, up = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(down[1])
        os.close(up[0])
        run(path, 1, pages, rounds, down[0], up[1])
        os._exit(0)
    os.close(down[0])
    os.close(up[1])
    run(path, 0, pages, rounds, up[0], down[1])
    if os.waitpid(child, 0)[1] != 0:
        sys.exit("the second process failed")
    with open(path, "rb") as file:
        data = file.read()
    wanted = b"".join(page(n % 2, n, rounds) for n in range(pages))
    if data != wanted:
        sys.exit("read(2) does not see what was stored through the mappings")
