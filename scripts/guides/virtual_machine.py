#!/usr/bin/env python3
"""docs/guides/virtual-machines.md: virtual_machine.py write|check DIRECTORY

A disk image with a file system in it, and guest memory, as a hypervisor would use them.
"""
import mmap
import pathlib
import random
import subprocess
import sys

MEMORY = 64 << 20
PAGES = 200


def touched():
    """Pages that the guest writes, and what."""
    numbers = random.Random(7)
    return [(page, numbers.randbytes(4096)) for page in numbers.sample(range(MEMORY >> 12), PAGES)]


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def write(directory):
    disk = directory / "disk.img"
    # Sparse: what the guest never writes is never stored.
    with open(disk, "wb") as file:
        file.truncate(256 << 20)
    run("mkfs.ext4", "-q", "-F", str(disk))
    (source := directory / "hello").write_text("from the guest\n")
    run("debugfs", "-w", "-R", f"write {source} hello", str(disk))
    # As qemu's memory-backend-file with share=on: pages are pushed as the guest dirties them.
    with open(directory / "memory", "w+b") as file:
        file.truncate(MEMORY)
        with mmap.mmap(file.fileno(), MEMORY) as memory:
            for page, content in touched():
                memory[page << 12 : (page + 1) << 12] = content
            memory.flush()


def check(directory):
    disk = str(directory / "disk.img")
    run("e2fsck", "-f", "-n", disk)
    assert run("debugfs", "-R", "cat hello", disk) == "from the guest\n"
    with open(directory / "memory", "rb") as file:
        with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as memory:
            for page, content in touched():
                assert memory[page << 12 : (page + 1) << 12] == content, f"page {page} differs"
    print("disk clean,", PAGES, "pages of memory as the guest left them")


if __name__ == "__main__":
    {"write": write, "check": check}[sys.argv[1]](pathlib.Path(sys.argv[2]))
