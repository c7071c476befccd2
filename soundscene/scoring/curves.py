"""Curves of a report as numbers: reliability, accuracy against seconds heard, accuracy against epochs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int, Int64

from soundscene.scoring.fusion import product_by_recording
from soundscene.scoring.metrics import CALIBRATION_BINS

ENOUGH = 0.005  # half a point of accuracy


@dataclass(frozen=True)
class Reliability:
    """Answers by how sure they are: bins (i/15, (i+1)/15] of the top probability, those of `expected_calibration_error`.

    count [bin]: answers; confidence, accuracy [bin]: their mean top probability and share of right ones, nan where none is.
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
    """Accuracy of recordings of which only the beginning is heard.

    seconds [step]: multiples of a segment, the last one the end of the longest recording; accuracy [step]: over all
    recordings, each by the product rule over the segments that have ended by then; n_new [step]: recordings of which a
    further segment ended at this step. A recording that has no more keeps its last answer, so that all steps are about the
    same recordings, "at most" so many seconds are heard, and the last step is the recording accuracy.
    """

    seconds: Float64[np.ndarray, " step"]
    accuracy: Float64[np.ndarray, " step"]
    n_new: Int64[np.ndarray, " step"]

    @property
    def enough_s(self) -> float:
        """The smallest number of seconds after which no later step is better by half a point (0.005) or more."""
        later = np.append(np.maximum.accumulate(self.accuracy[::-1])[::-1][1:], -np.inf)
        return float(self.seconds[np.argmax(later - self.accuracy < ENOUGH - 1e-12)])


@dataclass(frozen=True)
class EpochCurve:
    """A column of the history over epochs: mean, lowest and highest of the parts that have the epoch, and their number."""

    epoch: Int64[np.ndarray, " epoch"]
    mean: Float64[np.ndarray, " epoch"]
    low: Float64[np.ndarray, " epoch"]
    high: Float64[np.ndarray, " epoch"]
    n: Int64[np.ndarray, " epoch"]


def reliability(log_posterior: Float[np.ndarray, "recording scene"], truth: Int[np.ndarray, " recording"]) -> Reliability:
    """Sort answers into bins of their top probability.

    log_posterior [recording, scene]: natural logs; truth [recording]: scene numbers. Source: Guo et al. 2017, section 2.
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
    """Accuracy when recordings are heard from their start, a segment more at each step.

    log_posterior [segment, scene], recording_of and start_s [segment]: of the voting segments, in any order; truth
    [recording]; segment_s: length of a segment, seconds. A recording that is digital silence so far has no vote and says
    what the product rule says of nothing: all scenes equal, the first one named.
    Raises ValueError without segments, or where `product_by_recording` does.
    """
    if len(start_s) == 0:
        raise ValueError("no segment to hear: a system that hears recordings as a whole has no such curve")
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
    """Mean of a column over the histories of several parts, epoch by epoch; rows without the column are passed over.

    histories: rows with "epoch" among their keys. Empty arrays where nothing has the column.
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
