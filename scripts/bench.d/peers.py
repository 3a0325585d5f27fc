#!/usr/bin/env python3
"""The work of `scripts/bench peers`: the same on regionfs and on its peers, in turn. Run it through
scripts/bench."""
import argparse
import contextlib
import datetime
import json
import os
import platform
import shlex
import shutil
import signal
import sys
import tempfile
import time

import filesystems
import memory
import mounts
import report
from processes import reap_overdue, step
from rows import PHASES, Session, run_phase
from servers import COMMIT, Proxy, Weed

MIB = 1 << 20
PIECE = 4 * MIB


class World:
    """What all mounts share: server, proxy, programs, sizes, the record."""

    data_seed = 7

    def __init__(self, arguments, work, stack):
        self.work, self.size, self.timeout = work, arguments.size * MIB, arguments.timeout
        self.results_path = None
        self.program = os.path.abspath(arguments.programs) + "/mapped"
        self.samples, self.notes = [], []
        self.weed = Weed(work + "/weed")
        stack.callback(self.weed.stop)
        self.proxy = Proxy(self.weed.address)
        stack.callback(self.proxy.stop)

    def mapped(self, *arguments):
        return json.loads(step(self.program, *arguments, timeout=self.timeout))

    def database(self, *arguments):
        program = os.path.dirname(os.path.abspath(__file__)) + "/databases.py"
        return json.loads(step(sys.executable, program, *arguments, timeout=self.timeout))

    def set_rtt(self, milliseconds):
        self.proxy.control(f"rtt {milliseconds}ms")

    def traffic(self):
        counted = self.proxy.control("stats")
        return {"bytes_up": counted["bytes_up"], "bytes_down": counted["bytes_down"],
                "requests": sum(counted["requests"].values()), "requests_by_method": counted["requests"],
                "connections": counted["connections"]}

    def record(self, peer, rtt, number, row, **what):
        self.samples.append({"peer": peer, "rtt": rtt, "round": number, "row": row, **what})
        if "failed" in what:
            print(f"    {peer} {row}: FAILED: {what['failed']}", file=sys.stderr, flush=True)
        else:
            shown = " ".join(f"{k}={v:.4g}" for k, v in what["metrics"].items() if isinstance(v, (int, float)))
            print(f"    {peer} {row}: {shown}", file=sys.stderr, flush=True)

    def unrecord(self, peer, rtt, number, row):
        key = (peer, rtt, number, row)
        self.samples = [s for s in self.samples if (s["peer"], s["rtt"], s["round"], s["row"]) != key]

    def note(self, text):
        self.notes.append(text)
        print(f"    note: {text}", file=sys.stderr, flush=True)

    def set_up_again(self, filesystem):
        """After a failure: from nothing, at a new place. What cannot be set up is said by its next rows."""
        filesystem.generation += 1
        try:
            give_files(self, filesystem)
        except Exception as error:
            filesystem.stop()
            reap_overdue()
            self.note(f"{filesystem.name} was not set up again: {error}")

    def make_sources(self):
        """On the local disk: what every file system is given."""
        self.sources = self.work + "/sources"
        # In directories, as databases are kept: SQLite has a journal beside its file.
        for directory in ["lmdb", "db"]:
            os.makedirs(f"{self.sources}/{directory}")
        self.mapped("fill", self.sources + "/data", self.size, self.data_seed)
        self.mapped("fill", self.sources + "/dirty", self.size, self.data_seed + 1)
        self.database("sqlite-make", self.sources + "/db/read.db", self.size // 4)
        shutil.copy(self.sources + "/db/read.db", self.sources + "/db/write.db")
        self.database("lmdb-fill", self.sources + "/lmdb", self.size // 4)
        self.weed.client.upload_file(self.sources + "/data", "bench", "limit/data")

    def download(self):
        """The limit of a cold sequential read: 16 parallel range GETs by curl."""
        client = self.weed.connect(self.proxy.address)
        config = self.work + "/curl.config"
        with open(config, "w") as file:
            for first in range(0, self.size, PIECE):
                url = client.generate_presigned_url("get_object", Params={"Bucket": "bench", "Key": "limit/data"})
                last = min(first + PIECE, self.size) - 1
                file.write(f'url = "{url}"\noutput = "/dev/null"\nrange = "{first}-{last}"\n')
        start = time.monotonic()
        step("curl", "--silent", "--show-error", "--fail", "--parallel", "--parallel-immediate",
             "--parallel-max", "16", "--config", config, timeout=self.timeout)
        seconds = time.monotonic() - start
        return {"seconds": seconds, "rate": self.size / seconds}


def give_files(world, filesystem):
    """Copies the sources into a file system, with write(2), and waits until the store has them."""
    world.set_rtt(0)
    filesystem.wipe()
    filesystem.prepare()
    filesystem.mount()
    for name in sorted(os.listdir(world.sources)):
        step("cp", "-r", f"{world.sources}/{name}", filesystem.point, timeout=world.timeout * 4)
    filesystem.settle()
    filesystem.unmount()
    filesystem.wipe()


def selection(only, kinds):
    """The rows wanted of each peer: from words that are PEER, ROW or PEER/ROW."""
    every = [row for rows, _ in PHASES for row in rows]
    names = [kind.name for kind in kinds]
    wanted = {name: set() for name in names}
    for word in only or names:
        peer, _, row = word.partition("/")
        if not row and peer in every:
            peer, row = "", peer
        if (peer and peer not in names) or (row and row not in every):
            sys.exit(f"scripts/bench peers: {word}: peers are {', '.join(names)}; rows are {', '.join(every)}")
        for name in [peer] if peer else names:
            wanted[name] |= {row} if row else set(every)
    for kind in kinds:
        if kind.rows is not None:
            wanted[kind.name] &= set(kind.rows)
    return wanted


def set_up(world, kinds, wanted, rtts):
    """Starts what is wanted; who cannot be set up is recorded as failed in all rows."""
    ready = []
    for kind in kinds:
        if not wanted[kind.name]:
            continue
        print(f"{kind.name}: set up", file=sys.stderr, flush=True)
        filesystem = kind(world)
        world.stack.callback(filesystem.end)
        world.stack.callback(filesystem.stop)
        try:
            give_files(world, filesystem)
            ready.append(filesystem)
        except Exception as error:
            filesystem.stop()
            reap_overdue()
            for rtt in rtts:
                for row in wanted[kind.name]:
                    world.record(kind.name, rtt, 0, row, failed=" ".join(f"not set up: {error}".split()))
    return ready


def go_round(world, ready, wanted, rtt, number):
    """All phases of one round: in each phase the mounts take turns, and who begins changes."""
    for index, (rows, function) in enumerate(PHASES):
        turn = (number + index) % max(len(ready), 1)
        for filesystem in ready[turn:] + ready[:turn]:
            mine = [row for row in rows if row in wanted[filesystem.name]]
            if mine:
                print(f"  {rtt} ms, round {number}: {filesystem.name}", file=sys.stderr, flush=True)
                run_phase(Session(world, filesystem, rtt, number, set(mine)), mine, function)


def machine():
    with open("/proc/cpuinfo") as file:
        models = {l.split(":")[1].strip() for l in file if l.startswith("model name")}
    with open("/proc/meminfo") as file:
        total = int(file.readline().split()[1]) * 1024
    return {"kernel": platform.release(), "processors": os.cpu_count(), "model": ", ".join(sorted(models)),
            "memory": total, "memory_stays": memory.stays(), "load_before": os.getloadavg()}


def save(world, arguments, about, began, loads):
    result = {
        "when": began.isoformat(), "commit": COMMIT, "machine": about,
        "highest_load": max(loads), "command": shlex.join(["scripts/bench", "peers", *sys.argv[arguments.skip:]]),
        "size": world.size, "rounds": arguments.rounds, "rtts": arguments.rtt, "seconds_a_step": world.timeout,
        "versions": {kind.name: kind.version() for kind in filesystems.ALL} | {"weed": weed_version()},
        "notes": world.notes, "samples": world.samples,
    }
    path = f"{arguments.results}/peers-{began.strftime('%Y%m%d-%H%M%S')}.json"
    with open(path, "w") as file:
        json.dump(result, file, indent=1)
    return path


def weed_version():
    return mounts.first_line("weed", "version")


def parsed():
    parser = argparse.ArgumentParser(prog="scripts/bench peers", description=__doc__)
    parser.add_argument("--programs", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--results", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=128, metavar="MIB", help="of the files (default 128)")
    parser.add_argument("--rtt", type=lambda t: [int(w) for w in t.split(",")], default=[0, 5, 25, 60],
                        metavar="MS[,MS...]", help="round trips to the store (default 0,5,25,60)")
    parser.add_argument("--only", type=lambda t: t.split(","), metavar="WHAT[,WHAT...]",
                        help="PEER, ROW or PEER/ROW")
    parser.add_argument("--timeout", type=float, default=300, metavar="S", help="of each step (default 300)")
    parser.add_argument("--list", action="store_true", help="what there is")
    arguments = parser.parse_args()
    arguments.skip = 5  # the program and what scripts/bench puts in front
    return arguments


def list_all():
    for kind in filesystems.ALL:
        print(f"{kind.name}: {' '.join((kind.__doc__ or '').split())}\n")
    for rows, function in PHASES:
        print(f"{', '.join(rows)}: {function.__doc__}")


def main():
    arguments = parsed()
    if arguments.list:
        list_all()
        return 0
    wanted = selection(arguments.only, filesystems.ALL)
    # As ^C: mounts end and what was measured is kept.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    work = tempfile.mkdtemp(prefix="regionfs-peers-")
    about, began, loads = machine(), datetime.datetime.now(datetime.timezone.utc), [os.getloadavg()[0]]
    try:
        with contextlib.ExitStack() as stack:
            world = World(arguments, work, stack)
            world.stack = stack
            memory.prepare(world.program)
            world.make_sources()
            ready = set_up(world, filesystems.ALL, wanted, arguments.rtt)
            try:
                for number in range(arguments.rounds):
                    for rtt in arguments.rtt:
                        go_round(world, ready, wanted, rtt, number)
                        loads.append(os.getloadavg()[0])
            finally:  # what was measured until then is kept, also after ^C
                path = save(world, arguments, about, began, loads)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    with open(path) as file:
        result = json.load(file)
    print(report.text(result))
    print(f"kept in {path}; scripts/bench report {path} writes it into docs/BENCHMARKS.md")
    return 1 if any("failed" in s and s["peer"] == "regionfs" for s in world.samples) else 0


if __name__ == "__main__":
    sys.exit(main())
