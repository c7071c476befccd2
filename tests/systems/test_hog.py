"""HOG: the image has the sound where it belongs, the histograms see its direction, and the SVM keeps to its part."""

import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from sklearn.model_selection import StratifiedGroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from soundscene.data.corpus import Corpus
from soundscene.data.manifest import Manifest
from soundscene.data.splits import hold_out
from soundscene.data.store import FeatureStore
from soundscene.errors import BundleError, TrainingError
from soundscene.recipe import Recipe
from soundscene.systems import whole
from soundscene.systems.hog import HogSettings, constant_q_image, describe, system
from soundscene.systems.system import FitContext
from soundscene.training.calibrate import choose_c
from soundscene.types import Recording
from tests.support.tiny import RATE, SCENES, write, write_corpus

RECIPE = Recipe().with_settings(["calibration.held_out=0.25"])
HOG = system(RECIPE, "hog", "HOG")


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Corpus, Corpus]:
    """Training part (eight recordings a scene) and test part (four) of rendered sound."""
    folder = tmp_path_factory.mktemp("hog")
    listed = Manifest.read(write_corpus(folder / "sound", 12)).recordings
    store = FeatureStore(folder / "store", HOG.representation)
    assert store.build(listed) == {}
    test = tuple(r for r in listed if int(r.path.stem) >= 8)
    return store.load(tuple(r for r in listed if r not in test)), store.load(test)


def tone(frequency_hz: float, seconds: float = 2.0, rate: int = RATE) -> np.ndarray:
    return np.sin(2 * np.pi * frequency_hz * np.arange(round(seconds * rate)) / rate).astype(np.float32)


@pytest.mark.parametrize("frequency_hz", [55.0, 440.0, 3000.0])
def test_a_tone_is_a_ridge_at_its_frequency(frequency_hz: float) -> None:
    choices = HogSettings(smoothing=0)
    image = constant_q_image(tone(frequency_hz), RATE, choices)
    n_bands = np.floor(8 * np.log2(RATE / 2 / 1.1 / 20.0)) + 1  # eight an octave from 20 Hz
    band = 8 * np.log2(frequency_hz / 20.0)
    row = (band + 0.5) / n_bands * 512 - 0.5  # centres of pixels, as images are resized
    assert image.shape == (512, 512)
    assert image.mean(axis=1).argmax() == pytest.approx(row, abs=512 / n_bands / 2 + 1)  # half a band and a pixel
    assert image.max() == pytest.approx(1.0, abs=1e-6)


def test_the_image_does_not_change_with_the_level_nor_is_it_turned_in_time() -> None:
    click = np.zeros(4 * RATE, np.float32)
    click[3 * RATE] = 1.0
    image = constant_q_image(click, RATE, HogSettings(smoothing=0))
    assert image.mean(axis=0).argmax() == pytest.approx(0.75 * 512, abs=6)
    assert np.allclose(image, constant_q_image(click * np.float32(0.01), RATE, HogSettings(smoothing=0)), atol=1e-4)


@pytest.mark.parametrize(("rate", "seconds"), [(8000, 0.2), (8000, 2.0), (22050, 0.3), (48000, 1.0)])
def test_short_recordings_at_other_rates_are_no_trouble(rate: int, seconds: float) -> None:
    image = constant_q_image(tone(500.0, seconds, rate), rate, HogSettings())  # a warning would be an error
    assert np.isfinite(image).all()


def test_digital_silence_is_an_empty_image_and_an_empty_descriptor() -> None:
    image = constant_q_image(np.zeros(2 * RATE, np.float32), RATE, HogSettings())
    assert not image.any()
    assert not describe(image, HogSettings()).any()


