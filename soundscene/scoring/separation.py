"""How far apart the scenes lie in what the last layer reads: Fisher's criterion, which section 3 says mixing enlarges."""

import numpy as np
from jaxtyping import Float, Int


def fisher_criterion(embedding: Float[np.ndarray, "segment feature"], labels: Int[np.ndarray, " segment"]) -> float:
    """Ratio of the variance between scenes to the variance within them, each feature standardised: trace(S_b) / trace(S_w).

    embedding [segment, feature]; labels [segment]: number of the scene. With m_c the mean of scene c, v_c the mean of
    (x - m_c)^2 over its segments, and m the mean of the m_c: between = mean over scenes of (m_c - m)^2, within = mean over
    scenes of v_c, both for each feature. Scenes weigh the same, however many segments they have, as in a macro average.

    Each feature is divided by the root of its between + within, so every feature counts the same: the SVM reads standardised
    embeddings, and one feature on a large scale would decide alone. The figure therefore does not change when a feature is
    shifted, scaled or flipped, or when segments are repeated; it does change under a rotation. Features that are constant
    are left out.

    Returns 0 (all scenes have one mean) to inf (no variance within); nan where no feature varies. Means of few
    segments stray, which enlarges it: compare it only between systems on the same test part.
    Raises ValueError for fewer than two scenes, a feature that is NaN or infinite, or lengths that differ.
    Source: section 3, after Tokozume et al. 2018, section 4.2; Fisher 1936.
    """
    if len(embedding) != len(labels):
        raise ValueError(
            f"{len(embedding)} embeddings for {len(labels)} labels: each segment needs the scene of its recording"
        )
    scenes = np.unique(labels)
    if len(scenes) < 2:
        raise ValueError(f"{len(scenes)} scene(s): a distance between scenes needs at least 2")
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
