"""MFCC+DNN [40]: cepstral coefficients of frames, a feed-forward network that answers for each frame, fused by product.

Source: Petetin, Laroche and Mayoue 2015, "Deep neural networks for audio scene recognition", EUSIPCO, of which only the
title could be read; every number in `Choices` is ours: docs/decisions/0054-hog-and-mfcc-dnn.md.
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
from soundscene.recipe import AudioRecipe, Recipe
from soundscene.scoring.fusion import fit_temperature, product_by_recording, temper
from soundscene.signal.segments import SegmentStream
from soundscene.systems.system import FitContext, Fitted, System, SystemPredictions
from soundscene.types import Recording

_VERSION = 1  # of the code that makes coefficients; another one is another store
_FLOOR = 1e-10  # power below which the logarithm is cut
_AT_ONCE = 100  # segments answered for at a time


@dataclass(frozen=True)
class Choices:
    """Everything that decides the coefficients and the network.

    window_s, hop_s: of a frame; n_bands: of the mel filter bank; n_coefficients: kept of its cosine transform, to which
    first and second differences over delta_frames are added; hidden: width of each hidden layer; dropout: behind each;
    epochs of Adam with a rate falling along half a cosine; share: of the training frames that an epoch draws, because
    neighbours are nearly alike.
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
    """Reads one frame's coefficients, standardised, through ReLU layers to a scene.

    n_features: of a frame; hidden: width of each hidden layer; dropout: behind each.
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
        """Take mean and deviation of each feature from training frames; one that does not vary is blanked."""
        deviation = frames.std(dim=0)
        self.mean.copy_(frames.mean(dim=0))
        self.inverse_deviation.copy_(torch.where(deviation > 1e-4, 1 / deviation, 0.0))

    def embed(self, frames: Float32[Tensor, "frame feature"]) -> Float[Tensor, "frame hidden"]:
        """What the last hidden layer makes of frames."""
        return self.hidden((frames - self.mean) * self.inverse_deviation)

    def forward(self, frames: Float32[Tensor, "frame feature"]) -> Float[Tensor, "frame scene"]:
        """Logits of frames."""
        return self.softmax(self.embed(frames))


@dataclass(frozen=True)
class _Model:
    """The network, the scenes in its order, and the temperature of its answers."""

    network: FrameNetwork
    scenes: tuple[str, ...]
    temperature: float = 1.0


def system(recipe: Recipe, name: str, title: str) -> System:
    """MFCC and frame-wise network as a system for experiments; of the recipe it uses `audio` and `calibration.held_out`.

    It trains in less than a minute on a corpus of 2,000 segments, so it keeps no checkpoint: a killed fit starts afresh.
    """
    choices = Choices()
    shape = ("window_s", "hop_s", "n_bands", "n_coefficients", "delta_frames")
    facts = {
        "version": _VERSION,
        "audio": {n: getattr(recipe.audio, n) for n in ("sample_rate", "segment_s", "last_piece")},
        "choices": {n: getattr(choices, n) for n in shape},
        "librosa": version("librosa"),
    }
    representation = Representation("mfcc", json.dumps(facts, sort_keys=True), partial(_extract, recipe.audio, choices))
    return System(
        name, title, representation, recipe.to_dict() | {"mfcc_dnn": asdict(choices)}, partial(_fit, recipe, choices)
    )


def coefficients(
    waves: Float32[np.ndarray, "segment sample"], sample_rate: int, choices: Choices
) -> Float32[np.ndarray, "segment frame feature"]:
    """MFCC of each segment's frames (decibels, orthonormal cosine transform), then first, then second differences.

    waves [segment, sample], mono at sample_rate (Hz). No segment's values depend on another's.
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


def _extract(audio: AudioRecipe, choices: Choices, recording: Recording) -> Extract:
    file = AudioFile(recording.path, audio)
    stream = SegmentStream(audio.sample_rate, audio.segment_samples, last_piece=audio.last_piece)
    pieces = [stream.push(np.stack([block, block])) for block in file.blocks()]  # it cuts two channels: the same one twice
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


