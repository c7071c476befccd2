import warnings
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from soundscene.errors import TrainingError
from soundscene.scoring.metrics import log_loss
from soundscene.training.calibrate import _folds, _units, fit_softmax, fit_svm


def corpus(seed, n_scenes=4, groups_a_scene=8, segments_a_group=6, n_features=12, spread=1.0, scale=1.0):
    """Embeddings with a centre for each scene, a shift for each group, and noise; offset from zero as tanh features are."""
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((n_scenes, n_features))
    groups = np.repeat(np.arange(n_scenes * groups_a_scene), segments_a_group)
    labels = groups // groups_a_scene
    shift = spread * generator.standard_normal((n_scenes * groups_a_scene, n_features))
    noise = 0.5 * generator.standard_normal((len(groups), n_features))
    embeddings = scale * (centres[labels] + shift[groups] + noise + 3.0)
    return embeddings.astype(np.float32), labels, groups


def log_posterior(head, embeddings):
    return head(torch.from_numpy(embeddings)).numpy()


def scikit_learn(embeddings, labels, groups, c, folds, seed) -> Any:
    """The whole way in scikit-learn's own words, with its default choice of the solver."""
    splits = StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(embeddings, labels, groups)
    svm = make_pipeline(StandardScaler(), LinearSVC(C=c, dual="auto", max_iter=100_000, random_state=seed))
    model = CalibratedClassifierCV(svm, method="sigmoid", ensemble=False, cv=list(splits))  # pyright: ignore[reportArgumentType]
    return model.fit(embeddings.astype(np.float64), labels)


@pytest.mark.parametrize("n_scenes", [2, 3, 4])
@pytest.mark.parametrize("scale", [1.0, 3e-4])  # 3e-4: embeddings of equation (9) at its printed scale
def test_agrees_with_scikit_learn(n_scenes, scale):
    embeddings, labels, groups = corpus(0, n_scenes, scale=scale)
    head, notes = fit_svm(embeddings, labels, groups, n_scenes, 0.1, 5, 3)
    expected = scikit_learn(embeddings, labels, groups, 0.1, 5, 3)
    new = corpus(1, n_scenes, scale=scale)[0]
    np.testing.assert_allclose(
        np.exp(log_posterior(head, new)), expected.predict_proba(new.astype(np.float64)), rtol=0, atol=1e-6
    )
    assert notes == ()


def test_the_folded_standardiser_gives_scikit_learns_decisions():
    embeddings, labels, groups = corpus(2)
    head, _ = fit_svm(embeddings, labels, groups, 4, 0.1, 5, 0)
    svm = scikit_learn(embeddings, labels, groups, 0.1, 5, 0).calibrated_classifiers_[0].estimator
    ours = embeddings.astype(np.float64) @ head.weight.numpy().T + head.bias.numpy()
    np.testing.assert_allclose(ours, svm.decision_function(embeddings.astype(np.float64)), atol=1e-9)


def test_group_names_and_numbers_deal_the_same_folds():
    embeddings, labels, groups = corpus(3)
    by_number, _ = fit_svm(embeddings, labels, groups, 4, 0.1, 5, 0)
    by_name, _ = fit_svm(embeddings, labels, [f"place {g:03d}" for g in groups], 4, 0.1, 5, 0)
    assert torch.equal(by_number.slope, by_name.slope)


def test_the_seed_decides_the_folds_and_not_the_svm():
    embeddings, labels, groups = corpus(4)
    first, again, other = (fit_svm(embeddings, labels, groups, 4, 0.1, 5, seed)[0] for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first.buffers(), again.buffers(), strict=True))
    assert torch.equal(first.weight, other.weight)
    assert not torch.equal(first.slope, other.slope)


def test_folds_by_group_are_what_makes_new_places_honest():
    """Groups that differ more than their segments: Platt by group knows it, Platt by segment is sure and pays."""
    embeddings, labels, groups = corpus(5, spread=3.0, n_features=40)
    by_group, _ = fit_svm(embeddings, labels, groups, 4, 0.1, 5, 0)
    by_segment, _ = fit_svm(embeddings, labels, np.arange(len(labels)), 4, 0.1, 5, 0)
    new, new_labels, _ = corpus(6, spread=3.0, n_features=40, groups_a_scene=60)
    honest, optimistic = (log_loss(log_posterior(head, new), new_labels) for head in (by_group, by_segment))
    assert honest < 0.8 * optimistic
    assert torch.equal(by_group.weight, by_segment.weight)


def test_a_scene_without_segments_gets_probability_zero_and_a_note():
    embeddings, labels, groups = corpus(7, n_scenes=3)
    head, notes = fit_svm(embeddings, np.array([0, 2, 3])[labels], groups, 5, 0.1, 5, 0)
    posterior = np.exp(log_posterior(head, embeddings))
    assert notes == ("scenes 1, 4 have no training segment and get probability zero",)
    assert (posterior[:, [1, 4]] == 0).all()
    expected, _ = fit_svm(embeddings, labels, groups, 3, 0.1, 5, 0)
    np.testing.assert_allclose(posterior[:, [0, 2, 3]], np.exp(log_posterior(expected, embeddings)), atol=1e-12)


