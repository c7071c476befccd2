"""One task from corpus to result: fit on the training part, watch the test part without acting on it, predict it."""

import json
import os
import platform
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from lightning_fabric import Fabric

from soundscene.data.corpus import Corpus
from soundscene.data.store import FeatureStore
from soundscene.errors import TrainingError
from soundscene.experiment.plan import Plan, Task
from soundscene.experiment.results import HeadPosteriors, SplitResult
from soundscene.scoring.metrics import accuracy, log_loss
from soundscene.systems.saved import HASH_DIGITS
from soundscene.systems.system import FitContext, Fitted, Observer, PredictFunction, System, SystemPredictions
from soundscene.texts import parse_json

VERSIONS = ("soundscene", "torch", "numpy", "scikit-learn")


def run_task(
    plan: Plan,
    task: Task,
    corpora: tuple[Corpus, Corpus],
    work: Path | None = None,
    fabric: Fabric | None = None,
    observer: Observer | None = None,
) -> tuple[SplitResult, Fitted]:
    """Fit a system on one corpus and let it predict the other.

    Args:
        plan: Of the run.
        task: System, split and seed.
        corpora: Training part and test part.
        work: Folder for what a killed training resumes from.
        fabric: Device, precision and processes.
        observer: Called after each epoch with its row, test accuracy and test log loss by segment included.
    """
    started = time.perf_counter()
    system = plan.system(task.system)
    training, testing = corpora
    scenes = tuple(sorted({r.scene for r in training.recordings}))
    truth = np.array([scenes.index(r.scene) for r in testing.recordings], np.int64)
    diary = _Diary(work / "diary.jsonl" if work else None)
    watched_s = 0.0

    def observe(row: dict[str, float], so_far: PredictFunction) -> None:
        nonlocal watched_s
        begun = time.perf_counter()
        row = row | _watch(so_far(testing), truth)
        watched_s += time.perf_counter() - begun
        diary.add(row)
        if observer:
            observer(row, so_far)

    fitted = system.fit(training, FitContext(task.seed, fabric, work / "checkpoint.safetensors" if work else None, observe))
    history = [row | diary.row(row["epoch"]) for row in fitted.history]
    seconds = {"seconds": round(time.perf_counter() - started, 2), "watch_seconds": round(watched_s, 2)}
    facts = seconds | _facts(training, testing, [*fitted.earlier, *history], fitted.trained_on)
    return _result(plan, task, system, fitted, corpora, truth, history, facts), fitted


def read_parts(plan: Plan, task: Task, store: Path) -> tuple[Corpus, Corpus]:
    """Read the training and test part of a task.

    Args:
        plan: Of the run.
        task: System and split.
        store: Folder of the feature stores.
    """
    system = plan.system(task.system)
    split = plan.split(task.split)
    features = FeatureStore(store, system.representation)
    return features.load(split.train), features.load(split.test)


def facts_of(plan: Plan, training: Corpus) -> dict[str, Any]:
    """Return what a model file is to say of the experiment that trained it.

    Args:
        plan: Of the run.
        training: Training part, those held out included.
    """
    heard = sorted(found[:HASH_DIGITS] for found in training.content_hash)
    return {"trained_on": heard} | ({"diagnosis": plan.diagnosis} if plan.diagnosis else {})


