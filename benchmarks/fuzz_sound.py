"""Read mutated sound files in child processes: no foreign exception, no crash, none over 5 s, no growth of memory.

26 seeds of WAV, FLAC, OGG, Opus, MP3, AIFF, CAF, m4a, mka and WebM; bits, truncation, lies about sizes, splices.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.fuzz_files import SEEDS, mutate, seed_bytes
from benchmarks.fuzz_process import Outcome, count, run_cases
from soundscene.audio.files import AudioFile
from soundscene.errors import AudioError
from soundscene.recipe import AudioRecipe

LIMIT_S = 5.0
GROWTH_MB = 50.0
UNFORESEEN = "failed unexpectedly"  # in the error of a file for an exception that nothing foresaw
WARM = 1000  # cases after which memory must not grow


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this subcommand."""
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case, to run them in several parts")


def run(arguments: argparse.Namespace) -> int:
    """Run the cases, print what went wrong and the counts, and return 0 when nothing did."""
    cases = range(arguments.first, arguments.first + arguments.cases) if arguments.only is None else [arguments.only]
    outcomes = []
    for outcome in run_cases("benchmarks.fuzz_sound:reader", (arguments.seed,), cases, LIMIT_S):
        outcomes.append(outcome)
        if outcome.kind not in ("fine", "refused") or arguments.only is not None:
            print(f"{outcome.case} ({describe(arguments.seed, outcome.case)}): {outcome.kind}: {outcome.detail}", flush=True)
    counts, grown = count(outcomes), growth_mb(outcomes)
    contained = sum("its decoder (FFmpeg, in a process of its own)" in outcome.detail for outcome in outcomes)
    slowest = max(outcome.seconds for outcome in outcomes)
    print(
        f"{len(outcomes)} files: {counts['fine']} read, {counts['refused']} refused, "
        f"{counts['foreign']} foreign exceptions, {counts['crash']} crashes, {counts['hang']} over {LIMIT_S:g} s, "
        f"{contained} crashes of FFmpeg that cost one file, slowest {slowest:.2f} s, "
        f"memory {grown:+.1f} MB from case {WARM} on"
    )
    return int(counts["foreign"] + counts["crash"] + counts["hang"] > 0 or grown >= GROWTH_MB)


def growth_mb(outcomes: list[Outcome]) -> float:
    """Memory at the end beyond that after the first 1000 cases, medians of a hundred cases each; 0 for short runs."""
    if len(outcomes) < 2 * WARM:
        return 0.0
    start, end = outcomes[WARM - 50 : WARM + 50], outcomes[-100:]
    return float(np.median([o.memory_mb for o in end]) - np.median([o.memory_mb for o in start]))


def mutated(seed: int, case: int) -> tuple[str, bytes, str]:
    """Make a case: the name of its seed, its bytes, and what was done to them."""
    draw = np.random.default_rng([seed, case])
    names = list(SEEDS)
    name = names[case % len(names)]
    others = [seed_bytes(str(other)) for other in draw.choice(names, 2)]
    data, done = mutate(seed_bytes(name), others, draw)
    return name, data, done


def describe(seed: int, case: int) -> str:
    """Name the seed of a case and what was done to it."""
    name, data, done = mutated(seed, case)
    return f"{name}, {done}, {len(data)} bytes"


def reader(seed: int) -> Callable[[int], str]:
    """Return the function that writes a case to a file and reads it as a prediction would."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    audio = AudioRecipe()
    for name in SEEDS:  # encoded before the first case is timed
        seed_bytes(name)

    def read(case: int) -> str:
        name, data, _ = mutated(seed, case)
        path = folder / f"case.{SEEDS[name][0]}"
        path.write_bytes(data)
        try:
            file = AudioFile(path, audio)
            n_samples = sum(len(block) for block in file.blocks())
        except AudioError as error:
            if UNFORESEEN in str(error):
                raise RuntimeError(str(error)) from error
            raise
        finally:
            path.unlink()
        return f"{n_samples / audio.sample_rate:.3f} s; {'; '.join(file.notes)}"

    return read
