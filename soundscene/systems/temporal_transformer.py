"""Temporal Transformer [10] in a DNN, a CNN and an LSTM network: Fourier magnitudes along time, and a learnt reduction.

Source: Zhang, Zhang and Wu 2018, "Temporal transformer networks for acoustic scene classification". Only its abstract
could be read. Which choices are the paper's and which ours:
docs/decisions/0115-temporal-transformer-and-lstm-sa.md.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from soundscene.data.corpus import Corpus
from soundscene.network.blocks import POOL, ConvStack, Standardise
from soundscene.network.lstm import LSTMStack
from soundscene.network.models import check_bands, n_frames
from soundscene.network.temporal_transformer import MeanOverTime, TemporalTransformer
from soundscene.recipe import FRONT_END, Recipe
from soundscene.systems.epochs import Optimisation, fabric_of, fingerprint, run_epochs, shuffled
from soundscene.systems.neural import images
from soundscene.systems.pieces import (
    PieceModel,
    divide_pieces,
    finish,
    image_source,
    piece_labels,
    predict_pieces,
    restore_pieces,
    save_pieces,
)
from soundscene.systems.saved import Identity
from soundscene.systems.system import FitContext, Fitted, SavedState, System

OPTIONS = {"kind": ("dnn", "cnn", "lstm"), "reduction": ("learnt", "mean")}


@dataclass(frozen=True)
class TemporalTransformerSettings:
    """Settings of the three networks.

    Attributes:
        kind: What the maps are: bands of the image, outputs of an LSTM, or filters of the convolutional stack.
        reduction: The temporal transformer, or the mean over time.
        width: Width of each ReLU layer.
        dropout: Dropout probability of ReLU layers and of the LSTM.
        batch_size: Pieces in a batch.
        learning_rate: Adam's rate of the first epoch.
        largest_gradient: As in `Optimisation`.
    """

    kind: Literal["dnn", "cnn", "lstm"] = "dnn"
    reduction: Literal["learnt", "mean"] = "learnt"
    width: int = 256
    dropout: float = 0.3
    batch_size: int = 50
    learning_rate: float = 1e-3
    largest_gradient: float = 5.0


class TemporalTransformerNetwork(nn.Module):
    """Classify images: maps of a network, reduced along time, ReLU layers, softmax layer.

    Args:
        recipe: Sizes of images and of the maps' network.
        choices: Settings.
        n_scenes: Number of scenes.

    Shape:
        Images [batch, channel, band, frame], of which channel 0 is read; embedding [batch, width]; logits [batch, scene].
    """

    def __init__(self, recipe: Recipe, choices: TemporalTransformerSettings, n_scenes: int) -> None:
        super().__init__()
        features, sizes, frames = recipe.features, recipe.network, n_frames(recipe)
        self.kind = choices.kind
        self.standardise = Standardise(features.n_bands, features.clamp, 1)
        if choices.kind == "cnn":
            # Dropout of whole maps: that of single frames is a modulation, which no prediction has.
            self.maps_of = nn.Sequential(ConvStack(sizes.filters, 0.0, 1), nn.Dropout1d(sizes.conv_dropout))
            n_maps = features.n_bands // POOL**3 * sizes.filters[-1]
        elif choices.kind == "lstm":
            self.maps_of = LSTMStack(features.n_bands, 2 * sizes.hidden, dropout=choices.dropout)
            n_maps = 2 * sizes.hidden
        else:
            n_maps = features.n_bands
        rate_hz = recipe.audio.sample_rate / features.hop
        self.reduce = TemporalTransformer(frames, rate_hz) if choices.reduction == "learnt" else MeanOverTime()
        # The mean dwarfs the magnitudes of modulations.
        self.norm = nn.BatchNorm1d(n_maps * self.reduce.n_values)
        n_layers = 3 if choices.kind == "dnn" else 1
        widths = [n_maps * self.reduce.n_values, *[choices.width] * n_layers]
        self.hidden = nn.Sequential(
            *(nn.Sequential(nn.Linear(a, b), nn.ReLU(), nn.Dropout(choices.dropout)) for a, b in pairwise(widths))
        )
        self.softmax = nn.Linear(choices.width, n_scenes)

    def maps(self, images: Float[Tensor, "batch channel band frame"]) -> Float[Tensor, "batch map frame"]:
        """Return what is reduced along time."""
        standardised = self.standardise(images)
        if self.kind == "cnn":
            return self.maps_of(standardised)
        if self.kind == "lstm":
            return self.maps_of(standardised[:, 0].transpose(1, 2)).transpose(1, 2)
        return standardised[:, 0]

    def embed(self, images: Float[Tensor, "batch channel band frame"]) -> Float[Tensor, "batch width"]:
        """Return the output of the last ReLU layer."""
        return self.hidden(self.norm(self.reduce(self.maps(images)).flatten(1)))

    def forward(self, images: Float[Tensor, "batch channel band frame"]) -> Float[Tensor, "batch scene"]:
        """Return logits of images."""
        return self.softmax(self.embed(images))


def system(
    recipe: Recipe, name: str, title: str, front_end: int = FRONT_END, options: Mapping[str, Any] | None = None
) -> System:
    """Make a network with a temporal transformer a system for experiments.

    Args:
        recipe: `audio`, `features`, the sizes of `network`, `training.epochs` and `calibration.held_out` are used.
        name: Name in files.
        title: Title in tables.
        front_end: Version of the front-end.
        options: `kind` and `reduction` of the settings.

    Raises:
        RecipeError: If the convolutional stack does not fit the recipe's images.
    """
    choices = TemporalTransformerSettings(**(options or {}))
    if choices.kind == "cnn":
        check_bands(recipe)
    facts = recipe.to_stored() | {"temporal_transformer": asdict(choices)}
    identity = Identity(name, title, recipe, options or {}, front_end)
    restore = partial(restore_pieces, partial(_untrained, recipe, choices))
    source = partial(image_source, recipe, front_end)
    return System(name, title, images(recipe, front_end), facts, partial(_fit, identity, choices), restore, True, source)


def _untrained(recipe: Recipe, choices: TemporalTransformerSettings, state: SavedState) -> PieceModel:
    return PieceModel(TemporalTransformerNetwork(recipe, choices, len(state.scenes)), state.scenes)


def _fit(identity: Identity, choices: TemporalTransformerSettings, corpus: Corpus, context: FitContext) -> Fitted:
    """Fit the network (last epoch) to groups that are not held out, and the temperature to those that are."""
    recipe = identity.recipe
    parts = divide_pieces(corpus, recipe, context)
    features, labels = parts.kept.features[parts.kept.voting, :1], piece_labels(parts)
    fabric, inputs = fabric_of(context), torch.from_numpy(features)

    def make() -> TemporalTransformerNetwork:
        network = TemporalTransformerNetwork(recipe, choices, len(parts.scenes))
        network.standardise.fit(inputs)
        return network

    facts = {"temporal_transformer": asdict(choices), "recipe": recipe.to_stored(), "seed": context.seed}
    network, history = run_epochs(
        make,
        shuffled(fabric.to_device(inputs), fabric.to_device(torch.from_numpy(labels)), choices.batch_size),
        Optimisation(recipe.training.epochs, choices.learning_rate, largest_gradient=choices.largest_gradient),
        context,
        lambda: fingerprint(facts, [features, labels]),
        lambda network: partial(predict_pieces, PieceModel(network, parts.scenes)),
    )
    return finish(PieceModel(network, parts.scenes), parts, history, partial(save_pieces, identity, parts))
