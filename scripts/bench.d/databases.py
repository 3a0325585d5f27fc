#!/usr/bin/env python3
"""SQLite and LMDB on one mount; each call prints one line of JSON.

databases.py sqlite-make FILE BYTES
databases.py sqlite-read FILE COUNT SEED      point reads through SQLite's mapping
databases.py sqlite-write FILE COUNT SEED     transactions of five updates, WAL, synchronous=FULL
databases.py sqlite-check FILE COUNT SEED     does it hold what sqlite-write wrote?
databases.py lmdb-fill DIRECTORY BYTES        through the mapping (writemap), a sync each transaction
databases.py lmdb-read DIRECTORY BYTES COUNT SEED
"""
import json
import random
import sqlite3
import struct
import sys
import time

BODY = 1000
UPDATES = 5
MAPPED = 1 << 40
LMDB_VALUE = 500
LMDB_BATCH = 500


def times(seconds, each):
    each = sorted(each)
    print(json.dumps({
        "seconds": seconds, "p50_us": each[len(each) // 2] * 1e6, "p99_us": each[len(each) * 99 // 100] * 1e6}))


def opened(path):
    base = sqlite3.connect(path, isolation_level=None, timeout=60)
    base.execute(f"PRAGMA mmap_size={MAPPED}")
    return base


def sqlite_make(path, size):
    base = opened(path)
    body = random.Random(1)
    base.execute("CREATE TABLE row (id INTEGER PRIMARY KEY, body BLOB)")
    base.execute("BEGIN")
    for number in range(int(size) // (BODY + 24)):
        base.execute("INSERT INTO row VALUES (?, ?)", (number, body.randbytes(BODY)))
    base.execute("COMMIT")
    print(json.dumps({"rows": count_of(base)}))
    base.close()


def count_of(base):
    return base.execute("SELECT max(id) FROM row").fetchone()[0] + 1


def sqlite_read(path, count, seed):
    choice, each = random.Random(int(seed)), []
    begin = time.monotonic()
    base = opened(path)
    rows = count_of(base)
    for _ in range(int(count)):
        start = time.monotonic()
        body, = base.execute("SELECT body FROM row WHERE id = ?", (choice.randrange(rows),)).fetchone()
        each.append(time.monotonic() - start)
        if len(body) != BODY:
            raise RuntimeError("a row has another length")
    base.close()
    times(time.monotonic() - begin, each)


def sqlite_write(path, count, seed):
    choice, each = random.Random(int(seed)), []
    begin = time.monotonic()
    base = opened(path)
    if base.execute("PRAGMA journal_mode=WAL").fetchone()[0] != "wal":
        raise RuntimeError("SQLite refuses WAL here")
    base.execute("PRAGMA synchronous=FULL")
    rows = count_of(base)
    for number in range(int(count)):
        start = time.monotonic()
        base.execute("BEGIN IMMEDIATE")
        for _ in range(UPDATES):
            base.execute("UPDATE row SET body = ? WHERE id = ?", (mark(seed, number), choice.randrange(rows)))
        base.execute("COMMIT")
        each.append(time.monotonic() - start)
    # The last close copies the log into the database and removes it.
    base.close()
    times(time.monotonic() - begin, each)


def mark(seed, number):
    return (f"{seed}-{number}-".encode() * BODY)[:BODY]


def sqlite_check(path, count, seed):
    choice, expected = random.Random(int(seed)), {}
    base = opened(path)
    rows = count_of(base)
    for number in range(int(count)):
        for _ in range(UPDATES):
            expected[choice.randrange(rows)] = mark(seed, number)
    wrong = sum(
        base.execute("SELECT body FROM row WHERE id = ?", (row,)).fetchone()[0] != body
        for row, body in expected.items())
    verdict, = base.execute("PRAGMA quick_check").fetchone()
    base.close()
    print(json.dumps({"rows": len(expected), "wrong": wrong, "quick_check": verdict}))
    return wrong != 0 or verdict != "ok"


def key(number):
    """Spread over the whole range, so that the tree is written all over the place."""
    return struct.pack(">Q", number * 0x9E3779B97F4A7C15 % (1 << 64))


def lmdb_count(size):
    return int(size) // (LMDB_VALUE + 100)


def lmdb_fill(directory, size):
    import lmdb
    body, count = random.Random(2), lmdb_count(size)
    begin = time.monotonic()
    base = lmdb.open(directory, map_size=2 * int(size) // 4096 * 4096, writemap=True)
    for first in range(0, count, LMDB_BATCH):
        with base.begin(write=True) as transaction:
            for number in range(first, min(first + LMDB_BATCH, count)):
                transaction.put(key(number), body.randbytes(LMDB_VALUE))
    base.close()
    seconds = time.monotonic() - begin
    print(json.dumps({"seconds": seconds, "rate": count * LMDB_VALUE / seconds}))


def lmdb_read(directory, size, count, seed):
    import lmdb
    choice, each = random.Random(int(seed)), []
    begin = time.monotonic()
    # MADV_RANDOM, as LMDB advises where the database is larger than memory.
    base = lmdb.open(directory, readonly=True, lock=False, readahead=False)
    with base.begin() as transaction:
        for _ in range(int(count)):
            start = time.monotonic()
            value = transaction.get(key(choice.randrange(lmdb_count(size))))
            each.append(time.monotonic() - start)
            if value is None or len(value) != LMDB_VALUE:
                raise RuntimeError("a value is missing or has another length")
    base.close()
    times(time.monotonic() - begin, each)


if __name__ == "__main__":
    verbs = {"sqlite-make": sqlite_make, "sqlite-read": sqlite_read, "sqlite-write": sqlite_write,
             "sqlite-check": sqlite_check, "lmdb-fill": lmdb_fill, "lmdb-read": lmdb_read}
    if len(sys.argv) < 2 or sys.argv[1] not in verbs:
        sys.exit(__doc__)
    sys.exit(verbs[sys.argv[1]](*sys.argv[2:]))
