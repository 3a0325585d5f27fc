#!/usr/bin/env python3
"""Tables and plots of a run of `scripts/bench peers`.

usage: scripts/bench report [JSON]

Writes docs/plots/peers-*.svg and what stands between the two marks in docs/BENCHMARKS.md; without a
file it takes the newest one in bench-results."""
import glob
import json
import os
import statistics
import sys

import svg

MIB = 1 << 20
PAGE, PLOTS = "docs/BENCHMARKS.md", "docs/plots"
BEGIN = "<!-- scripts/bench report writes from here -->"
END = "<!-- to here -->"

#: row, metric, what the reader is told, unit, whether more is better, the factor that is promised
METRICS = [
    ("first_byte", "seconds", "mount to first byte", "s", False, 1),
    ("cold_seq", "rate", "cold sequential mmap read", "B/s", True, 1),
    ("cold_seq", "bytes_down", "… bytes down", "B", False, 1),
    ("cold_random", "p50_us", "cold random fault, MADV_RANDOM, p50", "us", False, 3),
    ("cold_random", "p99_us", "… p99", "us", False, 3),
    ("cold_random", "seconds", "… open and all faults", "s", False, 3),
    ("cold_random", "bytes_down", "… bytes down", "B", False, 3),
    ("cold_readaround", "p50_us", "cold random fault, read-around, p50", "us", False, 3),
    ("cold_readaround", "p99_us", "… p99", "us", False, 3),
    ("cold_readaround", "seconds", "… open and all faults", "s", False, 3),
    ("cold_readaround", "bytes_down", "… bytes down", "B", False, 3),
    ("warm_seq", "rate", "warm sequential mmap read", "B/s", True, 1),
    ("remount_warm", "seconds", "mount again and read all, warm", "s", False, 1),
    ("remount_warm", "bytes_down", "… bytes down", "B", False, 1),
    ("dirty", "local_seconds", "random dirty pages, msync", "s", False, 1),
    ("dirty", "remote_seconds", "… until the store has them", "s", False, 3),
    ("dirty", "bytes_up", "… bytes up", "B", False, 3),
    ("dirty", "bytes_down", "… bytes down", "B", False, 1),
    ("dirty", "requests", "… requests", "", False, 3),
    ("fill", "rate", "sequential mmap fill, msync", "B/s", True, 3),
    ("fill", "remote_seconds", "… until the store has it", "s", False, 1),
    ("sqlite_read", "p50_us", "SQLite point read, cold, p50", "us", False, 1),
    ("sqlite_read", "seconds", "… all reads", "s", False, 1),
    ("sqlite_write", "p50_us", "SQLite transaction, p50", "us", False, 1),
    ("sqlite_write", "remote_seconds", "… all, until the store has them", "s", False, 1),
    ("lmdb_fill", "rate", "LMDB fill", "B/s", True, 1),
    ("lmdb_fill", "remote_seconds", "… until the store has it", "s", False, 1),
    ("lmdb_read", "p50_us", "LMDB point read, cold, p50", "us", False, 1),
    ("lmdb_read", "seconds", "… all reads", "s", False, 1),
]
#: The first is regionfs as it comes; the others have an option more.
OURS, REFERENCES = ("regionfs", "regionfs-lazy", "regionfs-writeback"), ("local",)


