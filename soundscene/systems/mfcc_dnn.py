"""MFCC+DNN [40]: cepstral coefficients of frames, a feed-forward network that classifies each frame, fused by product.

Source: Petetin, Laroche and Mayoue 2015, "Deep neural networks for audio scene recognition", EUSIPCO. The paper was not
available, so every number in `MfccDnnSettings` is ours: docs/decisions/0054-hog-and-mfcc-dnn.md.
"""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import librosa
import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64
from lightning_fabric import Fabric
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional

from soundscene.audio.files import AudioFile
from soundscene.data.corpus import Corpus
from soundscene.data.splits import hold_out
from soundscene.data.store import Extract, Representation
from soundscene.errors import TrainingError
from soundscene.files import write_atomic
from soundscene.recipe import FRONT_END, AudioRecipe, Recipe
from soundscene.scoring.fusion import fit_temperature, product_by_recording, temper
from soundscene.signal.segments import SegmentStream
from soundscene.systems.system import FitContext, Fitted, System, SystemPredictions
from soundscene.types import Recording

_VERSION = 1  # of the code that makes coefficients; another one is another store
_FLOOR = 1e-10  # smallest power in the logarithm
_AT_ONCE = 100  # segments predicted at a time


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


@dataclass(frozen=True)
class _FrameModel:
    """The network, the scenes in its order, and its temperature."""

    network: FrameNetwork
    scenes: tuple[str, ...]
    temperature: float = 1.0


