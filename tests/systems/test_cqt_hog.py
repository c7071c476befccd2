"""CQT+HOG: an event weighs next to nothing, a steady texture is averaged, and the level does not matter."""

from dataclasses import replace

import numpy as np
import pytest

from soundscene.systems.constant_q import levels, magnitudes
from soundscene.systems.cqt_hog import CqtHogSettings, columns, describe, texture_weights
from tests.support.tiny import RATE

SETTINGS = CqtHogSettings()


def image_of(samples: np.ndarray) -> np.ndarray:
    return levels(magnitudes(samples.astype(np.float32), RATE, SETTINGS.transform), SETTINGS.range_db)


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return np.random.default_rng(0).normal(size=10 * RATE)


@pytest.fixture(scope="module")
def with_bang(noise: np.ndarray) -> np.ndarray:
    """The image of ten seconds of noise with a bang of 0.1 s and 20 dB more at 5 s."""
    at_s = np.arange(len(noise)) / RATE
    return image_of(noise * np.where(np.abs(at_s - 5.0) < 0.05, 10.0, 1.0))


def test_a_bang_weighs_less_than_a_tenth_of_the_texture(with_bang: np.ndarray) -> None:
    _, level = columns(with_bang, SETTINGS)
    bang = int(level.mean(axis=1).argmax())
    assert bang == pytest.approx(5.0 * RATE / 512 / 8 - 0.5, abs=2)
    weights = texture_weights(level, SETTINGS)
    assert weights.sum() == pytest.approx(1.0)
    assert weights[bang] < 0.1 * np.median(weights)
    of_all = texture_weights(level, replace(SETTINGS, apart=-1))  # a subspace that has seen the bang explains it
    assert of_all[bang] > np.median(of_all)


def test_steady_noise_is_averaged(noise: np.ndarray) -> None:
    image = image_of(noise)
    gradients, level = columns(image, SETTINGS)
    assert gradients.shape == (52, 24 * 4 * 8)
    assert level.shape == (52, 25)
    weights = texture_weights(level, SETTINGS) * len(level)
    assert 0.1 < weights.min() < weights.max() < 2.5
    one, plain = describe(image, SETTINGS)[:768], describe(image, SETTINGS, equal=True)[:768]
    assert plain == pytest.approx(gradients.mean(axis=0), abs=1e-6)
    assert np.linalg.norm(one - plain) < 0.05 * np.linalg.norm(plain)


def test_the_level_of_the_recording_does_not_matter(noise: np.ndarray) -> None:
    assert describe(image_of(0.01 * noise), SETTINGS) == pytest.approx(describe(image_of(noise), SETTINGS), abs=1e-3)


def test_few_columns_or_none_that_differ_weigh_alike() -> None:
    draws = np.random.default_rng(0)
    assert texture_weights(draws.normal(size=(9, 25)), SETTINGS) == pytest.approx(np.full(9, 1 / 9))
    assert texture_weights(np.tile(draws.normal(size=25), (20, 1)), SETTINGS) == pytest.approx(np.full(20, 1 / 20))


@pytest.mark.parametrize("seconds", [0.1, 3.5])
def test_short_recordings_and_silence_are_described(seconds: float) -> None:
    short = np.random.default_rng(0).normal(size=int(seconds * RATE))
    found = describe(image_of(short), SETTINGS)
    assert found.shape == (2 * 768,)
    assert np.isfinite(found).all()
    assert found.any()
    assert not describe(image_of(0 * short), SETTINGS).any()
