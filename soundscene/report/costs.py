"""What the systems of a run cost: training and prediction of a recording, and size of the model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from soundscene.experiment.results import SplitResult


@dataclass(frozen=True)
class Cost:
    """What a system costs: medians over its trainings, NaN where it is not known.

    Attributes:
        training_s: Seconds of a training for each recording that it was trained on.
        prediction_s: Seconds of a prediction of a recording whose features are stored.
        model_bytes: Size of the model file.
    """

    training_s: float
    prediction_s: float
    model_bytes: float


def costs(results: Sequence[SplitResult], sizes: Mapping[str, float] | None = None) -> dict[str, Cost]:
    """Return the cost of each system of a run, by name.

    Args:
        results: With the facts of their trainings.
        sizes: Bytes of the model files of each system.
    """
    by_system: dict[str, list[SplitResult]] = {}
    for result in results:
        by_system.setdefault(result.system, []).append(result)

    def median(of_system: Sequence[SplitResult], seconds: str, n: str) -> float:
        values = [r.facts[seconds] / r.facts[n] for r in of_system if r.facts.get(seconds) and r.facts.get(n)]
        return float(np.median(values)) if values else float("nan")

    return {
        name: Cost(
            median(of_system, "seconds", "training_recordings"),
            median(of_system, "predict_seconds", "test_recordings"),
            (sizes or {}).get(name, float("nan")),
        )
        for name, of_system in by_system.items()
    }
