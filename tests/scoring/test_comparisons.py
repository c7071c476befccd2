import jaxtyping
import numpy as np
import pytest
from scipy import stats
from scipy.stats import binom, binomtest, norm, permutation_test
from statsmodels.stats.multitest import multipletests

from soundscene.scoring.comparisons import (
    Comparison,
    corrected,
    evidence_once,
    evidence_repeated,
    group_standard_error,
)
from soundscene.scoring.intervals import Interval, sign_flip_test


def comparison(p, estimate=0.1):
    nothing = float("nan")
    return Comparison("q", "a", "b", "accuracy", Interval(estimate, nothing, nothing), p, nothing, nothing, 1, 1)


def test_sign_flips_agree_with_scipy():
    generator = np.random.default_rng(0)
    a, b = generator.random(40) < 0.8, generator.random(40) < 0.5
    groups = np.arange(40) // 4
    by_group = np.bincount(groups, weights=a.astype(float) - b)

    def total(one, other, axis):
        return np.sum(one - other, axis=axis)

    reference = permutation_test(
        (by_group, np.zeros(10)), total, permutation_type="samples", n_resamples=2**10, vectorized=True
    )
    evidence = evidence_once(a, b, groups, generator)
    assert 0.001 < reference.pvalue < 0.5
    assert evidence.p == pytest.approx(reference.pvalue, abs=1e-12)
    assert evidence.difference.estimate == pytest.approx(a.mean() - b.mean())
    assert evidence.difference.low < evidence.difference.estimate < evidence.difference.high


def mcnemar(a, b):
    """Exact, as if recordings were independent."""
    ahead, behind = int(np.sum(a & ~b)), int(np.sum(~a & b))
    return binomtest(ahead, ahead + behind).pvalue if ahead + behind else 1.0


def test_false_alarms_where_recordings_of_a_group_are_alike():
    """Two equal systems; each group of six is easy or hard for one of them by luck: 5 % by group, far more by recording."""
    generator = np.random.default_rng(1)
    runs, groups = 400, np.repeat(np.arange(24), 6)
    by_group = by_recording = 0
    for _ in range(runs):
        chance = generator.beta(2, 1, (2, 24))[:, groups]
        a, b = generator.random((2, 144)) < chance
        by_group += sign_flip_test(a, b, groups, generator, 999) < 0.05
        by_recording += mcnemar(a, b) < 0.05
    low, high = binom.ppf([0.001, 0.999], runs, 0.05)
    assert low <= by_group <= high
    assert by_recording > 2 * high


def test_the_corrected_t_test_by_hand():
    """Differences 1, 2, 3 and 6 points, 20 test recordings for 80 training ones: mean 3, variance 14/3 (points)."""
    difference = np.array([0.01, 0.02, 0.03, 0.06])
    evidence = evidence_repeated(difference, 0.25)
    error = np.sqrt((1 / 4 + 1 / 4) * (14 / 3) * 1e-4)
    assert error == pytest.approx(0.01527525, abs=1e-8)
    assert evidence.p == pytest.approx(2 * stats.t.cdf(-0.03 / error, 3), rel=1e-12)
    t_975, t_80 = 3.182446, 0.978472  # of a printed table, 3 degrees of freedom
    assert evidence.difference.estimate == pytest.approx(0.03)
    assert evidence.difference.high == pytest.approx(0.03 + t_975 * error, abs=1e-7)
    assert evidence.difference.low == pytest.approx(0.03 - t_975 * error, abs=1e-7)
    assert evidence.smallest == pytest.approx((t_975 + t_80) * error, abs=1e-7)


def test_without_overlap_it_is_the_t_test_and_the_correction_only_widens():
    difference = np.random.default_rng(2).normal(0.01, 0.02, 20)
    t = difference.mean() / stats.sem(difference)
    none = evidence_repeated(difference, 1e-12)
    assert none.p == pytest.approx(2 * stats.t.sf(abs(t), 19), rel=1e-6)
    bounds = stats.t.interval(0.95, 19, loc=difference.mean(), scale=stats.sem(difference))
    assert (none.difference.low, none.difference.high) == pytest.approx(bounds, rel=1e-6)
    corrected_one = evidence_repeated(difference, 0.25)
    assert corrected_one.p > none.p
    width = corrected_one.difference.high - corrected_one.difference.low
    assert width / (none.difference.high - none.difference.low) == pytest.approx(np.sqrt((1 / 20 + 0.25) / (1 / 20)))


def test_false_alarms_over_random_splits_of_one_corpus():
    """Two equal systems, 20 random splits of the same 100 recordings: the plain t test takes luck for a finding."""
    generator = np.random.default_rng(3)
    runs, plain, fitting = 300, 0, 0
    for _ in range(runs):
        luck = generator.normal(0, 1, 100)  # by which one system is ahead of the other on each recording
        d = np.array([luck[generator.permutation(100)[:20]].mean() for _ in range(20)])
        plain += abs(d.mean()) > stats.t.ppf(0.975, 19) * stats.sem(d)
        fitting += evidence_repeated(d, 0.25).p < 0.05
    assert fitting <= binom.ppf(0.999, runs, 0.05)
    assert plain > 2 * binom.ppf(0.999, runs, 0.05)


