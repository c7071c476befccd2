"""The second channel (section 2.1 of the paper): the recording without its background noise.

Noise tracking (`minimum_statistics`), spectral subtraction in the form of VOICEBOX `v_specsub` with its defaults, and
resynthesis: the paper creates the auxiliary channel from the recording, so it is a waveform that meets the same
spectrogram as the first. (Multiplying power spectra by gain^2 instead differs by 2 dB rms and digs holes of -100 dB.)
"""

import math
from typing import cast, no_type_check

import numba
import numpy as np
import scipy.fft
from jaxtyping import Complex128, Float32, Float64

from soundscene.errors import RecipeError
from soundscene.signal.minimum_statistics import POWER_FLOOR, NoiseTracker
from soundscene.signal.stft import OverlapAddStream, SampleQueue, StftStream, power
from soundscene.signal.windows import root_hamming

NOISE_HOP_S = 0.016
"""Martin's and VOICEBOX's hop, to which the constants of the subtraction belong; the window is twice as long."""

OVERSUBTRACTION = 3.0  # am: factor on the noise power at LOW_SNR_DB and below
LOW_SNR_DB, HIGH_SNR_DB = -5.0, 20.0  # al, ah: from here to there the factor falls to one
RESIDUE = 0.01  # b: share of the noise power that stays
_BATCH = 128  # frames worked on at a time: a few MB, whatever the size of a push


def noise_window(sample_rate: int) -> int:
    """Return the window length in samples, about 32 ms, whose half is a fast FFT length.

    The reference rounds to 706 = 2 x 353 at 22050 Hz, and 353 is prime, so its FFTs take 4 times as long.

    >>> noise_window(22050), noise_window(16000)
    (704, 512)
    """
    return 2 * cast(int, scipy.fft.prev_fast_len(int(NOISE_HOP_S * sample_rate)))


def subtraction_gain(
    power: Float64[np.ndarray, "frame bin"], noise: Float64[np.ndarray, "frame bin"]
) -> Float64[np.ndarray, "frame bin"]:
    """Compute the amplitude gain in [0, 1] of each frame and bin by magnitude subtraction.

    gain = max(1 - sqrt(a n / y), min(1, sqrt(b n / y))), where a grows as the signal-to-noise ratio of the frame falls.

    Args:
        power: `|X|^2` of the input, y.
        noise: `|X|^2` of its noise, n, in the same unit.

    Source: Berouti et al. (1979), as VOICEBOX `v_specsub` with g = 1, e = 1.
    """
    gain = np.empty(power.shape)
    _gain(power, noise, gain)
    return gain


@numba.njit(cache=True, error_model="numpy", nogil=True)
@no_type_check
def _gain(power, noise, gain):
    for t in range(power.shape[0]):
        sum_y = sum_n = 0.0
        for k in range(power.shape[1]):
            sum_y += power[t, k]
            sum_n += noise[t, k]
        # a: one factor a frame, linear in its SNR from 1 at 20 dB to 3 at -5 dB
        snr_db = 10 * math.log10(max(sum_y, POWER_FLOOR) / max(sum_n, POWER_FLOOR))
        snr_db = min(max(snr_db, LOW_SNR_DB), HIGH_SNR_DB)
        root_a = math.sqrt(1 + (OVERSUBTRACTION - 1) * (snr_db - HIGH_SNR_DB) / (LOW_SNR_DB - HIGH_SNR_DB))
        root_b = math.sqrt(RESIDUE)
        for k in range(power.shape[1]):
            # the first term subtracts a n, the second leaves a share of the noise, which masks musical tones
            root_v = math.sqrt(noise[t, k] / max(power[t, k], POWER_FLOOR))
            gain[t, k] = max(1 - root_a * root_v, min(1.0, root_b * root_v))


@numba.njit(cache=True, nogil=True)
@no_type_check
def _attenuate(spectra, gain):
    for t in range(gain.shape[0]):
        for k in range(gain.shape[1]):
            spectra[t, k] *= gain[t, k]


class TwoChannelStream:
    """Turn samples into [2, sample]: row 0 as recorded, row 1 noise-subtracted, one window late.

    Row 1 fades in over the first and out over the last hop (16 ms), where one frame of two is missing, as in the reference.

    Args:
        sample_rate: In Hz.
        window: Length of the noise frames in samples, 2 hop.
        hop: Samples between noise frames.
        mean_square: As in `NoiseTracker`.

    Raises:
        RecipeError: The window is not twice the hop.
    """

    def __init__(self, sample_rate: int, window: int, hop: int, mean_square: bool = False) -> None:
        if window != 2 * hop or hop < 1:
            raise RecipeError(f"noise frames must overlap by one half (window = 2 hop), got window {window}, hop {hop}")
        taps = root_hamming(window)
        self._block = _BATCH * hop
        self._spectra = StftStream(taps, hop)
        self._tracker = NoiseTracker(window // 2 + 1, hop / sample_rate, mean_square)
        self._overlap_add = OverlapAddStream(taps)
        self._waiting = SampleQueue(1)  # row 0, until row 1 is there

    @property
    def after_silence(self) -> bool:
        """Whether sound has followed digital silence, as in `NoiseTracker`."""
        return self._tracker.after_silence

    def push(self, samples: Float32[np.ndarray, " sample"]) -> Float32[np.ndarray, "2 known"]:
        """Return the samples of both rows that are now known; with the last flush they are as many as were pushed."""
        pieces = []
        for at in range(0, len(samples), self._block):
            block = samples[at : at + self._block]
            self._waiting.append(block[None])
            spectra = self._spectra.push(block)
            if len(spectra):
                pieces.append(self._pair(self._subtract(spectra)))
        if len(pieces) == 1:
            return pieces[0]
        return np.concatenate(pieces, axis=1) if pieces else np.empty((2, 0), np.float32)

    def flush(self) -> Float32[np.ndarray, "2 known"]:
        """Return the rest of both rows."""
        last = self._subtract(self._spectra.flush())
        return self._pair(np.concatenate([last, self._overlap_add.flush()]))

    def _subtract(self, spectra: Complex128[np.ndarray, "frame bin"]) -> Float64[np.ndarray, " known"]:
        y = power(spectra)
        _attenuate(spectra, subtraction_gain(y, self._tracker.push(y)))
        return self._overlap_add.push(spectra)

    def _pair(self, cleaned: Float64[np.ndarray, " cleaned"]) -> Float32[np.ndarray, "2 known"]:
        start = self._waiting.start
        n = min(len(cleaned), self._waiting.end - start)
        pair = np.empty((2, n), np.float32)
        pair[0] = self._waiting.view(start, start + n)[0]
        pair[1] = cleaned[:n]
        self._waiting.drop(start + n)
        return pair


def two_channels(
    samples: Float32[np.ndarray, " sample"], sample_rate: int, *, window: int | None = None, hop: int | None = None
) -> Float32[np.ndarray, "2 sample"]:
    """Return a whole recording and the same recording without its background noise, equally long.

    Args:
        samples: Mono, nominally in [-1, 1].
        sample_rate: In Hz.
        window: Length of the noise frames in samples, 2 hop; by default about 32 ms, 704 at 22050 Hz.
        hop: Samples between noise frames, by default half the window.

    Raises:
        RecipeError: The frames overlap by another share than one half.
    """
    window = window or (2 * hop if hop else noise_window(sample_rate))
    stream = TwoChannelStream(sample_rate, window, hop or window // 2)
    return np.concatenate([stream.push(samples), stream.flush()], axis=1)
