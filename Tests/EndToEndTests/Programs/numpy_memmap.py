#!/usr/bin/env python3
"""A numpy.memmap that is filled, changed in place and summed.

usage: numpy_memmap.py write FILE | check FILE
"""
import sys

import numpy

SHAPE = (512, 16_384)  # 64 MiB of float64


def expected():
    array = numpy.arange(SHAPE[0] * SHAPE[1], dtype=numpy.float64).reshape(SHAPE)
    array[:, 5] = -1
    array[100:110] *= 2
    return array


def write(path):
    array = numpy.memmap(path, dtype=numpy.float64, mode="w+", shape=SHAPE)
    array[:] = numpy.arange(SHAPE[0] * SHAPE[1], dtype=numpy.float64).reshape(SHAPE)
    array.flush()
    array[:, 5] = -1
    array[100:110] *= 2
    array.flush()
    check(path)


def check(path):
    array = numpy.memmap(path, dtype=numpy.float64, mode="r", shape=SHAPE)
    wrong = numpy.argwhere(array != expected())
    if len(wrong):
        sys.exit(f"{len(wrong)} elements are wrong, first at {wrong[0]}")


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("write", "check"):
        sys.exit(__doc__)
    {"write": write, "check": check}[sys.argv[1]](sys.argv[2])
