"""The words of the project as types: frozen dataclasses and shape aliases.

Order of axes is PyTorch's: channel x band x frame (the paper writes M x T x K for band x frame x channel).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64

Samples = Float32[np.ndarray, " sample"]
"""Mono block at the recipe's rate, finite, nominally in [-1, 1]."""

Images = Float32[np.ndarray, "segment 2 band frame"]
"""Log spectrogram of each segment; channel 0 as recorded, channel 1 with the background noise subtracted."""

LogPosterior = Float64[np.ndarray, "*batch scene"]
"""Natural logarithms of probabilities; logsumexp over the last axis is 0."""


@dataclass(frozen=True)
class SegmentImages:
    """What the front-end makes of a stretch of sound.

    images [segment, 2, band, frame]; start_s [segment], seconds from the start of the recording;
    silent [segment], true where every sample of the segment is exactly zero (digital silence).
    """

    images: Images
    start_s: Float64[np.ndarray, " segment"]
    silent: Bool[np.ndarray, " segment"]


@dataclass(frozen=True)
class Recording:
    """A row of a manifest. `group` is the unit of independence; `line` is its line in the CSV (0: none)."""

    path: Path
    scene: str
    group: str
    line: int = 0
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Split:
    """Recordings to learn from and recordings to be tested on; no group stands on both sides."""

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
    """The answer for one recording: what command line, page and API all show.

    source: the path, or a name for an array; scenes: names in the order of `posterior` [scene];
    segments: one per 2-second piece that voted; notes: what may make the answer worse (low rate, silence).
    unfamiliarity: how unlike the model's training the recording is, larger is less familiar, the mean over its segments
    (scale: `scoring.unfamiliarity.Familiarity.score`); None where the model cannot tell. unfamiliarity_threshold: at or
    below it lie the promised share of known recordings; None where nothing can be refused.
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
        """Whether the recording is less familiar than the threshold allows; `scene` is the best known scene all the same."""
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
        """Plain values for JSON, the source as "path"; seconds to the millisecond."""
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
    """A stretch of one scene, start_s to end_s in seconds; probability of the scene, the mean over its segments."""

    start_s: float
    end_s: float
    scene: str
    probability: float


@dataclass(frozen=True)
class Change:
    """From one scene to another at time_s seconds, when the new one is first heard.

    probability: of the old scene three segments (6 s) before and the new one three after; nearer where spans are shorter.
    """

    time_s: float
    before: str
    after: str
    probability: float


@dataclass(frozen=True)
class Timeline:
    """Scene over time of one recording.

    source, duration_s, scenes, notes: of the prediction; stay_s: expected stay it was decoded with; spans in order of time,
    apart where a long silence parts them; changes: between two spans of different scenes. For every segment that voted:
    start_s, end_s [segment]; posterior [segment, scene] as the model gave it; marginal [segment, scene] given all others.
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


def is_unknown(unfamiliarity: float | None, threshold: float | None) -> bool:
    """Whether a score of unfamiliarity lies above its threshold; False where there is none of either."""
    return unfamiliarity is not None and threshold is not None and unfamiliarity > threshold


def clock(seconds: float) -> str:
    """Hours, minutes and whole seconds, as 1:02:03."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
