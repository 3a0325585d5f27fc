#!/usr/bin/env python3
"""An LMDB environment with a writable map.

usage: lmdb_writemap.py write DIR | check DIR
"""
import hashlib
import sys

import lmdb

KEYS = 20_000


def value(number):
    return hashlib.sha256(str(number).encode()).digest() * (1 + number % 9)


def write(directory):
    environment = lmdb.open(directory, map_size=256 << 20, writemap=True)
    for start in range(0, KEYS, 4000):
        with environment.begin(write=True) as transaction:
            for number in range(start, start + 4000):
                transaction.put(b"%08d" % number, value(number))
    with environment.begin(write=True) as transaction:
        for number in range(0, KEYS, 3):
            transaction.delete(b"%08d" % number)
    environment.sync(True)
    environment.close()
    check(directory)


def check(directory):
    environment = lmdb.open(directory, map_size=256 << 20, readonly=False, writemap=True)
    with environment.begin() as transaction:
        found = {bytes(k): bytes(v) for k, v in transaction.cursor()}
    wanted = {b"%08d" % n: value(n) for n in range(KEYS) if n % 3}
    if found != wanted:
        sys.exit(f"{len(found)} keys instead of {len(wanted)}, or other values")


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("write", "check"):
        sys.exit(__doc__)
    {"write": write, "check": check}[sys.argv[1]](sys.argv[2])