def test_two_of_three_scenes():
    embeddings, labels, groups = corpus(8, n_scenes=2)
    head, _ = fit_svm(embeddings, 2 - 2 * labels, groups, 3, 0.1, 5, 0)
    posterior = np.exp(log_posterior(head, embeddings))
    np.testing.assert_allclose(posterior.sum(axis=1), 1, atol=1e-12)
    assert (posterior[:, 1] == 0).all()
    assert np.mean(posterior.argmax(axis=1) == 2 - 2 * labels) > 0.9


def test_fewer_groups_than_folds_reduce_the_folds():
    embeddings, labels, groups = corpus(9, n_scenes=2, groups_a_scene=2)
    head, notes = fit_svm(embeddings, labels, groups, 2, 0.1, 6, 0)
    assert notes == ("Platt's sigmoids had 4 folds instead of 6, because the groups do not permit more",)
    assert np.isfinite(log_posterior(head, embeddings)).all()


def test_two_groups_of_one_scene_do_not_cost_the_others_their_folds():
    embeddings, labels, groups = corpus(10)
    keep = (labels != 3) | (groups % 8 < 2)
    _, notes = fit_svm(embeddings[keep], labels[keep], groups[keep], 4, 0.1, 5, 0)
    assert notes == ()


def test_a_scene_with_one_group_is_cut_and_noted():
    embeddings, labels, groups = corpus(11)
    groups = np.where(labels == 2, 1000, groups)
    head, notes = fit_svm(embeddings, labels, groups, 4, 0.1, 5, 0)
    assert notes == ("scenes 2 have one group each, which was cut for Platt's sigmoids: optimistic probabilities",)
    assert np.mean(log_posterior(head, embeddings).argmax(axis=1) == labels) > 0.9


def test_every_scene_in_one_group_still_gives_probabilities():
    embeddings, labels, _ = corpus(12, n_scenes=3)
    head, notes = fit_svm(embeddings, labels, ["one place"] * len(labels), 3, 0.1, 5, 0)
    assert notes[0].startswith("scenes 0, 1, 2 have one group each")
    assert np.isfinite(log_posterior(head, embeddings)).all()


def test_a_scene_with_one_segment_stands_on_both_sides():
    embeddings, labels, groups = corpus(13)
    keep = (labels != 1) | (np.arange(len(labels)) == np.flatnonzero(labels == 1)[0])
    head, notes = fit_svm(embeddings[keep], labels[keep], groups[keep], 4, 0.1, 5, 0)
    assert notes == ("scenes 1 have one segment each, in training and test: optimistic probabilities",)
    assert np.isfinite(log_posterior(head, embeddings)).all()


def test_the_smallest_corpus_of_all():
    embeddings = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    head, notes = fit_svm(embeddings, np.array([0, 1]), ["a", "b"], 2, 0.1, 5, 0)
    assert any("one segment each" in note for note in notes)
    assert log_posterior(head, embeddings).argmax(axis=1).tolist() == [0, 1]


def test_a_lone_group_is_cut_into_runs_of_neighbours():
    labels = np.array([0] * 10 + [1] * 4)
    _, units, _, _ = _units(labels, ["one"] * 10 + ["two", "two", "three", "three"], np.array([0, 1]), 5)
    assert (np.diff(units[:10]) != 0).tolist() == [False, True] * 4 + [False]
    assert set(units[:10]).isdisjoint(units[10:])


def test_folds_that_rob_a_training_side_of_a_scene_are_dealt_anew():
    """Scene 1 is one segment in each of two places; the first deal puts both into one fold."""
    scenes = [np.array(place) for place in ([1, 1], [2, 2], [1], [2, 2, 2, 2], [0, 0], [0, 1])]
    labels, groups = np.concatenate(scenes), np.repeat(np.arange(6), [len(place) for place in scenes])
    for seed in range(40):
        splits, _ = _folds(labels, groups, 3, seed)
        assert sorted(np.concatenate([test for _, test in splits])) == list(range(len(labels)))
        for train, test in splits:
            assert set(labels[train]) == {0, 1, 2}
            assert set(groups[train]).isdisjoint(groups[test])


def test_groups_that_permit_no_folds_fall_back_to_segments():
    """Three places with two of three scenes each: two folds always leave one scene on one side."""
    embeddings, labels, _ = corpus(14, n_scenes=3, groups_a_scene=2)
    groups = [("ab", "ac", "bc")[k] for k in np.repeat([0, 1, 0, 2, 1, 2], 6)]
    head, notes = fit_svm(embeddings, labels, groups, 3, 0.1, 2, 0)
    assert notes == (
        "Platt's sigmoids were cross-validated by segment, because no folds by group exist: optimistic probabilities",
    )
    assert np.isfinite(log_posterior(head, embeddings)).all()
    assert fit_svm(embeddings, labels, groups, 3, 0.1, 3, 0)[1] == ()


