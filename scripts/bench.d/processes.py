"""Steps with a time limit, and what a daemon and its children have used."""
import os
import subprocess
import time

TICKS = os.sysconf("SC_CLK_TCK")


class StepFailed(Exception):
    """A step ended with an error or not in time; its text is what the report shows."""


# Programs that did not end in time. They may hang in a fault that only the end of the mount frees,
# so nobody waits for them before that.
_overdue = []


def step(*command, timeout, env=None):
    """Runs one program; gives its standard output. Never waits longer than `timeout` seconds."""
    words = [str(word) for word in command]
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=env)
    try:
        output, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        _overdue.append(process)
        raise StepFailed(f"not done in {timeout:.0f} s: {short(words)}") from None
    if process.returncode != 0:
        said = (errors.strip() or output.strip()).splitlines()
        raise StepFailed(f"{short(words)}: status {process.returncode}: {' / '.join(said[-3:])[-400:]}")
    return output


def short(words):
    return " ".join(os.path.basename(word) for word in words)[:120]


def reap_overdue():
    """After the mount is gone: collects the programs that hung in it."""
    for process in _overdue[:]:
        try:
            process.communicate(timeout=10)
            _overdue.remove(process)
        except subprocess.TimeoutExpired:
            pass  # said by the caller, who sees that it is still in the list
    return [process.pid for process in _overdue]


def until(condition, seconds, what):
    deadline = time.monotonic() + seconds
    pause = 0.001
    while not condition():
        if time.monotonic() > deadline:
            raise StepFailed(f"{what}: not in {seconds:.0f} s")
        time.sleep(pause)
        pause = min(pause * 1.2, 0.02)


def mounted(point):
    with open("/proc/self/mountinfo") as table:
        return f" {point} " in table.read()


def _parents():
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    parents[int(name)] = int(file.read().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                pass  # it ended meanwhile
    return parents


def family(roots):
    """The processes and all that descend from them."""
    parents, found = _parents(), set(roots)
    while True:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        if not more:
            return sorted(found & set(parents))
        found |= more


class Usage:
    """CPU seconds and peak memory of processes, by process."""

    def __init__(self, pids):
        self.cpu, self.peak = {}, {}
        for pid in pids:
            try:
                with open(f"/proc/{pid}/stat") as file:
                    fields = file.read().rpartition(")")[2].split()
                with open(f"/proc/{pid}/status") as file:
                    peak = next((int(l.split()[1]) for l in file if l.startswith("VmHWM")), 0)
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended meanwhile
            self.cpu[pid] = (int(fields[11]) + int(fields[12])) / TICKS
            self.peak[pid] = peak * 1024

    def cpu_since(self, before):
        return sum(seconds - before.cpu.get(pid, 0) for pid, seconds in self.cpu.items())

    def peak_memory(self):
        return sum(self.peak.values())
