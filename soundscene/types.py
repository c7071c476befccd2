"""Types that all packages share: frozen dataclasses and shape aliases.

Order of axes is PyTorch's: channel x band x frame (the paper writes M x T x K for band x frame x channel).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Shaped

from soundscene.texts import counted, short, show

Samples = Float32[np.ndarray, " sample"]
"""Mono block at the recipe's rate, finite, nominally in [-1, 1]."""

Images = Float32[np.ndarray, "segment 2 band frame"]
"""Log spectrogram of each segment; channel 0 as recorded, channel 1 with the background noise subtracted."""

Head = Literal["svm", "softmax"]
"""Classifier of an embedding: the calibrated SVM or the softmax layer."""

LogPosterior = Float64[np.ndarray, "*batch scene"]
"""Natural logarithms of probabilities; logsumexp over the last axis is 0."""


Features = tuple[Float[np.ndarray, "segment ..."], ...]
"""Features of the same segments for each member of a model, in the order of the members; float64 for exported models."""


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

    def take(self, chosen: Bool[np.ndarray, " segment"]) -> tuple[Float[np.ndarray, "taken ..."], ...]:
        """Return the features of some of the segments.

        Args:
            chosen: Which segments, [segment].
        """
        return take_features(self.features, chosen)


class Compared:
    """Equality and hash by value of a dataclass with arrays or mappings in it, which Python's own refuse."""

    def __eq__(self, other: object) -> bool:
        """Return whether all fields are equal, arrays by their values."""
        if type(other) is not type(self):
            return NotImplemented
        return all(_same(a, b) for a, b in zip(_values(self), _values(other), strict=True))

    def __hash__(self) -> int:
        """Return a hash of all fields."""
        return hash(_key(_values(self)))


@dataclass(frozen=True, eq=False)
class Recording(Compared):
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


@dataclass(frozen=True, eq=False, repr=False)
class Timeline(Compared):
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
        tempered: Its posterior as the decoder reads it: divided by the prior of the training and tempered, normalised.
        started: When the recording began, None where that is not known.
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
    tempered: Float64[np.ndarray, "segment scene"] | None = None
    started: datetime | None = None

    def __repr__(self) -> str:
        """Return one line: source, spans, changes and duration."""
        counts = f"{counted(len(self.spans), 'span')}, {counted(len(self.changes), 'change')}"
        return f"<Timeline {short(show(self.source))}: {counts}; {clock(self.duration_s)}>"


def take_features(
    features: Features, chosen: Shaped[np.ndarray, " chosen"] | slice
) -> tuple[Float[np.ndarray, "taken ..."], ...]:
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


def _values(instance: Any) -> tuple[Any, ...]:
    return tuple(getattr(instance, f.name) for f in fields(instance))


def _same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(value, other[name]) for name, value in one.items())
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _key(value: Any) -> Any:
    """Return something to hash, which is the same for values that are `_same`: of any precision, and 0.0 as -0.0."""
    if isinstance(value, np.ndarray):
        return value.shape, (value.astype(np.float64) + 0.0).tobytes() if value.dtype.kind in "biuf" else value.tobytes()
    if isinstance(value, Mapping):
        return frozenset((name, _key(one)) for name, one in value.items())
    return tuple(map(_key, value)) if isinstance(value, tuple) else value