def system(recipe: Recipe, name: str, title: str, front_end: int = FRONT_END) -> System:
    """Make MFCC and frame-wise network a system for experiments.

    It trains in less than a minute on a corpus of 2,000 segments, so it has no checkpoint: an interrupted fit starts again.

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
    return System(
        name, title, representation, recipe.to_stored() | {"mfcc_dnn": asdict(choices)}, partial(_fit, recipe, choices)
    )


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


def _extract(audio: AudioRecipe, choices: MfccDnnSettings, recording: Recording) -> Extract:
    file = AudioFile(recording.path, audio)
    stream = SegmentStream(audio.sample_rate, audio.segment_samples, last_piece=audio.last_piece)
    pieces = [stream.push(np.stack([block, block])) for block in file.blocks()]  # it takes two channels: the same one twice
    pieces.append(stream.flush())
    waves = np.concatenate([channels[:, 0] for channels, _ in pieces])
    return Extract(
        features=coefficients(waves, audio.sample_rate, choices),
        start_s=np.concatenate([start_s for _, start_s in pieces]),
        silent=np.asarray(~waves.any(axis=1)),
        regular=np.ones(len(waves), np.bool_),
        content_hash=file.content_hash,
        duration_s=float(file.duration_s),
        notes=tuple(file.notes),
    )


def _fit(recipe: Recipe, choices: MfccDnnSettings, corpus: Corpus, context: FitContext) -> Fitted:
    """Fit the network (last epoch) to groups that are not held out, and the temperature to those that are."""
    scenes = tuple(sorted({r.scene for r in corpus.recordings}))
    kept, held, notes = hold_out(corpus.recordings, recipe.calibration.held_out, np.random.default_rng(context.seed))
    part, held_part = corpus.take(kept), corpus.take(held)
    labels = part.labels(scenes)[part.voting]
    silent = sorted(set(scenes) - {scenes[i] for i in labels})
    if silent or len(scenes) < 2:
        raise TrainingError(
            f"the training part holds {len(scenes)} scene(s) ({', '.join(scenes) or 'none'}), digital silence throughout: "
            f"{', '.join(silent) or 'none'}; at least two are needed, each with sound: add recordings of "
            "another scene, or take the silent one out"
        )
    model, history = _train(choices, part.features[part.voting], labels, scenes, context)
    if held_part.voting.any():
        truth = np.array([scenes.index(r.scene) for r in held])
        model = replace(model, temperature=fit_temperature(_predict(model, held_part)["softmax"].recording, truth))
    return Fitted(
        partial(_predict, model),
        choices.epochs,
        history,
        partial(_embed, model),
        held,
        notes,
        partial(_save, model, choices),
    )


def _train(
    choices: MfccDnnSettings,
    features: Float32[np.ndarray, "segment frame feature"],
    labels: Int64[np.ndarray, " segment"],
    scenes: tuple[str, ...],
    context: FitContext,
) -> tuple[_FrameModel, list[dict[str, float]]]:
    fabric = context.fabric or Fabric(accelerator="cpu", devices=1)
    history: list[dict[str, float]] = []
    draws = torch.Generator().manual_seed(context.seed)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(context.seed)
        frames = torch.from_numpy(features).flatten(0, 1)
        network = FrameNetwork(frames.shape[1], len(scenes), choices.hidden, choices.dropout)
        network.standardise_by(frames)
        optimiser = torch.optim.Adam(network.parameters(), lr=choices.learning_rate)
        wrapped, optimiser = fabric.setup(network, optimiser)
        truth = fabric.to_device(torch.from_numpy(labels).repeat_interleave(features.shape[1]))
        frames = fabric.to_device(frames)
        n = math.ceil(choices.share * len(frames))
        for epoch in range(choices.epochs):
            started, total = time.perf_counter(), torch.zeros((), device=fabric.device)
            for group in optimiser.param_groups:
                group["lr"] = choices.learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / choices.epochs))
            network.train()
            drawn = fabric.to_device(torch.randperm(len(frames), generator=draws)[:n])
            for part in drawn.tensor_split(math.ceil(n / choices.batch_size)):
                optimiser.zero_grad()
                loss = functional.cross_entropy(wrapped(frames[part]), truth[part])
                fabric.backward(loss)
                optimiser.step()
                total += loss.detach() * len(part)
            row = {"epoch": epoch + 1.0, "loss": float(total) / n, "seconds": time.perf_counter() - started}
            history.append(row)
            network.eval()
            if context.observer:
                context.observer(dict(row), partial(_predict, _FrameModel(network, scenes)))
    return _FrameModel(network.eval().to("cpu"), scenes), history


def _predict(model: _FrameModel, corpus: Corpus) -> Mapping[str, SystemPredictions]:
    """Predict by the geometric mean over a segment's frames and the product rule over a recording's segments.

    Digital silence does not vote.
    """
    log_posterior = _posterior_and_embedding(model, corpus)[0]
    recording_of = corpus.recording[corpus.voting]
    recording = product_by_recording(log_posterior, recording_of, len(corpus.recordings))
    return {"softmax": SystemPredictions(log_posterior, recording_of, recording, temper(recording, model.temperature))}


def _embed(model: _FrameModel, corpus: Corpus) -> Float32[np.ndarray, "segment feature"]:
    """Return the last hidden layer of each voting segment, mean over its frames."""
    return _posterior_and_embedding(model, corpus)[1]


@torch.no_grad()
def _posterior_and_embedding(
    model: _FrameModel, corpus: Corpus
) -> tuple[Float64[np.ndarray, "segment scene"], Float32[np.ndarray, "segment feature"]]:
    """Return log posterior and embedding of each voting segment."""
    network, device = model.network, model.network.mean.device
    posteriors, embeddings = [], []
    for piece in torch.from_numpy(corpus.features[corpus.voting]).split(_AT_ONCE):  # one empty piece, where none votes
        hidden = network.embed(piece.flatten(0, 1).to(device))
        of_frames = network.softmax(hidden).double().log_softmax(-1).unflatten(0, piece.shape[:2])
        posteriors.append(of_frames.mean(dim=1).log_softmax(-1).cpu())
        embeddings.append(hidden.unflatten(0, piece.shape[:2]).mean(dim=1).cpu())
    return torch.cat(posteriors).numpy(), torch.cat(embeddings).numpy()


def _save(model: _FrameModel, choices: MfccDnnSettings, path: Path) -> None:
    """Write the network with its scenes, temperature and choices."""
    facts = json.dumps({"scenes": model.scenes, "temperature": model.temperature, "choices": asdict(choices)})
    write_atomic(path, save(model.network.state_dict(), {"mfcc_dnn": facts}), TrainingError)
