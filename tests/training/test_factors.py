"""Sparse NMF finds planted atoms, kernel PCA parts rings, and both agree with their judges."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.decomposition import PCA, KernelPCA

from soundscene.training.factors import Projection, fit_dictionary, fit_projection, sample_by_group


@pytest.fixture(scope="module")
def planted() -> tuple[np.ndarray, np.ndarray]:
    """Eight atoms of 20 bands, and 800 mixtures of two of them."""
    draws = np.random.default_rng(0)
    atoms = (draws.random((8, 20)) < 0.25) * draws.uniform(0.3, 1.0, (8, 20)) + 1e-3
    codes = np.zeros((800, 8))
    for row in codes:
        row[draws.choice(8, 2, replace=False)] = draws.uniform(0.5, 1.5, 2)
    return atoms / np.linalg.norm(atoms, axis=1, keepdims=True), (codes @ atoms).astype(np.float32)


def test_planted_atoms_are_found_and_codes_are_sparse_and_not_negative(planted: tuple[np.ndarray, np.ndarray]) -> None:
    atoms, rows = planted
    dictionary, _ = fit_dictionary(rows, 8, 0.05, 8_000, 0)
    norm = np.linalg.norm(dictionary.atoms, axis=1)
    assert norm.max() <= 1 + 1e-6
    assert dictionary.atoms.min() >= 0
    assert (atoms @ (dictionary.atoms / norm[:, None]).T).max(axis=1).min() > 0.99
    codes = dictionary.encode(rows)
    assert codes.min() >= 0
    assert np.array_equal(dictionary.encode(rows[::-1])[::-1], codes)  # each row for itself
    again, _ = fit_dictionary(rows, 8, 0.05, 8_000, 0)
    assert np.array_equal(again.atoms, dictionary.atoms)
    sparser, _ = fit_dictionary(rows, 8, 0.5, 2_000, 0)
    assert (sparser.encode(rows) > 0).mean() < (codes > 0).mean()


def test_atoms_are_learnt_under_the_penalty_that_codes_pay(planted: tuple[np.ndarray, np.ndarray]) -> None:
    rows = planted[1]

    def cost(alpha_of_the_fit: float) -> float:
        """Of codes that pay a penalty of 0.3."""
        found = replace(fit_dictionary(rows, 16, alpha_of_the_fit, 4_000, 0)[0], alpha=0.3)
        codes = found.encode(rows)
        return float(0.5 * np.square(found.scale * rows - codes @ found.atoms).sum() + 0.3 * codes.sum())

    assert cost(0.3) < 0.97 * cost(1e-6)


def test_neither_factorisation_depends_on_the_level_of_all_rows(planted: tuple[np.ndarray, np.ndarray]) -> None:
    rows = planted[1]
    plain, louder = (fit_dictionary(gain * rows, 8, 0.05, 2_000, 0)[0] for gain in (1.0, 100.0))
    assert louder.atoms == pytest.approx(plain.atoms, abs=1e-3)
    assert louder.encode(100 * rows) == pytest.approx(plain.encode(rows), abs=1e-3)
    near, far = (fit_projection(gain * rows, 4, "rbf", 0) for gain in (1.0, 100.0))
    assert far.gamma == pytest.approx(1e-4 * near.gamma, rel=1e-3)
    assert np.abs(far.project(100 * rows)) == pytest.approx(np.abs(near.project(rows)), abs=1e-3)


def test_kernel_pca_is_that_of_scikit_learn_and_pca_for_a_linear_kernel() -> None:
    draws = np.random.default_rng(0)
    rows = draws.normal(size=(60, 5)).astype(np.float32) * np.arange(1, 6, dtype=np.float32)
    new = draws.normal(size=(7, 5)).astype(np.float32)
    linear = fit_projection(rows, 3, "linear", 0).project(new)
    assert np.abs(linear) == pytest.approx(np.abs(PCA(3).fit(rows).transform(new)), rel=1e-3, abs=1e-3)
    found = fit_projection(rows, 4, "rbf", 0)
    theirs = KernelPCA(4, kernel="rbf", gamma=found.gamma).fit(rows).transform(new)
    assert np.abs(found.project(new)) == pytest.approx(np.abs(theirs), rel=1e-3, abs=1e-4)


def parted(projection: Projection, rows: np.ndarray, inner: np.ndarray) -> float:
    """Share of rows on the right side of the best threshold on one component."""
    values = projection.project(rows)
    best = 0.0
    for column in values.T:
        order = inner[np.argsort(column)]
        right = np.cumsum(order) + np.cumsum(~order[::-1])[::-1] - ~order
        best = max(best, right.max() / len(order), 1 - right.min() / len(order))
    return best


def test_a_round_kernel_parts_two_rings_that_no_line_parts() -> None:
    draws = np.random.default_rng(0)
    angle, inner = draws.uniform(0, 2 * np.pi, 200), np.arange(200) % 2 == 0
    rows = (np.where(inner, 1.0, 3.0)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)).astype(np.float32)
    assert parted(fit_projection(rows, 5, "rbf", 0), rows, inner) > 0.98
    assert parted(fit_projection(rows, 2, "linear", 0), rows, inner) < 0.8


def test_rows_are_drawn_as_many_from_each_group() -> None:
    groups = ["large"] * 100 + ["small"] * 10 + ["tiny"] * 2
    drawn = sample_by_group(groups, 30, np.random.default_rng(0))
    counts = {group: sum(groups[i] == group for i in drawn) for group in dict.fromkeys(groups)}
    assert counts == {"large": 18, "small": 10, "tiny": 2}
    assert len(set(drawn.tolist())) == 30
    assert len(sample_by_group(groups, 1000, np.random.default_rng(0))) == 112
