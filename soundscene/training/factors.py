"""Factorisations of slices of sound without labels: sparse non-negative dictionaries and kernel PCA, as plain arrays."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64
from sklearn.decomposition import KernelPCA, MiniBatchDictionaryLearning, sparse_encode
from sklearn.exceptions import ConvergenceWarning

Kernel = Literal["rbf", "linear"]

_BLOCK = 2000  # rows projected at once
_PAIRS = 2000  # rows whose distances give the width of the kernel


@dataclass(frozen=True)
class Dictionary:
    """Non-negative atoms of norm one or less.

    Attributes:
        atoms: [atom, feature].
        scale: Factor of the rows before they are encoded.
        alpha: L1 penalty of the codes.
    """

    atoms: Float64[np.ndarray, "atom feature"]
    scale: float
    alpha: float

    def encode(self, rows: Float[np.ndarray, "row feature"]) -> Float32[np.ndarray, "row atom"]:
        """Return the non-negative codes of rows, each for itself."""
        scaled = rows.astype(np.float64) * self.scale
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the same in every run; `fit_dictionary` notes it
            codes = sparse_encode(scaled, self.atoms, algorithm="lasso_cd", alpha=self.alpha, positive=True)
        return np.asarray(codes, np.float32)


def fit_dictionary(
    rows: Float32[np.ndarray, "row feature"], n_atoms: int, alpha: float, visits: int, seed: int
) -> tuple[Dictionary, tuple[str, ...]]:
    """Learn atoms and codes, both non-negative, by coordinate descent in mini-batches.

    `NMF` with an L1 term is no substitute: nothing bounds its atoms, so the penalty only rescales them.

    Args:
        rows: Non-negative.
        n_atoms: Number of atoms.
        alpha: L1 penalty of the codes, of rows scaled to a mean norm of one.
        visits: How often a row is looked at, all rows together.
        seed: Of the order and the beginning.

    Returns:
        The dictionary, and a note if some mini-batches stopped before they converged.
    """
    norm = float(np.linalg.norm(rows, axis=1).mean())
    scale = 1 / norm if norm > 0 else 1.0
    learner = MiniBatchDictionaryLearning(
        n_components=n_atoms,
        alpha=alpha,  # pyright: ignore[reportArgumentType] (scikit-learn's stubs read its default as a whole number)
        max_iter=max(1, math.ceil(visits / len(rows))),
        batch_size=256,
        fit_algorithm="cd",
        transform_algorithm="lasso_cd",
        positive_code=True,
        positive_dict=True,
        random_state=seed % 2**32,
        max_no_improvement=None,  # pyright: ignore[reportArgumentType] (None is allowed and means: never stop early)
        tol=0.0,
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        learner.fit(rows.astype(np.float64) * scale)
    notes = ("some mini-batches of the dictionary stopped before they converged",) if caught else ()
    return Dictionary(np.ascontiguousarray(learner.components_), scale, alpha), notes


@dataclass(frozen=True)
class Projection:
    """Kernel PCA.

    Attributes:
        rows: [row, feature] that the kernel is evaluated at.
        axes: [row, component], eigenvectors over the roots of their eigenvalues.
        column_mean: [row], of the kernel matrix of `rows`.
        gamma: Of the kernel exp(-gamma d^2); not used by the linear one.
        kernel: Which.
    """

    rows: Float32[np.ndarray, "row feature"]
    axes: Float32[np.ndarray, "row component"]
    column_mean: Float64[np.ndarray, " row"]
    gamma: float
    kernel: Kernel

    def project(self, rows: Float[np.ndarray, "query feature"]) -> Float32[np.ndarray, "query component"]:
        """Return the components of rows, computed in blocks."""
        done = [np.zeros((0, self.axes.shape[1]), np.float32)]
        for start in range(0, len(rows), _BLOCK):
            values = _kernel(rows[start : start + _BLOCK], self.rows, self.gamma, self.kernel)
            values = values - self.column_mean - values.mean(axis=1, keepdims=True) + self.column_mean.mean()
            done.append((values @ self.axes).astype(np.float32))
        return np.concatenate(done)


def fit_projection(rows: Float32[np.ndarray, "row feature"], n_components: int, kernel: Kernel, seed: int) -> Projection:
    """Find the principal components of rows in the space of a kernel.

    The width of the RBF kernel follows the median distance: gamma = 1 / (2 median squared distance).

    Args:
        rows: At most some thousands, see `sample_by_group`.
        n_components: Wanted; there are at most as many as rows less one.
        kernel: Which.
        seed: Of the randomised solver.
    """
    some = rows[np.linspace(0, len(rows) - 1, min(len(rows), _PAIRS)).astype(int)]
    squared = _squared_distances(some, some)[np.triu_indices(len(some), 1)]
    typical = float(np.median(squared)) if squared.size else 0.0
    gamma = 1 / (2 * typical) if typical > 0 else 1.0
    n_components = min(n_components, len(rows) - 1, rows.shape[1] if kernel == "linear" else len(rows))
    matrix = _kernel(rows, rows, gamma, kernel)
    solver = KernelPCA(max(1, n_components), kernel="precomputed", eigen_solver="randomized", random_state=seed % 2**32).fit(
        matrix
    )
    value = np.maximum(solver.eigenvalues_, 0.0)
    root = np.sqrt(value)
    alive = value > 1e-10 * value.max(initial=0.0)
    axes = solver.eigenvectors_ * np.where(alive, 1 / np.where(alive, root, 1.0), 0.0)
    return Projection(rows, axes.astype(np.float32), matrix.mean(axis=0), gamma, kernel)


def sample_by_group(groups: Sequence[str], n: int, generator: np.random.Generator) -> Int64[np.ndarray, " drawn"]:
    """Draw rows, as many of each group as far as it has them.

    Args:
        groups: Of each row.
        n: Rows to draw, at most.
        generator: Draws them.

    Returns:
        Indices in ascending order.
    """
    order = generator.permutation(len(groups))
    turn: dict[str, int] = {}
    rank = np.empty(len(groups), np.int64)  # the first of each group, then the second of each, and so on
    for index in map(int, order):
        rank[index] = turn.get(groups[index], 0)
        turn[groups[index]] = int(rank[index]) + 1
    chosen = order[np.argsort(rank[order], kind="stable")][:n]
    return np.sort(chosen).astype(np.int64)


def _kernel(
    first: Float[np.ndarray, "row feature"], second: Float[np.ndarray, "other feature"], gamma: float, kernel: Kernel
) -> Float64[np.ndarray, "row other"]:
    if kernel == "linear":
        return first.astype(np.float64) @ second.T.astype(np.float64)
    return np.exp(-gamma * _squared_distances(first, second))


def _squared_distances(
    first: Float[np.ndarray, "row feature"], second: Float[np.ndarray, "other feature"]
) -> Float64[np.ndarray, "row other"]:
    a, b = first.astype(np.float64), second.astype(np.float64)
    return np.maximum((a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T, 0.0)
