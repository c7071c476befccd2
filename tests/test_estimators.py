"""scikit-learn's own checks, pipelines, clone and grid searches by group."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import set_config
from sklearn.base import clone
from sklearn.exceptions import DataConversionWarning
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline

import soundscene
from soundscene.errors import AudioError, SceneError
from soundscene.estimators import CalibratedSVC, SceneClassifier, SceneFeatures
from soundscene.recipe import Recipe
from tests.support.tiny import RATE, SCENES, SETTINGS, recording, write

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


API_CHECKS = """
import warnings
from sklearn.utils.estimator_checks import _yield_api_checks
from soundscene.estimators import SceneClassifier, SceneFeatures
warnings.simplefilter("ignore")
for estimator in (SceneFeatures(), SceneClassifier()):
    owner = type(estimator).__name__
    for check in _yield_api_checks(estimator):
        name = getattr(check, "func", check).__name__
        try:
            check(owner, estimator)
            print(owner, name, "passed")
        except Exception as error:
            texts = (str(error), str(error.__cause__), str(error.__context__))
            numbers = any(f"X[0]: {what}" in text for text in texts for what in ("a source of type", "an array of shape"))
            print(owner, name, "numbers" if numbers else f"failed: {error!r}")
"""

# These checks fit an array of numbers, which is no list of recordings, and is refused as such.
WITH_NUMBERS = {
    ("SceneFeatures", "check_fit_score_takes_y"),  # also calls fit_transform
    ("SceneClassifier", "check_fit_score_takes_y"),
    ("SceneClassifier", "check_estimators_overwrite_params"),
    ("SceneClassifier", "check_dont_overwrite_parameters"),
    ("SceneClassifier", "check_estimators_fit_returns_self"),
    ("SceneClassifier", "check_readonly_memmap_input"),
    ("SceneClassifier", "check_positive_only_tag_during_fit"),
}


@pytest.mark.budget(20)  # in a process whose arguments are not checked: one check hands numbers to every parameter
def test_estimators_of_recordings_pass_the_api_checks_that_hand_in_no_numbers() -> None:
    done = subprocess.run([sys.executable, "-c", API_CHECKS], capture_output=True, text=True, check=False)
    assert (done.stderr, done.returncode) == ("", 0)
    outcomes = {tuple(line.split(" ", 2)[:2]): line.split(" ", 2)[2] for line in done.stdout.splitlines()}
    assert {check: outcome for check, outcome in outcomes.items() if outcome not in ("passed", "numbers")} == {}
    assert {check for check, outcome in outcomes.items() if outcome == "numbers"} == WITH_NUMBERS
    assert len(outcomes) >= 23


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
    one_each = CalibratedSVC().fit(X, y, groups=np.repeat([0, 1, 2], 20)).notes_
    assert one_each[0] == "scenes a, b, c have one group each, which was cut for Platt's sigmoids: optimistic probabilities"


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([1] * 5, "5 groups for 60 rows of X: each row needs one group"),
        (np.ones((60, 2)), "groups of shape (60, 2) for 60 rows of X: each row needs one group"),
        ([None] * 60, "groups hold None, or text beside numbers: each row needs a group of one type"),
        ([np.nan] * 60, "groups hold NaN: each row needs a group"),
    ],
)
def test_groups_that_are_no_column_of_groups_are_refused(groups: Any, message: str) -> None:
    X, y = np.eye(60, 3), np.repeat(["a", "b", "c"], 20)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        CalibratedSVC().fit(X, y, groups=groups)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"C": -1.0}, "The 'C' parameter of CalibratedSVC must be a float in the range (0.0, inf). Got -1.0"),
        ({"least_scale": -1.0}, "The 'least_scale' parameter of CalibratedSVC must be a float in the range [0.0, inf]"),
        ({"folds": 1}, "The 'folds' parameter of CalibratedSVC must be an int in the range [2, inf). Got 1"),
        ({"least_scale": "a"}, "Got 'a' instead"),
        ({"folds": 2.5}, "Got 2.5 instead"),
    ],
)
def test_parameters_of_the_svm_out_of_range_are_named(parameters: dict[str, Any], message: str) -> None:
    svm = CalibratedSVC().set_params(**parameters)
    with pytest.raises(ValueError, match=re.escape(message)):
        svm.fit(np.eye(60, 3), np.repeat(["a", "b", "c"], 20))


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


def test_no_recordings_have_no_rows_and_all_columns(model: Path) -> None:
    for features in (SceneFeatures(), SceneFeatures(recipe=Recipe.small()), SceneFeatures(model=model)):
        rows: Any = features.transform([])
        assert rows.shape == (0, len(features.get_feature_names_out()))


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ("a.wav", "X is one recording ('a.wav'); a list of recordings is expected, such as [X]"),
        (Path("a.wav"), "X is one recording ('a.wav'); a list of recordings is expected, such as [X]"),
        ((np.zeros(9), RATE), "X is one recording (of type tuple); a list of recordings is expected, such as [X]"),
        (
            pd.DataFrame({"path": []}),
            "X is a table with the columns path; select the column of recordings, such as X['path']",
        ),
        (3, "X is of type int; a list of recordings is expected"),
        (np.array("a.wav"), "X is of type ndarray; a list of recordings is expected"),
        ([(RATE, np.zeros(9))], "X[0]: (sample rate, samples) given, as scipy reads it; expected (samples, sample rate)"),
    ],
)
def test_what_is_no_list_of_recordings_is_named(X: Any, message: str) -> None:
    for use in (SceneFeatures().transform, lambda X: SceneClassifier().fit(X, [0, 1])):
        with pytest.raises(AudioError, match=f"^{re.escape(message)}$"):
            use(X)


NOISE = [(np.random.default_rng(seed).normal(size=2 * RATE).astype(np.float32) / 9, RATE) for seed in range(8)]
TWO = ["a", "b"] * 4


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.linspace(0, 1, 8), "Unknown label type: continuous"),
        ([np.nan] * 4 + [1.0] * 4, "Input y contains NaN"),
        (None, "requires y to be passed, but the target y is None"),
        ([None] * 4 + ["a"] * 4, "y holds None: each recording needs a label"),
        ([1] * 4 + ["1"] * 4, "y holds text beside numbers: each recording needs a label, all of one type"),
        (pd.DataFrame({"y": TWO, "z": TWO}), "y should be a 1d array, got an array of shape (8, 2) instead"),
        (["a"] * 8, "1 class, 'a': samples of two classes or more are needed"),
    ],
)
def test_labels_that_are_no_classes_are_refused(y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        SceneClassifier().fit(NOISE, y)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": ["a", "A"] * 4}, "labels 'A' and 'a' differ only in spaces or case; use one spelling"),
        ({"y": ["a", " "] * 4}, "label ' ': a scene's name has 1 to 500 visible characters"),
        ({"groups": [1, 2, 3]}, "8 recordings, 8 labels, 3 groups: each recording needs one label, and one group or none"),
        ({"groups": ["P", "p"] * 4}, "SceneClassifier.fit: group 'p' (X[1]) differs only in case from 'P' (X[0])"),
        ({"X": ["nope.wav", *NOISE[1:]]}, "X[0]: nope.wav does not exist"),
        ({"X": [*NOISE[:7], (np.zeros((9, 2)), RATE)]}, "X[7]: shape (9, 2) looks like [sample, channel]"),
        (
            {"X": [*NOISE[:7], (NOISE[0][0][:9], RATE)]},
            "1 of 8 recordings cannot be used; repair them or leave them out: X[7]: lasts 0.000 s",
        ),
    ],
)
def test_messages_name_places_in_x_and_no_file_of_ours(change: dict[str, Any], message: str) -> None:
    given = {"X": NOISE, "y": TWO, "groups": None} | change
    with pytest.raises(SceneError, match=f"^{re.escape(message)}"):
        SceneClassifier(recipe="small", settings=SETTINGS, device="cpu").fit(**given)


def test_a_file_that_cannot_be_read_is_named_by_place_and_path(tmp_path: Path) -> None:
    (tmp_path / "0.wav").write_text("hello")
    with pytest.raises(SceneError, match=re.escape(f"leave them out: X[2], {tmp_path / '0.wav'}: is not an audio file")):
        SceneClassifier(recipe="small", settings=SETTINGS, device="cpu").fit(
            [*NOISE[:2], str(tmp_path / "0.wav"), *NOISE[3:]], TWO
        )


@pytest.mark.budget(15)
def test_a_bootstrap_trains_and_both_copies_are_of_one_group(tmp_path: Path) -> None:
    paths = [str(write(tmp_path / f"{i}.wav", samples)) for i, (samples, _) in enumerate(NOISE)]
    classifier = SceneClassifier(recipe="small", settings=(*SETTINGS, "training.epochs=1"), device="cpu")
    drawn = [0, 1, 2, 3, 4, 5, 6, 7, 0, 1]
    labels = [1 + i % 2 for i in drawn]
    for sounds in (paths, NOISE):
        new: Any = clone(classifier)
        with pytest.warns(DataConversionWarning, match="column-vector y"):
            fitted = new.fit([sounds[i] for i in drawn], np.array(labels, float)[:, np.newaxis])
        assert list(fitted.classes_) == [1.0, 2.0]
        assert fitted.predictor_.scenes == ("1.0", "2.0")
        facts: Any = fitted.predictor_.model.provenance
        assert (len(facts["trained_on"]), len(set(facts["trained_on"]))) == (10, 8)
        assert facts["groups"] == "no column group: each of 8 files counts as a recording of its own"
        assert set(fitted.predict(sounds[:2])) <= {1.0, 2.0}


@pytest.mark.budget(15)
def test_labels_are_any_text_and_seeds_are_what_scikit_learn_takes() -> None:
    label = 'a "quote"\n and a line'
    for seed in (None, np.random.RandomState(0), np.int64(3)):
        classifier: Any = SceneClassifier(
            recipe=Recipe.small(), settings=(*SETTINGS, "training.epochs=1"), device="cpu", random_state=seed
        )
        fitted = classifier.fit(NOISE, [label, "b"] * 4)
        assert list(fitted.classes_) == [label, "b"]
        assert fitted.predictor_.scenes == ('a "quote" and a line', "b")
    model: Any = fitted.predictor_.model
    assert model.members[0].recipe.training.seed == 3
    with pytest.raises(ValueError, match="'a' cannot be used to seed"):
        SceneClassifier(random_state="a").fit(NOISE, TWO)


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
