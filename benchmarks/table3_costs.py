"""Seconds and memory of each system of Table 3 on a rendered corpus of the shape of LITIS Rouen, projected to the real one.

    python -m benchmarks.table3_costs --in FOLDER [--per-scene 5 16] [--epochs 6] [--systems hog ...] [--json FILE]

LITIS: 19 scenes, 3,026 recordings of 30 s at 22,050 Hz, 20 splits of 80:20. The rendered corpora have its scenes' number,
length, rate and shares, and --per-scene recordings of each scene. Each system is one `soundscene experiment --recipe small`
of one split in a process of its own, on one thread. What is in FOLDER or in FILE already is not run again.

Networks run --epochs of the recipe's 30 epochs, and the seconds of an epoch are multiplied; of 1D+2D+3D CNNs those of the
branches, because their fusion has a number of its own. So are the seconds of the predictions of the test part that
`experiment` makes after each epoch, which draw the curves of its report and nothing else: what is projected is that
program, curves included. From the two sizes follows how a system's seconds grow, as a power of the number of recordings, at
least 1 (where they grow more slowly, the start is what was measured). Memory is the peak of the process and all that it
started together, shared pages once, looked at twice a second; its growth is taken as linear.
"""

import argparse
import csv
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from math import log
from pathlib import Path
from typing import IO

from soundscene.experiment.plan import Plan
from soundscene.experiment.results import RunFolder, SplitResult
from soundscene.recipe import Recipe
from soundscene.render.corpus import render_corpus
from soundscene.report.costs import trains_several
from soundscene.systems.catalogue import TABLE3

N_SCENES, N_RECORDINGS, N_SPLITS, TRAIN = 19, 3026, 20, 0.8  # of LITIS Rouen
SECONDS = 30.0
NIGHT_H, CORES = 10, 2


@dataclass(frozen=True)
class Cost:
    """One training of one system and its test.

    Attributes:
        system: Its name.
        n: Recordings of the corpus, of both parts.
        epoch_s: Seconds of one epoch, 0 without epochs.
        n_epochs: Epochs of the whole recipe.
        watch_s: Seconds of the predictions of the test part after the epochs of the whole recipe.
        fixed_s: Seconds of the training beside both.
        predict_s: Seconds of the test part's prediction.
        rest_s: Seconds of the process beside these: its start, and the features, where they were not stored yet.
        peak_mib: Largest memory of the process and those it started together, shared pages once.
    """

    system: str
    n: int
    epoch_s: float
    n_epochs: int
    watch_s: float
    fixed_s: float
    predict_s: float
    rest_s: float
    peak_mib: float


