#!/usr/bin/env python3
"""The measurements of `scripts/bench trace`: how much sooner a program is ready where a former start of it
was recorded. See `--list`; run it through scripts/bench."""
import argparse
import json
import os
import random
import shutil
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time

from core import KEYS, MIB, Bench, run_measures
from servers import BINARIES, Mount, Proxy, run

MEASURES = {}


def measure(function):
    MEASURES[function.__name__] = function
    return function


def store_of(bench, name, make):
    """A group `name` in S3 of what `make` puts at a path, made once; the store's address."""
    store = f"s3://bench/trace-{name}"
    if name not in bench.filled:
        source = f"{bench.work}/{name}"
        make(source)
        arguments = ["-r"] if os.path.isdir(source) else []
        run(BINARIES + "/regionfs", "cp", "-q", *arguments, source, f"{store}/{name}",
            "-o", f"endpoint=http://{bench.weed.address},path_style", env={**os.environ, **KEYS})
        bench.filled[name] = store
    return store


def start(bench, name, store, rtt, program, keep):
    """Seconds until `program` is ready on a mount with an empty cache, and misses of that start. `program`
    is a list of words, in which {} is the path of the group."""
    proxy = bench.keep(
        Proxy(bench.weed.address, "--rtt", f"{rtt}ms", "--bandwidth", bench.arguments.bandwidth))
    mount = bench.keep(Mount(bench.work, "trace", store, address=proxy.address))
    path = f"{mount.point}/{name}"
    os.stat(path)  # the group's names are here; what is measured is its data
    words = [word.replace("{}", path) for word in program]
    begin = time.monotonic()
    answer = subprocess.run(words, check=True, capture_output=True, text=True, timeout=600).stdout
    seconds = time.monotonic() - begin
    status = mount.status()
    misses = sum(r["faults"]["misses"] for r in status["regions"])
    if keep:
        run(BINARIES + "/regionfs", "trace", "record", path, env=mount.environment)
    mount.unmount()
    mount.forget()
    if not keep:
        run(BINARIES + "/regionfs", "trace", "clear", f"{store}/{name}", "-o",
            f"endpoint=http://{bench.weed.address},path_style", env={**os.environ, **KEYS})
    proxy.stop()
    return seconds, misses, answer


def compare(bench, name, make, program, what):
    """A start without a trace, one that is recorded, and one that replays what was recorded."""
    store = store_of(bench, name, make)
    for rtt in bench.arguments.rtt:
        answers = set()
        for number in range(bench.rounds + 1):
            for side in ["without", "recorded", "with"]:
                seconds, misses, answer = start(bench, name, store, rtt, program, side != "without")
                answers.add(answer)
                if number:
                    bench.sample(f"{name} {rtt} ms {side}", seconds)
                    bench.sample(f"{name} {rtt} ms {side}: misses", misses)
            run(BINARIES + "/regionfs", "trace", "clear", f"{store}/{name}", "-o",
                f"endpoint=http://{bench.weed.address},path_style", env={**os.environ, **KEYS})
        if len(answers) != 1:
            raise RuntimeError(f"not the same answers: {answers}")
        without, with_trace = (bench.median(f"{name} {rtt} ms {side}") for side in ("without", "with"))
        missed, left = (bench.median(f"{name} {rtt} ms {side}: misses") for side in ("without", "with"))
        bench.report(
            f"{what}, {rtt} ms: ready with trace / without", with_trace / without, 1,
            detail=f"{with_trace:.2f} and {without:.2f} s, {left:.0f} and {missed:.0f} faults that waited")


def numpy_tree(path):
    import numpy
    package = os.path.dirname(numpy.__file__)
    os.makedirs(path)
    for part in [package, package + ".libs"]:
        if os.path.isdir(part):
            shutil.copytree(part, f"{path}/{os.path.basename(part)}", symlinks=True)


@measure
def numpy_import(bench):
    """Python imports numpy from a tree in one group."""
    program = ["python3", "-S", "-c", "import sys; sys.dont_write_bytecode = True; "
               "sys.path.insert(0, '{}'); import numpy; print(numpy.arange(10).sum(), numpy.__file__)"]
    compare(bench, "numpy", numpy_tree, program, "import numpy")


