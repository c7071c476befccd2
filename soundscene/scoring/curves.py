"""Curves of a report as numbers: reliability, accuracy by duration, accuracy by epoch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int, Int64

from soundscene.scoring.fusion import product_by_recording
from soundscene.scoring.metrics import CALIBRATION_BINS

ENOUGH = 0.005  # half a point of accuracy


@dataclass(frozen=True)
class Reliability:
    """Hold predictions by their confidence, in the bins (i/15, (i+1)/15] of `expected_calibration_error`.

    Attributes:
        count: [bin], predictions.
        confidence: [bin], their mean top probability; nan for an empty bin.
        accuracy: [bin], their share of correct ones; nan for an empty bin.
    """

    count: Int64[np.ndarray, " bin"]
    confidence: Float64[np.ndarray, " bin"]
    accuracy: Float64[np.ndarray, " bin"]

    @property
    def error(self) -> float:
        """The expected calibration error, from the bins alone."""
        used = self.count > 0
        return float(np.sum(self.count[used] * np.abs(self.confidence - self.accuracy)[used]) / self.count.sum())


@dataclass(frozen=True)
class AccuracyByDuration:
    """Hold the accuracy of predictions from only the beginning of each recording.

    A recording without a further segment keeps its last prediction, so all steps are about the same recordings, and the last
    step is the recording accuracy.

    Attributes:
        seconds: [step], multiples of a segment, the last one the end of the longest recording.
        accuracy: [step], over all recordings, each by the product rule over the segments that have ended by then.
        n_new: [step], recordings of which a further segment ended at this step.
    """

    seconds: Float64[np.ndarray, " step"]
    accuracy: Float64[np.ndarray, " step"]
    n_new: Int64[np.ndarray, " step"]

    @property
    def enough_s(self) -> float:
        """The smallest duration after which no later step is better by half a point (0.005) or more, seconds."""
        later = np.append(np.maximum.accumulate(self.accuracy[::-1])[::-1][1:], -np.inf)
        return float(self.seconds[np.argmax(later - self.accuracy < ENOUGH - 1e-12)])


@dataclass(frozen=True)
class EpochCurve:
    """Hold a column of the history by epoch.

    Attributes:
        epoch: [epoch].
        mean: [epoch], over the parts that have the epoch.
        low: [epoch], lowest of them.
        high: [epoch], highest of them.
        n: [epoch], their number.
    """

    epoch: Int64[np.ndarray, " epoch"]
    mean: Float64[np.ndarray, " epoch"]
    low: Float64[np.ndarray, " epoch"]
    high: Float64[np.ndarray, " epoch"]
    n: Int64[np.ndarray, " epoch"]


def reliability(log_posterior: Float[np.ndarray, "recording scene"], truth: Int[np.ndarray, " recording"]) -> Reliability:
    """Sort predictions into bins of their top probability.

    Args:
        log_posterior: [recording, scene], natural logs.
        truth: [recording], scene numbers.

    Source: Guo et al. 2017, section 2.
    """
    top = np.exp(log_posterior.max(axis=1).astype(np.float64))
    right = (log_posterior.argmax(axis=1) == truth).astype(np.float64)
    bins = np.clip(np.ceil(top * CALIBRATION_BINS).astype(np.int64) - 1, 0, CALIBRATION_BINS - 1)
    count = np.bincount(bins, minlength=CALIBRATION_BINS)
    of_none = np.where(count > 0, count, np.nan)
    return Reliability(
        count.astype(np.int64),
        np.bincount(bins, weights=top, minlength=CALIBRATION_BINS) / of_none,
        np.bincount(bins, weights=right, minlength=CALIBRATION_BINS) / of_none,
    )


def accuracy_by_seconds(
    log_posterior: Float[np.ndarray, "segment scene"],
    recording_of: Int[np.ndarray, " segment"],
    start_s: Float[np.ndarray, " segment"],
    truth: Int[np.ndarray, " recording"],
    segment_s: float,
) -> AccuracyByDuration:
    """Compute the accuracy from the start of each recording, with one segment more at each step.

    A recording that is digital silence so far has no vote. Its prediction is the product rule of no segment: all scenes
    equal, the first one named.

    Args:
        log_posterior: [segment, scene], of the voting segments in any order.
        recording_of: [segment], recording numbers.
        start_s: [segment], seconds.
        truth: [recording], scene numbers.
        segment_s: Length of a segment, seconds.

    Raises:
        ValueError: There are no segments, or `product_by_recording` raises it.
    """
    if len(start_s) == 0:
        raise ValueError("no segments: a system that predicts from whole recordings has no such curve")
    end_s = start_s.astype(np.float64) + segment_s
    step = np.ceil(end_s / segment_s - 1e-6).astype(np.int64) - 1  # the last piece, shifted back, ends within a step
    n_steps = int(step.max()) + 1
    by_step = np.split(np.argsort(step, kind="stable"), np.cumsum(np.bincount(step, minlength=n_steps))[:-1])
    total = np.zeros((len(truth), log_posterior.shape[1]))
    accuracy, n_new = np.zeros(n_steps), np.zeros(n_steps, np.int64)
    for k, chosen in enumerate(by_step):
        total += product_by_recording(log_posterior[chosen], recording_of[chosen], len(truth))
        accuracy[k] = np.mean(total.argmax(axis=1) == truth)
        n_new[k] = len(np.unique(recording_of[chosen]))
    seconds = np.minimum(segment_s * np.arange(1, n_steps + 1), end_s.max())
    return AccuracyByDuration(seconds, accuracy, n_new)


def epoch_curve(histories: Sequence[list[dict[str, float]]], key: str = "test_accuracy") -> EpochCurve:
    """Average a column over the histories of several parts, epoch by epoch; rows without the column are skipped.

    Args:
        histories: Rows with "epoch" among their keys.
        key: Name of the column.

    Returns:
        The curve; empty arrays where no row has the column.
    """
    values: dict[int, list[float]] = {}
    for history in histories:
        for row in history:
            if key in row:
                values.setdefault(int(row["epoch"]), []).append(row[key])
    epochs = sorted(values)

    def column(statistic: Callable[[list[float]], float]) -> Float64[np.ndarray, " epoch"]:
        return np.array([statistic(values[e]) for e in epochs], np.float64)

    n = np.array([len(values[e]) for e in epochs], np.int64)
    return EpochCurve(np.array(epochs, np.int64), column(lambda v: sum(v) / len(v)), column(min), column(max), n)
