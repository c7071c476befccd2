"""What a recording is like as a signal, whatever its header says: bandwidth, level, and how far it stands above its floor.

A file of 44.1 kHz may hold nothing above 8 kHz: a codec or a resampler has cut it. Such an edge is steep, and beneath it the
spectrum stands well above all that is beyond it. Sound that is merely dull falls smoothly, and a narrow sound, such as that
of crickets, has the same floor on both sides. See docs/decisions/0097-notes-by-what-is-measured.md.
"""

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import scipy.fft
from jaxtyping import Complex64, Float32, Float64, Int64

from soundscene.signal.windows import ROWS, hann
from soundscene.types import Samples

N_FFT = 2048
PIECE_S = 0.5  # one spectrum is taken of each piece, where it is loudest
_FRAMES = 10  # of a piece, whose powers are compared
_STEP_DB = 0.5  # of the histogram of levels
_LOWEST_DB, _HIGHEST_DB = -160.0, 240.0
_FLOOR, _MOST_ZERO = 0.1, 0.5  # share of the frames below the floor; of a frame that may be digital silence
_LOW_HZ = 600.0  # beneath it an edge is not looked for, and high-passed sound does not count as a gap
_FIRST_HZ = 1800.0  # lowest edge that is looked for
_SMOOTH_HZ = 150.0
_TRANSITION = 0.15  # share of its frequency within which an edge falls: resamplers take up to a tenth
_DROP_DB = 15.0  # smooth sound of 24 dB an octave falls by 5 within the transition
_FULL = 0.88  # share of half the rate that counts as all: resamplers leave out the rest
_SILENT = 10 ** (_LOWEST_DB / 10)
_ROUNDING = 1e-6  # of float32, in the sum of squares
_TINY = 1e-30
_MIRROR_RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000)  # that crude resamplers start from
_MIRROR_HZ = 1200.0  # on either side of the mirror that is compared
_FINE = 4  # bins on either side, from whose mean the fine structure is the rest
_MIRRORED = 0.6  # correlation; 110 bins of noise have one of 0.14, rarely
_NOT_ELSEWHERE = 0.3  # by which it must be better than about other frequencies: a comb of harmonics has many mirrors


@dataclass(frozen=True)
class Measures:
    """What was measured of a recording.

    Attributes:
        bandwidth_hz: Frequency of the edge above which there is nothing; half the sample rate where there is no edge.
        level_db: Root mean square, dB of full scale, without digital silence and constant offset.
        above_floor_db: That level over the one that a tenth of the recording's frames lie below.
    """

    bandwidth_hz: float
    level_db: float
    above_floor_db: float


