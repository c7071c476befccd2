"""Types of an evaluation's results, apart from `pipeline` so that tables can be printed without training packages."""

from collections.abc import Mapping
from dataclasses import dataclass

from soundscene.scoring.metrics import Metrics


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
class Evaluation:
    """Hold the scores of a model on a test part.

    Attributes:
        scores: By head.
        scenes: In the order of the confusion matrices.
        n_recordings: Recordings scored.
        n_trained_on: Those of them that the model was trained on.
        notes: What may make the scores optimistic or worse.
    """

    scores: Mapping[str, HeadScores]
    scenes: tuple[str, ...]
    n_recordings: int
    n_trained_on: int
    notes: tuple[str, ...]
