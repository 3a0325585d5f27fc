#!/usr/bin/env python3
"""Bytes of files that the kernel has in its page cache, by cachestat(2).

usage: page_cache.py show FILE ...          one number a line
       page_cache.py touch FILE             reads each page of a mapping once; prints the time it took
"""
import ctypes
import mmap
import os
import sys
import time


class Range(ctypes.Structure):
    _fields_ = [("offset", ctypes.c_uint64), ("length", ctypes.c_uint64)]


class Statistics(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64)
                for name in ("cached", "dirty", "writeback", "evicted", "recently_evicted")]


def cached(path):
    descriptor = os.open(path, os.O_RDONLY)
    statistics = Statistics()
    libc = ctypes.CDLL(None, use_errno=True)
    whole = Range(0, 0)
    if libc.syscall(451, descriptor, ctypes.byref(whole), ctypes.byref(statistics), 0) != 0:
        sys.exit(f"cachestat: {os.strerror(ctypes.get_errno())}")
    os.close(descriptor)
    return statistics.cached * 4096


if sys.argv[1] == "show":
    for path in sys.argv[2:]:
        print(cached(path))
else:
    descriptor = os.open(sys.argv[2], os.O_RDONLY)
    mapping = mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
    begin = time.monotonic()
    total = 0
    for at in range(0, len(mapping), 4096):
        total += mapping[at]
    print(time.monotonic() - begin)
