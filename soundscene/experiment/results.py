"""A run folder, and its results: one file per task with all that tables and fusions need.

A result is a .safetensors file: the arrays as tensors, everything else as JSON in its header; no pickle in it.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int64
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from soundscene.errors import TrainingError
from soundscene.experiment.plan import Plan, Task
from soundscene.files import write_atomic
from soundscene.jobs.lock import locked
from soundscene.jobs.storage import Storage, same_place
from soundscene.texts import parse_json

FORMAT = "soundscene result"
VERSION = 1
SUFFIX = ".safetensors"
OWNER = "experiment.json"  # beside results that lie outside of the run folder: the plan that they are of
POINTER = "results-are-at"
_CLAIMING, _REPORTING = "choose another --results", "run the experiment again with another --results"


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
        self._elsewhere = (results or pointed) is not None
        self.results = results or pointed or str(path / "results")
        self._pointed = pointed

    def check_place(self, plan: Plan) -> None:
        """Compare what is known of a plan before a recording is read with another place for results.

        Args:
            plan: Its recordings and splits are not looked at.

        Raises:
            SceneError: The place belongs to an experiment with another recipe, diagnosis, precision or front-end, holds
                results without a plan, or cannot be used.
        """
        if self._elsewhere and (owner := self._owner(Storage(self.results), _CLAIMING)):
            plan.check_choices(owner, self.results, _CLAIMING)
            self._check_front_end(plan, owner, _CLAIMING)

    def claim_results(self, plan: Plan) -> None:
        """Make sure that another place for results has none of another experiment, and note there and here what it is for.

        Args:
            plan: Of the folder.

        Raises:
            SceneError: As `check_place` has it, or the place belongs to an experiment with other recordings or splits, or
                with a system of that name and other settings.
        """
        if not self._elsewhere:
            return
        storage = Storage(self.results)
        owner = self._owner(storage, _CLAIMING)
        grown = self._grown(plan, owner, _CLAIMING) if owner else plan
        if grown != owner:
            storage.write(OWNER, grown.to_bytes())
            if there := self._owner(storage, _CLAIMING):  # another experiment may have claimed it in the meantime
                self._grown(plan, there, _CLAIMING)
        write_atomic(self.path / POINTER, f"{self.results}\n".encode(), TrainingError)

    def _owner(self, storage: Storage, advice: str) -> Plan | None:
        """Return the plan that the results in another place are of; None where there is none yet."""
        names = storage.names()
        if OWNER in names:
            return Plan.from_bytes(storage.read(OWNER), f"{self.results}/{OWNER}", advice)
        ours = self._pointed is not None and same_place(self._pointed, self.results)  # as runs of 0.1 left it
        if not ours and any(name.endswith(SUFFIX) for name in names):
            raise TrainingError(
                f"{self.results}: holds results, and no {OWNER} that tells of which experiment; go on in a folder that "
                f"they were made from, or {advice}"
            )
        return None

    def _grown(self, plan: Plan, owner: Plan, advice: str) -> Plan:
        """Compare a plan with that of the results, and return the latter with the systems and seeds of both."""
        joined = plan.joined(owner, self.results, advice)
        self._check_front_end(plan, owner, advice)
        return replace(owner, systems=joined.systems, seeds=joined.seeds)

    def _check_front_end(self, plan: Plan, owner: Plan, advice: str) -> None:
        if plan.front_end != owner.front_end:
            raise TrainingError(
                f"{self.results}: holds an experiment with front-end {owner.front_end}, this one has {plan.front_end}; "
                f"{advice}"
            )

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
            SceneError: It cannot be written.
        """
        Storage(self.results).write(f"{task.name}{SUFFIX}", content)

    def read_results(self, plan: Plan) -> tuple[list[SplitResult], list[Task]]:
        """Return all results of a plan in the order of its tasks, and the tasks that have none yet.

        Raises:
            SceneError: A result cannot be read, or the place of the results belongs to another experiment.
        """
        storage, there = Storage(self.results), self.finished()
        if self._elsewhere and (owner := self._owner(storage, _REPORTING)):
            self._grown(plan, owner, _REPORTING)
        found = [SplitResult.from_bytes(storage.read(f"{t.name}{SUFFIX}"), t.name) for t in plan.tasks() if t.name in there]
        return found, [t for t in plan.tasks() if t.name not in there]


def _create(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if folder.is_file():
            raise TrainingError(f"{folder}: is a file; name a folder for the results, new or of this experiment") from None
        raise TrainingError(f"{folder}: cannot be created ({error.strerror or error})") from None