def test_dead_features_neither_vote_nor_explode():
    embeddings, labels, groups = corpus(15)
    noise = np.float32(0.3) + np.float32(3e-8) * np.random.default_rng(0).integers(0, 2, len(labels)).astype(np.float32)
    widened = np.column_stack([embeddings, noise, np.zeros(len(labels), np.float32)])
    head, _ = fit_svm(widened, labels, groups, 4, 0.1, 5, 0)
    expected, _ = fit_svm(embeddings, labels, groups, 4, 0.1, 5, 0)
    assert (head.weight[:, -2:] == 0).all()
    widened[:, -2:] = 5.0
    np.testing.assert_allclose(log_posterior(head, widened), log_posterior(expected, embeddings), atol=1e-6)


def test_a_collapsed_network_gives_the_priors():
    _, labels, groups = corpus(16, n_scenes=2)
    labels[: len(labels) // 4] = 1  # three quarters of the segments
    head, notes = fit_svm(np.full((len(labels), 3), 0.25, np.float32), labels, groups, 2, 0.1, 4, 0)
    assert notes[0] == "all embeddings are equal: the network has collapsed, and the SVM predicts the priors"
    assert np.exp(log_posterior(head, np.zeros((1, 3), np.float32)))[0, 1] == pytest.approx(0.75, abs=0.03)


def test_an_unfinished_svm_is_a_note_and_not_a_warning(monkeypatch):
    embeddings, labels, groups = corpus(17)
    monkeypatch.setattr("soundscene.training.calibrate._MAX_ITERATIONS", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, notes = fit_svm(embeddings, labels, groups, 4, 0.1, 5, 0)
    assert notes == ("the SVM stopped before it converged",)


def test_what_cannot_be_fitted_is_refused():
    embeddings, labels, groups = corpus(18)
    with pytest.raises(TrainingError, match="needs segments of two scenes or more, got 1: is the training part empty"):
        fit_svm(embeddings, np.zeros_like(labels), groups, 4, 0.1, 5, 0)
    with pytest.raises(TrainingError, match="needs segments of two scenes or more, got 0"):
        fit_svm(embeddings[:0], labels[:0], groups[:0], 4, 0.1, 5, 0)
    with pytest.raises(TrainingError, match="labels hold scenes 0 to 3, allowed are 0 to 2"):
        fit_svm(embeddings, labels, groups, 3, 0.1, 5, 0)
    with pytest.raises(ValueError, match="2 groups for 192 segments: each segment needs the group of its recording"):
        fit_svm(embeddings, labels, ["a", "b"], 4, 0.1, 5, 0)
    with pytest.raises(ValueError, match="folds must be 2 or more, got 1"):
        fit_svm(embeddings, labels, groups, 4, 0.1, 1, 0)
    embeddings[3, 3] = np.nan
    with pytest.raises(TrainingError, match="embeddings hold NaN or infinity: the network has diverged"):
        fit_svm(embeddings, labels, groups, 4, 0.1, 5, 0)


def test_a_feature_that_is_rarely_active_does_not_flatten_the_sigmoids():
    draws = np.random.default_rng(0)
    labels, groups = np.arange(240) % 3, np.arange(240) // 3 % 40
    features = draws.normal(0, 1, (240, 40)).astype(np.float32)
    features[:, :3] += 2 * np.eye(3)[labels]
    features[:, 20:] = 0
    for feature in range(20, 40):  # active in two groups only, and hardly elsewhere
        features[:, feature] = 1e-4 * draws.random(240)
        features[groups == feature - 20, feature] = draws.random()
    slopes = [np.abs(fit_svm(features, labels, groups, 3, 1.0, 5, 0, least)[0].slope.numpy()) for least in (0.0, 0.3)]
    assert slopes[0].max() < 0.5 * slopes[1].min()


@pytest.mark.parametrize("n_scenes", [2, 4])
def test_the_softmax_layer_agrees_with_scikit_learn(n_scenes):
    embeddings, labels, _ = corpus(0, n_scenes)
    layer, notes = fit_softmax(embeddings, labels, n_scenes + 1, 0.1)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=10_000))
    expected = model.fit(embeddings.astype(np.float64), labels).predict_log_proba(embeddings.astype(np.float64))
    found = torch.log_softmax(layer(torch.from_numpy(embeddings).double()), dim=1).numpy()
    np.testing.assert_allclose(found[:, :n_scenes], expected, atol=1e-6)
    assert (np.exp(found[:, n_scenes]) == 0).all()  # a scene without a segment
    assert notes == ()
    assert not any(p.requires_grad for p in layer.parameters())


def test_the_softmax_layer_is_refused_what_the_svm_is():
    embeddings, labels, _ = corpus(0)
    with pytest.raises(TrainingError, match="two scenes or more"):
        fit_softmax(embeddings, 0 * labels, 4, 0.1)
    with pytest.raises(TrainingError, match="NaN"):
        fit_softmax(np.full_like(embeddings, np.nan), labels, 4, 0.1)
