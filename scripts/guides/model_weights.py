#!/usr/bin/env python3
"""docs/guides/model-weights.md: model_weights.py write|check DIRECTORY

Writes a file of tensors in the safetensors format, and reads some of them through a mapping.
"""
import json
import mmap
import pathlib
import struct
import sys

import numpy

LAYERS = 16
SHAPE = (512, 512)


def layer(number):
    return numpy.random.default_rng(number).random(SHAPE, dtype=numpy.float32)


def write(path):
    size = SHAPE[0] * SHAPE[1] * 4
    header = {
        f"layer.{n}": {"dtype": "F32", "shape": SHAPE, "data_offsets": [n * size, (n + 1) * size]}
        for n in range(LAYERS)
    }
    text = json.dumps(header).encode()
    # Tensors begin at a page, so that one is read without its neighbour.
    text += b" " * (-(len(text) + 8) % 4096)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for number in range(LAYERS):
            file.write(layer(number).tobytes())


def load(path, names):
    """The tensors called so: views into the mapping, pulled when they are touched."""
    with open(path, "rb") as file:
        memory = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    (length,) = struct.unpack("<Q", memory[:8])
    header = json.loads(memory[8 : 8 + length])
    for name in names:
        entry = header[name]
        begin, end = entry["data_offsets"]
        yield numpy.frombuffer(memory, "<f4", (end - begin) // 4, 8 + length + begin).reshape(
            entry["shape"]
        )


def check(path):
    for number, tensor in zip((3, 11), load(path, ["layer.3", "layer.11"])):
        assert numpy.array_equal(tensor, layer(number)), f"layer {number} differs"
    print("two of", LAYERS, "tensors read")


if __name__ == "__main__":
    {"write": write, "check": check}[sys.argv[1]](pathlib.Path(sys.argv[2]) / "model.safetensors")
