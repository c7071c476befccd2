import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from sklearn.metrics import roc_auc_score

from soundscene.scoring.unfamiliarity import (
    SHRINKAGE,
    Familiarity,
    auroc,
    by_recording,
    energy_score,
    fit_gaussians,
    probability_score,
    threshold_that_keeps,
)


@pytest.fixture
def draws():
    return np.random.default_rng(0)


def test_probability_and_energy_by_hand():
    np.testing.assert_allclose(probability_score(np.log([[0.7, 0.2, 0.1], [0.4, 0.4, 0.2]])), [0.3, 0.6])
    np.testing.assert_allclose(energy_score(np.log([[1.0, 2.0, 3.0]])), [-np.log(6)])
    assert energy_score(np.array([[20.0, 0.0]]))[0] < energy_score(np.array([[2.0, 0.0]]))[0]  # a firm logit is familiar


def test_gaussians_are_means_and_the_shrunk_covariance_within_scenes(draws):
    scene = draws.integers(0, 3, 400)
    x = draws.standard_normal((400, 4)) @ np.diag([1, 2, 3, 4.0]) + 10 * scene[:, None]
    gaussians = fit_gaussians(x, scene, 3)
    mean = np.stack([x[scene == c].mean(axis=0) for c in range(3)])
    covariance = sum((scene == c).sum() * np.cov(x[scene == c].T, bias=True) for c in range(3)) / 400
    shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.trace(covariance) / 4 * np.eye(4)
    new = draws.standard_normal((5, 4)) + 3
    expected = [min(mahalanobis(row, m, np.linalg.inv(shrunk)) ** 2 for m in mean) / 4 for row in new]
    np.testing.assert_allclose(gaussians.distance(new), expected)
    assert gaussians.distance(mean).max() == pytest.approx(0, abs=1e-9)
    assert 0.8 < gaussians.distance(x).mean() <= 1 / (1 - SHRINKAGE)


def test_the_relative_distance_is_that_to_the_scenes_minus_that_to_all_sound(draws):
    scene = np.arange(300) % 3
    x = draws.standard_normal((300, 4)) + 4 * np.eye(4)[scene]
    relative, plain = fit_gaussians(x, scene, 3, relative=True), fit_gaussians(x, scene, 3)
    covariance = np.cov(x.T, bias=True)
    inverse = np.linalg.inv((1 - SHRINKAGE) * covariance + SHRINKAGE * np.trace(covariance) / 4 * np.eye(4))
    new = draws.standard_normal((5, 4)) + 2
    background = [mahalanobis(row, x.mean(axis=0), inverse) ** 2 / 4 for row in new]
    np.testing.assert_allclose(relative.distance(new), plain.distance(new) - background)
    within, between = np.array([[4.0, 0, 0, 3]]), np.array([[2.0, 2, 0, 0]])  # off a scene; halfway to another
    assert plain.distance(within) > plain.distance(between)
    assert relative.distance(within) < relative.distance(between)
    assert relative.rounded().background is not None
    np.testing.assert_allclose(relative.rounded().distance(new), relative.distance(new), rtol=1e-4)


def test_a_feature_that_never_varies_does_not_break_the_gaussians():
    x = np.array([[0.0, 1], [1, 1], [5, 1], [6, 1]])
    gaussians = fit_gaussians(x, np.array([0, 0, 1, 1]), 2)
    assert np.isfinite(gaussians.distance(np.array([[3.0, 2.0]]))).all()
    with pytest.raises(ValueError, match="scene 2 has no segment"):
        fit_gaussians(x, np.array([0, 0, 1, 1]), 3)


def test_recording_is_the_mean_of_its_segments():
    scores = by_recording(np.array([1.0, 3, 5]), np.array([2, 2, 0]), 4)
    np.testing.assert_array_equal(scores, [5, np.nan, 2, np.nan])


def test_auroc_is_that_of_scikit_learn(draws):
    known, unknown = draws.integers(0, 6, 50).astype(float), draws.integers(2, 8, 30).astype(float)
    truth = np.r_[np.zeros(50), np.ones(30)]
    assert auroc(known, unknown) == pytest.approx(roc_auc_score(truth, np.r_[known, unknown]))
    with pytest.raises(ValueError, match="at least one"):
        auroc(known, unknown[:0])


def test_threshold_keeps_new_recordings_at_least_as_often_as_promised(draws):
    kept = []
    for _ in range(400):
        known, new = draws.standard_normal(30), draws.standard_normal(200)
        kept.append((new <= threshold_that_keeps(known, 0.9)).mean())
    assert 0.9 <= np.mean(kept) < 0.95  # the promise is one on average
    assert threshold_that_keeps(np.arange(1.0, 100.0), 0.95) == 95
    assert threshold_that_keeps(np.arange(10.0), 0.95) == float("inf")  # ten recordings cannot show a twentieth
    with pytest.raises(ValueError, match="share"):
        threshold_that_keeps(np.arange(10.0), 1.0)


def test_familiarity_scores_by_its_kind_and_needs_enough_held_recordings(draws):
    embeddings, logits = draws.standard_normal((6, 4)), draws.standard_normal((6, 3))
    held = np.arange(19.0)
    gaussians = fit_gaussians(draws.standard_normal((30, 4)), np.arange(30) % 3, 3)
    np.testing.assert_array_equal(Familiarity("energy", held).score([embeddings], [logits]), energy_score(logits))
    np.testing.assert_array_equal(
        Familiarity("mahalanobis", held, (gaussians,)).score([embeddings], [logits]), gaussians.distance(embeddings)
    )
    assert Familiarity("energy", held).threshold() == 18  # nineteen known ones: the largest
    assert Familiarity("energy", held).threshold(0.9) == 17
    assert Familiarity("energy", held).why_unavailable() is None
    assert Familiarity("energy", held[:18]).threshold() is None
    assert Familiarity("energy", held[:18]).threshold(0.9) == 17


@pytest.mark.parametrize(("keep", "needed"), [(0.5, 1), (0.9, 9), (0.95, 19), (0.99, 99), (0.999, 999)])
def test_an_unavailable_threshold_names_the_number_of_recordings_needed(keep, needed):
    why = Familiarity("energy", np.zeros(0)).why_unavailable(keep)
    assert why == (
        f"unknown detection unavailable: to keep {100 * keep:g} % of known recordings, the training must hold out at least "
        f"{needed} recordings, this one held out 0; raise calibration.held_out, or add recordings"
    )
    assert Familiarity("energy", np.zeros(needed)).why_unavailable(keep) is None
    assert Familiarity("energy", np.zeros(needed - 1)).why_unavailable(keep) is not None
    with pytest.raises(ValueError, match="share"):
        Familiarity("energy", np.zeros(0)).why_unavailable(1.0)
