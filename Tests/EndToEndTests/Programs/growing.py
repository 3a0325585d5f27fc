"""A file that gets a page longer with each line of input, and all of whose pages change each time.

growing.py write FILE   page N and all before it hold N; prints N once it is written
growing.py watch FILE   waits until page N of a mapping made at the beginning holds N; prints it

The mapping is longer than the file, as a database maps what is to grow. A page behind the end is a
signal, so each look is a process of its own.
"""
import ctypes
import mmap
import os
import sys
import time

PAGE = 4096
LENGTH = 64 * PAGE


def write(path):
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)

    def fill(number):
        os.pwrite(file, number.to_bytes(4, "little") * (PAGE // 4) * (number + 1), 0)
        print(number, flush=True)

    fill(0)
    for line in sys.stdin:
        fill(int(line))


def look(base, number):
    """The number that page `number` holds, or the signal that reading it gives, below zero."""
    ends, begins = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(begins, ctypes.string_at(base + number * PAGE, 4))
        os._exit(0)
    os.close(begins)
    seen = os.read(ends, 4)
    os.close(ends)
    status = os.waitpid(child, 0)[1]
    return -(status & 127) if status else int.from_bytes(seen, "little")


def watch(path):
    while not os.path.exists(path) or os.stat(path).st_size < PAGE:
        time.sleep(0.01)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
    base = libc.mmap(None, LENGTH, mmap.PROT_READ, mmap.MAP_SHARED, os.open(path, os.O_RDONLY), 0)
    for line in sys.stdin:
        number = int(line)
        end = time.monotonic() + 45
        seen = look(base, number)
        while seen != number and time.monotonic() < end:
            time.sleep(0.005)
            seen = look(base, number)
        print(seen, flush=True)


{"write": write, "watch": watch}[sys.argv[1]](*sys.argv[2:])
