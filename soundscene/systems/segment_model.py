"""Saved systems with segments, as `timeline` and `listen` ask for a model.

A timeline reads the posteriors of a prediction, so it needs segments only. A stream needs features that are computed segment
by segment, so that `System.source` must make them: docs/decisions/0113-saved-systems.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

from soundscene.data.corpus import Corpus
from soundscene.data.store import DTYPE
from soundscene.errors import BundleError
from soundscene.model import is_count
from soundscene.prediction import ScenePrediction
from soundscene.recipe import FRONT_END, AudioRecipe
from soundscene.signal.streams import FeatureSource
from soundscene.systems.saved import UNKNOWN, SavedSystem
from soundscene.types import Features, Head, LogPosterior, Recording

Posteriors = dict[str, LogPosterior]
"""Log posteriors of the same segments, by head."""


@dataclass(frozen=True)
class SegmentModel:
    """A saved system as a `SceneModel`: it classifies segments. What it embeds are the posteriors of its heads.

    Attributes:
        saved: The system; it has segments.
    """

    saved: SavedSystem
    familiarity: None = None
    usual: None = None

    @property
    def scenes(self) -> tuple[str, ...]:
        """Names in the order of every posterior."""
        return self.saved.scenes

    @property
    def member_names(self) -> tuple[str, ...]:
        """Name of the system."""
        return (self.saved.identity.name,)

    @property
    def audio(self) -> AudioRecipe:
        """Rate of the samples, and the grid of segments."""
        return self.saved.identity.recipe.audio

    @property
    def head(self) -> Head:
        """Classifier that predicts by default."""
        return self.saved.head

    @property
    def temperature(self) -> dict[str, float]:
        """Of each head, for posteriors of recordings."""
        return self.saved.state.temperature

    @property
    def front_end(self) -> int:
        """Version of the front-end that made training images: the one that it goes on with."""
        return self.saved.identity.front_end

    def build_front_end(self, segment_hop_s: float | None = None, version: int = FRONT_END) -> FeatureSource:
        """Return what turns mono samples into the features of segments.

        Args:
            segment_hop_s: Seconds between starts of segments, by default their length.
            version: Not used: a system goes on with the front-end of its training.
        """
        assert self.saved.system.source is not None
        return self.saved.system.source(segment_hop_s)

    def for_many(self) -> "SegmentModel":
        """Return this model: it has one form only."""
        return self

    def embed(self, features: Features) -> Posteriors:
        """Classify segments by all heads, with the precision of the feature store.

        Args:
            features: From the front-end.
        """
        n = len(features[0])
        corpus = Corpus(
            recordings=(Recording(Path(), self.scenes[0], ""),),
            features=features[0].astype(DTYPE).astype(np.float32),
            recording=np.zeros(n, np.int64),
            start_s=np.arange(n) * self.audio.segment_s,
            silent=np.zeros(n, np.bool_),
            regular=np.ones(n, np.bool_),
            content_hash=("",),
            duration_s=(n * self.audio.segment_s,),
            notes=((),),
        )
        return {head: found.segment for head, found in self.saved.predict_corpus(corpus).items()}

    def embeddings_of(self, embeddings: Posteriors) -> tuple[Float32[np.ndarray, "segment _"], ...]:
        """Return the log posteriors of the default head."""
        return (embeddings[self.head].astype(np.float32),)

    def classify(self, embeddings: Posteriors, head: Head) -> LogPosterior:
        """Return the log posterior [segment, scene] of a head.

        Args:
            embeddings: From `embed`.
            head: "softmax" or "svm".
        """
        return embeddings[head]

    def unfamiliarity(self, embeddings: Any) -> Float64[np.ndarray, " segment"]:
        """Refuse: a saved system has no score of unfamiliarity.

        Raises:
            ValueError: Always.
        """
        raise ValueError(UNKNOWN)

    def lacking(self, head: Head) -> str | None:
        """Say what predictions must be read with: that libraries have other versions, say. No member lacks a head."""
        return "; ".join(self.saved.notes) or None

    def training_prior(self, head: Head) -> Float64[np.ndarray, " scene"]:
        """Return the share of each scene among the training segments: no system with segments balances scenes.

        Uniform for a file of a soundscene that did not count them.

        Args:
            head: "softmax" or "svm".
        """
        counts = self.saved.state.facts.get("segments_by_scene")
        if not isinstance(counts, dict) or set(counts) != set(self.scenes) or not all(map(is_count, counts.values())):
            return np.full(len(self.scenes), 1 / len(self.scenes))
        share = np.array([counts[scene] for scene in self.scenes], np.float64)
        return share / share.sum()


@dataclass(frozen=True)
class SegmentPredictor:
    """Predicts whole recordings for timelines, as `predict` does.

    Attributes:
        saved: The system.
        model: The same, as timelines ask for it.
    """

    saved: SavedSystem
    model: SegmentModel

    @property
    def head(self) -> Head:
        """Classifier that predicts."""
        return self.saved.head

    def predict(self, source: Any, warn: bool = False, progress: Callable[[float], None] | None = None) -> ScenePrediction:
        """Predict one recording, see `SavedSystem.predict`.

        Args:
            source: Sound file, or samples with their rate.
            warn: Whether to warn of the notes of the prediction.
            progress: Called with the seconds of sound that are done, at the end.
        """
        return self.saved.predict(source, warn, progress)


def segment_predictor(saved: SavedSystem, name: str = "model") -> SegmentPredictor:
    """Return what makes timelines of a saved system.

    Args:
        saved: The system.
        name: Of its file, for the message.

    Raises:
        BundleError: It has no segments.
    """
    if not saved.system.has_segments:
        raise BundleError(
            f"{name}: a model of the system {saved.identity.name}, which judges a recording as a whole; a timeline needs "
            "segments: give a model that `soundscene train` made"
        )
    return SegmentPredictor(saved, SegmentModel(saved))


def stream_model(saved: SavedSystem, name: str = "model") -> SegmentModel:
    """Return a saved system for a stream.

    Args:
        saved: The system.
        name: Of its file, for the message.

    Raises:
        BundleError: Its features need the whole recording.
    """
    if saved.system.source is None:
        why = "scales sound by the level of the whole recording" if saved.system.has_segments else "judges a whole recording"
        raise BundleError(
            f"{name}: a model of the system {saved.identity.name}, which {why}; a stream has no end: give a model that "
            "`soundscene train` made"
        )
    return SegmentModel(saved)
