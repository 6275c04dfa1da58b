"""Whole processes side by side: wall and processor time and peak memory, medians over rounds.

Within a round each program of a case runs once, one after the other, so that what slows the machine slows all of them.
Only the standard library is imported: a child's peak memory never counts as less than what its parent held when it
started it.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass
class Sample:
    """What one program has cost."""

    wall: float
    user: float
    system: float
    # Of the process itself; of all processes, by the order in which they began.
    peak_mb: float
    processes: list[tuple[str, float]]


@dataclass
class Program:
    """One way to do the work of a case."""

    name: str
    command: list[str]
    prepare: Callable[[], None] = lambda: None
    # Rows that the run has left, or None where there is nothing to count.
    count: Callable[[], int | None] = lambda: None
    skip: str = ""
    once: bool = False
    environment: dict[str, str] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)


class Processes(threading.Thread):
    """Looks at a process and all below it, and keeps the greatest size that each has had."""

    def __init__(self, root: int) -> None:
        super().__init__(daemon=True)
        self.root, self.ended, self.seen = root, threading.Event(), dict[int, tuple[str, float]]()

    def run(self) -> None:
        while not self.ended.wait(0.02):
            waiting = [self.root]
            while waiting:
                pid = waiting.pop()
                waiting += self.look(pid)

    def look(self, pid: int) -> list[int]:
        """Notes a process, and gives those that it has started."""
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            known = dict(line.split(":", 1) for line in lines)
            if "VmHWM" in known:
                self.seen[pid] = known["Name"].strip(), int(known["VmHWM"].split()[0]) / 1024
            tasks = list(Path(f"/proc/{pid}/task").glob("*/children"))
            return [int(child) for task in tasks for child in task.read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            return []

    def end(self) -> list[tuple[str, float]]:
        self.ended.set()
        self.join()
        return [self.seen[pid] for pid in sorted(self.seen)]


def measure(program: Program, directory: Path, log: Path) -> tuple[Sample, int]:
    """Runs a program; what it prints goes to `log`."""
    with log.open("wb") as output:
        start = time.monotonic()
        process = subprocess.Popen(
            program.command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **program.environment},
            cwd=directory,
        )
        watch = Processes(process.pid)
        watch.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    sample = Sample(wall, usage.ru_utime, usage.ru_stime, usage.ru_maxrss / 1024, watch.end())
    return sample, process.returncode


def race(programs: list[Program], runs: int, run: Callable[[Program], str]) -> None:
    """All rounds of a case; `run` says why a program is out of it, or nothing."""
    for number in range(runs):
        for program in programs:
            if program.skip or (program.once and program.samples):
                continue
            print(f"  run {number + 1} of {runs}: {program.name}", file=sys.stderr)
            program.skip = run(program)


def median(program: Program, of: Callable[[Sample], float]) -> float:
    return statistics.median(of(sample) for sample in program.samples)


def table(title: str, programs: list[Program], whole: bool = False) -> str:
    """The medians as a Markdown table; with `whole`, memory is that of all processes, and what is beyond the first is told."""
    base = median(programs[0], lambda s: s.wall) if programs[0].samples else None
    names = ["program", "wall s", "user s", "system s", "peak MB", "wall, times the first"]
    names += ["beyond the first, s", "processes, MB"] if whole else []
    lines = [f"\n### {title}\n", f"| {' | '.join(names)} |", f"|---|{'--:|' * (len(names) - 1)}"]
    for program in programs:
        if program.skip or not program.samples:
            lines.append(f"| {program.name} | skipped: {program.skip} |{' |' * (len(names) - 2)}")
            continue
        wall = median(program, lambda s: s.wall)
        peak = median(program, (lambda s: sum(mb for _, mb in s.processes)) if whole else (lambda s: s.peak_mb))
        cells = [program.name, f"{wall:.2f}", f"{median(program, lambda s: s.user):.2f}"]
        cells += [f"{median(program, lambda s: s.system):.2f}", f"{peak:.0f}", f"{wall / base:.2f}" if base else ""]
        if whole:
            each = [f"{name} {mb:.0f}" for name, mb in program.samples[-1].processes]
            cells += [f"{wall - base:.2f}" if base else "", " + ".join(each)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def figures(programs: list[Program]) -> list[dict[str, object]]:
    """Those of every run."""
    return [{"program": p.name, "skipped": p.skip, "samples": [asdict(s) for s in p.samples]} for p in programs]


def publish(tables: list[str], report: dict[str, object], path: Path) -> None:
    """Prints the tables, and writes the figures of every run."""
    print("\n".join(tables))
    path.write_text(json.dumps(report, indent=2) + "\n")
    print(f"\nfigures of every run: {path}", file=sys.stderr)
