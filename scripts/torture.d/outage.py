"""Takes the store away under load, or fills the cache's disk, and demands that what is here goes on,
that the daemon stays responsive, and that everything drains when the store is back.

usage: scripts/torture outage [--rounds N] [--seconds S] [--kinds refused,silent,disk]
Kinds of outage, in turn:
  refused   the S3 server is killed and started again on the same port and data; the daemon is killed
            with it, and its next mount begins without the store
  silent    requests are swallowed and nothing ever comes back
  disk      the cache's disk is full, then has room again
"""
import argparse
import errno
import hashlib
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

from daemon import Victim
from servers import BINARIES, KEYS, Proxy, Weed, run

BLOCK = 64 << 10
LOG_LIMIT = 64 << 20
FAULT_TIMEOUT = 3


def block(number, generation):
    return hashlib.sha256(b"%d %d" % (number, generation)).digest() * (BLOCK // 32)


class Writer(threading.Thread):
    """Writes blocks by write(2) and remembers what was accepted; ENOSPC is waited out."""

    def __init__(self, path, blocks, seed):
        super().__init__(daemon=True)
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
        self.random, self.blocks = random.Random(seed), blocks
        self.accepted, self.unsure = {}, {}
        self.count = self.full = 0
        self.slowest = 0.0
        self.error, self.ends = None, threading.Event()

    def run(self):
        while not self.ends.is_set():
            number = self.random.randrange(self.blocks)
            generation = self.count + 1
            begin = time.monotonic()
            try:
                written = os.pwrite(self.descriptor, block(number, generation), number * BLOCK)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    # The daemon was killed under it: this one may be there or not.
                    self.unsure[number] = generation
                    self.error = error
                    return
                self.full += 1
                time.sleep(0.05)
                continue
            if written != BLOCK:
                self.unsure[number] = generation
                continue
            self.count = generation
            self.accepted[number] = generation
            self.unsure.pop(number, None)
            self.slowest = max(self.slowest, time.monotonic() - begin)

    def stop(self):
        self.ends.set()
        self.join(60)
        if self.is_alive():
            raise RuntimeError("a write neither ends nor fails")
        os.close(self.descriptor)

    def verify(self, path):
        with open(path, "rb") as file:
            for number, generation in self.accepted.items():
                file.seek(number * BLOCK)
                data = file.read(BLOCK)
                if data == block(number, generation):
                    continue
                unsure = self.unsure.get(number)
                if unsure is None or any(
                        data[at:at + 4096] not in (block(number, generation)[:4096], block(number, unsure)[:4096])
                        for at in range(0, BLOCK, 4096)):
                    raise RuntimeError(f"block {number} is not the accepted generation {generation}")


class Prober(threading.Thread):
    """Asks for what needs no store, again and again, and notes the longest wait."""

    def __init__(self, victim):
        super().__init__(daemon=True)
        self.victim, self.ends, self.waits, self.wrong = victim, threading.Event(), {}, []

    def run(self):
        point, environment = self.victim.point, self.victim.environment
        questions = {
            "ls": ["ls", "-l", point + "/d"],
            "ls of the top": ["ls", point],
            "stat": ["stat", point + "/d/present"],
            "regionfs-stat": [BINARIES + "/regionfs-stat", "--json", point],
            "read": ["cmp", "-n", "1000000", point + "/d/present", self.victim.cache + ".present"],
        }
        while not self.ends.is_set():
            for name, command in questions.items():
                begin = time.monotonic()
                done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
                self.waits[name] = max(self.waits.get(name, 0), time.monotonic() - begin)
                if done.returncode != 0:
                    self.wrong.append(f"{name}: {done.stderr.strip()}")
            time.sleep(0.1)

    def stop(self):
        self.ends.set()
        self.join(60)


class Round:
    def __init__(self, work, kind, number, seconds, weed):
        self.work, self.kind, self.seconds, self.weed = work, kind, seconds, weed
        self.number, self.proxy = number, None
        address = weed.address
        if kind == "silent":
            self.proxy = Proxy(weed.address)
            address = self.proxy.address
        self.store = f"s3://bench/outage-{number}"
        self.disk = f"{work}/disk-{number}"
        os.makedirs(self.disk)
        if kind == "disk":
            run("mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", self.disk)
        options = [f"endpoint=http://{address}", "path_style", "push_interval=500ms", "pull=lazy",
                   f"log_limit={LOG_LIMIT}", f"fault_timeout={FAULT_TIMEOUT}s"]
        self.victim = Victim(work, f"{number}", self.store, options)
        if kind == "disk":
            self.victim.cache = self.disk + "/cache"
        # Another host's view, directly at the store.
        direct = [f"endpoint=http://{weed.address}", "path_style", "ro"]
        self.other = Victim(work, f"{number}-elsewhere", self.store, direct)
        self.found = {"kind": kind}

    def prepare(self):
        """A file that nobody here has read yet, and one that is present."""
        maker = Victim(self.work, f"{self.number}-maker", self.store,
                       [f"endpoint=http://{self.weed.address}", "path_style"])
        maker.mount()
        with open(maker.point + "/absent", "wb") as file:
            file.write(os.urandom(8 << 20))
        maker.unmount()
        maker.remove()
        self.victim.mount()
        os.makedirs(self.victim.point + "/d")
        os.makedirs(os.path.dirname(self.victim.cache), exist_ok=True)
        present = os.urandom(1 << 20)
        for path in (self.victim.point + "/d/present", self.victim.cache + ".present"):
            with open(path, "wb") as file:
                file.write(present)
        os.stat(self.victim.point + "/absent")
        self.victim.sync()

    def run(self):
        self.prepare()
        blocks = 1600 if self.kind == "disk" else 600
        writer = Writer(self.victim.point + "/d/written", blocks, self.number)
        writer.start()
        time.sleep(1)
        writer = self.begin(writer)
        prober = Prober(self.victim)
        prober.start()
        before = writer.count
        if self.kind != "disk":
            self.ask_for_absent()
        time.sleep(self.seconds)
        self.found.update(written=writer.count - before, enospc=writer.full,
                          slowest_write=round(writer.slowest, 2))
        prober.stop()
        self.found["waits"] = {name: round(wait, 2) for name, wait in prober.waits.items()}
        if prober.wrong:
            raise RuntimeError(f"what is present fails: {prober.wrong[:3]}")
        self.end()
        begin = time.monotonic()
        self.wait_for_writes(writer)
        writer.stop()
        run(BINARIES + "/regionfs", "sync", self.victim.point, env=self.victim.environment, timeout=300)
        self.found["drained"] = round(time.monotonic() - begin, 1)
        writer.verify(self.victim.point + "/d/written")
        with open(self.victim.point + "/absent", "rb") as file:
            file.read(1)
        self.victim.unmount(120)
        self.other.mount()
        writer.verify(self.other.point + "/d/written")
        run("cmp", self.other.point + "/d/present", self.victim.cache + ".present")
        if self.kind != "disk" and writer.full == 0 and self.seconds > 60:
            raise RuntimeError(f"{LOG_LIMIT} bytes of log were never full")
        return self.found

    def begin(self, writer):
        """Starts the outage. Returns the writer that goes on."""
        if self.kind == "silent":
            self.proxy.control("rule action=blackhole")
        elif self.kind == "disk":
            self.ballast = open(self.disk + "/ballast", "wb")
            with self.ballast:
                try:
                    while True:
                        self.ballast.write(bytes(1 << 16))
                        self.ballast.flush()
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
        else:
            self.weed.process.kill()
            self.weed.process.wait()
            self.victim.kill()
            writer.join(60)
            if writer.is_alive():
                raise RuntimeError("a write outlives the daemon")
            try:
                os.close(writer.descriptor)
            except OSError as error:
                if error.errno != errno.ENOTCONN:
                    raise
            self.found["mount"] = round(self.victim.mount(), 1)
            status = json.loads(run(BINARIES + "/regionfs-stat", "--json", self.victim.point,
                                    env=self.victim.environment))
            if not status["mounts"][0]["mount"]["offline"]:
                raise RuntimeError("the mount does not say that it is offline")
            writer.verify(self.victim.point + "/d/written")
            fresh = Writer(self.victim.point + "/d/written", writer.blocks, self.number + 1)
            fresh.accepted, fresh.unsure, fresh.count = writer.accepted, writer.unsure, writer.count
            fresh.start()
            return fresh
        return writer

    def ask_for_absent(self):
        """A read fails in time, a mapping gets SIGBUS, and who waits can be killed."""
        path = self.victim.point + "/absent"
        begin = time.monotonic()
        done = subprocess.run(["dd", "if=" + path, "of=/dev/null", "bs=4k", "count=1"], capture_output=True, text=True)
        self.found["eio_after"] = round(time.monotonic() - begin, 1)
        if "Input/output error" not in done.stderr:
            raise RuntimeError(f"read(2) of an absent page: {done.stderr}")
        program = f"import mmap; f=open({path!r},'rb'); m=mmap.mmap(f.fileno(),0,prot=1); m[4<<20]"
        begin = time.monotonic()
        done = subprocess.run([sys.executable, "-c", program], capture_output=True)
        self.found["sigbus_after"] = round(time.monotonic() - begin, 1)
        if done.returncode != -signal.SIGBUS:
            raise RuntimeError(f"a mapping of an absent page: {done}")
        slowest = 0
        for command in (["tail", "-c", "100000", path],
                        ["cat", self.victim.point + "/no-such-name"]):
            child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(0.5)
            begin = time.monotonic()
            child.send_signal(signal.SIGINT)
            child.wait(30)
            slowest = max(slowest, time.monotonic() - begin)
        self.found["interrupted_after"] = round(slowest, 2)

    def end(self):
        if self.kind == "silent":
            self.proxy.control("clear-rules")
        elif self.kind == "disk":
            if self.found["enospc"] == 0:
                raise RuntimeError("the disk was never full")
            os.remove(self.disk + "/ballast")
        else:
            self.weed.process = subprocess.Popen(
                self.weed.process.args, env={**os.environ, **KEYS}, stdout=self.weed.log, stderr=self.weed.log)

    def wait_for_writes(self, writer):
        """The writer is let go on: two more writes after the outage's end."""
        want, end = writer.count + 2, time.monotonic() + 120
        while writer.count < want:
            if writer.error or time.monotonic() > end:
                raise RuntimeError(f"no write for 120 s after the end of the outage: {writer.error}")
            time.sleep(0.05)

    def remove(self):
        for victim in (self.victim, self.other):
            victim.remove()
        if self.proxy:
            self.proxy.stop()
        if self.kind == "disk":
            subprocess.run(["umount", "-l", self.disk], check=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=120, help="of each outage")
    parser.add_argument("--kinds", default="refused,silent,disk")
    arguments = parser.parse_args()
    work = tempfile.mkdtemp(prefix="regionfs-outage-")
    weed = Weed(work + "/weed")
    kinds = arguments.kinds.split(",")
    try:
        for number in range(arguments.rounds):
            one = Round(work, kinds[number % len(kinds)], number, arguments.seconds, weed)
            try:
                print(json.dumps(one.run()), flush=True)
            except BaseException:
                print(f"round {number} ({one.kind}): {one.found}\n{one.victim.log_tail()}", file=sys.stderr)
                raise
            finally:
                one.remove()
    finally:
        weed.stop()
        shutil.rmtree(work, ignore_errors=True)
    print(f"{arguments.rounds} outages, nothing accepted was lost")


if __name__ == "__main__":
    main()