class Result:
    """Medians of a run."""

    def __init__(self, data):
        self.data = data
        self.samples = data["samples"]
        order = list(data["versions"])
        present = {s["peer"] for s in self.samples}
        self.peers = [p for p in order if p in present]
        self.rtts = [r for r in data["rtts"] if any(s["rtt"] == r for s in self.samples)]

    def find(self, peer, rtt, row):
        return [s for s in self.samples if (s["peer"], s["rtt"], s["row"]) == (peer, rtt, row)]

    def median(self, peer, rtt, row, metric):
        """None where any round failed: a row that fails now and then is not a row that works."""
        found = self.find(peer, rtt, row)
        if not found or any("failed" in s for s in found):
            return None
        values = [s["metrics"][metric] for s in found if metric in s["metrics"]]
        return statistics.median(values) if values else None

    def failed(self, peer, rtt, row):
        return any("failed" in s for s in self.find(peer, rtt, row))

    def best_peer(self, rtt, row, metric, more):
        values = [(self.median(p, rtt, row, metric), p) for p in self.peers
                  if p not in OURS and p not in REFERENCES]
        values = [pair for pair in values if pair[0] is not None]
        return (max if more else min)(values, default=None)

    def advantage(self, name, rtt, row, metric, more):
        """How many times better than the best peer; below 1 we lose. None: nothing to compare."""
        ours, best = self.median(name, rtt, row, metric), self.best_peer(rtt, row, metric, more)
        if ours is None or best is None:
            return None
        over, under = (ours, best[0]) if more else (best[0], ours)
        return over / under if under else (1.0 if over == under else float("inf"))

    def total(self, peer, rtt, metric, combine):
        values = [self.median(peer, rtt, row, metric) for row in dict.fromkeys(m[0] for m in METRICS)]
        values = [v for v in values if v is not None]
        return combine(values) if values else None


