"""Separation of scenes in the input of the last layer: Fisher's criterion, which section 3 says mixing increases."""

import numpy as np
from jaxtyping import Float, Int

from soundscene.texts import counted


def fisher_criterion(embedding: Float[np.ndarray, "segment feature"], labels: Int[np.ndarray, " segment"]) -> float:
    """Return the ratio of the variance between scenes to the variance within them, each feature standardised.

    With m_c the mean of scene c, v_c the mean of (x - m_c)^2 over its segments, and m the mean of the m_c: between = mean
    over scenes of (m_c - m)^2, within = mean over scenes of v_c, both for each feature. The result is
    trace(S_b) / trace(S_w). Scenes have equal weight, however many segments they have, as in a macro average.

    Each feature is divided by the root of its between + within, so every feature counts the same: the SVM reads standardised
    embeddings, and one feature on a large scale would dominate. The result therefore does not change when a feature is
    shifted, scaled or flipped, or when segments are repeated, but it does change under a rotation. Constant features are
    left out. Means of few segments vary, which increases it: compare it only between systems on the same test part.

    Args:
        embedding: [segment, feature].
        labels: [segment], scene numbers.

    Returns:
        0 (all scenes have one mean) to inf (no variance within); nan where no feature varies.

    Raises:
        ValueError: There are fewer than two scenes, a feature is NaN or infinite, or lengths differ.

    Source: section 3, after Tokozume et al. 2018, section 4.2; Fisher 1936.
    """
    if len(embedding) != len(labels):
        raise ValueError(
            f"{len(embedding)} embeddings for {len(labels)} labels: each segment needs the scene of its recording"
        )
    scenes = np.unique(labels)
    if len(scenes) < 2:
        raise ValueError(f"{counted(len(scenes), 'scene')}: a distance between scenes needs at least 2")
    x = embedding.astype(np.float64)
    if not np.isfinite(x).all():
        raise ValueError("embedding holds NaN or infinity: has the training diverged?")
    means = np.stack([x[labels == c].mean(axis=0) for c in scenes])
    within = np.mean([x[labels == c].var(axis=0) for c in scenes], axis=0)
    between = means.var(axis=0)
    total = between + within
    alive = total > 1e-12 * np.maximum(
        np.square(means).max(axis=0), np.finfo(np.float64).tiny
    )  # else rounding, not variance
    if not alive.any():
        return float("nan")
    spread = float((within[alive] / total[alive]).sum())
    return float((between[alive] / total[alive]).sum()) / spread if spread > 0 else float("inf")
