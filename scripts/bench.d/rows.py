"""The rows of `scripts/bench peers`: the work that is done on each mount, and what is counted.

Rows come in phases; each phase begins with an empty cache and a new mount, unless it says otherwise.
A row that fails ends its phase, is recorded with the reason, and so are the rows after it."""
import os
import time

from processes import StepFailed, Usage, reap_overdue, step

MIB = 1 << 20
MULTIPLIER = 0x9E3779B97F4A7C15
PHASES = []


def phase(*rows):
    def keep(function):
        PHASES.append((rows, function))
        return function
    return keep


class PhaseEnded(Exception):
    """A row failed; the mount is not to be trusted any more."""


class Session:
    """One phase on one mount: times, traffic, processor and memory of each row."""

    def __init__(self, world, filesystem, rtt, round_number, wanted):
        self.world, self.fs, self.rtt = world, filesystem, rtt
        self.round, self.wanted = round_number, wanted
        self.done = set()

    def fresh(self, wipe=True, rtt=None):
        if wipe:
            self.fs.wipe()
        self.world.set_rtt(self.rtt if rtt is None else rtt)
        self.fs.mount()

    def path(self, name):
        return f"{self.fs.point}/{name}"

    def name(self, what):
        """A file of this round's own."""
        return f"{what}-{self.rtt}-{self.round}"

    def seed(self):
        return 1000 * (self.round + 1) + self.rtt

    def row(self, name, work):
        """Does the work of one row, which returns its metrics, and records it."""
        self.world.proxy.control("reset-stats")
        before = Usage(self.fs.processes() if name not in MOUNTING else [])
        try:
            metrics = work()
            if not self.fs.reference:
                metrics.update(self.world.traffic())
                after = Usage(self.fs.processes())
                metrics.update(cpu_seconds=after.cpu_since(before), peak_memory=after.peak_memory())
        except Exception as error:
            self.failed(name, error)
            raise PhaseEnded from error
        self.record(name, metrics=metrics)

    def record(self, name, **what):
        self.done.add(name)
        if name in self.wanted:
            self.world.record(self.fs.name, self.rtt, self.round, name, **what)

    def failed(self, name, error):
        kind = "" if isinstance(error, StepFailed) else f"{type(error).__name__}: "
        self.record(name, failed=" ".join(f"{kind}{error}".split()))

    def check(self, good, what):
        if not good:
            raise StepFailed(what)


#: Rows that mount themselves: what the daemon used before counts.
MOUNTING = {"first_byte", "remount_warm"}


def run_phase(session, rows, function):
    try:
        function(session)
    except Exception as error:
        # A failure outside a row belongs to the first row that is still missing.
        missing = [row for row in rows if row not in session.done]
        for row in missing:
            if isinstance(error, PhaseEnded):
                session.record(row, failed="not tried: an earlier row failed on the same mount")
            else:
                session.failed(row, error)
        session.world.set_rtt(0)
        session.fs.stop()
        stuck = reap_overdue()
        if stuck:
            session.world.note(f"{session.fs.name}: programs {stuck} hang even without their mount")
        session.world.set_up_again(session.fs)


