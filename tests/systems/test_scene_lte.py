"""Scene-LTE + Speech-LTE: averages of honest embeddings, a tree that knows phones, and the promises of every system."""

from dataclasses import replace

import numpy as np
import pytest

from soundscene.data.corpus import Corpus
from soundscene.data.splits import hold_out
from soundscene.errors import TrainingError
from soundscene.recipe import Recipe
from soundscene.signal.phones import BURSTS, FRICATIVES, VOWELS, render_phones
from soundscene.systems import scene_lte
from soundscene.systems.low_level import SETS, LowLevelSettings, Stretches, describe_stretches
from soundscene.systems.scene_lte import SceneLteSettings, average, speech_tree
from soundscene.systems.system import FitContext, Fitted
from soundscene.training.label_tree import TreeSettings
from tests.support.pieces import accuracy, corpus_of, silenced

RECIPE = Recipe().with_settings(["calibration.held_out=0.25"])
CHOICES = SceneLteSettings("none", tree=TreeSettings(n_trees=3, folds=2), c=(1e-2,))
SCENES = ("a", "b", "c")


def piece(scene: str, draws: np.random.Generator) -> np.ndarray:
    return SCENES.index(scene) + draws.normal(0, 2, (7, 2, 250))


@pytest.fixture(scope="module")
def training() -> Corpus:
    return corpus_of(piece, SCENES, n_recordings=4, n_pieces=2)


@pytest.fixture(scope="module")
def test() -> Corpus:
    return corpus_of(piece, SCENES, n_recordings=3, n_pieces=2, seed=1, name="test")


@pytest.fixture(scope="module")
def fitted(training: Corpus) -> Fitted:
    return scene_lte._fit(RECIPE, CHOICES, training, FitContext(1))


def test_it_is_repeatable_learns_and_keeps_to_its_part(training: Corpus, test: Corpus, fitted: Fitted) -> None:
    said = fitted.predict(test)["svm"]
    assert accuracy(said.recording, test) >= 0.8
    assert said.segment.shape == (0, 3)
    held = hold_out(training.recordings, 0.25, np.random.default_rng(1))[1]
    assert fitted.held == held
    other = replace(training, features=training.features.copy())
    other.features[np.isin(training.recording, [training.recordings.index(r) for r in held])] *= -1
    changed = scene_lte._fit(RECIPE, CHOICES, other, FitContext(1)).predict(test)["svm"]
    assert np.array_equal(said.recording, changed.recording)
    assert not np.array_equal(said.calibrated, changed.calibrated)
    assert fitted.save is None  # forests
    assert fitted.notes[-1].startswith("no model file: the system holds forests")


def test_silence_does_not_vote_and_one_scene_is_refused(training: Corpus, test: Corpus, fitted: Fitted) -> None:
    silent = test.silent.copy()
    silent[:3] = True
    said = fitted.predict(replace(test, silent=silent))["svm"]
    assert np.exp(said.calibrated[0]) == pytest.approx(1 / 3)
    assert not np.allclose(np.exp(said.calibrated[1]), 1 / 3)
    nobody = fitted.predict(replace(test, silent=np.ones_like(silent)))["svm"]
    assert np.exp(nobody.calibrated) == pytest.approx(np.full((9, 3), 1 / 3))
    with pytest.raises(TrainingError, match=r"holds 1 scene \(a\)"):
        scene_lte._fit(
            RECIPE, CHOICES, training.take(tuple(r for r in training.recordings if r.scene == "a")), FitContext(0)
        )


def test_every_stretch_counts_once_in_the_average() -> None:
    of, silent = np.array([0, 0, 0, 4]), np.zeros(4, np.bool_)
    stretches = Stretches(np.zeros((4, 2, 1), np.float32), of, np.zeros(4), np.zeros((0, 7), np.int64), silent)
    values = np.array([[1.0], [2], [6], [5]], np.float32)
    assert average(values, stretches).tolist() == [[3.0], [5.0]]
    silent[1] = True
    assert average(values[[0, 2, 3]], stretches).tolist() == [[3.5], [5.0]]
    silent[3] = True
    assert average(values[[0, 2]], stretches).tolist() == [[3.5], [0.0]]


def test_digital_silence_in_and_behind_a_sound_changes_no_average(test: Corpus, fitted: Fitted) -> None:
    describe = fitted.predict.args[0].describe  # pyright: ignore[reportFunctionMemberAccess]
    scattered = np.zeros((len(test.features), 7), np.bool_)
    scattered[0, [0, 1, 4]] = scattered[1, 2:] = True
    mixed = silenced(test, scattered)
    sounding = np.concatenate([test.features[0, [2, 3, 5, 6]], test.features[1, :2]])
    tree = describe.args[0][0]
    assert describe(mixed)[0] == pytest.approx(tree.embed(sounding[:, 0, SETS["spectral"]]).mean(axis=0), abs=1e-6)
    assert np.array_equal(describe(mixed)[1:], describe(test)[1:])

    behind = np.zeros((len(test.features), 7), np.bool_)
    behind[1] = True  # the second of two pieces
    kept = np.arange(len(test.features)) != 1
    without = replace(
        test,
        **{name: getattr(test, name)[kept] for name in ("features", "recording", "start_s", "silent", "regular")},
    )
    assert np.array_equal(describe(silenced(test, behind)), describe(without))


@pytest.mark.slow
def test_the_speech_tree_tells_phones_of_new_speakers_apart(training: Corpus, test: Corpus) -> None:
    choices = replace(CHOICES, speech="rendered", n_phones=8, tree=TreeSettings(n_trees=20, folds=2))
    tree = speech_tree(22050, choices)
    assert tree.n_values == 2 * 31
    kinds = [list(VOWELS), [name for name, (_, _, voiced) in FRICATIVES.items() if not voiced], list(BURSTS)]
    means = []
    for kind in kinds:
        waves = render_phones(kind, 6, 0.5, 22050, seed=99)
        values = describe_stretches(waves, 22050, LowLevelSettings())[:, SETS["spectral"]]
        means.append(tree.embed(values))
    assert abs(np.mean(means[0][:, 0]) - np.mean(means[1][:, 0])) > 0.5  # the root parts voice from noise

    fitted = scene_lte._fit(RECIPE, choices, training, FitContext(1))
    model = fitted.predict.args[0]  # pyright: ignore[reportFunctionMemberAccess]
    assert model.describe(test).shape == (9, 2 * 2 + 62)
