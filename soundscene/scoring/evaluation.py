"""Types of an evaluation's results, apart from `pipeline` so that tables can be printed without training packages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from soundscene.scoring.intervals import Interval, mean_interval
from soundscene.scoring.metrics import Metrics
from soundscene.texts import counted, short, show
from soundscene.types import Compared, Head, Recording

LEAKAGE = "LEAKAGE BY DESIGN"
"""Heads every table and page of `experiment --diagnose`, and what is said of its models."""


@dataclass(frozen=True)
class HeadScores:
    """Hold the metrics of one head.

    Attributes:
        segment: Of segments.
        recording: Of recordings, fused by the product rule.
        calibrated: Of recordings, after the temperature.
    """

    segment: Metrics
    recording: Metrics
    calibrated: Metrics


@dataclass(frozen=True)
class SceneScore:
    """Hold the scores of one scene, as shares; NaN where there is nothing to divide by."""

    scene: str
    n: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class PartScore:
    """Hold the accuracy on the recordings with one value in a column of the manifest.

    Attributes:
        value: The value.
        n: Recordings.
        n_groups: Their groups.
        accuracy: Share of right ones, with its 95 % interval, groups resampled.
    """

    value: str
    n: int
    n_groups: int
    accuracy: Interval


def leakage_note(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a note where a model was trained by `experiment --diagnose`; else nothing.

    Args:
        facts: What its file says of the training.
    """
    name = facts.get("diagnosis")
    if not name:
        return ()
    return (
        f"{LEAKAGE}: trained by experiment --diagnose {short(show(str(name)))}, on other excerpts of the recordings of its "
        "corpus; scores on that corpus say nothing about new recordings",
    )


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation(Compared):
    """Hold the scores of a model on a test part.

    Attributes:
        scores: By head.
        scenes: In the order of the confusion matrices.
        n_recordings: Recordings scored.
        n_trained_on: Those of them that the model was trained on.
        notes: What may make the scores optimistic or worse.
        recordings: Those scored.
        truth: True scene of each.
        log_posterior: Of each recording after the temperature, by head.
        native_hz: Sample rate of each recording's file.
    """

    scores: Mapping[str, HeadScores]
    scenes: tuple[str, ...]
    n_recordings: int
    n_trained_on: int
    notes: tuple[str, ...]
    recordings: tuple[Recording, ...] = ()
    truth: Int64[np.ndarray, " recording"] = field(default_factory=lambda: np.zeros(0, np.int64))
    log_posterior: Mapping[str, Float64[np.ndarray, "recording scene"]] = field(default_factory=dict)
    native_hz: tuple[int, ...] = ()

    def __repr__(self) -> str:
        """Return one line: recordings, scenes, and the accuracy by head."""
        shares = ", ".join(f"{head} {one.recording.accuracy:.1%}" for head, one in self.scores.items())
        mark = f", {self.heading}" if self.heading else ""
        counts = f"{counted(self.n_recordings, 'recording')}, {counted(len(self.scenes), 'scene')}"
        return f"<Evaluation {counts}: {shares} right{mark}>"

    @property
    def heading(self) -> str:
        """`LEAKAGE` where nobody may see the scores without it, else ""."""
        return LEAKAGE if any(note.startswith(LEAKAGE) for note in self.notes) else ""

    def correct(self, head: Head) -> Bool[np.ndarray, " recording"]:
        """Tell of each recording whether its most probable scene is the true one."""
        return self.log_posterior[head].argmax(axis=1) == self.truth

    def by_value(self, values: Sequence[str], head: Head) -> list[PartScore]:
        """Return the accuracy for each value of a column, and its 95 % interval.

        Args:
            values: Of each recording.
            head: Classifier.
        """
        correct, rows = self.correct(head), []
        for value in sorted(set(values), key=_natural):
            chosen = [i for i, own in enumerate(values) if own == value]
            groups = [self.recordings[i].group for i in chosen]
            accuracy = mean_interval(correct[chosen], groups, np.random.default_rng(0))
            rows.append(PartScore(value, len(chosen), len(set(groups)), accuracy))
        return rows

    def by_scene(self, head: str) -> list[SceneScore]:
        """Return precision, recall and F1 of each scene, by recording.

        Args:
            head: Classifier.
        """
        counts = self.scores[head].recording.confusion
        hits, true, predicted = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
        return [
            SceneScore(scene, int(true[i]), *_shares(int(hits[i]), int(true[i]), int(predicted[i])))
            for i, scene in enumerate(self.scenes)
        ]

    def sentence(self, head: Head) -> str:
        """Return the accuracy with its 95 % interval in one line.

        Args:
            head: Classifier.
        """
        (all_of_them,) = self.by_value([""] * self.n_recordings, head)
        low, high = all_of_them.accuracy.low, all_of_them.accuracy.high
        right = f"{all_of_them.accuracy.estimate:.1%} of {self.n_recordings} recordings right"
        mark = f"; {self.heading}" if self.heading else ""
        if all_of_them.n_groups < 2:
            return f"{right}, no interval ({head}; they are one group{mark})"
        return f"{right}, 95 % interval {low:.1%} to {high:.1%} ({head}, {all_of_them.n_groups} groups resampled{mark})"


def _shares(hits: int, true: int, predicted: int) -> tuple[float, float, float]:
    """Return precision, recall and F1."""
    nan = float("nan")
    f1 = 2 * hits / (true + predicted) if true + predicted else nan
    return hits / predicted if predicted else nan, hits / true if true else nan, f1


def _natural(value: str) -> tuple[float, str]:
    """Order numbers as numbers, and texts behind them."""
    try:
        return float(value), value
    except ValueError:
        return float("inf"), value