def aligned(rows):
    """A table in Markdown that is also readable as text."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]])


def verdict(result, name, rtt, row, metric, more, target):
    factor = result.advantage(name, rtt, row, metric, more)
    if factor is None:
        if result.failed(name, rtt, row):
            return "FAILED"
        return "alone" if result.median(name, rtt, row, metric) is not None else "–"
    mark = "" if factor >= target else " (short)" if factor >= 1 else " (behind)"
    return f"{svg.shown(factor)}, {result.best_peer(rtt, row, metric, more)[1]}{mark}"


def ratios(result, name="regionfs"):
    rows = [["", "target", *[f"{rtt} ms" for rtt in result.rtts]]]
    for row, metric, words, _, more, target in METRICS:
        cells = [verdict(result, name, rtt, row, metric, more, target) for rtt in result.rtts]
        if any(cell != "–" for cell in cells):
            rows.append([words, f"{target}", *cells])
    return aligned(rows)


def value(result, peer, rtt, row, metric):
    if result.failed(peer, rtt, row):
        return "failed"
    number = result.median(peer, rtt, row, metric)
    return "–" if number is None else svg.shown(number)


def values(result, rtt):
    rows = [["", "unit", *result.peers]]
    for row, metric, words, unit, _, _ in METRICS:
        cells = [value(result, peer, rtt, row, metric) for peer in result.peers]
        if any(cell != "–" for cell in cells):
            rows.append([words, unit, *cells])
    for words, unit, metric, combine in [("daemon's CPU, all rows", "s", "cpu_seconds", sum),
                                         ("daemon's peak memory", "B", "peak_memory", max)]:
        cells = [result.total(peer, rtt, metric, combine) for peer in result.peers]
        rows.append([words, unit, *["–" if c is None else svg.shown(c) for c in cells]])
    return aligned(rows)


def failures(result):
    """One line for each row of a peer that failed, with the first reason."""
    seen = {}
    for sample in result.samples:
        if "failed" in sample:
            reason = sample["failed"].splitlines()[0][:200]
            why, rtts, times = seen.get((sample["peer"], sample["row"]), (reason, set(), 0))
            seen[sample["peer"], sample["row"]] = (why, rtts | {sample["rtt"]}, times + 1)
    return [f"- {peer}, {row}, {times} times, at {', '.join(map(str, sorted(rtts)))} ms: {why}"
            for (peer, row), (why, rtts, times) in seen.items()]


def about(result):
    data, machine = result.data, result.data["machine"]
    versions = "; ".join(f"{name}: {words}" for name, words in data["versions"].items()
                         if name in result.peers + ["weed"] and "-" not in name)
    # Not known of older runs.
    reported = {True: " that stays", False: " that goes back to the host"}.get(machine.get("memory_stays"), "")
    return (
        f"{data['when'][:16].replace('T', ' ')} UTC, commit {data['commit'][:12]}, kernel {machine['kernel']}, "
        f"{machine['processors']} processors ({machine['model']}), {machine['memory'] / (1 << 30):.0f} GiB{reported}; load "
        f"before {machine['load_before'][0]:.1f}, highest {data['highest_load']:.1f}; files of "
        f"{data['size'] // MIB} MiB, {data['rounds']} rounds.\n\n`{data['command']}`\n\n{versions}.")


def text(result_data):
    """For the terminal."""
    result = Result(result_data)
    parts = ["times better than the best peer:", ratios(result)]
    parts += [f"\n{name}:\n{ratios(result, name)}" for name in OURS[1:] if name in result.peers]
    for rtt in result.rtts:
        parts += ["", f"{rtt} ms:", values(result, rtt)]
    lost = failures(result)
    if lost:
        parts += ["", "failed:", *lost]
    return "\n".join(parts)


def page(result, plots):
    parts = [about(result), "How many times better than the best peer, and which one that is; below 1 it is behind.",
             ratios(result)]
    for name in OURS[1:]:
        if name in result.peers:
            parts += [f"The same of *{name}*:", ratios(result, name)]
    parts += [f"![{words}](plots/{name})" for words, name in plots]
    for rtt in result.rtts:
        parts += [f"<details><summary>All values at {rtt} ms</summary>", values(result, rtt), "</details>"]
    lost = failures(result)
    if lost:
        parts += ["What failed:", "\n".join(lost)]
    if result.data["notes"]:
        parts += ["Notes of the run:", "\n".join(f"- {note}" for note in result.data["notes"])]
    return "\n\n".join(parts)


def draw(result):
    """One plot a metric; old ones of the same series go."""
    os.makedirs(PLOTS, exist_ok=True)
    for old in glob.glob(f"{PLOTS}/peers-*.svg"):
        os.unlink(old)
    drawn, heading = [], {}
    for row, metric, words, unit, more, _ in METRICS:
        if words.startswith("…"):
            words = heading[row] + words[1:].replace(" ", ": ", 1)
        else:
            heading[row] = words.split(", p50")[0]
        numbers = {}
        for rtt in result.rtts:
            cells = {peer: result.median(peer, rtt, row, metric) for peer in result.peers
                     if result.find(peer, rtt, row)}
            numbers[f"{rtt} ms"] = {
                peer: v for peer, v in cells.items() if v is not None or result.failed(peer, rtt, row)}
        if not any(numbers.values()):
            continue
        names = [p for p in result.peers if any(p in cells for cells in numbers.values())]
        title = f"{words} [{unit or 'count'}], {'more' if more else 'less'} is better"
        name = f"peers-{row}-{metric}.svg".replace("_", "-")
        with open(f"{PLOTS}/{name}", "w") as file:
            file.write(svg.bars(title, list(numbers), names, numbers))
        drawn.append((words, name))
    return drawn


def write(path):
    with open(path) as file:
        result = Result(json.load(file))
    with open(PAGE) as file:
        document = file.read()
    if document.count(BEGIN) != 1 or document.count(END) != 1 or document.index(BEGIN) > document.index(END):
        sys.exit(f"{PAGE} has not exactly one place between\n{BEGIN}\n{END}")
    before, rest = document.split(BEGIN)
    after = rest.split(END)[1]
    with open(PAGE, "w") as file:
        file.write(f"{before}{BEGIN}\n\n{page(result, draw(result))}\n\n{END}{after}")
    print(f"{path} -> {PAGE}, {PLOTS}/peers-*.svg")


def main():
    words = sys.argv[1:]
    if len(words) > 1 or any(word.startswith("-") for word in words):
        print(__doc__, file=sys.stderr)
        return 2
    newest = sorted(glob.glob("bench-results/peers-*.json"))
    if not words and not newest:
        sys.exit("no bench-results/peers-*.json: run scripts/bench peers first")
    write(words[0] if words else newest[-1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
