#!/usr/bin/env python3
"""Two ordinary programs' use of a mount: a file mapped with mmap, and a database.

usage: map_files.py write|read DIRECTORY

Prints a line `sha256 ...` over all that is in both, so that two runs can be compared.
"""

import hashlib
import mmap
import os
import random
import sqlite3
import sys

SIZE = 64 << 20
PAGES = 500


def write_mapping(path):
    """Touches random pages of a sparse file through a shared mapping."""
    with open(path, "w+b") as file:
        file.truncate(SIZE)
        with mmap.mmap(file.fileno(), SIZE) as memory:
            numbers = random.Random(1)
            for page in numbers.sample(range(SIZE // 4096), PAGES):
                memory[page * 4096 : page * 4096 + 4096] = numbers.randbytes(4096)
            memory.flush()
    print(f"mapped {path}: wrote {PAGES} pages of {SIZE >> 20} MiB")


def open_database(path):
    """A database that SQLite reads through a mapping."""
    database = sqlite3.connect(path)
    database.execute("PRAGMA mmap_size = 268435456")
    return database


def write_database(path):
    """A thousand rows in a transaction."""
    database = open_database(path)
    with database:
        database.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)")
        rows = ((number, f"note {number}") for number in range(1000))
        database.executemany("INSERT INTO notes VALUES (?, ?)", rows)
    database.close()
    print(f"SQLite {path}: wrote 1000 rows")


def digest(mapping, database_path):
    """One hash of the file's bytes and the database's rows."""
    total = hashlib.sha256()
    with open(mapping, "rb") as file:
        with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as memory:
            total.update(memory)
    database = open_database(database_path)
    check = database.execute("PRAGMA integrity_check").fetchone()[0]
    if check != "ok":
        sys.exit(f"the database is damaged: {check}")
    for row in database.execute("SELECT id, text FROM notes ORDER BY id"):
        total.update(repr(row).encode())
    database.close()
    return total.hexdigest()


def main():
    """See the top of the file."""
    if len(sys.argv) != 3 or sys.argv[1] not in ("write", "read"):
        sys.exit(__doc__)
    mapping = os.path.join(sys.argv[2], "weights.bin")
    group = os.path.join(sys.argv[2], "db")
    database = os.path.join(group, "notes.sqlite")
    if sys.argv[1] == "write":
        write_mapping(mapping)
        os.mkdir(group)
        write_database(database)
    print("sha256", digest(mapping, database))


main()
