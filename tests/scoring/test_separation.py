import jaxtyping
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.feature_selection import f_classif
from sklearn.preprocessing import StandardScaler

from soundscene.scoring.separation import fisher_criterion


def clouds(generator, distance, n_scenes=4, n_each=30, n_features=5):
    labels = np.repeat(np.arange(n_scenes), n_each)
    centres = distance * generator.normal(size=(n_scenes, n_features))
    return centres[labels] + generator.normal(size=(len(labels), n_features)), labels


def test_by_hand():
    """Scenes at 0 +- 1 and 4 +- 1: between 4, within 1. A second feature, which says nothing, adds to within only."""
    x = np.array([[-1.0], [1.0], [3.0], [5.0]])
    labels = np.array([0, 0, 1, 1])
    assert fisher_criterion(x, labels) == pytest.approx(4.0)
    two = np.hstack([x, [[-1.0], [1.0], [-1.0], [1.0]]])  # standardised: 0.8 + 0 between, 0.2 + 1 within
    assert fisher_criterion(two, labels) == pytest.approx(0.8 / 1.2)


def test_scenes_weigh_the_same():
    x = np.array([[-1.0], [1.0], [3.0], [5.0]])
    often = np.concatenate([x, np.tile(x[:2], (10, 1))])
    labels = np.array([0, 0, 1, 1] + [0, 0] * 10)
    assert fisher_criterion(often, labels) == pytest.approx(4.0)


def test_the_traces_are_those_of_discriminant_analysis():
    x, labels = clouds(np.random.default_rng(0), 1.5)
    standardised = StandardScaler().fit_transform(x)
    lda = LinearDiscriminantAnalysis(solver="eigen", store_covariance=True).fit(standardised, labels)
    within = np.trace(lda.covariance_)
    between = np.trace(np.cov(lda.means_.T, ddof=0))
    assert fisher_criterion(x, labels) == pytest.approx(between / within, rel=1e-9)


def test_one_feature_is_the_f_of_an_analysis_of_variance():
    x, labels = clouds(np.random.default_rng(1), 1.0, n_features=1)
    f = f_classif(x, labels)[0][0]
    assert fisher_criterion(x, labels) == pytest.approx(f * (4 - 1) / (120 - 4), rel=1e-9)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_no_shift_scale_or_flip_of_a_feature_changes_it(seed):
    generator = np.random.default_rng(seed)
    x, labels = clouds(generator, 1.0)
    scale = np.exp(generator.normal(0, 3, 5)) * generator.choice([-1, 1], 5)
    moved = x * scale + generator.normal(0, 10, 5)
    assert fisher_criterion(moved, labels) == pytest.approx(fisher_criterion(x, labels), rel=1e-8)
    order = generator.permutation(len(labels))
    assert fisher_criterion(x[order], (labels * 7)[order]) == pytest.approx(fisher_criterion(x, labels), rel=1e-9)


def test_scenes_further_apart_score_higher():
    values = [fisher_criterion(*clouds(np.random.default_rng(2), distance)) for distance in (0.0, 0.5, 1.0, 3.0)]
    assert values == sorted(values)
    assert values[0] < 0.1


def test_constant_features_are_left_out():
    x, labels = clouds(np.random.default_rng(3), 1.0)
    dead = np.full((len(x), 2), 0.1, np.float32)  # not a sum of powers of two: its mean is not exactly itself
    dead[:, 1] = 1e6 + 0.1
    with_dead = np.hstack([x.astype(np.float32), dead])
    assert fisher_criterion(with_dead, labels) == pytest.approx(fisher_criterion(x.astype(np.float32), labels), rel=1e-9)
    assert np.isnan(fisher_criterion(dead, labels))
    assert np.isnan(fisher_criterion(np.zeros((len(x), 0), np.float32), labels))


def test_no_variance_within_is_infinite_and_no_distance_zero():
    labels = np.array([0, 0, 1, 1])
    assert fisher_criterion(np.array([[1.0], [1.0], [2.0], [2.0]]), labels) == np.inf
    assert fisher_criterion(np.array([[1.0], [2.0], [1.0], [2.0]]), labels) == 0


def test_what_cannot_be_measured_is_refused(monkeypatch):
    with pytest.raises(ValueError, match=r"1 scene: a distance between scenes needs at least 2"):
        fisher_criterion(np.zeros((3, 2)), np.zeros(3, np.int64))
    with pytest.raises(ValueError, match="embedding holds NaN or infinity: has the training diverged"):
        fisher_criterion(np.array([[np.nan], [0.0]]), np.array([0, 1]))
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match="3 embeddings for 2 labels"):
        fisher_criterion(np.zeros((3, 2)), np.array([0, 1]))
