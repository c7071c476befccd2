"""Time and memory of predicting many recordings, each count in a process of its own, and what a second core brings.

    python benchmarks/scale.py [--counts 1 10 100 1000] [--workers 1 2] [--ratio-at 200] [--recipes default small]
                               [--seconds 30] [--json FILE] [--plot FILE.svg]

The recordings are a few rendered ones (FLAC, stereo, 44.1 kHz) under many names; the models were never trained, which
costs a prediction nothing. Seconds are those of the whole process, start and loading included. Run it on a machine that
does nothing else: the column "others" says how many cores were busy with something else meanwhile.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from soundscene.bundle import save_model
from soundscene.predictor import load
from soundscene.recipe import Recipe

DIFFERENT = 8  # recordings; the others are the same under other names
RECIPES = {"default": Recipe(), "small": Recipe.small()}
LINEAR = 0.1  # largest distance from the line, as a share of the time, up to which time counts as linear
RATIO_TARGET, MEMORY_TARGET_MIB = 1.8, 1024
WARM_UP = 2  # recordings, before the first measured process


@dataclass(frozen=True)
class Run:
    """One process: its recordings and threads, seconds in all and in predicting, peak resident memory in MiB.

    others: cores that were busy with something else, on average; None where the system has no /proc.
    """

    recipe: str
    recordings: int
    workers: int
    seconds: float
    predicting_s: float
    peak_mib: float
    others: float | None


@dataclass(frozen=True)
class Line:
    """seconds = start_s + each_s * recordings, and the largest distance from it as a share of the time."""

    start_s: float
    each_s: float
    off: float


def main() -> None:
    if sys.argv[1:2] == ["--one"]:  # what each process runs
        print(json.dumps(_predict(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 10, 100, 1000])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--ratio-at", type=int, default=200, help="recordings by which workers are compared (0: do not)")
    parser.add_argument("--recipes", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument("--seconds", type=float, default=30.0, help="of each recording")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    machine = facts()
    print("; ".join(f"{name} {value}" for name, value in machine.items()), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        runs, compared = _measure(arguments, Path(folder))
    print()
    lines = {f"{recipe}, {n} worker(s)": fit(part) for (recipe, n), part in series(runs).items() if len(part) > 2}
    for name, line in lines.items():
        linear = "linear" if line.off < LINEAR else "not linear"
        print(f"{name}: {line.start_s:.2f} s + {line.each_s:.4f} s a recording, {linear} (off by {line.off:.0%} at most)")
    ratios = _print_ratios(compared)
    if arguments.json:
        document = {
            "machine": machine,
            "seconds_of_a_recording": arguments.seconds,
            "runs": [asdict(run) for run in [*runs, *compared]],
            "lines": {name: asdict(line) for name, line in lines.items()},
            "ratios": ratios,
        }
        arguments.json.write_text(json.dumps(document, indent=2) + "\n")
    if arguments.plot:
        draw(runs, arguments.seconds, arguments.plot)


def facts() -> dict[str, Any]:
    """What the figures depend on."""
    try:
        names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    except OSError:
        names = []
    found: dict[str, Any] = {
        "processor": names[0].partition(":")[2].strip() if names else platform.machine(),
        "cores": os.cpu_count(),
        "Python": platform.python_version(),
    }
    return found | {name: version(name) for name in ("soundscene", "torch", "numpy", "scipy", "soundfile")}


# --- runs -------------------------------------------------------------------------------------------------------------


def _measure(arguments: argparse.Namespace, folder: Path) -> tuple[list[Run], list[Run]]:
    """The runs of every count, and those by which workers are compared, printed as they come."""
    from benchmarks.speed_network import random_bundle  # not above: the measured processes import this file too

    recordings = folder / "recordings"
    _write(recordings, max(*arguments.counts, arguments.ratio_at, WARM_UP), arguments.seconds)
    print(f"\nrecordings of {arguments.seconds:g} s, {_mib(recordings):.0f} MiB\n")
    print("| recipe | recordings | workers | seconds | of it predicting | recordings/s | peak MiB | others, cores |")
    print("|---|---|---|---|---|---|---|---|")
    runs: list[Run] = []
    compared: list[Run] = []
    for recipe in arguments.recipes:
        model = folder / f"{recipe}.safetensors"
        save_model(random_bundle(RECIPES[recipe]), model)
        _process(recipe, model, recordings, WARM_UP, 1)  # reads from the disk and compiles, once an installation
        for n in sorted(arguments.counts):
            runs += [_print(_process(recipe, model, recordings, n, workers)) for workers in arguments.workers]
        if arguments.ratio_at:
            at = arguments.ratio_at
            compared += [_print(_process(recipe, model, recordings, at, workers)) for workers in (1, 2)]
    return runs, compared


def _write(folder: Path, n: int, seconds: float) -> None:
    from benchmarks.speed_sound import write_flac

    folder.mkdir()
    for number in range(n):
        path, original = folder / f"{number:06d}.flac", folder / f"{number % DIFFERENT:06d}.flac"
        if number < DIFFERENT:
            write_flac(path, seconds, number)
            continue
        try:
            path.hardlink_to(original)
        except OSError:  # not on every file system
            shutil.copyfile(original, path)


def _mib(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.iterdir()) / 2**20


def _process(recipe: str, model: Path, folder: Path, n: int, workers: int) -> Run:
    command = [sys.executable, __file__, "--one", str(model), str(folder), str(n), str(workers)]
    others, started = _busy(), time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    seconds, others = time.perf_counter() - started, _busy() - others
    found = json.loads(done.stdout)
    cores = max(0.0, (others - found["processor_s"]) / seconds)
    return Run(
        recipe, n, workers, seconds, found["predicting_s"], found["peak_mib"], cores if Path("/proc/stat").exists() else None
    )


def _busy() -> float:
    """Seconds of processor that all cores together have worked."""
    try:
        ticks = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    except OSError:
        return 0.0
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def _predict(model: Path, folder: Path, n: int, workers: int) -> dict[str, float]:
    """What a process measures of itself; its predictions are not kept, as by `soundscene predict --format csv`."""
    predictor = load(model)
    started = time.perf_counter()
    for path, prediction in predictor.predict_each((folder / f"{number:06d}.flac" for number in range(n)), workers):
        if isinstance(prediction, Exception):
            raise SystemExit(f"{path}: {prediction}")
    predicting_s = time.perf_counter() - started
    return {"predicting_s": predicting_s, "peak_mib": _peak_mib(), "processor_s": time.process_time()}


def _peak_mib() -> float:
    """Most memory that this process ever held. On Linux from /proc: the system's other figure counts the parent's too."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def _print(run: Run) -> Run:
    others = "?" if run.others is None else f"{run.others:.2f}"
    print(
        f"| {run.recipe} | {run.recordings} | {run.workers} | {run.seconds:.2f} | {run.predicting_s:.2f} "
        f"| {run.recordings / run.predicting_s:.1f} | {run.peak_mib:.0f} | {others} |",
        flush=True,
    )
    return run


