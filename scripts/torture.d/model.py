"""What must be found after a crash: files, names and attributes, as far as they were acknowledged.

Each page of a file has *candidates*: the contents it may have, oldest first. What a system call
acknowledged leaves one; a store into a mapping adds one until msync has returned.
"""
import copy
import os
import stat

import numpy

PAGE = 4096
ZERO = bytes(PAGE)
XATTR = "user.step"


def content(stamp, offset, length):
    """The bytes that the step `stamp` puts at `offset`: no two steps and no two places agree."""
    first, end = offset // 8, (offset + length + 7) // 8
    words = numpy.arange(first, end, dtype=numpy.uint64) * numpy.uint64(0x9E3779B97F4A7C15)
    words ^= numpy.uint64((stamp * 0xD1B54A32D192ED03 + 0x632BE59BD9B4E019) % 2**64)
    return words.tobytes()[offset - first * 8:offset - first * 8 + length]


def is_between(found, old, new):
    """Whether a page was caught between two stores into it: each byte is of one or the other."""
    found, old, new = (numpy.frombuffer(b, dtype=numpy.uint8) for b in (found, old, new))
    return bool(((found == old) | (found == new)).all())


class FileModel:
    def __init__(self, size=0):
        self.size = size
        self.pages = {}  # number -> candidates; a page that is not there is zero

    def __deepcopy__(self, memo):
        twin = FileModel(self.size)
        twin.pages = {number: list(images) for number, images in self.pages.items()}
        return twin

    def candidates(self, number):
        return self.pages.get(number, [ZERO])

    def _pieces(self, offset, data):
        """(page, image -> image with its piece of the data)."""
        at = 0
        while at < len(data):
            number, start = divmod(offset + at, PAGE)
            piece = data[at:at + PAGE - start]
            yield number, lambda image, s=start, p=piece: image[:s] + p + image[s + len(p):]
            at += len(piece)

    def store(self, offset, data):
        """Into a mapping: seen or not, until it is synced."""
        for number, splice in self._pieces(offset, data):
            images = self.candidates(number)
            self.pages[number] = images + [splice(images[-1])]

    def write(self, offset, data):
        """write(2), answered."""
        for number, splice in self._pieces(offset, data):
            self.pages[number] = list(dict.fromkeys(splice(i) for i in self.candidates(number)))
        self.size = max(self.size, offset + len(data))

    def sync(self, first=0, count=None):
        """msync or fsync, answered."""
        for number in list(self.pages):
            if number >= first and (count is None or number < first + count):
                self.pages[number] = self.pages[number][-1:]

    def truncate(self, size):
        if size < self.size:
            keep = -(-size // PAGE)
            for number in [n for n in self.pages if n >= keep]:
                del self.pages[number]
            if size % PAGE and keep - 1 in self.pages:
                tail = bytes(PAGE - size % PAGE)
                self.pages[keep - 1] = [i[:size % PAGE] + tail for i in self.pages[keep - 1]]
        self.size = size

    def punch(self, offset, length):
        length = min(length, max(0, self.size - offset))
        size = self.size
        self.write(offset, bytes(length))
        self.size = size

    def problems(self, found, what, tally):
        """What is wrong with the bytes found."""
        if len(found) != self.size:
            return [f"{what} has {len(found)} bytes, not {self.size}"]
        wrong = []
        for number in range(-(-self.size // PAGE)):
            page = found[number * PAGE:(number + 1) * PAGE]
            images = [i[:len(page)] for i in self.candidates(number)]
            if page in images:
                tally["open pages"] += len(images) > 1
                tally["open pages found old"] += len(images) > 1 and page != images[-1]
            elif any(is_between(page, a, b) for a, b in zip(images, images[1:])):
                tally["pages between two stores"] += 1
            else:
                wrong.append(f"{what} page {number}: {page[:16].hex()}, none of {len(images)} candidates")
        return wrong

    def settle(self, found):
        """What was found is what is there from now on."""
        self.pages = {}
        for number in range(-(-len(found) // PAGE)):
            page = found[number * PAGE:(number + 1) * PAGE]
            self.pages[number] = [page + bytes(PAGE - len(page))]


class Entry:
    def __init__(self, kind, mode=None, target=None, file=None):
        self.kind, self.mode, self.target, self.file, self.xattr = kind, mode, target, file, None

    def facts(self):
        return (self.kind, self.mode, self.target, self.xattr)


SHARED = "@"  # a worker's own pages of the one file that all workers share
TOP = "^"  # begins the names of files at the top of the mount, each a group of its own


class Tree:
    """One worker's directory, and its pages of the shared file."""

    def __init__(self, shared_pages):
        self.names = {}
        self.shared = FileModel(shared_pages * PAGE)

    def file(self, path):
        return self.shared if path == SHARED else self.names[path].file

    def apply(self, step):
        kind, path, *rest = step
        if kind == "create":
            self.names[path] = Entry("file", rest[0], file=FileModel())
        elif kind == "mkdir":
            self.names[path] = Entry("directory", rest[0])
        elif kind == "symlink":
            self.names[path] = Entry("link", target=rest[0])
        elif kind in ("unlink", "rmdir"):
            del self.names[path]
        elif kind == "rename":
            moved = {p: e for p, e in self.names.items() if p == path or p.startswith(path + "/")}
            for old in moved:
                del self.names[old]
            for old, entry in moved.items():
                self.names[rest[0] + old[len(path):]] = entry
        elif kind == "chmod":
            self.names[path].mode = rest[0]
        elif kind == "xattr":
            self.names[path].xattr = rest[0]
        elif kind == "store":
            self.file(path).store(rest[0], content(rest[2], rest[0], rest[1]))
        elif kind == "write":
            self.file(path).write(rest[0], content(rest[2], rest[0], rest[1]))
        elif kind == "msync":
            self.file(path).sync(rest[0], rest[1])
        elif kind == "fsync":
            self.file(path).sync()
        elif kind == "truncate":
            self.file(path).truncate(rest[0])
        elif kind == "punch":
            self.file(path).punch(rest[0], rest[1])
        else:
            raise ValueError(kind)

    def alternatives(self, open_step):
        """What may be there, given the step that was begun and never answered."""
        if open_step is None or open_step[0] in ("msync", "fsync"):
            return [self]
        if open_step[0] == "store":
            return [self.after(open_step)]
        if open_step[0] != "write":
            return [self, self.after(open_step)]
        return self.alternatives_of_write(open_step)

    def after(self, step):
        twin = copy.deepcopy(self)
        twin.apply(step)
        return twin

    def alternatives_of_write(self, step):
        """The kernel sends the part of a page at the beginning as a request of its own when it does
        not have that page, and all the rest as one more."""
        kind, path, offset, length, stamp = step
        trees = [copy.deepcopy(self)]
        head = -offset % PAGE
        if 0 < head < length:
            trees.append(self.after([kind, path, offset, head, stamp]))
        trees.append(self.after(step))
        # It may also write a page back for an earlier store into it once write(2) has put its bytes
        # there, before the WRITE itself is answered.
        versions = [tree.file(path).pages for tree in trees]
        for number in [n for n, images in self.file(path).pages.items() if len(images) > 1]:
            images = [i for pages in versions for i in pages[number]]
            for pages in versions:
                pages[number] = images
        return trees

    def problems(self, found, tally):
        wrong = []
        for path in sorted(self.names.keys() | found.names.keys()):
            if path not in found.names:
                wrong.append(f"{path} is missing")
            elif path not in self.names:
                wrong.append(f"{path} is there and should not be")
            elif self.names[path].facts() != found.names[path].facts():
                wrong.append(f"{path} is {found.names[path].facts()}, not {self.names[path].facts()}")
            elif self.names[path].kind == "file":
                wrong += self.names[path].file.problems(found.names[path].bytes, path, tally)
        return wrong + self.shared.problems(found.shared, "the shared file", tally)

    def settle(self, found):
        for path, entry in self.names.items():
            if entry.kind == "file":
                entry.file.settle(found.names[path].bytes)
        self.shared.settle(found.shared)


class Found:
    """What a mount shows of a worker's tree."""

    def __init__(self, directory, top, shared, offset, length):
        self.names = {}
        self._walk(directory, "")
        point, prefix = os.path.split(top)
        self._walk(point, TOP, prefix)
        with open(shared, "rb", buffering=0) as file:
            self.shared = _read(file.fileno(), offset, length)

    def _walk(self, directory, prefix, only=""):
        for name in [n for n in os.listdir(directory) if n.startswith(only)]:
            path = os.path.join(directory, name)
            name = name[len(only):]
            status = os.lstat(path)
            if stat.S_ISLNK(status.st_mode):
                entry = Entry("link", target=os.readlink(path))
            elif stat.S_ISDIR(status.st_mode):
                entry = Entry("directory", stat.S_IMODE(status.st_mode))
                self._walk(path, prefix + name + "/")
            else:
                entry = Entry("file", stat.S_IMODE(status.st_mode))
                with open(path, "rb", buffering=0) as file:
                    entry.bytes = _read(file.fileno(), 0, status.st_size)
                    # st_size and what can be read must agree.
                    entry.bytes += os.pread(file.fileno(), PAGE, status.st_size)
                if XATTR in os.listxattr(path):
                    entry.xattr = int(os.getxattr(path, XATTR))
            self.names[prefix + name] = entry


def _read(descriptor, offset, length):
    parts = []
    while length > 0:
        part = os.pread(descriptor, min(length, 1 << 20), offset)
        if not part:
            break
        parts.append(part)
        offset, length = offset + len(part), length - len(part)
    return b"".join(parts)
