#!/usr/bin/env python3
"""Writes FILE until the disk under the cache is full.

usage: fill_disk.py fill FILE RECORD [--most MIB]    write blocks until ENOSPC; their number goes
                                                     to RECORD (on another file system)
       fill_disk.py verify FILE RECORD               every block that was accepted is there
"""
import argparse
import errno
import hashlib
import os
import sys

BLOCK = 256 << 10


def block(number):
    return hashlib.sha256(b"%d" % number).digest() * (BLOCK // 32)


def fill(arguments):
    descriptor = os.open(arguments.file, os.O_RDWR | os.O_CREAT)
    number, full = 0, False
    while number * BLOCK < arguments.most << 20:
        try:
            written = os.pwrite(descriptor, block(number), number * BLOCK)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            full = True
            break
        if written != BLOCK:
            full = True
            break
        number += 1
    with open(arguments.record, "w") as record:
        record.write(str(number))
    if not full:
        sys.exit(f"{number} blocks and the disk is not full")
    print(number)


def verify(arguments):
    with open(arguments.record) as record:
        count = int(record.read())
    descriptor = os.open(arguments.file, os.O_RDONLY)
    wrong = [n for n in range(count) if os.pread(descriptor, BLOCK, n * BLOCK) != block(n)]
    if wrong or count == 0:
        sys.exit(f"{len(wrong)} of {count} accepted blocks are wrong: {wrong[:10]}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["fill", "verify"])
    parser.add_argument("file")
    parser.add_argument("record")
    parser.add_argument("--most", type=int, default=400)
    chosen = parser.parse_args()
    {"fill": fill, "verify": verify}[chosen.action](chosen)