# --- what they say ----------------------------------------------------------------------------------------------------


def series(runs: list[Run]) -> dict[tuple[str, int], list[Run]]:
    """Runs of one recipe with one number of workers."""
    keys = dict.fromkeys((run.recipe, run.workers) for run in runs)
    return {key: [run for run in runs if (run.recipe, run.workers) == key] for key in keys}


def fit(runs: list[Run]) -> Line:
    """Least squares of the relative distances, so that 1000 recordings do not decide alone."""
    n, seconds = np.array([run.recordings for run in runs]), np.array([run.seconds for run in runs])
    each_s, start_s = np.polyfit(n, seconds, 1, w=1 / seconds)
    return Line(float(start_s), float(each_s), float(np.abs((start_s + each_s * n) / seconds - 1).max()))


def _print_ratios(compared: list[Run]) -> dict[str, dict[str, float]]:
    ratios = {}
    for one, two in zip(compared[::2], compared[1::2], strict=True):
        ratio, peak = one.predicting_s / two.predicting_s, two.peak_mib
        ratios[two.recipe] = {"times_as_fast": ratio, "peak_mib": peak}
        print(
            f"{two.recipe}, {two.recordings} recordings, two workers: {ratio:.2f} times as fast as one (target "
            f"{RATIO_TARGET}: {_reached(ratio >= RATIO_TARGET)}), {peak:.0f} MiB (target {MEMORY_TARGET_MIB}: "
            f"{_reached(peak <= MEMORY_TARGET_MIB)})"
        )
    return ratios


def _reached(yes: bool) -> str:
    return "reached" if yes else "missed"


def draw(runs: list[Run], seconds: float, path: Path) -> None:
    """Time and memory against the number of recordings; recipes differ by marker, workers by line."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "soundscene"  # the same figures give the same file
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for (recipe, workers), part in series(runs).items():
        style = {
            "color": "black" if workers == 1 else "0.5",
            "linestyle": "-" if workers == 1 else "--",
            "marker": "os^D"[list(RECIPES).index(recipe)],
            "markerfacecolor": "white" if workers == 1 else "0.5",
            "label": f"{recipe}, {workers} worker{'s' if workers > 1 else ''}",
        }
        n = [run.recordings for run in part]
        left.plot(n, [run.seconds for run in part], **style)
        right.plot(n, [run.peak_mib for run in part], **style)
    left.set(xscale="log", yscale="log", xlabel=f"recordings of {seconds:g} s", ylabel="time of the process, s")
    right.set(xscale="log", xlabel=f"recordings of {seconds:g} s", ylabel="peak resident memory, MiB")
    right.axhline(MEMORY_TARGET_MIB, color="black", linewidth=0.8, linestyle=":")
    right.annotate("target", (1, MEMORY_TARGET_MIB), xytext=(0, 3), textcoords="offset points", fontsize=8)
    right.set_ylim(0, 1.15 * MEMORY_TARGET_MIB)
    left.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3, linewidth=0.5)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


if __name__ == "__main__":
    main()
