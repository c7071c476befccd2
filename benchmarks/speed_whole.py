"""Rows about whole programs, each a process of its own: a folder of recordings on two cores, and the start for one file.

python -m benchmarks.speed_whole MODEL FOLDER WORKERS     what the folder row starts: predict all, print time and memory
"""

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.comparison import Comparison, Measured, MissingError, Settings, seconds
from benchmarks.speed_network import random_bundle
from benchmarks.speed_sound import write_flac
from soundscene.bundle import save_model
from soundscene.predictor import Predictor, load

DIFFERENT = 4  # recordings in the folder; the rest are links to them
FOLDER_REPETITIONS = 3
GIBIBYTE_IN_MIB = 1024.0


@cache
def _folder_runs(settings: Settings) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What processes with two workers and with one printed, in turn."""
    if (os.cpu_count() or 1) < 2:
        raise MissingError("needs two cores")
    model, folder = settings.folder / "model.safetensors", settings.folder / "recordings"
    save_model(random_bundle(settings.recipe), model)
    folder.mkdir(exist_ok=True)
    for number in range(settings.recordings):
        path, original = folder / f"{number:04d}.flac", folder / f"{number % DIFFERENT:04d}.flac"
        if number < DIFFERENT:
            write_flac(path, settings.seconds, number)
        elif not path.exists():
            os.link(original, path)
    # A large folder once is as good as a small one often.
    repetitions = 1 if settings.recordings >= 200 else min(FOLDER_REPETITIONS, settings.repetitions)
    two, one = [], []
    for _ in range(repetitions):
        two.append(_predict_in_process(model, folder, 2))
        one.append(_predict_in_process(model, folder, 1))
    return two, one


def _predict_in_process(model: Path, folder: Path, workers: int) -> dict[str, Any]:
    command = ["-m", "benchmarks.speed_whole", str(model), str(folder), str(workers)]
    return json.loads(_process(command))


def predict_folder(model: Path, folder: Path, workers: int) -> dict[str, Any]:
    """Predict every file of a folder: seconds without start and loading, and of processor, and peak memory."""
    predictor = load(model)
    paths = sorted(folder.iterdir())
    list(predictor.predict_each(paths[:1]))  # what happens once in a process is not what a folder costs
    started, busy = time.perf_counter(), time.process_time()
    predictions = [prediction for _, prediction in predictor.predict_each(paths, workers=workers)]
    took, busy = time.perf_counter() - started, time.process_time() - busy
    for prediction in predictions:
        if isinstance(prediction, Exception):
            raise prediction
    return {"seconds": took, "recordings": len(predictions), "busy_s": busy, "peak_mib": _peak_mib()}


def _peak_mib() -> float | None:
    """Most memory that this process ever held; None where the system has no /proc."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def folder_on_two_cores(settings: Settings) -> Measured:
    two, one = _folder_runs(settings)
    medians = [statistics.median(run["seconds"] for run in runs) for runs in (two, one)]
    busy = [statistics.median(run["busy_s"] for run in runs) for runs in (two, one)]
    note = (
        f"{settings.recordings} recordings of {settings.seconds:g} s, one process a run; processor time {busy[0]:.1f} s "
        f"against {busy[1]:.1f} s"
    )
    return Measured(medians[0], medians[1], len(two), note)


def folder_memory(settings: Settings) -> Measured:
    two, _ = _folder_runs(settings)
    peaks = [run["peak_mib"] for run in two]
    if None in peaks:
        raise MissingError("peak memory is read from /proc, which this system does not have")
    return Measured(max(peaks), GIBIBYTE_IN_MIB, len(two), f"{settings.recordings} recordings, two workers", unit="MiB")


def cold_start(settings: Settings) -> Measured:
    model = settings.folder / "model.safetensors"
    save_model(random_bundle(settings.recipe), model)
    path = write_flac(settings.folder / "one.flac", settings.seconds)
    commands = ["-m", "soundscene", "predict", str(model), str(path)], ["-c", "import torch"]
    taken: tuple[list[float], list[float]] = [], []
    for command in commands:
        _process(command)  # the first run of an installation compiles and reads from the disk
    for _ in range(settings.repetitions):
        for command, times in zip(commands, taken, strict=True):
            times.append(seconds(lambda command=command: _process(command)))
    ours, other = map(statistics.median, taken)
    return Measured(ours, other, settings.repetitions, f"{settings.seconds:g} s of FLAC, default threads of each")


def pair_of_members(settings: Settings) -> Measured:
    """Predict by a mel and a gammatone member in one model, and by the mel member alone; the note has each by itself."""
    features = [settings.recipe.with_settings([f"features.kind={kind}"]) for kind in ("mel", "gammatone")]
    singles = [random_bundle(recipe) for recipe in features]
    pair = Predictor(replace(singles[0], members=tuple(m for single in singles for m in single.members)))
    mel, gammatone = map(Predictor, singles)
    path = write_flac(settings.folder / "pair.flac", settings.seconds)
    predictors = (pair, mel, gammatone)
    for predictor in predictors:  # what is compiled and allocated at first use
        predictor.predict(path)
    taken: list[list[float]] = [[], [], []]
    for _ in range(settings.repetitions):
        for predictor, times in zip(predictors, taken, strict=True):
            times.append(seconds(lambda predictor=predictor: predictor.predict(path)))
    both, first, second = map(statistics.median, taken)
    saved = 1 - both / (first + second)
    note = f"{settings.seconds:g} s of FLAC; {saved:.0%} less than two predictions, {1e3 * (first + second):.3g} ms"
    return Measured(both, first, settings.repetitions, note)


def _process(arguments: list[str]) -> str:
    """What a process of Python prints; it has the threads that a user's has, not those of the benchmark."""
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run([sys.executable, *arguments], check=True, capture_output=True, text=True, env=environment)
    return done.stdout


COMPARISONS = {
    "folder": (
        Comparison("folder -> predictions, 2 cores", "1 core", "times as fast", 1.8, folder_on_two_cores),
        Comparison("folder -> predictions, peak memory", "1 GiB", "times the cost", 1.0, folder_memory),
    ),
    "members": (
        Comparison("prediction by two members, mel and gammatone", "one member", "times the cost", 1.7, pair_of_members),
    ),
    "cold-start": (
        Comparison("soundscene predict of one file", 'python -c "import torch"', "seconds more", 1.5, cold_start),
    ),
}


if __name__ == "__main__":
    print(json.dumps(predict_folder(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))))
