"""Label trees: planted confusions shape them, embeddings are posteriors, and only unseen groups give honest ones."""

from typing import Any

import numpy as np
import pytest

from soundscene.errors import TrainingError
from soundscene.training import label_tree
from soundscene.training.calibrate import folds_by_group
from soundscene.training.label_tree import TreeSettings, fit_label_tree, grow

SMALL = TreeSettings(n_trees=5, features=3, folds=2)


def rows(n_labels: int, n_groups: int, seed: int = 0, per_group: int = 10) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Noise, its labels, and groups of rows of one label."""
    labels = np.repeat(np.arange(n_labels), n_groups * per_group)
    groups = [f"{i // per_group}" for i in range(len(labels))]
    return np.random.default_rng(seed).normal(0, 1, (len(labels), 4)).astype(np.float32), labels, groups


def test_pairs_that_are_confused_are_parted_last() -> None:
    features, labels, groups = rows(4, 6)
    features[:, 0] += 6 * np.isin(labels, [1, 2])  # 1 and 2 are alike, and 0 and 3
    splits, notes = grow(features, labels, groups, SMALL, 0)
    assert {frozenset(side) for side in splits[0]} == {frozenset({1, 2}), frozenset({0, 3})}
    assert {frozenset(map(frozenset, split)) for split in splits[1:]} == {
        frozenset({frozenset({1}), frozenset({2})}),
        frozenset({frozenset({0}), frozenset({3})}),
    }
    assert notes == ()


@pytest.mark.parametrize("seed", range(4))
def test_what_a_forest_knows_by_heart_is_confused_all_the_same(seed: int) -> None:
    draws = np.random.default_rng(seed)
    features, labels, groups = rows(4, 16, seed, per_group=20)
    # 0 and 1 are alike, and 2 and 3; but rows of a group are, too, so that a forest knows the groups that it learns from
    features = np.repeat(draws.uniform(-10, 10, (64, 4)), 20, axis=0) + 0.01 * features
    features[:, 0] = 40 * np.isin(labels, [2, 3]) + 0.1 * features[:, 0]
    # a quarter of the rows of 0 is the same as of 2, and of 1 as of 3, which cannot be known by heart
    same = np.arange(len(labels)) % 4 == 0
    features[same] = 100 + 100 * np.isin(labels[same], [1, 3])[:, None]
    splits, _ = grow(features.astype(np.float32), labels, groups, SMALL, seed)
    assert {frozenset(side) for side in splits[0]} == {frozenset({0, 1}), frozenset({2, 3})}


@pytest.mark.parametrize("n_labels", [2, 3, 5])
def test_an_embedding_is_both_posteriors_of_each_of_c_minus_1_nodes(n_labels: int) -> None:
    features, labels, groups = rows(n_labels, 4)
    features[:, 0] += 5 * labels
    tree, crossed, _ = fit_label_tree(features, labels, groups, SMALL, 0)
    embedded = tree.embed(features)
    assert embedded.shape == crossed.shape == (len(labels), 2 * (n_labels - 1))
    for both in (embedded, crossed):
        assert both[:, ::2] + both[:, 1::2] == pytest.approx(1, abs=1e-6)
    left, right = tree.splits[0]
    assert crossed[np.isin(labels, left), 0].mean() > 0.8
    assert crossed[np.isin(labels, right), 0].mean() < 0.2
    assert tree.embed(features[:0]).shape == (0, 2 * (n_labels - 1))
    again, crossed_again, _ = fit_label_tree(features, labels, groups, SMALL, 0)
    assert np.array_equal(again.embed(features), embedded)
    assert np.array_equal(crossed_again, crossed)


def test_labels_at_random_are_known_in_sample_only() -> None:
    features, _, groups = rows(2, 10)
    labels = np.random.default_rng(1).integers(0, 2, len(features))
    features = np.repeat(features[::10], 10, axis=0) + 0.05 * features  # rows of a group are alike
    labels = np.repeat(labels[::10], 10)
    tree, crossed, _ = fit_label_tree(features, labels, groups, SMALL, 0)
    right = tree.splits[0][1][0]
    truth = np.where(labels == right, 1, 0)
    in_sample, honest = (
        np.mean(values[:, 1][truth == 1]) - np.mean(values[:, 1][truth == 0]) for values in (tree.embed(features), crossed)
    )
    assert in_sample > 0.5
    assert abs(honest) < 0.25


def test_no_group_is_on_both_sides_of_a_fold_and_a_label_of_one_group_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels, groups = rows(3, 4)
    seen: list[tuple[set[str], set[str]]] = []

    def spy(*given: Any) -> Any:
        dealt, folds, notes = folds_by_group(*given)
        names = np.array(groups)
        seen.extend((set(names[dealt[train]]), set(names[dealt[test]])) for train, test in folds)
        return dealt, folds, notes

    monkeypatch.setattr(label_tree, "folds_by_group", spy)
    assert fit_label_tree(features, labels, groups, SMALL, 3)[2] == ()
    assert len(seen) == 2 + 2
    assert all(not train & test for train, test in seen)

    lone = ["all" if label == 1 else group for label, group in zip(labels, groups, strict=True)]
    notes = fit_label_tree(features, labels, lone, SMALL, 3)[2]
    assert any("scenes 1 have one group each, which was cut for label trees" in note for note in notes)
    named = fit_label_tree(features, labels, lone, SMALL, 3, ("bus", "park", "tram"))[2]
    assert any("scenes park have one group each, which was cut for label trees" in note for note in named)
    with pytest.raises(TrainingError, match="two scenes or more, got 1"):
        fit_label_tree(features[labels == 0], labels[labels == 0], groups[:40], SMALL, 0)
