"""Speed and memory of `soundscene predict --out` on many short files, and what is left after kills.

    python -m benchmarks.batch MODEL [--files 10000] [--kills 5] [--seed 0] [--workers N] [--json FILE]

The files last 2 to 4 s; 24 are rendered, the others are hard links to them under their own names; one in 200 is broken.
A run is left alone: files/s, and the peak of its resident memory (VmHWM in /proc) when a tenth of the rows was there and at
the end. Then the same command is killed (SIGKILL) at moments drawn uniformly from its share of the time, started again each
time, and left to end; compared are all rows with those of the run left alone, as text.
"""

import argparse
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile

from soundscene.render.corpus import render_recording

RATE_HZ = 22050
DIFFERENT = 24  # rendered recordings
SCENES = ("rain", "office", "night_crickets")
BROKEN_EACH = 200


@dataclass(frozen=True)
class Alone:
    """A run left alone: whole seconds, those of its own summary, files/s by the latter, peaks of memory in MiB, shards."""

    files: int
    seconds: float
    working_s: float
    files_a_second: float
    peak_tenth_mib: float
    peak_end_mib: float
    shards: int


@dataclass(frozen=True)
class Kill:
    """When a run was killed, in seconds after it had its folder, and the rows that were there then."""

    after_s: float
    rows: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_files(folder / "recordings", given.files)
        shard = max(1, given.files // 50)
        command = [sys.executable, "-m", "soundscene", "predict", str(given.model), str(folder / "recordings")]
        command += ["--workers", str(given.workers), "--shard", str(shard), "--out"]
        alone = left_alone([*command, str(folder / "alone")], folder / "alone", given.files, shard)
        print(
            f"{alone.files} files, {given.workers} worker(s): {alone.seconds:.1f} s, {alone.files_a_second:.1f} files/s "
            f"without start-up; peak memory {alone.peak_tenth_mib:.0f} MiB at a tenth, {alone.peak_end_mib:.0f} MiB at the "
            f"end; {alone.shards} shards",
            flush=True,
        )
        kills = kill_often([*command, str(folder / "killed")], folder / "killed", given, alone.working_s)
        faults = differences(folder / "alone", folder / "killed")
    for number, kill in enumerate(kills, 1):
        print(f"kill {number}: after {kill.after_s:.1f} s, {kill.rows} rows there")
    print("; ".join(faults) or f"killed {len(kills)} times: no row twice, none missing, none half, all equal")
    if given.json:
        found = {"alone": asdict(alone), "workers": given.workers, "kills": [asdict(k) for k in kills], "faults": faults}
        given.json.write_text(json.dumps(found, indent=2) + "\n")
    sys.exit(bool(faults) or len(kills) < given.kills)


def write_files(folder: Path, n: int) -> None:
    """Write n short WAV files: `DIFFERENT` rendered ones, links to them, and one in `BROKEN_EACH` that is no sound."""
    folder.mkdir(parents=True)
    for number in range(n):
        path = folder / f"{number:07d}.wav"
        if number % BROKEN_EACH == BROKEN_EACH // 2:
            path.write_text("no sound")
        elif number < DIFFERENT:
            draws = np.random.default_rng(number)
            scene, seconds = SCENES[number % len(SCENES)], 2 + 2 * number / DIFFERENT
            soundfile.write(path, render_recording(scene, seconds, RATE_HZ, draws), RATE_HZ)
        else:
            original = folder / f"{number % DIFFERENT:07d}.wav"
            try:
                path.hardlink_to(original)
            except OSError:  # not on every file system
                shutil.copyfile(original, path)


def left_alone(command: list[str], out: Path, n: int, shard: int) -> Alone:
    """A run to its end, its memory looked at meanwhile."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    tenth = peak = 0.0
    while process.poll() is None:
        peak = max(peak, _peak_mib(process.pid))
        if not tenth and shard * len(list(out.glob("part-*.csv"))) >= n / 10:
            tenth = peak
        time.sleep(0.05)
    seconds = time.perf_counter() - started
    output = process.stderr.read() if process.stderr else ""
    summary = re.search(r"([\d,]+) rows, .* (\d+) shard\(s\), ([\d.]+) s", output)
    if process.returncode not in (0, 3) or summary is None or int(summary[1].replace(",", "")) != n:
        raise SystemExit(f"the run left alone went wrong: {output}")
    working_s = float(summary[3])
    return Alone(n, seconds, working_s, n / working_s, tenth, peak, int(summary[2]))


def _peak_mib(process: int) -> float:
    """Peak resident memory of a process so far."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    except OSError:
        return 0.0
    return int(found[1]) / 1024 if found else 0.0


def kill_often(command: list[str], out: Path, given: argparse.Namespace, working_s: float) -> list[Kill]:
    """Start the run and kill it as often as asked, then let it end; shards have to be whole after each kill."""
    draws, kills = np.random.default_rng(given.seed), list[Kill]()
    for _ in range(given.kills):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        _wait(process, lambda process=process: _holder(out) == process.pid)
        after_s = float(draws.uniform(0, working_s / max(given.kills, 1)))
        ends = time.monotonic() + after_s
        _wait(process, lambda ends=ends: time.monotonic() >= ends)
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills.append(Kill(after_s, len(read_rows(out)[0])))
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode not in (0, 3):
        raise SystemExit(f"the run did not go on: {done.stderr}")
    return kills


def _wait(process: "subprocess.Popen[bytes]", until: Callable[[], bool]) -> None:
    while process.poll() is None and not until():
        time.sleep(0.01)


def _holder(out: Path) -> int | None:
    """The process that has a folder's lock."""
    try:
        return json.loads((out / "lock").read_text())["pid"]
    except (OSError, ValueError):
        return None


def read_rows(out: Path) -> tuple[dict[str, list[str]], list[str]]:
    """Rows of all shards by path, and what is wrong with them: paths with two rows, rows that are not whole."""
    rows, faults = dict[str, list[str]](), list[str]()
    for path in sorted(out.glob("part-*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file, strict=True)
            width = len(next(reader, []))
            for cells in reader:
                if not width or len(cells) != width:
                    faults.append(f"{path.name}, line {reader.line_num}: not a whole row")
                if cells[0] in rows:
                    faults.append(f"{path.name}: {cells[0]} has two rows")
                rows[cells[0]] = cells
    return rows, faults


def differences(alone: Path, killed: Path) -> list[str]:
    """What differs between the rows of two folders; nothing if all are the same."""
    (expected, faults), (found, more) = read_rows(alone), read_rows(killed)
    faults += more
    faults += [f"{path}: row missing" for path in expected.keys() - found.keys()]
    faults += [f"{path}: row of no file" for path in found.keys() - expected.keys()]
    faults += [f"{path}: another row" for path in expected.keys() & found.keys() if expected[path] != found[path]]
    faults += [f"{path.name} is left" for path in killed.iterdir() if path.suffix == ".tmp" or path.name == "lock"]
    return sorted(faults)[:20]


if __name__ == "__main__":
    main()