def test_the_standard_error_is_the_deviation_of_the_bootstrap():
    generator = np.random.default_rng(4)
    groups = np.repeat(np.arange(60), generator.integers(1, 8, 60))
    score = generator.normal(size=60)[groups] + generator.normal(size=len(groups))
    n = np.bincount(groups)
    sums = np.bincount(groups, weights=score)
    drawn = generator.integers(0, 60, (20_000, 60))
    means = sums[drawn].sum(axis=1) / n[drawn].sum(axis=1)
    assert group_standard_error(score, groups) == pytest.approx(means.std(), rel=0.03)


def test_the_standard_error_of_single_recordings_is_the_textbook_one():
    score = np.random.default_rng(5).normal(size=30)
    assert group_standard_error(score, np.arange(30)) == pytest.approx(stats.sem(score), rel=1e-12)
    assert np.isnan(group_standard_error(score, np.zeros(30, np.int64)))


def test_the_smallest_difference_is_found_in_four_of_five_corpora():
    """Corpora whose true difference is what a first corpus called the smallest: about 80 % are found (here 60 groups)."""
    generator = np.random.default_rng(6)
    groups = np.arange(60)
    deviation = 0.3
    sizes = [
        evidence_once(generator.normal(0, deviation, 60), np.zeros(60), groups, generator, 50).smallest for _ in range(50)
    ]
    true = float(np.mean(sizes))
    assert true == pytest.approx((norm.ppf(0.975) + norm.ppf(0.8)) * deviation / np.sqrt(60), rel=0.05)
    runs = 300
    found = sum(
        sign_flip_test(generator.normal(true, deviation, 60), np.zeros(60), groups, generator, 999) < 0.05
        for _ in range(runs)
    )
    assert binom.ppf(0.001, runs, 0.8) <= found <= binom.ppf(0.999, runs, 0.8)


def test_several_seeds_of_a_recording_add_no_groups():
    """The same answers three times over, with the same groups: not a bit more certain."""
    generator = np.random.default_rng(7)
    a, b, groups = generator.random(30) < 0.9, generator.random(30) < 0.6, np.arange(30) // 2
    once = evidence_once(a, b, groups, np.random.default_rng(0))
    thrice = evidence_once(np.tile(a, 3), np.tile(b, 3), np.tile(groups, 3), np.random.default_rng(0))
    assert thrice.p == once.p
    assert thrice.smallest == pytest.approx(once.smallest)
    assert thrice.difference.low == pytest.approx(once.difference.low)


def test_where_nothing_varies():
    same = evidence_once(np.ones(8, bool), np.ones(8, bool), np.arange(8), np.random.default_rng(0), 100)
    assert same.p == 1
    assert np.isnan(same.smallest)
    same = evidence_repeated(np.zeros(5), 0.25)
    assert (same.p, same.difference.low, same.difference.high) == (1, 0, 0)
    shifted = evidence_repeated(np.full(5, 0.1), 0.25)
    assert shifted.difference.estimate == pytest.approx(0.1)
    assert np.isnan([shifted.p, shifted.smallest, shifted.difference.low]).all()


def test_holm_over_a_family():
    p = [0.01, 0.04, 0.03, 0.005]
    family = corrected([comparison(value) for value in p])
    np.testing.assert_allclose([c.p_holm for c in family], [0.03, 0.06, 0.06, 0.02])  # 4, 3, 2, 1 times, never falling
    np.testing.assert_allclose([c.p_holm for c in family], np.asarray(multipletests(p, method="holm")[1]))
    assert [c.p for c in family] == p
    with_none = corrected([comparison(0.02), comparison(float("nan"))])
    np.testing.assert_allclose([c.p_holm for c in with_none], [0.04, 1.0])
    assert corrected([]) == []
    assert [c.p_holm for c in corrected([comparison(0.01), comparison(0.02)], 5)] == pytest.approx([0.05, 0.08])


def test_the_verdict_follows_the_corrected_value_and_the_sign():
    first, second, third = corrected([comparison(0.001), comparison(0.001, -0.1), comparison(0.049)])
    assert (first.verdict, second.verdict, third.verdict) == ("holds", "reversed", "holds")
    lost = corrected([comparison(0.049), comparison(0.3)])
    assert [c.verdict for c in lost] == ["undecided", "undecided"]
    assert comparison(0.001).verdict == "undecided"  # not corrected yet


def test_designs_that_cannot_be_tested_are_refused(monkeypatch):
    with pytest.raises(ValueError, match=r"1 split: the variance over splits needs at least 2"):
        evidence_repeated(np.zeros(1), 0.25)
    with pytest.raises(ValueError, match=r"test_per_train must be positive and finite, got 0\.0"):
        evidence_repeated(np.zeros(3), 0.0)
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match="a has 3 recordings, b has 2"):
        evidence_once(np.zeros(3), np.zeros(2), np.arange(3), np.random.default_rng(0))
