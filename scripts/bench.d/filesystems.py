"""What `scripts/bench peers` compares: regionfs and its peers, each set up as its own documents
advise for large files that are mapped. docs/BENCHMARKS.md says the same in words."""
import json
import os
import shutil
import subprocess
import time
import urllib.request

from mounts import FileSystem, detach, first_line
from processes import StepFailed, family, mounted, step, until
from servers import BINARIES, KEYS, Mount, free_ports

MIB = 1 << 20


class Regionfs(FileSystem):
    """Defaults throughout; only addresses and directories are given."""

    name = "regionfs"
    options = []
    inner = None

    @staticmethod
    def version():
        return first_line(BINARIES + "/regionfs", "--version")

    def mount(self):
        self.inner = Mount(
            self.world.work, self.name, f"s3://bench/{self.place}", *self.options,
            address=self.world.proxy.address)
        self.point, self.cache = self.inner.point, self.inner.cache
        self.mount_seconds = self.inner.mount_seconds

    def drained(self):
        step(BINARIES + "/regionfs", "sync", "--timeout", int(self.world.timeout), self.point,
             timeout=self.world.timeout + 10, env=self.inner.environment)

    def unmount(self):
        self.drained()
        self.inner.unmount()

    def wipe(self):
        shutil.rmtree(self.cache, ignore_errors=True)

    def processes(self):
        return family([self.inner.pid])

    def stop(self):
        if self.inner is not None:
            detach(self.inner.point)
            self.inner.stop()


class RegionfsLazy(Regionfs):
    """Pulls what is asked for and no more: by default it also pulls the rest in the background, which
    counts in the bytes of random reads."""

    name = "regionfs-lazy"
    rows = ("cold_random", "cold_readaround", "sqlite_read", "lmdb_read")
    options = ["pull=lazy"]


class RegionfsWriteback(Regionfs):
    """The kernel collects write(2)s: for mounts that alone use what they mount (docs/SEMANTICS.md), as
    JuiceFS is mounted here in any case."""

    name = "regionfs-writeback"
    rows = ("sqlite_write",)
    options = ["writeback_cache"]


class Rclone(FileSystem):
    """https://rclone.org/commands/rclone_mount/: a cache on disk and `full` mode for anything that
    writes into files; 16 streams of 4 MiB for fast object stores; the server's times and the fast
    fingerprint for S3, which else asks for each file's attributes. An upload waits five seconds after
    the last close, and unmounting does not wait for it: so the bench asks through the remote control
    that it begin at once, and for its end before it unmounts. A file's cache survives an unmount only
    if the file was closed five seconds before (--vfs-handle-caching): the bench waits that long."""

    name = "rclone"
    chunks = ["--vfs-read-chunk-size", "4M", "--vfs-read-chunk-streams", "16"]

    @staticmethod
    def version():
        return first_line("rclone", "version")

    def environment(self):
        settings = {"TYPE": "s3", "PROVIDER": "SeaweedFS", "ENV_AUTH": "true",
                    "ENDPOINT": f"http://{self.world.proxy.address}", "NO_CHECK_BUCKET": "true"}
        return {**super().environment(), "RCLONE_CONFIG": "/dev/null",
                **{f"RCLONE_CONFIG_STORE_{key}": value for key, value in settings.items()}}

    def command(self):
        self.port = free_ports(1)[0]
        return ["rclone", "mount", f"store:bench/{self.place}", self.point, "--cache-dir", self.cache,
                "--vfs-cache-mode", "full", *self.chunks, "--use-server-modtime",
                "--vfs-fast-fingerprint", "--vfs-cache-max-age", "24h", "--transfers", "16",
                "--s3-upload-concurrency", "16", "--rc", "--rc-no-auth", "--rc-addr",
                f"127.0.0.1:{self.port}"]

    def _ask(self, what, **arguments):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/{what}", data=json.dumps(arguments).encode(),
            headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def drained(self):
        # The last close reaches rclone after the program has ended; until then nothing is queued.
        seen, begin = False, time.monotonic()

        def done():
            nonlocal seen
            queue = self._ask("vfs/queue")["queue"]
            for item in queue:
                seen = True
                if not item["uploading"] and item["expiry"] > 0:
                    self._ask("vfs/queue-set-expiry", id=item["id"], expiry=-1)
            disk = self._ask("vfs/stats")["diskCache"]
            busy = queue or disk["uploadsInProgress"] or disk["uploadsQueued"]
            seen = seen or bool(busy)
            return not busy and (seen or time.monotonic() - begin > 0.5)

        until(done, self.world.timeout, f"{self.name} uploads")

    def keep_cache(self):
        time.sleep(6)


