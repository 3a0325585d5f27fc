#!/usr/bin/env python3
"""The measurements of `scripts/bench pull`: how what is in the store gets here. See `--list`; run it
through scripts/bench. Each figure is a ratio to something measured in the same run, or in round trips."""
import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from core import BINARIES, GIB, KEYS, MIB, Bench, download, run_measures
from processes import Usage
from servers import Mount, Proxy, run

MEASURES = {}
CHUNK = 256 << 10


def measure(function):
    MEASURES[function.__name__] = function
    return function


def filled(bench, name, size):
    """A dense region in S3, made once; gives the store's address and its segments with their sizes."""
    if name not in bench.filled:
        store = f"s3://bench/{name}"
        mount = bench.keep(Mount(bench.work, name + "-fill", store, address=bench.weed.address))
        bench.mapped("fill", mount.point + "/region", size, 9)
        mount.unmount()
        mount.forget()
        segments = {k: s for k, s in bench.weed.objects(f"{name}/g/").items() if "/seg/" in k}
        bench.filled[name] = store, segments
    return bench.filled[name]


def proxy_of(bench, rtt):
    arguments = ["--rtt", f"{rtt}ms"]
    if bench.arguments.bandwidth:
        arguments += ["--bandwidth", bench.arguments.bandwidth]
    return bench.keep(Proxy(bench.weed.address, *arguments))


def cold_mount(bench, name, store, *options, address):
    """A mount with an empty cache, on a host that knows nothing of earlier ones' reads."""
    bench.weed.forget_traces(store.removeprefix("s3://bench/"))
    return bench.keep(Mount(bench.work, name, store, *options, address=address))


def download_all(bench, proxy, segments):
    """Seconds of 16 parallel range GETs by curl for all segments, through the proxy."""
    # A signature covers the host's name, so the server signs for the proxy's.
    client = bench.weed.connect(proxy.address)
    urls = [(client.generate_presigned_url("get_object", Params={"Bucket": "bench", "Key": key}), size)
            for key, size in segments.items()]
    return download(bench, urls)


def quantile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


@measure
def cold_read(bench):
    """Cold sequential mmap read, defaults, against 16 parallel range GETs by curl."""
    store, segments = filled(bench, "dense", bench.size)
    for rtt in bench.arguments.rtt:
        for number in range(bench.rounds + 1):
            proxy = proxy_of(bench, rtt)
            seconds = download_all(bench, proxy, segments)
            mount = cold_mount(bench, "cold", store, address=proxy.address)
            result = bench.mapped("seq", mount.point + "/region")
            mount.unmount()
            mount.forget()
            proxy.stop()
            if number:
                bench.sample(f"curl {rtt} ms", bench.size / seconds)
                bench.sample(f"cold read {rtt} ms", result["rate"])
        ours, curl = bench.median(f"cold read {rtt} ms"), bench.median(f"curl {rtt} ms")
        bench.report(
            f"cold sequential mmap read / 16 curl range GETs, {rtt} ms", ours / curl, 0.85, least=True,
            detail=f"{ours / 1e6:.0f} and {curl / 1e6:.0f} MB/s")


@measure
def background(bench):
    """Background pull at each round trip time against that at 0 ms, and its processor time."""
    store, _ = filled(bench, "dense", bench.size)
    times = sorted({0, *bench.arguments.rtt})
    for number in range(bench.rounds + 1):
        for rtt in times if number % 2 else times[::-1]:
            proxy = proxy_of(bench, rtt)
            mount = cold_mount(bench, "pull", store, "pull=background", address=proxy.address)
            before = Usage([mount.pid])
            start = time.monotonic()
            with open(mount.point + "/region", "rb") as file:
                file.read(1)
                mount.pulled()
            seconds = time.monotonic() - start
            cpu = Usage([mount.pid]).cpu_since(before)
            check_pulled(mount)
            mount.unmount()
            mount.forget()
            proxy.stop()
            if number:
                bench.sample(f"background {rtt} ms", bench.size / seconds)
                bench.sample(f"background cpu {rtt} ms", cpu * GIB / bench.size)
    near = bench.median("background 0 ms")
    for rtt in times[1:]:
        far = bench.median(f"background {rtt} ms")
        bench.report(
            f"background pull, {rtt} ms / 0 ms", far / near, 0.9, least=True,
            detail=f"{far / 1e6:.0f} and {near / 1e6:.0f} MB/s, the daemon's processor seconds a GiB "
            f"{bench.median(f'background cpu {rtt} ms'):.2f} and {bench.median('background cpu 0 ms'):.2f}")


def check_pulled(mount):
    present = mount.region("region")
    if present["chunksPresent"] != present["chunksTotal"]:
        raise RuntimeError(f"not pulled: {present}")


