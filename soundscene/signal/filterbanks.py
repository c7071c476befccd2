"""Mel and gammatone filters as matrices [band, bin] on the same power spectrum.

Both banks weight `|X|^2` of one FFT, so that the features differ in the filters only: a band power is `filters @ |X|^2`.
"""

import numpy as np
from jaxtyping import Float64

from soundscene.errors import RecipeError

# Slaney's mel scale: linear below 1 kHz, logarithmic above (Auditory Toolbox, 1998), as in librosa.
_HZ_PER_MEL = 200 / 3
_KNEE_HZ = 1000.0
_KNEE_MEL = _KNEE_HZ / _HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27

# Glasberg and Moore (1990): ERB(f) = f / EAR_Q + MIN_BW.
EAR_Q = 9.26449
MIN_BW = 24.7


def hz_to_mel(hz: Float64[np.ndarray, " band"]) -> Float64[np.ndarray, " band"]:
    """Convert Hz to Slaney's mel scale, 15 mel at 1 kHz.

    >>> hz_to_mel(np.array([500.0, 1000.0, 6400.0]))
    array([ 7.5, 15. , 42. ])
    """
    return np.where(hz < _KNEE_HZ, hz / _HZ_PER_MEL, _KNEE_MEL + np.log(np.maximum(hz, _KNEE_HZ) / _KNEE_HZ) / _LOG_STEP)


def mel_to_hz(mel: Float64[np.ndarray, " band"]) -> Float64[np.ndarray, " band"]:
    """Convert Slaney's mel scale to Hz, the inverse of `hz_to_mel`."""
    return np.where(
        mel < _KNEE_MEL, mel * _HZ_PER_MEL, _KNEE_HZ * np.exp(_LOG_STEP * (np.maximum(mel, _KNEE_MEL) - _KNEE_MEL))
    )


def mel_centres_hz(n_bands: int, low_hz: float, high_hz: float) -> Float64[np.ndarray, " band"]:
    """Return the centre frequencies of the mel bands, low to high.

    Args:
        n_bands: Number of bands.
        low_hz: Lower edge of the first band, Hz.
        high_hz: Upper edge of the last band, Hz.
    """
    return _mel_corners_hz(n_bands, low_hz, high_hz)[1:-1]


def mel_filters(
    sample_rate: int, n_fft: int, n_bands: int, low_hz: float, high_hz: float | None = None
) -> Float64[np.ndarray, "band bin"]:
    """Return triangles of area one (Slaney's norm, in Hz) between neighbouring centres on Slaney's mel scale.

    These are librosa's default filters.

    Args:
        sample_rate: In Hz.
        n_fft: FFT length in samples; bins = n_fft // 2 + 1.
        n_bands: Number of bands.
        low_hz: Lower edge of the first band.
        high_hz: Upper edge of the last band, by default half the sample rate.

    Raises:
        RecipeError: The range is empty, or a band is so narrow that it holds no bin.
    """
    high_hz = sample_rate / 2 if high_hz is None else high_hz
    _check_range(low_hz, high_hz, sample_rate)
    corners = _mel_corners_hz(n_bands, low_hz, high_hz)
    left, centre, right = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    hz = _bins_hz(sample_rate, n_fft)[None]
    # each triangle is the lower of its rising and its falling edge, cut at zero
    filters = np.maximum(0, np.minimum((hz - left) / (centre - left), (right - hz) / (right - centre)))
    empty = np.flatnonzero(filters.sum(axis=1) == 0)
    if len(empty):
        raise RecipeError(
            f"{n_bands} mel bands from {low_hz:g} to {high_hz:g} Hz: band {empty[0]} at {centre[empty[0], 0]:.0f} Hz lies "
            f"between two bins of {sample_rate / n_fft:.1f} Hz (n_fft = {n_fft} at {sample_rate} Hz); use fewer bands or a "
            f"larger n_fft"
        )
    return filters * (2 / (right - left))


