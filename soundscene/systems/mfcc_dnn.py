"""MFCC+DNN [40]: cepstral coefficients of frames, a feed-forward network that classifies each frame, fused by product.

Source: Petetin, Laroche and Mayoue 2015, "Deep neural networks for audio scene recognition". The paper was not
available, so every number in `MfccDnnSettings` is ours: docs/decisions/0054-hog-and-mfcc-dnn.md.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from importlib.metadata import version
from itertools import pairwise

import librosa
import numpy as np
import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor, nn

from soundscene.audio.files import AudioFile
from soundscene.data.corpus import Corpus
from soundscene.data.store import Extract, Representation
from soundscene.recipe import FRONT_END, AudioRecipe, Recipe
from soundscene.signal.segments import SegmentStream
from soundscene.signal.streams import join_segments
from soundscene.systems.epochs import Optimisation, fabric_of, fingerprint, run_epochs, shuffled
from soundscene.systems.pieces import (
    PieceModel,
    divide_pieces,
    finish,
    piece_labels,
    predict_pieces,
    restore_pieces,
    save_pieces,
)
from soundscene.systems.saved import Identity
from soundscene.systems.system import FitContext, Fitted, SavedState, System
from soundscene.types import Recording, Samples, SegmentFeatures

_VERSION = 1  # of the code that makes coefficients; another one is another store
_AT_ONCE = 256  # segments of a recording computed together: all of one of eight minutes
_FLOOR = 1e-10  # smallest power in the logarithm


@dataclass(frozen=True)
class MfccDnnSettings:
    """Settings of the coefficients and the network.

    Attributes:
        window_s: Length of a frame in seconds.
        hop_s: Seconds from one frame to the next.
        n_bands: Bands of the mel filter bank.
        n_coefficients: Coefficients kept of its cosine transform.
        delta_frames: Frames over which first and second differences are taken.
        hidden: Width of each hidden layer.
        dropout: Dropout probability behind each hidden layer.
        epochs: Epochs of Adam.
        batch_size: Frames in a batch.
        learning_rate: Rate of the first epoch, which falls along half a cosine.
        share: Share of the training frames that an epoch draws, because neighbours are nearly alike.
    """

    window_s: float = 0.05
    hop_s: float = 0.025
    n_bands: int = 40
    n_coefficients: int = 20
    delta_frames: int = 9
    hidden: tuple[int, ...] = (256, 256, 256)
    dropout: float = 0.3
    epochs: int = 15
    batch_size: int = 256
    learning_rate: float = 1e-3
    share: float = 0.25


class FrameNetwork(nn.Module):
    """Classify frames: standardisation, ReLU layers, softmax layer.

    Args:
        n_features: Coefficients of a frame.
        n_scenes: Number of scenes.
        hidden: Width of each hidden layer.
        dropout: Dropout probability behind each hidden layer.

    Shape:
        Input [frame, feature], output [frame, scene].
    """

    mean: Float32[Tensor, " feature"]
    inverse_deviation: Float32[Tensor, " feature"]

    def __init__(self, n_features: int, n_scenes: int, hidden: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("inverse_deviation", torch.ones(n_features))
        layers = [nn.Sequential(nn.Linear(a, b), nn.ReLU(), nn.Dropout(dropout)) for a, b in pairwise((n_features, *hidden))]
        self.hidden = nn.Sequential(*layers)
        self.softmax = nn.Linear(hidden[-1], n_scenes)

    def standardise_by(self, frames: Float32[Tensor, "frame feature"]) -> None:
        """Take mean and deviation of each feature from training frames. A constant feature is set to zero."""
        deviation = frames.std(dim=0)
        self.mean.copy_(frames.mean(dim=0))
        self.inverse_deviation.copy_(torch.where(deviation > 1e-4, 1 / deviation, 0.0))

    def embed(self, frames: Float32[Tensor, "frame feature"]) -> Float[Tensor, "frame hidden"]:
        """Return the output of the last hidden layer."""
        return self.hidden((frames - self.mean) * self.inverse_deviation)

    def forward(self, frames: Float32[Tensor, "frame feature"]) -> Float[Tensor, "frame scene"]:
        """Return the logits of frames."""
        return self.softmax(self.embed(frames))


def system(recipe: Recipe, name: str, title: str, front_end: int = FRONT_END) -> System:
    """Make MFCC and frame-wise network a system for experiments.

    Args:
        recipe: Only `audio` and `calibration.held_out` are used.
        name: Name in files.
        title: Title in tables.
        front_end: Not used; it reads no noise-subtracted channel.
    """
    choices = MfccDnnSettings()
    shape = ("window_s", "hop_s", "n_bands", "n_coefficients", "delta_frames")
    facts = {
        "version": _VERSION,
        "audio": {n: getattr(recipe.audio, n) for n in ("sample_rate", "segment_s", "last_piece")},
        "choices": {n: getattr(choices, n) for n in shape},
        "librosa": version("librosa"),
    }
    representation = Representation("mfcc", json.dumps(facts, sort_keys=True), partial(_extract, recipe.audio, choices))
    identity = Identity(name, title, recipe, front_end=front_end)
    stored = recipe.to_stored() | {"mfcc_dnn": asdict(choices)}
    restore = partial(restore_pieces, partial(_restored, choices))
    source = partial(MfccSource, recipe.audio, choices)
    return System(name, title, representation, stored, partial(_fit, identity, choices), restore, True, source)


def coefficients(
    waves: Float32[np.ndarray, "segment sample"], sample_rate: int, choices: MfccDnnSettings
) -> Float32[np.ndarray, "segment frame feature"]:
    """Compute MFCC of each segment's frames with their first and second differences.

    No segment's values depend on another's.

    Args:
        waves: Mono samples of segments.
        sample_rate: Sample rate in Hz.
        choices: Settings of frames and coefficients.

    Returns:
        Cosine transform (orthonormal) of mel levels in dB, then first, then second differences.
    """
    window, hop = round(choices.window_s * sample_rate), round(choices.hop_s * sample_rate)
    n_fft = 2 ** math.ceil(math.log2(window))
    if waves.shape[1] < n_fft:
        waves = np.pad(waves, ((0, 0), (0, n_fft - waves.shape[1])))
    power = librosa.feature.melspectrogram(
        y=waves, sr=sample_rate, n_fft=n_fft, win_length=window, hop_length=hop, center=False, n_mels=choices.n_bands
    )
    level_db = 10 * np.log10(np.maximum(power, _FLOOR))  # not librosa's own, whose floor follows the loudest segment
    mfcc = librosa.feature.mfcc(S=level_db, n_mfcc=choices.n_coefficients)
    first, second = (
        librosa.feature.delta(mfcc, width=choices.delta_frames, order=order, mode="nearest") for order in (1, 2)
    )
    return np.concatenate([mfcc, first, second], axis=1).swapaxes(1, 2).astype(np.float32)


@dataclass(frozen=True)
class MfccSource:
    """Makes streams of coefficients, segment by segment.

    Attributes:
        audio: Rate and segments.
        choices: Settings of frames and coefficients.
        segment_hop_s: Seconds between starts of segments, by default their length.
    """

    audio: AudioRecipe
    choices: MfccDnnSettings
    segment_hop_s: float | None = None

    @cached_property
    def nothing(self) -> SegmentFeatures:
        """No segments, in the shape of some."""
        one = np.zeros((1, self.audio.segment_samples), np.float32)
        found = coefficients(one, self.audio.sample_rate, self.choices)[:0]
        return SegmentFeatures((found,), np.zeros(0), np.zeros(0, np.bool_))

    def stream(self) -> "MfccStream":
        """Return a new stream for one recording."""
        return MfccStream(self)


class MfccStream:
    """Coefficients of the segments of one recording: push its samples, then flush.

    Args:
        source: What it is of.
        at_once: Segments that are computed together, at least; fewer at the end.
    """

    def __init__(self, source: MfccSource, at_once: int = 1) -> None:
        audio, hop_s = source.audio, source.segment_hop_s
        hop = None if hop_s is None else max(1, round(hop_s * audio.sample_rate))
        self._source, self._at_once = source, at_once
        self._segments = SegmentStream(audio.sample_rate, audio.segment_samples, hop, audio.last_piece, channels=1)
        self._waiting: list[tuple[Float32[np.ndarray, "segment 1 sample"], Float64[np.ndarray, " segment"]]] = []

    def push(self, samples: Samples) -> SegmentFeatures:
        """Return the coefficients of the segments that are complete; some may be held back."""
        return self._take(self._segments.push(samples[None]), self._at_once)

    def flush(self) -> SegmentFeatures:
        """Return those of the rest."""
        return self._take(self._segments.flush(), 0)

    def notes(self, trained_with: int) -> tuple[str, ...]:
        """Return nothing: no version of the front-end changes them."""
        return ()

    def _take(
        self, cut: tuple[Float32[np.ndarray, "segment 1 sample"], Float64[np.ndarray, " segment"]], at_least: int
    ) -> SegmentFeatures:
        self._waiting.append(cut)
        if (n := sum(len(waves) for waves, _ in self._waiting)) < at_least or n == 0:
            return self._source.nothing
        waves, start_s = (np.concatenate(parts) for parts in zip(*self._waiting, strict=True))
        self._waiting = []
        found = coefficients(waves[:, 0], self._source.audio.sample_rate, self._source.choices)
        return SegmentFeatures((found,), start_s, np.asarray(~waves.any(axis=(1, 2))))


def _extract(audio: AudioRecipe, choices: MfccDnnSettings, recording: Recording) -> Extract:
    file, stream = AudioFile(recording.path, audio), MfccStream(MfccSource(audio, choices), _AT_ONCE)
    pieces = [stream.push(block) for block in file.blocks()]
    found = join_segments([*pieces, stream.flush()])
    return Extract(
        features=found.features[0],
        start_s=found.start_s,
        silent=found.silent,
        regular=np.ones(len(found.start_s), np.bool_),
        content_hash=file.content_hash,
        duration_s=float(file.duration_s),
        notes=tuple(file.notes),
    )


def _fit(identity: Identity, choices: MfccDnnSettings, corpus: Corpus, context: FitContext) -> Fitted:
    """Fit the network (last epoch) to groups that are not held out, and the temperature to those that are."""
    parts = divide_pieces(corpus, identity.recipe, context)
    features, labels = parts.kept.features[parts.kept.voting], piece_labels(parts)
    fabric = fabric_of(context)
    frames = torch.from_numpy(features).flatten(0, 1)
    truth = torch.from_numpy(labels).repeat_interleave(features.shape[1])

    def make() -> FrameNetwork:
        network = FrameNetwork(frames.shape[1], len(parts.scenes), choices.hidden, choices.dropout)
        network.standardise_by(frames)
        return network

    network, history = run_epochs(
        make,
        shuffled(fabric.to_device(frames), fabric.to_device(truth), choices.batch_size, choices.share),
        Optimisation(choices.epochs, choices.learning_rate),
        context,
        lambda: fingerprint({"mfcc_dnn": asdict(choices), "seed": context.seed}, [features, labels]),
        lambda network: partial(predict_pieces, PieceModel(network, parts.scenes, classify_frames)),
    )
    fitted = finish(
        PieceModel(network, parts.scenes, classify_frames), parts, history, partial(save_pieces, identity, parts)
    )
    return replace(fitted, trained_on=0)  # frames


def classify_frames(
    network: nn.Module, pieces: Float32[Tensor, "segment frame coefficient"]
) -> tuple[Float64[Tensor, "segment scene"], Float[Tensor, "segment hidden"]]:
    """Classify segments by the geometric mean over their frames.

    Args:
        network: A `FrameNetwork`.
        pieces: Coefficients of segments.

    Returns:
        Log posteriors up to a constant, and the mean over frames of the last hidden layer.
    """
    hidden = network.embed(pieces.flatten(0, 1))  # pyright: ignore[reportCallIssue]
    of_frames = network.softmax(hidden).double().log_softmax(-1).unflatten(0, pieces.shape[:2])  # pyright: ignore[reportCallIssue]
    return of_frames.mean(dim=1), hidden.unflatten(0, pieces.shape[:2]).mean(dim=1)


def _restored(choices: MfccDnnSettings, state: SavedState) -> PieceModel:
    """Return the untrained network of a file's size."""
    n_features = len(state.tensors["network/mean"])
    network = FrameNetwork(n_features, len(state.scenes), choices.hidden, choices.dropout)
    return PieceModel(network, state.scenes, classify_frames)
