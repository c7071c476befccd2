"""A member of a model: a front-end, what embeds its features, and the heads that classify the embeddings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from soundscene.backbone.encoder import Backbone, Pooling
from soundscene.backbone.packing import SCALE
from soundscene.backbone.stored import StoredBackbone
from soundscene.backbone.stream import BackboneSource
from soundscene.errors import BundleError
from soundscene.network.models import AttCRNN, Network
from soundscene.network.svm import CalibratedSVM
from soundscene.recipe import FRONT_END, AudioRecipe, Recipe
from soundscene.scene_model import BATCH
from soundscene.signal.frontend import FrontEnd
from soundscene.signal.streams import FeatureSource
from soundscene.types import Head, LogPosterior

DEVICE_BATCH = 512  # on a GPU


@runtime_checkable
class Member(Protocol):
    """What a model asks of a member.

    All members of a model receive the same mono samples, at the rate of the first member, and give features for the same
    segments. A member of another rate resamples them itself, in its own `FeatureSource`.

    """

    @property
    def name(self) -> str:
        """Name, different for each member of a model."""
        ...

    @property
    def front_end(self) -> int:
        """Version of the front-end that made its training features."""
        ...

    @property
    def heads(self) -> tuple[Head, ...]:
        """The classifiers that it has. Where it lacks the one asked for, the model takes its first."""
        ...

    @property
    def n_parameters(self) -> int | None:
        """Number of its weights, those of the SVM not counted; None where it is not known."""
        ...

    @property
    def audio(self) -> AudioRecipe:
        """Its sample rate and segments. All members of a model have the same segment_s and last_piece."""
        ...

    @property
    def default_head(self) -> Head:
        """The classifier that its recipe prefers."""
        ...

    def source(self, audio: AudioRecipe, segment_hop_s: float | None, version: int) -> FeatureSource:
        """Return what makes its features of mono samples.

        Args:
            audio: Of the model: rate of the samples that it will receive, and the grid of segments.
            segment_hop_s: Seconds between starts of segments, by default their length.
            version: Of the front-end, see `recipe.FRONT_END`.
        """
        ...

    def embed(self, features: Float32[np.ndarray, "segment ..."]) -> Float32[np.ndarray, "segment embedding"]:
        """Compute the embeddings of its features."""
        ...

    def classify(self, embeddings: Float32[np.ndarray, "segment embedding"], head: Head) -> LogPosterior:
        """Classify embeddings by one of its heads.

        Args:
            embeddings: From `embed`.
            head: One of `heads`.

        Returns:
            Log posterior [segment, scene].
        """
        ...


@dataclass(frozen=True, repr=False)
class NetworkMember:
    """A network of the paper on its images, with both heads.

    Attributes:
        name: Such as "att-crnn-mel".
        recipe: Settings it was trained with.
        network: The network, in evaluation mode.
        svm: The calibrated SVM on its embeddings.
        front_end: Version of the front-end that made its training images. Predictions use `recipe.FRONT_END`.
    """

    name: str
    recipe: Recipe
    network: Network
    svm: CalibratedSVM
    front_end: int = FRONT_END

    def __repr__(self) -> str:
        return f"<NetworkMember {self.name}>"

    @property
    def heads(self) -> tuple[Head, ...]:
        """The SVM and the softmax layer."""
        return ("svm", "softmax")

    @property
    def n_parameters(self) -> int:
        """Number of the network's weights."""
        return sum(p.numel() for p in self.network.parameters())

    @property
    def audio(self) -> AudioRecipe:
        """Sample rate, segments and noise frames."""
        return self.recipe.audio

    @property
    def default_head(self) -> Head:
        """The recipe's choice."""
        return self.recipe.calibration.head

    @property
    def has_attention(self) -> bool:
        """Whether its network pools by attention: an Att-CRNN, but for one without it; the CNN baseline has none."""
        return isinstance(self.network, AttCRNN) and self.network.attention is not None

    def source(self, audio: AudioRecipe, segment_hop_s: float | None = None, version: int = FRONT_END) -> FrontEnd:
        """Return its front-end. A model lets members of one audio recipe share it.

        Args:
            audio: Of the model.
            segment_hop_s: Seconds between starts of segments, by default their length.
            version: Of the front-end, see `recipe.FRONT_END`.

        Raises:
            BundleError: The model has another audio recipe.
        """
        if audio != self.audio:
            raise BundleError(f"member {self.name} has another audio recipe than the model; members of a model share it")
        return FrontEnd(audio, self.recipe.features, segment_hop_s, version)

    @torch.inference_mode()
    def embed(self, features: Float32[np.ndarray, "segment 2 band frame"]) -> Float32[np.ndarray, "segment embedding"]:
        """Compute the embeddings of images from the front-end."""
        device = self.network.softmax.weight.device
        pieces = torch.from_numpy(np.ascontiguousarray(features)).split(BATCH if device.type == "cpu" else DEVICE_BATCH)
        rows = [self.network.embed(piece.to(device).contiguous(memory_format=torch.channels_last)) for piece in pieces]
        width = self.network.softmax.in_features
        return torch.cat(rows).float().cpu().numpy() if rows else np.zeros((0, width), np.float32)

    @torch.inference_mode()
    def classify(self, embeddings: Float32[np.ndarray, "segment embedding"], head: Head) -> LogPosterior:
        """Classify embeddings by the softmax layer or the calibrated SVM.

        Args:
            embeddings: From `embed`.
            head: "softmax" or "svm".

        Returns:
            Log posterior [segment, scene].

        Raises:
            BundleError: If weights are so large that the posterior is not a number.
        """
        x = torch.from_numpy(embeddings)
        if head == "svm":  # in double precision, which not every device has: it stays where it is
            return _log_posterior(self.svm(x.to(self.svm.weight.device)))
        return _log_posterior(self.network.softmax(x.to(self.network.softmax.weight.device)))

    @torch.inference_mode()
    def logits(self, embeddings: Float32[np.ndarray, "segment embedding"]) -> Float32[np.ndarray, "segment scene"]:
        """Compute the logits of the softmax layer.

        Args:
            embeddings: From `embed`.
        """
        x = torch.from_numpy(embeddings).to(self.network.softmax.weight.device)
        return self.network.softmax(x).float().cpu().numpy()


