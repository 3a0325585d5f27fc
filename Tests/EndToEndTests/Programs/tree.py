#!/usr/bin/env python3
"""A tree with every kind of name, attribute and file, made in one place and compared in another.

usage: tree.py make DIR        fill an empty directory (seeded, always the same)
       tree.py describe DIR    print a line per entry: path, kind, mode, owner, times, size,
                               xattrs, content hash, link target; equal trees print the same
"""
import hashlib
import os
import stat
import sys


def make(root):
    root = os.fsencode(root)
    names = [b"plain", b"with space", b"new\nline", b"\xff\xfe\x01", b"x" * 255, b"\xc3\xa9", b"%2F", b".hidden"]
    for number, name in enumerate(names):
        directory = root + b"/d" + str(number).encode()
        os.mkdir(directory)
        for depth in range(3):
            path = directory + b"/" + name
            with open(path, "wb") as file:
                file.write(hashlib.sha256(name + bytes([depth])).digest() * (1 + 1000 * depth))
                file.seek(200_000 * depth)
                file.write(b"end")
            os.setxattr(path, "user.number", str(number).encode())
            os.chmod(path, [0o600, 0o4755, 0o444][depth])
            if os.geteuid() == 0:
                os.chown(path, 1000 + number, 2000 + depth)
                os.chmod(path, [0o600, 0o4755, 0o444][depth])
            os.utime(path, ns=(10 ** 18 + number, 10 ** 18 + 7 * number + depth))
            os.symlink(name, directory + b"/link")
            os.mkdir(directory + b"/deeper", 0o700 + depth)
            directory += b"/deeper"
    os.mkdir(root + b"/many")
    for number in range(500):
        with open(root + b"/many/%d" % number, "wb") as file:
            file.write(b"%d" % number)
    for number in range(0, 500, 3):
        os.unlink(root + b"/many/%d" % number)
    for number in range(1, 500, 3):
        os.rename(root + b"/many/%d" % number, root + b"/many/renamed-%d" % number)
    sparse = os.open(root + b"/sparse", os.O_RDWR | os.O_CREAT)
    os.ftruncate(sparse, 1 << 36)
    os.pwrite(sparse, b"far", (1 << 35) + 3)
    os.close(sparse)


def content(path, size):
    digest = hashlib.sha256()
    descriptor = os.open(path, os.O_RDONLY)
    at = 0
    while at < size:
        try:
            at = os.lseek(descriptor, at, os.SEEK_DATA)
        except OSError:
            break
        end = os.lseek(descriptor, at, os.SEEK_HOLE)
        while at < end:
            block = os.pread(descriptor, min(1 << 20, end - at), at)
            # Data and holes may be told apart at other places; only bytes count.
            for start in range(0, len(block), 4096):
                piece = block[start:start + 4096]
                if any(piece):
                    digest.update(b"%d:" % (at + start) + piece)
            at += len(block)
    os.close(descriptor)
    return digest.hexdigest()[:16]


def describe(root):
    root = os.fsencode(root)
    for directory, directories, files in os.walk(root):
        directories.sort()
        for name in sorted(files + directories):
            path = directory + b"/" + name
            status = os.lstat(path)
            words = [repr(path[len(root):]), oct(status.st_mode), status.st_uid, status.st_gid]
            if stat.S_ISLNK(status.st_mode):
                words.append(os.readlink(path))
            else:
                words.append({n: os.getxattr(path, n) for n in sorted(os.listxattr(path))})
            if stat.S_ISREG(status.st_mode):
                words += [status.st_mtime_ns, status.st_size, content(path, status.st_size)]
            print(*words)


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("make", "describe"):
        sys.exit(__doc__)
    {"make": make, "describe": describe}[sys.argv[1]](sys.argv[2])
