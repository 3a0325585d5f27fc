#!/usr/bin/env python3
"""docs/guides/numpy.md: numpy_arrays.py write|check DIRECTORY

An array larger than what is touched of it, as a .npy file that is mapped.
"""
import pathlib
import sys

import numpy

SHAPE = (8192, 1024)


def write(path):
    array = numpy.lib.format.open_memmap(path, mode="w+", dtype=numpy.float64, shape=SHAPE)
    # Only these rows take room, here and in the store; the others are holes and read as zeros.
    for row in range(0, SHAPE[0], 512):
        array[row] = row
    array.flush()


def check(path):
    array = numpy.load(path, mmap_mode="r")
    assert array.shape == SHAPE
    assert (array[1024] == 1024).all() and not array[1025].any()
    assert array[::512, 0].sum() == sum(range(0, SHAPE[0], 512))
    print("an array of", array.nbytes >> 20, "MiB, of which", SHAPE[0] // 512, "rows were written")


if __name__ == "__main__":
    {"write": write, "check": check}[sys.argv[1]](pathlib.Path(sys.argv[2]) / "array.npy")
