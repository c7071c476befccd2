"""Kill an experiment at random moments, let it finish, and compare everything with an undisturbed run.

    python benchmarks/kill.py MANIFEST --reference RUN --out RUN2 [--kills 10] [--seed 0] -- [options of soundscene
    experiment]

RUN is made by the same command without kills if it is not there yet. A kill is SIGKILL to the run's own process; the
processes that it had started must end by themselves. Compared are all arrays of all results, histories but for seconds,
the tensors of all models, all bit for bit, and the CSV tables of both reports but for those that hold seconds.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from soundscene.experiment.plan import Plan
from soundscene.experiment.results import ARRAYS, POSTERIORS, RunFolder, SplitResult

TIMES = ("seconds",)  # of a history's row: the only thing that may differ
TIMED = ("cost.csv", "history.csv")  # tables with seconds in them; histories are compared by themselves


@dataclass(frozen=True)
class Killed:
    """What a kill met: seconds after the process began to work, finished results, tasks half-trained, recordings stored.

    session: of the process and all that it had started.
    """

    after_s: float
    n_results: int
    n_half: int
    stored: int
    session: int


def main() -> None:
    own, _, options = " ".join(sys.argv[1:]).partition(" -- ")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=float, help="latest moment of a kill, seconds; default: time of the reference / 5")
    arguments = parser.parse_args(own.split())
    words = options.split()
    started = time.perf_counter()
    run(arguments.manifest, arguments.reference, words)
    undisturbed = time.perf_counter() - started
    print(f"undisturbed: {undisturbed:.0f} s (0 or so if it was there already)")
    longest = arguments.longest or undisturbed / 5
    kills = kill_often(arguments.manifest, arguments.out, words, arguments.kills, longest, arguments.seed)
    print("| kill | after s | results there | half-trained | recordings stored |\n|---|---|---|---|---|")
    for number, k in enumerate(kills, 1):
        print(f"| {number} | {k.after_s:.1f} | {k.n_results} | {k.n_half} | {k.stored} |")
    run(arguments.manifest, arguments.out, words)
    found = differences(arguments.reference, arguments.out)
    found += unlike_models(arguments.reference, arguments.out) + unlike_tables(arguments.reference, arguments.out)
    print("\n".join(found) if found else "all results, histories, models and tables are the same")
    left = orphans([k.session for k in kills])
    print("\n".join(left) if left else "no process is left of the killed runs")
    found += left
    sys.exit(1 if found else 0)


def run(manifest: Path, out: Path, options: Sequence[str]) -> None:
    """`soundscene experiment`, to its end."""
    subprocess.run(command(manifest, out, options), check=True, stdout=subprocess.DEVNULL)


def command(manifest: Path, out: Path, options: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "soundscene", "experiment", str(manifest), "--out", str(out), *options]


def kill_often(manifest: Path, out: Path, options: Sequence[str], n: int, longest_s: float, seed: int) -> list[Killed]:
    """Start the run n times and kill it each time, at a moment drawn uniformly after its folder has begun to change."""
    draws, quiet = np.random.default_rng(seed), subprocess.DEVNULL
    kills = []
    for _ in range(n):
        before = _look(out)
        process = subprocess.Popen(command(manifest, out, options), stdout=quiet, stderr=quiet, start_new_session=True)
        while process.poll() is None and _look(out) == before:  # still importing
            time.sleep(0.02)
        after = float(draws.uniform(0, longest_s))
        ends = time.perf_counter() + after
        while process.poll() is None and time.perf_counter() < ends:
            time.sleep(0.02)
        if process.poll() is not None:
            break  # nothing is left to kill
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills.append(Killed(after, *_look(out), process.pid))
    return kills


def _look(out: Path) -> tuple[int, int, int]:
    """Results, half-trained tasks, recordings in the stores."""
    journals = out.glob("store/*/journal.jsonl")
    return (
        len(list(out.glob("results/*.safetensors"))),
        len(list(out.glob("work/*/checkpoint.safetensors"))),
        sum(journal.read_bytes().count(b"\n") for journal in journals),
    )


def differences(one: Path, other: Path) -> list[str]:
    """What differs between two runs, one line each; nothing if they are the same."""
    plans = Plan.read(one), Plan.read(other)
    found = [
        f"plan: {name}" for name in ("splits", "systems", "seeds", "recipe") if _of(plans[0], name) != _of(plans[1], name)
    ]
    results, missing = RunFolder(one).read_results(plans[0])
    again, missing_again = RunFolder(other).read_results(plans[1])
    found += [f"{path}: {task.name} has no result" for path, m in ((one, missing), (other, missing_again)) for task in m]
    for first, second in zip(results, again, strict=False):
        found += [f"{first.system}, {first.split}: {what}" for what in unlike(first, second)]
    return found


def unlike(one: SplitResult, other: SplitResult) -> list[str]:
    """Fields in which two results differ."""
    found = [name for name in ARRAYS if not np.array_equal(getattr(one, name), getattr(other, name))]
    for head, posteriors in one.heads.items():
        found += [
            f"{head} {name}"
            for name in POSTERIORS
            if not np.array_equal(getattr(posteriors, name), getattr(other.heads[head], name))
        ]
    rows = [[{k: v for k, v in row.items() if k not in TIMES} for row in result.history] for result in (one, other)]
    plain = ("system", "split", "seed", "scenes", "recordings", "groups", "held_recordings", "epoch", "notes")
    found += [name for name in plain if getattr(one, name) != getattr(other, name)]
    return found + (["history"] if rows[0] != rows[1] else [])


def unlike_models(one: Path, other: Path) -> list[str]:
    """Models that are missing on one side, or differ in a tensor."""
    names = {path.name for run in (one, other) for path in (run / "models").glob("*.safetensors")}
    found = [] if names else ["models: there are none to compare"]
    for name in sorted(names):
        paths = one / "models" / name, other / "models" / name
        if not all(path.exists() for path in paths):
            found.append(f"models/{name}: only in one run")
            continue
        first, second = (load_file(path) for path in paths)
        if first.keys() != second.keys() or any(not np.array_equal(first[key], second[key]) for key in first):
            found.append(f"models/{name}: differ")
    return found


def unlike_tables(one: Path, other: Path) -> list[str]:
    """Tables of the report that differ."""
    with tempfile.TemporaryDirectory() as folder:
        outs = [Path(folder) / str(i) for i in range(2)]
        for path, out in zip((one, other), outs, strict=True):
            words = [sys.executable, "-m", "soundscene", "report", str(path), "--out", str(out)]
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        tables = [{f.name: f.read_text() for f in out.glob("csv/*.csv") if f.name not in TIMED} for out in outs]
    return [
        f"table {name}" for name in sorted(tables[0].keys() | tables[1].keys()) if tables[0].get(name) != tables[1].get(name)
    ]


def _of(plan: Plan, name: str) -> object:
    return getattr(plan, name)


def orphans(sessions: Sequence[int]) -> list[str]:
    """What still runs in sessions whose first process was killed."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) in sessions and fields[0] != "Z":
                    found.append((entry / "cmdline").read_text().replace("\0", " "))
            except (OSError, IndexError):
                continue  # it has just ended
    return found


if __name__ == "__main__":
    main()
