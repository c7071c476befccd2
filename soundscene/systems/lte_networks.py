"""LTE-RNN [2] and LTE-CNN [6]: networks on label-tree embeddings of three feature sets and two channels, then an SVM.

Source: Phan, Koch, Katzberg, Maass, Mazur and Mertins 2017 and Phan, Hertel, Maass, Koch, Mazur and Mertins 2017, of which
abstracts could be read, and their author's public code (facts, not code). What is theirs and what is ours:
docs/decisions/0116-label-trees.md.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from soundscene.data.corpus import Corpus
from soundscene.recipe import FRONT_END, Recipe
from soundscene.systems.epochs import Optimisation, fabric_of, fingerprint, run_epochs, shuffled
from soundscene.systems.low_level import SETS, LowLevelSettings, Stretches, evenly, low_level, stretches_of, with_zeros
from soundscene.systems.lte_cnn import LteCnnModel, LteCnnNetwork, embedding_images, filter_widths, predict_lte_cnn
from soundscene.systems.pieces import PieceModel, divide_pieces, finish, predict_pieces, remember_last, temperatures
from soundscene.systems.system import FitContext, Fitted, System
from soundscene.systems.whole import Parts, voting_recordings
from soundscene.training.calibrate import LEAST_SCALE, fit_svm
from soundscene.training.label_tree import UNSAVED, LabelTree, TreeSettings, fit_label_tree

OPTIONS = {"kind": ("rnn", "cnn")}


@dataclass(frozen=True)
class LteSettings:
    """Settings of both systems.

    Attributes:
        kind: Network on the sequence of a piece (rnn), or on the embedding image of a recording (cnn).
        tree: Settings of the label trees.
        low_level: Settings of the features.
        widths: Lengths of the CNN's filters in stretches, as far as half of the training recordings have room for them.
        filters: Filters of each length.
        dropout: Dropout probability: RNN, CNN.
        batch_size: Pieces (RNN) and recordings (CNN) in a batch.
        learning_rate: Adam's rate of the first epoch.
        weight_decay: L2 penalty.
        c: Regularisation C of the SVM.
    """

    kind: Literal["rnn", "cnn"] = "rnn"
    tree: TreeSettings = field(default_factory=TreeSettings)
    low_level: LowLevelSettings = field(default_factory=LowLevelSettings)
    widths: tuple[int, ...] = (5, 10, 15, 20, 25, 30, 35, 40, 45)
    filters: int = 100
    dropout: tuple[float, float] = (0.1, 0.5)
    batch_size: tuple[int, int] = (100, 50)
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    c: float = 1.0


class LteRnnNetwork(nn.Module):
    """Classify sequences: a ReLU layer, two forward GRU layers, the last output, softmax layer.

    Args:
        n_in: Values of an embedding.
        hidden: Width of all layers.
        n_scenes: Number of scenes.
        dropout: Dropout probability of inputs and outputs.

    Shape:
        Sequences [piece, stretch, n_in], embedding [piece, hidden], logits [piece, scene].
    """

    def __init__(self, n_in: int, hidden: int, n_scenes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(n_in, hidden)
        self.recurrent = nn.GRU(hidden, hidden, 2, batch_first=True)
        self.softmax = nn.Linear(hidden, n_scenes)

    def embed(self, sequences: Float[Tensor, "piece stretch value"]) -> Float[Tensor, "piece hidden"]:
        """Return the last output of the last layer."""
        dense = torch.relu(self.dense(self.dropout(sequences)))
        return self.dropout(self.recurrent(self.dropout(dense))[0][:, -1])

    def forward(self, sequences: Float[Tensor, "piece stretch value"]) -> Float[Tensor, "piece scene"]:
        """Return logits of sequences."""
        return self.softmax(self.embed(sequences))


@dataclass(frozen=True)
class Trees:
    """A label tree for each set of features and channel.

    Attributes:
        trees: Of all sets of the recorded channel, then of the noise-subtracted one.
    """

    trees: tuple[LabelTree, ...]

    def embed(self, features: Float32[np.ndarray, "stretch channel value"]) -> Float32[np.ndarray, "stretch embedded"]:
        """Return the embeddings of stretches by all trees, joined."""
        parts = zip(self.trees, _sources(), strict=True)
        return np.concatenate([tree.embed(features[:, channel, where]) for tree, (channel, where) in parts], axis=1)


def fit_trees(
    stretches: Stretches, parts: Parts, choices: TreeSettings, seed: int
) -> tuple[Trees, Float32[np.ndarray, "stretch embedded"], tuple[str, ...]]:
    """Fit the trees, and embed the stretches that they are fitted to by forests that have not seen their groups.

    Digital silence trains no tree.

    Args:
        stretches: Of the kept part.
        parts: From `divide_pieces`.
        choices: Settings.
        seed: Of folds and forests.

    Returns:
        The trees, embeddings of the stretches, which are zeros for digital silence, and notes.
    """
    sounding = ~stretches.silent
    recording = stretches.recording[sounding]
    labels = np.array([parts.scenes.index(r.scene) for r in parts.kept.recordings], np.int64)[recording]
    groups = [parts.kept.recordings[i].group for i in recording]
    fitted = [
        fit_label_tree(stretches.features[sounding, channel, where], labels, groups, choices, seed, parts.scenes)
        for channel, where in _sources()
    ]
    notes = tuple(dict.fromkeys(note for _, _, of_tree in fitted for note in of_tree))
    crossed = np.concatenate([crossed for _, crossed, _ in fitted], axis=1)
    return Trees(tuple(tree for tree, _, _ in fitted)), with_zeros(crossed, stretches), notes


def embed_stretches(trees: Trees, stretches: Stretches) -> Float32[np.ndarray, "stretch embedded"]:
    """Embed stretches; digital silence is zeros, and no tree is asked for it.

    Args:
        trees: From `fit_trees`.
        stretches: Any.
    """
    return with_zeros(trees.embed(stretches.features[~stretches.silent]), stretches)


def _sources() -> list[tuple[int, slice]]:
    return [(channel, where) for channel in (0, 1) for where in SETS.values()]


def system(
    recipe: Recipe, name: str, title: str, front_end: int = FRONT_END, options: Mapping[str, Any] | None = None
) -> System:
    """Make a network on label-tree embeddings a system for experiments, with heads "softmax" and "svm".

    Args:
        recipe: `audio`, `network.hidden`, `training.epochs` and `calibration` are used, without `svm_c`.
        name: Name in files.
        title: Title in tables.
        front_end: Version of the front-end.
        options: `kind` of the settings.

    Raises:
        RecipeError: The features do not fit the audio.
    """
    choices = LteSettings(**(options or {}))
    facts = recipe.to_stored() | {"lte": asdict(choices)}
    fit = _fit_rnn if choices.kind == "rnn" else _fit_cnn
    return System(name, title, low_level(recipe, front_end, choices.low_level), facts, partial(fit, recipe, choices))


# --- LTE-RNN --------------------------------------------------------------------------------------------------------------


def read_sequences(trees: Trees, choices: LowLevelSettings, corpus: Corpus) -> Float32[np.ndarray, "piece stretch value"]:
    """Embed the stretches of the voting pieces of a corpus.

    Args:
        trees: From `fit_trees`.
        choices: Settings of the features.
        corpus: Low-level features.
    """
    stretches = stretches_of(corpus, corpus.voting, choices)
    return embed_stretches(trees, stretches)[stretches.of_piece]


def _fit_rnn(recipe: Recipe, choices: LteSettings, corpus: Corpus, context: FitContext) -> Fitted:
    """Fit trees, network (last epoch) and SVM to groups that are not held out, and temperatures to those that are."""
    parts = divide_pieces(corpus, recipe, context)
    audible = ~parts.kept.silent  # those between the regular ones train too
    stretches = stretches_of(parts.kept, audible, choices.low_level)
    trees, crossed, notes = fit_trees(stretches, parts, choices.tree, context.seed)
    sequences = crossed[stretches.of_piece]
    labels = parts.kept.labels(parts.scenes)[audible]
    fabric, hidden = fabric_of(context), 2 * recipe.network.hidden
    inputs, truth = (fabric.to_device(torch.from_numpy(array)) for array in (sequences, labels))
    read = partial(read_sequences, trees, choices.low_level)
    facts = {"lte": asdict(choices), "recipe": recipe.to_stored(), "seed": context.seed}
    read_once = remember_last(read)
    network, history = run_epochs(
        lambda: LteRnnNetwork(sequences.shape[2], hidden, len(parts.scenes), choices.dropout[0]),
        shuffled(inputs, truth, choices.batch_size[0]),
        Optimisation(recipe.training.epochs, choices.learning_rate, choices.weight_decay),
        context,
        lambda: fingerprint(facts, [sequences, labels]),
        lambda network: partial(predict_pieces, PieceModel(network, parts.scenes, read=read_once)),
    )
    with torch.no_grad():
        embeddings = network.embed(torch.from_numpy(sequences)).numpy()
    groups = [parts.kept.recordings[i].group for i in parts.kept.recording[audible]]
    folds, seed = recipe.calibration.platt_folds, context.seed
    svm, svm_notes = fit_svm(embeddings, labels, groups, len(parts.scenes), choices.c, folds, seed, names=parts.scenes)
    model = PieceModel(network, parts.scenes, read=read, svm=svm)
    fitted = finish(model, parts, history, notes=(*notes, *svm_notes, UNSAVED))
    return replace(fitted, trained_on=len(sequences))


# --- LTE-CNN --------------------------------------------------------------------------------------------------------------


def read_images(trees: Trees, choices: LowLevelSettings, corpus: Corpus) -> Float32[np.ndarray, "recording longest column"]:
    """Make the embedding images of the recordings of a corpus that vote.

    Args:
        trees: From `fit_trees`.
        choices: Settings of the features.
        corpus: Low-level features.
    """
    stretches = _stretches_of_voting(corpus, choices)
    return embedding_images(embed_stretches(trees, stretches), stretches, evenly(stretches, choices))


def _stretches_of_voting(corpus: Corpus, choices: LowLevelSettings) -> Stretches:
    """Return the stretches of all pieces of recordings that vote, silent ones among them: they keep a sound's place."""
    return stretches_of(corpus, np.isin(corpus.recording, voting_recordings(corpus)), choices)


