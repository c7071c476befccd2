"""Fisher vectors: scikit-image's formula, near zero for the mixture's own sample, and a part that shows what moved."""

import numpy as np
import pytest
from skimage.feature import fisher_vector
from sklearn.mixture import GaussianMixture

from soundscene.errors import TrainingError
from soundscene.training.fisher import Mixture, fit_mixture


@pytest.fixture(scope="module")
def bags() -> tuple[Mixture, np.ndarray]:
    """A mixture of two Gaussians far apart, and the 4,000 patches it was fitted to."""
    draws = np.random.default_rng(0)
    patches = draws.normal(size=(4000, 3)) + np.where(np.arange(4000) % 2, 6.0, -6.0)[:, None]
    mixture, notes = fit_mixture(patches.astype(np.float32), 3, 2, 0)
    assert notes == ()
    return mixture, patches.astype(np.float32)


def test_it_is_the_vector_of_scikit_image(bags: tuple[Mixture, np.ndarray]) -> None:
    mixture, patches = bags
    judge = GaussianMixture(2, covariance_type="diag")
    judge.weights_, judge.means_, judge.covariances_ = mixture.weight, mixture.mean, mixture.variance
    judge.precisions_cholesky_ = 1 / np.sqrt(mixture.variance)
    bag = patches[:37] + 0.3
    theirs = fisher_vector(mixture.whiten(bag), judge, improved=True)
    ours = mixture.vector(bag)
    assert ours.shape == (2 * (1 + 2 * 3),)
    assert np.abs(ours) == pytest.approx(np.abs(theirs), abs=1e-4)
    assert ours[:8] == pytest.approx(theirs[:8], abs=1e-4)  # weights and means; deviations have the other sign there


def test_the_own_sample_is_no_departure_and_a_moved_component_shows_in_its_mean(bags: tuple[Mixture, np.ndarray]) -> None:
    mixture, patches = bags
    white = mixture.whiten(patches)
    moved = patches.copy()
    upper = np.arange(4000) % 2 == 1
    moved[upper] += 0.5
    plain, shifted = mixture.vector(patches), mixture.vector(moved)
    number = int(np.linalg.norm(mixture.mean - white[upper].mean(axis=0), axis=1).argmin())
    of_means = np.abs(shifted[2:8].reshape(2, 3)).sum(axis=1)
    assert of_means[number] > 5 * of_means[1 - number]
    assert np.linalg.norm(plain) == pytest.approx(1.0)  # of a bag that departs from nothing too: see below
    assert np.linalg.norm(mixture.departure(patches)) < 0.01
    assert np.linalg.norm(mixture.departure(moved)) > 0.3
    assert np.linalg.norm(mixture.departure(patches[upper])) > 0.9  # one Gaussian has all, the other none
    assert mixture.vector(np.tile(patches[:50], (2, 1))) == pytest.approx(mixture.vector(patches[:50]), abs=1e-5)
    assert not mixture.vector(patches[:0]).any()


def test_a_part_without_patches_is_refused_in_one_line() -> None:
    with pytest.raises(TrainingError, match="not flat") as refusal:
        fit_mixture(np.zeros((1, 36), np.float32), 24, 64, 0)
    assert "\n" not in str(refusal.value)
