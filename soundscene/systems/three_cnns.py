"""1D+2D+3D CNNs [9]: networks on the wave, on its image and on blocks of the image, and a fusion network on their features.

Source: the abstract of Yin, Shah and Zimmermann 2018, the idea only. All sizes are ours: docs/decisions/0118-three-cnns.md.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn

from soundscene.audio.files import AudioFile
from soundscene.data.corpus import Corpus
from soundscene.data.store import Extract, Representation
from soundscene.network.blocks import Standardise
from soundscene.network.branches import N_FEATURES, BlockBranch, ImageBranch, WaveBranch
from soundscene.network.models import check_bands, n_frames
from soundscene.recipe import FRONT_END, AudioRecipe, Recipe
from soundscene.signal.features import LogSpectrogram
from soundscene.signal.segments import SegmentStream
from soundscene.systems.epochs import N, Optimisation, fabric_of, fingerprint, run_epochs, shuffled
from soundscene.systems.pieces import (
    AT_ONCE,
    PieceModel,
    divide_pieces,
    finish,
    piece_labels,
    predict_pieces,
    remember_last,
    restore_pieces,
    save_pieces,
    softmax_of_embedding,
    stored_features,
)
from soundscene.systems.saved import Identity
from soundscene.systems.system import FitContext, Fitted, SavedState, System
from soundscene.types import Recording

_VERSION = 1  # of the code that makes waves; another one is another store

Branch = Literal["1d", "2d", "3d"]
BRANCHES: tuple[Branch, ...] = ("1d", "2d", "3d")
OPTIONS = {"branches": ("all", *BRANCHES)}


@dataclass(frozen=True)
class ThreeCnnsSettings:
    """Settings of the branches and of the fusion.

    Attributes:
        branches: All three and their fusion, or one alone.
        dropout: Dropout probability of the branches.
        fusion_dropout: Dropout probability of the fusion network.
        fusion_epochs: Epochs of the fusion network: few, because its features have been trained on its very pieces.
        n_blocks: Blocks of the image that the 3-D branch reads as its depth.
        batch_size: Pieces in a batch.
        learning_rate: Adam's rate of the first epoch.
    """

    branches: Literal["all", "1d", "2d", "3d"] = "all"
    dropout: float = 0.25
    fusion_dropout: float = 0.5
    fusion_epochs: int = 10
    n_blocks: int = 5
    batch_size: int = 50
    learning_rate: float = 1e-3


class BranchNetwork(nn.Module):
    """A branch with a softmax layer of its own.

    Args:
        kind: Which branch.
        recipe: Sizes of images and of the convolutional stack.
        choices: Settings.
        n_scenes: Number of scenes.

    Shape:
        Waves [piece, sample] (1-D) or images [piece, 1, band, frame], logits [piece, scene].
    """

    def __init__(self, kind: Branch, recipe: Recipe, choices: ThreeCnnsSettings, n_scenes: int) -> None:
        super().__init__()
        self.standardise = nn.Identity() if kind == "1d" else Standardise(recipe.features.n_bands, recipe.features.clamp, 1)
        if kind == "1d":
            self.branch = WaveBranch(choices.dropout)
        elif kind == "2d":
            self.branch = ImageBranch(recipe.network.filters, choices.dropout)
        else:
            self.branch = BlockBranch(choices.n_blocks, choices.dropout)
        self.softmax = nn.Linear(N_FEATURES, n_scenes)

    def embed(self, inputs: Float[Tensor, "piece ..."]) -> Float[Tensor, "piece feature"]:
        """Return the features of the branch."""
        return self.branch(self.standardise(inputs))

    def forward(self, inputs: Float[Tensor, "piece ..."]) -> Float[Tensor, "piece scene"]:
        """Return logits."""
        return self.softmax(self.embed(inputs))


class FusionNetwork(nn.Module):
    """A ReLU layer on the joined features of all branches, softmax layer.

    Shape:
        Input [piece, 768], embedding [piece, 256], logits [piece, scene].
    """

    def __init__(self, n_scenes: int, dropout: float) -> None:
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(len(BRANCHES) * N_FEATURES, 256), nn.ReLU(), nn.Dropout(dropout))
        self.softmax = nn.Linear(256, n_scenes)

    def embed(self, features: Float[Tensor, "piece joined"]) -> Float[Tensor, "piece hidden"]:
        """Return the output of the ReLU layer."""
        return self.hidden(features)

    def forward(self, features: Float[Tensor, "piece joined"]) -> Float[Tensor, "piece scene"]:
        """Return logits."""
        return self.softmax(self.embed(features))


def system(
    recipe: Recipe, name: str, title: str, front_end: int = FRONT_END, options: Mapping[str, Any] | None = None
) -> System:
    """Make three CNNs and their fusion, or one of them, a system for experiments.

    Args:
        recipe: `audio`, `features`, `network.filters`, `training.epochs` and `calibration.held_out` are used.
        name: Name in files.
        title: Title in tables.
        front_end: Not used; it reads no noise-subtracted channel.
        options: `branches` of the settings.

    Raises:
        RecipeError: If the convolutional stack does not fit the recipe's images.
    """
    choices = ThreeCnnsSettings(**(options or {}))
    check_bands(recipe)
    LogSpectrogram(recipe.audio, recipe.features)  # refuses here, not in a fit
    facts = {"version": _VERSION, "audio": {n: getattr(recipe.audio, n) for n in ("sample_rate", "segment_s", "last_piece")}}
    representation = Representation("waves", json.dumps(facts, sort_keys=True), partial(_extract, recipe.audio))
    stored = recipe.to_stored() | {"three_cnns": asdict(choices)}
    identity = Identity(name, title, recipe, options or {}, front_end)
    restore = partial(restore_pieces, partial(_untrained, recipe, choices))
    return System(name, title, representation, stored, partial(_fit, identity, choices), restore, has_segments=True)


def _extract(audio: AudioRecipe, recording: Recording) -> Extract:
    """Cut the wave, divided by the RMS of the whole recording: that of each piece would hide how the level changes."""
    file = AudioFile(recording.path, audio)
    samples = np.concatenate(list(file.blocks()))
    rms = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
    stream = SegmentStream(audio.sample_rate, audio.segment_samples, last_piece=audio.last_piece, channels=1)
    pieces = [stream.push((samples / np.float32(rms or 1.0))[None]), stream.flush()]
    waves, start_s = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
    return Extract(
        features=waves[:, 0],
        start_s=start_s,
        silent=np.asarray(~waves[:, 0].any(axis=1)),
        regular=np.ones(len(waves), np.bool_),
        content_hash=file.content_hash,
        duration_s=float(file.duration_s),
        notes=tuple(file.notes),
    )


def images_of(waves: Float32[np.ndarray, "piece sample"], recipe: Recipe) -> Float32[np.ndarray, "piece 1 band frame"]:
    """Compute the log-mel images of waves, at the fit and in prediction alike.

    Args:
        waves: Pieces of the recipe's length.
        recipe: Image of a piece.
    """
    spectrogram = LogSpectrogram(recipe.audio, recipe.features)
    shape = (len(waves), 1, recipe.features.n_bands, n_frames(recipe))
    images = np.empty(shape, np.float32)
    for at in range(0, len(waves), AT_ONCE):  # in pieces: both channels of all would take twice the memory of the waves
        part = waves[at : at + AT_ONCE]
        images[at : at + AT_ONCE] = spectrogram(np.repeat(part[:, None], 2, axis=1))[:, :1]
    return images


class FusedNetwork(nn.Module):
    """All branches and the fusion network, as one module that a file can hold.

    Args:
        branches: Of each kind.
        fusion: On their joined features.
    """

    def __init__(self, branches: Mapping[Branch, nn.Module], fusion: FusionNetwork) -> None:
        super().__init__()
        self.branches = nn.ModuleDict({str(kind): network for kind, network in branches.items()})
        self.fusion = fusion

    def join(self, inputs: Mapping[Branch, Tensor]) -> Float[Tensor, "piece joined"]:
        """Return the joined features of all branches."""
        return torch.cat([self.branches[kind].embed(inputs[kind]) for kind in BRANCHES], dim=1)  # pyright: ignore[reportCallIssue]


def inputs_of(waves: Float32[Tensor, "piece sample"], recipe: Recipe) -> dict[Branch, Tensor]:
    """Return what each branch reads of waves.

    Args:
        waves: Pieces of the recipe's length.
        recipe: Image of a piece.
    """
    images = torch.from_numpy(images_of(waves.cpu().numpy(), recipe)).to(waves.device)
    return {"1d": waves, "2d": images, "3d": images}


def classify_branch(
    kind: Branch, recipe: Recipe, network: nn.Module, waves: Float32[Tensor, "piece sample"]
) -> tuple[Float[Tensor, "piece scene"], Float[Tensor, "piece feature"]]:
    """Classify waves by one branch.

    Args:
        kind: Which branch.
        recipe: Image of a piece.
        network: Its network.
        waves: On the device of the network.
    """
    return softmax_of_embedding(network, waves if kind == "1d" else inputs_of(waves, recipe)[kind])


def classify_fused(
    recipe: Recipe, network: nn.Module, waves: Float32[Tensor, "piece sample"]
) -> tuple[Float[Tensor, "piece scene"], Float[Tensor, "piece feature"]]:
    """Classify waves by the fusion of all branches.

    Args:
        recipe: Image of a piece.
        network: A `FusedNetwork`.
        waves: On the device of its branches.
    """
    assert isinstance(network, FusedNetwork)
    joined = network.join(inputs_of(waves, recipe))
    return softmax_of_embedding(network.fusion, joined.to(network.fusion.softmax.weight.device))


def _read_branch(recipe: Recipe, kind: Branch, corpus: Corpus) -> Float32[np.ndarray, "piece ..."]:
    waves = stored_features(corpus)
    return waves if kind == "1d" else images_of(waves, recipe)


def _read_joined(
    recipe: Recipe, branches: Mapping[Branch, nn.Module], corpus: Corpus
) -> Float32[np.ndarray, "piece joined"]:
    waves = stored_features(corpus)
    return _features(branches, waves, images_of(waves, recipe))


@torch.no_grad()
def _features(
    branches: Mapping[Branch, nn.Module],
    waves: Float32[np.ndarray, "piece sample"],
    images: Float32[np.ndarray, "piece 1 band frame"],
) -> Float32[np.ndarray, "piece joined"]:
    joined = []
    for kind, network in branches.items():
        inputs = torch.from_numpy(waves if kind == "1d" else images)
        joined.append(np.concatenate([network.embed(part).numpy() for part in inputs.split(AT_ONCE)]))  # pyright: ignore[reportCallIssue]
    return np.concatenate(joined, axis=1)


def _untrained(recipe: Recipe, choices: ThreeCnnsSettings, state: SavedState) -> PieceModel:
    n = len(state.scenes)
    if choices.branches != "all":
        classify = partial(classify_branch, choices.branches, recipe)
        return PieceModel(BranchNetwork(choices.branches, recipe, choices, n), state.scenes, classify)
    branches: dict[Branch, nn.Module] = {kind: BranchNetwork(kind, recipe, choices, n) for kind in BRANCHES}
    network = FusedNetwork(branches, FusionNetwork(n, choices.fusion_dropout))
    return PieceModel(network, state.scenes, partial(classify_fused, recipe))


def _fit(identity: Identity, choices: ThreeCnnsSettings, corpus: Corpus, context: FitContext) -> Fitted:
    """Fit the branches, then with their weights frozen the fusion, to groups that are not held out; last epochs.

    Each network has a checkpoint of its own, and that of a finished one resumes to its end. The observer follows the branch
    where there is one, and the fusion where there are three: the epochs of a system are drawn once. It predicts from what
    does not change while it watches, images or the features of all branches, computed once.
    """
    recipe = identity.recipe
    parts = divide_pieces(corpus, recipe, context)
    save = partial(save_pieces, identity, parts)
    waves, labels = parts.kept.features[parts.kept.voting], piece_labels(parts)
    images = images_of(waves, recipe)
    networks: dict[Branch, nn.Module] = {}
    earlier: list[dict[str, float]] = []
    for kind in BRANCHES if choices.branches == "all" else (choices.branches,):

        def make(kind: Branch = kind) -> BranchNetwork:
            network = BranchNetwork(kind, recipe, choices, len(parts.scenes))
            if isinstance(network.standardise, Standardise):
                network.standardise.fit(torch.from_numpy(images))
            return network

        of_branch = _of(context, kind) if choices.branches == "all" else context
        inputs, read = waves if kind == "1d" else images, partial(_read_branch, recipe, kind)
        so_far = partial(PieceModel, scenes=parts.scenes, read=read if kind == "1d" else remember_last(read))
        networks[kind], history = _train(make, inputs, labels, recipe.training.epochs, recipe, choices, of_branch, so_far)
        if choices.branches != "all":
            model = PieceModel(networks[kind], parts.scenes, partial(classify_branch, kind, recipe))
            return finish(model, parts, history, save)
        earlier += history

    fusion, history = _train(
        lambda: FusionNetwork(len(parts.scenes), choices.fusion_dropout),
        _features(networks, waves, images),
        labels,
        choices.fusion_epochs,
        recipe,
        choices,
        context,
        partial(PieceModel, scenes=parts.scenes, read=remember_last(partial(_read_joined, recipe, networks))),
    )
    fused = PieceModel(FusedNetwork(networks, fusion).eval(), parts.scenes, partial(classify_fused, recipe))
    return finish(fused, parts, history, save, earlier=earlier)


def _of(context: FitContext, kind: Branch) -> FitContext:
    """Return the context of a branch of three: a checkpoint beside that of the fusion, and no observer."""
    path: Path | None = context.checkpoint
    return replace(context, observer=None, checkpoint=path and path.with_name(f"{path.stem}-{kind}{path.suffix}"))


def _train(
    make: Callable[[], N],
    inputs: Float32[np.ndarray, "piece ..."],
    labels: Int64[np.ndarray, " piece"],
    epochs: int,
    recipe: Recipe,
    choices: ThreeCnnsSettings,
    context: FitContext,
    model: Callable[[N], PieceModel],
) -> tuple[N, list[dict[str, float]]]:
    fabric = fabric_of(context)
    on_device, truth = (fabric.to_device(torch.from_numpy(array)) for array in (inputs, labels))
    facts = {"three_cnns": asdict(choices), "recipe": recipe.to_stored(), "seed": context.seed}
    return run_epochs(
        make,
        shuffled(on_device, truth, choices.batch_size),
        Optimisation(epochs, choices.learning_rate),
        context,
        lambda: fingerprint(facts, [inputs, labels]),
        lambda network: partial(predict_pieces, model(network)),
    )
