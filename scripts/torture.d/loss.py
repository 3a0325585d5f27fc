#!/usr/bin/env python3
"""Databases under load whose host is lost, opened from the store alone.

A round: a process runs transactions in a directory of the mount; at a random moment the daemon is
killed and its cache is removed; another mount, whose cache is empty, takes the group over and opens
the database. It must be whole and hold exactly the first N transactions, with N not below what was
known to be committed (regionfs sync had returned; or, with sync=remote and a database that syncs,
what it had answered). The next round goes on from there.

With --every-commit, and a directory as the store, each root that was ever in the store is kept, and
the database is also opened as of each of them, read-only and copied out, for its recovery writes.
"""
import argparse
import collections
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

from daemon import Hung, Stores, Victim
from transactions import ALL, LEFT_OUT, Expected


class RootWatcher:
    """Keeps every root of a directory store: each is a new file that takes the name of the old one."""

    def __init__(self, store, folder):
        self.store, self.folder, self.count, self.seen = store, folder, 0, {}
        os.makedirs(folder)
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self):
        while not self.stopping.is_set():
            self.look()
            self.stopping.wait(0.001)

    def look(self):
        groups = os.path.join(self.store, "g")
        for group in os.listdir(groups) if os.path.isdir(groups) else []:
            path = os.path.join(groups, group, "root")
            kept = f"{self.folder}/{self.count}"
            try:
                os.link(path, kept)
            except FileNotFoundError:
                continue
            status = os.stat(kept)
            if self.seen.get(group, (None,))[0] == status.st_ino:
                os.unlink(kept)
                continue
            # The link keeps the inode, so that its number is not given to another root.
            self.seen[group] = (status.st_ino, kept)
            with open(kept + ".group", "w") as file:
                file.write(group)
            self.count += 1

    def stop(self):
        self.stopping.set()
        self.thread.join()

    def roots(self):
        for number in range(self.count):
            with open(f"{self.folder}/{number}.group") as file:
                yield file.read(), f"{self.folder}/{number}"