class RcloneSmall(Rclone):
    """The same for random reads: small requests, nothing ahead. A user who knows the access pattern
    would choose it; 16 streams of 4 MiB fetch 64 MiB around each fault."""

    name = "rclone-small"
    rows = RegionfsLazy.rows
    chunks = ["--vfs-read-chunk-size", "128k", "--vfs-read-chunk-size-limit", "1M", "--buffer-size", "0"]


class Juicefs(FileSystem):
    """https://juicefs.com/docs/community: Redis, which is said to be the fastest engine, on this host
    and without the delay that the store has: its round trips are free here and counted nowhere. AOF
    every second, as its best practices demand. `--writeback` (uploads after the answer, from a local
    directory) and FUSE's writeback cache are what it advises for small random writes. Trash and
    metadata backups are off, so that they do not upload in between."""

    name = "juicefs"
    options = []
    redis = None

    @staticmethod
    def version():
        redis = first_line("redis-server", "--version")
        return first_line("juicefs", "version") + "; " + " ".join(redis.split()[:3])

    def prepare(self):
        self.end()
        port = free_ports(1)[0]
        directory = f"{os.path.dirname(self.cache)}/redis-{self.generation}"
        os.makedirs(directory)
        with open(directory + "/log", "w") as log:
            self.redis = subprocess.Popen(
                ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", directory,
                 "--appendonly", "yes", "--appendfsync", "everysec", "--save", "",
                 "--maxmemory-policy", "noeviction"], stdout=log, stderr=log)
        self.meta = f"redis://127.0.0.1:{port}/1"
        def up():
            return subprocess.run(["redis-cli", "-p", str(port), "ping"], capture_output=True,
                                  check=False).stdout == b"PONG\n"

        until(up, 30, "redis")
        step("juicefs", "format", "--storage", "s3", "--bucket",
             f"http://{self.world.proxy.address}/bench", "--access-key", KEYS["AWS_ACCESS_KEY_ID"],
             "--secret-key", KEYS["AWS_SECRET_ACCESS_KEY"], "--trash-days", "0", self.meta, self.place,
             timeout=self.world.timeout, env=self.environment())

    def command(self):
        return ["juicefs", "mount", "--no-usage-report", "--no-syslog", "--backup-meta", "0", "--metrics",
                f"127.0.0.1:{free_ports(1)[0]}", "--cache-dir", self.cache, "--writeback",
                "-o", "writeback_cache", *self.options, self.meta, self.point]

    def drained(self):
        def staged():
            text = step("cat", self.point + "/.stats", timeout=60)
            lines = [l.split() for l in text.splitlines() if l.startswith("juicefs_staging_blocks")]
            if not lines:
                raise StepFailed("juicefs: no juicefs_staging_blocks in .stats")
            return sum(float(line[-1]) for line in lines)

        until(lambda: staged() == 0, self.world.timeout, f"{self.name} uploads")

    def settle(self):
        # Else it merges what the copy has written while the first reads are measured.
        step("juicefs", "compact", self.point, timeout=self.world.timeout)

    def processes(self):
        return family([self.process.pid, self.redis.pid])

    def end(self):
        if self.redis is not None:
            self.redis.kill()
            self.redis.wait()


class JuicefsSmall(Juicefs):
    """The same for random reads: no prefetch of whole 4 MiB blocks, as its documents advise where
    reads are small and sparse."""

    name = "juicefs-small"
    rows = RegionfsLazy.rows
    options = ["--prefetch", "0"]


def write_keys(path):
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(f"{KEYS['AWS_ACCESS_KEY_ID']}:{KEYS['AWS_SECRET_ACCESS_KEY']}\n")