def test_histograms_tell_steady_from_sudden_and_keep_the_place() -> None:
    choices = HogSettings()
    ramp = np.zeros((512, 512))
    ramp[200:300] = np.linspace(0, 1, 100)[:, None]  # the level changes along frequency only
    over_time, over_frequency = describe(ramp, choices).reshape(2, 64, 8)
    assert (over_time[26:37].argmax(axis=1) == 4).all()
    assert over_time[26:37, 4] == pytest.approx(1.0, abs=0.01)  # one orientation holds the whole of a normalised cell
    assert not over_time[:24].any()
    assert not over_time[39:].any()
    assert np.allclose(over_frequency, over_frequency[0])  # and no time differs from another

    _, turned = describe(ramp.T.copy(), choices).reshape(2, 64, 8)
    assert (turned[26:37].argmax(axis=1) == 0).all()  # a right angle: four of eight orientations away
    assert not turned[:24].any()


def test_the_image_of_sound_is_described_by_both_averages(rendered: tuple[Corpus, Corpus]) -> None:
    training, _ = rendered
    choices = HogSettings()
    n_places = choices.size // choices.cell - choices.block + 1
    assert training.features.shape == (24, 2 * n_places * choices.block**2 * choices.orientations)
    assert training.features.min() >= 0
    assert training.features.max() <= 1
    assert training.regular.all()
    assert not training.silent.any()
    assert training.duration_s[0] == pytest.approx(2.2, abs=1e-3)


def test_it_learns_three_scenes_and_predicts_the_same_every_time(rendered: tuple[Corpus, Corpus]) -> None:
    training, test = rendered
    answers = [HOG.fit(training, FitContext(3)).predict(test)["svm"] for _ in range(2)]
    truth = [SCENES.index(r.scene) for r in test.recordings]
    assert np.mean(answers[0].recording.argmax(axis=1) == truth) >= 2 / 3  # 8 of 12; chance reaches that in 2 of 100
    assert np.array_equal(answers[0].calibrated, answers[1].calibrated)
    assert np.exp(answers[0].calibrated).sum(axis=1) == pytest.approx(1.0)
    assert answers[0].segment.shape == (0, 3)
    assert answers[0].recording_of.shape == (0,)


def test_the_svm_sees_neither_the_held_groups_nor_the_scale_they_choose(
    rendered: tuple[Corpus, Corpus], monkeypatch: pytest.MonkeyPatch
) -> None:
    training, test = rendered
    seen: dict[str, list[list[str]]] = {"choose_c": [], "fit_svm": []}
    for name in seen:
        inner = getattr(whole, name)

        def spy(
            features: np.ndarray,
            labels: np.ndarray,
            groups: list[str],
            *rest: object,
            inner=inner,
            name=name,
            **named: object,
        ) -> object:
            seen[name].append(groups)
            return inner(features, labels, groups, *rest, **named)

        monkeypatch.setattr(whole, name, spy)
    fitted = HOG.fit(training, FitContext(1))
    held = hold_out(training.recordings, 0.25, np.random.default_rng(1))[1]
    assert fitted.held == held
    assert len(held) == 6  # two a scene
    kept = sorted({r.group for r in training.recordings} - {r.group for r in held})
    assert [sorted(set(groups)) for groups in (*seen["choose_c"], *seen["fit_svm"])] == [kept, kept]

    louder = replace(training, features=training.features.copy())  # other values for the held: only the temperature follows
    for recording in held:
        louder.features[training.recordings.index(recording)] = 0.5
    other = HOG.fit(louder, FitContext(1)).predict(test)["svm"]
    one = fitted.predict(test)["svm"]
    assert np.array_equal(one.recording, other.recording)
    assert not np.allclose(one.calibrated, other.calibrated)


