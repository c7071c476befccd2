"""The product rule over segments and over systems, in logs, and the temperature that calibrates its posterior.

Source: section 4.5 (probabilistic multiplicative fusion, then likelihood maximization) and section 4.6 (two systems).
Why in logs: docs/decisions/0032-fusion-in-logs.md. Why a temperature: docs/decisions/0031-temperature.md.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float64, Int
from scipy.special import log_softmax

from soundscene.types import LogPosterior

MIN_TEMPERATURE = 0.05
MAX_TEMPERATURE = 1000.0
PSEUDO_ERROR = 0.25  # recordings' worth of error that the fit assumes on top of those it sees; 0031 has the measurement


def product(log_posterior: Float[np.ndarray, "segment scene"]) -> Float64[np.ndarray, " scene"]:
    """Fuse the segments of one recording by the product rule: sum of logs, renormalised.

    A scene that any segment excludes (-inf) is excluded. Where every scene is excluded, or there is no segment, all scenes
    are equally probable.

    >>> np.exp(product(np.log([[0.8, 0.2], [0.5, 0.5]]))).round(3)
    array([0.8, 0.2])

    Args:
        log_posterior: [segment, scene], natural logs; -inf is a probability of exactly zero.

    Returns:
        Log posterior [scene], logsumexp 0.

    Raises:
        ValueError: A value is NaN or +inf.

    Source: section 4.5.
    """
    return product_by_recording(log_posterior, np.zeros(len(log_posterior), np.int64), 1)[0]


def product_by_recording(
    log_posterior: Float[np.ndarray, "segment scene"], recording_index: Int[np.ndarray, " segment"], n_recordings: int
) -> Float64[np.ndarray, "{n_recordings} scene"]:
    """Fuse segments to recordings, as `product` does for one; segments may come in any order.

    Args:
        log_posterior: [segment, scene], natural logs.
        recording_index: [segment], the recording of each segment, 0 to n_recordings - 1.
        n_recordings: Number of recordings.

    Returns:
        Log posterior [recording, scene]; uniform for a recording without a segment.

    Raises:
        ValueError: An index is outside the range, or a value is NaN or +inf.

    Source: section 4.5.
    """
    _check_logs(log_posterior)
    if recording_index.size and not 0 <= recording_index.min() <= recording_index.max() < n_recordings:
        raise ValueError(
            f"recording_index holds {recording_index.min()} to {recording_index.max()}, "
            f"allowed are 0 to {n_recordings - 1}: it must number the recordings of this very array"
        )
    total = np.zeros((n_recordings, log_posterior.shape[1]))
    np.add.at(total, recording_index, log_posterior)  # float64, whatever the segments are
    return _renormalise(total)


def fuse_systems(log_posteriors: Sequence[Float[np.ndarray, "recording scene"]]) -> Float64[np.ndarray, "recording scene"]:
    """Fuse the posteriors of several systems for the same recordings by the product rule with equal weights.

    Args:
        log_posteriors: One [recording, scene] per system, same recordings and scenes in the same order.

    Raises:
        ValueError: There is no system, shapes differ, or a value is NaN or +inf.

    Source: section 4.6, "Att-CRNN (fusion)".
    """
    shapes = sorted({array.shape for array in log_posteriors})
    if len(shapes) != 1:
        raise ValueError(
            f"systems to fuse have shapes {shapes or 'none (no system given)'}; "
            "they must have predicted the same recordings with the same scenes"
        )
    for array in log_posteriors:
        _check_logs(array)
    return _renormalise(np.stack(log_posteriors).sum(axis=0, dtype=np.float64))


def temper(log_posterior: Float[np.ndarray, "*batch scene"], temperature: float) -> LogPosterior:
    """Flatten (temperature > 1) or sharpen (< 1) a posterior without changing the order of its scenes.

    Args:
        log_posterior: [..., scene], natural logs.
        temperature: Positive.

    Returns:
        log_softmax(log_posterior / temperature); scenes at -inf stay there.

    Raises:
        ValueError: The temperature is not positive and finite, or a value is NaN or +inf.

    Source: Guo et al. 2017, section 4.2.
    """
    if not 0 < temperature < np.inf:
        raise ValueError(f"temperature must be positive and finite, got {temperature}")
    _check_logs(log_posterior)
    return _renormalise(log_posterior.astype(np.float64) / temperature)


def fit_temperature(log_posterior: Float[np.ndarray, "recording scene"], truth: Int[np.ndarray, " recording"]) -> float:
    """Find the temperature, 0.05 to 1000, that minimises the log loss of the posterior on held-out recordings.

    Where every recording is right the log loss alone is minimal at temperature 0, that is certainty, however few they
    are. So a quarter of a recording's error is added: the mean log loss of the strongest wrong scene, weighted 0.25. With
    n recordings, all right and alike, the tempered probability comes to n / (n + 0.25). A recording whose true scene has
    probability zero is left out. Without any recording left, or where all of them are uniform, the result is 1.

    Args:
        log_posterior: [recording, scene], of recordings that neither network nor head was trained on.
        truth: [recording], number of the true scene.

    Raises:
        ValueError: A truth is outside the scenes, or a value is NaN or +inf.

    Source: Guo et al. 2017, section 4.2.
    """
    _check_logs(log_posterior)
    if truth.size and not 0 <= truth.min() <= truth.max() < log_posterior.shape[1]:
        raise ValueError(f"truth holds scenes {truth.min()} to {truth.max()}, allowed are 0 to {log_posterior.shape[1] - 1}")
    rows = np.arange(len(truth))
    rivals = np.array(log_posterior, np.float64)
    rivals[rows, truth] = -np.inf
    rival = rivals.argmax(axis=1)
    usable = np.isfinite(log_posterior[rows, truth]) & np.isfinite(rivals[rows, rival])
    scores = log_posterior[usable].astype(np.float64)
    scores -= scores.max(axis=1, keepdims=True)
    if not (scores < 0).any():
        return 1.0
    rows, truth, rival = np.arange(len(scores)), truth[usable], rival[usable]

    def loss(log_temperature: float) -> float:
        tempered = log_softmax(scores / np.exp(log_temperature), axis=1)
        return -tempered[rows, truth].sum() - PSEUDO_ERROR * tempered[rows, rival].mean()

    from scipy.optimize import minimize_scalar  # here, because it takes 0.3 s to import and prediction never needs it

    # Convex in 1 / temperature, so one minimum in the logarithm too.
    best = minimize_scalar(
        loss, bounds=(np.log(MIN_TEMPERATURE), np.log(MAX_TEMPERATURE)), method="bounded", options={"xatol": 1e-6}
    )
    return float(np.exp(best.x))


def _check_logs(log_posterior: Float[np.ndarray, "*batch scene"]) -> None:
    if not (log_posterior < np.inf).all():  # false for NaN too
        raise ValueError("log posterior holds NaN or +inf, allowed are finite numbers and -inf: has the training diverged?")


def _renormalise(log_score: Float64[np.ndarray, "*batch scene"]) -> LogPosterior:
    all_excluded = np.isneginf(log_score).all(axis=-1, keepdims=True)  # softmax would be NaN: uniform instead
    return log_softmax(np.where(all_excluded, 0.0, log_score), axis=-1)
