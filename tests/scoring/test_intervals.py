import jaxtyping
import numpy as np
import pytest
from scipy.stats import binomtest

from soundscene.scoring import intervals
from soundscene.scoring.intervals import bootstrap, mean_interval, paired_difference, sign_flip_test


def accuracy_of(correct):
    return lambda weights: weights @ correct / weights.sum(axis=1)


def alone(n):
    return np.arange(n)


def test_coverage_is_roughly_95_percent_for_independent_groups():
    generator = np.random.default_rng(0)
    p, n, runs = 0.8, 60, 500
    covered = 0
    for _ in range(runs):
        interval = mean_interval(generator.random(n) < p, alone(n), generator, 600)
        covered += interval.low <= p <= interval.high
    assert 0.91 <= covered / runs <= 0.98  # deviation of the estimate: 0.01


def test_coverage_needs_the_groups_when_recordings_are_alike():
    """Ten copies each of forty independent recordings: by group it holds, by recording it fails badly."""
    generator = np.random.default_rng(1)
    p, runs = 0.75, 300
    grouped = naive = 0
    for _ in range(runs):
        correct = np.repeat(generator.random(40) < p, 10)
        by_group = mean_interval(correct, alone(400) // 10, generator, 400)
        by_recording = mean_interval(correct, alone(400), generator, 400)
        grouped += by_group.low <= p <= by_group.high
        naive += by_recording.low <= p <= by_recording.high
    assert 0.89 <= grouped / runs <= 0.98
    assert naive / runs < 0.6


def test_duplicates_widen_by_the_root_of_their_number():
    generator = np.random.default_rng(2)
    correct = np.repeat(generator.random(100) < 0.7, 9)
    by_group = mean_interval(correct, alone(900) // 9, generator)
    naive = mean_interval(correct, alone(900), generator)
    assert (by_group.high - by_group.low) / (naive.high - naive.low) == pytest.approx(3, rel=0.08)


def test_the_width_of_a_mean_is_that_of_the_normal_theory():
    score = np.random.default_rng(3).standard_normal(2000)
    interval = mean_interval(score, alone(2000), np.random.default_rng(4))
    half = 1.96 * score.std() / np.sqrt(2000)
    assert interval.estimate == pytest.approx(score.mean())
    assert interval.low == pytest.approx(score.mean() - half, abs=0.05 * half)
    assert interval.high == pytest.approx(score.mean() + half, abs=0.05 * half)


def test_any_statistic_and_the_mean_draw_the_same(monkeypatch):
    correct = np.random.default_rng(5).random(50) < 0.6
    groups = [f"place {i % 13}" for i in range(50)]
    general = bootstrap(accuracy_of(correct), groups, np.random.default_rng(6), 3000)
    mean = mean_interval(correct, groups, np.random.default_rng(6), 3000)
    assert (general.low, general.high) == pytest.approx((mean.low, mean.high), abs=1e-12)
    assert general.estimate == pytest.approx(correct.mean())
    monkeypatch.setattr(intervals, "_BLOCK", 50 * 7)  # small blocks draw the same
    assert mean_interval(correct, groups, np.random.default_rng(6), 3000) == mean


def test_macro_recall_as_a_statistic_by_a_plain_loop():
    generator = np.random.default_rng(7)
    truth = np.arange(60) % 3
    correct = generator.random(60) < np.array([0.9, 0.7, 0.5])[truth]
    one_hot = np.eye(3)[truth]

    def macro_recall(weights):
        return ((weights @ (one_hot * correct[:, None])) / (weights @ one_hot)).mean(axis=1)

    interval = bootstrap(macro_recall, alone(60), np.random.default_rng(8), 4000)
    loop, generator = [], np.random.default_rng(9)
    for _ in range(4000):
        drawn = generator.integers(0, 60, 60)
        loop.append(np.mean([correct[drawn][truth[drawn] == scene].mean() for scene in range(3)]))
    low, high = np.percentile(loop, [2.5, 97.5])
    assert interval.estimate == pytest.approx(np.mean([correct[truth == scene].mean() for scene in range(3)]))
    assert interval.low == pytest.approx(low, abs=0.015)
    assert interval.high == pytest.approx(high, abs=0.015)


def test_the_generator_decides_and_nothing_else():
    correct = np.random.default_rng(10).random(30) < 0.5
    first, second, other = (mean_interval(correct, alone(30), np.random.default_rng(seed), 500) for seed in (1, 1, 2))
    assert first == second != other


def test_all_right_has_no_width():
    interval = mean_interval(np.ones(20, bool), alone(20), np.random.default_rng(0), 100)
    assert (interval.estimate, interval.low, interval.high) == (1, 1, 1)


def test_a_paired_difference_is_narrower_than_two_intervals():
    generator = np.random.default_rng(11)
    hard = generator.random(500) < 0.3
    a, b = ~hard, ~hard & (generator.random(500) > 0.04)
    difference = paired_difference(a, b, alone(500), generator)
    assert difference.estimate == pytest.approx(a.mean() - b.mean())
    assert 0 < difference.low < difference.estimate < difference.high
    width = mean_interval(a, alone(500), generator)
    assert difference.high - difference.low < 0.6 * (width.high - width.low)
    reverse = paired_difference(b, a, alone(500), np.random.default_rng(0))
    assert reverse.high < 0


def test_sign_flips_of_single_recordings_are_the_binomial_test():
    a = np.array([True] * 30 + [False] * 3 + [True] * 40)
    b = np.array([False] * 30 + [True] * 3 + [True] * 40)
    exact = binomtest(3, 33).pvalue
    p = sign_flip_test(a[20:40], b[20:40], alone(20), np.random.default_rng(0))  # 13 differ: enumerated
    assert p == pytest.approx(binomtest(3, 13).pvalue, abs=1e-12)
    drawn = sign_flip_test(a, b, alone(73), np.random.default_rng(0), 5000)
    assert exact < drawn < 0.002
    assert drawn == 1 / 5001


def test_drawn_sign_flips_agree_with_enumerated_ones():
    generator = np.random.default_rng(12)
    a, b = generator.random(36), generator.random(36) - 0.2
    groups = alone(36) // 3
    exact = sign_flip_test(a, b, groups, generator, 2**12)
    drawn = sign_flip_test(a, b, groups, generator, 2**12 - 1)
    assert 0.001 < exact < 0.5
    assert drawn == pytest.approx(exact, abs=0.025)


def test_sign_flips_reject_a_true_null_as_often_as_they_say():
    """Two equal systems whose answers come in clusters of eight: by group 5 % false alarms, by recording far more."""
    generator = np.random.default_rng(13)
    runs, by_group, naive = 300, 0, 0
    for _ in range(runs):
        a, b = np.repeat(generator.random((2, 30)) < 0.7, 8, axis=1)
        by_group += sign_flip_test(a, b, alone(240) // 8, generator, 199) <= 0.05
        naive += sign_flip_test(a, b, alone(240), generator, 199) <= 0.05
    assert by_group / runs < 0.08
    assert naive / runs > 0.25


def test_equal_systems_have_p_one_and_no_difference():
    correct = np.random.default_rng(14).random(40) < 0.5
    assert sign_flip_test(correct, correct, alone(40), np.random.default_rng(0)) == 1.0
    difference = paired_difference(correct, correct, alone(40), np.random.default_rng(0), 100)
    assert (difference.estimate, difference.low, difference.high) == (0, 0, 0)


def test_unequal_lengths_and_nothing_are_refused(monkeypatch):
    generator = np.random.default_rng(0)
    with pytest.raises(ValueError, match="no recording to resample: groups is empty"):
        mean_interval(np.zeros(0), [], generator)
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as in production, where nothing else would object
    with pytest.raises(ValueError, match="a has 3 recordings, b has 1: a pair needs the same recordings"):
        paired_difference(np.zeros(3), np.zeros(1), alone(3), generator)
    with pytest.raises(ValueError, match="3 scores for 2 groups: each recording needs the label of its group"):
        mean_interval(np.zeros(3), ["a", "b"], generator)
    with pytest.raises(ValueError, match="3 scores for 2 groups"):
        sign_flip_test(np.zeros(3), np.zeros(3), ["a", "b"], generator)