def numpy_image(path):
    tree = path + ".tree"
    numpy_tree(tree)
    # Journals and lazily made tables would write to an image that is only read.
    run("mkfs.ext4", "-q", "-O", "^has_journal", "-E", "lazy_itable_init=0", "-d", tree, path, "160M")
    shutil.rmtree(tree)


@measure
def numpy_in_image(bench):
    """The same tree in one image file, mounted with a loop device."""
    shell = ("d=$(mktemp -d); mount -o loop,ro,noload {} $d && python3 -S -c \"import sys; "
             "sys.dont_write_bytecode = True; sys.path.insert(0, '$d'); import numpy; "
             "print(numpy.arange(10).sum())\"; s=$?; umount $d; rmdir $d; exit $s")
    compare(bench, "image", numpy_image, ["sh", "-c", shell], "import numpy from an ext4 image")


ROWS = 1_000_000


def database(path):
    with sqlite3.connect(path) as db:
        db.execute("create table t(id integer primary key, name text, value blob)")
        db.execute("create index by_name on t(name)")
        numbers = random.Random(5)
        db.executemany("insert into t values(?, ?, ?)", (
            (n, f"{numbers.getrandbits(64):016x}", numbers.randbytes(400)) for n in range(ROWS)))
    db.close()


SQLITE = f"""
import random, sqlite3, sys
db = sqlite3.connect("file:" + sys.argv[1] + "?mode=ro&immutable=1", uri=True)
db.execute("pragma mmap_size=1073741824")
ids = random.Random(8).sample(range({ROWS}), 40)
names = [db.execute("select name from t where id = ?", (id,)).fetchone()[0] for id in ids]
print(sum(len(db.execute("select value from t where name = ?", (name,)).fetchone()[0]) for name in names))
"""


@measure
def sqlite(bench):
    """80 point queries, by key and by an index, on a cold SQLite database of about 500 MB, mapped."""
    compare(bench, "sqlite", database, ["python3", "-c", SQLITE, "{}"], "SQLite queries")


TENSORS, TENSOR = 48, 6 * MIB


def model(path):
    """safetensors: a header of JSON that says where each tensor is, then the tensors."""
    header = {f"t{n}": {"dtype": "F32", "shape": [TENSOR // 4], "data_offsets": [n * TENSOR, (n + 1) * TENSOR]}
              for n in range(TENSORS)}
    words = json.dumps(header).encode()
    numbers = random.Random(6)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(words)) + words)
        for _ in range(TENSORS):
            file.write(numbers.randbytes(TENSOR))


MODEL = """
import json, mmap, random, struct, sys
with open(sys.argv[1], "rb") as file:
    data = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
length = struct.unpack("<Q", data[:8])[0]
header = json.loads(data[8:8 + length])
names = sorted(header)[:20]
random.Random(7).shuffle(names)
total = 0
for name in names:
    first, end = header[name]["data_offsets"]
    # Norms and embeddings are looked up in parts: the first quarter of each tensor.
    for at in range(8 + length + first, 8 + length + first + (end - first) // 4, 4096):
        total += data[at]
print(total)
"""


@measure
def tensors(bench):
    """A safetensors file of 288 MiB: header, then parts of 20 tensors in an order of their own."""
    compare(bench, "model", model, ["python3", "-c", MODEL, "{}"], "tensors of a model")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", required=True)
    parser.add_argument("--results", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rtt", type=lambda t: [int(x) for x in t.split(",")], default=[25])
    parser.add_argument("--bandwidth", default="1G", help="bits a second of the link")
    parser.add_argument("--only", type=lambda t: t.split(","), default=list(MEASURES))
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    if arguments.list:
        for name, function in MEASURES.items():
            print(f"{name}: {function.__doc__}")
        return 0
    arguments.quick = False
    bench = Bench(arguments, tempfile.mkdtemp(prefix="regionfs-bench-"))
    bench.filled = {}
    return run_measures(bench, arguments, MEASURES, "trace")


if __name__ == "__main__":
    sys.exit(main())
