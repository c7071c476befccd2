"""Constant-Q magnitudes: bands where they belong, slices of equal time, and nothing for silence."""

import numpy as np
import pytest

from soundscene.systems.constant_q import FINE, ConstantQ, hop_samples, levels, magnitudes, n_bands, slices
from tests.support.tiny import RATE


@pytest.mark.parametrize("settings", [ConstantQ(), FINE])
@pytest.mark.parametrize("frequency_hz", [110.0, 1760.0])
def test_a_tone_is_strongest_in_its_band(settings: ConstantQ, frequency_hz: float) -> None:
    tone = np.sin(2 * np.pi * frequency_hz * np.arange(3 * RATE) / RATE).astype(np.float32)
    magnitude = magnitudes(tone, RATE, settings)
    band = settings.bands_per_octave * np.log2(frequency_hz / settings.low_hz)
    assert magnitude.shape[0] == n_bands(RATE, settings)
    assert magnitude.mean(axis=1).argmax() == pytest.approx(band, abs=0.5 + 1e-6)


def test_levels_are_those_below_the_peak_whatever_the_gain() -> None:
    magnitude = np.array([[1.0, 0.1], [1e-3, 1e-9]])
    assert levels(magnitude, 80.0) == pytest.approx(np.array([[1, 0.75], [0.25, 0.0]]))
    assert levels(1e-3 * magnitude, 80.0) == pytest.approx(levels(magnitude, 80.0))
    assert not levels(np.zeros((2, 3)), 80.0).any()


@pytest.mark.parametrize(("seconds", "n"), [(10.0, 20), (30.0, 60), (9.7, 19), (9.8, 20), (0.1, 1)])
def test_slices_are_half_a_second_each_and_average_it(seconds: float, n: int) -> None:
    frame_s = hop_samples(RATE, FINE) / RATE
    n_frames = 1 + int(seconds * RATE) // hop_samples(RATE, FINE)
    at_s = np.arange(n_frames) * frame_s
    ramp = np.stack([at_s, np.ones(n_frames)])  # the time itself, so that a slice's mean is the middle of the slice
    found = slices(ramp, frame_s, 0.5)
    assert found.shape == (n, 2)
    assert found[:, 1] == pytest.approx(1.0)
    if n > 1:
        assert found[:-1, 0] == pytest.approx(0.25 + 0.5 * np.arange(n - 1), abs=frame_s)
