#!/usr/bin/env python3
"""The measurements of `scripts/bench core`. See `--list`; run it through scripts/bench."""
import argparse
import concurrent.futures
import contextlib
import datetime
import glob
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time

import memory
from servers import BINARIES, COMMIT, KEYS, Mount, Passthrough, Proxy, Weed, run

MIB = 1 << 20
GIB = 1 << 30
MEASURES = {}


def measure(function):
    MEASURES[function.__name__] = function
    return function


class Bench:
    def __init__(self, arguments, work):
        self.arguments, self.work = arguments, work
        self.mapped_program = os.path.abspath(arguments.programs) + "/mapped"
        self.passthrough_program = os.path.abspath(arguments.programs) + "/passthrough"
        self.rounds = arguments.rounds
        self.size = (64 if arguments.quick else 256) * MIB
        self.lines, self.samples = [], {}
        self.stack = contextlib.ExitStack()
        self._weed = None

    @property
    def weed(self):
        if self._weed is None:
            self._weed = Weed(self.work + "/weed")
            self.stack.callback(self._weed.stop)
        return self._weed

    def keep(self, thing):
        """Stops it at the end, if nobody did before."""
        self.stack.callback(thing.stop)
        return thing

    def mapped(self, *arguments):
        return json.loads(run(self.mapped_program, *arguments))

    def sample(self, name, value):
        self.samples.setdefault(name, []).append(value)
        print(f"    {name}: {value:.6g}", file=sys.stderr, flush=True)

    def median(self, name):
        return statistics.median(self.samples[name])

    def report(self, what, value, target, least=False, unit="", detail=""):
        """One line of the table: a value that must be at most (or at least) the target."""
        good = value >= target if least else value <= target
        self.lines.append({
            "what": what, "value": value, "target": target, "bound": "least" if least else "most",
            "unit": unit, "met": good, "detail": detail})

    def largest_cache_file(self, mount):
        files = [f for f in glob.glob(mount.cache + "/**", recursive=True) if os.path.isfile(f)]
        return max(files, key=lambda f: os.stat(f).st_blocks)


def drop_caches():
    run("sync", timeout=60)
    with open("/proc/sys/vm/drop_caches", "w") as file:
        file.write("3")


def read_through(path):
    """Brings a file into the page cache."""
    with open(path, "rb", buffering=0) as file:
        while file.read(4 * MIB):
            pass


@measure
def hits(bench):
    """Sequential reads and random faults of present chunks, against a bare passthrough."""
    mount = bench.keep(Mount(bench.work, "hits", f"file://{directory(bench, 'store-hits')}"))
    region = mount.point + "/region"
    bench.mapped("fill", region, bench.size, 7)
    mount.committed()
    backing = bench.largest_cache_file(mount)
    bare = bench.keep(Passthrough(bench.passthrough_program, backing, bench.work + "/bare"))
    count = 2000 if bench.arguments.quick else 10_000
    sums = set()
    for number in range(bench.rounds + 1):
        # Turns: what comes first has colder processors and a colder disk.
        sides = [("regionfs", region), ("passthrough", bare.file)]
        for side, path in sides if number % 2 else sides[::-1]:
            for cache in ["warm", "cold"]:
                for kind in ["seq", "random", "readaround"]:
                    bench.mapped("drop", path)
                    if cache == "warm":
                        read_through(backing)
                    else:
                        drop_caches()
                    if kind == "seq":
                        result = bench.mapped("seq", path)
                        sums.add(result["sum"])
                        value = result["rate"]
                    else:
                        extra = ["readaround"] if kind == "readaround" else []
                        result = bench.mapped("random", path, count, number, *extra)
                        # With read-around most pages are there already: only the mean says something.
                        value = result["mean_us" if extra else "median_us"]
                    if number:  # the first round warms up
                        bench.sample(f"hit {kind} {cache} {side}", value)
    if len(sums) != 1:
        raise RuntimeError("the passthrough and regionfs do not read the same bytes")
    for cache in ["warm", "cold"]:
        def pair(kind):
            return [bench.median(f"hit {kind} {cache} {s}") for s in ("regionfs", "passthrough")]
        ours, bare_rate = pair("seq")
        bench.report(
            f"hit, sequential mmap read, backing {cache}: regionfs / passthrough", ours / bare_rate,
            0.8, least=True, detail=f"{ours / 1e6:.0f} and {bare_rate / 1e6:.0f} MB/s")
        for kind, words in [("random", "MADV_RANDOM"), ("readaround", "read-around")]:
            ours, theirs = pair(kind)
            bench.report(
                f"hit, random 4 KiB fault, {words}, backing {cache}: regionfs / passthrough",
                ours / theirs, 1.25, detail=f"{ours:.1f} and {theirs:.1f} us")
    bare.stop()
    mount.unmount()


