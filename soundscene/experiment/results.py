"""A run folder, and its results: one file per task with all that tables and fusions need.

A result is a .safetensors file: the arrays as tensors, everything else as JSON in its header; no pickle in it.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int64
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from soundscene.errors import TrainingError
from soundscene.experiment.ownership import SUFFIX, SharedPlace
from soundscene.experiment.plan import Plan, Task
from soundscene.files import write_atomic
from soundscene.jobs.lock import locked
from soundscene.jobs.storage import Storage
from soundscene.texts import parse_json

FORMAT = "soundscene result"
VERSION = 1
POINTER = "results-are-at"


@dataclass(frozen=True)
class HeadPosteriors:
    """Log posteriors of one head.

    Attributes:
        segment: [segment, scene]; [0, scene] where the system classifies recordings as a whole.
        recording: [recording, scene], by the product rule.
        calibrated: [recording, scene], after the temperature.
        held: [held, scene], before the temperature, of the recordings that it was fitted on.
    """

    segment: Float32[np.ndarray, "segment scene"]
    recording: Float64[np.ndarray, "recording scene"]
    calibrated: Float64[np.ndarray, "recording scene"]
    held: Float64[np.ndarray, "held scene"]


@dataclass(frozen=True)
class SplitResult:
    """Predictions of one system, trained with one seed on the training part of one split, for its test part.

    Attributes:
        system: Name, for files.
        title: Name, for tables.
        split: Name of the split.
        seed: Of the training.
        choices: The system's settings.
        scenes: Order of every last axis.
        recordings: [recording] of the test part, paths as in the manifest; systems that share a split share their order.
        groups: [recording].
        truth: [recording] index of the scene.
        duration_s: [recording].
        recording_of: [segment] index of the recording, of the voting segments.
        start_s: [segment].
        heads: By name.
        held_recordings: [held] training recordings that were set aside.
        held_truth: [held] index of the scene.
        embedding: [segment, feature] of the test part; [segment, 0] where there is none.
        epoch: The one that was tested; 0 where the system has none.
        history: A row an epoch, with `test_accuracy` (by segment) and `test_log_loss`.
        notes: Compromises.
        facts: Versions, machine, threads, seconds, sizes.
    """

    system: str
    title: str
    split: str
    seed: int
    choices: Mapping[str, Any]
    scenes: tuple[str, ...]
    recordings: tuple[str, ...]
    groups: tuple[str, ...]
    truth: Int64[np.ndarray, " recording"]
    duration_s: Float64[np.ndarray, " recording"]
    recording_of: Int64[np.ndarray, " segment"]
    start_s: Float64[np.ndarray, " segment"]
    heads: Mapping[str, HeadPosteriors]
    held_recordings: tuple[str, ...]
    held_truth: Int64[np.ndarray, " held"]
    embedding: Float32[np.ndarray, "segment feature"]
    epoch: int
    history: list[dict[str, float]] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Return the content of the file."""
        arrays = {name: getattr(self, name) for name in ARRAYS}
        for head, posteriors in self.heads.items():
            arrays |= {f"{head}/{name}": getattr(posteriors, name) for name in POSTERIORS}
        rest = {name: getattr(self, name) for name in PLAIN} | {"heads": list(self.heads)}
        header = {"format": FORMAT, "version": str(VERSION), "result": json.dumps(rest)}
        return save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, header)

    @classmethod
    def from_bytes(cls, content: bytes, name: str) -> "SplitResult":
        """Read a result.

        Args:
            content: Of the file.
            name: For the message.

        Raises:
            TrainingError: The file is damaged, foreign, or from a newer version.
        """
        try:
            length = int.from_bytes(content[:8], "little")
            header = parse_json(content[8 : 8 + length])["__metadata__"]
            if header["format"] != FORMAT or int(header["version"]) > VERSION:
                raise ValueError(f"{header['format']}, version {header['version']}")
            arrays = {key: _array(entry) for key, entry in deserialize(content)}
            rest = parse_json(header["result"])
            heads = {
                head: HeadPosteriors(*(arrays[f"{head}/{field}"] for field in POSTERIORS)) for head in rest.pop("heads")
            }
            for key in ("scenes", "recordings", "groups", "held_recordings", "notes"):
                rest[key] = tuple(rest[key])
            values: dict[str, Any] = rest | {key: arrays[key] for key in ARRAYS} | {"heads": heads}
            return cls(**values)
        except (SafetensorError, KeyError, TypeError, ValueError, IndexError, ArithmeticError, AttributeError) as error:
            raise TrainingError(
                f"{name}: not a result of ours, or damaged ({' '.join(str(error).split())[:150]}); delete it and "
                "rerun the same command to compute it again"
            ) from None


