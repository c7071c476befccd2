"""Intervals of heard against held out: over groups alone, and over groups and seeds."""

import numpy as np
import pytest

from benchmarks.claims_control import _apart, _Scores, _with_seeds
from soundscene.scoring.intervals import Interval


def scores(lead_of_seed: dict[int, float], n_groups: int = 12) -> _Scores:
    """In each seed every heard segment has its lead and every held out one none; half of the groups are held out."""
    parts = [(lead, seed, g) for seed, lead in lead_of_seed.items() for g in range(n_groups)]
    held = np.array([(g + seed) % 2 == 0 for _, seed, g in parts])
    lead = np.array([0.0 if is_held else lead for (lead, _, _), is_held in zip(parts, held, strict=True)])
    return _Scores(lead, [f"group {g}" for *_, g in parts], held, np.array([seed for _, seed, _ in parts]))


def rounded(interval: Interval | None) -> tuple[float, ...]:
    assert interval is not None
    return tuple(round(x, 3) for x in (interval.estimate, interval.low, interval.high))


def test_seeds_that_differ_widen_the_interval_over_seeds_only():
    """Trainings lead by 0, 0 and 9 points: over the groups that is 3 without doubt, over three seeds 0 to 9."""
    differing = scores({0: 0.0, 2: 0.0, 4: 0.09})  # even seeds, so that each holds the same groups out
    assert rounded(_apart(differing, "x")) == (0.03, 0.03, 0.03)
    assert rounded(_with_seeds(differing, "x")) == (0.03, 0.0, 0.09)


def test_equal_seeds_add_nothing():
    assert rounded(_with_seeds(scores({0: 0.05, 1: 0.05, 2: 0.05}), "x")) == (0.05, 0.05, 0.05)


def test_groups_that_differ_widen_both():
    given = scores({0: 0.05, 1: 0.05, 2: 0.05})
    noisy = _Scores(given.score + np.arange(36) % 12 * 0.01, given.group, given.held, given.seed)
    one, other = _apart(noisy, "x"), _with_seeds(noisy, "x")
    assert other is not None
    assert one.estimate == pytest.approx(other.estimate)
    assert other.low < one.low < one.estimate < one.high < other.high


def test_one_seed_has_no_interval_over_seeds():
    assert _with_seeds(scores({0: 0.05}), "x") is None
