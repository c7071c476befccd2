"""What predictions ask of a model, so that a trained model and one exported to ONNX predict by the same code."""

from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Float64

from soundscene.recipe import FRONT_END, AudioRecipe
from soundscene.scoring.unfamiliarity import Familiarity
from soundscene.signal.ranges import TrainingRange
from soundscene.signal.streams import FeatureSource
from soundscene.types import Features, Head, LogPosterior

BATCH = 64  # segments computed at once in prediction


@runtime_checkable
class SceneModel(Protocol):
    """A model that classifies segments; `model.Model` describes the attributes."""

    @property
    def scenes(self) -> tuple[str, ...]:
        """Names in the order of every posterior."""
        ...

    @property
    def member_names(self) -> tuple[str, ...]:
        """Names of the members."""
        ...

    @property
    def audio(self) -> AudioRecipe:
        """Rate of the samples, and the grid of segments."""
        ...

    @property
    def head(self) -> Head:
        """Classifier that predicts by default."""
        ...

    @property
    def temperature(self) -> dict[str, float]:
        """Of each head, for posteriors of recordings."""
        ...

    @property
    def familiarity(self) -> Familiarity | None:
        """Reference for unknown detection."""
        ...

    @property
    def usual(self) -> TrainingRange | None:
        """Range of the training recordings."""
        ...

    @property
    def front_end(self) -> int:
        """Oldest version of the front-end that made training images."""
        ...

    def build_front_end(self, segment_hop_s: float | None = None, version: int = FRONT_END) -> FeatureSource:
        """Return what turns mono samples into features of segments.

        Args:
            segment_hop_s: Seconds between starts of segments, by default their length.
            version: Of the front-end, see `recipe.FRONT_END`.
        """
        ...

    def for_many(self) -> "SceneModel":
        """Return the same model for many recordings: it may take longer to begin, and then less for each."""
        ...

    def embed(self, features: Features) -> Any:
        """Return what `classify` and `unfamiliarity` read of the features of segments."""
        ...

    def embeddings_of(self, embeddings: Any) -> tuple[Float32[np.ndarray, "segment _"], ...]:
        """Return the embeddings of each member.

        Args:
            embeddings: From `embed`.
        """
        ...

    def classify(self, embeddings: Any, head: Head) -> LogPosterior:
        """Return the log posterior [segment, scene] of a head.

        Args:
            embeddings: From `embed`.
            head: "softmax" or "svm".
        """
        ...

    def unfamiliarity(self, embeddings: Any) -> Float64[np.ndarray, " segment"]:
        """Return how unlike the training each segment is."""
        ...

    def lacking(self, head: Head) -> str | None:
        """Say which members lack a head; None where every member has it."""
        ...

    def training_prior(self, head: Head) -> Float64[np.ndarray, " scene"]:
        """Return the prior of each scene that the posteriors of a head hold."""
        ...
