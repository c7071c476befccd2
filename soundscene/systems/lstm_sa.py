"""LSTM-SA [34]: an LSTM network that trains on rearranged chunks of its recordings, and predicts them as they are.

Source: Zhang, Zhang and Wu 2018, "Data independent sequence augmentation method for acoustic scene classification". Only
its abstract could be read. Which choices are the paper's and which ours:
docs/decisions/0115-temporal-transformer-and-lstm-sa.md.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn

from soundscene.data.corpus import Corpus
from soundscene.network.blocks import Standardise
from soundscene.network.lstm import LSTMStack
from soundscene.network.models import n_frames
from soundscene.recipe import FRONT_END, AudioRecipe, Recipe
from soundscene.systems.epochs import Batches, Draw, Optimisation, fabric_of, fingerprint, run_epochs
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

OPTIONS = {"from": ("recording", "scene", "nothing")}

Chunk = tuple[int, int]
"""First frame of a chunk among all frames, and its length."""


@dataclass(frozen=True)
class LstmSaSettings:
    """Settings of the rearranging and the network.

    Attributes:
        source: Whose chunks make a sequence: those of one recording, of a scene, or none are rearranged.
        chunks_s: Lengths of chunks in seconds, one of which is drawn for a sequence.
        kept: Share of the sequences that stay as they are.
        dropout: Dropout probability behind each LSTM layer.
        batch_size: Sequences in a batch.
        learning_rate: Adam's rate of the first epoch.
        largest_gradient: As in `Optimisation`.
    """

    source: Literal["recording", "scene", "nothing"] = "recording"
    chunks_s: tuple[float, ...] = (0.25, 0.5, 1.0)
    kept: float = 0.5
    dropout: float = 0.3
    batch_size: int = 50
    learning_rate: float = 1e-3
    largest_gradient: float = 5.0


class LstmSaNetwork(nn.Module):
    """Classify sequences: standardisation, two LSTM layers, mean of their outputs over frames, softmax layer.

    Args:
        recipe: Sizes of images, and half the size of the LSTM's state.
        choices: Settings.
        n_scenes: Number of scenes.

    Shape:
        Images [batch, channel, band, frame], of which channel 0 is read; embedding [batch, hidden]; logits [batch, scene].
    """

    def __init__(self, recipe: Recipe, choices: LstmSaSettings, n_scenes: int) -> None:
        super().__init__()
        hidden = 2 * recipe.network.hidden  # as many as both directions of the Att-CRNN
        self.standardise = Standardise(recipe.features.n_bands, recipe.features.clamp, 1)
        self.recurrent = LSTMStack(recipe.features.n_bands, hidden, dropout=choices.dropout)
        self.softmax = nn.Linear(hidden, n_scenes)

    def embed(self, images: Float[Tensor, "batch channel band frame"]) -> Float[Tensor, "batch hidden"]:
        """Return the mean over frames of the LSTM's outputs."""
        return self.recurrent(self.standardise(images)[:, 0].transpose(1, 2)).mean(dim=1)

    def forward(self, images: Float[Tensor, "batch channel band frame"]) -> Float[Tensor, "batch scene"]:
        """Return logits of images."""
        return self.softmax(self.embed(images))


@dataclass(frozen=True)
class Sequences:
    """The frames of all training recordings one after the other, each once.

    Attributes:
        frames: [frame, band].
        time: Number of each frame in its recording; one that follows another in time has the next number.
        recording: Index of each frame's recording.
        label: Scene of each frame.
    """

    frames: Float32[np.ndarray, "frame band"]
    time: Int64[np.ndarray, " frame"]
    recording: Int64[np.ndarray, " frame"]
    label: Int64[np.ndarray, " frame"]

    @classmethod
    def of(cls, corpus: Corpus, scenes: tuple[str, ...], audio: AudioRecipe) -> "Sequences":
        """Join the voting pieces of each recording that start at whole multiples of their length.

        The last piece of a recording may overlap the one before, and its frames would come twice.

        Args:
            corpus: Images of pieces, [piece, channel, band, frame], in time order within a recording.
            scenes: Names in the order of labels.
            audio: Length of a piece in samples, which is not always that in seconds.
        """
        start = np.round(corpus.start_s * audio.sample_rate).astype(np.int64)
        number, rest = np.divmod(start, audio.segment_samples)
        whole = np.flatnonzero(corpus.voting & (rest == 0))
        n = corpus.features.shape[-1]
        return cls(
            np.ascontiguousarray(corpus.features[whole, 0].swapaxes(1, 2)).reshape(-1, corpus.features.shape[2]),
            (number[whole, None] * n + np.arange(n)).ravel(),
            np.repeat(corpus.recording[whole], n),
            np.repeat(corpus.labels(scenes)[whole], n),
        )

    def starts(self, length: int) -> Int64[np.ndarray, " start"]:
        """Return where chunks may begin: frames that are followed in time by `length` - 1 others of their recording."""
        end = np.arange(len(self.time)) + length - 1
        last = np.minimum(end, len(self.time) - 1)
        together = (end < len(self.time)) & (self.recording[last] == self.recording)
        return np.flatnonzero(together & (self.time[last] - self.time == length - 1))


