"""Rendered phones: vowels peak at their formants, fricatives lie in their bands, voices have their pitch."""

from itertools import pairwise

import numpy as np
import pytest

from soundscene.signal import phones
from soundscene.signal.phones import CATEGORIES, FRICATIVES, VOWELS, Speaker, render_phone, render_phones

RATE = 22050


@pytest.fixture
def average_speaker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phones.Speaker, "draw", classmethod(lambda cls, draws: Speaker(100.0, 1.0, 1.0, 0.01)))


def level_db(sound: np.ndarray, hz: float, width_hz: float = 120.0) -> float:
    power = np.abs(np.fft.rfft(sound * np.hanning(len(sound)))) ** 2
    bins = np.abs(np.fft.rfftfreq(len(sound), 1 / RATE) - hz) <= width_hz
    return float(10 * np.log10(power[bins].mean()))


@pytest.mark.parametrize("vowel", ["i", "e", "a", "æ"])
def test_a_vowel_peaks_at_its_formants(vowel: str, average_speaker: None) -> None:
    sound = render_phone(vowel, 0.5, RATE, np.random.default_rng(0))
    formants = VOWELS[vowel]
    between = [level_db(sound, (low + high) / 2) for low, high in pairwise(formants)]
    first, second, third = (level_db(sound, hz) for hz in formants)
    assert first > between[0] + 6
    assert second > max(between) + 3
    assert third > between[1] + 1


def test_a_voice_has_its_pitch_and_a_fricative_its_band(average_speaker: None) -> None:
    vowel = render_phone("a", 0.5, RATE, np.random.default_rng(0)).astype(np.float64)
    correlation = np.correlate(vowel, vowel, "full")[len(vowel) :]
    assert 150 + correlation[150:400].argmax() + 1 == pytest.approx(RATE / 100, abs=8)
    for name, (low, high, voiced) in FRICATIVES.items():
        sound = render_phone(name, 0.5, RATE, np.random.default_rng(0))
        power, hz = np.abs(np.fft.rfft(sound)) ** 2, np.fft.rfftfreq(len(sound), 1 / RATE)
        assert power[(hz > 0.8 * low) & (hz < 1.2 * high)].sum() > (0.25 if voiced else 0.8) * power.sum()
        assert (level_db(sound, 110) > level_db(sound, 700) + 3) == (voiced and low > 1000)


@pytest.mark.parametrize("rate", [8000, 48000])
def test_every_phone_is_repeatable_and_as_loud_as_the_others(rate: int) -> None:
    waves = render_phones(CATEGORIES, 2, 0.5, rate, 3)
    assert waves.shape == (64, rate // 2)
    assert np.sqrt(np.mean(waves.astype(np.float64) ** 2, axis=1)) == pytest.approx(np.full(64, 0.1), rel=1e-3)
    assert np.array_equal(waves[10:12], render_phones(CATEGORIES[5:6], 2, 0.5, rate, 3))
    assert not np.array_equal(waves[0], waves[1])
    assert not np.array_equal(waves[:2], render_phones(CATEGORIES[:1], 2, 0.5, rate, 4))
