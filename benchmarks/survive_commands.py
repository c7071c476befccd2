"""The commands that `survive.py` disturbs: their input, what they keep, and what an undisturbed run of them gives."""

import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file

from benchmarks.kill import differences, unlike_models
from soundscene.batch.rows import read_paths
from soundscene.bundle import save_model
from soundscene.errors import SceneError
from soundscene.experiment.plan import Plan
from soundscene.experiment.results import SplitResult
from tests.support.sounds import aac
from tests.support.tiny import SCENES, SETTINGS, blank_bundle, recording, write, write_corpus

N_FILES = 48  # that are predicted, in shards of
SHARD = 8
MODEL = "m.safetensors"
_NAMED_ANEW = re.compile(r"part-\d{5}\.|tfevents|\.run$|^$")  # names that depend on when a run was disturbed

Kept = dict[str, str]
"""What is finished on the disk, by name; it must be there, and the same, when the command has ended."""


@dataclass(frozen=True)
class Command:
    """A command of soundscene that writes into one folder, and resumes.

    Attributes:
        name: For the table.
        words: Command line without the folder; "{out}" in a word stands for it.
        keeps: Function from the folder to what is finished there.
        unequal: Function from the folder of an undisturbed run and another one to the differences, in one line each.
        alternatives: Options of which each start takes one set; they change no result.
        lock: File that names the process while it works.
        ends: File that is there when the part of the work that is of interest is over; by default, the process ends.
        done: File with which all is finished; started again, the command would begin anew.
        codes: Exit codes of a run that ends by itself, and of one on a full disk.
    """

    name: str
    words: tuple[str, ...]
    keeps: Callable[[Path], Kept]
    unequal: Callable[[Path, Path], list[str]]
    alternatives: tuple[tuple[str, ...], ...] = ((),)
    lock: str = "lock"
    ends: str = ""
    done: str = ""
    codes: tuple[tuple[int, ...], tuple[int, ...]] = ((0,), (2,))

    def line(self, out: Path, alternative: int = 0) -> list[str]:
        """Return the command line of a process.

        Args:
            out: Folder to write to.
            alternative: Number of the set of options.
        """
        words = [*self.words, *self.alternatives[alternative % len(self.alternatives)]]
        return [sys.executable, "-m", "soundscene", *(word.replace("{out}", str(out)) for word in words)]


def commands(folder: Path) -> list[Command]:
    """Render the input into a folder and return all commands on it.

    Args:
        folder: New, or one that this function has filled before.
    """
    model, sounds, few, many = folder / MODEL, folder / "sounds", folder / "few", folder / "many"
    if not model.exists():
        _write_sounds(sounds)
        write_corpus(few)
        write_corpus(many, 16, 2.1)
        save_model(blank_bundle(), model)
    settings = tuple(word for setting in SETTINGS for word in ("--set", setting))
    predict = ("predict", str(model), str(sounds), "--shard", str(SHARD), "--out", "{out}", "--format")
    train = (
        "train",
        str(few / "manifest.csv"),
        "--recipe",
        "small",
        "--out",
        f"{{out}}/{MODEL}",
        "--device",
        "cpu",
        *settings,
    )
    experiment = ("--out", "{out}", "--splits", "folds=2", "--threads", "1", "--device", "cpu", *settings)
    epochs = ("--set", "training.epochs=8")
    workers = (("--workers", "2"), ("--workers", "1"))
    return [
        *(
            Command(f"predict {form}", (*predict, form), _shards, _unequal_rows, workers, codes=((0, 3), (2,)))
            for form in ("csv", "jsonl", "parquet")
        ),
        Command(
            "train", (*train, "--set", "training.epochs=12"), _epochs, _unequal_models, lock=f"{MODEL}.run/lock", done=MODEL
        ),
        Command(
            "experiment",
            ("experiment", str(few / "manifest.csv"), *experiment, "--systems", "att-crnn-mel,mfcc-dnn", *epochs),
            _results,
            _unequal_runs,
            workers,
            codes=((0,), (2, 3)),
        ),
        Command(
            "store",
            ("experiment", str(many / "manifest.csv"), *experiment, "--systems", "mfcc-dnn"),
            _stored,
            _unequal_runs,
            workers,
            ends="plan.json",
            codes=((0,), (2, 3)),
        ),
    ]


def _write_sounds(folder: Path) -> None:
    """Write short recordings as WAV, FLAC's sibling AAC that a child process decodes, and one that is no sound."""
    folder.mkdir(parents=True)
    for number in range(N_FILES):
        samples = recording(SCENES[number % len(SCENES)], 2.1 + 0.05 * (number % 9), number)
        if number == N_FILES // 2:
            (folder / f"{number:03d}.wav").write_text("no sound")
        elif number % 12 == 5:
            aac(folder / f"{number:03d}.m4a", np.stack([samples, samples], 1), 22050)
        else:
            write(folder / f"{number:03d}.wav", samples)


# --- predict ----------------------------------------------------------------------------------------------------------


def _shards(out: Path) -> Kept:
    """Finished shards, which stay as they are; a shard that is not whole raises."""
    kept = {path.name: _digest(path) for path in out.glob("part-*") if not path.name.endswith(".tmp")}
    _rows(out)
    return kept