@measure
def after_pull(bench):
    """Sequential mmap read after the pull of everything, against the same bytes on tmpfs."""
    store, _ = filled(bench, "dense", bench.size)
    memory = tempfile.mkdtemp(prefix="regionfs-bench-", dir="/dev/shm")
    try:
        bench.mapped("fill", memory + "/region", bench.size, 9)
        mount = cold_mount(bench, "after", store, "pull=background", address=bench.weed.address)
        region = mount.point + "/region"
        with open(region, "rb") as file:
            file.read(1)
            mount.pulled()
            check_pulled(mount)
            time.sleep(2)  # whatever is brought into the page cache after a pull
            bench.sample("after pull, first", bench.mapped("seq", region)["rate"])
        sums = set()
        for number in range(bench.rounds + 1):
            for side, path in [("after pull", region), ("tmpfs", memory + "/region")]:
                result = bench.mapped("seq", path)
                sums.add(result["sum"])
                if number:
                    bench.sample(side, result["rate"])
        if len(sums) != 1:
            raise RuntimeError("not the same bytes")
        mount.unmount()
        mount.forget()
    finally:
        shutil.rmtree(memory)
    first, local = bench.median("after pull, first"), bench.median("tmpfs")
    bench.report(
        "first mmap read after the pull / tmpfs", first / local, 0.9, least=True,
        detail=f"{first / 1e6:.0f} and {local / 1e6:.0f} MB/s, read again "
        f"{bench.median('after pull') / 1e6:.0f}")


class Progress(threading.Thread):
    """Notes when how many chunks were present."""

    def __init__(self, mount):
        super().__init__()
        self.mount, self.points, self.isOver = mount, [], False

    def run(self):
        while not self.isOver:
            region = self.mount.region("region")
            self.points.append((time.monotonic(), region["chunksPresent"] / region["chunksTotal"]))
            time.sleep(0.05)

    def when(self, share):
        return next((at for at, present in self.points if present >= share), float("inf"))


@measure
def faults_while_pulling(bench):
    """Random 4 KiB faults (MADV_RANDOM) while all of the region is pulled in the background."""
    store, _ = filled(bench, "dense", bench.size)
    for rtt in bench.arguments.rtt:
        during, late, alone = [], [], []
        for number in range(bench.rounds + 1):
            proxy = proxy_of(bench, rtt)
            mount = cold_mount(bench, "alone", store, "pull=lazy", address=proxy.address)
            faults = bench.mapped("faults", mount.point + "/region", 150, 20 + number)["faults"]
            mount.unmount()
            mount.forget()
            if number:
                alone += [us for _, us in faults if us > 1000]
            mount = cold_mount(bench, "faults", store, "pull=background", address=proxy.address)
            progress = Progress(mount)
            region = mount.point + "/region"
            with open(region, "rb"):
                progress.start()
                faults = bench.mapped("faults", region, 1500, 40 + number)["faults"]
                mount.pulled()
            progress.isOver = True
            progress.join()
            half, end = progress.when(0.5), progress.when(0.995)
            mount.unmount()
            mount.forget()
            proxy.stop()
            if number:
                during += [us for at, us in faults if at < end]
                late += [us for at, us in faults if half <= at < end]
        if len(during) < 100 or len(late) < 20:
            raise RuntimeError(f"the pull was over after {len(during)} faults: a larger --size")
        bench.samples[f"faults {rtt} ms"] = during
        bench.samples[f"faults {rtt} ms, second half"] = late
        bench.samples[f"faults {rtt} ms, no pull"] = alone
        p99, median = quantile(during, 0.99), statistics.median(late)
        cold = [us for us in during if us > 1000]
        if rtt:
            bench.report(
                f"random 4 KiB fault while pulling, {rtt} ms: 99th percentile", p99 / 1e3 / rtt, 2,
                unit="RTT",
                detail=f"{p99 / 1e3:.1f} ms, median {statistics.median(during) / 1e3:.2f}, of those over "
                f"1 ms {statistics.median(cold) / 1e3 if cold else 0:.1f}, most {max(during) / 1e3:.0f} "
                f"ms, {len(during)} faults; without any pull the cold ones' median "
                f"{statistics.median(alone) / 1e3:.1f} and 99th percentile "
                f"{quantile(alone, 0.99) / 1e3:.1f} ms")
        bench.report(
            f"random 4 KiB fault, second half of the pull, {rtt} ms: median", median, 100, unit="us",
            detail=f"{len(late)} faults")


