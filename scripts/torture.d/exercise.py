#!/usr/bin/env python3
"""Random operations on one file beside a model in memory, for many seeds, in lives of the daemon.

Each seed is a file of at most a few MiB that is read, written, mapped, truncated, punched, synced and
reopened at random (Tests/EndToEndTests/Programs/random_operations.py). Between slices of operations
the daemon is unmounted and mounted again, or killed after an fsync, or mounted with an empty cache;
options change from life to life (push interval, cache limit, how it pulls). At the end each file is
compared once more in another mount, with an empty cache.
"""
import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

from daemon import Stores, Victim

PROGRAM = os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "../../Tests/EndToEndTests/Programs/random_operations.py")


class Failed(Exception):
    """An answer did not agree with the model."""


def exercise(path, *words):
    done = subprocess.run([sys.executable, PROGRAM, path, *map(str, words)], capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(f"status {done.returncode}\n{done.stdout}{done.stderr}")


def next_life(victim, chance, arguments):
    """Ends the daemon in some way and starts another; says how."""
    how = chance.choice(["unmount", "unmount", "kill", "empty"])
    if how == "kill":
        victim.kill()
    else:
        victim.unmount()
    if how == "empty":
        shutil.rmtree(victim.cache)
    options = [f"push_interval={chance.choice(['100ms', '300ms', '5s'])}", f"pull={chance.choice(['auto', 'lazy', 'background'])}"]
    if arguments.cache_size and chance.random() < 0.6:
        options.append(f"cache_size={arguments.cache_size}")
    victim.mount(*options)
    return f"{how} {' '.join(options)}"


def run_seed(seed, arguments, stores, work):
    chance = random.Random(seed)
    store, options = stores.fresh()
    victim, other = Victim(work, "main", store, options), Victim(work, "other", store, options)
    model, lives = f"{work}/model", []
    try:
        victim.mount("push_interval=300ms")
        left, first = arguments.operations // arguments.seeds, True
        while left > 0:
            count = min(left, chance.choice([200, 1000, 3000, 8000]))
            words = ["--seed", chance.randrange(1 << 30), "--operations", count, "--size", arguments.size, "--model", model]
            exercise(f"{victim.point}/f", *words, *([] if first else ["--resume", model]))
            left, first = left - count, False
            lives.append(next_life(victim, chance, arguments))
            exercise(f"{victim.point}/f", "--verify", model)
        victim.unmount()
        other.mount()
        exercise(f"{other.point}/f", "--verify", model)
        other.unmount()
    except (Failed, RuntimeError) as error:
        sys.exit(f"seed {seed}, after the lives {lives[-5:]}: {error}\n{victim.log_tail()}")
    finally:
        victim.remove()
        other.remove()
    return len(lives)


def main():
    parser = argparse.ArgumentParser(
        prog="scripts/torture exercise", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", choices=["directory", "s3"], default="s3")
    parser.add_argument("--operations", type=int, default=1_000_000, help="of all seeds together")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--size", type=int, default=4 << 20, help="the longest that a file may be, in bytes")
    parser.add_argument("--cache-size", default="", help="cache_size= of most lives, such as 2m; empty: never")
    arguments = parser.parse_args()
    work = tempfile.mkdtemp(prefix="regionfs-exercise-")
    stores = Stores(arguments.store, work)
    start, lives = time.monotonic(), 0
    try:
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
            lives += run_seed(seed, arguments, stores, work)
            print(f"seed {seed}: {arguments.operations // arguments.seeds} operations agree; "
                  f"{lives} lives, {time.monotonic() - start:.0f} s so far", flush=True)
    finally:
        stores.stop()
        shutil.rmtree(work)
    print(f"{arguments.operations} operations on {arguments.seeds} seeds in {lives} lives: all agree")


if __name__ == "__main__":
    main()
