#!/usr/bin/env python3
"""Kills the daemon at random moments under load, and demands all that was acknowledged.

A round: mount; some processes change files in every way, each with a journal outside of the mount;
SIGKILL; the processes end; mount again with the same cache and compare. In some rounds the daemon is
killed again while it recovers, or while it drains after an unmount. Now and then everything is
committed and compared through a mount with an empty cache. A *life* is some rounds on one store.

What was answered (write, truncate, rename, ...; stores into mappings once msync returned) must be
there. What was not may be, whole pages only. The one step that was not answered has happened or not.
"""
import argparse
import collections
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time

from daemon import Hung, Stores, Victim
from load import FLAVOURS, Worker, read_journal
from model import PAGE, TOP, Found, Tree

SHARED_PAGES = 64
NAMING = {"create", "rename", "unlink"}
ROUND_SECONDS = 1200


class Campaign:
    def __init__(self, arguments, work):
        self.arguments, self.work = arguments, work
        self.stores = Stores(arguments.store, work)
        self.tally = collections.Counter()
        self.mount_seconds = []
        self.failures = []
        self.children = []
        self.victim = None
        self.is_stopping = False

    # A life

    def begin_life(self):
        if self.victim is not None:
            self.victim.remove()
        store, options = self.stores.fresh()
        self.store, self.store_options = store, options
        self.victim = Victim(self.work, "main", store, options)
        self.victim.mount()
        self.trees = [Tree(SHARED_PAGES) for _ in range(self.arguments.workers)]
        os.mkdir(self.directory(None))
        for number in range(self.arguments.workers):
            os.mkdir(self.directory(number), 0o700)
        with open(self.shared(), "wb") as file:
            file.truncate(SHARED_PAGES * PAGE * self.arguments.workers)
        self.tally["lives"] += 1

    def directory(self, number, point=None):
        inside = "" if number is None else f"/w{number}"
        return (point or self.victim.point) + "/group" + inside

    def top(self, number, point=None):
        """Where the names of a worker's files at the top begin."""
        return (point or self.victim.point) + f"/w{number}-"

    def shared(self, point=None):
        return (point or self.victim.point) + "/shared"

    def journal(self, number):
        return f"{self.work}/journal-{number}"

    # A round

    def run_round(self, number):
        choice = random.Random(self.arguments.seed * 1_000_003 + number)
        if (number - self.arguments.first) % self.arguments.life == 0:
            self.begin_life()
        else:
            self.mount_seconds.append(self.victim.mount(*self.round_options(choice)))
        flavour = choice.choice(list(FLAVOURS))
        self.spawn_workers(choice, flavour)
        time.sleep(choice.uniform(0.02, self.arguments.longest))
        end = choice.choices(["load", "recovery", "drain"], [6, 2, 1])[0]
        self.tally[f"kills under load, {flavour}"] += 1
        if end == "drain":
            self.end_workers()
            self.victim.unmount_lazily()
            time.sleep(choice.uniform(0, 0.3))
            self.tally["kills while draining"] += 1
        self.victim.kill()
        self.end_workers()
        if self.arguments.sabotage:
            self.lose_half_of_the_logs()
        if end == "recovery":
            for _ in range(choice.randint(1, 3)):
                self.victim.start()
                time.sleep(choice.uniform(0, 1.3 * self.usual_mount_seconds()))
                self.victim.kill()
                self.tally["kills while recovering"] += 1
        self.mount_seconds.append(self.victim.mount())
        self.verify()
        if choice.random() < 1 / self.arguments.elsewhere:
            self.verify_elsewhere()
        self.victim.kill()

    def lose_half_of_the_logs(self):
        """What a daemon that had not logged would leave: the comparison must notice."""
        for folder, _, names in os.walk(self.victim.cache):
            if folder.endswith("/log") and names:
                newest = os.path.join(folder, max(names))
                os.truncate(newest, os.path.getsize(newest) // 2)

    def round_options(self, choice):
        if self.arguments.sabotage:
            return ["push_interval=1h"]
        interval = choice.choice(["100ms", "100ms", "300ms", "1s", "1h"])
        return [f"push_interval={interval}"] + (["sync=remote"] if choice.random() < 0.1 else [])

    def usual_mount_seconds(self):
        recent = sorted(self.mount_seconds[-20:])
        return recent[len(recent) // 2] if recent else 0.3

    def spawn_workers(self, choice, flavour):
        for number in range(self.arguments.workers):
            seed = choice.randrange(2**40)
            pid = os.fork()
            if pid == 0:
                try:
                    signal.alarm(0)
                    signal.signal(signal.SIGTERM, signal.SIG_DFL)
                    Worker(number, seed, flavour, self.trees[number], self.directory(number),
                           self.top(number), self.shared(), number * SHARED_PAGES * PAGE, self.journal(number)).run()
                except BaseException as error:  # a fork must never return into the driver
                    if not isinstance(error, OSError):
                        print(f"worker {number}: {error!r}", file=sys.stderr, flush=True)
                        os._exit(4)
                os._exit(3)
            self.children.append(pid)

    def end_workers(self):
        for pid in self.children:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        for pid in self.children:
            _, status = os.waitpid(pid, 0)
            if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 4:
                raise RuntimeError("a worker failed by itself, see above")
        self.children = []

    # Comparing

    def found(self, number, point=None):
        return Found(self.directory(number, point), self.top(number, point), self.shared(point),
                     number * SHARED_PAGES * PAGE, SHARED_PAGES * PAGE)

    def verify(self):
        wrong = []
        for number, tree in enumerate(self.trees):
            answered, open_step = read_journal(self.journal(number))
            for step in answered:
                tree.apply(step)
                self.tally[f"acknowledged {step[0]}"] += step[0] != "store"
                self.tally["stores into mappings"] += step[0] == "store"
                self.tally["steps with names at the top"] += step[1].startswith(TOP) and step[0] in NAMING
            found = self.found(number)
            outcomes = []
            for alternative in tree.alternatives(open_step):
                tally = collections.Counter()
                outcomes.append((alternative.problems(found, tally), tally, alternative))
            problems, tally, best = min(outcomes, key=lambda outcome: len(outcome[0]))
            self.tally["steps open at the kill"] += open_step is not None
            if problems:
                wrong += [f"worker {number}, open step {open_step}: {p}" for p in problems[:5]]
                continue
            self.tally += tally
            best.settle(found)
            self.trees[number] = best
            if os.path.exists(self.journal(number)):  # else it was killed before it began
                os.unlink(self.journal(number))
        if wrong:
            raise AssertionError("\n".join(wrong))
        self.tally["rounds compared"] += 1

    def verify_elsewhere(self):
        self.victim.sync()
        other = Victim(self.work, "elsewhere", self.store, [*self.store_options, "ro"])
        try:
            other.mount()
            for number, tree in enumerate(self.trees):
                problems = tree.problems(self.found(number, other.point), self.tally)
                if problems:
                    raise AssertionError(f"elsewhere, worker {number}: " + "\n".join(problems[:5]))
        finally:
            other.remove()
        self.tally["compared with an empty cache"] += 1

    # All of it

    def run(self):
        start = time.monotonic()
        try:
            for number in range(self.arguments.first, self.arguments.first + self.arguments.rounds):
                if self.is_stopping:
                    break
                self.tally["rounds begun"] += 1
                signal.alarm(ROUND_SECONDS)
                self.run_round(number)
                signal.alarm(0)
                if self.tally["rounds compared"] % 25 == 0:
                    print(f"{self.tally['rounds compared']} rounds, "
                          f"{time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
        except (AssertionError, Hung, RuntimeError, OSError) as error:
            print(f"round {number} of seed {self.arguments.seed}: {type(error).__name__}: {error}\n"
                  f"The daemon's log ends:\n{self.victim.log_tail()}", file=sys.stderr, flush=True)
            self.tally["failed rounds"] += 1
        finally:
            signal.alarm(0)
            self.end_workers()
        self.report(time.monotonic() - start)
        return (self.tally["failed rounds"] > 0) == self.arguments.sabotage

    def report(self, seconds):
        times = sorted(self.mount_seconds) or [0]
        print(json.dumps({
            "store": self.arguments.store, "seed": self.arguments.seed, "seconds": round(seconds),
            "mount seconds": {"median": round(times[len(times) // 2], 3), "longest": round(times[-1], 3)},
            **dict(sorted(self.tally.items()))}, indent=2))

    def stop(self, keep):
        """Takes the mounts away; also the data, unless it is evidence."""
        if self.victim is not None:
            if keep:
                self.victim.kill()  # it may still change what is kept
                shutil.copytree(self.victim.cache, self.work + "/kept-cache", dirs_exist_ok=True)
            self.victim.remove()
        if not keep:
            self.stores.stop()
        elif self.stores.weed is not None:
            self.stores.weed.stop()


def hung(*_):
    raise Hung(f"a round takes more than {ROUND_SECONDS} s")


def parse():
    parser = argparse.ArgumentParser(
        prog="scripts/torture crash", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first round")
    parser.add_argument("--store", choices=["directory", "s3"], default="directory")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--life", type=int, default=50, help="rounds on one store")
    parser.add_argument("--longest", type=float, default=0.6, help="seconds of load, at most")
    parser.add_argument("--elsewhere", type=int, default=20, help="compare elsewhere once in so many rounds")
    parser.add_argument(
        "--sabotage", action="store_true", help="cut the logs after each kill, and succeed if that is noticed")
    return parser.parse_args()


def main():
    arguments = parse()
    os.umask(0)
    signal.signal(signal.SIGALRM, hung)
    work = tempfile.mkdtemp(prefix="regionfs-crash-")
    campaign = Campaign(arguments, work)

    def stop_soon(*_):
        campaign.is_stopping = True

    # The round under way is ended, and what was done is reported.
    signal.signal(signal.SIGTERM, stop_soon)
    passed = False
    try:
        passed = campaign.run()
    finally:
        campaign.stop(keep=not passed)
        if passed:
            shutil.rmtree(work)
        else:
            print(f"kept: {work}", file=sys.stderr)
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