def main() -> None:
    """Measure what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--in", type=Path, required=True, dest="folder")
    parser.add_argument("--per-scene", type=int, nargs=2, default=[5, 16])
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--systems", nargs="+", default=list(TABLE3))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    known = read_costs(options.json) if options.json and options.json.exists() else {}
    for per_scene in options.per_scene:
        for system in options.systems:
            if (system, N_SCENES * per_scene) in known:
                continue
            manifest = litis_shaped(options.folder / f"corpus-{per_scene}", per_scene)
            cost = measured(manifest, options.folder / f"run-{per_scene}", system, options.epochs)
            print(cost, file=sys.stderr, flush=True)
            known[cost.system, cost.n] = cost
            if options.json:
                kept = [asdict(known[key]) for key in sorted(known)]
                options.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    small, large = (N_SCENES * per_scene for per_scene in options.per_scene)
    both = {system: (known[system, small], known.get((system, large))) for system in TABLE3 if (system, small) in known}
    print("\n".join(table(both)))
    print(f"\n{platform.system()} {platform.machine()}, {os.cpu_count()} cores, one thread a training.")
    print("Training is without, hours are with the predictions of the test part after each epoch, which draw curves.")


def read_costs(file: Path) -> dict[tuple[str, int], Cost]:
    """Read what an earlier run measured, by system and number of recordings.

    Rows without `watch_s`, which had those seconds among the fixed ones, are left out: the run folder has what they are
    made of.
    """
    costs = [Cost(**row) for row in json.loads(file.read_text(encoding="utf-8")) if "watch_s" in row]
    return {(cost.system, cost.n): cost for cost in costs}


def litis_shaped(folder: Path, per_scene: int) -> Path:
    """Render a corpus, if it is not there, and return its manifest: 19 scenes, column split01 with a fifth for the test."""
    manifest = folder / "manifest.csv"
    if manifest.exists():
        return manifest
    rows: list[tuple[str, str, str, str]] = []
    for seed, suffix in ((0, ""), (1, "-b")):
        part = folder / f"seed{seed}"
        render_corpus(part, per_scene, SECONDS, seed)
        for path in sorted(part.glob("*/*.wav")):
            number = int(path.stem.rpartition("_")[2])
            scene, group = path.parent.name + suffix, path.stem + suffix
            rows.append((str(path.relative_to(folder)), scene, group, "train" if number < TRAIN * per_scene else "test"))
    scenes = sorted({row[1] for row in rows})[:N_SCENES]
    with manifest.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "scene", "group", "split01"))
        writer.writerows(row for row in rows if row[1] in scenes)
    return manifest


def measured(manifest: Path, folder: Path, system: str, epochs: int) -> Cost:
    """Run one system, or read what an earlier run left.

    Raises:
        RuntimeError: The run failed.
    """
    record = folder / f"{system}.json"
    run = folder / system
    if not record.exists():
        run.mkdir(parents=True, exist_ok=True)
        store = folder / "store"
        store.mkdir(exist_ok=True)
        if not (run / "store").exists():
            (run / "store").symlink_to(store.resolve(), target_is_directory=True)
        command = [
            sys.executable, "-m", "soundscene", "experiment", str(manifest), "--splits", "columns=split01",
            "--recipe", "small", "--set", f"training.epochs={epochs}", "--systems", system, "--out", str(run),
            "--workers", "1", "--threads", "1", "--device", "cpu",
        ]  # fmt: skip
        started = time.perf_counter()
        with (folder / f"{system}.log").open("w", encoding="utf-8") as log:
            code, peak_mib = watched(command, log)
        wall_s = time.perf_counter() - started
        if code:
            raise RuntimeError(f"{system}: see {log.name}")
        record.write_text(json.dumps({"wall_s": wall_s, "peak_mib": peak_mib}), encoding="utf-8")
    kept = json.loads(record.read_text(encoding="utf-8"))
    place = RunFolder(run)
    (result,), _ = place.read_results(Plan.read(run))
    return _cost(result, kept["wall_s"], kept["peak_mib"], epochs)


def watched(command: Sequence[str], log: IO[str] | None = None) -> tuple[int, float]:
    """Run a command; return its exit code, and the peak in MiB of what it and all that it started hold together.

    What the system reports of a process that has ended (`ru_maxrss`) is the largest one alone, without those that nobody
    waited for, such as a training in a process of its own.
    """
    process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    peak_kib = 0
    try:
        while True:
            peak_kib = max(peak_kib, sum(map(_pss_kib, _session(process.pid))))
            try:
                return process.wait(timeout=0.5), peak_kib / 1024
            except subprocess.TimeoutExpired:
                continue
    finally:
        if process.returncode is None:  # Ctrl-C, which a session of its own does not get
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def _session(leader: int) -> list[Path]:
    """Processes in the session of a process, by their folders in /proc."""
    found = []
    for folder in Path("/proc").iterdir():
        with suppress(OSError):  # it ended meanwhile
            if folder.name.isdigit() and int((folder / "stat").read_text().rpartition(")")[2].split()[3]) == leader:
                found.append(folder)
    return found


def _pss_kib(folder: Path) -> int:
    """Memory of a process, each shared page divided by the number of those that share it; 0 if it has ended."""
    with suppress(OSError, StopIteration):
        lines = (folder / "smaps_rollup").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("Pss:")).split()[1])
    return 0


def _cost(result: SplitResult, wall_s: float, peak_mib: float, epochs: int) -> Cost:
    facts, n = result.facts, len(result.history)
    seconds, predict_s, in_epochs = facts["seconds"], facts["predict_seconds"], facts["epoch_seconds"]
    more = Recipe.small().training.epochs / epochs
    # Some systems have a number of epochs of their own, as the last of several networks has.
    last_more = more if n == epochs and not trains_several(result.system) else 1.0
    beside_s = max(0.0, seconds - in_epochs)
    watched_s = min(beside_s, facts.get("watch_seconds", n * predict_s))  # results before that fact
    fixed_s, earlier_s, n_earlier = beside_s - watched_s, 0.0, 0
    if trains_several(result.system):
        if "epochs" in facts:
            last_s = sum(row["seconds"] for row in result.history)
            n_earlier, earlier_s, in_epochs = facts["epochs"] - n, in_epochs - last_s, last_s
        else:  # results before that fact have the epochs of the branches among the fixed seconds
            fixed_s, earlier_s = 0.0, fixed_s
    first_s = min(watched_s, predict_s)  # what does not change from epoch to epoch may be computed in the first only
    watch_s = first_s + (watched_s - first_s) * (n * last_more - 1) / max(1, n - 1)
    n_epochs = round(n_earlier * more + n * last_more)
    return Cost(
        system=result.system,
        n=facts["training_recordings"] + len(result.recordings),
        epoch_s=(earlier_s * more + in_epochs * last_more) / n_epochs if n_epochs else 0.0,
        n_epochs=n_epochs,
        watch_s=watch_s,
        fixed_s=fixed_s,
        predict_s=predict_s,
        rest_s=wall_s - seconds - predict_s,
        peak_mib=peak_mib,
    )


def projected(small: Cost, large: Cost) -> tuple[float, float, float]:
    """Return hours of one split at the size of LITIS, the power of growth, and the peak in GiB.

    A split is a training, the predictions of the test part after its epochs, and the one at its end.

    Args:
        small: At the smaller corpus.
        large: At the larger one.
    """
    size, up = large.n / small.n, N_RECORDINGS / large.n
    powers, hours = [], 0.0
    for before, after in (
        (small.n_epochs * small.epoch_s, large.n_epochs * large.epoch_s),
        (small.watch_s, large.watch_s),
        (small.fixed_s, large.fixed_s),
        (small.predict_s, large.predict_s),
    ):
        power = max(1.0, growth(before, after, size))
        powers.append((after, power))
        hours += after * up**power / 3600
    memory = large.peak_mib + max(0.0, large.peak_mib - small.peak_mib) / (large.n - small.n) * (N_RECORDINGS - large.n)
    return hours, max(powers)[1], memory / 1024


def growth(before: float, after: float, size: float) -> float:
    """Return the power of the size that seconds grow with; 1 where they are too short to tell."""
    return log(after / before) / log(size) if min(before, after) > 0.5 else 1.0


def table(costs: Mapping[str, tuple[Cost, Cost | None]]) -> list[str]:
    """Return the lines of the table; what was measured at one size only is not projected."""
    n = next((large.n for _, large in costs.values() if large), 0)
    lines = [
        f"| system | training, s at n = {next(iter(costs.values()))[0].n} | at n = {n} | "
        "prediction, ms a recording | peak, MiB | grows as n to the | LITIS, one split: hours | memory, GiB | "
        f"20 splits, {CORES} cores | where |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for system, (small, large) in costs.items():
        if large is None:
            lines.append(
                f"| {system} | {small.n_epochs * small.epoch_s + small.fixed_s:.0f} | - | - | - | - | - | - | - | - |"
            )
            continue
        hours, power, memory = projected(small, large)
        whole = [cost.n_epochs * cost.epoch_s + cost.fixed_s for cost in (small, large)]
        all_h = N_SPLITS * hours / CORES
        where = "overnight" if all_h <= NIGHT_H else "a weekend" if all_h <= 6 * NIGHT_H else "a cluster"
        n_test = large.n * (1 - TRAIN)
        lines.append(
            f"| {system} | {whole[0]:.0f} | {whole[1]:.0f} | {1000 * large.predict_s / n_test:.1f} | {large.peak_mib:.0f} | "
            f"{power:.2f} | {hours:.2f} | {memory:.1f} | {all_h:.1f} h | {where} |"
        )
    return lines


if __name__ == "__main__":
    main()