@dataclass(frozen=True, repr=False)
class BackboneMember:
    """A frozen pretrained backbone with a softmax layer and a calibrated SVM on its embeddings.

    It has no attention, and hears no noise-subtracted channel.

    Attributes:
        name: Such as "yamnet".
        recipe: Settings of audio, training and calibration; the others do not count.
        stored: Weights of the backbone, and their licence, source and digest.
        backbone: What computes embeddings with them.
        svm: The calibrated SVM on its embeddings.
        pooling: How a segment's embedding is made of those of its patches.
        softmax: Softmax layer on its embeddings, float64. None where only the SVM was fitted.
    """

    name: str
    recipe: Recipe
    stored: StoredBackbone
    backbone: Backbone
    svm: CalibratedSVM
    pooling: Pooling = "mean"
    softmax: nn.Linear | None = None

    def __repr__(self) -> str:
        return f"<BackboneMember {self.name}>"

    @property
    def front_end(self) -> int:
        """The current version: nothing of it depends on the front-end of the networks."""
        return FRONT_END

    @property
    def heads(self) -> tuple[Head, ...]:
        """The SVM, and the softmax layer where it was fitted."""
        return ("svm",) if self.softmax is None else ("svm", "softmax")

    @property
    def n_parameters(self) -> int | None:
        """Number of the backbone's weights; None for a file in ONNX."""
        if self.stored.kind == "onnx":
            return None
        return sum(t.numel() for name, t in self.stored.tensors.items() if not name.endswith(SCALE))

    @property
    def audio(self) -> AudioRecipe:
        """Sample rate of the model, and segments."""
        return self.recipe.audio

    @property
    def default_head(self) -> Head:
        """The recipe's choice, as far as it has it."""
        return self.recipe.calibration.head if self.recipe.calibration.head in self.heads else "svm"

    def source(self, audio: AudioRecipe, segment_hop_s: float | None = None, version: int = FRONT_END) -> BackboneSource:
        """Return what prepares segments for the backbone, at its own rate.

        Args:
            audio: Of the model.
            segment_hop_s: Seconds between starts of segments, by default their length.
            version: Not used.
        """
        return BackboneSource(self.backbone, audio, segment_hop_s)

    def embed(self, features: Float32[np.ndarray, "segment ..."]) -> Float32[np.ndarray, "segment embedding"]:
        """Compute the pooled embeddings of what the source has prepared."""
        return self.backbone.embed(features)

    @torch.inference_mode()
    def classify(self, embeddings: Float32[np.ndarray, "segment embedding"], head: Head) -> LogPosterior:
        """Classify embeddings by the softmax layer or the calibrated SVM.

        Args:
            embeddings: From `embed`.
            head: One of `heads`.

        Returns:
            Log posterior [segment, scene].

        Raises:
            BundleError: If weights are so large that the posterior is not a number.
        """
        x = torch.from_numpy(embeddings)
        return _log_posterior(self.svm(x) if head == "svm" or self.softmax is None else self.softmax(x.double()))

    @property
    def facts(self) -> dict[str, str | int]:
        """Name, rate, licence, source and digest of the backbone, for provenance."""
        return {**self.stored.facts, "weights_sha256": self.stored.digest, "pooling": self.pooling}


def _log_posterior(logits: Float[Tensor, "segment scene"]) -> LogPosterior:
    log_posterior = torch.log_softmax(logits.cpu().double(), dim=-1).numpy()
    if np.isnan(log_posterior).any():  # of finite weights so large that products overflow
        raise BundleError("the model computes no finite posterior, because its weights are too large; retrain the model")
    return log_posterior


def networks_of(members: Sequence[Member]) -> list[NetworkMember]:
    """Return the members that are networks of the paper, in their order."""
    return [member for member in members if isinstance(member, NetworkMember)]


def name_of(recipe: Recipe) -> str:
    """Return the name of the system that a recipe trains, such as "att-crnn-mel"."""
    return f"{recipe.network.kind}-{recipe.features.kind}"
