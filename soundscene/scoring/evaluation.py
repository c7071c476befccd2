"""What an evaluation found, as types: apart from `pipeline`, so that tables can be printed where nothing can be trained."""

from collections.abc import Mapping
from dataclasses import dataclass

from soundscene.scoring.metrics import Metrics


@dataclass(frozen=True)
class HeadScores:
    """Metrics of one head: of segments, of recordings by the product rule, and of the same after the temperature."""

    segment: Metrics
    recording: Metrics
    calibrated: Metrics


@dataclass(frozen=True)
class Evaluation:
    """Scores by head; scenes in the order of the confusion matrices; how many of the recordings the model was trained on."""

    scores: Mapping[str, HeadScores]
    scenes: tuple[str, ...]
    n_recordings: int
    n_trained_on: int
    notes: tuple[str, ...]