def _fit(recipe: Recipe, choices: Choices, corpus: Corpus, loan: FitContext) -> Fitted:
    """Network on the groups that are not held out, last epoch; temperature by those that are."""
    scenes = tuple(sorted({r.scene for r in corpus.recordings}))
    kept, held, notes = hold_out(corpus.recordings, recipe.calibration.held_out, np.random.default_rng(loan.seed))
    part, held_part = corpus.take(kept), corpus.take(held)
    labels = part.labels(scenes)[part.voting]
    silent = sorted(set(scenes) - {scenes[i] for i in labels})
    if silent or len(scenes) < 2:
        raise TrainingError(
            f"the training part holds {len(scenes)} scene(s) ({', '.join(scenes) or 'none'}), digital silence throughout: "
            f"{', '.join(silent) or 'none'}; at least two are needed, each with sound: add recordings of "
            "another scene, or take the silent one out"
        )
    model, history = _train(choices, part.features[part.voting], labels, scenes, loan)
    if held_part.voting.any():
        truth = np.array([scenes.index(r.scene) for r in held])
        model = replace(model, temperature=fit_temperature(_answer(model, held_part)["softmax"].recording, truth))
    return Fitted(
        partial(_answer, model), choices.epochs, history, partial(_embed, model), held, notes, partial(_save, model, choices)
    )


def _train(
    choices: Choices,
    features: Float32[np.ndarray, "segment frame feature"],
    labels: Int64[np.ndarray, " segment"],
    scenes: tuple[str, ...],
    loan: FitContext,
) -> tuple[_Model, list[dict[str, float]]]:
    fabric = loan.fabric or Fabric(accelerator="cpu", devices=1)
    history: list[dict[str, float]] = []
    draws = torch.Generator().manual_seed(loan.seed)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(loan.seed)
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
            if loan.observer:
                loan.observer(dict(row), partial(_answer, _Model(network, scenes)))
    return _Model(network.eval().to("cpu"), scenes), history


def _answer(model: _Model, corpus: Corpus) -> Mapping[str, SystemPredictions]:
    """Geometric mean of a segment's frames, product rule over a recording's segments; silence votes for nothing."""
    log_posterior = _hear(model, corpus)[0]
    recording_of = corpus.recording[corpus.voting]
    recording = product_by_recording(log_posterior, recording_of, len(corpus.recordings))
    return {"softmax": SystemPredictions(log_posterior, recording_of, recording, temper(recording, model.temperature))}


def _embed(model: _Model, corpus: Corpus) -> Float32[np.ndarray, "segment feature"]:
    """The last hidden layer of each voting segment, mean over its frames."""
    return _hear(model, corpus)[1]


@torch.no_grad()
def _hear(
    model: _Model, corpus: Corpus
) -> tuple[Float64[np.ndarray, "segment scene"], Float32[np.ndarray, "segment feature"]]:
    """Log posterior and embedding of each voting segment."""
    network, device = model.network, model.network.mean.device
    posteriors, embeddings = [], []
    for piece in torch.from_numpy(corpus.features[corpus.voting]).split(_AT_ONCE):  # one empty piece, where none votes
        hidden = network.embed(piece.flatten(0, 1).to(device))
        of_frames = network.softmax(hidden).double().log_softmax(-1).unflatten(0, piece.shape[:2])
        posteriors.append(of_frames.mean(dim=1).log_softmax(-1).cpu())
        embeddings.append(hidden.unflatten(0, piece.shape[:2]).mean(dim=1).cpu())
    return torch.cat(posteriors).numpy(), torch.cat(embeddings).numpy()


def _save(model: _Model, choices: Choices, path: Path) -> None:
    """Write the network with its scenes, temperature and choices."""
    facts = json.dumps({"scenes": model.scenes, "temperature": model.temperature, "choices": asdict(choices)})
    write_atomic(path, save(model.network.state_dict(), {"mfcc_dnn": facts}), TrainingError)
