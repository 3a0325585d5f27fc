#!/usr/bin/env python3
"""A SQLite database with mmap_size in one journal mode.

usage: sqlite_modes.py write DIR MODE    make and change it: inserts, updates, deletes, rollbacks,
                                         VACUUM, two connections at once
       sqlite_modes.py check DIR MODE    integrity_check and every row
MODE: delete, truncate, persist, memory, wal, off.
"""
import hashlib
import os
import sqlite3
import sys

ROWS = 3000


def connect(directory, mode):
    connection = sqlite3.connect(os.path.join(directory, "database.sqlite"), isolation_level=None, timeout=30)
    answer = connection.execute(f"PRAGMA journal_mode={mode}").fetchone()[0]
    if answer != mode:
        sys.exit(f"journal_mode is {answer}, wanted {mode}")
    size = connection.execute("PRAGMA mmap_size=268435456").fetchone()[0]
    if size != 268435456:
        sys.exit(f"mmap_size is {size}: this SQLite does not map files")
    return connection


def value(number):
    return hashlib.sha256(str(number).encode()).digest() * (1 + number % 40)


def write(directory, mode):
    one = connect(directory, mode)
    one.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB, w TEXT)")
    one.execute("CREATE INDEX i ON t (w)")
    for start in range(0, ROWS, 500):
        one.execute("BEGIN")
        one.executemany(
            "INSERT INTO t VALUES (?, ?, ?)",
            [(n, value(n), f"word {n * 7919 % ROWS}") for n in range(start, start + 500)])
        one.execute("COMMIT")
    two = connect(directory, mode)
    for number in range(0, ROWS, 10):
        connection = two if number % 20 else one
        connection.execute("UPDATE t SET v = ? WHERE id = ?", (value(number + 1), number))
    if mode != "off":
        one.execute("BEGIN")
        one.execute("DELETE FROM t")
        one.execute("ROLLBACK")
    one.execute("DELETE FROM t WHERE id % 7 = 3")
    if mode != "wal":
        two.close()
    one.execute("VACUUM")
    check_rows(one)
    one.close()


def check_rows(connection):
    rows = dict(connection.execute("SELECT id, v FROM t"))
    wanted = {n: value(n + 1 if n % 10 == 0 else n) for n in range(ROWS) if n % 7 != 3}
    if rows != wanted:
        differing = [n for n in wanted if rows.get(n) != wanted[n]]
        sys.exit(f"{len(rows)} rows instead of {len(wanted)}; differing: {differing[:10]}")
    indexed = connection.execute("SELECT count(*) FROM t INDEXED BY i WHERE w >= ''").fetchone()[0]
    if indexed != len(wanted):
        sys.exit(f"the index has {indexed} rows instead of {len(wanted)}")


def check(directory, mode):
    connection = connect(directory, mode)
    answer = connection.execute("PRAGMA integrity_check").fetchall()
    if answer != [("ok",)]:
        sys.exit(f"integrity_check: {answer[:5]}")
    check_rows(connection)


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] not in ("write", "check"):
        sys.exit(__doc__)
    {"write": write, "check": check}[sys.argv[1]](sys.argv[2], sys.argv[3])
