#!/usr/bin/env python3
"""Makes COUNT files below DIR, holds them open for writing and keeps their pages dirty, until killed.

usage: hold_open.py DIR COUNT
"""
import mmap
import os
import sys

if __name__ == "__main__":
    directory, count = sys.argv[1], int(sys.argv[2])
    mappings = []
    for number in range(count):
        descriptor = os.open(f"{directory}/{number}", os.O_RDWR | os.O_CREAT)
        os.ftruncate(descriptor, 4096)
        mappings.append(mmap.mmap(descriptor, 4096))
    print("started", flush=True)
    value = 0
    while True:
        value += 1
        for mapping in mappings:
            mapping[0:8] = value.to_bytes(8, "little")