def rearranger(
    sequences: Sequences, choices: LstmSaSettings, chunk_frames: tuple[int, ...], n: int
) -> Callable[[int, int, torch.Generator], list[Chunk]]:
    """Return what draws the chunks of a rearranged sequence of n frames, given a recording, its scene, and a generator.

    A chunk keeps the order of its frames. The last one is cut where the sequence is full.

    Args:
        sequences: Frames of the training recordings.
        choices: Settings.
        chunk_frames: Lengths of chunks, in frames.
        n: Frames of a sequence.
    """
    of_unit = sequences.recording if choices.source == "recording" else sequences.label
    units = np.unique(of_unit)
    places = {}
    for length in chunk_frames:
        starts = sequences.starts(length)
        places[length] = {int(unit): starts[of_unit[starts] == unit] for unit in units}

    def draw(recording: int, label: int, generator: torch.Generator) -> list[Chunk]:
        length = chunk_frames[int(torch.randint(len(chunk_frames), (), generator=generator))]
        starts = places[length][recording if choices.source == "recording" else label]
        drawn = torch.randint(len(starts), (math.ceil(n / length),), generator=generator).numpy()
        cut = [length] * (len(drawn) - 1) + [n - length * (len(drawn) - 1)]
        return [(int(starts[i]), size) for i, size in zip(drawn, cut, strict=True)]

    return draw


def rearranged(
    corpus: Corpus, scenes: tuple[str, ...], recipe: Recipe, choices: LstmSaSettings, device: torch.device
) -> Draw:
    """Return what draws the sequences of an epoch: every voting piece once, and half of them rearranged.

    Args:
        corpus: Kept part of the training recordings.
        scenes: Names in the order of labels.
        recipe: Frames of a piece.
        choices: Settings.
        device: Of the network.
    """
    n, rate_hz = n_frames(recipe), recipe.audio.sample_rate / recipe.features.hop
    chunk_frames = tuple(min(n, max(1, round(s * rate_hz))) for s in choices.chunks_s)
    pieces = torch.from_numpy(corpus.features[corpus.voting, :1])
    labels, recording = corpus.labels(scenes)[corpus.voting], corpus.recording[corpus.voting]
    sequences = Sequences.of(corpus, scenes, recipe.audio)
    draw_chunks = rearranger(sequences, choices, chunk_frames, n)
    known = set(sequences.recording.tolist())  # without a recording of which only the last piece sounds

    def draw(generator: torch.Generator) -> Batches:
        order = torch.randperm(len(pieces), generator=generator)
        change = torch.rand(len(pieces), generator=generator) >= choices.kept
        for part in order.tensor_split(math.ceil(len(order) / choices.batch_size)):
            batch = pieces[part].clone()
            for row, i in enumerate(part.tolist()):
                if choices.source != "nothing" and change[i] and int(recording[i]) in known:
                    chunks = draw_chunks(int(recording[i]), int(labels[i]), generator)
                    frames = np.concatenate([sequences.frames[start : start + size] for start, size in chunks])
                    batch[row, 0] = torch.from_numpy(frames).T
            yield batch.to(device), torch.from_numpy(labels[part.numpy()]).to(device)

    return draw


def system(
    recipe: Recipe, name: str, title: str, front_end: int = FRONT_END, options: Mapping[str, Any] | None = None
) -> System:
    """Make the LSTM network with rearranged sequences a system for experiments.

    Args:
        recipe: `audio`, `features`, `network.hidden`, `training.epochs` and `calibration.held_out` are used.
        name: Name in files.
        title: Title in tables.
        front_end: Version of the front-end.
        options: `from`, the `source` of the settings.
    """
    given: Any = (options or {}).get("from", LstmSaSettings.source)
    choices = LstmSaSettings(given)
    facts = recipe.to_stored() | {"lstm_sa": asdict(choices)}
    identity = Identity(name, title, recipe, options or {}, front_end)
    restore = partial(restore_pieces, partial(_untrained, recipe, choices))
    source = partial(image_source, recipe, front_end)
    return System(name, title, images(recipe, front_end), facts, partial(_fit, identity, choices), restore, True, source)


def _untrained(recipe: Recipe, choices: LstmSaSettings, state: SavedState) -> PieceModel:
    return PieceModel(LstmSaNetwork(recipe, choices, len(state.scenes)), state.scenes)


def _fit(identity: Identity, choices: LstmSaSettings, corpus: Corpus, context: FitContext) -> Fitted:
    """Fit the network (last epoch) to groups that are not held out, and the temperature to those that are."""
    recipe = identity.recipe
    parts = divide_pieces(corpus, recipe, context)
    features = parts.kept.features[parts.kept.voting, :1]

    def make() -> LstmSaNetwork:
        network = LstmSaNetwork(recipe, choices, len(parts.scenes))
        network.standardise.fit(torch.from_numpy(features))
        return network

    facts = {"lstm_sa": asdict(choices), "recipe": recipe.to_stored(), "seed": context.seed}
    network, history = run_epochs(
        make,
        rearranged(parts.kept, parts.scenes, recipe, choices, fabric_of(context).device),
        Optimisation(recipe.training.epochs, choices.learning_rate, largest_gradient=choices.largest_gradient),
        context,
        lambda: fingerprint(facts, [features, piece_labels(parts)]),
        lambda network: partial(predict_pieces, PieceModel(network, parts.scenes)),
    )
    return finish(PieceModel(network, parts.scenes), parts, history, partial(save_pieces, identity, parts))