def sum_of_fill(size, seed):
    """What `mapped seq` must find in a file that `mapped fill` made."""
    words = size // 8
    return (words * (words - 1) // 2 * MULTIPLIER + words * seed) % (1 << 64)


@phase("first_byte")
def first_byte(s):
    """From the start of the mount to the first byte of a large file."""
    def work():
        s.fresh()
        start = time.monotonic()
        step("head", "-c", "1", s.path("data"), timeout=s.world.timeout)
        return {"seconds": s.fs.mount_seconds + time.monotonic() - start, "mount_seconds": s.fs.mount_seconds}

    s.row("first_byte", work)
    s.fs.unmount()


@phase("cold_seq", "warm_seq", "remount_warm")
def reading(s):
    """Sequential mmap read of a whole file: cold; warm, with the kernel's cache empty; after a remount."""
    world, expected = s.world, sum_of_fill(s.world.size, s.world.data_seed)

    def read(at_start=0.0, opening=False):
        start = time.monotonic()
        result = world.mapped("seq", s.path("data"))
        # Some ask the store, or fetch the whole file, when it is opened: that counts after a mount.
        seconds = at_start + (time.monotonic() - start if opening else result["seconds"])
        s.check(result["sum"] == expected, "other bytes than were written")
        return {"seconds": seconds, "rate": world.size / seconds}

    def warm():
        s.fs.drop(s.path("data"))
        return read()

    def remount():
        s.fresh(wipe=False)
        return {"mount_seconds": s.fs.mount_seconds, **read(s.fs.mount_seconds, opening=True)}

    s.fresh()
    s.row("cold_seq", world.download if s.fs.reference else lambda: read(opening=True))
    if s.fs.reference:
        world.mapped("seq", s.path("data"))
    s.row("warm_seq", warm)
    s.fs.keep_cache()
    s.fs.unmount()
    if not s.fs.reference:
        s.row("remount_warm", remount)
        s.fs.unmount()


def faults(s, name, *extra):
    # Few enough that they do not touch all of the file, however it is fetched.
    count = min(256, s.world.size // MIB * 2)
    s.fresh()

    def work():
        start = time.monotonic()
        result = s.world.mapped("random", s.path("data"), count, s.seed(), *extra)
        return {"seconds": time.monotonic() - start, "p50_us": result["median_us"], "p99_us": result["p99_us"]}

    s.row(name, work)
    s.fs.unmount()


@phase("cold_random")
def cold_random(s):
    """Random 4 KiB faults, each page once, MADV_RANDOM, cache empty."""
    faults(s, "cold_random")


@phase("cold_readaround")
def cold_readaround(s):
    """The same without MADV_RANDOM: the kernel reads around each fault."""
    faults(s, "cold_readaround", "readaround")


def drained(s, start, local):
    s.fs.drained()
    return {"local_seconds": local, "remote_seconds": time.monotonic() - start}


@phase("dirty")
def dirty(s):
    """Random 4 KiB pages dirtied and msynced in a file that is present; then until the store has them."""
    world, count = s.world, min(2000, s.world.size // 4096 // 4)
    s.fresh(rtt=0)
    world.mapped("seq", s.path("dirty"))
    world.set_rtt(s.rtt)

    def work():
        start = time.monotonic()
        result = world.mapped("dirty", s.path("dirty"), count, s.seed())
        return drained(s, start, result["store_seconds"] + result["msync_seconds"])

    s.row("dirty", work)
    verify(s, "dirty", lambda: world.mapped("check", s.path("dirty"), count, s.seed()))


@phase("fill")
def fill(s):
    """A new file filled through its mapping, msynced; then until the store has it."""
    world, name = s.world, s.name("fill")
    s.fresh()

    def work():
        start = time.monotonic()
        result = world.mapped("fill", s.path(name), world.size, s.seed())
        local = result["store_seconds"] + result["msync_seconds"]
        return {"rate": world.size / local, **drained(s, start, local)}

    s.row("fill", work)

    def check():
        found = world.mapped("seq", s.path(name))["sum"]
        s.check(found == sum_of_fill(world.size, s.seed()), "other bytes than were written")
        os.unlink(s.path(name))

    verify(s, "fill", check)


def verify(s, row, check):
    """Whether the store really has it: from an empty cache, without delay."""
    s.fs.unmount()
    s.fresh(rtt=0)
    try:
        check()
    except Exception as error:
        s.world.unrecord(s.fs.name, s.rtt, s.round, row)
        s.failed(row, StepFailed(f"said to be in the store, and is not: {error}"))
        raise PhaseEnded from error
    s.fs.unmount()


@phase("sqlite_read", "sqlite_write")
def sqlite(s):
    """Point reads from a cold database; then transactions in another one, until the store has them."""
    world = s.world
    reads, writes = 200, 100
    if "sqlite_read" in s.wanted:
        s.fresh()
        s.row("sqlite_read", lambda: world.database("sqlite-read", s.path("db/read.db"), reads, s.seed()))
        s.fs.unmount()
    if "sqlite_write" not in s.wanted:
        return
    s.fresh(rtt=0)
    step("sha256sum", s.path("db/write.db"), timeout=world.timeout)
    world.set_rtt(s.rtt)

    def write():
        start = time.monotonic()
        result = world.database("sqlite-write", s.path("db/write.db"), writes, s.seed())
        return {"p50_us": result["p50_us"], "p99_us": result["p99_us"], **drained(s, start, result["seconds"])}

    s.row("sqlite_write", write)
    verify(s, "sqlite_write", lambda: world.database("sqlite-check", s.path("db/write.db"), writes, s.seed()))


@phase("lmdb_fill", "lmdb_read")
def lmdb(s):
    """A new LMDB filled through its mapping, until the store has it; point reads from a cold one."""
    world, name = s.world, s.name("lmdb")
    if "lmdb_fill" in s.wanted:
        s.fresh()

        def work():
            start = time.monotonic()
            os.mkdir(s.path(name))
            result = world.database("lmdb-fill", s.path(name), world.size // 4)
            return {"rate": result["rate"], **drained(s, start, result["seconds"])}

        s.row("lmdb_fill", work)
        verify(s, "lmdb_fill",
               lambda: world.database("lmdb-read", s.path(name), world.size // 4, 1000, s.seed()))
    if "lmdb_read" in s.wanted:
        s.fresh()
        s.row("lmdb_read", lambda: world.database("lmdb-read", s.path("lmdb"), world.size // 4, 200, s.seed()))
        s.fs.unmount()
