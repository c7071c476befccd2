"""Fit the linear SVM and Platt's sigmoids of section 2.4 with scikit-learn, and export them as a `CalibratedSVM`.

Platt's sigmoid maps an SVM's decision d to a probability, 1 / (1 + exp(a d + b)). Its two numbers must be fitted to
decisions on segments that the SVM has not seen, otherwise the margin of the training set makes them too confident. Those
decisions come from cross-validation by group, so that excerpts of one recording are never on both sides.

Which SVM and why: docs/decisions/0030-which-svm.md.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int, Int64, Shaped
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch import nn

from soundscene.errors import TrainingError
from soundscene.network.svm import CalibratedSVM, linear

Fold = tuple[Int64[np.ndarray, " _"], Int64[np.ndarray, " _"]]  # training and test side; folds differ in size

_MAX_ITERATIONS = 10_000  # of liblinear; 13 are usual
_ATTEMPTS = 5  # shuffles tried for each number of folds
LEAST_SCALE = 0.3  # of a feature, in median ones, where many features are zero in most recordings (docs/decisions/0099)
_ABSENT = -1e4  # logit of a scene without a segment: its probability is zero in float64
_DEAD = 1e-6  # a feature whose deviation is below this share of its size is rounding noise of float32


class FlooredScaler(StandardScaler):
    """Standardise, but divide no feature by less than a share of the median deviation.

    A feature of a backbone may be zero in all but a few segments. Divided by its tiny deviation in the training side of a
    fold, it gives decisions of the test side a hundred times as large as the others, and Platt's sigmoids become flat
    (docs/decisions/0099).

    Args:
        least: The share; with 0 it is scikit-learn's `StandardScaler`. With infinity all features are divided by the root
            mean square of their deviations, so that their proportions stay.
    """

    def __init__(self, least: float = 0.0) -> None:
        super().__init__()
        self.least = least

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> "FlooredScaler":
        """Take mean and scale from rows of features.

        Args:
            X: Features [row, feature].
            y: Not used.
            sample_weight: As in `StandardScaler`.
        """
        super().fit(X, y, sample_weight)
        if self.least == np.inf:
            rms = float(np.sqrt(np.mean(np.asarray(self.var_, np.float64))))
            self.scale_ = np.full_like(self.scale_, rms if rms > 0 else 1.0)
        elif self.least:
            self.scale_ = np.maximum(self.scale_, self.least * np.median(self.scale_))
        return self


def fit_svm(
    embeddings: Float32[np.ndarray, "segment feature"],
    labels: Int[np.ndarray, " segment"],
    groups: Sequence[str] | Shaped[np.ndarray, " segment"],
    n_scenes: int,
    c: float,
    folds: int,
    seed: int,
    least_scale: float = 0.0,
    names: Sequence[str] = (),
) -> tuple[CalibratedSVM, tuple[str, ...]]:
    """Standardise, fit a one-vs-rest linear SVM on all segments, and Platt's sigmoids on decisions cross-validated by group.

    Small corpora need compromises. There are fewer folds where the groups do not permit as many. A scene with one group has
    that group cut into runs of segments, so that the scene stays in the training side of each fold. A scene with one
    segment has it twice, a scene without any gets probability zero. Cross-validation by segment is the last resort.

    Args:
        embeddings: Embeddings of the training part, without mixing.
        labels: Scene numbers below n_scenes.
        groups: Unit of independence of each segment, which no fold may cut.
        n_scenes: Number of scenes.
        c: Regularisation C of the SVM, smaller is stronger.
        folds: Cross-validation folds wanted.
        seed: Seed of the order in which groups are dealt to folds.
        least_scale: Least scale of a feature, as a share of the median one, see `FlooredScaler`.
        names: Name of each scene for the notes, by default its number.

    Returns:
        The classifier, and a note for the report for each compromise.

    Raises:
        TrainingError: If embeddings are not finite, there are fewer than two scenes, or labels are outside the scenes.

    Source: section 2.4, C = 0.1 from section 4.3; Platt 1999.
    """
    present = _check(embeddings, labels, groups, n_scenes, folds)
    features = embeddings.astype(np.float64)
    alive = _alive(features)
    features[:, ~alive] = 0.0  # standardising them would blow noise up to the size of the others
    notes = [] if alive.any() else ["all embeddings are equal: the network has collapsed, and the SVM predicts the priors"]
    if len(present) < n_scenes:
        absent = sorted(set(range(n_scenes)) - set(present.tolist()))
        notes.append(f"scenes {_list(absent, names)} have no training segment and get probability zero")
    labels, units, rows, unit_notes = _units(labels.astype(np.int64), groups, present, folds, names)
    splits, split_notes = _folds(labels, units, folds, seed)
    # ensemble=False: decisions of all test sides are pooled to fit one sigmoid per scene (Platt), and one SVM is fitted to
    # all segments. With ensemble=True there would be an SVM and a sigmoid for every fold.
    model = CalibratedClassifierCV(
        # Primal: a unique optimum without random order, and as fast as the dual on 256 features.
        make_pipeline(FlooredScaler(least_scale), LinearSVC(C=c, dual=False, max_iter=_MAX_ITERATIONS)),  # pyright: ignore[reportArgumentType]
        method="sigmoid",
        cv=splits,
        ensemble=False,  # pyright: ignore[reportArgumentType]
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(features[rows], labels)
    if any(issubclass(w.category, ConvergenceWarning) for w in caught):
        notes.append("the SVM stopped before it converged")
    return _export(model, embeddings.shape[1], n_scenes), (*notes, *unit_notes, *split_notes)


def fit_softmax(
    embeddings: Float32[np.ndarray, "segment feature"],
    labels: Int[np.ndarray, " segment"],
    n_scenes: int,
    c: float,
    least_scale: float = 0.0,
) -> tuple[nn.Linear, tuple[str, ...]]:
    """Fit a softmax layer to embeddings that a frozen network gives: multinomial logistic regression.

    Its probabilities need no second fit on cross-validated decisions, as an SVM's do. With five or ten recordings of a scene
    Platt's sigmoids rest on hardly any decisions.

    Args:
        embeddings: Embeddings of the training part.
        labels: Scene numbers below n_scenes; a scene without a segment gets probability zero.
        n_scenes: Number of scenes.
        c: Inverse weight of the squared norm of the weights, smaller is stronger.
        least_scale: Least scale of a feature, as a share of the median one.

    Returns:
        The layer, and a note where the fit stopped before it converged.

    Raises:
        TrainingError: If embeddings are not finite, there are fewer than two scenes, or labels are outside the scenes.
    """
    present = _check(embeddings, labels, labels, n_scenes, 2)
    features = embeddings.astype(np.float64)
    features[:, ~_alive(features)] = 0.0
    scaler = FlooredScaler(least_scale).fit(features)
    model = LogisticRegression(C=c, max_iter=_MAX_ITERATIONS)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(scaler.transform(features), labels)
    notes = ("the softmax layer stopped before it converged",) if caught else ()
    # Of two scenes scikit-learn keeps the difference of the logits only.
    weight = model.coef_ if len(present) > 2 else np.concatenate([np.zeros_like(model.coef_), model.coef_])
    intercept = model.intercept_ if len(present) > 2 else np.concatenate([np.zeros(1), model.intercept_])
    weight = weight / scaler.scale_
    layer = linear(embeddings.shape[1], n_scenes)
    layer.weight.zero_()
    layer.bias.fill_(_ABSENT)
    layer.weight[torch.from_numpy(present)] = torch.from_numpy(weight)
    layer.bias[torch.from_numpy(present)] = torch.from_numpy(intercept - weight @ scaler.mean_)
    return layer, notes


def choose_c(
    embeddings: Float32[np.ndarray, "segment feature"],
    labels: Int[np.ndarray, " segment"],
    groups: Sequence[str] | Shaped[np.ndarray, " segment"],
    candidates: Sequence[float],
    folds: int,
    seed: int,
    least_scale: float = 0.0,
) -> float:
    """Choose the SVM's C by the number of correct segments in cross-validation by group.

    Args:
        embeddings: Embeddings of the training part only.
        labels: Scene numbers.
        groups: Unit of independence of each segment, which no fold may cut.
        candidates: Values of C to choose from.
        folds: Cross-validation folds wanted.
        seed: Seed of the order in which groups are dealt to folds.
        least_scale: As in `fit_svm`.

    Returns:
        The candidate with the most correct segments, the smallest (most regularised) of equals.

    Raises:
        TrainingError: If embeddings are not finite or there are fewer than two scenes.
        ValueError: If there is no candidate.
    """
    if not candidates:
        raise ValueError("no candidate for C: at least one is needed")
    present = _check(embeddings, labels, groups, int(labels.max(initial=-1)) + 1, folds)
    labels, units, rows, _ = _units(labels.astype(np.int64), groups, present, folds)
    features = embeddings.astype(np.float64)[rows]
    n_correct = dict.fromkeys(sorted(candidates), 0)
    for train, test in _folds(labels, units, folds, seed)[0]:
        scaler = FlooredScaler(least_scale).fit(
            features[train]
        )  # of the training side only: the test side must not leak into it
        train_features, test_features = scaler.transform(features[train]), scaler.transform(features[test])
        for c in n_correct:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # `fit_svm` notes it for the one that is chosen
                svm = LinearSVC(C=c, dual=False, max_iter=_MAX_ITERATIONS).fit(train_features, labels[train])  # pyright: ignore[reportArgumentType]
            n_correct[c] += int(np.count_nonzero(svm.predict(test_features) == labels[test]))
    return max(n_correct, key=lambda c: n_correct[c])  # the first of equals


def folds_by_group(
    labels: Int[np.ndarray, " row"],
    groups: Sequence[str] | Shaped[np.ndarray, " row"],
    folds: int,
    seed: int,
    names: Sequence[str] = (),
) -> tuple[Int64[np.ndarray, " dealt"], list[Fold], tuple[str, ...]]:
    """Deal rows to folds that cut no group, with the compromises of `fit_svm` where a scene has too few groups.

    Args:
        labels: Scene number of each row.
        groups: Unit of independence of each row.
        folds: Folds wanted.
        seed: Seed of the order in which groups are dealt.
        names: Names of the scenes, for the notes; without, they are numbers.

    Returns:
        The rows that were dealt (a scene's only row is there twice), training and test side of each fold as indices into
        them, and a note for each compromise.

    Raises:
        TrainingError: Fewer than two scenes are there.
    """
    present = _check(np.zeros((len(labels), 1), np.float32), labels, groups, int(labels.max(initial=-1)) + 1, folds)
    dealt, units, rows, notes = _units(labels.astype(np.int64), groups, present, folds, names)
    splits, more = _folds(dealt, units, folds, seed)
    return rows.astype(np.int64), splits, (*notes, *more)


def _alive(features: Float64[np.ndarray, "segment feature"]) -> Bool[np.ndarray, " feature"]:
    """Features that vary by more than the rounding of float32."""
    return features.std(axis=0) > _DEAD * np.abs(features).max(axis=0)


def _check(
    embeddings: Float32[np.ndarray, "segment feature"],
    labels: Int[np.ndarray, " segment"],
    groups: Sequence[str] | Shaped[np.ndarray, " segment"],
    n_scenes: int,
    folds: int,
) -> Int64[np.ndarray, " present"]:
    present = np.unique(labels).astype(np.int64)
    if len(groups) != len(labels):
        raise ValueError(f"{len(groups)} groups for {len(labels)} segments: each segment needs the group of its recording")
    if folds < 2:
        raise ValueError(f"folds must be 2 or more, got {folds}")
    if present.size and not 0 <= present[0] <= present[-1] < n_scenes:
        raise TrainingError(f"labels hold scenes {present[0]} to {present[-1]}, allowed are 0 to {n_scenes - 1}")
    if len(present) < 2:
        raise TrainingError(
            f"the SVM needs segments of two scenes or more, got {len(present)}: "
            "is the training part empty, or are all its recordings labelled with one scene?"
        )
    if not np.isfinite(embeddings).all():
        raise TrainingError("embeddings hold NaN or infinity: the network has diverged; try a lower training.learning_rate")
    return present


def _units(
    labels: Int64[np.ndarray, " segment"],
    groups: Sequence[str] | Shaped[np.ndarray, " segment"],
    present: Int64[np.ndarray, " present"],
    folds: int,
    names: Sequence[str] = (),
) -> tuple[Int64[np.ndarray, " row"], Int64[np.ndarray, " row"], Int64[np.ndarray, " row"], list[str]]:
    """Number the units that are dealt to folds: groups, except for scenes that have only one.

    Returns:
        For each row its label, its unit and its segment (a scene's only segment has two rows), and notes.
    """
    units = np.unique(np.asarray(groups), return_inverse=True)[1].astype(np.int64)
    rows = np.arange(len(labels))
    lone, single = [], []
    for scene in present:
        members = np.flatnonzero(labels == scene)
        if len(np.unique(units[members])) > 1:
            continue
        if len(members) == 1:
            single.append(int(scene))
            rows = np.append(rows, members)
            labels, units = np.append(labels, scene), np.append(units, units.max() + 1)
            continue
        lone.append(int(scene))
        # Runs, not single segments: neighbours in time are the most alike, so few of them should face each other.
        n_runs = min(folds, len(members))
        units[members] = units.max() + 1 + np.arange(len(members)) * n_runs // len(members)
    notes = []
    if lone:
        notes.append(
            f"scenes {_list(lone, names)} have one group each, which was cut for Platt's sigmoids: optimistic probabilities"
        )
    if single:
        notes.append(f"scenes {_list(single, names)} have one segment each, in training and test: optimistic probabilities")
    return labels, units, rows, notes


def _folds(
    labels: Int64[np.ndarray, " row"], units: Int64[np.ndarray, " row"], folds: int, seed: int
) -> tuple[list[Fold], list[str]]:
    """Make folds by unit with every scene in every training side: as many as possible, in a bounded number of attempts."""
    largest = int(np.unique(labels, return_counts=True)[1].max())
    for n_folds in range(min(folds, len(np.unique(units)), largest), 1, -1):
        for attempt in range(_ATTEMPTS):
            splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=(seed + attempt) % 2**32)
            with warnings.catch_warnings():
                # A scene with fewer segments than folds does no harm: decisions are pooled, so a test side may lack it.
                warnings.filterwarnings("ignore", "The least populated class", UserWarning)
                splits = list(splitter.split(labels, labels, units))
            if _usable(splits, labels):
                note = f"Platt's sigmoids had {n_folds} folds instead of {folds}, because the groups do not permit more"
                return splits, [note] if n_folds < folds else []
    # `_units` made at least two rows for each scene, so two folds by segment always exist.
    splits = list(StratifiedKFold(2).split(labels, labels))
    return splits, [
        "Platt's sigmoids were cross-validated by segment, because no folds by group exist: optimistic probabilities"
    ]


def _usable(splits: list[Fold], labels: Int64[np.ndarray, " row"]) -> bool:
    n_present = len(np.unique(labels))
    return all(len(test) > 0 and len(np.unique(labels[train])) == n_present for train, test in splits)


def _export(model: Any, n_features: int, n_scenes: int) -> CalibratedSVM:
    """Fold the scaler into the weights and copy scikit-learn's numbers into buffers.

        d = w . (x - mean) / scale + b = (w / scale) . x + (b - (w / scale) . mean)

    `Any`, because scikit-learn's stubs lack the attributes of a fitted CalibratedClassifierCV.
    """
    fitted = model.calibrated_classifiers_[0]
    scaler, svm = fitted.estimator[0], fitted.estimator[1]
    weight = svm.coef_ / scaler.scale_
    bias = svm.intercept_ - weight @ scaler.mean_
    slope = np.array([sigmoid.a_ for sigmoid in fitted.calibrators])
    offset = np.array([sigmoid.b_ for sigmoid in fitted.calibrators])
    if len(model.classes_) == 2:
        # One sigmoid for the second scene; the first has 1 - p, the sigmoid of the opposite argument. The two add up to
        # one, so that the division by their sum changes nothing.
        weight, bias = np.concatenate([-weight, weight]), np.concatenate([-bias, bias])
        slope, offset = np.concatenate([slope, slope]), np.concatenate([-offset, offset])
    head = CalibratedSVM(n_features, n_scenes)
    head.offset.fill_(torch.inf)  # scenes without a segment; the others follow
    for buffer, value in ((head.weight, weight), (head.bias, bias), (head.slope, slope), (head.offset, offset)):
        buffer[torch.from_numpy(model.classes_)] = torch.from_numpy(value)
    return head


def _list(scenes: list[int], names: Sequence[str]) -> str:
    return ", ".join(names[scene] if names else str(scene) for scene in scenes)