def _rows(out: Path) -> list[tuple[str, str]]:
    """(path, row) of all shards in the order of the paths."""
    scenes = json.loads((out / "run.json").read_text())["scenes"] if (out / "run.json").exists() else []
    rows: list[tuple[str, str]] = []
    for path in sorted(out.glob("part-?????.*")):
        form = path.suffix[1:]
        if form not in ("csv", "jsonl", "parquet"):
            continue
        content = path.read_bytes()
        paths = list(read_paths(content, path.name, form, scenes))
        if form == "parquet":
            import pyarrow.parquet

            texts = [json.dumps(row) for row in pyarrow.parquet.read_table(path).to_pylist()]
        else:
            texts = content.decode().splitlines()[form == "csv" :]
        rows += zip(paths, texts, strict=True)
    return sorted(rows)


def _unequal_rows(one: Path, other: Path) -> list[str]:
    expected, found = _rows(one), _rows(other)
    paths = [path for path, _ in found]
    faults = [f"{path}: has {paths.count(path)} rows" for path in sorted(set(paths)) if paths.count(path) > 1]
    faults += [f"{path}: row missing" for path in sorted({path for path, _ in expected} - set(paths))]
    return faults or [f"{path}: another row" for path, _ in sorted(set(found) ^ set(expected))]


# --- train ------------------------------------------------------------------------------------------------------------


def _epochs(out: Path) -> Kept:
    """Epochs in the checkpoint of a training that has no model yet; a model or checkpoint that is not whole raises."""
    checkpoint, model = out / f"{MODEL}.run" / "checkpoint.safetensors", out / MODEL
    if model.exists():
        load_file(model)
        history = out / f"{MODEL}.run" / "history.csv"
        lines = history.read_text().splitlines()
        column = lines[0].split(",").index("seconds")
        return {f"epoch {n}": line.split(",")[column] for n, line in enumerate(lines[1:], 1)}
    return _history(checkpoint, "epoch ") if checkpoint.exists() else {}


def _history(checkpoint: Path, prefix: str) -> Kept:
    """Seconds of each epoch in a checkpoint: no two trainings have the same."""
    with safe_open(checkpoint, "np") as file:
        rows: list[dict[str, Any]] = json.loads(file.metadata()["state"])["history"]
    return {f"{prefix}{n}": str(row["seconds"]) for n, row in enumerate(rows, 1)}


def _unequal_models(one: Path, other: Path) -> list[str]:
    first, second = load_file(one / MODEL), load_file(other / MODEL)
    if first.keys() != second.keys():
        return ["the model has other tensors"]
    return [f"{name} of the model differs" for name in first if not np.array_equal(first[name], second[name])]


# --- experiment and store ---------------------------------------------------------------------------------------------


def _results(out: Path) -> Kept:
    """Results, epochs of unfinished trainings, and what is stored; anything that is not whole raises."""
    kept = _stored(out)
    for path in out.glob("models/*.safetensors"):
        load_file(path)
    names = set[str]()
    for path in out.glob("results/*.safetensors"):
        result = SplitResult.from_bytes(path.read_bytes(), path.name)
        names.add(path.stem)
        kept[path.name] = _digest(path)
        kept |= {f"{path.stem} {n}": str(row["seconds"]) for n, row in enumerate(result.history, 1)}
    for path in out.glob("work/*/checkpoint.safetensors"):
        if path.parent.name not in names:
            kept |= _history(path, f"{path.parent.name} ")
    return kept


def _stored(out: Path) -> Kept:
    """Whole lines of the journals of the feature stores, whose values are checked; and the plan, which may be read."""
    if (out / "plan.json").exists():
        Plan.read(out)
    kept = Kept()
    for journal in out.glob("store/*/journal.jsonl"):
        values = (journal.parent / "values.bin").read_bytes()
        for line in journal.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                row = json.loads(line)
                size = 2 * row["count"] * int(np.prod(row["shape"]))
                digest = sha256(values[row["first"] : row["first"] + size]).hexdigest()
                kept[f"{journal.parent.name} {row['identity']}"] = f"{row['first']} {digest}"
    return kept


def _unequal_runs(one: Path, other: Path) -> list[str]:
    found = differences(one, other)
    if list(one.glob("models/*")):
        found += unlike_models(one, other)
    if _stored(one) != _stored(other):
        found.append("the feature stores differ")
    return found


# --- all --------------------------------------------------------------------------------------------------------------


def broken(command: Command, out: Path) -> list[str]:
    """Return what of the files under final names is not whole, at most one line."""
    try:
        command.keeps(out)
    except (SceneError, SafetensorError, OSError, ValueError, KeyError, IndexError) as error:
        return [f"not whole: {' '.join(str(error).split())[:200]}"]
    return []


def litter(reference: Path, out: Path) -> list[str]:
    """Return the files and folders that an undisturbed run does not leave; an empty lock file may stay.

    Args:
        reference: Folder of the undisturbed run.
        out: Folder of the other one.
    """
    there = {str(path.relative_to(reference)) for path in reference.rglob("*")}
    found: Sequence[Path] = [path for path in sorted(out.rglob("*")) if str(path.relative_to(out)) not in there]
    return [
        f"{path.relative_to(out)} is left"
        for path in found
        if not (_NAMED_ANEW.search(path.name) and not path.name.endswith(".tmp"))
        and not (path.name == "lock" and path.stat().st_size == 0)
    ]


def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()
