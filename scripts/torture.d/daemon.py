"""Daemons that are killed, and the stores that outlive them."""
import os
import shutil
import signal
import subprocess
import sys
import time

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../bench.d"))
from servers import BINARIES, KEYS, Weed, run  # noqa: E402

# Seconds. Long, for a campaign may be stopped for minutes on a machine that others need.
PATIENCE = 1200


class Hung(Exception):
    """Something that must end did not."""


class Stores:
    """Makes stores of one kind, one after the other; one server for all of them."""

    def __init__(self, kind, work):
        self.kind, self.work, self.weed, self.count = kind, work, None, 0
        self.server_data = None

    def fresh(self):
        """A store's address and the options to reach it; the one before may be removed."""
        self.count += 1
        if self.kind == "directory":
            path = f"{self.work}/store-{self.count}"
            shutil.rmtree(f"{self.work}/store-{self.count - 1}", ignore_errors=True)
            os.makedirs(path)
            return f"file://{path}", []
        # Nothing gives room back to the disk in a server like this: now and then a new one.
        if self.weed is None or self.count % 10 == 1:
            self.stop()
            self.server_data = f"{self.work}/weed-{self.count}"
            self.weed = Weed(self.server_data)
        return f"s3://bench/life-{self.count}", [f"endpoint=http://{self.weed.address}", "path_style"]

    def stop(self):
        if self.weed is not None:
            self.weed.stop()
            shutil.rmtree(self.server_data, ignore_errors=True)
            self.weed = None


class Victim:
    """One mountpoint with one cache, and the daemon that serves it in its present life."""

    def __init__(self, work, name, store, options):
        self.point, self.cache, self.log = f"{work}/mnt-{name}", f"{work}/cache-{name}", f"{work}/log-{name}"
        self.store, self.options, self.process = store, options, None
        os.makedirs(self.point, exist_ok=True)
        os.makedirs(f"{work}/run", mode=0o700, exist_ok=True)
        self.environment = {**os.environ, **KEYS, "REGIONFS_RUNTIME_DIR": f"{work}/run"}

    def start(self, *options):
        """Starts a daemon and does not wait for it."""
        words = ",".join([f"cache_dir={self.cache}", *self.options, *options])
        with open(self.log, "ab") as log:
            self.log_start = log.tell()
            self.process = subprocess.Popen(
                [BINARIES + "/regionfs", "mount", self.store, self.point, "-f", "-o", words],
                env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def is_mounted(self):
        with open("/proc/self/mountinfo") as table:
            return f" {self.point} " in table.read()

    def wait_until_mounted(self):
        end = time.monotonic() + PATIENCE
        while not self.says_that_it_is_mounted() or not self.answers():
            if self.process.poll() is not None:
                raise RuntimeError(f"the daemon ended with {self.process.returncode}: {self.log_tail()}")
            if time.monotonic() > end:
                raise Hung(f"no mount after {PATIENCE} s: {self.log_tail()}")
            time.sleep(0.002)

    def says_that_it_is_mounted(self):
        with open(self.log, "rb") as file:
            file.seek(self.log_start)
            return b" is mounted at " in file.read()

    def answers(self):
        """Whether the new mount is there: the former daemon's does not answer, the directory beneath
        is of another type. In a child, for it may hang."""
        done = subprocess.run(
            ["stat", "-f", "-c", "%T", self.point], capture_output=True, text=True, timeout=PATIENCE)
        return done.stdout == "fuseblk\n"

    def mount(self, *options):
        """Seconds that it took."""
        start = time.monotonic()
        self.start(*options)
        self.wait_until_mounted()
        return time.monotonic() - start

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise Hung("SIGKILL does not end the daemon") from None

    def ask(self, command, patience=PATIENCE):
        """Has the tool ask the daemon. It gives up after some seconds without an answer, which is
        nobody's fault where everything was stopped meanwhile: then it asks again."""
        for attempt in range(10):
            try:
                return run(BINARIES + "/regionfs", command, self.point, env=self.environment, timeout=patience)
            except RuntimeError as error:
                if "no answer in time" not in str(error) or attempt == 9:
                    raise

    def sync(self):
        self.ask("sync")

    def unmount(self, patience=PATIENCE):
        """Waits until everything is committed and the daemon has ended."""
        self.ask("umount", patience)
        self.process.wait(PATIENCE)

    def unmount_lazily(self):
        subprocess.run(["umount", "-i", "-l", self.point], check=False, capture_output=True)

    def remove(self):
        """Daemon, mount and cache, by force."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        while self.is_mounted():
            self.unmount_lazily()
        shutil.rmtree(self.cache, ignore_errors=True)

    def log_tail(self):
        with open(self.log, "rb") as file:
            return file.read()[-3000:].decode(errors="replace")
