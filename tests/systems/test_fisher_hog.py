"""FisherHOG: pieces of two seconds, no flat patches, no order in time, height where it is asked for, the same twice."""

from dataclasses import replace

import numpy as np
import pytest

from soundscene.data.corpus import Corpus
from soundscene.errors import TrainingError
from soundscene.recipe import Recipe
from soundscene.systems import fisher_hog
from soundscene.systems.fisher_hog import FisherSettings, patches_of, with_height
from soundscene.systems.system import FitContext
from tests.support.tiny import RATE
from tests.support.vectors import corpus_of

SETTINGS = FisherSettings()
TINY = FisherSettings(n_components=4, n_gaussians=4, patches=500, c=(1e-3,))


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> fisher_hog.System:
    monkeypatch.setattr(fisher_hog, "FisherSettings", lambda: TINY)
    return fisher_hog.system(Recipe.small(), "fisher-hog", "FisherHOG")


def patches_corpus() -> Corpus:
    """Two scenes whose patches come from three kinds in other shares; two pieces of ten patches a recording."""
    draws = np.random.default_rng(0)
    kinds = draws.uniform(0, 1, (3, 36))
    labels = ["ab"[i % 2] for i in range(24)]
    rows = []
    for label in labels:
        share = [0.7, 0.2, 0.1] if label == "a" else [0.1, 0.2, 0.7]
        rows.append(kinds[draws.choice(3, (2, 10), p=share)] + draws.normal(0, 0.1, (2, 10, 36)))
    return corpus_of(np.concatenate(rows), labels, [2] * 24)


def test_patches_of_pieces_and_none_of_silence() -> None:
    noise = np.random.default_rng(0).normal(size=int(4.9 * RATE)).astype(np.float32)
    found, start_s = patches_of(noise, RATE, SETTINGS, 0.5)
    assert found.shape == (2, 216, 36)
    assert start_s == pytest.approx([0.0, 86 * 512 / RATE])
    again, _ = patches_of(np.concatenate([noise, noise[: RATE // 2]]), RATE, SETTINGS, 0.5)
    assert len(again) == 3  # more than half of a piece is left: shifted back to end with the recording
    assert found.any(axis=2).all()
    short, _ = patches_of(noise[: RATE // 2], RATE, SETTINGS, 0.5)
    flat = ~short[0].reshape(24, 9, 36).any(axis=2)
    assert short.shape == (1, 216, 36)
    assert flat[12:, 5:].all()  # behind its end
    assert not flat[12:, :2].any()
    assert not patches_of(0 * noise, RATE, SETTINGS, 0.5)[0].any()


def test_the_order_of_pieces_and_flat_patches_do_not_matter(system: fisher_hog.System) -> None:
    corpus = patches_corpus()
    train, test = corpus.take(corpus.recordings[:16]), corpus.take(corpus.recordings[16:])
    fits = [system.fit(train, FitContext(1)) for _ in range(2)]
    one, two = (fit.predict(test)["svm"] for fit in fits)
    assert np.array_equal(one.calibrated, two.calibrated)
    truth = np.array(["ab".index(r.scene) for r in test.recordings])
    assert np.mean(one.recording.argmax(axis=1) == truth) >= 7 / 8
    swapped = replace(test, features=test.features.reshape(-1, 2, 10, 36)[:, ::-1].reshape(-1, 10, 36))
    assert fits[0].predict(swapped)["svm"].recording == pytest.approx(one.recording, abs=1e-4)
    flat = replace(test, features=np.concatenate([test.features, np.zeros_like(test.features)], axis=1))
    assert fits[0].predict(flat)["svm"].recording == pytest.approx(one.recording, abs=1e-4)


def test_silence_is_uniform_and_a_silent_training_part_is_refused(system: fisher_hog.System) -> None:
    corpus = patches_corpus()
    mute = replace(corpus, silent=np.ones_like(corpus.silent))
    predicted = system.fit(corpus, FitContext(0)).predict(mute)["svm"]
    assert np.exp(predicted.calibrated) == pytest.approx(0.5)
    with pytest.raises(TrainingError, match="digital silence"):
        system.fit(mute, FitContext(0))


def placed_corpus() -> Corpus:
    """Two scenes of the same patches in pieces of 4 x 9: one kind is below and the other above, or the other way round."""
    draws = np.random.default_rng(0)
    kinds = draws.uniform(0, 1, (2, 36))
    labels = ["ab"[i % 2] for i in range(24)]
    rows = []
    for label in labels:
        kind = np.repeat([0, 0, 1, 1] if label == "a" else [1, 1, 0, 0], 9)
        kind = np.where(draws.random((2, 36)) < 0.1, 1 - kind, kind)  # a few stand in the other half
        rows.append(kinds[kind] + draws.normal(0, 0.1, (2, 36, 36)))
    return corpus_of(np.concatenate(rows), labels, [2] * 24)


def test_height_alone_is_learnt_with_height_and_not_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fisher_hog, "FisherSettings", lambda: TINY)
    corpus = placed_corpus()
    train, test = corpus.take(corpus.recordings[:16]), corpus.take(corpus.recordings[16:])
    truth = np.array(["ab".index(r.scene) for r in test.recordings])
    pieces = test.features.reshape(-1, 4, 9, 36)
    later = replace(test, features=pieces[:, :, [5, 0, 8, 1, 7, 2, 6, 3, 4]].reshape(test.features.shape))
    turned = replace(test, features=pieces[:, ::-1].reshape(test.features.shape))
    for height in ("off", "on"):
        system = fisher_hog.system(Recipe.small(), "fisher-hog", "FisherHOG", options={"height": height})
        fit = system.fit(train, FitContext(1))
        plain, mixed, upside_down = (fit.predict(part)["svm"].recording for part in (test, later, turned))
        assert mixed == pytest.approx(plain, abs=1e-4)  # the order in time does not matter
        right = np.mean(plain.argmax(axis=1) == truth)
        if height == "on":
            assert right == 1.0
            assert (upside_down.argmax(axis=1) != truth).all()
        else:
            assert right <= 0.75
            assert upside_down == pytest.approx(plain, abs=1e-4)


def test_height_is_two_white_values_and_the_default_knows_of_none() -> None:
    patches = np.ones((2, 216, 36), np.float32)
    placed = with_height(patches, 9)
    assert np.array_equal(placed[..., :36], patches)
    place = placed[0, :, 36:].reshape(24, 9, 2)
    assert (place == place[:, :1]).all()  # patches beside each other are as high
    assert place[:, 0].T @ place[:, 0] / 24 == pytest.approx(np.eye(2), abs=1e-5)
    assert place.mean(axis=(0, 1)) == pytest.approx(np.zeros(2), abs=1e-5)
    assert (np.diff(place[:, 0, 0]) < 0).all()
    assert with_height(patches, None) is patches
    plain, off = (fisher_hog.system(Recipe.small(), "fisher-hog", "", options=o) for o in (None, {"height": "off"}))
    assert plain.choices == off.choices
    assert "height" not in plain.choices["fisher_hog"]
