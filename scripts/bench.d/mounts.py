"""What every mount of `scripts/bench peers` has in common: its daemon, its cache, its end."""
import os
import shutil
import signal
import subprocess
import time

from processes import StepFailed, family, mounted, step, until
from servers import KEYS


class FileSystem:
    """One mount and its cache. The defaults are those of a daemon kept in the foreground."""

    name = ""
    #: The rows that a variant of a peer is there for; None: all.
    rows = None
    #: Is a yardstick and no peer.
    reference = False

    def __init__(self, world):
        self.world = world
        base = f"{world.work}/{self.name}"
        self.point, self.cache, self.log = base + "/mount", base + "/cache", base + "/log"
        os.makedirs(self.point)
        os.makedirs(self.cache)
        self.process, self.mount_seconds = None, 0.0
        #: Where it begins in the store: raised after a failure, which may have left anything.
        self.generation = 1

    @staticmethod
    def version():
        raise NotImplementedError

    @property
    def place(self):
        return f"{self.name}-{self.generation}"

    def prepare(self):
        """What has to exist before the first mount of a generation."""

    def command(self):
        raise NotImplementedError

    def environment(self):
        return {**os.environ, **KEYS}

    def mount(self):
        start = time.monotonic()
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                self.command(), env=self.environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True)
        until(self._answers, self.world.timeout, f"{self.name} mount")
        self.mount_seconds = time.monotonic() - start

    def _answers(self):
        if self.process.poll() is not None:
            with open(self.log, errors="replace") as log:
                raise StepFailed(f"{self.name} ended at once: {log.read()[-300:].strip()}")
        return mounted(self.daemon_point())

    def daemon_point(self):
        """Where the daemon mounts; s3backer has a file system on top of that."""
        return self.point

    def drained(self):
        """Returns once the store has everything."""

    def settle(self):
        """Once, after the files were copied in: work that would else disturb the first rows."""

    def drop(self, path):
        """Takes the file's pages out of the kernel's cache; the mount's own cache stays."""
        self.world.mapped("drop", path)

    def keep_cache(self):
        """Before an unmount after which the cache is to be used again."""

    def unmount(self):
        """Drains, unmounts, and waits for the daemon's end. The cache stays."""
        self.drained()
        step("fusermount3", "-u", self.daemon_point(), timeout=self.world.timeout)
        until(lambda: self.process.poll() is not None, self.world.timeout, f"end of {self.name}")

    def wipe(self):
        shutil.rmtree(self.cache)
        os.makedirs(self.cache)

    def processes(self):
        return family([self.process.pid])

    def stop(self):
        """By force, whatever the state."""
        if self.process is not None and self.process.poll() is None:
            for pid in family([self.process.pid]):
                _kill(pid)
            self.process.wait()
        detach(self.daemon_point())

    def end(self):
        """After the last mount: what runs beside the mounts."""


def _kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def detach(point):
    """Unmounts by force: ends requests that hang, then takes the mount away."""
    with open("/proc/self/mountinfo") as table:
        devices = [l.split()[2] for l in table if f" {point} " in l]
    for device in devices:
        minor = device.split(":")[1]
        abort = f"/sys/fs/fuse/connections/{minor}/abort"
        if os.path.exists(abort):
            with open(abort, "w") as file:
                file.write("1")
        subprocess.run(["umount", "-i", "-l", point], check=False, capture_output=True)


def first_line(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip().splitlines()[0]
