"""scikit-learn's own checks, pipelines, clone and grid searches by group."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import set_config
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline

import soundscene
from soundscene.errors import AudioError, SceneError
from soundscene.estimators import CalibratedSVC, SceneClassifier, SceneFeatures
from tests.support.tiny import RATE, SCENES, SETTINGS, recording

N_GROUPS = 4


@pytest.fixture(scope="module")
def sounds() -> tuple[list[Any], np.ndarray, np.ndarray]:
    """Two excerpts of each of four recordings of each scene, as arrays, with scenes and groups."""
    rows = [(scene, group, part) for scene in SCENES for group in range(N_GROUPS) for part in range(2)]
    X = [(recording(scene, 2.2, 10 * group + part), RATE) for scene, group, part in rows]
    return X, np.array([row[0] for row in rows]), np.array([f"{row[0]}{row[1]}" for row in rows])


CHECKS = """
import warnings
from sklearn.utils.estimator_checks import check_estimator
from soundscene.estimators import CalibratedSVC
warnings.simplefilter("ignore")
results = check_estimator(CalibratedSVC(), on_fail=None, on_skip=None)
print(*(f"{r['check_name']}: {r['exception']!r}" for r in results if r["status"] == "failed"), sep="\\n")
assert sum(r["status"] == "passed" for r in results) > 40
"""


@pytest.mark.slow  # half a minute of checks, in a process whose arguments are not checked by the tests' import hook
def test_the_svm_passes_every_check_of_scikit_learn() -> None:
    done = subprocess.run([sys.executable, "-c", CHECKS], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr, done.returncode) == ("", "", 0)


@pytest.mark.parametrize("estimator", [CalibratedSVC(), SceneFeatures(), SceneClassifier()], ids=lambda e: type(e).__name__)
def test_parameters_can_be_cloned_and_read(estimator: Any) -> None:
    copy: Any = clone(estimator)
    assert copy.get_params() == estimator.get_params()
    name, value = next(iter(estimator.get_params().items()))
    assert copy.set_params(**{name: value}) is copy
    assert repr(copy) == f"{type(copy).__name__}()"


def test_the_svm_is_the_second_head_and_keeps_groups_together() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 5))
    y = np.repeat(["a", "b", "c"], 20)
    X = centres[np.repeat(range(3), 20)] + rng.normal(size=(60, 5))
    groups = np.arange(60) // 4
    by_group, by_sample = CalibratedSVC().fit(X, y, groups=groups), CalibratedSVC().fit(X, y)
    p = by_group.predict_proba(X)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert by_group.score(X, y) > 0.7
    assert not np.allclose(p, by_sample.predict_proba(X)), "other folds, other sigmoids"
    np.testing.assert_array_equal(by_group.svm_.weight, by_sample.svm_.weight)
    with pytest.raises(ValueError, match="1 class, 'a'"):
        CalibratedSVC().fit(X, np.full(60, "a"))


@pytest.mark.budget(10)
def test_features_and_svm_in_a_grid_search_by_group(sounds: tuple[list[Any], np.ndarray, np.ndarray]) -> None:
    X, y, groups = sounds
    features: Any = SceneFeatures().fit(X).transform(X)
    assert features.shape == (24, 256)
    assert list(SceneFeatures().get_feature_names_out())[:2] == ["recorded_mean_0", "recorded_mean_1"]
    quieter = SceneFeatures().transform([(0.1 * X[0][0], RATE)])[0]
    loss = features[0] - quieter
    np.testing.assert_allclose(loss[:64], 2 * np.log(10), atol=0.05)  # power is in nats: a tenth of the level is 4.6 less
    np.testing.assert_allclose(loss[64:128], 0, atol=0.05)
    pipeline = make_pipeline(SceneFeatures(), CalibratedSVC())
    search: Any = GridSearchCV(pipeline, {"calibratedsvc__C": [0.01, 0.1]}, cv=GroupKFold(2)).fit(X, y, groups=groups)
    assert search.best_score_ > 0.8
    p: Any = cross_val_predict(pipeline, X, y, groups=groups, cv=GroupKFold(2), method="predict_proba")
    assert p.shape == (24, 3)
    with pytest.raises(AudioError, match="digital silence"):
        SceneFeatures().transform([(np.zeros(3 * RATE, np.float32), RATE)])


def test_embeddings_of_a_model_are_features_too(model: Path, sounds: tuple[list[Any], np.ndarray, np.ndarray]) -> None:
    X, _, _ = sounds
    vectors: Any = SceneFeatures(model=model).fit_transform(X[:2])
    np.testing.assert_allclose(vectors, soundscene.embed(model, X[:2]))
    assert len(SceneFeatures(model=model).get_feature_names_out()) == vectors.shape[1]


@pytest.mark.budget(15)  # a training, and with groups by metadata routing another two
def test_a_model_as_a_classifier_of_recordings(sounds: tuple[list[Any], np.ndarray, np.ndarray]) -> None:
    X, y, groups = sounds
    classifier = SceneClassifier(recipe="small", settings=(*SETTINGS, "training.epochs=1"), device="cpu")
    new: Any = clone(classifier)
    fitted = new.fit(X, y, groups=groups)
    assert list(fitted.classes_) == sorted(SCENES)
    p = fitted.predict_proba(X[:3])
    expected = [soundscene.predict(fitted.predictor_, source) for source in X[:3]]
    np.testing.assert_array_equal(p, [e.posterior for e in expected if isinstance(e, soundscene.ScenePrediction)])
    assert 0 <= fitted.score(X[:6], y[:6]) <= 1
    numbers = np.unique(y, return_inverse=True)[1]
    with pytest.raises(SceneError, match="each recording needs one label"):
        classifier.fit(X, numbers[:3])
    set_config(enable_metadata_routing=True)
    try:
        routed: Any = clone(classifier)
        routed.set_fit_request(groups=True)
        search = GridSearchCV(routed, {"random_state": [0]}, cv=GroupKFold(2)).fit(X, numbers, groups=groups)
        assert list(search.best_estimator_.classes_) == [0, 1, 2]
        assert set(search.predict(X[:2])) <= {0, 1, 2}
    finally:
        set_config(enable_metadata_routing=False)