class _Diary:
    """Rows of the epochs on disk, because a training that resumes does not repeat the epochs before the kill."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._rows: dict[float, dict[str, float]] = {}
        if path and path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                with suppress(ValueError, KeyError, TypeError):  # the line that was being written when the kill came
                    row = parse_json(line)
                    self._rows[row["epoch"]] = row

    def add(self, row: dict[str, float]) -> None:
        self._rows[row["epoch"]] = row
        if self._path:
            try:
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
            except OSError as error:
                why = error.strerror or error
                raise TrainingError(f"{self._path}: cannot be written ({why}); is the disk full?") from None

    def row(self, epoch: float) -> dict[str, float]:
        return self._rows.get(epoch, {})


def _watch(predictions: Mapping[str, SystemPredictions], truth: Int64[np.ndarray, " recording"]) -> dict[str, float]:
    """Return scores of the test part, by segment where there are some; nothing may act on them."""
    first = next(iter(predictions.values()))
    if len(first.segment) == 0:
        return {"test_accuracy": accuracy(first.recording, truth), "test_log_loss": log_loss(first.recording, truth)}
    of_segment = truth[first.recording_of]
    scores = {"test_accuracy": accuracy(first.segment, of_segment), "test_log_loss": log_loss(first.segment, of_segment)}
    if uniform := predictions.get("softmax, uniform attention"):
        scores["test_accuracy_uniform_attention"] = accuracy(uniform.segment, of_segment)
    return scores


def _result(
    plan: Plan,
    task: Task,
    system: System,
    fitted: Fitted,
    corpora: tuple[Corpus, Corpus],
    truth: Int64[np.ndarray, " recording"],
    history: list[dict[str, float]],
    facts: dict[str, object],
) -> SplitResult:
    training, testing = corpora
    scenes = tuple(sorted({r.scene for r in training.recordings}))
    started = time.perf_counter()
    predictions = fitted.predict(testing)
    facts = facts | {"predict_seconds": round(time.perf_counter() - started, 4), "test_recordings": len(testing.recordings)}
    of_held = fitted.predict(training.take(fitted.held)) if fitted.held else {}
    recording_of = next(iter(predictions.values())).recording_of  # empty where recordings are classified as a whole
    start_s = testing.start_s[testing.voting] if len(recording_of) else np.zeros(0)
    return SplitResult(
        system=task.system,
        title=system.title,
        split=task.split,
        seed=task.seed,
        choices=dict(system.choices),
        scenes=scenes,
        recordings=tuple(os.path.relpath(r.path, plan.root) for r in testing.recordings),
        groups=tuple(r.group for r in testing.recordings),
        truth=truth,
        duration_s=np.array(testing.duration_s, np.float64),
        recording_of=recording_of.astype(np.int64),
        start_s=start_s,
        heads={
            head: HeadPosteriors(
                one.segment.astype(np.float32),
                one.recording,
                one.calibrated,
                of_held[head].recording if fitted.held else np.zeros((0, len(scenes))),
            )
            for head, one in predictions.items()
        },
        held_recordings=tuple(os.path.relpath(r.path, plan.root) for r in fitted.held),
        held_truth=np.array([scenes.index(r.scene) for r in fitted.held], np.int64),
        embedding=fitted.embed(testing) if fitted.embed else np.zeros((len(recording_of), 0), np.float32),
        epoch=fitted.epoch,
        history=history,
        notes=fitted.notes,
        facts=facts,
    )


def _facts(training: Corpus, testing: Corpus, history: list[dict[str, float]], trained_on: int | None) -> dict[str, object]:
    """Return what a result says of its training, beside `seconds` and `watch_seconds`.

    Those two are of this process, and epochs before a kill are in `epoch_seconds` only. `watch_seconds`, a part of
    `seconds`, went into predictions of the test part after each epoch, which only draw curves.
    """
    epochs = sum(row.get("seconds", 0.0) for row in history)
    n = int(training.voting.sum()) if trained_on is None else trained_on
    return {
        "epochs": len(history),  # of all networks of the system, where there are several
        "epoch_seconds": round(epochs, 2),
        "segments_trained_per_second": round(len(history) * n / epochs, 1) if epochs else 0.0,
        "training_recordings": len(training.recordings),
        "training_segments": int(training.voting.sum()),
        "test_segments": int(testing.voting.sum()),
        "threads": torch.get_num_threads(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "device": _device(),
        "versions": {name: version(name) for name in VERSIONS},
    }


def _device() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() and torch.cuda.is_initialized() else "cpu"
