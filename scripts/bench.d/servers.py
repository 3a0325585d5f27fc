"""What the bench starts: programs, an S3 server, the proxy, mounts. All end with their object."""
import json
import os
import random
import shutil
import socket
import subprocess
import time

import boto3
from botocore.config import Config

BINARIES = os.environ["REGIONFS_BIN"]
KEYS = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench-secret",
        "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}
# Asked for at the beginning: HEAD may move during a long run.
COMMIT = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()


def run(*command, timeout=600, **named):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=timeout, **named)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: status {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def wait_for(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what}: not in {seconds} s")
        time.sleep(0.005)


def free_ports(count):
    ports = []
    while len(ports) < count:
        port = random.randrange(12_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in ports:
            ports.append(port)
    return ports


class Weed:
    """SeaweedFS with one bucket."""

    def __init__(self, directory):
        os.makedirs(directory)
        ports = free_ports(9)
        names = ["s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port",
                 "volume.port.grpc", "filer.port", "filer.port.grpc", "admin.port"]
        self.address = f"127.0.0.1:{ports[0]}"
        self.log = open(directory + ".log", "w")
        self.process = subprocess.Popen(
            ["weed", "mini", f"-dir={directory}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
             "-master.telemetry=false", "-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0",
             "-s3.port.lance=0", "-bucket=bench"] + [f"-{n}={p}" for n, p in zip(names, ports)],
            env={**os.environ, **KEYS}, stdout=self.log, stderr=self.log)
        self.client = self.connect(self.address)
        wait_for(self.ready, 60, "weed")

    @staticmethod
    def connect(address):
        return boto3.client(
            "s3", endpoint_url=f"http://{address}", aws_access_key_id="bench",
            aws_secret_access_key="bench-secret", region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}))

    def ready(self):
        try:
            self.client.put_object(Bucket="bench", Key="ready", Body=b"x")
            return self.client.get_object(Bucket="bench", Key="ready")["Body"].read() == b"x"
        except Exception:  # not up yet; wait_for limits how long
            return False

    def objects(self, prefix):
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket="bench", Prefix=prefix)
        return {o["Key"]: o["Size"] for page in pages for o in page.get("Contents", [])}

    def forget_traces(self, prefix):
        """Removes what earlier starts read first."""
        for key in self.objects(prefix):
            if key.endswith(("/trace", "/mounts/first")):
                self.client.delete_object(Bucket="bench", Key=key)

    def url(self, key):
        return self.client.generate_presigned_url("get_object", Params={"Bucket": "bench", "Key": key})

    def stop(self):
        self.process.kill()
        self.process.wait()


class Proxy:
    """regionfs-impair before a server."""

    def __init__(self, to, *arguments):
        self.process = subprocess.Popen(
            [BINARIES + "/regionfs-impair", "--to", to, "--control", "-", *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.address = json.loads(self.process.stdout.readline())["listening"]

    def control(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def stop(self):
        self.process.kill()
        self.process.wait()


class Mount:
    """A regionfs mount with a cache of its own; daemon in the background, as users have it."""

    def __init__(self, work, name, store, *options, address=None):
        self.point, self.cache = f"{work}/mnt-{name}", f"{work}/cache-{name}"
        os.makedirs(self.point, exist_ok=True)
        self.environment = {**os.environ, **KEYS, "REGIONFS_RUNTIME_DIR": work + "/run"}
        os.makedirs(work + "/run", mode=0o700, exist_ok=True)
        words = [f"cache_dir={self.cache}", f"log={work}/log-{name}", *options]
        if address:
            words += [f"endpoint=http://{address}", "path_style"]
        self.command = [BINARIES + "/regionfs", "mount", store, self.point, "-o", ",".join(words)]
        self.mount()

    def mount(self):
        start = time.monotonic()
        run(*self.command, env=self.environment)
        self.mount_seconds = time.monotonic() - start
        # The lock of the cache names the daemon: asking it would take a process.
        with open(self.cache + "/lock") as lock:
            self.pid = int(lock.read().split()[1].rstrip(","))

    def stat(self, *arguments, timeout=600):
        return run(BINARIES + "/regionfs-stat", *arguments, self.point, env=self.environment, timeout=timeout)

    def status(self):
        return json.loads(self.stat("--json"))["mounts"][0]

    def region(self, name):
        return next(r for r in self.status()["regions"] if r["name"] == name)

    def committed(self):
        self.stat("--wait=committed", "--timeout=600")

    def pulled(self):
        self.stat("--wait=pulled", "--timeout=600")

    def peak_memory(self):
        with open(f"/proc/{self.pid}/status") as file:
            return next(int(l.split()[1]) * 1024 for l in file if l.startswith("VmHWM"))

    def unmount(self):
        """Also waits until the daemon has drained and ended."""
        run("fusermount3", "-u", self.point)
        wait_for(lambda: not os.path.exists(f"/proc/{self.pid}"), 600, "drain")

    def stop(self):
        """By force, whatever the state."""
        with open("/proc/self/mountinfo") as table:
            mounted = f" {self.point} " in table.read()
        if mounted:
            subprocess.run(["umount", "-i", "-l", self.point], check=False)
        try:
            os.kill(self.pid, 9)
        except (ProcessLookupError, AttributeError):
            return
        wait_for(lambda: not os.path.exists(f"/proc/{self.pid}"), 10, "end of the daemon")

    def forget(self):
        """Removes the cache of an ended mount."""
        shutil.rmtree(self.cache)


class Passthrough:
    """The baseline: a bare libfuse passthrough of one file."""

    def __init__(self, program, backing, point):
        os.makedirs(point, exist_ok=True)
        self.point, self.file = point, point + "/file"
        self.process = subprocess.Popen([program, backing, point])
        wait_for(lambda: os.path.exists(self.file), 10, "passthrough")
        self.tune()

    def tune(self):
        """The same read-around as regionfs sets for itself."""
        with open("/proc/self/mountinfo") as table:
            device = next(l.split()[2] for l in table if f" {self.point} " in l)
        with open(f"/sys/class/bdi/{device}/read_ahead_kb", "w") as file:
            file.write("256")

    def stop(self):
        if self.process.poll() is not None:
            return
        subprocess.run(["umount", "-i", "-l", self.point], check=False)
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