def _fit_cnn(recipe: Recipe, choices: LteSettings, corpus: Corpus, context: FitContext) -> Fitted:
    """Fit trees, network (last epoch) and SVM to groups that are not held out, and temperatures to those that are."""
    parts = divide_pieces(corpus, recipe, context)
    of = voting_recordings(parts.kept)
    stretches = _stretches_of_voting(parts.kept, choices.low_level)
    trees, crossed, notes = fit_trees(stretches, parts, choices.tree, context.seed)
    images = embedding_images(crossed, stretches, evenly(stretches, choices.low_level))
    labels = np.array([parts.scenes.index(parts.kept.recordings[i].scene) for i in of], np.int64)
    widths, width_notes = filter_widths(choices.widths, images)
    fabric = fabric_of(context)
    inputs, truth = (fabric.to_device(torch.from_numpy(array)) for array in (images, labels))
    facts = {"lte": asdict(choices), "recipe": recipe.to_stored(), "seed": context.seed, "widths": widths}

    def make() -> LteCnnNetwork:
        return LteCnnNetwork(images.shape[2] - 1, widths, choices.filters, len(parts.scenes), choices.dropout[1])

    read = partial(read_images, trees, choices.low_level)
    read_once = remember_last(read)
    network, history = run_epochs(
        make,
        shuffled(inputs, truth, choices.batch_size[1]),
        Optimisation(recipe.training.epochs, choices.learning_rate, choices.weight_decay),
        context,
        lambda: fingerprint(facts, [images, labels]),
        lambda network: partial(predict_lte_cnn, LteCnnModel(network, parts.scenes, read_once)),
    )
    with torch.no_grad():
        maxima = network.embed(torch.from_numpy(images)).numpy()
    groups = [parts.kept.recordings[i].group for i in of]
    choice = (choices.c, recipe.calibration.platt_folds, context.seed, LEAST_SCALE)  # some filters are dead but for a few
    svm, svm_notes = fit_svm(maxima, labels, groups, len(parts.scenes), *choice, names=parts.scenes)
    model = LteCnnModel(network, parts.scenes, read, svm)
    model = replace(model, temperature=temperatures(partial(predict_lte_cnn, model), parts))
    notes = (*parts.notes, *notes, *width_notes, *svm_notes, UNSAVED)
    return Fitted(
        partial(predict_lte_cnn, model),
        len(history),
        history,
        held=parts.held.recordings,
        notes=notes,
        trained_on=0,
    )
