"""Constant-Q magnitudes of a whole recording, which several systems of Table 3 read: as levels, or averaged over slices.

The filters of the lowest octave are long (0.55 s with 8 bands an octave from 20 Hz), so a short recording is padded.
"""

import math
from dataclasses import dataclass

import librosa
import numpy as np
from jaxtyping import Float, Float64

from soundscene.types import Samples


@dataclass(frozen=True)
class ConstantQ:
    """Settings of the transform.

    Attributes:
        low_hz: Centre of the lowest band.
        bands_per_octave: Bands per octave.
        hop_s: Seconds from one frame to the next, rounded to a power of two in samples.
        edge: Upper edge of the top band over its centre, which must stay below half the sample rate.
        shortest_s: Shorter recordings are padded with zeros at their end, because the lowest filters do not fit.
    """

    low_hz: float = 20.0
    bands_per_octave: int = 8
    hop_s: float = 0.023
    edge: float = 1.1
    shortest_s: float = 1.5


FINE = ConstantQ(low_hz=32.7, bands_per_octave=24, edge=1.05, shortest_s=3.0)
"""24 bands an octave from C1: 200 bands at 22,050 Hz. `shortest_s` is 2.7 lengths of the lowest filter, as for 8 bands."""


def n_bands(sample_rate: int, settings: ConstantQ) -> int:
    """Return the number of bands that fit below half the sample rate.

    Args:
        sample_rate: In Hz.
        settings: Of the transform.

    >>> n_bands(22050, ConstantQ()), n_bands(22050, FINE)
    (72, 200)
    """
    octaves = math.log2(sample_rate / 2 / settings.edge / settings.low_hz)
    return math.floor(octaves * settings.bands_per_octave) + 1


def hop_samples(sample_rate: int, settings: ConstantQ) -> int:
    """Return samples from one frame to the next: a power of two, because librosa halves it from octave to octave.

    Args:
        sample_rate: In Hz.
        settings: Of the transform.

    >>> hop_samples(22050, ConstantQ())
    512
    """
    return 2 ** round(math.log2(settings.hop_s * sample_rate))


def magnitudes(samples: Samples, sample_rate: int, settings: ConstantQ) -> Float64[np.ndarray, "band frame"]:
    """Compute the magnitudes of the constant-Q transform of a recording.

    Args:
        samples: Mono samples.
        sample_rate: Sample rate in Hz.
        settings: Of the transform.

    Returns:
        Low bands first; a frame every `hop_samples`.
    """
    shortest = math.ceil(settings.shortest_s * sample_rate)
    if len(samples) < shortest:
        samples = np.pad(samples, (0, shortest - len(samples)))
    return np.abs(
        librosa.cqt(
            samples,
            sr=sample_rate,
            hop_length=hop_samples(sample_rate, settings),
            fmin=settings.low_hz,
            n_bins=n_bands(sample_rate, settings),
            bins_per_octave=settings.bands_per_octave,
        )
    ).astype(np.float64)


def levels(magnitude: Float[np.ndarray, "band frame"], range_db: float) -> Float64[np.ndarray, "band frame"]:
    """Scale magnitudes to levels from `range_db` below their peak (0) to the peak (1). Digital silence is 0 throughout.

    Args:
        magnitude: Of a whole recording, so that its level does not matter.
        range_db: Level below the peak at which weaker values are clipped.
    """
    peak = magnitude.max()
    if peak == 0:
        return np.zeros(magnitude.shape)
    level_db = 20 * np.log10(np.maximum(magnitude / peak, 10 ** (-range_db / 20)))
    return 1 + level_db / range_db


def slices(magnitude: Float[np.ndarray, "band frame"], frame_s: float, slice_s: float) -> Float64[np.ndarray, "slice band"]:
    """Average magnitudes over consecutive slices of time. A last slice of less than half its frames is left out.

    Args:
        magnitude: Of a whole recording.
        frame_s: Seconds from one frame to the next.
        slice_s: Length of a slice in seconds.

    Returns:
        One row or more: a recording shorter than half a slice is one.
    """
    n_frames = magnitude.shape[1]
    number = np.floor(np.arange(n_frames) * frame_s / slice_s + 1e-9).astype(np.int64)
    starts = np.flatnonzero(np.diff(number, prepend=-1))
    if len(starts) > 1 and n_frames - starts[-1] < 0.5 * slice_s / frame_s:
        n_frames, starts = int(starts[-1]), starts[:-1]
    sums = np.add.reduceat(magnitude[:, :n_frames], starts, axis=1)
    return (sums / np.diff(starts, append=n_frames)).T