def directory(bench, name):
    path = f"{bench.work}/{name}"
    os.makedirs(path, exist_ok=True)
    return path


def filled_store(bench, name):
    """A region of random-looking bytes in S3; returns the store's address."""
    store = f"s3://bench/{name}"
    mount = bench.keep(Mount(bench.work, name + "-fill", store, address=bench.weed.address))
    bench.mapped("fill", mount.point + "/region", bench.size, 9)
    mount.unmount()
    mount.forget()
    return store


def download(bench, urls):
    """The seconds that 16 parallel range GETs by curl need for whole objects."""
    path = bench.work + "/curl.config"
    with open(path, "w") as config:
        for url, size in urls:
            config.write(f'url = "{url}"\noutput = "/dev/null"\nrange = "0-{size - 1}"\n')
    start = time.monotonic()
    run("curl", "--silent", "--show-error", "--fail", "--parallel", "--parallel-immediate",
        "--parallel-max", "16", "--config", path)
    return time.monotonic() - start


@measure
def cold_read(bench):
    """Cold sequential mmap read from S3 on loopback, against curl with 16 range GETs."""
    store = filled_store(bench, "cold")
    objects = {k: s for k, s in bench.weed.objects("cold/g/").items() if "/seg/" in k}
    urls = [(bench.weed.url(key), size) for key, size in objects.items()]
    total = sum(objects.values())
    copy = bench.work + "/cold-copy"
    bench.mapped("fill", copy, bench.size, 9)
    bare = bench.keep(Passthrough(bench.passthrough_program, copy, bench.work + "/bare-cold"))
    for number in range(bench.rounds + 1):
        seconds = download(bench, urls)
        both = download_while_reading(bench, urls, bare, copy)
        mount = bench.keep(Mount(bench.work, "cold", store, address=bench.weed.address))
        result = bench.mapped("seq", mount.point + "/region")
        mount.unmount()
        mount.forget()
        if number:
            bench.sample("curl", total / seconds)
            bench.sample("curl and passthrough at once", total / both)
            bench.sample("cold seq", result["rate"])
    bare.stop()
    ours, curl = bench.median("cold seq"), bench.median("curl")
    limit = bench.median("curl and passthrough at once")
    bench.report(
        "cold sequential mmap read from S3 / 16 parallel range GETs by curl", ours / curl, 0.7,
        least=True, detail=f"{ours / 1e6:.0f} and {curl / 1e6:.0f} MB/s")
    bench.report(
        "the same / these and a bare passthrough's read of as much, at once", ours / limit, 0.8,
        least=True, detail=f"{ours / 1e6:.0f} and {limit / 1e6:.0f} MB/s")


def download_while_reading(bench, urls, bare, backing):
    """What this machine can do at most: the download and, at the same time, as many bytes from memory
    through FUSE into a mapping, with nothing between the two. The seconds until both are done."""
    bench.mapped("drop", bare.file)
    read_through(backing)
    start = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        jobs = [pool.submit(download, bench, urls), pool.submit(bench.mapped, "seq", bare.file)]
        for job in jobs:
            job.result()
    return time.monotonic() - start