class S3fs(FileSystem):
    """https://github.com/s3fs-fuse/s3fs-fuse/wiki: a local cache, more parallel requests than the five
    of the default, what is known not to exist is remembered. It uploads at fsync and close, so it is
    drained when the call returns."""

    name = "s3fs"

    @staticmethod
    def version():
        return first_line("s3fs", "--version")

    def prepare(self):
        self.password = os.path.dirname(self.cache) + "/password"
        write_keys(self.password)
        self.world.weed.client.put_object(Bucket="bench", Key=self.place + "/", Body=b"")

    def command(self):
        options = [f"passwd_file={self.password}", f"url=http://{self.world.proxy.address}",
                   "use_path_request_style", f"use_cache={self.cache}", "parallel_count=20",
                   "multireq_max=20", "enable_noobj_cache", "listobjectsv2"]
        return ["s3fs", f"bench:/{self.place}", self.point, "-f", "-o", ",".join(options)]


class S3backer(FileSystem):
    """s3backer(1): a disk image in blocks, on a loop device, with ext4. Blocks of 128 KiB: 4 KiB, the
    default, is a request for each page, and 1 MiB, advised for cost, moves that much for each dirty
    page. A block cache in a file that holds the whole disk, dirty blocks recovered from it; read-ahead
    of 16 blocks instead of 4, as many as keep its 20 threads busy. The MD5 cache and the pause between
    writes of a block are off: they guard against eventual consistency, which S3 no longer has."""

    name = "s3backer"
    block = 128 * 1024

    @property
    def device_point(self):
        return os.path.dirname(self.cache) + "/device"

    @staticmethod
    def version():
        return first_line("s3backer", "--version")

    def prepare(self):
        base = os.path.dirname(self.cache)
        os.makedirs(self.device_point, exist_ok=True)
        self.password = base + "/password"
        write_keys(self.password)
        self.size = (self.world.size * 6 + 512 * MIB) // (64 * MIB) * (64 * MIB)
        super().mount()
        step("mkfs.ext4", "-q", "-F", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0",
             self.device_point + "/disk", timeout=self.world.timeout)
        super().unmount()

    def command(self):
        return ["s3backer", "-f", f"--baseURL=http://{self.world.proxy.address}/", f"--prefix={self.place}-",
                f"--accessFile={self.password}", f"--blockSize={self.block}", f"--size={self.size}",
                "--listBlocks", "--quiet", f"--blockCacheFile={self.cache}/blocks",
                f"--blockCacheSize={self.size // self.block}", "--blockCacheRecoverDirtyBlocks",
                "--readAhead=16", "--md5CacheSize=0", "--md5CacheTime=0", "--minWriteDelay=0",
                "--filename=disk", "bench", self.device_point]

    def daemon_point(self):
        return self.device_point

    def mount(self):
        super().mount()
        start = time.monotonic()
        step("mount", "-o", "loop,discard", self.device_point + "/disk", self.point,
             timeout=self.world.timeout)
        self.mount_seconds += time.monotonic() - start

    def drained(self):
        if mounted(self.point):
            step("sync", "-f", self.point, timeout=self.world.timeout)
        step("sync", self.device_point + "/disk", timeout=self.world.timeout)

        def clean():
            text = step("cat", self.device_point + "/stats", timeout=60)
            counts = dict(line.split()[:2] for line in text.splitlines() if len(line.split()) >= 2)
            return float(counts["block_cache_dirty_ratio"]) == 0

        until(clean, self.world.timeout, f"{self.name} uploads")

    def drop(self, path):
        super().drop(path)
        self.world.mapped("drop", self.device_point + "/disk")

    def unmount(self):
        step("umount", self.point, timeout=self.world.timeout)
        super().unmount()

    def stop(self):
        super().stop()
        subprocess.run(["umount", "-l", self.point], check=False, capture_output=True)


class Local(FileSystem):
    """No peers but limits: the file system under the caches for what is local, 16 parallel range GETs
    by curl for the cold sequential read."""

    name = "local"
    reference = True
    rows = ("cold_seq", "warm_seq", "dirty", "fill", "sqlite_write", "lmdb_fill")

    @staticmethod
    def version():
        return os.uname().release

    def mount(self):
        self.mount_seconds = 0.0

    def unmount(self):
        pass

    def wipe(self):
        pass

    def drop(self, path):
        """Nothing: the yardstick of a hit is the page cache."""

    def processes(self):
        return []

    def stop(self):
        pass


ALL = [Regionfs, RegionfsLazy, RegionfsWriteback, Rclone, RcloneSmall, Juicefs, JuicefsSmall, S3fs, S3backer, Local]