def htk_mel_filters(
    sample_rate: int, n_fft: int, n_bands: int, low_hz: float, high_hz: float
) -> Float64[np.ndarray, "band bin"]:
    """Return triangles of height one whose edges are straight on the HTK mel scale, 1127 ln(1 + f / 700).

    These are TensorFlow's `linear_to_mel_weight_matrix`, which public AudioSet networks were trained with: edges are
    straight in mel, not in Hz, and the bin at 0 Hz belongs to no band.

    Args:
        sample_rate: In Hz.
        n_fft: FFT length in samples; bins = n_fft // 2 + 1.
        n_bands: Number of bands.
        low_hz: Lower edge of the first band.
        high_hz: Upper edge of the last band.

    Raises:
        RecipeError: The range is empty.
    """
    _check_range(low_hz, high_hz, sample_rate)
    mel = 1127 * np.log1p(_bins_hz(sample_rate, n_fft)[None] / 700)
    low, high = 1127 * np.log1p(np.array([low_hz, high_hz]) / 700)
    corners = np.linspace(low, high, n_bands + 2)
    left, centre, right = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    filters = np.maximum(0, np.minimum((mel - left) / (centre - left), (right - mel) / (right - centre)))
    filters[:, 0] = 0
    return filters


def gammatone_centres_hz(sample_rate: int, n_bands: int, low_hz: float) -> Float64[np.ndarray, " band"]:
    """Return the centre frequencies of the gammatone bands, low to high: equal ERB steps from low_hz to one below Nyquist.

    Args:
        sample_rate: In Hz.
        n_bands: Number of bands.
        low_hz: Centre of the first band, Hz.

    Source: Slaney (1993), `ERBSpace`.
    """
    _check_range(low_hz, sample_rate / 2, sample_rate)
    # ERB-rate is logarithmic in f + offset, so equal ERB steps are equal ratios of f + offset
    offset = EAR_Q * MIN_BW
    top = sample_rate / 2 + offset
    return top * np.exp(np.arange(n_bands, 0, -1) * np.log((low_hz + offset) / top) / n_bands) - offset


def gammatone_filters(sample_rate: int, n_fft: int, n_bands: int, low_hz: float) -> Float64[np.ndarray, "band bin"]:
    """Return `|H|^2` of Slaney's gammatone filters (order 4, bandwidth 1.019 ERB) at the bins, one at the centre frequency.

    A filter is four biquads with one double pole pair and four different zeros. H is evaluated factor by factor, because the
    expanded polynomial of order 8 loses all digits at 50 Hz.

    Args:
        sample_rate: In Hz.
        n_fft: FFT length in samples; bins = n_fft // 2 + 1.
        n_bands: Number of bands.
        low_hz: Centre of the first band, Hz.

    Source: Slaney (1993), "An efficient implementation of the Patterson-Holdsworth auditory filter bank".
    """
    centres = gammatone_centres_hz(sample_rate, n_bands, low_hz)[:, None]
    at_bins = _gammatone_power(centres, _bins_hz(sample_rate, n_fft)[None], sample_rate)
    return at_bins / _gammatone_power(centres, centres, sample_rate)


def _gammatone_power(
    centre_hz: Float64[np.ndarray, "band 1"], hz: Float64[np.ndarray, "_ _"], sample_rate: int
) -> Float64[np.ndarray, "band _"]:
    angle = 2 * np.pi * centre_hz / sample_rate
    radius = np.exp(-2 * np.pi * 1.019 * (centre_hz / EAR_Q + MIN_BW) / sample_rate)
    delay = np.exp(-2j * np.pi * hz / sample_rate)  # z^-1
    pole = radius * np.exp(1j * angle)
    # the pole pair, once in each of the four biquads
    response = 1 / np.abs((1 - pole * delay) * (1 - pole.conj() * delay)) ** 4
    # the zeros that differ between the biquads: Slaney's cos +- sqrt(3 +- 2^1.5) sin
    for root in (np.sqrt(3 + 2**1.5), -np.sqrt(3 + 2**1.5), np.sqrt(3 - 2**1.5), -np.sqrt(3 - 2**1.5)):
        response = response * np.abs(1 - radius * (np.cos(angle) + root * np.sin(angle)) * delay)
    return response**2


def _mel_corners_hz(n_bands: int, low_hz: float, high_hz: float) -> Float64[np.ndarray, " corner"]:
    low, high = hz_to_mel(np.array([low_hz, high_hz]))
    return mel_to_hz(np.linspace(low, high, n_bands + 2))


def _bins_hz(sample_rate: int, n_fft: int) -> Float64[np.ndarray, " bin"]:
    return np.arange(n_fft // 2 + 1) * (sample_rate / n_fft)


def _check_range(low_hz: float, high_hz: float, sample_rate: int) -> None:
    if not 0 <= low_hz < high_hz <= sample_rate / 2:
        raise RecipeError(
            f"bands from {low_hz:g} to {high_hz:g} Hz: expected 0 <= low < high <= {sample_rate / 2:g} Hz, half the sample "
            f"rate; a lower rate has fewer bands"
        )