@measure
def few_faults(bench):
    """300 random 4 KiB faults in a cold region of 256 MiB, defaults, with MADV_RANDOM and without,
    against the download of all of it."""
    store, segments = filled(bench, "small", 256 * MIB)
    for rtt in bench.arguments.rtt:
        for number in range(bench.rounds + 1):
            proxy = proxy_of(bench, rtt)
            seconds = download_all(bench, proxy, segments)
            if number:
                bench.sample(f"download {rtt} ms", seconds)
            for kind in ["MADV_RANDOM", "read-around"]:
                mount = cold_mount(bench, "small", store, address=proxy.address)
                extra = ["readaround"] if kind == "read-around" else []
                result = bench.mapped("random", mount.point + "/region", 300, 70 + number, *extra)
                mount.unmount()
                mount.forget()
                if number:
                    bench.sample(f"300 faults {kind} {rtt} ms", result["seconds"])
            proxy.stop()
        whole = bench.median(f"download {rtt} ms")
        for kind in ["MADV_RANDOM", "read-around"]:
            ours = bench.median(f"300 faults {kind} {rtt} ms")
            bench.report(
                f"300 cold faults in 256 MiB, {kind}, {rtt} ms / download of all", ours / whole, 1,
                detail=f"{ours:.2f} and {whole:.2f} s")


@measure
def sparse_faults(bench):
    """300 random 4 KiB faults in a cold region of 8 GiB: round trips and chunks a fault."""
    store = "s3://bench/eight"
    run(BINARIES + "/regionfs-synthesize", store, "region", "--gibibytes", 8,
        env={**os.environ, **KEYS, "AWS_ENDPOINT_URL_S3": f"http://{bench.weed.address}"})
    for rtt in bench.arguments.rtt:
        for number in range(bench.rounds + 1):
            proxy = proxy_of(bench, rtt)
            mount = cold_mount(bench, "eight", store, address=proxy.address)
            result = bench.mapped("random", mount.point + "/region", 300, 90 + number)
            status = mount.status()
            mount.unmount()
            mount.forget()
            proxy.stop()
            if number:
                bench.sample(f"sparse fault {rtt} ms", result["mean_us"] / 1e3)
                bench.sample(f"sparse chunks {rtt} ms", status["store"]["downloadedBytes"] / CHUNK / 300)
        if rtt:
            mean = bench.median(f"sparse fault {rtt} ms")
            bench.report(
                f"300 faults in cold 8 GiB, {rtt} ms: a fault", mean / rtt, 1.2, unit="RTT",
                detail=f"{mean:.1f} ms")
        bench.report(
            f"300 faults in cold 8 GiB, {rtt} ms: chunks down a fault",
            bench.median(f"sparse chunks {rtt} ms"), 2)


@measure
def first_byte(bench):
    """Mount to first byte of a region of 1 TiB: as the first mount of its store, and after one."""
    store = "s3://bench/huge"
    run(BINARIES + "/regionfs-synthesize", store, "region", "--gibibytes", 1024,
        env={**os.environ, **KEYS, "AWS_ENDPOINT_URL_S3": f"http://{bench.weed.address}"})

    def start(rtt, *options):
        """A mount with an empty cache, read once; the milliseconds until that."""
        proxy = proxy_of(bench, rtt)
        begin = time.monotonic()
        mount = bench.keep(Mount(bench.work, "huge", store, *options, address=proxy.address))
        with open(mount.point + "/region", "rb") as file:
            file.seek(512 * GIB + 4096)
            file.read(1)
        milliseconds = (time.monotonic() - begin) * 1e3
        mount.unmount()
        mount.forget()
        proxy.stop()
        return milliseconds

    for rtt in bench.arguments.rtt:
        bench.weed.forget_traces("huge/")
        start(rtt, "ro")
        for _ in range(bench.rounds):
            bench.sample(f"first byte of a first mount {rtt} ms", start(rtt, "ro"))
        # One that is not read-only leaves behind what it read first.
        start(rtt)
        for _ in range(bench.rounds):
            bench.sample(f"first byte {rtt} ms", start(rtt, "ro"))
        for name in ("first byte of a first mount", "first byte"):
            ours = bench.median(f"{name} {rtt} ms")
            bench.report(
                f"1 TiB to {name}, {rtt} ms", ours, 3 * rtt + 50, unit="ms",
                detail=f"{max(0, ours - 50) / rtt if rtt else 0:.1f} round trips and 50 ms")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", required=True)
    parser.add_argument("--results", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=1024, help="MiB of the dense region")
    parser.add_argument("--rtt", type=lambda t: [int(x) for x in t.split(",")], default=[0, 5, 25, 60])
    parser.add_argument("--bandwidth", help="bits a second of the link, e.g. 1G; default: no limit")
    parser.add_argument("--only", type=lambda t: t.split(","), default=list(MEASURES))
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    if arguments.list:
        for name, function in MEASURES.items():
            print(f"{name}: {function.__doc__}")
        return 0
    arguments.quick = False
    work = tempfile.mkdtemp(prefix="regionfs-bench-")
    bench = Bench(arguments, work)
    bench.size = arguments.size * MIB
    bench.filled = {}
    return run_measures(bench, arguments, MEASURES, "pull")


if __name__ == "__main__":
    sys.exit(main())
