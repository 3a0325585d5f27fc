#!/usr/bin/env python3
"""File operations, one named check each, in a fresh directory below DIR.

usage: posix_checks.py DIR [NAME...]     run the named checks, or all
       posix_checks.py --list            print the names
With --plain DIR may be on another file system than regionfs: what is particular to regionfs is
left out, so that the checks themselves can be checked.
Prints a line per check; the status is the number of failed ones.
"""
import argparse
import ctypes
import errno
import fcntl
import mmap
import os
import stat
import struct
import subprocess
import sys
import threading
import time
import traceback

PAGE = 4096
CHECKS = {}
REGIONFS_ONLY = set()
libc = ctypes.CDLL(None, use_errno=True)


def check(function):
    CHECKS[function.__name__] = function
    return function


def regionfs_only(function):
    REGIONFS_ONLY.add(function.__name__)
    return check(function)


def fails_with(code, function, *arguments, **named):
    try:
        function(*arguments, **named)
    except OSError as error:
        wanted = code if isinstance(code, tuple) else (code,)
        names = [errno.errorcode[c] for c in wanted]
        assert error.errno in wanted, f"expected {names}, got {error}"
        return
    raise AssertionError(f"expected {errno.errorcode[code if isinstance(code, int) else code[0]]}")


def equal(got, expected):
    if got == expected:
        return
    if isinstance(got, bytes) and isinstance(expected, bytes):
        at = next((i for i, (a, b) in enumerate(zip(got, expected)) if a != b), min(len(got), len(expected)))
        raise AssertionError(
            f"bytes differ first at {at}: expected {expected[at:at + 16]!r} of {len(expected)}, "
            f"got {got[at:at + 16]!r} of {len(got)}")
    raise AssertionError(f"expected {expected!r}, got {got!r}")


def put(path, data, mode=0o644):
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, mode)
    try:
        written = 0
        while written < len(data):
            written += os.write(descriptor, data[written:])
    finally:
        os.close(descriptor)


def get(path):
    with open(path, "rb") as file:
        return file.read()


