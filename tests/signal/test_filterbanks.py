import librosa
import numpy as np
import pytest
import scipy.signal

from soundscene.errors import RecipeError
from soundscene.signal.filterbanks import (
    gammatone_centres_hz,
    gammatone_filters,
    hz_to_mel,
    mel_centres_hz,
    mel_filters,
    mel_to_hz,
)
from tests.golden import RATE, arrays, wave
from tests.signal.reference import db, plain_power, rms


@pytest.mark.parametrize("n_fft", [1102, 2048])
def test_mel_matrix_is_librosas_golden(n_fft):
    reference = arrays("logmel")[f"fb_librosa_n{n_fft}_slaney_slaney"]
    np.testing.assert_allclose(mel_filters(RATE, n_fft, 64, 50.0), reference, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("rate", "n_fft", "n_bands", "low", "high"),
    [(22050, 2048, 64, 50, None), (16000, 512, 40, 20, 7600), (48000, 4096, 128, 0, None)],
)
def test_mel_matrix_is_librosas_live(rate, n_fft, n_bands, low, high):
    reference = librosa.filters.mel(sr=rate, n_fft=n_fft, n_mels=n_bands, fmin=low, fmax=high, dtype=np.float64)
    ours = mel_filters(rate, n_fft, n_bands, float(low), None if high is None else float(high))
    np.testing.assert_allclose(ours, reference, rtol=0, atol=1e-12)


@pytest.mark.parametrize("signal", ["scene2s", "white2s", "chirp2s"])
def test_mel_power_is_librosas(signal):
    reference = arrays("logmel")[f"mel_librosa_{signal}_n1102_nocenter_slaney_slaney"]
    power = plain_power(wave(signal), 1102, 551)
    np.testing.assert_allclose(mel_filters(RATE, 1102, 64, 50.0) @ power.T, reference, rtol=1e-8)


def test_mel_scale_knows_its_anchors_and_its_inverse():
    np.testing.assert_allclose(hz_to_mel(np.array([0.0, 1000.0, 6400.0])), [0, 15, 42], rtol=1e-12)
    hz = np.linspace(0, 11025, 200)
    np.testing.assert_allclose(mel_to_hz(hz_to_mel(hz)), hz, atol=1e-9)
    np.testing.assert_allclose(
        mel_centres_hz(64, 50.0, 11025.0), librosa.mel_frequencies(66, fmin=50, fmax=11025)[1:-1], rtol=1e-12
    )


def test_white_noise_is_flat_in_mel_because_every_triangle_has_area_one():
    areas = mel_filters(RATE, 65536, 64, 50.0).sum(axis=1) * RATE / 65536
    np.testing.assert_allclose(areas, 1, atol=1e-3)


def test_gammatone_centres_and_responses_are_slaneys():
    reference = arrays("gammatone")
    np.testing.assert_allclose(gammatone_centres_hz(RATE, 64, 50.0), reference["cf_hz"], rtol=1e-12)
    amplitude = np.sqrt(gammatone_filters(RATE, 2048, 64, 50.0))
    np.testing.assert_allclose(amplitude[:, ::2], reference["mag_nfft2048"], rtol=0, atol=1e-9)


def test_gammatone_peaks_are_one_and_rise_in_frequency():
    filters = gammatone_filters(RATE, 65536, 64, 50.0)
    np.testing.assert_allclose(filters[:60].max(axis=1), 1, atol=1e-2)  # above, the mirror image beyond Nyquist adds
    peaks = filters.argmax(axis=1) * RATE / 65536
    np.testing.assert_allclose(peaks, gammatone_centres_hz(RATE, 64, 50.0), rtol=0.02)


def cascade(band: int, samples: np.ndarray) -> np.ndarray:
    """The exact filter as four second-order sections: the slow judge."""
    a0, a11, a12, a13, a14, a2, b0, b1, b2, gain = arrays("gammatone")["fcoefs"][band]
    sections = np.array([[a0, a1, a2, b0, b1, b2] for a1 in (a11, a12, a13, a14)])
    sections[0, :3] /= gain
    return np.asarray(scipy.signal.sosfilt(sections, samples))


