#!/usr/bin/env python3
"""Pages whose content follows from a seed and their number, so that anyone can verify them.

usage: pattern.py write  FILE --pages N --seed S   write(2) every page, in a seeded order
       pattern.py map    FILE --pages N --seed S [--touch K] [--msync] [--hold]
                         store to K (default all) seeded pages through a mapping; --hold keeps the
                         mapping until standard input ends, without any msync
       pattern.py verify FILE --pages N --seed S [--touch K --base-seed B] [--mmap]
                         every page must have seed S, or where only K were touched, the others B
                         (B 0: zeros)
Prints "done" when the work is done. Seed 0 is zeros.
"""
import argparse
import hashlib
import mmap
import os
import random
import sys

PAGE = 4096


def page(seed, number):
    if seed == 0:
        return bytes(PAGE)
    return hashlib.sha256(b"%d/%d" % (seed, number)).digest() * (PAGE // 32)


def touched(seed, pages, count):
    return sorted(random.Random(seed).sample(range(pages), count))


def write(arguments):
    descriptor = os.open(arguments.file, os.O_RDWR | os.O_CREAT)
    os.ftruncate(descriptor, arguments.pages * PAGE)
    order = list(range(arguments.pages))
    random.Random(arguments.seed).shuffle(order)
    for number in order:
        os.pwrite(descriptor, page(arguments.seed, number), number * PAGE)
    os.close(descriptor)


def store(arguments):
    descriptor = os.open(arguments.file, os.O_RDWR | os.O_CREAT)
    if os.fstat(descriptor).st_size < arguments.pages * PAGE:
        os.ftruncate(descriptor, arguments.pages * PAGE)
    mapping = mmap.mmap(descriptor, arguments.pages * PAGE)
    os.close(descriptor)
    chosen = touched(arguments.seed, arguments.pages, arguments.touch or arguments.pages)
    random.Random(arguments.seed + 1).shuffle(chosen)
    for number in chosen:
        mapping[number * PAGE:(number + 1) * PAGE] = page(arguments.seed, number)
    if arguments.msync:
        mapping.flush()
    print("done", flush=True)
    if arguments.hold:
        sys.stdin.read()
    # No close: closing a mapping in Python does not msync either, but ending certainly does not.


def verify(arguments):
    descriptor = os.open(arguments.file, os.O_RDONLY)
    size = os.fstat(descriptor).st_size
    if size != arguments.pages * PAGE:
        sys.exit(f"size is {size}, expected {arguments.pages * PAGE}")
    source = mmap.mmap(descriptor, size, prot=mmap.PROT_READ) if arguments.mmap else None
    chosen = set(touched(arguments.seed, arguments.pages, arguments.touch or arguments.pages))
    wrong = []
    for number in range(arguments.pages):
        if source:
            got = source[number * PAGE:(number + 1) * PAGE]
        else:
            got = os.pread(descriptor, PAGE, number * PAGE)
        seed = arguments.seed if number in chosen else arguments.base_seed
        if got != page(seed, number):
            zeros = " (zeros)" if got == bytes(PAGE) else ""
            wrong.append(f"{number}{zeros}")
    if wrong:
        sys.exit(f"{len(wrong)} of {arguments.pages} pages are wrong: {', '.join(wrong[:10])}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["write", "map", "verify"])
    parser.add_argument("file")
    parser.add_argument("--pages", type=int, default=1024)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--base-seed", type=int, default=0)
    parser.add_argument("--touch", type=int)
    parser.add_argument("--msync", action="store_true")
    parser.add_argument("--hold", action="store_true")
    parser.add_argument("--mmap", action="store_true")
    chosen_arguments = parser.parse_args()
    {"write": write, "map": store, "verify": verify}[chosen_arguments.action](chosen_arguments)
    if chosen_arguments.action != "map":
        print("done", flush=True)