POSTERIORS = ("segment", "recording", "calibrated", "held")
ARRAYS = ("truth", "duration_s", "recording_of", "start_s", "held_truth", "embedding")
PLAIN = (
    "system",
    "title",
    "split",
    "seed",
    "choices",
    "scenes",
    "recordings",
    "groups",
    "held_recordings",
    "epoch",
    "history",
    "notes",
    "facts",
)
_TYPES = {"F32": np.float32, "F64": np.float64, "I64": np.int64}


def _array(entry: Mapping[str, Any]) -> np.ndarray:
    return np.frombuffer(entry["data"], _TYPES[entry["dtype"]]).reshape(entry["shape"]).copy()


class RunFolder:
    """A run folder: plan, store, results, models, unfinished tasks, and the lock that keeps a second run out.

    Args:
        path: Of the folder.
        results: Another place for finished results (see `Storage`); `claim_results` keeps it in the folder.
    """

    def __init__(self, path: Path, results: str | None = None) -> None:
        self.path = path
        self.store = path / "store"
        pointer = path / POINTER
        pointed = pointer.read_text(encoding="utf-8").strip() if pointer.exists() else None
        self.results = results or pointed or str(path / "results")
        self._shared = None
        if results or pointed:
            self._shared = SharedPlace(path, self.results, pointed)

    def check_place(self, plan: Plan) -> None:
        """Refuse another place for results that is of another experiment, as far as that is known before reading sound.

        Args:
            plan: Its recordings and splits are not looked at.

        Raises:
            SceneError: As `SharedPlace.check` has it.
        """
        if self._shared:
            self._shared.check(plan)

    def claim_results(self, plan: Plan) -> None:
        """Make sure that another place for results has none of another experiment, and note there and here what it is for.

        Args:
            plan: Of the folder.

        Raises:
            SceneError: As `SharedPlace.claim` has it.
        """
        if self._shared:
            self._shared.claim(plan, SplitResult.from_bytes)
            write_atomic(self.path / POINTER, f"{self.results}\n".encode(), TrainingError)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other run out of the folder; a killed run's lock is released with its process.

        Raises:
            SceneError: Another run is working in it, or it cannot be created.
        """
        _create(self.path)
        with locked(self.path / "lock"):
            yield

    def work(self, task: Task) -> Path:
        """Return the folder of an unfinished task, created if need be."""
        folder = self.path / "work" / task.name
        _create(folder)
        return folder

    def clear(self, task: Task) -> None:
        """Remove what a finished task would have resumed from."""
        shutil.rmtree(self.path / "work" / task.name, ignore_errors=True)

    def model(self, task: Task) -> Path:
        """Return the path of a task's model."""
        return self.path / "models" / f"{task.name}.safetensors"

    def finished(self) -> set[str]:
        """Return the names of the tasks that have a result."""
        return {name.removesuffix(SUFFIX) for name in Storage(self.results).names() if name.endswith(SUFFIX)}

    def write_result(self, task: Task, content: bytes) -> None:
        """Write a task's result, all or nothing.

        Args:
            task: The task.
            content: As `SplitResult.to_bytes` returns it.

        Raises:
            SceneError: It cannot be written, or the place belongs to another experiment by now.
        """
        if self._shared:
            self._shared.check_still()
        Storage(self.results).write(f"{task.name}{SUFFIX}", content)

    def read_results(self, plan: Plan) -> tuple[list[SplitResult], list[Task]]:
        """Return all results of a plan in the order of its tasks, and the tasks that have none yet.

        Raises:
            SceneError: A result cannot be read, or the place of the results belongs to another experiment.
        """
        storage, there = Storage(self.results), self.finished()
        if self._shared:
            self._shared.check_reading(plan)
        found = [SplitResult.from_bytes(storage.read(f"{t.name}{SUFFIX}"), t.name) for t in plan.tasks() if t.name in there]
        return found, [t for t in plan.tasks() if t.name not in there]


def _create(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if folder.is_file():
            raise TrainingError(f"{folder}: is a file; name a folder for the results, new or of this experiment") from None
        raise TrainingError(f"{folder}: cannot be created ({error.strerror or error})") from None