@pytest.mark.parametrize("band", [0, 1, 20, 40, 63])
def test_gammatone_matrix_is_the_spectrum_of_the_exact_cascades_impulse_response(band):
    impulse = np.zeros(16384)
    impulse[0] = 1
    response = np.abs(np.fft.rfft(cascade(band, impulse))) ** 2
    np.testing.assert_allclose(gammatone_filters(RATE, 16384, 64, 50.0)[band], response, rtol=0, atol=1e-9)


def hann(n: int) -> np.ndarray:
    return np.asarray(scipy.signal.get_window("hann", n))


def fft_band_power(samples: np.ndarray) -> np.ndarray:
    """Mean-square band power [band, frame] by the matrix: bins but DC and Nyquist count twice."""
    twice = np.full(1025, 2.0)
    twice[[0, -1]] = 1
    taps = hann(1102)
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), 1102)[::551] * taps
    power = np.abs(np.fft.rfft(frames, 2048)) ** 2 / (2048 * np.sum(taps**2))
    return (gammatone_filters(RATE, 2048, 64, 50.0) * twice) @ power.T


@pytest.mark.parametrize("signal", ["scene2s", "white2s"])
def test_gammatone_by_fft_is_near_the_time_domain_filterbank(signal):
    ours = db(fft_band_power(wave(signal)))
    golden = 2 * 10 * np.log10(arrays("gammatone")[f"gtgram_td_{signal}"])
    assert abs(np.median(ours - golden)) < 0.3
    assert rms(ours - golden) < 2.5

    # Window matched, and delayed by the peak of the envelope t^3 exp(-2 pi b t): 3 / (2 pi b).
    centres = gammatone_centres_hz(RATE, 64, 50.0)
    delays = np.round(3 / (2 * np.pi * 1.019 * (centres / 9.26449 + 24.7)) * RATE).astype(int)
    squares = hann(1102) ** 2
    matched = np.empty_like(ours)
    for band, delay in enumerate(delays):
        filtered = cascade(band, np.pad(wave(signal).astype(np.float64), (0, delay)))[delay:]
        matched[band] = np.lib.stride_tricks.sliding_window_view(filtered**2, 1102)[::551] @ squares / squares.sum()
    error = ours - db(matched)
    assert rms(error) < 0.8
    assert rms(error[centres > 2000]) < 0.05


@pytest.mark.parametrize("make", [mel_filters, gammatone_filters])
def test_a_chirp_climbs_the_bands_in_order(make):
    power = plain_power(np.pad(wave("chirp2s"), 0), 2048, 551)
    loudest = (make(RATE, 2048, 64, 50.0) @ power.T).argmax(axis=0)
    assert (np.diff(loudest) >= 0).all()
    assert loudest[0] < 5
    assert loudest[-1] > 58


def test_a_band_without_a_bin_is_refused():
    with pytest.raises(
        RecipeError,
        match=r"256 mel bands from 50 to 11025 Hz: band 0 at 63 Hz lies between two bins of 43.1 Hz \(n_fft = 512",
    ):
        mel_filters(RATE, 512, 256, 50.0)


@pytest.mark.parametrize(("low", "high"), [(-1.0, 5000.0), (5000.0, 5000.0), (50.0, 12000.0)])
def test_an_empty_or_impossible_range_is_refused(low, high):
    with pytest.raises(RecipeError, match=rf"bands from {low:g} to {high:g} Hz: expected 0 <= low < high <= 11025 Hz"):
        mel_filters(RATE, 2048, 64, low, high)
    with pytest.raises(RecipeError, match=r"bands from 12000 to 11025 Hz"):
        gammatone_centres_hz(RATE, 64, 12000.0)
