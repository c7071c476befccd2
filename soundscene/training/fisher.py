"""Fisher vectors: how a bag of patches departs from a mixture of Gaussians, as one vector.

Source: Perronnin, Sanchez and Mensink 2010, with their signed square root and L2 norm. scikit-image has the same formula and
is its judge in the tests; here mixture and principal components are plain arrays that a file can hold.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Float64
from scipy.linalg import block_diag
from scipy.special import softmax
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from soundscene.errors import TrainingError

_FLOOR = 1e-4  # least variance of a Gaussian, of whitened features


@dataclass(frozen=True)
class Mixture:
    """Diagonal Gaussians on whitened principal components of patches.

    Attributes:
        centre: [feature], of the patches.
        axes: [feature, component], principal axes over the deviations along them.
        weight: [Gaussian], they add up to one.
        mean: [Gaussian, component].
        variance: [Gaussian, component].
    """

    centre: Float64[np.ndarray, " feature"]
    axes: Float64[np.ndarray, "feature component"]
    weight: Float64[np.ndarray, " gaussian"]
    mean: Float64[np.ndarray, "gaussian component"]
    variance: Float64[np.ndarray, "gaussian component"]

    @property
    def size(self) -> int:
        """Length of a Fisher vector."""
        return self.weight.size * (1 + 2 * self.mean.shape[1])

    def whiten(self, patches: Float[np.ndarray, "patch feature"]) -> Float64[np.ndarray, "patch component"]:
        """Return the whitened components of patches."""
        return (patches.astype(np.float64) - self.centre) @ self.axes

    def vector(self, patches: Float[np.ndarray, "patch feature"]) -> Float32[np.ndarray, " value"]:
        """Return the Fisher vector of a bag of patches: `departure` with its signed square root, of norm one.

        A bag without patches is the zero vector.
        """
        if not len(patches):
            return np.zeros(self.size, np.float32)
        joined = self.departure(patches)
        joined = np.sign(joined) * np.sqrt(np.abs(joined))
        return (joined / max(float(np.linalg.norm(joined)), 1e-12)).astype(np.float32)

    def departure(self, patches: Float[np.ndarray, "patch feature"]) -> Float64[np.ndarray, " value"]:
        """Return how patches depart from the mixture: parts of the weights, the means and the deviations.

        It is near zero for the sample that the mixture was fitted to.

        Args:
            patches: At least one.
        """
        x, deviation = self.whiten(patches), np.sqrt(self.variance)
        # (x - mean)^2 / variance, summed over components, without an array [patch, Gaussian, component]
        squared = x**2 @ (1 / self.variance).T - 2 * x @ (self.mean / self.variance).T
        squared = squared + (self.mean**2 / self.variance).sum(axis=1)
        log_density = -0.5 * (squared + np.log(2 * np.pi * self.variance).sum(axis=1))
        share = softmax(np.log(self.weight) + log_density, axis=1)  # of each Gaussian in each patch
        total, first, second = share.mean(axis=0)[:, None], share.T @ x / len(x), share.T @ x**2 / len(x)
        root = np.sqrt(self.weight)[:, None]
        of_weight = (total - self.weight[:, None]) / root
        of_mean = (first - total * self.mean) / (root * deviation)
        spread = second - 2 * first * self.mean + total * (self.mean**2 - self.variance)
        of_deviation = spread / (np.sqrt(2) * root * self.variance)
        return np.concatenate([of_weight.ravel(), of_mean.ravel(), of_deviation.ravel()])


def fit_mixture(
    patches: Float32[np.ndarray, "patch feature"], n_components: int, n_gaussians: int, seed: int, n_beside: int = 0
) -> tuple[Mixture, tuple[str, ...]]:
    """Whiten patches by their principal components and fit a mixture of diagonal Gaussians.

    Args:
        patches: None of them flat, a sample of the training part.
        n_components: Principal components kept.
        n_gaussians: Gaussians, at most one for two patches.
        seed: Of the beginning of the mixture.
        n_beside: Last features that are no part of the principal components, and stand beside them as they are.

    Returns:
        The mixture, and a note if it had not converged.

    Raises:
        TrainingError: There are fewer than two patches.
    """
    if len(patches) < 2:
        raise TrainingError(
            "fewer than two patches of the training part are not flat: is it digital silence? Each of two scenes or more "
            "needs sound"
        )
    n_reduced = patches.shape[1] - n_beside
    n_components = min(n_components, n_reduced, len(patches) - 1)
    pca: Any = PCA(n_components, svd_solver="full").fit(patches[:, :n_reduced].astype(np.float64))
    deviation = np.sqrt(np.maximum(pca.explained_variance_, 1e-12))
    axes, centre = pca.components_.T / deviation, pca.mean_
    if n_beside:
        axes = np.asarray(block_diag(axes, np.eye(n_beside)))
        centre = np.concatenate([centre, np.zeros(n_beside)])
    learner: Any = GaussianMixture(
        min(n_gaussians, max(1, len(patches) // 2)), covariance_type="diag", reg_covar=_FLOOR, random_state=seed % 2**32
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        learner.fit((patches - centre) @ axes)
    mixture = Mixture(centre, axes, learner.weights_, learner.means_, learner.covariances_)
    return mixture, ("the mixture of Gaussians stopped before it converged",) if caught else ()
