"""Kill, terminate and fill the disk of commands at drawn moments, rerun them until done, and compare with undisturbed runs.

    python -m benchmarks.survive kills|terminations|full-disks [--n N] [--seed S] [--only COMMAND] [--json FILE]

The commands are `predict --out` (csv, jsonl, parquet), `train`, `experiment`, and `experiment` while it fills its feature
store, on rendered sound with tiny recipes. Each round has a fresh folder, in which a command is disturbed one to five
times, then rerun to its end. A kill is SIGKILL, a termination SIGTERM, SIGHUP or SIGINT, to the process of the command or
to its whole group. The moment is drawn between the first thing that it writes and its end, one in eight while it starts. A
full disk is a tmpfs of a drawn number of pages, which needs root; elsewhere it is RLIMIT_FSIZE, below which each file
stays. A process is forked from one that has only imported soundscene; those that are struck at their start begin anew.

A round is at fault where a file under its final name is not whole, what was finished on the disk (shards, epochs, results,
recordings) is lost or computed again, the end differs from that of the undisturbed run (rows, tensors, results, stored
values), anything is left behind (unfinished files, a lock with a holder, processes), an exit code is not the documented one,
or a traceback or more than the documented line is printed.
"""

import argparse
import json
import math
import os
import platform
import re
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from benchmarks.kill import orphans
from benchmarks.survive_commands import Command, Kept, broken, commands, litter
from benchmarks.survive_disks import AMPLE, can_mount, disk, pages_of, resize, temporary_folder
from benchmarks.survive_process import Ended, Forker, Process, forker, holder

Event = Literal["kills", "terminations", "full-disks"]
EVENTS: dict[str, tuple[signal.Signals, ...]] = {
    "kills": (signal.SIGKILL,),
    "terminations": (signal.SIGTERM, signal.SIGHUP, signal.SIGINT),
}
INTERRUPTED = "soundscene: Interrupted. Rerun the same command to resume."
N = {"kills": 100, "terminations": 50, "full-disks": 20}
MOST = 5  # disturbances of a round
ORPHAN_S = 30.0  # for processes of a killed run to end
START_S = 3.0  # in which a process starts


@dataclass
class Row:
    """A line of the table: a command, and what came of its disturbances.

    Attributes:
        command: Name.
        n: Disturbances that met a running process, or a full disk.
        rounds: Folders, each rerun to its end.
        equal: Rounds whose end is that of the undisturbed run.
        finished: Shards, epochs, results or recordings that were on the disk when a disturbance came.
        lost: How many of them were lost or computed again.
        litter: Files and processes that were left.
        seconds: Whole time.
        faults: All of them in words, those of output and exit codes too.
    """

    command: str
    n: int = 0
    rounds: int = 0
    equal: int = 0
    finished: int = 0
    lost: int = 0
    litter: int = 0
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Reference:
    """An undisturbed run: its folder, and seconds from the moment that it had its lock to the end of its work."""

    out: Path
    work_s: float