class RangeMeter:
    """Measure mono samples of any length in constant memory; nothing depends on how they are cut into blocks.

    Args:
        sample_rate: Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._frame = max(1, round(PIECE_S * sample_rate / _FRAMES))
        self._piece = max(_FRAMES * self._frame, N_FFT)
        self._taps = hann(N_FFT).astype(np.float32)
        self._held = np.zeros(ROWS * self._piece, np.float32)  # as many spectra as are computed at once
        self._n_held = 0
        self._rows = np.zeros((ROWS, N_FFT), np.float32)
        self._levels = np.zeros(round((_HIGHEST_DB - _LOWEST_DB) / _STEP_DB), np.int64)
        self._power, self._n_frames = 0.0, 0
        self._spectrum = np.zeros(N_FFT // 2 + 1)
        self.n_pieces = 0  # with sound

    def push(self, samples: Samples) -> None:
        """Measure the next samples; what fills no piece at the end is not measured."""
        at = 0
        while at < len(samples):
            taken = samples[at : at + len(self._held) - self._n_held]
            self._held[self._n_held : self._n_held + len(taken)] = taken
            self._n_held += len(taken)
            at += len(taken)
            if self._n_held == len(self._held):
                self._measure_held()

    def measures(self) -> Measures | None:
        """Return what is known so far; None if nothing but digital silence has been heard."""
        self._measure_held()
        if not self._n_frames:
            return None
        level = 10 * np.log10(self._power / self._n_frames)
        # The middle of the step in which the floor lies; a recording of one level has it half a step off at most.
        below = np.searchsorted(np.cumsum(self._levels), _FLOOR * self._n_frames, side="right")
        floor = _LOWEST_DB + (below + 0.5) * _STEP_DB
        edges = (find_edge(self._spectrum, self._rate), find_mirror(self._spectrum, self._rate))
        bandwidth = min((edge for edge in edges if edge is not None), default=self._rate / 2)
        return Measures(bandwidth, float(level), float(max(0.0, level - floor)))

    def _measure_held(self) -> None:
        whole = self._n_held // self._piece * self._piece
        if not whole:
            return
        self._measure(self._held[:whole].reshape(-1, self._piece))
        rest = self._n_held - whole
        self._held[:rest] = self._held[whole : self._n_held].copy()
        self._n_held = rest

    def _measure(self, pieces: Float32[np.ndarray, "piece sample"]) -> None:
        frames = pieces[:, : _FRAMES * self._frame].reshape(len(pieces), _FRAMES, self._frame)
        power = np.einsum("pfs,pfs->pf", frames, frames).astype(np.float64) / self._frame
        offset = np.square(np.einsum("pfs->pf", frames).astype(np.float64) / self._frame)
        power -= offset  # a constant is no sound
        sounding = power > _SILENT + _ROUNDING * offset
        heard = sounding.any(axis=1)
        if not heard.any():
            return
        power[~sounding] = 0.0
        level = (10 * np.log10(power[sounding]) - _LOWEST_DB) / _STEP_DB
        np.add.at(self._levels, np.minimum(level.astype(np.int64), len(self._levels) - 1), 1)
        for of_piece in power.sum(axis=1).tolist():  # one by one, as below: a sum of sums would depend on the blocks
            self._power += of_piece
        self._n_frames += int(np.count_nonzero(sounding))
        self._add_spectra(pieces[heard], power[heard].argmax(axis=1))

    def _add_spectra(self, pieces: Float32[np.ndarray, "piece sample"], loudest: Int64[np.ndarray, " piece"]) -> None:
        """Add the power spectrum about the loudest frame of each piece."""
        first = np.clip(loudest * self._frame + self._frame // 2 - N_FFT // 2, 0, self._piece - N_FFT)
        for row, piece, at in zip(self._rows, pieces, first.tolist(), strict=False):
            np.multiply(piece[at : at + N_FFT], self._taps, out=row)
        # the rows after those of the pieces hold earlier ones and are ignored
        spectra: Complex64[np.ndarray, "piece bin"] = np.asarray(scipy.fft.rfft(self._rows))[: len(pieces)]
        for spectrum in np.square(np.real(spectra)) + np.square(np.imag(spectra)):
            self._spectrum += spectrum
        self.n_pieces += len(pieces)


def metered(blocks: Generator[Samples, None, None], meter: RangeMeter) -> Generator[Samples, None, None]:
    """Yield the same blocks, measured on their way.

    Args:
        blocks: Mono samples at the meter's rate; closed at the end.
        meter: Receives them.
    """
    with closing(blocks):
        for block in blocks:
            meter.push(block)
            yield block


def find_edge(power: Float64[np.ndarray, " bin"], sample_rate: int) -> float | None:
    """Find the frequency at which a codec, a resampler or a filter has cut a recording.

    With B(f) the least level from 600 Hz to f, and A(f) the greatest from f to 0.88 of half the rate, there is an edge at f
    if B(0.85 f) - A(f) is 15 dB or more: all that is beneath stands above all that is beyond.

    Args:
        power: Long-term power spectrum [bin], bins from zero to half the rate.
        sample_rate: Hz.

    Returns:
        The frequency (Hz) above which it stays 15 dB below all beneath; None if there is no edge.
    """
    step_hz = sample_rate / 2 / (len(power) - 1)
    level = 10 * np.log10(np.maximum(_smooth(power, round(_SMOOTH_HZ / step_hz) // 2), _TINY))
    low, first = round(_LOW_HZ / step_hz), round(_FIRST_HZ / step_hz)
    last = round(_FULL * (len(power) - 1))
    if last <= first:
        return None
    least = np.minimum.accumulate(level[low:last])
    most = np.maximum.accumulate(level[:last][::-1])[::-1]
    at = np.arange(first, last)
    under = np.maximum(np.round((1 - _TRANSITION) * at).astype(np.int64), low)
    drop = least[under - low] - most[at]
    best = int(np.argmax(drop))
    if drop[best] < _DROP_DB:
        return None
    # Where it is: 15 dB below the least beneath. Half-way down would be high in the skirt of a filter that falls by 200 dB.
    beneath = np.flatnonzero(level[low : at[best] + 1] >= least[under[best] - low] - _DROP_DB)
    return float((low + beneath[-1]) * step_hz)


def find_mirror(power: Float64[np.ndarray, " bin"], sample_rate: int) -> float | None:
    """Find the frequency about which a spectrum is mirrored, as linear interpolation between samples leaves it.

    There is no edge then: what is below half the old rate is repeated above it, weaker. Noise that is averaged over time
    keeps a fine structure, which has no mirror in sound that was recorded.

    Args:
        power: Long-term power spectrum [bin], bins from zero to half the rate.
        sample_rate: Hz.

    Returns:
        Half the old rate (Hz), None if there is no mirror about half of a usual rate.
    """
    step_hz = sample_rate / 2 / (len(power) - 1)
    reach = round(_MIRROR_HZ / step_hz)
    level = 10 * np.log10(power + _TINY)
    fine = level - _smooth(level, _FINE)
    around = np.arange(-2 * reach // 3, 2 * reach // 3)  # other centres, in half bins
    centres = {rate: round(rate / step_hz) for rate in _MIRROR_RATES_HZ}  # twice the bin: of two mirrored bins, the sum
    centres = {
        rate: centre
        for rate, centre in centres.items()
        if centre // 2 >= 2 * reach and rate <= _FULL * sample_rate and (centre + 1) // 2 + 2 * reach < len(power)
    }
    if not centres:
        return None
    near = np.add.outer([*centres.values()], [-1, 0, 1])
    for (rate, centre), at in zip(
        centres.items(), _mirrored(fine, near.ravel(), reach).reshape(-1, 3).max(axis=1), strict=True
    ):
        if at < _MIRRORED:
            continue
        elsewhere = _mirrored(fine, centre + around[np.abs(around) > 6], reach).max()
        if at > elsewhere + _NOT_ELSEWHERE:
            return rate / 2
    return None


def _mirrored(
    fine: Float64[np.ndarray, " bin"], totals: Int64[np.ndarray, " centre"], reach: int
) -> Float64[np.ndarray, " centre"]:
    """Correlate a spectrum with its mirror image about bin total / 2; bins beside the mirror are their own neighbours."""
    above = totals[:, None] // 2 + np.arange(5, reach)
    one, other = fine[above], fine[totals[:, None] - above]
    one -= one.mean(axis=1, keepdims=True)
    other -= other.mean(axis=1, keepdims=True)
    size = np.sqrt(np.einsum("cb,cb->c", one, one) * np.einsum("cb,cb->c", other, other))
    return np.divide(np.einsum("cb,cb->c", one, other), size, out=np.zeros(len(size)), where=size > 0)


def _smooth(values: Float64[np.ndarray, " bin"], half: int) -> Float64[np.ndarray, " bin"]:
    """Average each bin with `half` others on either side."""
    total = np.concatenate([np.zeros(1), np.cumsum(values)])
    i = np.arange(len(values))
    first, stop = np.maximum(i - half, 0), np.minimum(i + half + 1, len(values))
    return (total[stop] - total[first]) / (stop - first)
