"""How unlike a recording is to everything a model was trained on: three scores, larger means less familiar.

Candidates of docs/decisions/0071. Segments score first, a recording is the mean of its segments, because one odd second
is no foreign place. A threshold comes from recordings of known scenes that the network has not seen.
"""

from dataclasses import dataclass
from itertools import count
from typing import Literal

import numpy as np
from jaxtyping import Float, Float64, Int
from scipy.special import logsumexp

Kind = Literal["energy", "mahalanobis"]
"""Scores that a model can give; the probability, the third candidate, needs nothing but the answer itself."""

CHOSEN: Kind = "mahalanobis"  # on esc10, by docs/decisions/0071
KEEP = 0.95  # share of known recordings that shall not be called unknown
SHRINKAGE = 0.1  # of the shared covariance towards its mean variance: features that hardly vary must not decide alone


def probability_score(calibrated: Float[np.ndarray, "recording scene"]) -> Float64[np.ndarray, " recording"]:
    """1 - the largest probability of each recording's calibrated answer (Hendrycks and Gimpel 2017)."""
    return 1 - np.exp(calibrated.astype(np.float64).max(axis=1))


def energy_score(logits: Float[np.ndarray, "segment scene"]) -> Float64[np.ndarray, " segment"]:
    """-logsumexp of the softmax layer's logits of each segment (Liu et al. 2020, temperature 1)."""
    return -np.asarray(logsumexp(logits.astype(np.float64), axis=1))


@dataclass(frozen=True)
class SceneGaussians:
    """Where the embeddings of each known scene lie: mean [scene, feature], and one precision matrix for all of them."""

    mean: Float64[np.ndarray, "scene feature"]
    precision: Float64[np.ndarray, "feature feature"]

    def distance(self, embeddings: Float[np.ndarray, "segment feature"]) -> Float64[np.ndarray, " segment"]:
        """Squared Mahalanobis distance of each segment to the nearest scene, a feature (Lee et al. 2018)."""
        x = embeddings.astype(np.float64)
        nearest = np.full(len(x), np.inf)
        for mean in self.mean:  # one scene at a time: a corpus has too many segments for all scenes at once
            away = x - mean
            np.minimum(nearest, (away @ self.precision * away).sum(axis=1), out=nearest)
        return nearest / self.mean.shape[1]


def fit_gaussians(
    embeddings: Float[np.ndarray, "segment feature"], scene: Int[np.ndarray, " segment"], n_scenes: int
) -> SceneGaussians:
    """Means and shared covariance of the embeddings of training segments; scene [segment] numbers their scenes.

    Raises ValueError for a scene without a segment.
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
    return SceneGaussians(mean, np.linalg.inv(shrunk))


@dataclass(frozen=True)
class Familiarity:
    """What a model needs to tell how unlike its training a recording is, and above which score to call it unknown.

    kind: which score; held [recording], ascending: scores of recordings of known scenes that the network has not seen;
    clouds: of the segments it has seen, for "mahalanobis" only, in numbers of float32, as they are stored.
    """

    kind: Kind
    held: Float64[np.ndarray, " recording"]
    clouds: SceneGaussians | None = None

    def score(
        self, embeddings: Float[np.ndarray, "segment feature"], logits: Float[np.ndarray, "segment scene"]
    ) -> Float64[np.ndarray, " segment"]:
        """Unfamiliarity of each segment; logits: the softmax layer's, whichever head answers.

        Energy is in nats, its level depends on the network; Mahalanobis averages at most 1 / (1 - SHRINKAGE) over the
        segments of the training.
        """
        return self.clouds.distance(embeddings) if self.clouds else energy_score(logits)

    def threshold(self, keep: float = KEEP) -> float | None:
        """Score above which a recording is unknown, so that `keep` of the known ones are not; None: too few were held out.

        Raises ValueError for a share outside (0, 1).
        """
        found = threshold_that_keeps(self.held, keep)
        return found if found < float("inf") else None

    def lack(self, keep: float = KEEP) -> str | None:
        """Why there is no threshold, and what to do, in one line; None where there is one."""
        if self.threshold(keep) is not None:
            return None
        needed = next(n for n in count(max(1, int(keep / (1 - keep)) - 1)) if np.ceil((n + 1) * keep) <= n)
        return (
            f"nothing is called unknown: to keep {100 * keep:g} % of known recordings, at least {needed} must be held "
            f"from the training, this model had {len(self.held)}; raise calibration.held_out, or add recordings"
        )


def by_recording(
    segment_score: Float64[np.ndarray, " segment"], recording_of: Int[np.ndarray, " segment"], n_recordings: int
) -> Float64[np.ndarray, " recording"]:
    """Mean over each recording's segments; NaN for a recording without any."""
    count = np.bincount(recording_of, minlength=n_recordings)
    total = np.bincount(recording_of, segment_score, minlength=n_recordings)
    return np.divide(total, count, out=np.full(n_recordings, np.nan), where=count > 0)


def threshold_that_keeps(known: Float64[np.ndarray, " recording"], share: float) -> float:
    """Least of the given scores at or below which at least `share` of known recordings lie, as a new one would be kept.

    The rank is ceil((n + 1) share), as in split conformal prediction (Vovk et al. 2005): a new recording of the same kind is
    kept with at least that probability on average. With so few recordings that this rank does not exist, infinity: nothing
    can be refused on such evidence. Raises ValueError for a share outside (0, 1) or NaN.
    """
    if not 0 < share < 1 or np.isnan(known).any():
        raise ValueError(f"share {share} must lie between 0 and 1, and no score may be NaN")
    rank = int(np.ceil((len(known) + 1) * share))
    return float(np.sort(known)[rank - 1]) if rank <= len(known) else float("inf")


def auroc(known: Float64[np.ndarray, " known"], unknown: Float64[np.ndarray, " unknown"]) -> float:
    """Probability that an unknown recording scores above a known one, ties half (area under the ROC curve).

    Raises ValueError where one of the two is empty.
    """
    if not len(known) or not len(unknown):
        raise ValueError("AUROC needs at least one known and one unknown recording")
    order = np.sort(known)
    below = np.searchsorted(order, unknown, "left")
    equal = np.searchsorted(order, unknown, "right") - below
    return float((below + equal / 2).mean() / len(known))
