#!/usr/bin/env python3
"""How long a mount takes after a kill, by what the log holds.

For each length: write so many MiB that nobody commits (push_interval=1h), SIGKILL, and time the next
mount until it answers; then everything is compared. Twice: few large records, and 4 KiB ones.
"""
import argparse
import os
import random
import shutil
import sys
import tempfile

from daemon import Stores, Victim
from model import content

MIB = 1 << 20


def fill(path, mebibytes, size, seed):
    """Writes in random order, each place once, so that every byte is one record's."""
    places = list(range(0, mebibytes * MIB, size))
    random.Random(seed).shuffle(places)
    with open(path, "r+b" if os.path.exists(path) else "w+b", buffering=0) as file:
        for place in places:
            if file.seek(place) != place or file.write(content(seed, place, size)) != size:
                raise OSError("short write")


def differs(path, mebibytes, seed):
    with open(path, "rb", buffering=0) as file:
        for at in range(0, mebibytes * MIB, MIB):
            if file.read(MIB) != content(seed, at, MIB):
                return at
    return None


def measure(arguments, work):
    stores = Stores(arguments.store, work)
    print(f"{'log, MiB':>9} {'record':>8} {'records':>8} {'mount, s':>9} {'MiB/s':>7} {'mount with an empty log, s':>27}")
    try:
        for mebibytes in arguments.lengths:
            for size in (MIB, 4096):
                store, options = stores.fresh()
                victim = Victim(work, "main", store, options)
                try:
                    victim.mount("push_interval=1h")
                    empty = []
                    for _ in range(3):
                        victim.kill()
                        empty.append(victim.mount("push_interval=1h"))
                    fill(victim.point + "/f", mebibytes, size, mebibytes)
                    victim.kill()
                    log = sum(os.path.getsize(f"{folder}/{name}") for folder, _, names in os.walk(victim.cache)
                              if folder.endswith("/log") for name in names) / MIB
                    seconds = victim.mount("push_interval=1h")
                    wrong = differs(victim.point + "/f", mebibytes, mebibytes)
                    if wrong is not None or log < mebibytes:
                        sys.exit(f"log of {log:.0f} MiB, first difference: {wrong}")
                    print(f"{log:9.0f} {size:8} {mebibytes * MIB // size:8} {seconds:9.2f} "
                          f"{log / seconds:7.0f} {sorted(empty)[1]:27.3f}", flush=True)
                finally:
                    victim.remove()
    finally:
        stores.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="scripts/torture recovery", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", choices=["directory", "s3"], default="directory")
    parser.add_argument("--lengths", type=lambda text: [int(n) for n in text.split(",")], default=[16, 64, 256, 480],
                        help="MiB, with commas between")
    folder = tempfile.mkdtemp(prefix="regionfs-recovery-")
    try:
        measure(parser.parse_args(), folder)
    finally:
        shutil.rmtree(folder)
