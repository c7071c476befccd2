"""Out-of-distribution scores: how unlike a recording is to everything a model was trained on; larger is less familiar.

Candidates of docs/decisions/0071 and 0103. Segments are scored first, and a recording's score is the mean of its segments,
because one unusual second does not make a recording unknown. A threshold comes from recordings of known scenes that were
held out from training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Float64, Int
from scipy.special import logsumexp

Kind = Literal["energy", "mahalanobis", "relative-mahalanobis"]
"""Scores that a model can store; the probability, a further candidate, needs only the posterior."""

CHOSEN: Kind = "relative-mahalanobis"  # on esc10, by docs/decisions/0103
KEEP = 0.95  # share of known recordings that must not be labelled unknown
SHRINKAGE = 0.1  # of the shared covariance towards its mean variance: features that hardly vary must not dominate


def probability_score(calibrated: Float[np.ndarray, "recording scene"]) -> Float64[np.ndarray, " recording"]:
    """Score recordings by 1 - the largest calibrated probability (Hendrycks and Gimpel 2017)."""
    return 1 - np.exp(calibrated.astype(np.float64).max(axis=1))


def energy_score(logits: Float[np.ndarray, "segment scene"]) -> Float64[np.ndarray, " segment"]:
    """Score segments by -logsumexp of the logits of the softmax layer (Liu et al. 2020, temperature 1)."""
    return -np.asarray(logsumexp(logits.astype(np.float64), axis=1))


@dataclass(frozen=True)
class SceneGaussians:
    """Model the embeddings of each known scene by a Gaussian; all scenes share one covariance.

    Attributes:
        mean: [scene, feature].
        precision: [feature, feature], the inverse covariance.
        background: One Gaussian of all segments, whatever their scene, for the relative distance; None for the plain one.
    """

    mean: Float64[np.ndarray, "scene feature"]
    precision: Float64[np.ndarray, "feature feature"]
    background: "SceneGaussians | None" = None

    def distance(self, embeddings: Float[np.ndarray, "segment feature"]) -> Float64[np.ndarray, " segment"]:
        """Compute the squared Mahalanobis distance of each segment to the nearest scene, per feature (Lee et al. 2018).

        With a background, the distance to its mean is subtracted (Ren et al. 2021). What moves all sound away from all
        training, such as an unusual device, then counts less than what moves it away from the scenes only.
        """
        nearest = self._nearest(embeddings)
        return nearest if self.background is None else nearest - self.background.distance(embeddings)

    def rounded(self) -> "SceneGaussians":
        """Round to the float32 that a file stores, so that a saved and loaded model gives the same scores to the bit."""
        mean, precision = (x.astype(np.float32).astype(np.float64) for x in (self.mean, self.precision))
        return SceneGaussians(mean, precision, self.background.rounded() if self.background else None)

    def _nearest(self, embeddings: Float[np.ndarray, "segment feature"]) -> Float64[np.ndarray, " segment"]:
        x = embeddings.astype(np.float64)
        nearest = np.full(len(x), np.inf)
        for mean in self.mean:  # one scene at a time: a corpus has too many segments for all scenes at once
            offset = x - mean
            np.minimum(nearest, (offset @ self.precision * offset).sum(axis=1), out=nearest)
        return nearest / self.mean.shape[1]


def fit_gaussians(
    embeddings: Float[np.ndarray, "segment feature"],
    scene: Int[np.ndarray, " segment"],
    n_scenes: int,
    relative: bool = False,
) -> SceneGaussians:
    """Fit means and shared covariance to the embeddings of training segments.

    Args:
        embeddings: [segment, feature].
        scene: [segment], scene numbers.
        n_scenes: Number of scenes.
        relative: Whether to fit the background too.

    Raises:
        ValueError: A scene has no segment.
    """
    x = embeddings.astype(np.float64)
    counts = np.bincount(scene, minlength=n_scenes)
    if (counts == 0).any():
        raise ValueError(f"scene {int(np.argmin(counts))} has no segment to take a mean of")
    mean = np.stack([x[scene == c].mean(axis=0) for c in range(n_scenes)])
    within = x - mean[scene]
    covariance = within.T @ within / len(x)
    level = np.trace(covariance) / len(covariance)
    shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * max(level, 1e-12) * np.eye(len(covariance))
    background = fit_gaussians(x, np.zeros(len(x), np.int64), 1) if relative else None
    return SceneGaussians(mean, np.linalg.inv(shrunk), background)


@dataclass(frozen=True)
class Familiarity:
    """Hold what a model needs to score a recording as out-of-distribution, and to set the threshold for unknown.

    Attributes:
        kind: Which score.
        calibration_scores: [recording], ascending: scores of recordings of known scenes that were held out from training.
        gaussians: Embeddings of the training segments by scene, of each member of the model, not for "energy"; their values
            are float32, as stored.
    """

    kind: Kind
    calibration_scores: Float64[np.ndarray, " recording"]
    gaussians: tuple[SceneGaussians, ...] = ()

    def score(
        self,
        embeddings: Sequence[Float[np.ndarray, "segment _"]],
        logits: Sequence[Float[np.ndarray, "segment scene"]],
    ) -> Float64[np.ndarray, " segment"]:
        """Score segments by their embeddings or logits, whichever the kind needs: the mean over the members' scores.

        Args:
            embeddings: [segment, feature] of each member.
            logits: [segment, scene] of the softmax layer of each member that has one.

        Returns:
            [segment], larger is less familiar. Energy is in nats, and its level depends on the network. Mahalanobis averages
            at most 1 / (1 - SHRINKAGE) over the training segments; the relative distance is about zero or less there.
        """
        if self.kind != "energy":
            scores = [g.distance(x) for g, x in zip(self.gaussians, embeddings, strict=True)]
        else:
            scores = [energy_score(x) for x in logits]
        return np.mean(scores, axis=0)

    def threshold(self, keep: float = KEEP) -> float | None:
        """Return the score above which a recording is unknown, or None where too few recordings were held out.

        Args:
            keep: Share of known recordings, in (0, 1), that are to stay known.

        Raises:
            ValueError: The share is outside (0, 1).
        """
        threshold = threshold_that_keeps(self.calibration_scores, keep)
        return threshold if threshold < float("inf") else None

    def to_facts(self) -> dict[str, Any]:
        """Return plain values for `soundscene info` and the card of a model."""
        return {
            "score": self.kind,
            "held_out_recordings": len(self.calibration_scores),
            "threshold": self.threshold(),
        }

    def why_unavailable(self, keep: float = KEEP) -> str | None:
        """Explain in one line why there is no threshold and what to do; None where there is one."""
        if self.threshold(keep) is not None:
            return None
        needed = next(n for n in count(max(1, int(keep / (1 - keep)) - 1)) if np.ceil((n + 1) * keep) <= n)
        return (
            f"unknown detection unavailable: to keep {100 * keep:g} % of known recordings, the training must hold out at "
            f"least {needed} recordings, this one held out {len(self.calibration_scores)}; raise calibration.held_out, or "
            "add recordings"
        )


def by_recording(
    segment_score: Float64[np.ndarray, " segment"], recording_of: Int[np.ndarray, " segment"], n_recordings: int
) -> Float64[np.ndarray, " recording"]:
    """Average scores over each recording's segments; NaN for a recording without any.

    Args:
        segment_score: [segment].
        recording_of: [segment], recording numbers.
        n_recordings: Number of recordings.
    """
    count = np.bincount(recording_of, minlength=n_recordings)
    total = np.bincount(recording_of, segment_score, minlength=n_recordings)
    return np.divide(total, count, out=np.full(n_recordings, np.nan), where=count > 0)


def threshold_that_keeps(known: Float64[np.ndarray, " recording"], share: float) -> float:
    """Find the least score at or below which a new recording like the given ones lies with probability `share` or more.

    The rank is ceil((n + 1) share), as in split conformal prediction (Vovk et al. 2005), so the probability holds on average
    over draws of the given recordings.

    Args:
        known: [recording], scores of recordings of known scenes.
        share: Between 0 and 1.

    Returns:
        The threshold; infinity where there are too few scores for this rank.

    Raises:
        ValueError: The share is outside (0, 1), or a score is NaN.
    """
    if not 0 < share < 1 or np.isnan(known).any():
        raise ValueError(f"share {share} must lie between 0 and 1, and no score may be NaN")
    rank = int(np.ceil((len(known) + 1) * share))
    return float(np.sort(known)[rank - 1]) if rank <= len(known) else float("inf")


def auroc(known: Float64[np.ndarray, " known"], unknown: Float64[np.ndarray, " unknown"]) -> float:
    """Return the probability that an unknown recording scores above a known one, ties half: the area under the ROC curve.

    Args:
        known: [recording], scores of known recordings.
        unknown: [recording], scores of unknown recordings.

    Raises:
        ValueError: One of the two is empty.
    """
    if not len(known) or not len(unknown):
        raise ValueError("AUROC needs at least one known and one unknown recording")
    order = np.sort(known)
    below = np.searchsorted(order, unknown, "left")
    equal = np.searchsorted(order, unknown, "right") - below
    return float((below + equal / 2).mean() / len(known))
