"""Multinomial logistic regression on vectors, with C chosen by group, as plain arrays.

Features are divided by their deviation and not centred, because non-negative projections mean something at zero. Source:
code of two authors of [38] for a later work (Bisot and Serizel 2017), for its scale and its solver.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int, Shaped
from scipy.special import log_softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from soundscene.errors import TrainingError
from soundscene.training.calibrate import folds_by_group

_MAX_ITERATIONS = 2000  # of L-BFGS
_DEAD = 1e-6  # a feature whose deviation is below this share of its size is rounding noise


@dataclass(frozen=True)
class Logistic:
    """A softmax layer.

    Attributes:
        weight: [scene, feature], the scale of the features folded in.
        bias: [scene], minus infinity for a scene that was absent from the training.
    """

    weight: Float64[np.ndarray, "scene feature"]
    bias: Float64[np.ndarray, " scene"]

    def log_posterior(self, vectors: Float32[np.ndarray, "row feature"]) -> Float64[np.ndarray, "row scene"]:
        """Return natural logarithms of the posteriors."""
        return np.asarray(log_softmax(vectors.astype(np.float64) @ self.weight.T + self.bias, axis=1))


def fit_logistic(
    vectors: Float32[np.ndarray, "row feature"],
    labels: Int[np.ndarray, " row"],
    groups: Sequence[str] | Shaped[np.ndarray, " row"],
    n_scenes: int,
    candidates: Sequence[float],
    folds: int,
    seed: int,
    names: Sequence[str] = (),
) -> tuple[Logistic, tuple[str, ...]]:
    """Choose C by the number of correct rows in cross-validation by group, then fit all rows.

    Args:
        vectors: Of the training part.
        labels: Scene numbers below n_scenes.
        groups: Unit of independence of each row, which no fold may cut.
        n_scenes: Number of scenes.
        candidates: Values of C, smaller is more regularised; the smallest of equals is taken.
        folds: Folds wanted.
        seed: Seed of the order in which groups are dealt to folds.
        names: Names of the scenes, for the notes; without, they are numbers.

    Returns:
        The layer and its notes, those of the folds included.

    Raises:
        TrainingError: Fewer than two scenes are there, or vectors are not finite.
    """
    if not np.isfinite(vectors).all():
        raise TrainingError("features hold NaN or infinity: the factorisation has diverged")
    rows, splits, compromises = folds_by_group(labels, groups, folds, seed, names)
    dealt, truth = vectors[rows].astype(np.float64), np.asarray(labels)[rows]
    correct = dict.fromkeys(sorted(candidates), 0)
    for train, test in splits if len(correct) > 1 else ():
        scale = _scale(dealt[train])
        for c in correct:
            model, _ = _regression(dealt[train] * scale, truth[train], c)
            correct[c] += int(np.count_nonzero(model.predict(dealt[test] * scale) == truth[test]))
    best = max(correct, key=lambda c: correct[c])
    scale = _scale(vectors.astype(np.float64))
    model, converged = _regression(vectors * scale, labels, best)
    weight, bias = np.zeros((n_scenes, vectors.shape[1])), np.full(n_scenes, -np.inf)
    two = len(model.classes_) == 2  # scikit-learn then has one row: the log odds of the second scene
    weight[model.classes_] = (np.concatenate([0 * model.coef_, model.coef_]) if two else model.coef_) * scale
    bias[model.classes_] = np.concatenate([[0.0], model.intercept_]) if two else model.intercept_
    notes = [_of_choice(note) for note in compromises] if len(correct) > 1 else []
    notes += [f"C = {best:g} was chosen"] + ([] if converged else ["the logistic regression stopped before it converged"])
    if absent := sorted({*range(n_scenes)} - {*model.classes_.tolist()}):
        who = ", ".join(names[scene] if names else str(scene) for scene in absent)
        notes.append(f"scenes {who} have no training recording and get probability zero")
    return Logistic(weight, bias), tuple(notes)


def _of_choice(note: str) -> str:
    note = note.replace("Platt's sigmoids", "candidates of C")
    return note.replace("optimistic probabilities", "C may be chosen too large")


def _scale(vectors: Float64[np.ndarray, "row feature"]) -> Float64[np.ndarray, " feature"]:
    deviation = vectors.std(axis=0)
    alive = deviation > _DEAD * np.abs(vectors).max(axis=0)
    return np.where(alive, 1 / np.where(alive, deviation, 1.0), 0.0)


def _regression(
    vectors: Float64[np.ndarray, "row feature"], labels: Int[np.ndarray, " row"], c: float
) -> tuple[LogisticRegression, bool]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model = LogisticRegression(C=c, solver="lbfgs", max_iter=_MAX_ITERATIONS).fit(vectors, labels)
    return model, not any(issubclass(w.category, ConvergenceWarning) for w in caught)
