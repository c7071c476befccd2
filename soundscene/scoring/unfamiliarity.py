"""How unlike a recording is to everything a model was trained on: three scores, larger means less familiar.

Candidates of docs/decisions/0071. Segments score first, a recording is the mean of its segments, because one odd second
is no foreign place. A threshold comes from recordings of known scenes that the network has not seen.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int
from scipy.special import logsumexp

SHRINKAGE = 0.1  # of the shared covariance towards its mean variance: features that hardly vary must not decide alone


def probability_score(calibrated: Float[np.ndarray, "recording scene"]) -> Float64[np.ndarray, " recording"]:
    """1 - the largest probability of each recording's calibrated answer (Hendrycks and Gimpel 2017)."""
    return 1 - np.exp(calibrated.astype(np.float64).max(axis=1))


def energy_score(logits: Float[np.ndarray, "segment scene"]) -> Float64[np.ndarray, " segment"]:
    """-logsumexp of the softmax layer's logits of each segment (Liu et al. 2020, temperature 1)."""
    return -np.asarray(logsumexp(logits.astype(np.float64), axis=1))


@dataclass(frozen=True)
class Clouds:
    """Where the embeddings of each known scene lie: mean [scene, feature], and one precision matrix for all of them."""

    mean: Float64[np.ndarray, "scene feature"]
    precision: Float64[np.ndarray, "feature feature"]

    def distance(self, embeddings: Float[np.ndarray, "segment feature"]) -> Float64[np.ndarray, " segment"]:
        """Squared Mahalanobis distance of each segment to the nearest scene, a feature (Lee et al. 2018)."""
        away = embeddings.astype(np.float64)[:, None] - self.mean
        return np.einsum("ncf,fg,ncg->nc", away, self.precision, away, optimize=True).min(axis=1) / self.mean.shape[1]


def fit_clouds(
    embeddings: Float[np.ndarray, "segment feature"], scene: Int[np.ndarray, " segment"], n_scenes: int
) -> Clouds:
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
    return Clouds(mean, np.linalg.inv(shrunk))


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