def main() -> int:
    """Run the rounds of one event, and print a table; the exit status is 1 where anything is at fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("event", choices=N)
    parser.add_argument("--n", type=int, help="disturbances in all; default 100, 50 or 20")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", metavar="COMMAND", help="one command of the table")
    parser.add_argument("--minutes", type=float, default=math.inf, help="no round begins after them")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    how = f"; {'tmpfs' if can_mount() else 'RLIMIT_FSIZE'}" if given.event == "full-disks" else ""
    print(f"{platform.machine()}, {os.cpu_count()} cores; seed {given.seed}{how}", flush=True)
    rows = survive(given.event, given.n or N[given.event], given.seed, given.only, given.minutes)
    print(*table(given.event, rows), sep="\n")
    if given.json:
        given.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    return int(any(row.faults for row in rows))


def survive(event: Event, n: int, seed: int, only: str | None = None, minutes: float = math.inf) -> list[Row]:
    """Disturb all commands in turn, until there were enough disturbances.

    Args:
        event: What disturbs.
        n: Disturbances in all.
        seed: Of all that is drawn.
        only: Name of the one command to disturb.
        minutes: No round begins after them.
    """
    draws = np.random.default_rng(seed)
    with temporary_folder() as work, forker() as forks:
        chosen = [command for command in commands(work / "input") if only in (None, command.name)]
        rows = {command.name: Row(command.name) for command in chosen}
        references = dict[str, Reference]()
        ends = time.monotonic() + 60 * minutes
        while time.monotonic() < ends and (left := n - sum(row.n for row in rows.values())) > 0:
            command = min(chosen, key=lambda one: (rows[one.name].n, rows[one.name].rounds))
            row, started = rows[command.name], time.monotonic()
            if command.name not in references:
                references[command.name] = undisturbed(forks, command, work / f"undisturbed {len(references)}")
            with disk(work / "disk", event == "full-disks") as folder:
                _Round(forks, command, references[command.name], folder, draws, row).run(event, left)
            row.seconds += time.monotonic() - started
    return list(rows.values())


def table(event: str, rows: list[Row]) -> Iterator[str]:
    """Yield the lines of the table, and all faults."""
    yield "| command | event | n | rounds | equal | finished before | lost | litter | faults | seconds |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    total = Row("all", faults=[fault for row in rows for fault in row.faults])
    for name in _COUNTS:
        setattr(total, name, sum(getattr(row, name) for row in rows))
    for row in (*rows, total):
        counts = " | ".join(str(getattr(row, name)) for name in _COUNTS[:-1])
        yield f"| {row.command} | {event} | {counts} | {len(row.faults)} | {row.seconds:.0f} |"
    for row in rows:
        yield from (f"{row.command}: {fault}" for fault in row.faults)


_HARMLESS = re.compile(r"note: |\d+ of \d+ recordings, |epoch \d+ of \d+: |[a-z ]+: \d+ of \d+")  # progress
_COUNTS = ("n", "rounds", "equal", "finished", "lost", "litter", "seconds")


def undisturbed(forks: Forker, command: Command, out: Path) -> Reference:
    """Run a command to its end.

    Args:
        forks: Starts it.
        command: What to run.
        out: New folder to write to.

    Raises:
        SystemExit: It ended otherwise than it should.
    """
    out.mkdir()
    started = time.monotonic()
    process = Process(forks, command, out, 0)
    process.wait(lambda: holder(out / command.lock) == process.pid)
    begin_s = time.monotonic() - started
    process.wait(lambda: bool(command.ends) and (out / command.ends).exists())
    end_s = time.monotonic() - started
    ended = process.finish()
    if ended.code not in command.codes[0]:
        raise SystemExit(f"{command.name}: undisturbed, it ended with {ended.code}: {ended.err}")
    return Reference(out, end_s - begin_s)


class _Round:
    """A fresh folder in which a command is disturbed some times, then ends."""

    def __init__(
        self, forks: Forker, command: Command, reference: Reference, disk: Path, draws: np.random.Generator, row: Row
    ) -> None:
        self._forks = forks
        self._command, self._reference, self._draws, self._row = command, reference, draws, row
        self._disk, self._out = disk, disk / "out"
        self._out.mkdir()
        self._kept: Kept = {}
        self._sessions: list[int] = []

    def run(self, event: Event, most: int) -> None:
        """Disturb the command up to `most` times, run it to its end, and compare."""
        for _ in range(min(most, int(self._draws.integers(1, MOST + 1)))):
            if event == "full-disks":
                ended = self._fill()
                self._check_refused(ended)
            else:
                number = EVENTS[event][int(self._draws.integers(len(EVENTS[event])))]
                ended = self._strike(number)
                self._check_struck(ended, number)
            over = ended.code in self._command.codes[0]  # before it was disturbed
            self._row.n += not over
            self._take_stock()
            if over:
                break
        if event == "full-disks":
            resize(self._disk, AMPLE)
        if self._command.done and (self._out / self._command.done).exists():
            self._compare()
            return
        ended = Process(self._forks, self._command, self._out, self._draw(2)).finish()
        if ended.code not in self._command.codes[0] or "Traceback" in ended.out + ended.err:
            self._fault(f"rerun, it ended with {ended.code}: {ended.err[-1000:]}")
            return
        self._compare()

    def _draw(self, n: int) -> int:
        return int(self._draws.integers(n))

    def _fault(self, text: str) -> None:
        self._row.faults.append(text)
        print(f"  {self._command.name}: {text}", flush=True)

    def _strike(self, number: signal.Signals) -> Ended:
        """Send a signal to a process, or to its group, at a drawn moment."""
        group, early = self._draw(2) == 1, self._draw(8) == 0
        share = float(self._draws.random())
        process = Process(self._forks, self._command, self._out, self._draw(2), fresh=early)
        self._sessions.append(process.pid)
        if not early:
            process.wait(lambda: holder(self._out / self._command.lock) == process.pid)
        ends = time.monotonic() + share * (START_S if early else self._reference.work_s)
        process.wait(lambda: time.monotonic() >= ends)
        if process.lives():
            (os.killpg if group else os.kill)(process.pid, number)
        return process.finish(early)

    def _fill(self) -> Ended:
        """Run the command on a disk with a drawn number of free pages, or with files of a drawn size at most."""
        size = pages_of(self._reference.out)
        if os.path.ismount(self._disk):
            used = pages_of(self._out)
            resize(self._disk, max(1, used + self._draw(max(1, size - used))))
            return Process(self._forks, self._command, self._out, self._draw(2)).finish()
        largest = max(path.stat().st_size for path in self._reference.out.rglob("*") if path.is_file())
        return Process(self._forks, self._command, self._out, self._draw(2), most_bytes=self._draw(largest)).finish()

    def _check_struck(self, ended: Ended, number: signal.Signals) -> None:
        """What a struck process prints, and its exit code."""
        expected = {-number} if number == signal.SIGKILL else {128 + number}
        if ended.early:
            expected |= {-number}  # before Python runs
        lines = [line for line in ended.err.splitlines() if not _HARMLESS.match(line)]
        if ended.code in self._command.codes[0]:
            return
        allowed = ([INTERRUPTED], []) if ended.early else ([] if number == signal.SIGKILL else [INTERRUPTED],)
        if ended.code not in expected or lines not in allowed or "memory full" in ended.out:
            self._fault(
                f"{number.name}{' early' * ended.early}: ended with {ended.code}: {ended.out[-500:]}{ended.err[-1500:]}"
            )

    def _check_refused(self, ended: Ended) -> None:
        """What a process prints on a full disk, and its exit code."""
        lines = [line for line in ended.err.splitlines() if not _HARMLESS.match(line)]
        if ended.code in self._command.codes[0]:
            return
        one_each = all(line.startswith("soundscene: ") for line in lines) and (ended.code == 3 or len(lines) == 1)
        if ended.code not in self._command.codes[1] or not one_each or "Traceback" in ended.out:
            self._fault(f"full disk: ended with {ended.code}: {ended.out[-500:]}{ended.err[-1500:]}")

    def _take_stock(self) -> None:
        """See what is finished on the disk, and that nothing of it is half-written, or gone since the last time."""
        if faults := broken(self._command, self._out):
            self._fault(faults[0])
            return
        found = self._command.keeps(self._out)
        self._count_lost(found)
        self._row.finished += len(found)
        self._kept = {} if self._command.done and (self._out / self._command.done).exists() else found

    def _count_lost(self, found: Kept) -> None:
        lost = [name for name, value in self._kept.items() if found.get(name) != value]
        self._row.lost += len(lost)
        if lost:
            self._fault(f"lost or computed again: {', '.join(lost[:5])}, {len(lost)} in all")

    def _compare(self) -> None:
        """Compare the end with that of the undisturbed run."""
        faults = broken(self._command, self._out) or self._command.unequal(self._reference.out, self._out)
        self._row.rounds += 1
        self._row.equal += not faults
        for fault in faults[:8]:
            self._fault(fault)
        if not faults:
            self._count_lost(self._command.keeps(self._out))
        ends = time.monotonic() + ORPHAN_S
        while orphans(self._sessions) and time.monotonic() < ends:
            time.sleep(0.2)
        left = litter(self._reference.out, self._out)
        left += [f"process {words[:200]} is left" for words in orphans(self._sessions)]
        self._row.litter += len(left)
        for fault in left[:5]:
            self._fault(fault)


if __name__ == "__main__":
    sys.exit(main())
