"""HOG+SPD: histograms of levels follow the physics of noise and tones, and near levels are near in the SVM's space."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from soundscene.recipe import Recipe
from soundscene.systems import hog, hog_spd
from soundscene.systems.constant_q import ConstantQ, magnitudes
from soundscene.systems.hog_spd import SpdSettings, exceedance, fit_blocks, level_histograms
from soundscene.systems.system import FitContext
from tests.support.tiny import RATE
from tests.support.vectors import corpus_of

SETTINGS = SpdSettings()
WIDTH_DB = SETTINGS.range_db / SETTINGS.n_levels
CENTRES_DB = -SETTINGS.range_db + WIDTH_DB * (0.5 + np.arange(SETTINGS.n_levels))


def spd(samples: np.ndarray, settings: SpdSettings = SETTINGS) -> np.ndarray:
    magnitude = magnitudes(samples.astype(np.float32), RATE, ConstantQ())
    return level_histograms(magnitude, magnitude.shape[1], settings)


def band_of(frequency_hz: float) -> int:
    return round(8 * np.log2(frequency_hz / 20.0))


@pytest.mark.parametrize("gain", [1.0, 1e-3])
def test_levels_of_white_noise_deviate_as_those_of_exponential_power_whatever_the_gain(gain: float) -> None:
    found = spd(gain * np.random.default_rng(0).normal(size=10 * RATE))
    mean = found @ CENTRES_DB
    deviation = np.sqrt((found * (CENTRES_DB - mean[:, None]) ** 2).sum(axis=1))
    assert found.sum(axis=1) == pytest.approx(1.0)
    assert np.median(deviation) == pytest.approx(5.57, abs=0.25)  # 10 / ln 10 * pi / sqrt 6, of a log exponential


def test_a_steady_tone_has_one_level_and_one_that_is_on_half_the_time_two() -> None:
    at_s = np.arange(10 * RATE) / RATE
    tone = np.sin(2 * np.pi * 1000.0 * at_s)
    steady = spd(tone)[band_of(1000.0)]
    assert np.sort(steady)[-2:].sum() > 0.95
    halved = spd(tone * (at_s % 2 < 1))[band_of(1000.0)]
    assert halved[0] == pytest.approx(0.5, abs=0.05)  # weaker than the range
    assert np.sort(halved[1:])[-2:].sum() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("kind", "most_db", "by_peak_db"), [("click", 1.5, -5.0), ("beep", 0.5, -20.0)])
def test_a_short_peak_in_noise_hardly_shifts_the_image(kind: str, most_db: float, by_peak_db: float) -> None:
    noise = np.random.default_rng(0).normal(size=10 * RATE)
    peak = noise.copy()
    if kind == "click":  # 40 dB above the noise, in all bands: a stronger one shifts it, see docs/decisions/0110
        peak[5 * RATE] += 100.0
    else:
        at = np.arange(RATE // 50)
        peak[5 * RATE + at] += 100.0 * np.sin(2 * np.pi * 4000.0 * at / RATE) * np.hanning(len(at))

    def shift_db(settings: SpdSettings) -> float:
        return float(np.median((spd(peak, settings) - spd(noise, settings)) @ CENTRES_DB))

    assert abs(shift_db(SETTINGS)) < most_db
    assert shift_db(replace(SETTINGS, quantile=1.0)) < by_peak_db  # below the peak all else is weaker


def test_padding_behind_a_short_recording_is_not_counted() -> None:
    noise = np.random.default_rng(0).normal(size=RATE // 2).astype(np.float32)
    magnitude = magnitudes(noise, RATE, ConstantQ())
    high = slice(band_of(1000.0), None)  # bands whose filters are short
    assert level_histograms(magnitude, 22, SETTINGS)[high, 0].mean() < 0.01
    assert level_histograms(magnitude, magnitude.shape[1], SETTINGS)[high, 0].mean() > 0.4


def test_exceedances_are_as_far_apart_as_the_earth_movers_distance() -> None:
    draws = np.random.default_rng(1)
    first, second = draws.dirichlet(np.full(64, 0.2), 2)
    bins = np.arange(64)
    earth = wasserstein_distance(bins, bins, first, second)
    assert np.abs(exceedance(first) - exceedance(second)).sum() == pytest.approx(earth)
    tones = np.eye(64)[10:20]  # levels 0 to 9 bins apart
    assert [np.abs(exceedance(tones[0]) - exceedance(tone)).sum() for tone in tones] == pytest.approx([*range(10)])
    assert {np.abs(tones[0] - tone).sum() for tone in tones[1:]} == {2.0}  # without, all are equally far


@pytest.mark.parametrize("gain", [1.0, 30.0])
def test_both_descriptors_weigh_alike_whatever_their_size_and_number_of_values(gain: float) -> None:
    draws = np.random.default_rng(0)
    features = draws.uniform(0, 1, (12, 1024 + 3 * 64)).astype(np.float32)
    features[:, :1024] *= gain
    corpus = corpus_of(features, ["ab"[i % 2] for i in range(12)])
    one, other, both = (fit_blocks(corpus, 1024, 64, blocks) for blocks in ("hog", "spd", "both"))
    assert (one.scale[1], other.scale[0]) == (0.0, 0.0)
    assert both.scale.tolist() == [one.scale[0], other.scale[1]]
    for block in (one, other):
        assert np.linalg.norm(block(corpus), axis=1).mean() == pytest.approx(1.0, rel=1e-5)
    kernels = [block(corpus) @ block(corpus).T for block in (one, other, both)]
    assert kernels[2] == pytest.approx(kernels[0] + kernels[1], rel=1e-4)


def test_silence_has_no_levels_and_both_descriptors_are_stored() -> None:
    assert not level_histograms(np.zeros((72, 5)), 5, SETTINGS).any()
    noise = np.random.default_rng(0).normal(size=2 * RATE).astype(np.float32)
    features, start_s = hog_spd._compute(RATE, SETTINGS, noise)
    assert features.shape == (1, 1024 + 72 * 64)
    assert start_s.tolist() == [0.0]
    image = hog.constant_q_image(noise, RATE, SETTINGS.hog)
    assert np.array_equal(features[0, :1024], hog.describe(image, SETTINGS.hog))


def test_levels_a_bin_away_from_those_of_the_training_are_known() -> None:
    labels = ["quiet", "loud"] * 12
    bins = [20 if label == "quiet" else 40 for label in labels]
    shifted = np.array(bins) + (np.arange(24) >= 16)  # without cumulation, the test part fills bins that nothing has filled
    level = np.tile(np.eye(64)[shifted], (1, 4))
    corpus = corpus_of(np.concatenate([np.zeros((24, 1024)), level], axis=1), labels)
    system = hog_spd.system(Recipe.small(), "hog-spd", "HOG + SPD")
    fitted = system.fit(corpus.take(corpus.recordings[:16]), FitContext(0))
    said = fitted.predict(corpus.take(corpus.recordings[16:]))["svm"].recording.argmax(axis=1)
    assert said.tolist() == [["loud", "quiet"].index(label) for label in labels[16:]]


def test_scenes_that_differ_in_how_levels_are_spread_are_learnt_from_spd_and_not_from_hog() -> None:
    draws = np.random.default_rng(0)
    labels = ["flat", "peaked"] * 12
    spread = [8 if label == "flat" else 2 for label in labels]
    level = [
        np.bincount(np.clip(draws.normal(32, s, (4, 50)).round(), 0, 63).astype(int)[0], minlength=64) / 50 for s in spread
    ]
    features = np.concatenate([draws.normal(0.5, 0.1, (24, 1024)), np.tile(level, (1, 4))], axis=1)
    corpus = corpus_of(features, labels)
    truth = [sorted({*labels}).index(label) for label in labels]
    right = {}
    for blocks in ("spd", "hog"):
        system = hog_spd.system(Recipe.small(), "hog-spd", "HOG + SPD", options={"blocks": blocks})
        train = corpus.take(corpus.recordings[:16])
        fits = [system.fit(train, FitContext(0)) for _ in range(2)]
        test = corpus.take(corpus.recordings[16:])
        predicted = [fit.predict(test)["svm"].calibrated for fit in fits]
        assert np.array_equal(predicted[0], predicted[1])
        right[blocks] = float(np.mean(predicted[0].argmax(axis=1) == truth[16:]))
    assert right["spd"] == 1.0
    assert right["hog"] < 0.9
