"""Bandwidth, level and distance to the floor, of rendered, dull, coded and resampled sound."""

import numpy as np
import pytest
import soxr

from soundscene.render.corpus import render_recording
from soundscene.signal.meter import Measures, RangeMeter, find_edge
from soundscene.types import Samples

RATE, MODEL_RATE = 44100, 22050


def measure(samples: np.ndarray, rate: int = RATE, model_rate: int = MODEL_RATE) -> Measures:
    """As a model of 22050 Hz measures a recording, or one of another rate."""
    meter = RangeMeter(model_rate)
    meter.push(np.asarray(soxr.resample(samples, rate, model_rate, "HQ"), np.float32))
    found = meter.measures()
    assert found is not None
    return found


def falling(decibels: float, rms: float = 0.03, seconds: float = 6.0, seed: int = 0) -> Samples:
    """Noise that falls by so many dB an octave: 3 is pink, 6 brown, more is dull."""
    n = round(seconds * RATE)
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(n))
    samples = np.fft.irfft(spectrum * np.maximum(np.fft.rfftfreq(n, 1 / RATE), 30) ** (-decibels / 6.02), n)
    return (samples * rms / np.sqrt(np.mean(samples**2))).astype(np.float32)


def dithered(samples: np.ndarray, seed: int = 1) -> Samples:
    """Rounded to 16 bits with triangular dither, as programs write WAV."""
    draws = np.random.default_rng(seed)
    dither = draws.random(len(samples)) - draws.random(len(samples))
    return (np.round(np.clip(samples, -1, 1) * 32767 + dither) / 32768).astype(np.float32)


def by_way_of(rate: int, samples: Samples) -> Samples:
    """As a file of a lower rate that was brought back to 44.1 kHz, 16 bits each time."""
    low = dithered(np.asarray(soxr.resample(samples, RATE, rate, "HQ")))
    return dithered(np.asarray(soxr.resample(low, rate, RATE, "HQ")), 2)


def crudely(rate: int, samples: Samples) -> Samples:
    """The same, brought back by linear interpolation."""
    low = dithered(np.asarray(soxr.resample(samples, RATE, rate, "HQ")))
    return dithered(np.interp(np.arange(len(samples)) * rate / RATE, np.arange(len(low)), low), 2)


# --- what has no edge -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decibels", [0, 3, 6, 12, 18, 24])
@pytest.mark.parametrize("rms", [0.1, 0.003])
def test_dull_sound_has_no_edge(decibels: float, rms: float) -> None:
    samples = falling(decibels, rms)
    assert measure(samples).bandwidth_hz == MODEL_RATE / 2
    assert measure(dithered(samples)).bandwidth_hz == MODEL_RATE / 2


@pytest.mark.parametrize("scene", ["wind", "road_traffic", "night_crickets", "forest_birds", "train_interior", "sea"])
def test_rendered_scenes_have_no_edge(scene: str) -> None:
    samples = render_recording(scene, 6.0, RATE, np.random.default_rng(5))
    assert measure(dithered(samples)).bandwidth_hz == MODEL_RATE / 2


def test_narrow_sounds_over_a_floor_have_no_edge() -> None:
    floor = falling(0, 0.001)
    t = np.arange(len(floor)) / RATE
    chirps = 0.1 * np.sin(2 * np.pi * 4300 * t) * (np.sin(2 * np.pi * 8 * t) > 0)
    spectrum = np.fft.rfft(falling(0, 0.1, seed=2))
    hz = np.fft.rfftfreq(len(floor), 1 / RATE)
    insects = np.fft.irfft(np.where((hz > 3000) & (hz < 6000), spectrum, 0), len(floor))
    harmonics = sum(0.05 / k**2 * np.sin(2 * np.pi * 100 * k * t + k * k) for k in range(1, 81))
    for sound in (chirps, insects, harmonics):
        assert measure((floor + sound).astype(np.float32)).bandwidth_hz == MODEL_RATE / 2


@pytest.mark.parametrize("rate", [22050, 32000, 48000])
def test_what_only_lacks_what_the_model_does_not_hear_has_no_edge(rate: int) -> None:
    assert measure(by_way_of(rate, falling(3))).bandwidth_hz == MODEL_RATE / 2


# --- what has one -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decibels", [0, 3, 6])
@pytest.mark.parametrize("rate", [8000, 11025, 16000])
def test_resampled_sound_has_an_edge_near_half_the_old_rate(decibels: float, rate: int) -> None:
    for samples in (by_way_of(rate, falling(decibels)), by_way_of(rate, falling(decibels, 0.003))):
        assert 0.94 * rate / 2 < measure(samples).bandwidth_hz < 1.03 * rate / 2


