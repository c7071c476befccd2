import numpy as np
import pytest

from soundscene.errors import RecipeError
from soundscene.signal.noise import TwoChannelStream, noise_window, subtraction_gain, two_channels
from tests.golden import RATE, arrays, wave


def level_db(samples: np.ndarray) -> float:
    return 10 * np.log10(float(np.mean(np.square(samples, dtype=np.float64))))


@pytest.mark.parametrize("name", ["default_16ms", "mag_50ms"])
def test_gain_is_the_references(name):
    reference = arrays("specsub_scene")
    gain = subtraction_gain(reference[f"{name}_yp"], reference[f"{name}_dp"])
    np.testing.assert_allclose(gain, reference[f"{name}_gain"], rtol=0, atol=1e-12)


def test_wave_is_the_references_at_706_samples():
    reference = arrays("specsub_scene")["default_16ms_ss"]
    cleaned = two_channels(wave("scene"), RATE, window=706, hop=353)[1]
    np.testing.assert_allclose(cleaned[: len(reference)], reference, rtol=0, atol=1e-6)


def test_wave_is_the_references_at_1102_samples_up_to_the_reflected_last_frame():
    reference = arrays("specsub_scene")["mag_50ms_ss_end"]
    cleaned = two_channels(wave("scene"), RATE, hop=551)[1]
    assert len(cleaned) == len(wave("scene"))
    np.testing.assert_allclose(cleaned[-len(reference) :], reference, rtol=0, atol=1e-6)


def test_windows_of_704_and_706_give_nearly_the_same():
    samples = wave("scene")
    ours, reference = two_channels(samples, RATE)[1], two_channels(samples, RATE, window=706, hop=353)[1]
    assert level_db(ours - reference) < level_db(reference) - 15
    assert abs(level_db(ours) - level_db(reference)) < 0.1


@pytest.mark.parametrize(("rate", "window"), [(8000, 256), (16000, 512), (22050, 704), (44100, 1408), (48000, 1536)])
def test_window_is_32_ms_with_a_fast_fft_at_every_rate(rate, window):
    assert noise_window(rate) == window
    rows = two_channels(np.ones(rate // 10, np.float32), rate)
    assert rows.shape == (2, rate // 10)


@pytest.mark.parametrize("n", [0, 1, 351, 352, 353, 703, 704, 705, 1056, 44100, 50_001])
def test_output_is_as_long_as_the_input_and_row_0_is_the_input(n):
    samples = np.random.default_rng(n).uniform(-1, 1, n).astype(np.float32)
    rows = two_channels(samples, RATE)
    assert rows.shape == (2, n)
    np.testing.assert_array_equal(rows[0], samples)
    assert np.isfinite(rows).all()


def test_white_noise_sinks_and_a_short_tone_survives():
    rng = np.random.default_rng(7)
    t = np.arange(6 * RATE) / RATE
    burst = (t > 3) & (t < 3.5)
    samples = rng.normal(0, 0.01, len(t)) + burst * 0.1 * np.sin(2 * np.pi * 1000 * t)
    recorded, cleaned = two_channels(samples.astype(np.float32), RATE)
    inside, outside = slice(round(3.05 * RATE), round(3.45 * RATE)), slice(4 * RATE, 6 * RATE)
    assert abs(level_db(cleaned[inside]) - level_db(recorded[inside])) < 0.5
    assert -20 < level_db(cleaned[outside]) - level_db(recorded[outside]) < -14


def test_a_tone_that_never_ends_is_background_and_sinks_to_the_residue():
    tone = (0.1 * np.sin(2 * np.pi * 1000 * np.arange(6 * RATE) / RATE)).astype(np.float32)
    recorded, cleaned = two_channels(tone, RATE)
    tail = slice(3 * RATE, 5 * RATE)
    assert level_db(cleaned[tail]) - level_db(recorded[tail]) == pytest.approx(-20, abs=0.6)  # RESIDUE = 0.01 of the power


def test_silence_stays_silent_and_a_dropout_does_no_harm():
    assert not two_channels(np.zeros(30_000, np.float32), RATE).any()
    samples = wave("scene").copy()
    samples[60_000:70_000] = 0
    cleaned = two_channels(samples, RATE)[1]
    assert np.isfinite(cleaned).all()
    assert not cleaned[60_000 + 704 : 70_000 - 704].any()
    assert level_db(cleaned) <= level_db(samples)


def test_gain_lies_between_the_residue_and_one():
    rng = np.random.default_rng(8)
    power, noise = rng.exponential(size=(2, 50, 30))
    power[3], power[4, 5], noise[6] = 0, 0, 0
    gain = subtraction_gain(power, noise)
    assert (gain >= 0).all()
    assert (gain <= 1).all()
    np.testing.assert_array_equal(gain[6], 1)  # no noise: nothing is taken away


def test_scaling_the_recording_scales_both_rows():
    samples = wave("scene")[:88_200]
    np.testing.assert_allclose(
        two_channels(samples * np.float32(0.125), RATE), two_channels(samples, RATE) / 8, rtol=1e-5, atol=1e-9
    )


@pytest.mark.parametrize("seed", range(3))
def test_any_cut_into_blocks_is_bit_identical(seed):
    samples = wave("scene")[:120_000]
    whole = two_channels(samples, RATE)
    stream, at, pieces = TwoChannelStream(RATE, 704, 352), 0, []
    rng = np.random.default_rng(seed)
    while at < len(samples):
        n = int(10 ** rng.uniform(0, 4.7))
        pieces.append(stream.push(samples[at : at + n]))
        at += n
        assert sum(piece.shape[1] for piece in pieces) > min(at, len(samples)) - 704  # at most one window late
    np.testing.assert_array_equal(np.concatenate([*pieces, stream.flush()], axis=1), whole)


def test_other_overlaps_are_refused():
    with pytest.raises(RecipeError, match=r"overlap by one half \(window = 2 hop\), got window 704, hop 176"):
        two_channels(np.zeros(1000, np.float32), RATE, window=704, hop=176)
