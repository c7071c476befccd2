"""HOG+SPD: histograms of levels follow the physics of noise and tones, and near levels are near in the SVM's space."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from soundscene.errors import TrainingError
from soundscene.recipe import Recipe
from soundscene.systems import hog, hog_spd
from soundscene.systems.constant_q import ConstantQ, magnitudes
from soundscene.systems.hog_spd import SpdSettings, exceedance, fit_blocks, fit_kernel, level_histograms, mean_distance
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


def emd(first: np.ndarray, second: np.ndarray) -> float:
    """What the kernel's distance is of two recordings [band, level]."""
    one, other = (exceedance(image).reshape(1, -1) for image in (first, second))
    return float(mean_distance(one, other, first.shape[-1])[0, 0])


def test_the_distance_of_the_kernel_is_the_earth_movers_mean_over_bands() -> None:
    first, second = np.random.default_rng(2).dirichlet(np.full(64, 0.3), (2, 5))
    bins = np.arange(64)
    bands = [wasserstein_distance(bins, bins, one, other) for one, other in zip(first, second, strict=True)]
    assert emd(first, second) == pytest.approx(np.mean(bands))
    tone = np.eye(64)[[20, 30, 40]]
    assert [emd(tone, np.roll(tone, shift, axis=1)) for shift in (0, 1, 10)] == pytest.approx([0, 1, 10])


def shifted_tones(n: int = 12) -> np.ndarray:
    """Features of recordings whose tones are 0 to n - 1 levels up, with HOG of no scene."""
    draws = np.random.default_rng(3)
    level = np.tile(np.eye(64)[20 + np.arange(n)], (1, 4))
    return np.concatenate([draws.uniform(0, 1, (n, 1024)), level], axis=1)


def test_the_coordinates_of_the_kernel_have_it_as_their_inner_product() -> None:
    corpus = corpus_of(shifted_tones(), ["ab"[i % 2] for i in range(12)])
    spd_only, both, hog_only = (fit_kernel(corpus, 1024, 64, blocks, 0) for blocks in ("spd", "both", "hog"))
    number = np.arange(12)
    apart = np.abs(number[:, None] - number)
    typical = np.median(apart[np.triu_indices(12, 1)])
    expected = np.exp(-apart / typical)  # a shift by one level is nearer than by ten
    assert spd_only(corpus) @ spd_only(corpus).T == pytest.approx(expected, abs=1e-4)
    of_hog = hog_only(corpus) @ hog_only(corpus).T
    assert np.sqrt(np.diag(of_hog)).mean() == pytest.approx(1.0, abs=1e-4)  # as long as those of the other kernel
    assert both(corpus) @ both(corpus).T == pytest.approx(expected + of_hog, abs=1e-4)
    part = corpus.take(corpus.recordings[:9])  # width and scale are those of the training part
    learnt = fit_kernel(part, 1024, 64, "spd", 0)
    assert learnt(corpus)[9:] @ learnt(part).T == pytest.approx(np.exp(-apart[9:, :9] * learnt.gamma), abs=1e-4)


def test_few_landmarks_are_nystroems_approximation(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = corpus_of(shifted_tones(), ["ab"[i % 2] for i in range(12)])
    monkeypatch.setattr(hog_spd, "_LANDMARKS", 6)
    found = fit_kernel(corpus, 1024, 64, "spd", 0)
    assert found.landmarks.shape == (6, 1024 + 4 * 63)
    assert found(corpus).shape == (12, 6)
    exact = found.kernel(found.landmarks.astype(np.float64))
    marks = [int(np.flatnonzero((corpus.features[:, :1024] == mark[:1024]).all(axis=1))[0]) for mark in found.landmarks]
    assert found(corpus)[marks] @ found(corpus)[marks].T == pytest.approx(exact, abs=1e-4)


def test_a_round_kernel_learns_a_scene_between_two_parts_of_another() -> None:
    labels = [("outer" if i % 4 in (0, 3) else "middle") for i in range(48)]
    bins = [12 + 12 * (i % 4) + (i // 4) % 4 for i in range(48)]  # outer, middle, middle, outer; some levels apart
    mixed = np.random.default_rng(0).permutation(48)
    level = np.eye(64)[bins][mixed]
    corpus = corpus_of(np.concatenate([np.zeros((48, 1024)), level], axis=1), [labels[i] for i in mixed])
    system = hog_spd.system(Recipe.small(), "hog-spd", "HOG + SPD", options={"blocks": "spd", "kernel": "emd"})
    predicted = system.fit(corpus.take(corpus.recordings[:32]), FitContext(0)).predict(corpus.take(corpus.recordings[32:]))
    truth = [["middle", "outer"].index(r.scene) for r in corpus.recordings[32:]]
    assert predicted["svm"].recording.argmax(axis=1).tolist() == truth


def test_the_default_is_recorded_as_it_was_without_kernels() -> None:
    plain, linear = (hog_spd.system(Recipe.small(), "hog-spd", "", options=o) for o in ({}, {"kernel": "linear"}))
    assert plain.choices == linear.choices
    assert "kernel" not in plain.choices["hog_spd"]
    other = hog_spd.system(Recipe.small(), "hog-spd", "", options={"kernel": "emd"})
    assert other.choices["hog_spd"]["kernel"] == "emd"
    assert other.representation.key == plain.representation.key


@pytest.mark.parametrize("kernel", ["linear", "emd"])
def test_silence_is_uniform_and_a_silent_training_part_is_refused(kernel: str) -> None:
    corpus = corpus_of(shifted_tones(), ["ab"[i % 2] for i in range(12)])
    mute = replace(corpus, silent=np.ones_like(corpus.silent))
    system = hog_spd.system(Recipe.small(), "hog-spd", "HOG + SPD", options={"kernel": kernel})
    predicted = system.fit(corpus, FitContext(0)).predict(mute)["svm"]
    assert np.exp(predicted.calibrated) == pytest.approx(0.5)
    with pytest.raises(TrainingError, match="two scenes or more"):
        system.fit(mute, FitContext(0))
