"""The load: a process that changes its directory at random until the file system fails, and journals
each step before it (begin) and after it was answered (done), outside of the mount."""
import json
import mmap
import os
import random

from model import PAGE, SHARED, TOP, XATTR, content

MOST_FILES = 10
MOST_GROUPS = 3
MOST_PAGES = 96
NAMES = [f"n{number:02}" for number in range(24)]
DIRECTORIES = ["d0", "d1", "d2"]

# The steps and how often, by the flavour of a round.
FLAVOURS = {
    "mixed": {"write": 10, "store": 14, "msync": 8, "fsync": 1, "truncate": 4, "punch": 2, "names": 8},
    "synced mappings": {"store": 10, "msync": 10, "write": 1, "truncate": 1, "names": 1},
    "unsynced mappings": {"store": 20, "write": 2, "msync": 1, "truncate": 1, "names": 1},
    "writes": {"write": 20, "truncate": 4, "punch": 2, "fsync": 1, "names": 2},
    "names": {"names": 20, "write": 4, "store": 2, "msync": 1},
}


class Worker:
    def __init__(self, number, seed, flavour, tree, directory, top, shared, offset, journal):
        self.number, self.tree, self.directory, self.top = number, tree, directory, top
        self.random = random.Random(seed)
        self.flavour = FLAVOURS[flavour]
        self.journal = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self.stamp = seed * 1_000_003 % 2**62
        self.shared, self.offset = shared, offset
        self.open_files = {}  # path -> (descriptor, mapping, mapped size)
        self.sizes = {p: e.file.size for p, e in tree.names.items() if e.kind == "file"}
        self.sizes[SHARED] = tree.shared.size
        self.kinds = {p: e.kind for p, e in tree.names.items()}

    def run(self):
        """Never returns: the file system fails, or somebody kills us."""
        kinds, weights = list(self.flavour), list(self.flavour.values())
        while True:
            step = self.choose(self.random.choices(kinds, weights)[0])
            if step is None:
                continue
            os.write(self.journal, json.dumps(step).encode() + b"\n")
            try:
                self.perform(step)
            except OSError:
                os._exit(3)
            os.write(self.journal, b"+\n")
            self.note(step)

    # Choosing

    def next_stamp(self):
        self.stamp += 1
        return self.stamp

    def choose(self, kind):
        if kind == "names":
            return self.choose_names()
        path = SHARED if self.random.random() < 0.25 else self.pick("file")
        if path is None:
            return self.choose_names()
        size = self.sizes[path]
        most = size if path == SHARED else MOST_PAGES * PAGE
        if kind == "write":
            offset, length = self.place(most, self.random.choice([PAGE, 4 * PAGE, 16 * PAGE]))
            return ["write", path, offset, length, self.next_stamp()]
        if kind in ("truncate", "punch") and path == SHARED:
            return None
        if kind == "truncate":
            return ["truncate", path, self.place(most, 1)[0]]
        if kind == "fsync":
            return ["fsync", path]
        if size == 0:
            return None
        if kind == "store":
            offset, length = self.place(size, self.random.choice([PAGE, PAGE, 8 * PAGE]))
            return ["store", path, offset, length, self.next_stamp()]
        if kind == "punch":
            return ["punch", path, *self.place(size, 12 * PAGE)]
        pages = -(-size // PAGE)
        first = self.random.randrange(pages)
        return ["msync", path, first, self.random.randint(1, pages - first)]

    def place(self, end, longest):
        """A range below `end`; half of them whole pages."""
        offset = self.random.randrange(end)
        length = self.random.randint(1, longest)
        if self.random.random() < 0.5:
            offset -= offset % PAGE
            length = -(-length // PAGE) * PAGE
        return offset, min(length, end - offset)

    def pick(self, kind):
        paths = sorted(p for p, k in self.kinds.items() if k == kind)
        return self.random.choice(paths) if paths else None

    def free_name(self, is_top=False):
        if is_top:
            path = TOP + self.random.choice(NAMES[:6])
            return None if path in self.kinds else path
        holder = self.random.choice([""] + [p + "/" for p, k in self.kinds.items() if k == "directory"])
        path = holder + self.random.choice(NAMES)
        return None if path in self.kinds else path

    def choose_names(self):
        files = self.pick("file")
        is_top = self.random.random() < 0.15 if files is None else files.startswith(TOP)
        kind = self.random.choice(
            ["create", "create", "unlink", "rename", "rename over", "chmod", "xattr", "mkdir", "rmdir",
             "symlink", "rename directory"])
        new = self.free_name(is_top)
        if kind == "create" or files is None:
            is_top = self.random.random() < 0.15
            new = self.free_name(is_top)
            there = sum(k == "file" and p.startswith(TOP) == is_top for p, k in self.kinds.items())
            if new is None or there >= (MOST_GROUPS if is_top else MOST_FILES):
                return None
            return ["create", new, self.random.choice([0o600, 0o640, 0o755])]
        if kind == "unlink":
            gone = self.pick(self.random.choice(["file", "link"]))
            return ["unlink", gone] if gone else None
        if kind == "rename":
            return ["rename", files, new] if new else None
        if kind == "rename over":
            other = self.pick("file")
            return ["rename", files, other] if other != files and other.startswith(TOP) == is_top else None
        if kind == "chmod":
            return ["chmod", files, self.random.randrange(0o1000)]
        if kind == "xattr":
            return ["xattr", files, self.next_stamp()]
        if kind == "symlink":
            return ["symlink", new, f"to-{self.next_stamp()}"] if new and not is_top else None
        return self.choose_directories(kind)

    def choose_directories(self, kind):
        there = [d for d in self.kinds if self.kinds[d] == "directory"]
        absent = [d for d in DIRECTORIES if d not in self.kinds]
        if kind == "mkdir":
            return ["mkdir", self.random.choice(absent), 0o700] if absent else None
        if not there:
            return None
        path = self.random.choice(sorted(there))
        if kind == "rmdir":
            return None if any(p.startswith(path + "/") for p in self.kinds) else ["rmdir", path]
        return ["rename", path, self.random.choice(absent)] if absent else None

    # Doing

    def place_of(self, path):
        return self.top + path[len(TOP):] if path.startswith(TOP) else f"{self.directory}/{path}"

    def opened(self, path):
        if path not in self.open_files:
            name = self.shared if path == SHARED else self.place_of(path)
            self.open_files[path] = [os.open(name, os.O_RDWR), None, 0]
        return self.open_files[path]

    def mapped(self, path):
        """The mapping and where in it the file begins."""
        file = self.opened(path)
        offset = self.offset if path == SHARED else 0
        wanted = offset + self.sizes[path]
        if file[1] is not None and file[2] != wanted:
            file[1].close()
            file[1] = None
        if file[1] is None:
            file[1], file[2] = mmap.mmap(file[0], wanted), wanted
        return file[1], offset

    def close(self, path):
        file = self.open_files.pop(path, None)
        if file:
            if file[1] is not None:
                file[1].close()
            os.close(file[0])

    def perform(self, step):
        kind, path, *rest = step
        full = self.place_of(path)
        base = self.offset if path == SHARED else 0
        if kind == "write":
            data = content(rest[2], rest[0], rest[1])
            if os.pwrite(self.opened(path)[0], data, base + rest[0]) != len(data):
                raise OSError("short write")
        elif kind == "store":
            mapping, base = self.mapped(path)
            mapping[base + rest[0]:base + rest[0] + rest[1]] = content(rest[2], rest[0], rest[1])
        elif kind == "msync":
            mapping, base = self.mapped(path)
            start = base + rest[0] * PAGE
            mapping.flush(start, min(rest[1] * PAGE, len(mapping) - start))
        elif kind == "fsync":
            os.fsync(self.opened(path)[0])
        elif kind == "truncate":
            os.ftruncate(self.opened(path)[0], rest[0])
        elif kind == "punch":
            self.punch(self.opened(path)[0], *rest)
        elif kind == "create":
            descriptor = os.open(full, os.O_RDWR | os.O_CREAT | os.O_EXCL, rest[0])
            self.open_files[path] = [descriptor, None, 0]
        elif kind == "mkdir":
            os.mkdir(full, rest[0])
        elif kind == "rmdir":
            os.rmdir(full)
        elif kind == "symlink":
            os.symlink(rest[0], full)
        elif kind == "unlink":
            os.unlink(full)
        elif kind == "rename":
            os.rename(full, self.place_of(rest[0]))
        elif kind == "chmod":
            os.chmod(full, rest[0])
        elif kind == "xattr":
            os.setxattr(full, XATTR, str(rest[0]).encode())

    @staticmethod
    def punch(descriptor, offset, length):
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        keep_size_punch_hole = 3
        if libc.fallocate(descriptor, keep_size_punch_hole, ctypes.c_long(offset), ctypes.c_long(length)) != 0:
            raise OSError(ctypes.get_errno(), "fallocate")

    # Remembering what there is

    def note(self, step):
        kind, path, *rest = step
        if kind == "create":
            self.kinds[path], self.sizes[path] = "file", 0
        elif kind in ("mkdir", "symlink"):
            self.kinds[path] = "directory" if kind == "mkdir" else "link"
        elif kind in ("unlink", "rmdir"):
            self.forget(path)
        elif kind == "rename":
            self.forget(rest[0])
            for old in [p for p in self.kinds if p == path or p.startswith(path + "/")]:
                new = rest[0] + old[len(path):]
                self.kinds[new] = self.kinds.pop(old)
                if old in self.sizes:
                    self.sizes[new] = self.sizes.pop(old)
                if old in self.open_files:
                    self.open_files[new] = self.open_files.pop(old)
        elif kind == "write":
            self.sizes[path] = max(self.sizes[path], rest[0] + rest[1])
        elif kind == "truncate":
            self.sizes[path] = rest[0]

    def forget(self, path):
        self.close(path)
        self.kinds.pop(path, None)
        self.sizes.pop(path, None)


def read_journal(path):
    """The answered steps, and the one that was not."""
    answered, open_step = [], None
    if not os.path.exists(path):
        return answered, open_step
    with open(path, "rb") as file:
        for line in file.read().split(b"\n")[:-1]:
            if line == b"+":
                answered.append(open_step)
                open_step = None
            else:
                open_step = json.loads(line)
    return answered, open_step