@measure
def background_pull(bench):
    """Background pull through the proxy at 25 ms round trip, against 0 ms."""
    store = filled_store(bench, "pull")
    for number in range(bench.rounds + 1):
        for rtt in ["0ms", "25ms"] if number % 2 else ["25ms", "0ms"]:
            proxy = bench.keep(Proxy(bench.weed.address, "--rtt", rtt))
            mount = bench.keep(Mount(bench.work, "pull", store, "pull=background", address=proxy.address))
            start = time.monotonic()
            with open(mount.point + "/region", "rb") as file:
                file.read(1)
                mount.pulled()
            seconds = time.monotonic() - start
            present = mount.region("region")
            if present["chunksPresent"] != present["chunksTotal"]:
                raise RuntimeError(f"not pulled: {present}")
            mount.unmount()
            mount.forget()
            proxy.stop()
            if number:
                bench.sample(f"pull {rtt}", bench.size / seconds)
    near, far = bench.median("pull 0ms"), bench.median("pull 25ms")
    bench.report(
        f"background pull of {bench.size // MIB} MiB, 25 ms / 0 ms round trip", far / near, 0.7,
        least=True, detail=f"{far / 1e6:.0f} and {near / 1e6:.0f} MB/s")


PAGES = 2000


def dirty_pages(bench, what, mount, proxy, touch_first):
    """2,000 random dirty pages, msync, drain: what goes over the wire, and how long msync takes."""
    region, local = mount.point + "/region", f"{bench.work}/local"
    bench.mapped("fill", local, 512 * MIB, 3)
    for number in range(bench.rounds + 1):
        order = [("ours", region), ("local", local)]
        for side, path in order if number % 2 else order[::-1]:
            if side == "ours":
                if touch_first:  # the same pages: what a store to them would have to pull first
                    bench.mapped("random", region, PAGES, 1000 + number)
                mount.committed()
                proxy.control("reset-stats")
            result = bench.mapped("dirty", path, PAGES, 1000 + number)
            if side == "ours":
                mount.committed()
                traffic = proxy.control("stats")
            if number:
                bench.sample(f"msync {what} {side}", result["msync_seconds"] * 1e3)
                bench.sample(f"store {what} {side}", result["store_seconds"] * 1e3)
        if number:
            bench.sample(f"uploaded {what}", sum(traffic["request_body_bytes"].values()))
            bench.sample(f"requests {what}", sum(traffic["requests"].values()))
    os.unlink(local)
    uploaded, requests = max(bench.samples[f"uploaded {what}"]), max(bench.samples[f"requests {what}"])
    bench.report(
        f"{PAGES} dirty pages, {what}: bytes uploaded / 8 MiB", uploaded / (8 * MIB), 1.15,
        detail=f"{uploaded} bytes, {uploaded / PAGES:.0f} a page")
    bench.report(f"{PAGES} dirty pages, {what}: requests", requests, 20)
    ours, theirs = bench.median(f"msync {what} ours"), bench.median(f"msync {what} local")
    bench.report(
        f"{PAGES} dirty pages, {what}: msync regionfs / local file system", ours / theirs, 2,
        detail=f"{ours:.1f} and {theirs:.1f} ms")


@measure
def dirty_512_mib(bench):
    """2,000 random dirty pages of a dense region of 512 MiB."""
    proxy = bench.keep(Proxy(bench.weed.address))
    mount = bench.keep(Mount(bench.work, "dirty", "s3://bench/dirty", address=proxy.address))
    bench.mapped("fill", mount.point + "/region", 512 * MIB, 3)
    dirty_pages(bench, "512 MiB dense", mount, proxy, touch_first=False)
    mount.unmount()
    proxy.stop()


@measure
def dirty_1_tib(bench):
    """2,000 random dirty pages all over a dense region of 1 TiB."""
    store = "s3://bench/dirty-huge"
    run(BINARIES + "/regionfs-synthesize", store, "region", "--gibibytes", 1024,
        env={**os.environ, **KEYS, "AWS_ENDPOINT_URL_S3": f"http://{bench.weed.address}"})
    proxy = bench.keep(Proxy(bench.weed.address))
    mount = bench.keep(Mount(bench.work, "huge", store, "pull=lazy", address=proxy.address))
    dirty_pages(bench, "1 TiB dense", mount, proxy, touch_first=True)
    mount.unmount()
    proxy.stop()


