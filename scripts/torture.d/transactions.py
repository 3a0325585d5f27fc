"""Databases whose transactions follow from a seed, so that what they hold says how many there were.

Each transaction writes its number and changes some rows that follow from it; a reader replays them
up to the number it finds and compares everything.
"""
import hashlib
import os
import random
import sqlite3
import subprocess
import sys

ROWS = 400


def changes(number):
    """What transaction `number` does: row -> value, None to delete it."""
    choice = random.Random(number)
    rows = {}
    for _ in range(choice.randint(1, 12)):
        row = choice.randrange(ROWS)
        gone = choice.random() < 0.15
        value = hashlib.sha256(f"{number} {row}".encode()).hexdigest() * choice.choice([1, 4, 40])
        rows[row] = None if gone else value
    return rows


class Expected:
    """The rows after so many transactions; only ever goes forward."""

    def __init__(self):
        self.number, self.rows = 0, {}

    def advance(self, number):
        if number < self.number:
            self.__init__()
        while self.number < number:
            self.number += 1
            for row, value in changes(self.number).items():
                if value is None:
                    self.rows.pop(row, None)
                else:
                    self.rows[row] = value
        return self.rows


class SQLite:
    """One journal mode. With `synchronous=OFF` only the order of its writes keeps it whole, which is
    what a group keeps."""

    def __init__(self, mode, synchronous):
        self.mode, self.synchronous = mode, synchronous
        self.name = f"sqlite-{mode}-{synchronous.lower()}"
        # A transaction that was answered was also synced. In mode DELETE the journal's removal ends
        # it, and only EXTRA syncs the directory after that.
        self.is_durable = synchronous == "EXTRA" or synchronous == "FULL" and mode != "delete"

    def _connect(self, directory):
        connection = sqlite3.connect(os.path.join(directory, "database.sqlite"), isolation_level=None, timeout=30)
        mode = connection.execute(f"PRAGMA journal_mode={self.mode}").fetchone()[0]
        if mode != self.mode:
            raise RuntimeError(f"journal_mode is {mode}, wanted {self.mode}")
        connection.execute(f"PRAGMA synchronous={self.synchronous}")
        connection.execute("PRAGMA mmap_size=268435456")
        # Small caches: pages are written before the commit, and checkpoints come often.
        connection.execute("PRAGMA cache_size=20")
        connection.execute("PRAGMA wal_autocheckpoint=50")
        return connection

    def make(self, directory):
        connection = self._connect(directory)
        connection.execute("CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY, value TEXT)")
        connection.execute("CREATE INDEX IF NOT EXISTS by_value ON rows (value)")
        connection.execute("CREATE TABLE IF NOT EXISTS done (number INTEGER)")
        connection.execute("INSERT INTO done SELECT 0 WHERE NOT EXISTS (SELECT * FROM done)")
        connection.close()

    def work(self, directory, number, answered):
        """Transactions from `number` on until something fails."""
        connection = self._connect(directory)
        while True:
            connection.execute("BEGIN IMMEDIATE")
            for row, value in changes(number).items():
                if value is None:
                    connection.execute("DELETE FROM rows WHERE id = ?", (row,))
                else:
                    connection.execute("INSERT OR REPLACE INTO rows VALUES (?, ?)", (row, value))
            connection.execute("UPDATE done SET number = ?", (number,))
            connection.execute("COMMIT")
            answered(number)
            number += 1

    def read(self, directory):
        """The number of the last transaction, and the rows."""
        connection = self._connect(directory)
        answer = connection.execute("PRAGMA integrity_check").fetchall()
        if answer != [("ok",)]:
            raise AssertionError(f"integrity_check: {answer[:5]}")
        numbers = connection.execute("SELECT number FROM done").fetchall()
        if len(numbers) != 1:
            raise AssertionError(f"numbers: {numbers}")
        rows = dict(connection.execute("SELECT id, value FROM rows"))
        indexed = connection.execute("SELECT count(*) FROM rows INDEXED BY by_value WHERE value >= ''").fetchone()[0]
        if indexed != len(rows):
            raise AssertionError(f"the index has {indexed} rows, the table {len(rows)}")
        connection.close()
        return numbers[0][0], rows


class RocksDB:
    """Write batches; small buffers, so that tables are flushed and compacted all the time. Reads in a
    process of its own: the library keeps locks for as long as its process lives."""

    def __init__(self, is_synced):
        self.name = "rocksdb-sync" if is_synced else "rocksdb-nosync"
        self.is_durable = is_synced

    @staticmethod
    def _open(directory):
        import rocksdict
        options = rocksdict.Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_write_buffer_size(64 << 10)
        options.set_target_file_size_base(128 << 10)
        options.set_level_zero_file_num_compaction_trigger(3)
        options.set_paranoid_checks(True)
        return rocksdict.Rdict(os.path.join(directory, "rocks"), options)

    def make(self, directory):
        self._open(directory).close()

    def work(self, directory, number, answered):
        import rocksdict
        database = self._open(directory)
        how = rocksdict.WriteOptions()
        how.sync = self.is_durable
        while True:
            batch = rocksdict.WriteBatch(raw_mode=True)
            for row, value in changes(number).items():
                if value is None:
                    batch.delete(b"%d" % row)
                else:
                    batch.put(b"%d" % row, value.encode())
            batch.put(b"number", b"%d" % number)
            database.write(batch, how)
            answered(number)
            number += 1

    def read(self, directory):
        answer = subprocess.run(
            [sys.executable, __file__, self.name, directory], capture_output=True, text=True, timeout=120)
        if answer.returncode != 0:
            raise AssertionError(f"RocksDB cannot be opened: {answer.stderr[-800:]}")
        number, rows = eval(answer.stdout, {"__builtins__": {}})  # our own repr of numbers and strings
        return number, rows

    def print_rows(self, directory):
        database = self._open(directory)
        rows = {bytes(k): bytes(v).decode() for k, v in database.items()}
        number = int(rows.pop(b"number", "0"))
        database.close()
        print(repr((number, {int(k): v for k, v in rows.items()})))


ALL = {database.name: database for database in [
    *[SQLite(mode, how) for mode in ["delete", "truncate", "persist"] for how in ["FULL", "OFF"]],
    SQLite("delete", "EXTRA"),
    SQLite("wal", "FULL"), SQLite("wal", "NORMAL"), SQLite("wal", "OFF"),
    RocksDB(True), RocksDB(False),
]}
# Rolling back needs what these modes keep only in memory or nowhere: a process that dies in a
# transaction leaves half of it on any file system.
LEFT_OUT = ["sqlite-memory", "sqlite-off"]

if __name__ == "__main__":
    ALL[sys.argv[1]].print_rows(sys.argv[2])
