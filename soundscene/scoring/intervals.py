"""Uncertainty of a score: bootstrap intervals and paired tests that resample groups, never single recordings.

Recordings of one group (one place, one day, the pieces of one long take) are right or wrong together. Resampling them one
by one treats copies as independent evidence, and the interval comes out too narrow. The same holds for a recording that
was tested in several splits: pass all its predictions with the same group.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64, Shaped

_BLOCK = 2**21  # numbers in one block of draws: 16 MB, whatever the corpus

Groups = Sequence[str] | Shaped[np.ndarray, " recording"]
Score = Bool[np.ndarray, " recording"] | Float[np.ndarray, " recording"]
Statistic = Callable[[Float64[np.ndarray, "draw recording"]], Float64[np.ndarray, " draw"]]
"""A statistic of weighted recordings: weights [draw, recording] (how often each was drawn) -> value [draw]."""


@dataclass(frozen=True)
class Interval:
    """Hold an estimate and the bounds of its 95 % interval."""

    estimate: float
    low: float
    high: float


def bootstrap(statistic: Statistic, groups: Groups, generator: np.random.Generator, n: int = 10_000) -> Interval:
    """Compute the percentile bootstrap of any statistic, groups drawn with replacement.

    With fewer than about 20 groups the interval is too narrow. A score without any variation (all right) has a width of
    zero, which means that no error was seen, not that none will come (rule of three: up to 3 / number of groups).

    Args:
        statistic: Maps weights [draw, recording] to values [draw]; accuracy is `lambda w: w @ correct / w.sum(1)`.
        groups: [recording], label of each recording's group.
        generator: Source of the draws.
        n: Number of draws.

    Returns:
        The statistic at weights of one and its 2.5 % and 97.5 % percentiles over the draws (NaN draws are ignored).

    Raises:
        ValueError: There are no recordings.

    Source: Efron 1979; Field and Welsh 2007 (clusters).
    """
    group = _number(groups)
    values = np.concatenate([statistic(count[:, group]) for count in _draws(group, generator, n)])
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return Interval(float(statistic(np.ones((1, len(group))))[0]), float(low), float(high))


def mean_interval(score: Score, groups: Groups, generator: np.random.Generator, n: int = 10_000) -> Interval:
    """Compute the bootstrap of a mean over recordings, such as accuracy or log loss.

    The result is that of `bootstrap`, at the cost of groups instead of recordings.

    Args:
        score: [recording].
        groups: [recording], label of each recording's group.
        generator: Source of the draws.
        n: Number of draws.

    Raises:
        ValueError: There are no recordings, or lengths differ.
    """
    group = _number(groups)
    _check_length(score, group)
    total, size = np.bincount(group, weights=score), np.bincount(group)
    values = np.concatenate([count @ total / (count @ size) for count in _draws(group, generator, n)])
    low, high = np.percentile(values, [2.5, 97.5])
    return Interval(float(np.mean(score, dtype=np.float64)), float(low), float(high))


def paired_difference(
    correct_a: Score, correct_b: Score, groups: Groups, generator: np.random.Generator, n: int = 10_000
) -> Interval:
    """Compute the bootstrap of mean(a) - mean(b) on the same recordings, each draw with both systems' predictions together.

    Args:
        correct_a: [recording], right or wrong, or any score.
        correct_b: [recording], of the same recordings.
        groups: [recording], label of each recording's group.
        generator: Source of the draws.
        n: Number of draws.

    Raises:
        ValueError: There are no recordings, or lengths differ.
    """
    return mean_interval(_difference(correct_a, correct_b), groups, generator, n)


def sign_flip_test(
    correct_a: Score, correct_b: Score, groups: Groups, generator: np.random.Generator, n: int = 10_000
) -> float:
    """Compute the two-sided p-value of "neither system is better": under it, each group's sign is arbitrary.

    Groups in which the systems score the same have no influence. Up to 2^d <= n the signs of the d others are enumerated and
    the value is exact, else n draws give (1 + as extreme) / (1 + n).

    Args:
        correct_a: [recording], right or wrong, or any score.
        correct_b: [recording], of the same recordings.
        groups: [recording], label of each recording's group.
        generator: Source of the draws.
        n: Number of draws.

    Raises:
        ValueError: There are no recordings, or lengths differ.

    Source: Phipson and Smyth 2010 for the added one.
    """
    group = _number(groups)
    difference = _difference(correct_a, correct_b)
    _check_length(difference, group)
    by_group = np.bincount(group, weights=difference)
    by_group = by_group[np.abs(by_group) > 1e-12]
    d = len(by_group)
    threshold = np.abs(by_group.sum()) * (1 - 1e-12)  # sums of the same numbers in another order count as equal
    if 2.0**d <= n:
        signs = 1 - 2 * (np.arange(2**d)[:, None] >> np.arange(d) & 1)
        return float(np.mean(np.abs(signs @ by_group) >= threshold))
    extreme = 0
    for size in _blocks(n, d):
        signs = generator.integers(0, 2, size=(size, d), dtype=np.int8) * 2.0 - 1.0
        extreme += int(np.sum(np.abs(signs @ by_group) >= threshold))
    return (1 + extreme) / (1 + n)


def _draws(
    group: Int64[np.ndarray, " recording"], generator: np.random.Generator, n: int
) -> Iterator[Float64[np.ndarray, "draw group"]]:
    """How often each group is drawn, in blocks of draws small enough for [draw, recording] to fit in memory."""
    n_groups = int(group.max()) + 1
    for size in _blocks(n, len(group)):
        drawn = generator.integers(0, n_groups, size=(size, n_groups))
        drawn += np.arange(size)[:, None] * n_groups
        yield np.bincount(drawn.ravel(), minlength=size * n_groups).reshape(size, n_groups).astype(np.float64)


def _blocks(n: int, width: int) -> list[int]:
    size = max(1, min(n, _BLOCK // max(width, 1)))
    return [min(size, n - start) for start in range(0, n, size)]


def _number(groups: Groups) -> Int64[np.ndarray, " recording"]:
    if len(groups) == 0:
        raise ValueError("no recording to resample: groups is empty; is the test part empty?")
    return np.unique(np.asarray(groups), return_inverse=True)[1].astype(np.int64)


def _difference(correct_a: Score, correct_b: Score) -> Float64[np.ndarray, " recording"]:
    if len(correct_a) != len(correct_b):
        raise ValueError(f"a has {len(correct_a)} recordings, b has {len(correct_b)}: a pair needs the same recordings")
    return correct_a.astype(np.float64) - correct_b.astype(np.float64)


def _check_length(score: Score, group: Int64[np.ndarray, " recording"]) -> None:
    if len(score) != len(group):
        raise ValueError(f"{len(score)} scores for {len(group)} groups: each recording needs the label of its group")