@measure
def sparse_1_tib(bench):
    """A sparse region of 1 TiB: create, mount, touch ten places, unmount."""
    store = f"file://{directory(bench, 'store-sparse')}"
    peaks = []
    for number in range(bench.rounds + 1):
        mount = bench.keep(Mount(bench.work, "sparse", store))
        region = f"{mount.point}/region-{number}"
        with open(region, "wb") as file:
            file.truncate(1024 * GIB)
        peaks.append(mount.peak_memory())
        mount.unmount()
        mount.mount()
        touch = mount.mount_seconds
        with open(region, "r+b") as file:
            for place in range(10):
                file.seek(place * 100 * GIB + 12345)
                file.write(b"touched")
        with open(region, "rb") as file:
            for place in range(10):
                file.seek(place * 100 * GIB + 12345)
                if file.read(8) != b"touched\0":
                    raise RuntimeError(f"place {place} does not read back")
        peaks.append(mount.peak_memory())
        start = time.monotonic()
        mount.unmount()
        if number:
            bench.sample("mount 1 TiB", touch)
            bench.sample("unmount 1 TiB", time.monotonic() - start)
    bench.report("1 TiB sparse: daemon's peak memory", max(peaks) / MIB, 150, unit="MiB")
    bench.report(
        "1 TiB sparse: mount", max(bench.samples["mount 1 TiB"]), 1, unit="s",
        detail=f"unmount {bench.median('unmount 1 TiB'):.2f} s")


def table(lines):
    rows = [["", "measured", "target", "", ""]]
    for line in lines:
        sign = ">=" if line["bound"] == "least" else "<="
        rows.append([
            line["what"], f"{line['value']:.3g} {line['unit']}".strip(),
            f"{sign} {line['target']} {line['unit']}".strip(), "ok" if line["met"] else "MISSED",
            line["detail"]])
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip() for row in rows)


def save(bench, arguments, verb):
    result = {
        "when": datetime.datetime.now(datetime.timezone.utc).isoformat(),
        "commit": COMMIT, "kernel": platform.release(),
        "processors": os.cpu_count(), "quick": arguments.quick, "rounds": arguments.rounds,
        "memory_stays": memory.stays(), "lines": bench.lines, "samples": bench.samples,
    }
    path = f"{arguments.results}/{verb}-{time.strftime('%Y%m%d-%H%M%S')}.json"
    with open(path, "w") as file:
        json.dump(result, file, indent=1)
    return path


def run_measures(bench, arguments, measures, name):
    """Makes the measurements that were asked for, prints and keeps them. The exit code."""
    failed = []
    try:
        memory.prepare(bench.mapped_program)
        for only in arguments.only:
            print(f"{only}: {measures[only].__doc__}", file=sys.stderr, flush=True)
            try:
                measures[only](bench)
            except Exception as error:  # the other measurements still count
                failed.append(only)
                print(f"{only} FAILED: {error}", file=sys.stderr, flush=True)
    finally:
        bench.stack.close()
        shutil.rmtree(bench.work, ignore_errors=True)
    print(table(bench.lines))
    print(f"kept in {save(bench, arguments, name)}")
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed or not all(line["met"] for line in bench.lines) else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", required=True)
    parser.add_argument("--results", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="smaller and one round: is it sound?")
    parser.add_argument("--only", type=lambda t: t.split(","), default=list(MEASURES))
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    if arguments.list:
        for name, function in MEASURES.items():
            print(f"{name}: {function.__doc__}")
        return 0
    if arguments.quick:
        arguments.rounds = 1
    work = tempfile.mkdtemp(prefix="regionfs-bench-")
    bench = Bench(arguments, work)
    return run_measures(bench, arguments, MEASURES, "core")


if __name__ == "__main__":
    sys.exit(main())
