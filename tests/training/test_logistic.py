"""The softmax layer on vectors: scikit-learn's probabilities as plain arrays, C by group, refusals in one line."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from soundscene.errors import TrainingError
from soundscene.training.logistic import fit_logistic

DRAWS = np.random.default_rng(0)
LABELS = np.arange(60) % 3
VECTORS = (2 * np.eye(3, 6)[LABELS] + DRAWS.normal(size=(60, 6))).astype(np.float32) * np.arange(1, 7, dtype=np.float32)
GROUPS = [f"g{i // 3}" for i in range(60)]


@pytest.mark.parametrize("scenes", [2, 3])
def test_posteriors_are_those_of_scikit_learn(scenes: int) -> None:
    rows = scenes > LABELS
    groups = [g for g, taken in zip(GROUPS, rows, strict=True) if taken]
    layer, notes = fit_logistic(VECTORS[rows], LABELS[rows], groups, 4, (1.0,), 3, 0)
    scaled = VECTORS[rows] / VECTORS[rows].std(axis=0)
    theirs = LogisticRegression(C=1.0, max_iter=2000).fit(scaled, LABELS[rows]).predict_proba(scaled)
    found = np.exp(layer.log_posterior(VECTORS[rows]))
    assert found[:, :scenes] == pytest.approx(theirs, abs=1e-3)
    assert not found[:, scenes:].any()
    assert "no training recording" in notes[-1]


def test_c_is_chosen_across_groups() -> None:
    place = np.repeat(np.arange(20), 3)
    by_place = np.random.default_rng(1).normal(0, 3, (20, 40))[place]  # what is shared within a place misleads
    vectors = np.concatenate([VECTORS[:, :3] / 2, by_place], axis=1).astype(np.float32)
    _, notes = fit_logistic(vectors, LABELS, GROUPS, 3, (1e-3, 1e-1, 1e3), 3, 0)
    assert "C = 1000 was chosen" not in notes


def test_compromises_of_the_folds_are_noted_by_name() -> None:
    names = ("bus", "park", "tram", "zoo")
    lone = ["all" if label == 1 else group for label, group in zip(LABELS, GROUPS, strict=True)]
    _, notes = fit_logistic(VECTORS, LABELS, lone, 4, (0.1, 1.0), 3, 0, names)
    assert notes[0].startswith("scenes park have one group each, which was cut for candidates of C")
    assert notes[-1] == "scenes zoo have no training recording and get probability zero"
    _, notes = fit_logistic(VECTORS[[0, 3, 1]], LABELS[[0, 3, 1]], ["all"] * 3, 2, (0.1, 1.0), 3, 0, names)
    assert not any("Platt" in note for note in notes)
    assert any("one segment each" in note for note in notes)
    assert fit_logistic(VECTORS, LABELS, lone, 3, (0.1,), 3, 0, names)[1] == ("C = 0.1 was chosen",)


def test_one_scene_or_no_number_is_refused() -> None:
    with pytest.raises(TrainingError, match="two scenes or more"):
        fit_logistic(VECTORS[:5], np.zeros(5, np.int64), GROUPS[:5], 3, (1.0,), 3, 0)
    with pytest.raises(TrainingError, match="NaN or infinity"):
        fit_logistic(VECTORS * np.float32(np.nan), LABELS, GROUPS, 3, (1.0,), 3, 0)