def fallocate(descriptor, mode, offset, length):
    if libc.fallocate(descriptor, mode, ctypes.c_long(offset), ctypes.c_long(length)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


KEEP_SIZE, PUNCH_HOLE, COLLAPSE, ZERO_RANGE = 1, 2, 8, 16
RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2


def renameat2(old, new, flags):
    if libc.renameat2(-100, os.fsencode(old), -100, os.fsencode(new), flags) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def pages(seed, count):
    return b"".join(struct.pack("<QQ", seed, i) * (PAGE // 16) for i in range(count))


# --- create, open, read, write -------------------------------------------------------------------

@check
def create_exclusive(d):
    path = d + "/f"
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o640))
    equal(stat.S_IMODE(os.stat(path).st_mode), 0o640 & ~0o022)
    fails_with(errno.EEXIST, os.open, path, os.O_CREAT | os.O_EXCL | os.O_RDWR)


@check
def open_missing(d):
    fails_with(errno.ENOENT, os.open, d + "/none", os.O_RDWR)
    fails_with(errno.ENOTDIR, os.open, put(d + "/f", b"x") or d + "/f/g", os.O_RDONLY)
    fails_with(errno.EISDIR, os.open, d, os.O_RDWR)


@check
def write_and_read_back(d):
    data = os.urandom(3 * PAGE + 123)
    put(d + "/f", data)
    equal(get(d + "/f"), data)
    equal(os.stat(d + "/f").st_size, len(data))


@check
def write_unaligned(d):
    path = d + "/f"
    model = bytearray(5 * PAGE)
    put(path, bytes(model))
    descriptor = os.open(path, os.O_RDWR)
    for offset, length in [(1, 1), (4095, 2), (PAGE, PAGE), (100, 9000), (5 * PAGE - 1, 1), (0, 7)]:
        data = os.urandom(length)
        equal(os.pwrite(descriptor, data, offset), length)
        model[offset:offset + length] = data
        equal(os.pread(descriptor, 6 * PAGE, 0), bytes(model))
    os.close(descriptor)
    equal(get(path), bytes(model))


@check
def write_beyond_the_end_leaves_zeros(d):
    descriptor = os.open(d + "/f", os.O_RDWR | os.O_CREAT)
    os.pwrite(descriptor, b"abc", 0)
    os.pwrite(descriptor, b"xyz", 1_000_000)
    os.close(descriptor)
    equal(get(d + "/f"), b"abc" + bytes(999_997) + b"xyz")


@check
def append_mode(d):
    descriptor = os.open(d + "/f", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    for piece in [b"one", b"two" * 3000, b"three"]:
        os.write(descriptor, piece)
    os.close(descriptor)
    equal(get(d + "/f"), b"one" + b"two" * 3000 + b"three")


@check
def open_truncating(d):
    put(d + "/f", b"long" * 5000)
    put(d + "/f", b"short")
    equal(get(d + "/f"), b"short")


@check
def read_at_the_end(d):
    put(d + "/f", b"abc")
    descriptor = os.open(d + "/f", os.O_RDONLY)
    equal(os.pread(descriptor, 10, 1), b"bc")
    equal(os.pread(descriptor, 10, 3), b"")
    equal(os.pread(descriptor, 10, 1 << 40), b"")
    os.close(descriptor)


@check
def vectored_io(d):
    descriptor = os.open(d + "/f", os.O_RDWR | os.O_CREAT)
    equal(os.pwritev(descriptor, [b"a" * 5000, b"b" * 10, b"c" * 70000], 3), 75010)
    parts = [bytearray(5000), bytearray(10), bytearray(70000)]
    equal(os.preadv(descriptor, parts, 3), 75010)
    equal(bytes(parts[0] + parts[1] + parts[2]), b"a" * 5000 + b"b" * 10 + b"c" * 70000)
    os.close(descriptor)


@check
def direct_io(d):
    descriptor = os.open(d + "/f", os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    buffer = mmap.mmap(-1, 16 * PAGE)
    buffer[:] = pages(5, 16)
    equal(os.pwritev(descriptor, [buffer], 0), 16 * PAGE)
    back = mmap.mmap(-1, 16 * PAGE)
    equal(os.preadv(descriptor, [back], 0), 16 * PAGE)
    os.close(descriptor)
    equal(back[:], pages(5, 16))
    equal(get(d + "/f"), pages(5, 16))


@check
def large_file_offsets(d):
    descriptor = os.open(d + "/f", os.O_RDWR | os.O_CREAT)
    for offset in [(1 << 31) - 2, (1 << 32) - 2, (1 << 40) + 5]:
        os.pwrite(descriptor, b"edge", offset)
    for offset in [(1 << 31) - 2, (1 << 32) - 2, (1 << 40) + 5]:
        equal(os.pread(descriptor, 6, offset - 1)[:5], b"\0edge")
    os.close(descriptor)


@check
def beyond_the_largest_size(d):
    descriptor = os.open(d + "/f", os.O_RDWR | os.O_CREAT)
    fails_with((errno.EFBIG, errno.EINVAL), os.ftruncate, descriptor, (1 << 62))
    os.close(descriptor)
    equal(os.stat(d + "/f").st_size, 0)


@check
def sendfile_and_copy_range(d):
    data = os.urandom(300_000)
    put(d + "/a", data)
    source = os.open(d + "/a", os.O_RDONLY)
    target = os.open(d + "/b", os.O_RDWR | os.O_CREAT)
    done = 0
    while done < len(data):
        done += os.sendfile(target, source, done, len(data) - done)
    equal(get(d + "/b"), data)
    other = os.open(d + "/c", os.O_RDWR | os.O_CREAT)
    done = 0
    while done < len(data):
        done += os.copy_file_range(source, other, len(data) - done, done, done)
    equal(get(d + "/c"), data)
    for descriptor in (source, target, other):
        os.close(descriptor)


# --- sizes, holes --------------------------------------------------------------------------------

@check
def truncate_down_and_up_reads_zeros(d):
    path = d + "/f"
    put(path, b"\xff" * (10 * PAGE))
    os.truncate(path, 3 * PAGE + 100)
    equal(get(path), b"\xff" * (3 * PAGE + 100))
    os.truncate(path, 10 * PAGE)
    equal(get(path), b"\xff" * (3 * PAGE + 100) + bytes(7 * PAGE - 100))


@check
def truncate_under_a_mapping_zeroes_the_tail(d):
    path = d + "/f"
    put(path, b"\xee" * (2 * PAGE))
    descriptor = os.open(path, os.O_RDWR)
    mapping = mmap.mmap(descriptor, 2 * PAGE)
    equal(mapping[PAGE], 0xEE)
    os.ftruncate(descriptor, 1000)
    equal(mapping[999], 0xEE)
    equal(mapping[1000:PAGE], bytes(PAGE - 1000))
    os.ftruncate(descriptor, 2 * PAGE)
    equal(mapping[:], b"\xee" * 1000 + bytes(2 * PAGE - 1000))
    mapping.close()
    os.close(descriptor)


@check
def truncate_to_one_tebibyte(d):
    path = d + "/f"
    put(path, b"start")
    os.truncate(path, 1 << 40)
    equal(os.stat(path).st_size, 1 << 40)
    descriptor = os.open(path, os.O_RDWR)
    equal(os.pread(descriptor, 4096, (1 << 40) - 4096), bytes(4096))
    os.pwrite(descriptor, b"end", (1 << 40) - 3)
    equal(os.pread(descriptor, 10, (1 << 40) - 4), b"\0end")
    # Tools look for holes only in files that take fewer blocks than their size.
    assert os.fstat(descriptor).st_blocks * 512 < 1 << 40
    os.close(descriptor)


@check
def fallocate_plain_and_keep_size(d):
    descriptor = os.open(d + "/f", os.O_RDWR | os.O_CREAT)
    fallocate(descriptor, 0, 0, 100_000)
    equal(os.fstat(descriptor).st_size, 100_000)
    fallocate(descriptor, KEEP_SIZE, 0, 200_000)
    equal(os.fstat(descriptor).st_size, 100_000)
    equal(os.pread(descriptor, 200_000, 0), bytes(100_000))
    os.pwrite(descriptor, b"abc", 50)
    fallocate(descriptor, 0, 0, 100_000)
    equal(os.pread(descriptor, 3, 50), b"abc")
    os.close(descriptor)


@check
def punch_hole(d):
    descriptor = os.open(d + "/f", os.O_RDWR | os.O_CREAT)
    model = bytearray(os.urandom(600_000))
    os.pwrite(descriptor, model, 0)
    for offset, length in [(4096, 4096), (100, 50), (10_000, 5000), (262_144, 262_144), (599_000, 9000)]:
        fallocate(descriptor, PUNCH_HOLE | KEEP_SIZE, offset, length)
        end = min(offset + length, len(model))
        model[offset:end] = bytes(end - offset)
        equal(os.fstat(descriptor).st_size, len(model))
        equal(os.pread(descriptor, 700_000, 0), bytes(model))
    fails_with((errno.EOPNOTSUPP, errno.EINVAL), fallocate, descriptor, PUNCH_HOLE, 0, 4096)
    os.close(descriptor)


@check
def zero_range(d):
    descriptor = os.open(d + "/f", os.O_RDWR | os.O_CREAT)
    model = bytearray(os.urandom(300_000))
    os.pwrite(descriptor, model, 0)
    fallocate(descriptor, ZERO_RANGE | KEEP_SIZE, 1000, 100_000)
    model[1000:101_000] = bytes(100_000)
    equal(os.pread(descriptor, 400_000, 0), bytes(model))
    fallocate(descriptor, ZERO_RANGE, 290_000, 100_000)
    model[290_000:] = bytes(100_000)
    equal(os.fstat(descriptor).st_size, 390_000)
    equal(os.pread(descriptor, 400_000, 0), bytes(model))
    os.close(descriptor)


@check
def punch_hole_under_a_mapping(d):
    descriptor = os.open(d + "/f", os.O_RDWR | os.O_CREAT)
    os.pwrite(descriptor, b"\xdd" * (8 * PAGE), 0)
    mapping = mmap.mmap(descriptor, 8 * PAGE)
    mapping[3 * PAGE] = 1
    fallocate(descriptor, PUNCH_HOLE | KEEP_SIZE, 2 * PAGE, 2 * PAGE)
    equal(mapping[2 * PAGE:4 * PAGE], bytes(2 * PAGE))
    equal(mapping[4 * PAGE], 0xDD)
    mapping.close()
    os.close(descriptor)


@regionfs_only
def collapse_range_is_refused(d):
    put(d + "/f", bytes(8 * PAGE))
    descriptor = os.open(d + "/f", os.O_RDWR)
    fails_with(errno.EOPNOTSUPP, fallocate, descriptor, COLLAPSE, 0, PAGE)
    os.close(descriptor)


@check
def seek_data_and_hole(d):
    mib = 1 << 20
    descriptor = os.open(d + "/f", os.O_RDWR | os.O_CREAT)
    os.ftruncate(descriptor, 64 * mib)
    os.pwrite(descriptor, b"\x11" * mib, 8 * mib)
    os.pwrite(descriptor, b"\x22" * 100, 40 * mib)
    data = os.lseek(descriptor, 0, os.SEEK_DATA)
    equal(data, 8 * mib)
    equal(os.lseek(descriptor, data, os.SEEK_HOLE), 9 * mib)
    data = os.lseek(descriptor, 9 * mib, os.SEEK_DATA)
    equal(data, 40 * mib)
    assert 40 * mib < os.lseek(descriptor, data, os.SEEK_HOLE) <= 64 * mib
    equal(os.lseek(descriptor, 0, os.SEEK_HOLE), 0)
    fails_with(errno.ENXIO, os.lseek, descriptor, 50 * mib, os.SEEK_DATA)
    fails_with(errno.ENXIO, os.lseek, descriptor, 64 * mib, os.SEEK_HOLE)
    fallocate(descriptor, PUNCH_HOLE | KEEP_SIZE, 8 * mib, mib)
    equal(os.lseek(descriptor, 0, os.SEEK_DATA), 40 * mib)
    os.close(descriptor)


@check
def seek_hole_at_the_end_of_a_full_file(d):
    put(d + "/f", b"x" * 10_000)
    descriptor = os.open(d + "/f", os.O_RDONLY)
    equal(os.lseek(descriptor, 0, os.SEEK_HOLE), 10_000)
    equal(os.lseek(descriptor, 5000, os.SEEK_DATA), 5000)
    os.close(descriptor)


# --- names ---------------------------------------------------------------------------------------

@check
def rename_plain_and_over(d):
    put(d + "/a", b"a")
    put(d + "/b", b"b")
    os.rename(d + "/a", d + "/c")
    equal(sorted(os.listdir(d)), ["b", "c"])
    os.rename(d + "/c", d + "/b")
    equal(os.listdir(d), ["b"])
    equal(get(d + "/b"), b"a")
    fails_with(errno.ENOENT, os.rename, d + "/none", d + "/x")
    os.rename(d + "/b", d + "/b")
    equal(get(d + "/b"), b"a")


@check
def rename_noreplace(d):
    put(d + "/a", b"a")
    put(d + "/b", b"b")
    fails_with(errno.EEXIST, renameat2, d + "/a", d + "/b", RENAME_NOREPLACE)
    equal([get(d + "/a"), get(d + "/b")], [b"a", b"b"])
    renameat2(d + "/a", d + "/c", RENAME_NOREPLACE)
    equal(sorted(os.listdir(d)), ["b", "c"])


@check
def rename_over_an_open_file(d):
    put(d + "/a", b"new")
    put(d + "/b", b"old" * 5000)
    descriptor = os.open(d + "/b", os.O_RDWR)
    mapping = mmap.mmap(descriptor, 15_000)
    os.rename(d + "/a", d + "/b")
    equal(get(d + "/b"), b"new")
    equal(os.pread(descriptor, 20_000, 0), b"old" * 5000)
    mapping[0:3] = b"OLD"
    mapping.flush()
    equal(os.pread(descriptor, 6, 0), b"OLDold")
    equal(os.fstat(descriptor).st_nlink, 0)
    mapping.close()
    os.close(descriptor)
    equal(get(d + "/b"), b"new")


@check
def rename_directories(d):
    os.makedirs(d + "/x/y/z")
    put(d + "/x/y/z/f", b"deep")
    os.rename(d + "/x/y", d + "/moved")
    equal(get(d + "/moved/z/f"), b"deep")
    equal(os.listdir(d + "/x"), [])
    fails_with(errno.EINVAL, os.rename, d + "/moved", d + "/moved/z/inside")
    os.mkdir(d + "/full")
    put(d + "/full/f", b"x")
    fails_with((errno.ENOTEMPTY, errno.EEXIST), os.rename, d + "/moved", d + "/full")
    os.mkdir(d + "/empty")
    os.rename(d + "/moved", d + "/empty")
    equal(get(d + "/empty/z/f"), b"deep")
    put(d + "/file", b"x")
    fails_with(errno.ENOTDIR, os.rename, d + "/empty", d + "/file")
    fails_with(errno.EISDIR, os.rename, d + "/file", d + "/empty")


@check
def unlink_while_open(d):
    put(d + "/f", b"kept" * 3000)
    descriptor = os.open(d + "/f", os.O_RDWR)
    os.unlink(d + "/f")
    fails_with(errno.ENOENT, os.stat, d + "/f")
    equal(os.listdir(d), [])
    equal(os.fstat(descriptor).st_nlink, 0)
    os.pwrite(descriptor, b"more", 12_000)
    equal(os.pread(descriptor, 20_000, 0), b"kept" * 3000 + b"more")
    put(d + "/f", b"another")
    equal(os.pread(descriptor, 4, 0), b"kept")
    os.ftruncate(descriptor, 2)
    equal(os.pread(descriptor, 10, 0), b"ke")
    os.close(descriptor)
    equal(get(d + "/f"), b"another")


@check
def unlink_while_mapped(d):
    put(d + "/f", pages(9, 4))
    descriptor = os.open(d + "/f", os.O_RDWR)
    mapping = mmap.mmap(descriptor, 4 * PAGE)
    os.close(descriptor)
    os.unlink(d + "/f")
    equal(mapping[:], pages(9, 4))
    mapping[PAGE:2 * PAGE] = b"z" * PAGE
    mapping.flush()
    equal(mapping[PAGE:2 * PAGE], b"z" * PAGE)
    mapping.close()
    equal(os.listdir(d), [])


@check
def directories(d):
    os.mkdir(d + "/a", 0o750)
    equal(stat.S_IMODE(os.stat(d + "/a").st_mode), 0o750)
    fails_with(errno.EEXIST, os.mkdir, d + "/a")
    put(d + "/a/f", b"")
    fails_with((errno.ENOTEMPTY, errno.EEXIST), os.rmdir, d + "/a")
    fails_with(errno.ENOTDIR, os.rmdir, d + "/a/f")
    fails_with((errno.EISDIR, errno.EPERM), os.unlink, d + "/a")
    before = os.stat(d).st_nlink
    os.mkdir(d + "/b")
    assert os.stat(d).st_nlink in (before, before + 1)
    os.unlink(d + "/a/f")
    os.rmdir(d + "/a")
    os.rmdir(d + "/b")
    equal(os.listdir(d), [])


@check
def ten_thousand_names(d):
    names = ["name-%05d" % i for i in range(10_000)]
    for name in names:
        os.close(os.open(d + "/" + name, os.O_CREAT | os.O_WRONLY))
    equal(sorted(os.listdir(d)), names)
    with os.scandir(d) as entries:
        equal(sum(1 for e in entries if e.is_file(follow_symlinks=False)), 10_000)
    for name in names[::2]:
        os.unlink(d + "/" + name)
    equal(sorted(os.listdir(d)), names[1::2])


@check
def readdir_while_names_change(d):
    kept = {"keep-%04d" % i for i in range(1500)}
    for name in kept:
        os.close(os.open(d + "/" + name, os.O_CREAT | os.O_WRONLY))
    seen = []
    with os.scandir(d) as entries:
        for number, entry in enumerate(entries):
            seen.append(entry.name)
            if number % 50 == 0:
                put(d + "/extra-%04d" % number, b"")
                if number >= 50:
                    os.unlink(d + "/extra-%04d" % (number - 50))
            if number > 20_000:
                raise AssertionError("readdir does not end")
    equal(len(seen), len(set(seen)))
    assert kept <= set(seen), f"{len(kept - set(seen))} names were skipped"


@check
def every_byte_in_names(d):
    raw = os.fsencode(d)
    names = {bytes([b]) for b in range(1, 256) if b not in b"/."}
    names |= {b"x" + bytes([b]) + b"y" for b in range(1, 256) if b != 0x2F}
    names |= {b"..." , b" ", b"-rf", b"\xff\xfe", "z\u0308".encode(), "\u00e9".encode(), b"a" * 255, bytes(range(1, 47))}
    for name in names:
        put(raw + b"/" + name, name)
    equal(set(os.listdir(raw)), names)
    for name in names:
        equal(get(raw + b"/" + name), name)
    for name in names:
        os.rename(raw + b"/" + name, raw + b"/" + name[:200] + b"-renamed")
    equal(set(os.listdir(raw)), {n[:200] + b"-renamed" for n in names})
    fails_with(errno.ENAMETOOLONG, os.open, raw + b"/" + b"a" * 256, os.O_CREAT | os.O_WRONLY)


@check
def symbolic_links(d):
    for target in ["f", "../x", "/absolute/" + "p" * 1000, "t\xe4rget", " "]:
        os.symlink(target, d + "/l")
        equal(os.readlink(d + "/l"), target)
        equal(os.lstat(d + "/l").st_size, len(os.fsencode(target)))
        assert stat.S_ISLNK(os.lstat(d + "/l").st_mode)
        os.unlink(d + "/l")
    put(d + "/f", b"through")
    os.symlink("f", d + "/l")
    equal(get(d + "/l"), b"through")
    os.rename(d + "/l", d + "/m")
    equal(os.readlink(d + "/m"), "f")
    os.symlink("m2", d + "/m1")
    os.symlink("m1", d + "/m2")
    fails_with(errno.ELOOP, os.open, d + "/m1", os.O_RDONLY)
    fails_with(errno.EEXIST, os.symlink, "x", d + "/f")


@regionfs_only
def hard_links_are_refused(d):
    put(d + "/f", b"x")
    fails_with(errno.EPERM, os.link, d + "/f", d + "/g")
    equal(os.listdir(d), ["f"])


@regionfs_only
def rename_between_groups_is_exdev(d):
    top = os.path.dirname(d)
    put(top + "/region-" + os.path.basename(d), b"region")
    os.mkdir(top + "/group-" + os.path.basename(d))
    try:
        fails_with(
            errno.EXDEV, os.rename, top + "/region-" + os.path.basename(d),
            top + "/group-" + os.path.basename(d) + "/f")
        put(d + "/f", b"in a group")
        fails_with(errno.EXDEV, os.rename, d + "/f", top + "/group-" + os.path.basename(d) + "/f")
        subprocess.run(["mv", d + "/f", top + "/group-" + os.path.basename(d) + "/f"], check=True)
        equal(get(top + "/group-" + os.path.basename(d) + "/f"), b"in a group")
    finally:
        subprocess.run(["rm", "-rf", top + "/region-" + os.path.basename(d), top + "/group-" + os.path.basename(d)], check=True)


@regionfs_only
def top_level_names(d):
    top = os.path.dirname(d)
    base = "top-" + os.path.basename(d)
    put(top + "/" + base, b"one region")
    os.rename(top + "/" + base, top + "/" + base + "-b")
    equal(get(top + "/" + base + "-b"), b"one region")
    fails_with(errno.ENOENT, os.stat, top + "/" + base)
    put(top + "/" + base, b"another")
    equal(get(top + "/" + base), b"another")
    raw = os.fsencode(top + "/" + base)
    odd = [raw + b"-\xff\n\t\\%2F", raw + b"-" + b"n" * (255 - len(os.path.basename(raw)) - 1)]
    for path in odd:
        put(path, b"odd")
        equal(get(path), b"odd")
        assert os.path.basename(path) in os.listdir(os.fsencode(top))
        os.unlink(path)
        assert os.path.basename(path) not in os.listdir(os.fsencode(top))
    os.unlink(top + "/" + base)
    os.unlink(top + "/" + base + "-b")


@regionfs_only
def top_level_unlink_while_open(d):
    path = os.path.dirname(d) + "/top-" + os.path.basename(d)
    put(path, b"kept" * 3000)
    descriptor = os.open(path, os.O_RDWR)
    os.unlink(path)
    fails_with(errno.ENOENT, os.stat, path)
    equal(os.fstat(descriptor).st_nlink, 0)
    equal(os.pread(descriptor, 20_000, 0), b"kept" * 3000)
    os.pwrite(descriptor, b"more", 12_000)
    equal(os.pread(descriptor, 20_000, 0), b"kept" * 3000 + b"more")
    os.close(descriptor)


@check
def unsupported_kinds_fail_cleanly(d):
    try:
        os.mkfifo(d + "/fifo")
        os.unlink(d + "/fifo")
    except OSError as error:
        assert error.errno in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS), error
    equal(os.listdir(d), [])


# --- attributes ----------------------------------------------------------------------------------

@check
def modes(d):
    put(d + "/f", b"x")
    for mode in [0o600, 0o777, 0o000, 0o4755, 0o2644, 0o444]:
        os.chmod(d + "/f", mode)
        equal(stat.S_IMODE(os.stat(d + "/f").st_mode), mode)
    os.mkdir(d + "/sticky")
    os.chmod(d + "/sticky", 0o1777)
    equal(stat.S_IMODE(os.stat(d + "/sticky").st_mode), 0o1777)


@check
def owners(d):
    if os.geteuid() != 0:
        return
    put(d + "/f", b"x")
    os.chown(d + "/f", 12345, 54321)
    equal((os.stat(d + "/f").st_uid, os.stat(d + "/f").st_gid), (12345, 54321))
    os.chown(d + "/f", -1, 7)
    equal((os.stat(d + "/f").st_uid, os.stat(d + "/f").st_gid), (12345, 7))


@check
def times(d):
    path = d + "/f"
    put(path, b"x")
    for atime, mtime in [(1, 2), (1_234_567_890_123_456_789, 987_654_321_987_654_321), (0, 0)]:
        os.utime(path, ns=(atime, mtime))
        equal((os.stat(path).st_atime_ns, os.stat(path).st_mtime_ns), (atime, mtime))
    before = time.time_ns()
    os.utime(path)
    assert abs(os.stat(path).st_mtime_ns - before) < 5_000_000_000
    os.utime(path, ns=(5, 5))
    put(path, b"changed")
    assert os.stat(path).st_mtime_ns > 5, "a write must change the mtime"
    old = os.stat(path).st_ctime_ns
    time.sleep(0.02)
    os.chmod(path, 0o600)
    assert os.stat(path).st_ctime_ns > old, "a chmod must change the ctime"


@check
def directory_times(d):
    os.mkdir(d + "/a")
    os.utime(d + "/a", ns=(5, 5))
    put(d + "/a/f", b"")
    assert os.stat(d + "/a").st_mtime_ns > 5
    os.utime(d + "/a", ns=(5, 5))
    os.unlink(d + "/a/f")
    assert os.stat(d + "/a").st_mtime_ns > 5


@check
def extended_attributes(d):
    path = d + "/f"
    put(path, b"x")
    equal(os.listxattr(path), [])
    values = {"user.a": b"", "user.b": bytes(range(256)), "user." + "n" * 200: b"v" * 4000}
    for name, value in values.items():
        os.setxattr(path, name, value)
    equal(sorted(os.listxattr(path)), sorted(values))
    for name, value in values.items():
        equal(os.getxattr(path, name), value)
    fails_with(errno.EEXIST, os.setxattr, path, "user.a", b"z", os.XATTR_CREATE)
    fails_with(errno.ENODATA, os.setxattr, path, "user.none", b"z", os.XATTR_REPLACE)
    os.setxattr(path, "user.a", b"new", os.XATTR_REPLACE)
    equal(os.getxattr(path, "user.a"), b"new")
    os.removexattr(path, "user.a")
    fails_with(errno.ENODATA, os.getxattr, path, "user.a")
    fails_with(errno.ENODATA, os.removexattr, path, "user.a")
    equal(len(os.listxattr(path)), 2)
    os.mkdir(d + "/sub")
    os.setxattr(d + "/sub", "user.on-a-directory", b"1")
    equal(os.getxattr(d + "/sub", "user.on-a-directory"), b"1")


@check
def statfs_says_something(d):
    put(d + "/f", b"x")
    answer = os.statvfs(d)
    assert answer.f_bsize > 0 and answer.f_blocks > 0 and answer.f_bavail > 0
    equal(answer.f_namemax, 255)


@check
def blocks_follow_data(d):
    put(d + "/f", os.urandom(1 << 20))
    blocks = os.stat(d + "/f").st_blocks * 512
    assert 1 << 19 <= blocks <= 2 << 20, blocks
    equal(os.stat(d + "/f").st_blksize % 4096, 0)


# --- syncing and locks ---------------------------------------------------------------------------

@check
def syncing(d):
    descriptor = os.open(d + "/f", os.O_RDWR | os.O_CREAT)
    os.write(descriptor, b"abc")
    os.fsync(descriptor)
    os.fdatasync(descriptor)
    os.close(descriptor)
    directory = os.open(d, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(directory)
    os.close(directory)
    descriptor = os.open(d + "/g", os.O_RDWR | os.O_CREAT | os.O_SYNC)
    os.write(descriptor, b"abc")
    os.close(descriptor)


@check
def flock_excludes(d):
    put(d + "/f", b"x")
    one = os.open(d + "/f", os.O_RDWR)
    two = os.open(d + "/f", os.O_RDWR)
    fcntl.flock(one, fcntl.LOCK_EX)
    fails_with(errno.EWOULDBLOCK, fcntl.flock, two, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fails_with(errno.EWOULDBLOCK, fcntl.flock, two, fcntl.LOCK_SH | fcntl.LOCK_NB)
    fcntl.flock(one, fcntl.LOCK_SH)
    fcntl.flock(two, fcntl.LOCK_SH | fcntl.LOCK_NB)
    fcntl.flock(one, fcntl.LOCK_UN)
    fcntl.flock(two, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(two)
    fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(one)


@check
def flock_wakes_a_waiter(d):
    put(d + "/f", b"x")
    one = os.open(d + "/f", os.O_RDWR)
    two = os.open(d + "/f", os.O_RDWR)
    fcntl.flock(one, fcntl.LOCK_EX)
    got = threading.Event()
    waiter = threading.Thread(target=lambda: (fcntl.flock(two, fcntl.LOCK_EX), got.set()))
    waiter.start()
    assert not got.wait(0.2)
    fcntl.flock(one, fcntl.LOCK_UN)
    assert got.wait(10), "the waiter was not woken"
    waiter.join()
    os.close(one)
    os.close(two)


def in_child(function):
    """Runs function in a process of its own, which may fail."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            function()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return pid


def reap(pid):
    equal(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0)


@check
def posix_locks_exclude_other_processes(d):
    put(d + "/f", bytes(1000))
    descriptor = os.open(d + "/f", os.O_RDWR)
    fcntl.lockf(descriptor, fcntl.LOCK_EX, 100, 100)

    def other():
        mine = os.open(d + "/f", os.O_RDWR)
        fails_with((errno.EAGAIN, errno.EACCES), fcntl.lockf, mine, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 195)
        fcntl.lockf(mine, fcntl.LOCK_EX | fcntl.LOCK_NB, 100, 0)
        fcntl.lockf(mine, fcntl.LOCK_EX | fcntl.LOCK_NB, 100, 200)
        query = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 100, 100, 0)
        kind, _, _, _, owner = struct.unpack("hhqqi4x", fcntl.fcntl(mine, fcntl.F_GETLK, query))
        equal(kind, fcntl.F_WRLCK)
        equal(owner, os.getppid())

    reap(in_child(other))
    # The locks of a process end with it.
    fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    # Closing any descriptor of the file ends them too.
    os.close(os.open(d + "/f", os.O_RDWR))
    reap(in_child(lambda: fcntl.lockf(os.open(d + "/f", os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)))
    os.close(descriptor)


@check
def posix_lock_wakes_a_waiter(d):
    put(d + "/f", bytes(1000))
    descriptor = os.open(d + "/f", os.O_RDWR)
    fcntl.lockf(descriptor, fcntl.LOCK_EX)

    def waiter():
        mine = os.open(d + "/f", os.O_RDWR)
        fcntl.lockf(mine, fcntl.LOCK_EX)
        os.pwrite(mine, b"got", 0)

    pid = in_child(waiter)
    time.sleep(0.2)
    equal(os.pread(descriptor, 3, 0), bytes(3))
    fcntl.lockf(descriptor, fcntl.LOCK_UN)
    reap(pid)
    equal(os.pread(descriptor, 3, 0), b"got")
    os.close(descriptor)


@check
def lock_of_a_killed_process_is_released(d):
    put(d + "/f", bytes(10))
    ready, told = os.pipe()

    def holder():
        mine = os.open(d + "/f", os.O_RDWR)
        fcntl.lockf(mine, fcntl.LOCK_EX)
        fcntl.flock(mine, fcntl.LOCK_EX)
        os.write(told, b"x")
        time.sleep(60)

    pid = in_child(holder)
    os.read(ready, 1)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    descriptor = os.open(d + "/f", os.O_RDWR)
    fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    # The release of an open file may come a little later than the death.
    deadline = time.monotonic() + 300
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError:
            assert time.monotonic() < deadline, "flock of a killed process stays"
            time.sleep(0.02)
    os.close(descriptor)


# --- mappings ------------------------------------------------------------------------------------

@check
def mapping_and_write_see_each_other(d):
    put(d + "/f", bytes(16 * PAGE))
    descriptor = os.open(d + "/f", os.O_RDWR)
    mapping = mmap.mmap(descriptor, 16 * PAGE)
    mapping[5000:5003] = b"map"
    equal(os.pread(descriptor, 3, 5000), b"map")
    os.pwrite(descriptor, b"write", 9000)
    equal(mapping[9000:9005], b"write")
    mapping.flush()
    equal(get(d + "/f")[5000:5003], b"map")
    mapping.close()
    os.close(descriptor)
    equal(get(d + "/f")[9000:9005], b"write")


@check
def private_mapping_changes_nothing(d):
    put(d + "/f", pages(3, 4))
    descriptor = os.open(d + "/f", os.O_RDONLY)
    mapping = mmap.mmap(descriptor, 4 * PAGE, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    mapping[0:4] = b"mine"
    mapping.close()
    os.close(descriptor)
    equal(get(d + "/f"), pages(3, 4))


@check
def mapping_beyond_the_end_is_sigbus(d):
    put(d + "/f", pages(3, 1))

    def touch():
        mapping = mmap.mmap(os.open(d + "/f", os.O_RDWR), PAGE)
        os.truncate(d + "/f", 0)
        mapping[0]

    pid = in_child(touch)
    equal(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), -7)


@check
def mapping_grows_after_truncate(d):
    put(d + "/f", b"x" * PAGE)
    descriptor = os.open(d + "/f", os.O_RDWR)
    mapping = mmap.mmap(descriptor, PAGE)
    os.ftruncate(descriptor, 100 * PAGE)
    mapping.resize(100 * PAGE)
    mapping[99 * PAGE:] = b"y" * PAGE
    mapping.flush()
    equal(os.pread(descriptor, PAGE, 99 * PAGE), b"y" * PAGE)
    equal(os.pread(descriptor, PAGE, 50 * PAGE), bytes(PAGE))
    mapping.close()
    os.close(descriptor)


@check
def many_mappings_of_one_file(d):
    put(d + "/f", bytes(256 * PAGE))
    descriptor = os.open(d + "/f", os.O_RDWR)
    mappings = [mmap.mmap(descriptor, PAGE, offset=i * PAGE) for i in range(256)]
    for number, mapping in enumerate(mappings):
        mapping[:] = struct.pack("<I", number) * (PAGE // 4)
    for mapping in mappings:
        mapping.close()
    os.close(descriptor)
    equal(get(d + "/f"), b"".join(struct.pack("<I", i) * (PAGE // 4) for i in range(256)))


@check
def parallel_writers_of_one_file(d):
    put(d + "/f", b"")
    descriptor = os.open(d + "/f", os.O_RDWR)

    def work(number):
        for i in range(64):
            os.pwrite(descriptor, bytes([number]) * PAGE, (i * 8 + number) * PAGE)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    equal(get(d + "/f"), b"".join(bytes([n]) * PAGE for _ in range(64) for n in range(8)))
    os.close(descriptor)


# --- tools ---------------------------------------------------------------------------------------

def run(*command, **named):
    done = subprocess.run(command, capture_output=True, text=True, **named)
    assert done.returncode == 0, f"{command}: {done.returncode} {done.stderr}"
    return done.stdout


@check
def tool_cp(d):
    data = os.urandom(3_000_001)
    put(d + "/a", data)
    run("cp", d + "/a", d + "/b")
    equal(get(d + "/b"), data)
    os.setxattr(d + "/a", "user.kept", b"1")
    os.chmod(d + "/a", 0o640)
    run("cp", "-a", d + "/a", d + "/c")
    equal((os.stat(d + "/c").st_mode, os.stat(d + "/c").st_mtime_ns), (os.stat(d + "/a").st_mode, os.stat(d + "/a").st_mtime_ns))
    equal(os.getxattr(d + "/c", "user.kept"), b"1")


@check
def tool_cp_sparse(d):
    run("truncate", "-s", "1G", d + "/a")
    descriptor = os.open(d + "/a", os.O_RDWR)
    os.pwrite(descriptor, b"middle", 500_000_000)
    os.close(descriptor)
    run("cp", "--sparse=always", d + "/a", d + "/b", timeout=120)
    equal(os.stat(d + "/b").st_size, 1 << 30)
    descriptor = os.open(d + "/b", os.O_RDONLY)
    equal(os.pread(descriptor, 6, 500_000_000), b"middle")
    os.close(descriptor)


@check
def tool_dd(d):
    run("dd", "if=/dev/urandom", "of=" + d + "/a", "bs=64k", "count=40", "conv=fsync")
    before = get(d + "/a")
    run("dd", "if=/dev/zero", "of=" + d + "/a", "bs=4k", "seek=7", "count=3", "conv=notrunc")
    equal(get(d + "/a"), before[:7 * PAGE] + bytes(3 * PAGE) + before[10 * PAGE:])


@check
def tool_truncate_one_tebibyte(d):
    run("truncate", "-s", "1T", d + "/a")
    equal(os.stat(d + "/a").st_size, 1 << 40)


@check
def tool_rsync_inplace(d):
    import tempfile
    with tempfile.TemporaryDirectory() as outside:
        data = bytearray(os.urandom(2_000_000))
        put(outside + "/f", data)
        run("rsync", "--inplace", outside + "/f", d + "/f")
        data[1_000_000:1_000_010] = b"0123456789"
        put(outside + "/f", data)
        os.utime(outside + "/f", ns=(10 ** 18, 10 ** 18))
        run("rsync", "-t", "--inplace", "--no-whole-file", outside + "/f", d + "/f")
        equal(get(d + "/f"), bytes(data))
        os.makedirs(outside + "/tree/x/y")
        put(outside + "/tree/x/y/f", b"deep")
        os.symlink("y/f", outside + "/tree/x/l")
        run("rsync", "-aX", outside + "/tree/", d + "/tree/")
        equal(get(d + "/tree/x/l"), b"deep")
        equal(run("rsync", "-aXni", "--delete", outside + "/tree/", d + "/tree/"), "")


@check
def tool_sed_replaces_by_rename(d):
    put(d + "/f", b"one two three\n" * 1000)
    run("sed", "-i", "s/two/2/", d + "/f")
    equal(get(d + "/f"), b"one 2 three\n" * 1000)
    run("sed", "-i.bak", "s/one/1/", d + "/f")
    equal(get(d + "/f"), b"1 2 three\n" * 1000)
    equal(get(d + "/f.bak"), b"one 2 three\n" * 1000)


@check
def tool_tar(d):
    os.makedirs(d + "/a/b")
    for i in range(100):
        put(d + "/a/b/%d" % i, os.urandom(i * 100))
    run("tar", "-C", d, "-cf", d + "/t.tar", "a")
    os.mkdir(d + "/out")
    run("tar", "-C", d + "/out", "-xf", d + "/t.tar")
    equal(run("diff", "-r", d + "/a", d + "/out/a"), "")


@check
def tool_git(d):
    run("git", "init", "-q", d + "/repo")
    put(d + "/repo/f", b"text\n")
    run("git", "-C", d + "/repo", "add", "f")
    run("git", "-C", d + "/repo", "-c", "user.name=n", "-c", "user.email=e", "commit", "-qm", "m")
    run("git", "-C", d + "/repo", "fsck", "--strict")
    equal(run("git", "-C", d + "/repo", "status", "--porcelain"), "")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("directory", nargs="?")
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(CHECKS))
        return 0
    os.umask(0o022)
    failed = 0
    for name in arguments.names or CHECKS:
        if arguments.plain and name in REGIONFS_ONLY:
            continue
        directory = os.path.join(arguments.directory, f"{name}-{os.getpid()}")
        os.mkdir(directory)
        start = time.monotonic()
        try:
            CHECKS[name](directory)
            subprocess.run(["rm", "-rf", directory], check=True)
            print(f"ok {name} {time.monotonic() - start:.3f}s", flush=True)
        except BaseException as error:
            failed += 1
            where = traceback.extract_tb(error.__traceback__)
            line = next((f.lineno for f in reversed(where) if f.name == name), where[-1].lineno)
            print(f"FAILED {name} (line {line}): {type(error).__name__}: {error}", flush=True)
            if isinstance(error, KeyboardInterrupt):
                raise
    return min(failed, 100)


if __name__ == "__main__":
    sys.exit(main())
