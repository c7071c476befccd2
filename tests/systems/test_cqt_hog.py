"""CQT+HOG: an event weighs next to nothing, a steady texture is averaged, and the level does not matter."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from soundscene.recipe import Recipe
from soundscene.systems.constant_q import levels, magnitudes
from soundscene.systems.cqt_hog import CqtHogSettings, _compute, columns, describe, system, texture_weights
from soundscene.types import Recording
from tests.support.tiny import RATE, write

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


def described(samples: np.ndarray) -> np.ndarray:
    return _compute(RATE, SETTINGS, False, samples.astype(np.float32))[0][0]


def apart(one: np.ndarray, other: np.ndarray) -> list[float]:
    """Distances of the means and of the deviations, as shares of the first."""
    parts = (slice(768), slice(768, None))
    return [float(np.linalg.norm(one[part] - other[part]) / np.linalg.norm(one[part])) for part in parts]


def test_digital_silence_behind_or_inside_a_recording_has_no_say(noise: np.ndarray) -> None:
    four_s, silence = noise[: 4 * RATE], np.zeros(6 * RATE)
    alone = described(four_s)
    behind = np.concatenate([four_s, silence])
    mean, deviation = apart(alone, described(behind))
    assert mean < 0.05
    assert deviation < 0.1
    inside = np.concatenate([four_s[: 2 * RATE], silence, four_s[2 * RATE :]])
    mean, deviation = apart(alone, described(inside))  # the gap has two edges, which are in the sound
    assert mean < 0.15
    assert deviation < 0.5
    _, level = columns(image_of(behind), SETTINGS)
    weights = texture_weights(level, SETTINGS)
    assert weights.sum() == pytest.approx(1.0)
    assert not weights[~level.any(axis=1)].any()


def test_padding_behind_a_short_recording_is_cut_off(noise: np.ndarray) -> None:
    image = image_of(noise[:RATE])  # padded to three seconds
    assert image.shape[1] == 1 + 3 * RATE // 512
    assert described(noise[:RATE]) == pytest.approx(describe(image[:, : 1 + RATE // 512], SETTINGS))
    assert described(noise[: RATE // 10]).any()  # shorter than a column
    assert not described(np.zeros(RATE)).any()


def test_the_weights_of_a_variant_reach_what_is_stored(noise: np.ndarray, tmp_path: Path) -> None:
    bang = 0.02 * noise[: 4 * RATE]
    bang[2 * RATE : 2 * RATE + RATE // 10] *= 20
    row = Recording(write(tmp_path / "bang.wav", bang), "a", "a")
    texture, equal = (
        system(Recipe.small(), "cqt-hog", "", options={"weights": weights}).representation
        for weights in ("texture", "equal")
    )
    assert texture.key != equal.key
    one, plain = (representation.extract(row).features[0] for representation in (texture, equal))
    assert min(apart(plain, one)) > 0.02
    steady = described(0.02 * noise[: 4 * RATE])
    assert apart(steady, one)[1] < apart(steady, plain)[1]  # the weights take the bang out
