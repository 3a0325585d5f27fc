#!/usr/bin/env python3
"""docs/guides/sqlite.md: sqlite.py write|check DIRECTORY

A database whose journal lies beside it, in a directory of its own.
"""
import pathlib
import sqlite3
import sys


def connect(directory):
    database = sqlite3.connect(directory / "app.db")
    database.execute("PRAGMA mmap_size = 268435456")
    return database


def write(directory):
    database = connect(directory)
    assert database.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",)
    # WAL with NORMAL loses the last transactions at a power loss; FULL waits for msync's promise.
    database.execute("PRAGMA synchronous = FULL")
    database.execute("CREATE TABLE entry (id INTEGER PRIMARY KEY, text TEXT NOT NULL)")
    for start in range(0, 10_000, 1000):
        with database:
            database.executemany(
                "INSERT INTO entry VALUES (?, ?)", [(n, f"entry {n}") for n in range(start, start + 1000)]
            )
    database.close()


def check(directory):
    database = connect(directory)
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert database.execute("SELECT count(*), max(id) FROM entry").fetchone() == (10_000, 9_999)
    assert database.execute("SELECT text FROM entry WHERE id = 4321").fetchone() == ("entry 4321",)
    print("10000 entries, integrity ok")


if __name__ == "__main__":
    {"write": write, "check": check}[sys.argv[1]](pathlib.Path(sys.argv[2]))