@pytest.mark.parametrize("scene", ["wind", "road_traffic", "night_crickets"])
def test_a_rendered_scene_has_an_edge_when_it_was_resampled(scene: str) -> None:
    samples = render_recording(scene, 6.0, RATE, np.random.default_rng(5))
    assert 7400 < measure(by_way_of(16000, samples)).bandwidth_hz < 8100


@pytest.mark.parametrize("rate", [8000, 11025, 12000, 16000])
@pytest.mark.parametrize("decibels", [0, 3, 6])
def test_linear_interpolation_leaves_a_mirror(rate: int, decibels: float) -> None:
    assert measure(crudely(rate, falling(decibels))).bandwidth_hz == rate / 2


@pytest.mark.parametrize(
    ("codec", "suffix", "rate", "bits", "low", "high"),
    [
        ("libmp3lame", ".mp3", 44100, 32000, 7500, 9000),
        ("libmp3lame", ".mp3", 44100, 64000, 11025, 11025),
        ("libmp3lame", ".mp3", 44100, 128000, 11025, 11025),
        ("libmp3lame", ".mp3", 16000, 32000, 6500, 8100),
        ("libopus", ".opus", 48000, 24000, 11025, 11025),
        ("aac", ".m4a", 44100, 64000, 11025, 11025),
    ],
)
def test_codecs(codec: str, suffix: str, rate: int, bits: int, low: float, high: float) -> None:
    pytest.importorskip("av")
    from benchmarks.robust_shifts import coded

    assert low <= measure(*coded(codec, suffix, rate, bits, (falling(3), RATE))).bandwidth_hz <= high


def test_a_model_of_44100_hz_sees_more() -> None:
    found = [measure(by_way_of(rate, falling(3)), RATE, RATE).bandwidth_hz for rate in (22050, 32000, 44100)]
    assert found == [pytest.approx(10_700, rel=0.04), pytest.approx(15_500, rel=0.04), RATE / 2]


def test_an_edge_is_looked_for_where_a_spectrum_has_room() -> None:
    assert find_edge(np.ones(1025), 4000) is None
    assert find_edge(np.zeros(1025), 22050) is None


# --- level and floor --------------------------------------------------------------------------------------------------


def test_level_is_that_of_the_sound_without_silence_and_offset() -> None:
    samples = np.full(4 * MODEL_RATE, 0.2, np.float32)
    samples[: 2 * MODEL_RATE] += 0.1 * np.random.default_rng(0).standard_normal(2 * MODEL_RATE).astype(np.float32)
    found = measure(samples, MODEL_RATE)
    assert found.level_db == pytest.approx(-20, abs=0.1)
    assert found.above_floor_db < 1


def test_a_floor_in_a_fifth_of_the_time_counts() -> None:
    samples = 0.1 * np.random.default_rng(0).standard_normal(10 * MODEL_RATE).astype(np.float32)
    samples[: 2 * MODEL_RATE] *= 0.01
    found = measure(samples, MODEL_RATE)
    assert found.level_db == pytest.approx(-21, abs=0.1)
    assert found.above_floor_db == pytest.approx(39, abs=0.7)


def test_gain_changes_the_level_only() -> None:
    samples = falling(3)
    one, other = measure(samples), measure(samples * np.float32(0.1))
    assert other.level_db - one.level_db == pytest.approx(-20, abs=0.01)
    assert other.above_floor_db == pytest.approx(one.above_floor_db, abs=0.51)
    assert other.bandwidth_hz == one.bandwidth_hz


def test_digital_silence_measures_nothing() -> None:
    meter = RangeMeter(MODEL_RATE)
    assert meter.measures() is None
    meter.push(np.zeros(3 * MODEL_RATE, np.float32))
    assert meter.measures() is None


@pytest.mark.parametrize("block", [97, 999, 5513, 88_199])
def test_nothing_depends_on_the_blocks(block: int) -> None:
    samples = np.asarray(soxr.resample(falling(3, seconds=5), RATE, MODEL_RATE), np.float32)
    samples[:20_000] = 0
    whole, cut = RangeMeter(MODEL_RATE), RangeMeter(MODEL_RATE)
    whole.push(samples)
    for at in range(0, len(samples), block):
        cut.push(samples[at : at + block])
        if at % 7 == 3:
            cut.measures()
    assert whole.measures() == cut.measures()
