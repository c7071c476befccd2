"""What the systems of a run cost: training and prediction of a recording, and size of the model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from soundscene.experiment.results import SplitResult

SEVERAL_NETWORKS = ("cnn-1d-2d-3d",)
"""Systems that train several networks one after the other, unless a variant of `branches` trains one."""

OTHER_EPOCHS = (*SEVERAL_NETWORKS, "mfcc-dnn", "lte-rnn", "lte-cnn")
"""Systems of which old results count other segments than an epoch runs over."""


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


def trains_several(system: str) -> bool:
    """Return whether a system or variant trains several networks one after the other.

    >>> trains_several("cnn-1d-2d-3d"), trains_several("cnn-1d-2d-3d+branches=2d"), trains_several("tt-cnn")
    (True, False, False)
    """
    base, _, variant = system.partition("+")
    return base in SEVERAL_NETWORKS and "branches=" not in variant.replace("branches=all", "")


def epochs_of(result: SplitResult) -> int | None:
    """Return the epochs of all networks of a training.

    Args:
        result: One without the fact has the rows of its last network only.

    Returns:
        None where a system trains several networks and the result does not have the fact.
    """
    if "epochs" in result.facts:
        return int(result.facts["epochs"])
    return None if trains_several(result.system) else len(result.history)


def segments_per_second(result: SplitResult) -> float:
    """Return how many segments a training went through in a second of its epochs.

    Args:
        result: One without the fact of all epochs counted the segments that vote, whatever its epochs run over.

    Returns:
        NaN where an epoch does not run over segments, or the number is of another count.
    """
    other = "epochs" not in result.facts and result.system.partition("+")[0] in OTHER_EPOCHS
    speed = result.facts.get("segments_trained_per_second")
    return float(speed) if speed and len(result.recording_of) and not other else float("nan")
