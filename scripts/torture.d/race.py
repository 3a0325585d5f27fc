#!/usr/bin/env python3
"""Two daemons want to write one group, and each is stopped (SIGSTOP) at random moments.

usage: race.py [--store directory|s3] [--rounds N] [--seed S] [--work DIR] [--verbose]

In a round both mounts write the group in turn, each time after `regionfs takeover`, with msync and
regionfs sync, while a third hand stops and continues both daemons at seeded moments. On S3 the answers
of one root swap in five are cut off after the store has done it. A witness reads the root all the time.
Then:
- no commit number ever stood for two commits, and each root continued the history seen before;
- what a mount was told is committed is in the group's history: no page is older than it;
- a mount that lost the group with changes of its own said ESTALE, and `regionfs recover` saves them:
  the new group has what that mount had, page by page;
- in every fourth round: both can write again, and a third mount sees it.
A round that fails prints its seed: run it again with --rounds 1 --seed.
"""
import argparse
import json
import mmap
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time

if sys.argv[1:2] != ["--stopper"]:  # it has to be quick
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    from daemon import PATIENCE, Stores, Victim
    from servers import BINARIES, Proxy

PAGE = 4096
PAGES = 8
GROUP = "db"


class Broken(Exception):
    """A promise was not kept."""


def page(writer, serial):
    return struct.pack("<QQ", writer, serial).ljust(64, b"=") * (PAGE // 64)


def owner(data):
    """Who wrote a page and when by its own count; all of it must be of one write."""
    writer, serial = struct.unpack_from("<QQ", data)
    if writer == serial == 0:
        if data.strip(b"\0"):
            raise Broken("a page is torn")
        return 0, 0
    if data != page(writer, serial):
        raise Broken(f"a page of writer {writer}, serial {serial} is torn")
    return writer, serial


class Witness(threading.Thread):
    """Reads the root again and again and notes each commit."""

    def __init__(self, read):
        super().__init__(daemon=True)
        self.read, self.commits, self.epoch, self.newest, self.over, self.error = read, {}, 0, 0, False, None
        self.looks = 0

    def look(self):
        data = self.read()
        if data[:8] != b"RGFSROOT":
            raise Broken("the root is no root")
        epoch, number = struct.unpack_from("<QQ", data, 54)
        holder, checkpoint, former = struct.unpack_from("<HHH", data, 126)
        chain = [(number, data[70:86])]
        at = 150 + holder + 64 * checkpoint
        for index in range(former):
            old, = struct.unpack_from("<Q", data, at + 24 * index)
            chain.append((old, data[at + 24 * index + 8:at + 24 * index + 24]))
        if [n for n, _ in chain] != list(range(number, number - len(chain), -1)):
            raise Broken(f"the history has gaps: {[n for n, _ in chain]}")
        for old, nonce in chain:
            if self.commits.setdefault(old, nonce) != nonce:
                raise Broken(f"commit {old} was made twice")
        if epoch < self.epoch or number < self.newest:
            raise Broken(f"the root went back from epoch {self.epoch}, commit {self.newest} to {epoch}, {number}")
        self.epoch, self.newest = epoch, number
        self.looks += 1

    def run(self):
        try:
            while not self.over:
                self.look()
                time.sleep(0.003)
        except Exception as error:  # told to the main thread, which ends the round
            self.error = error

    def finish(self):
        self.over = True
        self.join(PATIENCE)
        if self.error is not None:
            raise self.error
        self.look()


class Stopper:
    """SIGSTOP and SIGCONT at seeded moments, from a process of its own: a thread of this one in a fault
    holds the interpreter's lock until the daemon goes on."""

    def __init__(self, victims, seed):
        pids = [str(victim.process.pid) for victim in victims]
        self.process = subprocess.Popen(
            [sys.executable, os.path.abspath(__file__), "--stopper", str(seed), *pids],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process.stdout.readline()

    def finish(self):
        """How often it stopped one."""
        out, _ = self.process.communicate(timeout=PATIENCE)
        return int(out)


def stopper(seed, pids):
    chance, over, stops = random.Random(seed), threading.Event(), 0
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    print("ready", flush=True)
    while not over.is_set():
        time.sleep(chance.uniform(0.0, 0.02))
        pid = int(chance.choice(pids))
        os.kill(pid, signal.SIGSTOP)
        stops += 1
        time.sleep(chance.choice([0.002, 0.01, 0.03, 0.08]))
        os.kill(pid, signal.SIGCONT)
    print(stops)


class Rival(threading.Thread):
    """A user of one mount: takes the group over, writes, msyncs, commits; says what it was told."""

    def __init__(self, victim, number, turns, seed):
        super().__init__(daemon=True)
        self.victim, self.number, self.turns, self.random = victim, number, turns, random.Random(seed)
        self.serial, self.stale, self.busy, self.committed, self.error = 0, 0, 0, 0, None
        self.file = f"{victim.point}/{GROUP}/f"

    def command(self, *words):
        return subprocess.run(
            [BINARIES + "/regionfs", *words], env=self.victim.environment, capture_output=True, text=True,
            timeout=PATIENCE)

    def turn(self):
        """One takeover and some changes; raises OSError where the claim is gone."""
        taken = self.command("takeover", f"{self.victim.point}/{GROUP}")
        if taken.returncode != 0:
            if "lost" in taken.stderr:
                return self.lose()
            self.busy += 1
            return True
        descriptor = os.open(self.file, os.O_RDWR)
        try:
            with mmap.mmap(descriptor, PAGES * PAGE) as mapping:
                for _ in range(self.random.randint(1, 3)):
                    self.serial += 1
                    at = self.random.randrange(PAGES) * PAGE
                    mapping[at:at + PAGE] = page(self.number, self.serial)
                    mapping.flush()
            if self.random.random() < 0.7:
                done = self.command("sync", f"{self.victim.point}/{GROUP}")
                if done.returncode == 0:
                    self.committed = self.serial
                else:
                    return self.lose()
        finally:
            os.close(descriptor)
        return True

    def lose(self):
        """The claim is gone with changes of ours: every change must say ESTALE. Or the daemon was stopped
        for longer than a command waits for it: then this is one more change."""
        self.serial += 1
        try:
            descriptor = os.open(self.file, os.O_RDWR)
            os.pwrite(descriptor, page(self.number, self.serial), 0)
            os.close(descriptor)
        except OSError as error:
            if error.errno not in (116, 16):  # ESTALE, EBUSY
                raise
            self.stale += error.errno == 116
            return error.errno != 116
        return True

    def run(self):
        try:
            for _ in range(self.turns):
                try:
                    if not self.turn():
                        return
                except OSError as error:
                    if error.errno == 116:
                        self.stale += 1
                        return
                    if error.errno != 16:
                        raise
                    self.busy += 1
        except Exception as error:
            self.error = error


def contents(path):
    with open(path, "rb") as file:
        # What the daemon has: a page whose write-back was refused stays in the kernel's cache.
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        data = file.read()
    return [owner(data[at:at + PAGE]) for at in range(0, PAGES * PAGE, PAGE)]


class Campaign:
    def __init__(self, arguments):
        self.arguments = arguments
        self.work = tempfile.mkdtemp(prefix="regionfs-race-", dir=arguments.work)
        self.stores = Stores(arguments.store, self.work)
        self.totals = {"races": 0, "commits": 0, "takeovers": 0, "stops": 0, "stale": 0, "saved": 0}

    def reader(self, address):
        """What reads the root of the only group, past the proxy."""
        if self.arguments.store == "directory":
            top = address[len("file://"):] + "/g"
            group, = os.listdir(top)

            def read():
                with open(f"{top}/{group}/root", "rb") as file:
                    return file.read()
            return read
        prefix = address.split("/")[-1] + "/g/"
        client = self.stores.weed.client
        key = next(o["Key"] for o in client.list_objects_v2(Bucket="bench", Prefix=prefix)["Contents"]
                   if o["Key"].endswith("/root"))
        return lambda: client.get_object(Bucket="bench", Key=key)["Body"].read()

    def recover(self, victim, *more):
        words = ",".join([f"cache_dir={victim.cache}", *victim.options])
        return subprocess.run(
            [BINARIES + "/regionfs", "recover", victim.store, "-o", words, *more], env=victim.environment,
            capture_output=True, text=True, timeout=PATIENCE)

    def race(self, seed):
        chance = random.Random(seed)
        address, options = self.stores.fresh()
        direct, proxy = options, None
        if self.arguments.store == "s3":
            proxy = Proxy(
                self.stores.weed.address, "--seed", str(seed), "--rule",
                "match=PUT .*/root,action=reset-response,probability=0.2")
            options = [f"endpoint=http://{proxy.address}", "path_style"]
        interval = chance.choice(["push_interval=100ms", "push_interval=300ms", "push_interval=1h"])
        victims = [Victim(self.work, f"{number}", address, options + [interval]) for number in (1, 2)]
        try:
            victims[0].mount()
            os.mkdir(f"{victims[0].point}/{GROUP}")
            with open(f"{victims[0].point}/{GROUP}/f", "wb") as file:
                file.truncate(PAGES * PAGE)
            victims[0].sync()
            victims[1].mount()
            self.fight(victims, address, direct, chance)
        finally:
            for victim in victims:
                victim.remove()
            if proxy is not None:
                proxy.stop()

    def fight(self, victims, address, direct, chance):
        witness = Witness(self.reader(address))
        witness.start()
        rivals = [Rival(v, n, chance.randint(2, 5), chance.random()) for n, v in enumerate(victims, 1)]
        hand = Stopper(victims, chance.random())
        try:
            for rival in rivals:
                rival.start()
            for rival in rivals:
                rival.join(6 * PATIENCE)
                if rival.is_alive():
                    raise Broken("a rival hangs")
        finally:
            stops = hand.finish()
        for rival in rivals:
            if rival.error is not None:
                raise rival.error
        seen = [contents(rival.file) for rival in rivals]
        for rival in rivals:
            self.end(rival, address, direct, seen[rival.number - 1])
        witness.finish()
        if self.totals["races"] % 4 == 0:
            self.check(rivals, address, direct)
        self.totals["races"] += 1
        self.totals["commits"] += witness.newest
        self.totals["takeovers"] += witness.epoch
        self.totals["stops"] += stops
        self.totals["stale"] += sum(rival.stale > 0 for rival in rivals)

    def end(self, rival, address, direct, seen):
        """Unmounts; what was lost is saved, and is what that mount showed."""
        victim = rival.victim
        subprocess.run(["fusermount3", "-u", victim.point], check=True, capture_output=True)
        victim.process.wait(PATIENCE)
        listing = json.loads(self.recover(victim, "--json").stdout)
        asides = listing["setAside"]
        if listing["pending"]:
            raise Broken(f"a log is neither committed nor set aside: {listing}")
        if (victim.process.returncode != 0) != bool(asides):
            raise Broken(f"status {victim.process.returncode}, set aside {asides}")
        if not asides:
            return
        name = f"saved-by-{rival.number}"
        saved = self.recover(victim, "--save", name)
        if saved.returncode != 0:
            raise Broken(f"recover: {saved.stderr}")
        other = Victim(self.work, "look", address, direct)
        try:
            other.mount("ro")
            kept = contents(f"{other.point}/{name}/f")
            for at, (writer, serial) in enumerate(seen):
                if kept[at] != (writer, serial):
                    raise Broken(f"page {at} of {name} is {kept[at]}, its mount had {(writer, serial)}")
        finally:
            other.remove()
        self.totals["saved"] += 1

    def check(self, rivals, address, direct):
        """The group as it is now: nothing of it older than what its last writer committed; and both
        may write it."""
        for rival in rivals:
            victim = rival.victim
            victim.mount()
            pages = contents(rival.file)
            mine = [serial for writer, serial in pages if writer == rival.number]
            if mine and max(mine) > rival.serial:
                raise Broken("a page that was never written")
            with open(rival.file, "r+b") as file:
                file.write(page(rival.number, 1 << 40))
                file.flush()
                os.fsync(file.fileno())
            victim.sync()
            subprocess.run(["fusermount3", "-u", victim.point], check=True, capture_output=True)
            if victim.process.wait(PATIENCE) != 0:
                raise Broken(f"the end: {victim.log_tail()}")
        other = Victim(self.work, "last", address, direct)
        try:
            other.mount("ro")
            if contents(f"{other.point}/{GROUP}/f")[0] != (rivals[-1].number, 1 << 40):
                raise Broken("the last commit is not what a new mount sees")
        finally:
            other.remove()

    def run(self):
        start = time.monotonic()
        failed = 0
        for seed in range(self.arguments.seed, self.arguments.seed + self.arguments.rounds):
            try:
                self.race(seed)
            except Exception as error:
                failed += 1
                print(f"seed {seed}: {type(error).__name__}: {error}", flush=True)
                for number in (1, 2):
                    log = f"{self.work}/log-{number}"
                    if os.path.exists(log):
                        shutil.copy(log, f"{self.work}/failed-{seed}-{number}")
            if self.arguments.verbose:
                print(seed, self.totals, flush=True)
            for number in (1, 2):
                if os.path.exists(f"{self.work}/log-{number}"):
                    os.remove(f"{self.work}/log-{number}")
        self.stores.stop()
        words = ", ".join(f"{count} {what}" for what, count in self.totals.items())
        print(f"{self.arguments.store}: {words}; {failed} failed; {time.monotonic() - start:.0f} s", flush=True)
        if not failed:
            shutil.rmtree(self.work, ignore_errors=True)
        else:
            print(f"logs are in {self.work}", flush=True)
        return failed


def main():
    if sys.argv[1:2] == ["--stopper"]:
        return stopper(sys.argv[2], sys.argv[3:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", choices=["directory", "s3"], default="directory")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", default="/tmp")
    parser.add_argument("--verbose", action="store_true")
    sys.exit(1 if Campaign(parser.parse_args()).run() else 0)


main()
