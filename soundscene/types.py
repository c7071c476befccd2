"""Types that all packages share: frozen dataclasses and shape aliases.

Order of axes is PyTorch's: channel x band x frame (the paper writes M x T x K for band x frame x channel).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Shaped

Samples = Float32[np.ndarray, " sample"]
"""Mono block at the recipe's rate, finite, nominally in [-1, 1]."""

Images = Float32[np.ndarray, "segment 2 band frame"]
"""Log spectrogram of each segment; channel 0 as recorded, channel 1 with the background noise subtracted."""

Head = Literal["svm", "softmax"]
"""Classifier of an embedding: the calibrated SVM or the softmax layer."""

LogPosterior = Float64[np.ndarray, "*batch scene"]
"""Natural logarithms of probabilities; logsumexp over the last axis is 0."""


Features = tuple[Float32[np.ndarray, "segment ..."], ...]
"""Features of the same segments for each member of a model, in the order of the members."""


@dataclass(frozen=True)
class SegmentFeatures:
    """Features of segments, from a front-end.

    Attributes:
        features: For each member of a model [segment, ...]; log spectrograms [segment, 2, band, frame] for our networks.
        start_s: Start of each segment, seconds from the start of the recording.
        silent: Whether every sample of the segment is exactly zero (digital silence).
    """

    features: Features
    start_s: Float64[np.ndarray, " segment"]
    silent: Bool[np.ndarray, " segment"]

    @property
    def images(self) -> Images:
        """Log spectrograms [segment, 2, band, frame] of the first member, or the only one."""
        return self.features[0]

    def take(self, chosen: Bool[np.ndarray, " segment"]) -> tuple[Float32[np.ndarray, "taken ..."], ...]:
        """Return the features of some of the segments.

        Args:
            chosen: Which segments, [segment].
        """
        return take_features(self.features, chosen)


@dataclass(frozen=True)
class Recording:
    """A row of a manifest.

    Attributes:
        path: Audio file.
        scene: Its label.
        group: Unit of independence, such as a place or a session.
        line: Line in the CSV, 0 for none.
        columns: Further columns of the CSV.
    """

    path: Path
    scene: str
    group: str
    line: int = 0
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Split:
    """Recordings to train on and recordings to test on; no group is in both."""

    train: tuple[Recording, ...]
    test: tuple[Recording, ...]


@dataclass(frozen=True)
class SegmentPrediction:
    """Posterior [scene] of one segment, from start_s to end_s (seconds)."""

    start_s: float
    end_s: float
    posterior: Float[np.ndarray, " scene"]


@dataclass(frozen=True)
class ScenePrediction:
    """Prediction for one recording, as command line, pages and API show it.

    Attributes:
        source: The path, or a name for an array.
        duration_s: Length of the recording in seconds.
        scenes: Names in the order of `posterior`.
        posterior: Probability of each scene, [scene].
        segments: One per 2-second segment that voted.
        notes: What may make the prediction worse (low sample rate, silence).
        unfamiliarity: How unlike the model's training the recording is, the mean over its segments. Larger is less familiar
            (scale: `scoring.unfamiliarity.Familiarity.score`). None if the model has no unknown detection.
        unfamiliarity_threshold: Score at or below which the requested share of known recordings is. None if unavailable.
    """

    source: str
    duration_s: float
    scenes: tuple[str, ...]
    posterior: Float[np.ndarray, " scene"]
    segments: tuple[SegmentPrediction, ...]
    notes: tuple[str, ...] = ()
    unfamiliarity: float | None = None
    unfamiliarity_threshold: float | None = None

    @property
    def unknown(self) -> bool:
        """Whether the recording is less familiar than the threshold; `scene` is the best known scene in any case."""
        return is_unknown(self.unfamiliarity, self.unfamiliarity_threshold)

    @property
    def scene(self) -> str:
        """Name of the most probable scene."""
        return self.scenes[int(np.argmax(self.posterior))]

    @property
    def probability(self) -> float:
        """Probability of the most probable scene."""
        return float(np.max(self.posterior))

    def to_dict(self, with_segments: bool = False) -> dict[str, Any]:
        """Convert to plain values for JSON, the source as "path", seconds to the millisecond."""
        plain: dict[str, Any] = {
            "path": self.source,
            "duration_s": round(self.duration_s, 3),
            "scene": self.scene,
            "probability": self.probability,
            "posterior": self._named(self.posterior),
            "unfamiliarity": self.unfamiliarity,
            "unfamiliarity_threshold": self.unfamiliarity_threshold,
            "unknown": self.unknown,
            "notes": list(self.notes),
        }
        if with_segments:
            plain["segments"] = [
                {"start_s": s.start_s, "end_s": s.end_s, "posterior": self._named(s.posterior)} for s in self.segments
            ]
        return plain

    def _named(self, posterior: Float[np.ndarray, " scene"]) -> dict[str, float]:
        return dict(zip(self.scenes, map(float, posterior), strict=True))


@dataclass(frozen=True)
class Span:
    """A stretch of one scene from start_s to end_s (seconds); its probability is the mean over its segments."""

    start_s: float
    end_s: float
    scene: str
    probability: float


@dataclass(frozen=True)
class Change:
    """A change from one scene to another.

    Attributes:
        time_s: Start of the first segment of the new scene, in seconds.
        before: The old scene.
        after: The new scene.
        probability: Of the old scene three segments (6 s) before and the new one three after; nearer if spans are shorter.
    """

    time_s: float
    before: str
    after: str
    probability: float


@dataclass(frozen=True)
class Timeline:
    """Scenes over time of one recording.

    Attributes:
        source: Source of the prediction.
        duration_s: Length of the recording in seconds.
        scenes: Names in the order of the posteriors.
        stay_s: Expected stay in a scene that it was decoded with, in seconds.
        spans: Stretches of one scene in order of time, with gaps where a long silence separates them.
        changes: Between two spans of different scenes.
        start_s: Start of every segment that voted.
        end_s: Its end.
        posterior: Its posterior from the model.
        marginal: Its posterior given all other segments.
        notes: Notes of the prediction.
    """

    source: str
    duration_s: float
    scenes: tuple[str, ...]
    stay_s: float
    spans: tuple[Span, ...]
    changes: tuple[Change, ...]
    start_s: Float64[np.ndarray, " segment"]
    end_s: Float64[np.ndarray, " segment"]
    posterior: Float64[np.ndarray, "segment scene"]
    marginal: Float64[np.ndarray, "segment scene"]
    notes: tuple[str, ...] = ()


def take_features(
    features: Features, chosen: Shaped[np.ndarray, " chosen"] | slice
) -> tuple[Float32[np.ndarray, "taken ..."], ...]:
    """Return the features of some segments; members that share an array share the result.

    Args:
        features: For each member, [segment, ...].
        chosen: Numbers of segments, whether each is chosen, or a slice.
    """
    distinct = {id(array): array[chosen] for array in {id(a): a for a in features}.values()}
    return tuple(distinct[id(array)] for array in features)


def is_unknown(unfamiliarity: float | None, threshold: float | None) -> bool:
    """Tell whether a score of unfamiliarity is above its threshold.

    Args:
        unfamiliarity: Score, larger is less familiar.
        threshold: Largest score of what counts as known.

    Returns:
        False if either is None.
    """
    return unfamiliarity is not None and threshold is not None and unfamiliarity > threshold


def clock(seconds: float) -> str:
    """Format seconds as hours, minutes and whole seconds.

    >>> clock(3723.4)
    '1:02:03'
    """
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
