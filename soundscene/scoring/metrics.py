"""Metrics of a posterior: pure functions of log posterior and truth, after one check of both.

Conventions, everywhere: the predicted scene is the most probable one, the first of equals. A macro average is taken over all
scenes of the posterior's last axis; a scene that is neither true nor predicted counts as zero (scikit-learn's
`labels=range(n_scenes), zero_division=0`), so a score never improves because a split lacks a scene.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Int64
from scipy.special import logsumexp

from soundscene.types import Compared

CALIBRATION_BINS = 15
PROBABILITY_FLOOR = 1e-15  # a certain error costs 34.5 nats, not infinity, which no mean survives


@dataclass(frozen=True, eq=False, repr=False)
class Metrics(Compared):
    """Hold the scores of `n` predictions, as shares in [0, 1].

    Attributes:
        n: Predictions.
        accuracy: Share of correct ones.
        macro_f1: Mean F1 over scenes.
        macro_precision: Mean precision over scenes.
        log_loss: In nats.
        calibration_error: Expected calibration error.
        confusion: [true scene, predicted scene], counts.
    """

    n: int
    accuracy: float
    macro_f1: float
    macro_precision: float
    log_loss: float
    calibration_error: float
    confusion: Int64[np.ndarray, "scene scene"]

    def __repr__(self) -> str:
        """Return one line: predictions, accuracy, F1 and log loss."""
        return f"<Metrics of {self.n}: {self.accuracy:.1%} right, F1 {self.macro_f1:.1%}, log loss {self.log_loss:.3f}>"


def no_scores(n_scenes: int) -> Metrics:
    """Return the metrics of no prediction at all: not numbers.

    Args:
        n_scenes: Size of the confusion matrix.
    """
    nan = float("nan")
    return Metrics(0, nan, nan, nan, nan, nan, np.zeros((n_scenes, n_scenes), np.int64))


def evaluate(
    log_posterior: Float[np.ndarray, "recording scene"], truth: Int[np.ndarray, " recording"], n_scenes: int
) -> Metrics:
    """Compute all metrics at once.

    Args:
        log_posterior: [recording, scene], natural logs, logsumexp 0.
        truth: [recording], scene numbers.
        n_scenes: Length of the scene axis, so that a posterior of another corpus is refused.

    Raises:
        ValueError: See `validate`.
    """
    validate(log_posterior, truth, n_scenes)
    return Metrics(
        n=len(truth),
        accuracy=accuracy(log_posterior, truth),
        macro_f1=macro_f1(log_posterior, truth),
        macro_precision=macro_precision(log_posterior, truth),
        log_loss=log_loss(log_posterior, truth),
        calibration_error=expected_calibration_error(log_posterior, truth),
        confusion=confusion(log_posterior, truth),
    )


def validate(
    log_posterior: Float[np.ndarray, "recording scene"], truth: Int[np.ndarray, " recording"], n_scenes: int
) -> None:
    """Refuse arrays that cannot be scored; the functions below rely on this.

    Args:
        log_posterior: [recording, scene], every row a log posterior: no NaN, logsumexp within 1e-4 of 0, -inf allowed.
        truth: [recording], scene numbers.
        n_scenes: Length that the scene axis must have.

    Raises:
        ValueError: There are no predictions, or the arrays are not as above.
    """
    if len(truth) == 0:
        raise ValueError("nothing to score: 0 predictions; is the test part empty?")
    if log_posterior.shape[1] != n_scenes:
        raise ValueError(f"log posterior has {log_posterior.shape[1]} scenes, expected {n_scenes}: made by another model?")
    if not 0 <= truth.min() <= truth.max() < n_scenes:
        raise ValueError(f"truth holds scenes {truth.min()} to {truth.max()}, allowed are 0 to {n_scenes - 1}")
    excess = np.abs(np.asarray(logsumexp(log_posterior.astype(np.float64), axis=1)))
    if not (excess < 1e-4).all():  # false for NaN too
        row = int(np.argmax(np.where(np.isnan(excess), np.inf, excess)))
        raise ValueError(
            f"row {row} of the log posterior has logsumexp {excess[row]:.3g} off 0, allowed is 1e-4: "
            "are these probabilities, unnormalised scores, or the output of a diverged network?"
        )


def accuracy(log_posterior: Float[np.ndarray, "recording scene"], truth: Int[np.ndarray, " recording"]) -> float:
    """Return the share of predictions whose most probable scene is the true one.

    >>> accuracy(np.log([[0.7, 0.3], [0.6, 0.4]]), np.array([0, 1]))
    0.5

    Args:
        log_posterior: [recording, scene], natural logs.
        truth: [recording], scene numbers.
    """
    return float(np.mean(log_posterior.argmax(axis=1) == truth))


def macro_f1(log_posterior: Float[np.ndarray, "recording scene"], truth: Int[np.ndarray, " recording"]) -> float:
    """Return the unweighted mean over scenes of F1 = 2 hits / (true + predicted).

    Args:
        log_posterior: [recording, scene], natural logs.
        truth: [recording], scene numbers.
    """
    counts = confusion(log_posterior, truth)
    return float(np.mean(2 * np.diag(counts) / np.maximum(counts.sum(axis=0) + counts.sum(axis=1), 1)))


def macro_precision(log_posterior: Float[np.ndarray, "recording scene"], truth: Int[np.ndarray, " recording"]) -> float:
    """Return the unweighted mean over scenes of precision = hits / predicted; 0 for a scene that is never predicted.

    Args:
        log_posterior: [recording, scene], natural logs.
        truth: [recording], scene numbers.
    """
    counts = confusion(log_posterior, truth)
    return float(np.mean(np.diag(counts) / np.maximum(counts.sum(axis=0), 1)))


def log_loss(log_posterior: Float[np.ndarray, "recording scene"], truth: Int[np.ndarray, " recording"]) -> float:
    """Return the mean of -ln p(true scene) in nats; probabilities below 1e-15 count as 1e-15.

    Args:
        log_posterior: [recording, scene], natural logs.
        truth: [recording], scene numbers.
    """
    of_truth = log_posterior[np.arange(len(truth)), truth].astype(np.float64)
    return float(-np.mean(np.maximum(of_truth, np.log(PROBABILITY_FLOOR))))


def expected_calibration_error(
    log_posterior: Float[np.ndarray, "recording scene"], truth: Int[np.ndarray, " recording"]
) -> float:
    """Return the mean gap between the top probability and the share of correct predictions, over 15 equal-width bins.

    Bins are (i/15, (i+1)/15]; each counts by its number of predictions. With few predictions the value is biased upwards:
    compare it only between systems on the same test part.

    Args:
        log_posterior: [recording, scene], natural logs.
        truth: [recording], scene numbers.

    Source: Guo et al. 2017, equation (3).
    """
    top = np.exp(log_posterior.max(axis=1).astype(np.float64))
    gap = top - (log_posterior.argmax(axis=1) == truth)
    bins = np.clip(np.ceil(top * CALIBRATION_BINS).astype(np.int64) - 1, 0, CALIBRATION_BINS - 1)
    return float(np.abs(np.bincount(bins, weights=gap)).sum() / len(truth))


def confusion(
    log_posterior: Float[np.ndarray, "recording scene"], truth: Int[np.ndarray, " recording"]
) -> Int64[np.ndarray, "scene scene"]:
    """Count predictions in a matrix [true scene, predicted scene].

    Args:
        log_posterior: [recording, scene], natural logs.
        truth: [recording], scene numbers.
    """
    n_scenes = log_posterior.shape[1]
    cells = truth.astype(np.int64) * n_scenes + log_posterior.argmax(axis=1)
    return np.bincount(cells, minlength=n_scenes**2).reshape(n_scenes, n_scenes)