class Campaign:
    def __init__(self, arguments, work):
        self.arguments, self.work = arguments, work
        self.stores = Stores(arguments.store, work)
        self.tally = collections.Counter()
        self.mounts = 0
        self.host = None
        self.child = None

    def mount(self, store, options):
        self.mounts += 1
        host = Victim(self.work, f"host-{self.mounts}", store, options)
        host.mount()
        return host

    def lose(self, host):
        host.remove()
        os.rmdir(host.point)

    # One database

    def run_database(self, database):
        store, options = self.stores.fresh()
        choice = random.Random(f"{self.arguments.seed} {database.name}")
        self.host = self.mount(store, options)
        directory = self.host.point + "/db"
        os.mkdir(directory)
        database.make(directory)
        self.host.sync()
        number, expected = 0, Expected()
        for _ in range(self.arguments.rounds):
            number = self.run_round(database, store, options, number, expected, choice)
        self.lose(self.host)
        self.host = None

    def run_round(self, database, store, options, number, expected, choice):
        is_remote = choice.random() < 0.3
        self.lose(self.host)
        words = [f"push_interval={choice.choice(['100ms', '150ms', '400ms'])}", "takeover"]
        self.host = self.mount(store, [*options, *words, *(["sync=remote"] if is_remote else [])])
        watcher = None
        if self.arguments.every_commit:
            watcher = RootWatcher(store.removeprefix("file://"), f"{self.work}/roots-{self.mounts}")
        committed, answered = self.load(database, number, choice, is_remote)
        # The host is gone: the daemon and all it had.
        self.lose(self.host)
        if watcher:
            watcher.stop()
        self.host = self.mount(store, [*options, "takeover"])
        found = self.check(database, self.host.point + "/db", expected, "after the loss")
        if not committed <= found <= answered + 1:
            raise AssertionError(
                f"{found} transactions, {committed} were known to be committed and {answered} answered")
        self.tally[f"{database.name}: hosts lost"] += 1
        self.tally[f"{database.name}: transactions answered"] += answered - number
        self.tally[f"{database.name}: of these not committed"] += max(0, answered - found)
        if watcher:
            self.check_commits(database, store, watcher, expected, number, found)
            shutil.rmtree(watcher.folder)
        return found

    def load(self, database, number, choice, is_remote):
        """Runs transactions until the daemon is killed; the last that is known to be committed, and
        the last that was answered."""
        reading, writing = os.pipe()
        self.child = os.fork()
        if self.child == 0:
            os.close(reading)
            try:
                database.work(
                    self.host.point + "/db", number + 1, lambda n: os.write(writing, b"%d\n" % n))
            except BaseException as error:
                os.write(writing, b"!" + repr(error).encode()[:300] + b"\n")
            os._exit(3)
        os.close(writing)
        committed = number
        end = time.monotonic() + choice.uniform(0.1, self.arguments.longest)
        answers, text = [], b""
        os.set_blocking(reading, False)

        def look():
            nonlocal text
            while True:
                try:
                    more = os.read(reading, 65536)
                except BlockingIOError:
                    return
                if not more:
                    return
                text += more
                *lines, text = text.split(b"\n")
                answers.extend(lines)

        def last():
            numbers = [int(a) for a in answers if not a.startswith(b"!")]
            return max([number, *numbers])

        while time.monotonic() < end:
            time.sleep(choice.uniform(0, 0.15))
            look()
            if [a for a in answers if a.startswith(b"!")]:
                raise RuntimeError(f"{database.name} failed while all was well: {answers[-1]}")
            if choice.random() < 0.2:
                known = last()
                self.host.sync()
                committed = known
        self.host.kill()
        os.kill(self.child, signal.SIGKILL)
        os.waitpid(self.child, 0)
        self.child = None
        look()
        os.close(reading)
        if is_remote and database.is_durable:
            committed = last()
            self.tally[f"{database.name}: hosts lost with sync=remote"] += 1
        return committed, last()

    def check(self, database, directory, expected, what):
        number, rows = database.read(directory)
        wanted = expected.advance(number)
        if rows != wanted:
            differing = [row for row in range(1000) if rows.get(row) != wanted.get(row)]
            raise AssertionError(f"{database.name} {what}: transaction {number}, wrong rows {differing[:10]}")
        return number

    def check_commits(self, database, store, watcher, expected, first, last):
        """The database as of each root that there was."""
        previous = 0
        for group, root in watcher.roots():
            past = f"{self.work}/past"
            run = subprocess.run(["cp", "-al", store.removeprefix("file://"), past], capture_output=True, text=True)
            if run.returncode != 0:
                raise RuntimeError(run.stderr)
            os.unlink(f"{past}/g/{group}/root")
            os.link(root, f"{past}/g/{group}/root")
            host = self.mount(f"file://{past}", ["ro"])
            try:
                copy = f"{self.work}/copy"
                shutil.copytree(host.point + "/db", copy)
                number = self.check(database, copy, Expected(), "as of a commit")
                if not max(first, previous) <= number <= last:
                    raise AssertionError(f"a commit has {number} transactions, not {max(first, previous)}...{last}")
                previous = number
            finally:
                self.lose(host)
            shutil.rmtree(copy)
            shutil.rmtree(past)
            self.tally[f"{database.name}: commits opened"] += 1

    def run(self):
        start = time.monotonic()
        for name in self.arguments.database:
            signal.alarm(3600)
            self.run_database(ALL[name])
            signal.alarm(0)
            print(f"{name}: {self.tally[f'{name}: hosts lost']} hosts lost, "
                  f"{time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)

    def stop(self):
        if self.child is not None:
            os.kill(self.child, signal.SIGKILL)
            os.waitpid(self.child, 0)
        if self.host is not None:
            print(f"The daemon's log ends:\n{self.host.log_tail()}", file=sys.stderr)
            self.host.remove()
        self.stores.stop()


def hung(*_):
    raise Hung("a database takes more than an hour")


def parse():
    parser = argparse.ArgumentParser(
        prog="scripts/torture loss", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"Databases: {', '.join(ALL)}. Not {', '.join(LEFT_OUT)}: what they need to roll back is "
               "in memory only.")
    parser.add_argument("--database", type=lambda text: text.split(","), default=list(ALL), help="with commas between")
    parser.add_argument("--rounds", type=int, default=10, help="hosts lost for each database")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--store", choices=["directory", "s3"], default="directory")
    parser.add_argument("--longest", type=float, default=1.5, help="seconds of load, at most")
    parser.add_argument("--every-commit", action="store_true")
    arguments = parser.parse_args()
    if arguments.every_commit and arguments.store != "directory":
        parser.error("--every-commit needs --store directory")
    return arguments


def main():
    arguments = parse()
    signal.signal(signal.SIGALRM, hung)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    work = tempfile.mkdtemp(prefix="regionfs-loss-")
    campaign = Campaign(arguments, work)
    try:
        campaign.run()
    finally:
        campaign.stop()
        print(json.dumps({"store": arguments.store, "seed": arguments.seed, **dict(sorted(campaign.tally.items()))}, indent=2))
        if sys.exc_info()[0] is None:
            shutil.rmtree(work)
        else:
            print(f"kept: {work}", file=sys.stderr)


if __name__ == "__main__":
    main()
