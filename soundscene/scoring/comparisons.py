"""Paired tests of one system against another that fit the design of the splits, and the smallest difference they detect.

"once": every group is in one test part, so groups are independent, and signs are flipped group by group. "repeated": random
splits of one corpus, whose training parts overlap, so that the differences of the splits are correlated: the corrected
resampled t test. Why these two: docs/decisions/0053-tests-and-intervals.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float, Float64
from scipy import stats
from statsmodels.stats.multitest import multipletests

from soundscene.scoring.intervals import Groups, Interval, Score, paired_difference, sign_flip_test
from soundscene.texts import counted

LEVEL = 0.05
POWER = 0.8


@dataclass(frozen=True)
class Evidence:
    """Hold a difference of means, first minus second, and its test.

    Attributes:
        difference: With its 95 % interval.
        p: Two-sided; nan where the test is undefined.
        smallest: Difference that a two-sided test at 5 %, without correction for several questions, would detect in four of
            five such corpora; nan where nothing varies.
    """

    difference: Interval
    p: float
    smallest: float


@dataclass(frozen=True)
class Comparison:
    """Hold one question of a family and its result.

    Attributes:
        question: The claim that holds if first is better.
        first: Label.
        second: Label.
        measure: What is averaged.
        difference: First minus second, as a share.
        p: Of this question alone.
        p_holm: After Holm's correction over its family.
        smallest: As in `Evidence`.
        n_splits: Splits compared.
        n_groups: Groups tested.
    """

    question: str
    first: str
    second: str
    measure: str
    difference: Interval
    p: float
    p_holm: float
    smallest: float
    n_splits: int
    n_groups: int

    @property
    def verdict(self) -> Literal["holds", "reversed", "undecided"]:
        """Whether the claim holds, by corrected p-value and sign; "undecided" does not mean that the two are equal."""
        if not self.p_holm < LEVEL:
            return "undecided"
        return "holds" if self.difference.estimate > 0 else "reversed"


def evidence_once(first: Score, second: Score, groups: Groups, generator: np.random.Generator, n: int = 10_000) -> Evidence:
    """Test a difference where every group is in one test part: interval by bootstrap, p by sign flips, both of whole groups.

    The smallest difference is (z_0.975 + z_0.8) standard errors, the error as in `group_standard_error`.

    Args:
        first: [recording], right or wrong, or any score.
        second: [recording], of the same recordings (or segments).
        groups: [recording].
        generator: Source of the draws.
        n: Number of draws.

    Raises:
        ValueError: Lengths differ.
    """
    interval = paired_difference(first, second, groups, generator, n)
    p = sign_flip_test(first, second, groups, generator, n)
    error = group_standard_error(first.astype(np.float64) - second.astype(np.float64), groups)
    reach = stats.norm.ppf(1 - LEVEL / 2) + stats.norm.ppf(POWER)
    return Evidence(interval, p, float(reach * error) if error > 0 else float("nan"))


def evidence_repeated(difference: Float64[np.ndarray, " split"], test_per_train: float) -> Evidence:
    """Test a difference over random splits of one corpus by the corrected resampled t test.

    With J splits, variance v (divisor J - 1): error = sqrt((1 / J + test_per_train) v), t = mean / error with J - 1 degrees
    of freedom; interval and smallest difference (t_0.975 + t_0.8 errors) of the same. p and interval are nan where the
    differences are all the same but not zero, because their variance is unknown.

    Args:
        difference: [split], mean difference in each test part.
        test_per_train: Test recordings per training recording.

    Raises:
        ValueError: There are fewer than two splits, or test_per_train is not positive and finite.

    Source: Nadeau and Bengio 2003, section 3; Bouckaert and Frank 2004.
    """
    n = len(difference)
    if n < 2:
        raise ValueError(f"{counted(n, 'split')}: the variance over splits needs at least 2")
    if not 0 < test_per_train < np.inf:
        raise ValueError(f"test_per_train must be positive and finite, got {test_per_train}")
    mean = float(difference.mean())
    if np.ptp(difference) <= 1e-12:
        same = abs(mean) <= 1e-12
        bound = mean if same else float("nan")
        return Evidence(Interval(mean, bound, bound), 1.0 if same else float("nan"), float("nan"))
    error = np.sqrt((1 / n + test_per_train) * difference.var(ddof=1))
    p = 2 * stats.t.sf(abs(mean) / error, n - 1)
    half = stats.t.ppf(1 - LEVEL / 2, n - 1) * error
    smallest = half + stats.t.ppf(POWER, n - 1) * error
    return Evidence(Interval(mean, mean - float(half), mean + float(half)), float(p), float(smallest))


def group_standard_error(score: Float[np.ndarray, " recording"], groups: Groups) -> float:
    """Compute the standard error of the mean over recordings when whole groups are drawn, which the bootstrap estimates.

    With G groups of n_g recordings and sums s_g: sqrt(G / (G - 1) sum (s_g - mean n_g)^2) / recordings.

    Args:
        score: [recording].
        groups: [recording].

    Returns:
        0 where all groups have the same mean, nan with a single group.

    Source: Cochran 1977 (ratio of cluster totals).
    """
    group = np.unique(np.asarray(groups), return_inverse=True)[1]
    total, size = np.bincount(group, weights=score), np.bincount(group)
    n_groups = len(size)
    if n_groups < 2:
        return float("nan")
    off = total - score.mean() * size
    off[np.abs(off) < 1e-12] = 0.0
    return float(np.sqrt(n_groups / (n_groups - 1) * np.sum(off**2)) / len(score))


def corrected(family: Sequence[Comparison], n_asked: int = 0) -> list[Comparison]:
    """Return the comparisons with `p_holm` over all of them; an undefined test (p nan) counts as p = 1.

    Source: Holm 1979, which holds whatever the dependence between the questions.

    Args:
        family: All that have an answer.
        n_asked: Questions of the family, if some have no answer yet; those count as p = 1.
    """
    if not family:
        return []
    p = np.nan_to_num(np.array([c.p for c in family]), nan=1.0)
    p = np.append(p, np.ones(max(0, n_asked - len(p))))
    holm = np.asarray(multipletests(p, alpha=LEVEL, method="holm")[1], np.float64)
    return [replace(c, p_holm=float(value)) for c, value in zip(family, holm, strict=False)]
