#!/usr/bin/env python3
"""docs/guides/lmdb.md: lmdb_store.py write|check DIRECTORY

An LMDB environment written through its mapping, in a directory of its own.
"""
import sys

import lmdb

KEYS = 20_000


def write(directory):
    # The file is sparse: a large map costs nothing until it is used.
    with lmdb.open(directory + "/env", map_size=1 << 30, writemap=True) as environment:
        for start in range(0, KEYS, 5000):
            with environment.begin(write=True) as transaction:
                for number in range(start, start + 5000):
                    transaction.put(b"%08d" % number, b"value %d" % number)


def check(directory):
    # No lock file: a mount that only reads need not claim the group.
    with lmdb.open(directory + "/env", readonly=True, lock=False) as environment:
        with environment.begin() as transaction:
            assert transaction.stat()["entries"] == KEYS
            assert transaction.get(b"%08d" % 12_345) == b"value 12345"
    print(KEYS, "keys")


if __name__ == "__main__":
    {"write": write, "check": check}[sys.argv[1]](sys.argv[2])