def test_c_is_the_one_that_scikit_learn_finds_best_across_groups() -> None:
    draws = np.random.default_rng(0)
    labels = np.arange(90) % 3
    groups = [f"{scene} {place}" for scene, place in zip(labels, np.arange(90) // 9, strict=True)]
    places = draws.normal(0, 1.0, (10, 3, 40))[np.arange(90) // 9, labels]  # what is shared within a place misleads
    features = (places + draws.normal(0, 0.5, (90, 40)) + 4 * np.eye(3, 40)[labels]).astype(np.float32)
    candidates = (1.0, 1e-2, 1e-5)
    folds = StratifiedGroupKFold(3, shuffle=True, random_state=5)
    score = {}
    for c in candidates:
        svm: Any = LinearSVC(C=c, dual=False)  # pyright: ignore[reportArgumentType]
        score[c] = cross_val_score(make_pipeline(StandardScaler(), svm), features, labels, groups=groups, cv=folds).mean()
    assert score[1e-2] > max(score[1.0], score[1e-5])  # neither end of the list
    assert choose_c(features, labels, groups, candidates, 3, 5) == 1e-2
    assert choose_c(np.ones_like(features), labels, groups, candidates, 3, 5) == 1e-5  # the smallest of equals
    with pytest.raises(ValueError, match="no candidate"):
        choose_c(features, labels, groups, (), 3, 5)


def test_a_silent_recording_gets_equal_probabilities(rendered: tuple[Corpus, Corpus]) -> None:
    training, test = rendered
    silent = test.silent.copy()
    silent[2] = True
    said = HOG.fit(training, FitContext(0)).predict(replace(test, silent=silent))["svm"]
    assert np.exp(said.calibrated[2]) == pytest.approx(1 / 3)
    assert np.exp(said.recording[2]) == pytest.approx(1 / 3)
    assert np.exp(said.recording[1]).max() > 0.4


def test_one_scene_is_refused(rendered: tuple[Corpus, Corpus]) -> None:
    training, _ = rendered
    rain = training.take(tuple(r for r in training.recordings if r.scene == "rain"))
    with pytest.raises(TrainingError, match="two scenes or more"):
        HOG.fit(rain, FitContext(0))


def test_what_is_saved_is_what_predicts(rendered: tuple[Corpus, Corpus], tmp_path: Path) -> None:
    training, test = rendered
    fitted = HOG.fit(training, FitContext(0))
    assert fitted.save is not None
    fitted.save(tmp_path / "hog.safetensors", {})
    tensors = load_file(tmp_path / "hog.safetensors")
    distance = test.features @ tensors["svm/weight"].T + tensors["svm/bias"]
    p = 1 / (1 + np.exp(tensors["svm/slope"] * distance + tensors["svm/offset"]))
    said = fitted.predict(test)["svm"].recording
    assert np.exp(said) == pytest.approx(p / p.sum(axis=1, keepdims=True), rel=1e-4, abs=1e-6)
    assert [f.name for f in tmp_path.iterdir()] == ["hog.safetensors"]
    with pytest.raises(BundleError, match="cannot be written"):
        fitted.save(tmp_path / "hog.safetensors" / "below.safetensors", {})


@pytest.mark.slow
def test_another_process_can_be_handed_the_extraction(tmp_path: Path) -> None:
    row = Recording(write(tmp_path / "a.wav", 0.5 * tone(700.0)), "a", "a")
    extract = pickle.loads(pickle.dumps(HOG.representation)).extract(row)
    assert np.array_equal(extract.features, HOG.representation.extract(row).features)
    assert extract.features.dtype == np.float32
    assert extract.start_s.tolist() == [0.0]
    # The other process only unpickles: it would import the transform for seconds; the MFCC of test_mfcc_dnn go all the way.
    (tmp_path / "job").write_bytes(pickle.dumps(HOG.representation.extract))
    code = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb')).func.__module__)"
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "job"], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "soundscene.systems.hog"


def test_the_store_is_another_one_when_the_rate_is() -> None:
    slow = system(RECIPE.with_settings(["audio.sample_rate=16000"]), "hog", "HOG")
    other_head = system(RECIPE.with_settings(["calibration.svm_c=0.3", "network.hidden=4"]), "hog", "HOG")
    assert slow.representation.key != HOG.representation.key
    assert other_head.representation.key == HOG.representation.key
