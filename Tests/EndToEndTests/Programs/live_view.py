"""Drives `regionfs-stat --watch` in a terminal of its own: live_view.py ENDING REGIONFS-STAT PATH...

Checks what is on the screen, that keys and a new size change it, and that after ENDING (quit, interrupt,
term, crash or hangup) the terminal is as it was before. Prints the last screen.
"""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time

LEAVE = b"\x1b[?25h\x1b[?1049l"
SEQUENCE = re.compile(rb"\x1b\[([?0-9;]*)([A-Za-z])")


class Screen:
    """The part of a terminal that the program uses."""

    def __init__(self, columns, rows):
        self.resize(columns, rows)
        self.modes = set()
        self.rest = b""

    def resize(self, columns, rows):
        self.columns, self.rows = columns, rows
        self.cells = [[" "] * columns for _ in range(rows)]
        self.x = self.y = 0

    def feed(self, data):
        data = self.rest + data
        self.rest = b""
        while data:
            match = SEQUENCE.match(data)
            if match:
                self.command(match[1].decode(), match[2].decode())
                data = data[match.end() :]
                continue
            if data[0] == 0x1B:
                self.rest = data
                return
            length = 1 if data[0] < 0x80 else 2 if data[0] < 0xE0 else 3 if data[0] < 0xF0 else 4
            if len(data) < length:
                self.rest = data
                return
            self.put(data[:length].decode())
            data = data[length:]

    def command(self, parameters, letter):
        if letter == "H":
            row, column = (parameters or "1;1").split(";")
            self.y, self.x = int(row) - 1, int(column) - 1
        elif letter == "J":
            self.cells = [[" "] * self.columns for _ in range(self.rows)]
        elif letter == "K":
            for x in range(self.x, self.columns):
                self.cells[self.y][x] = " "
        elif letter in "hl":
            (self.modes.add if letter == "h" else self.modes.discard)(parameters)
        elif letter != "m":
            raise AssertionError(f"unknown sequence {parameters}{letter}")

    def put(self, character):
        if character in "\r\n":
            return
        if "?1049" not in self.modes:
            return
        assert self.y < self.rows and self.x < self.columns, f"{character!r} outside of the screen"
        self.cells[self.y][self.x] = character
        self.x += 1

    @property
    def text(self):
        return "\n".join("".join(row).rstrip() for row in self.cells)


class Session:
    def __init__(self, command, columns=100, rows=30, environment=None):
        self.screen = Screen(columns, rows)
        self.raw = b""
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.environ.update({"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"})
            os.environ.update(environment or {})
            time.sleep(0.2)
            os.execv(command[0], command)
        self.set_size(columns, rows)
        self.before = termios.tcgetattr(self.terminal)

    def set_size(self, columns, rows):
        self.screen.resize(columns, rows)
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, seconds):
        if not select.select([self.terminal], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self.terminal, 65536)
        except OSError:
            return False
        self.raw += data
        self.screen.feed(data)
        return bool(data)

    def wait(self, what, condition):
        deadline = time.monotonic() + 300
        while not condition():
            assert time.monotonic() < deadline, f"no {what}:\n{self.screen.text}"
            assert self.read(0.1), f"ended before {what}: {self.raw[-500:]!r}"

    def end(self):
        while self.read(5):
            pass
        return os.waitpid(self.pid, 0)[1]


def main():
    ending, *command = sys.argv[1:]
    session = Session(command[:1] + ["--watch=0.2"] + command[1:])
    screen = session.screen
    session.wait("map", lambda: "█" in screen.text and "q quit" in screen.text)
    assert {"?1049", "?25"} - screen.modes == {"?25"}, screen.modes
    chosen = lambda: re.search("▸ (\\S+)", screen.text)
    first = chosen()[1]
    os.write(session.terminal, b"\x1b[B")
    session.wait("other region", lambda: chosen() and chosen()[1] != first)
    os.write(session.terminal, b"\x1b[A")
    session.wait("first region again", lambda: chosen() and chosen()[1] == first)
    wide = max(len(line) for line in screen.text.split("\n"))
    session.set_size(50, 20)
    session.wait("narrow picture", lambda: "q quit" in screen.text and "█" in screen.text)
    assert wide > 50 >= max(len(line) for line in screen.text.split("\n"))
    print(screen.text)
    if ending == "quit":
        os.write(session.terminal, b"q")
    elif ending == "interrupt":
        os.write(session.terminal, b"\x03")
    else:
        number = {"term": signal.SIGTERM, "crash": signal.SIGSEGV, "hangup": signal.SIGHUP}[ending]
        os.kill(session.pid, number)
    settings = None
    deadline = time.monotonic() + 300
    while LEAVE not in session.raw and time.monotonic() < deadline and session.read(0.1):
        pass
    # Restored right after the words were written; gone with the last process on some kernels.
    deadline = time.monotonic() + 60
    try:
        while time.monotonic() < deadline:
            settings = termios.tcgetattr(session.terminal)
            if settings[3] == session.before[3]:
                break
            time.sleep(0.01)
    except termios.error:
        settings = None
    status = session.end()
    assert session.raw.count(LEAVE) == 1 and session.raw.rstrip().endswith(LEAVE), session.raw[-300:]
    assert "?1049" not in screen.modes and "?25" in screen.modes
    if ending in ("quit", "interrupt"):
        assert os.waitstatus_to_exitcode(status) == 0, status
    else:
        assert os.waitstatus_to_exitcode(status) == -number, status
    if settings is not None:
        assert settings[3] == session.before[3], "the terminal's modes are not restored"


main()
