"""Read files that were cut, or of which a part was deleted: what lacks sound must be refused or have a note.

A file is silent when it is read without a note although its samples are not those of the whole file.
"""

import argparse
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.fuzz_files import SEEDS, seed_bytes, shorten
from benchmarks.fuzz_process import count, run_cases
from soundscene.audio.files import AudioFile
from soundscene.errors import AudioError
from soundscene.recipe import AudioRecipe

LIMIT_S = 5.0
SILENT = "without a note"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this subcommand."""
    parser.add_argument("--cases", type=int, default=731)


def run(arguments: argparse.Namespace) -> int:
    """Run the cases, print those read without a note and the counts, and return 0 when there is none."""
    cases = range(arguments.cases) if arguments.only is None else [arguments.only]
    outcomes, silent = [], Counter[str]()
    for outcome in run_cases("benchmarks.fuzz_cut:reader", (arguments.seed,), cases, LIMIT_S):
        outcomes.append(outcome)
        name, _, done = shortened(arguments.seed, outcome.case)
        wrong = outcome.kind not in ("fine", "refused") or outcome.detail.startswith(SILENT)
        silent[name] += outcome.kind == "fine" and outcome.detail.startswith(SILENT)
        if wrong or arguments.only is not None:
            print(f"{outcome.case} ({name}, {done}): {outcome.kind}: {outcome.detail}", flush=True)
    counts = count(outcomes)
    print(
        f"{len(outcomes)} files cut or with a part deleted: {counts['refused']} refused, {counts['fine']} read, "
        f"{silent.total()} of them without a note {dict(+silent)}, {counts['foreign']} foreign exceptions, "
        f"{counts['crash']} crashes, {counts['hang']} over {LIMIT_S:g} s"
    )
    return int(silent.total() + counts["foreign"] + counts["crash"] + counts["hang"] > 0)


def shortened(seed: int, case: int) -> tuple[str, bytes, str]:
    """Make a case: the name of its seed, its bytes, and what was done to them."""
    name = list(SEEDS)[case % len(SEEDS)]
    return name, *shorten(seed_bytes(name), np.random.default_rng([seed, case]))


def reader(seed: int) -> Callable[[int], str]:
    """Return the function that reads a case and compares it with the whole file."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    audio = AudioRecipe(segment_s=0.5)
    whole: dict[str, str] = {}

    def read(name: str, data: bytes) -> AudioFile:
        path = folder / f"case.{SEEDS[name][0]}"
        path.write_bytes(data)
        file = AudioFile(path, audio)
        try:
            for _ in file.blocks():
                pass
        finally:
            path.unlink()
        return file

    def compare(case: int) -> str:
        name, data, _ = shortened(seed, case)
        if name not in whole:
            file = read(name, seed_bytes(name))
            if [note for note in file.notes if "sampled at" not in note]:
                raise AssertionError(f"{name}: a whole file has notes: {file.notes}")
            whole[name] = file.content_hash
        try:
            file = read(name, data)
        except AudioError as error:
            if "at least one segment" in str(error):
                return "too short"
            raise
        notes = [note for note in file.notes if "sampled at" not in note]
        if file.content_hash == whole[name]:
            return "nothing lost"
        return "; ".join(notes) or f"{SILENT}: {file.duration_s:.3f} s"

    return compare
