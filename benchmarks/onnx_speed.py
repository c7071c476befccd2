"""An exported model beside its model file, in whole processes on one core: cold start, a folder, and a recording of hours.

    python -m benchmarks.onnx_speed MODEL [--folder FOLDER] [--n 200] [--rounds 5] [--hours 10]

Each command is a process of its own, bound to one core, in turn with the others of its row. Figures are medians of CPU
seconds (user and system) and of peak memory. `cold start`: one recording of 30 s, beside `python -c "import numpy"`.
`folder`: the first N recordings of a folder, or rendered ones. `hours`: noise whose level changes, from a FLAC.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import soundfile

from soundscene.audio.folders import sound_files
from soundscene.bundle import load_model
from soundscene.export.write import export_model
from soundscene.render.corpus import render_recording
from soundscene.render.scenes import SCENES

_POLL_S = 0.005


@dataclass(frozen=True)
class Cost:
    """What a process took.

    Attributes:
        cpu_s: Seconds of processor, its children's included.
        memory_mib: Peak memory, its children's included.
    """

    cpu_s: float
    memory_mib: float


def cost(words: Sequence[str | Path]) -> Cost:
    """Run Python with some words.

    Raises:
        SystemExit: It fails.
    """
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, *map(str, words)],
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        peak_kib = 0
        while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
            peak_kib = max(peak_kib, _peak_kib(process.pid))  # ru_maxrss would hold the peak of this process too
            time.sleep(_POLL_S)
        _, ended, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(ended)
        if process.returncode:
            errors.seek(0)
            raise SystemExit(f"{' '.join(map(str, words))}: exit code {process.returncode}: {errors.read().decode()[-500:]}")
    return Cost(used.ru_utime + used.ru_stime, peak_kib / 1024)


def _peak_kib(process: int) -> int:
    """Peaks of a process and of its children in sum: a command that prints works in a child."""
    try:
        _, _, peak = Path(f"/proc/{process}/status").read_text().partition("VmHWM:")
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:  # it ended meanwhile
        return 0
    return (int(peak.split()[0]) if peak else 0) + sum(_peak_kib(int(child)) for child in children)


def in_turn(commands: Mapping[str, Sequence[str | Path]], rounds: int) -> dict[str, Cost]:
    """Run commands in turn, and return the medians of each."""
    found = {name: list[Cost]() for name in commands}
    for _ in range(rounds):
        for name, words in commands.items():
            found[name].append(cost(words))
    return {
        name: Cost(statistics.median(c.cpu_s for c in costs), statistics.median(c.memory_mib for c in costs))
        for name, costs in found.items()
    }


def write_hours(path: Path, hours: float, rate: int) -> Path:
    """Write noise whose level changes every second, minute by minute."""
    draws = np.random.default_rng(0)
    noise = draws.normal(0, 0.1, (8, 60 * rate))
    with soundfile.SoundFile(path, "w", rate, 1, "PCM_16", format="FLAC") as file:
        for minute in range(round(60 * hours)):
            file.write(noise[minute % 8] * np.repeat(draws.uniform(0.05, 1, 60), rate))
    return path


def main() -> None:
    """Export the model, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--folder", type=Path, help="recordings; default: rendered ones of 10 s")
    parser.add_argument("--n", type=int, default=200, help="recordings of the folder")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--hours", type=float, default=0.0, help="length of a long recording; 0 leaves it out")
    words = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # of the commands too, which inherit it
    rate = load_model(words.model).audio.sample_rate
    with tempfile.TemporaryDirectory() as holder:
        work = Path(holder)
        models = {"model file": words.model, "exported": work / "m.onnx"}
        export_model(words.model, models["exported"])
        print(f"{platform.machine()}, one of {os.cpu_count()} cores, medians of {words.rounds}")
        print(f"files: {', '.join(f'{name} {path.stat().st_size:,} bytes' for name, path in models.items())}\n")
        print(
            "| what | by | CPU s | beyond numpy, s | peak MiB | of the model file |\n|---|---|---|---|---|---|", flush=True
        )
        one = work / "one.flac"
        soundfile.write(one, render_recording("rain", 30.0, rate, np.random.default_rng(0)), rate)
        predict = {name: ["-m", "soundscene", "predict", path] for name, path in models.items()}
        start = {"import numpy": ["-c", "import numpy"]} | {name: [*line, one] for name, line in predict.items()}
        show("cold start, 30 s", in_turn(start, words.rounds))
        paths = list(islice(sound_files([words.folder]), words.n)) if words.folder else rendered(work, words.n, rate)
        listed = work / "list.txt"
        listed.write_text("".join(f"{path.resolve()}\n" for path in paths))
        tail = ("--from", listed, "--workers", "1", "--format", "csv")
        show(f"folder of {len(paths)}", in_turn({name: [*line, *tail] for name, line in predict.items()}, words.rounds))
        if words.hours:
            path = write_hours(work / "hours.flac", words.hours, rate)
            show(f"{words.hours:g} hours", in_turn({name: [*line, path] for name, line in predict.items()}, 1))


def rendered(folder: Path, n: int, rate: int) -> list[Path]:
    """Render ten recordings of 10 s, and link to them."""
    draws, scenes = np.random.default_rng(1), sorted(SCENES)
    paths = [folder / f"{number:05d}.flac" for number in range(n)]
    for number, path in enumerate(paths):
        if number < 10:
            soundfile.write(path, render_recording(scenes[number % len(scenes)], 10.0, rate, draws), rate)
        else:
            path.hardlink_to(paths[number % 10])
    return paths


def show(what: str, costs: dict[str, Cost]) -> None:
    """Print the rows of one comparison."""
    base, plain = costs.get("model file"), costs.get("import numpy")
    for name, found in costs.items():
        beyond = f"{found.cpu_s - plain.cpu_s:.2f}" if plain else ""
        ratio = f"{found.cpu_s / base.cpu_s:.2f}" if base else ""
        print(f"| {what} | {name} | {found.cpu_s:.2f} | {beyond} | {found.memory_mib:.0f} | {ratio} |", flush=True)


if __name__ == "__main__":
    main()
