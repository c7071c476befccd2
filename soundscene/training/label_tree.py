"""Label trees [2, 6, 36]: scenes split in two again and again by how forests confuse them, and posteriors of all splits.

Source: the public Matlab code of the authors (facts, not code). What is theirs and what is ours:
docs/decisions/0116-label-trees.md.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int64
from sklearn.cluster import SpectralClustering
from sklearn.ensemble import RandomForestClassifier

from soundscene.training.calibrate import folds_by_group

UNSAVED = "no model file: the system holds forests, for which there is no format without pickle"
"""Note of every fit with a label tree."""

NodeSplit = tuple[tuple[int, ...], tuple[int, ...]]
"""Labels to the left and to the right of an inner node."""


@dataclass(frozen=True)
class TreeSettings:
    """Settings of a label tree.

    Attributes:
        n_trees: Trees of each forest.
        features: Features tried at a split of a tree.
        least_split: Rows that a node of a tree must have to be split.
        most_rows: Rows that each tree draws at most.
        folds: Folds by group of cross-fitted embeddings.
    """

    n_trees: int = 100
    features: int = 8
    least_split: int = 11
    most_rows: int = 2000
    folds: int = 3


@dataclass(frozen=True)
class LabelTree:
    """A tree of labels and a forest for each of its inner nodes.

    Attributes:
        splits: Inner nodes, each before those below it: C - 1 of them for C labels.
        forests: Of each inner node, left against right.
    """

    splits: tuple[NodeSplit, ...]
    forests: tuple[RandomForestClassifier, ...]

    @property
    def n_values(self) -> int:
        """Values of an embedding: two of each inner node."""
        return 2 * len(self.splits)

    def embed(self, features: Float32[np.ndarray, "row feature"]) -> Float32[np.ndarray, "row value"]:
        """Return the posteriors of left and right at each inner node."""
        if not len(features):
            return np.zeros((0, self.n_values), np.float32)
        return np.concatenate([f.predict_proba(features) for f in self.forests], axis=1).astype(np.float32)


def fit_label_tree(
    features: Float32[np.ndarray, "row feature"],
    labels: Int64[np.ndarray, " row"],
    groups: Sequence[str],
    choices: TreeSettings,
    seed: int,
    names: Sequence[str] = (),
) -> tuple[LabelTree, Float32[np.ndarray, "row value"], tuple[str, ...]]:
    """Grow a tree, fit its forests to all rows, and embed the rows by forests that have not seen their groups.

    The shape of the tree is that of all rows. In-sample posteriors of forests are near 0 and 1 whatever there is to learn,
    so what follows must be trained on cross-fitted ones.

    Args:
        features: Of stretches.
        labels: Numbers of their labels.
        groups: Unit of independence of each row, which no fold may cut.
        choices: Settings.
        seed: Of folds and forests.
        names: Of the labels, for the notes.

    Returns:
        The tree, cross-fitted embeddings of the rows, and notes.

    Raises:
        TrainingError: There are fewer than two labels.
    """
    tree, notes = plant(features, labels, groups, choices, seed, names)
    rows, folds, fold_notes = folds_by_group(labels, groups, choices.folds, seed, names)
    crossed = np.zeros((len(features), tree.n_values), np.float32)
    for train, test in folds:
        forests = _forests(tree.splits, features[rows[train]], labels[rows[train]], choices, seed)
        crossed[rows[test]] = LabelTree(tree.splits, forests).embed(features[rows[test]])
    return tree, crossed, (*notes, *(_renamed(note) for note in fold_notes))


def plant(
    features: Float32[np.ndarray, "row feature"],
    labels: Int64[np.ndarray, " row"],
    groups: Sequence[str],
    choices: TreeSettings,
    seed: int,
    names: Sequence[str] = (),
) -> tuple[LabelTree, tuple[str, ...]]:
    """Grow a tree, and fit its forests to all rows.

    Args:
        features: Of stretches.
        labels: Numbers of their labels.
        groups: Unit of independence of each row.
        choices: Settings.
        seed: Of halves and forests.
        names: Of the labels, for the notes.

    Returns:
        The tree, and notes.

    Raises:
        TrainingError: There are fewer than two labels.
    """
    splits, notes = grow(features, labels, groups, choices, seed, names)
    return LabelTree(splits, _forests(splits, features, labels, choices, seed)), notes


def grow(
    features: Float32[np.ndarray, "row feature"],
    labels: Int64[np.ndarray, " row"],
    groups: Sequence[str],
    choices: TreeSettings,
    seed: int,
    names: Sequence[str] = (),
) -> tuple[tuple[NodeSplit, ...], tuple[str, ...]]:
    """Split the labels in two until each stands alone: those that a forest confuses stay together longest.

    The forest learns from one half of the groups, and its confusions are those on the other half.

    Args:
        features: Of stretches.
        labels: Numbers of their labels.
        groups: Unit of independence of each row.
        choices: Settings.
        seed: Of halves and forests.
        names: Of the labels, for the notes.

    Returns:
        The inner nodes, and notes.
    """
    rows, halves, notes = folds_by_group(labels, groups, 2, seed, names)
    one, other = (rows[part] for part in halves[0])
    splits: list[NodeSplit] = []

    def divide(inside: tuple[int, ...]) -> None:
        if len(inside) < 2:
            return
        left, right = _cut(inside, one, other)
        splits.append((left, right))
        divide(left)
        divide(right)

    def _cut(inside: tuple[int, ...], one: Int64[np.ndarray, " a"], other: Int64[np.ndarray, " b"]) -> NodeSplit:
        if len(inside) == 2:
            return inside[:1], inside[1:]
        learn, check = (part[np.isin(labels[part], inside)] for part in (one, other))
        posterior = _forest(features[learn], labels[learn], choices, seed).predict_proba(features[check])
        # Every label is on both sides; a label's row is the mean posterior of its own rows.
        confusion = np.stack([posterior[labels[check] == label].mean(axis=0) for label in inside])
        return _halves_of(inside, (confusion + confusion.T) / 2, labels)

    divide(tuple(int(label) for label in np.unique(labels)))
    return tuple(splits), tuple(_renamed(note) for note in notes)


def _renamed(note: str) -> str:
    return note.replace("Platt's sigmoids", "label trees")


def _halves_of(
    inside: tuple[int, ...], affinity: Float64[np.ndarray, "l l"], labels: Int64[np.ndarray, " row"]
) -> NodeSplit:
    """Cluster labels into two by their confusions (Ng, Jordan and Weiss); `cluster_qr` leaves nothing to chance."""
    clustering = SpectralClustering(2, affinity="precomputed", assign_labels="cluster_qr", random_state=0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Graph is not fully connected", UserWarning)  # the small number connects it
        side = clustering.fit_predict(affinity + 1e-6)
    left, right = (
        tuple(label for label, s in zip(inside, side, strict=True) if s == which) for which in (side[0], 1 - side[0])
    )
    if not right:  # nothing parts them: the label with most rows stands alone
        alone = max(inside, key=lambda label: int((labels == label).sum()))
        left, right = (alone,), tuple(label for label in inside if label != alone)
    return left, right


def _forests(
    splits: Sequence[NodeSplit],
    features: Float32[np.ndarray, "row feature"],
    labels: Int64[np.ndarray, " row"],
    choices: TreeSettings,
    seed: int,
) -> tuple[RandomForestClassifier, ...]:
    forests = []
    for left, right in splits:
        inside = np.isin(labels, (*left, *right))
        forests.append(_forest(features[inside], np.isin(labels[inside], right).astype(np.int64), choices, seed))
    return tuple(forests)


def _forest(
    features: Float32[np.ndarray, "row feature"], labels: Int64[np.ndarray, " row"], choices: TreeSettings, seed: int
) -> RandomForestClassifier:
    forest = RandomForestClassifier(
        choices.n_trees,
        max_features=min(choices.features, features.shape[1]),
        min_samples_split=choices.least_split,
        max_samples=min(choices.most_rows, len(features)),
        class_weight="balanced",
        random_state=seed % 2**32,
    )
    return forest.fit(features, labels)
