"""Frame grids and the short-time Fourier transform as a stream: push blocks of any size, flush at the end.

Every stream gives bit-identical results for every way of cutting its input into blocks.
"""

from typing import no_type_check

import numba
import numpy as np
import scipy.fft
from jaxtyping import Complex, Complex128, Float, Float32, Float64

from soundscene.signal.windows import ROWS, mirror


class SampleQueue:
    """Hold samples [row, sample] from `start` to `end`, counted from the start of the recording.

    Memory depends on what it holds, not on what has passed. Appending takes constant time per sample on average.
    """

    def __init__(self, rows: int) -> None:
        self.start = 0
        self.end = 0
        self._first = 0  # where sample `start` lies in _held
        self._held = np.empty((rows, 1024), np.float32)

    def append(self, block: Float32[np.ndarray, "row sample"]) -> None:
        """Add samples at the end."""
        size = self.end - self.start
        new = block.shape[1]
        if self._first + size + new > self._held.shape[1]:
            # Move to the front only into a buffer at least twice as large as its content: else a queue that is nearly
            # full would be moved for every sample, and one-sample pushes would cost quadratic time.
            capacity = max(self._held.shape[1], 2 * (size + new))
            moved = np.empty((self._held.shape[0], capacity), np.float32)
            moved[:, :size] = self._held[:, self._first : self._first + size]
            self._held, self._first = moved, 0
        at = self._first + size
        self._held[:, at : at + new] = block
        self.end += new

    def view(self, start: int, stop: int) -> Float32[np.ndarray, "row sample"]:
        """Return samples start .. stop - 1, all of which must be held, valid until the next `append`.

        Args:
            start: First sample, counted from the start of the recording.
            stop: Sample after the last one.
        """
        at = self._first + start - self.start
        return self._held[:, at : at + stop - start]

    def drop(self, start: int) -> None:
        """Forget the samples before `start`."""
        start = min(max(start, self.start), self.end)
        self._first += start - self.start
        self.start = start


class StftStream:
    """Compute spectra [frame, bin] of frames that begin at sample 0, hop, 2 hop, ...

    Args:
        window: The taps, at least 2 hop of them; bins = window / 2 + 1, without zero padding.
        hop: Samples between frames.
    """

    def __init__(self, window: Float64[np.ndarray, " tap"], hop: int) -> None:
        self._window = window
        self._hop = hop
        self._next = 0  # first sample of the next frame
        self._queue = SampleQueue(1)
        self._rows = np.zeros((0, len(window)))  # kept from push to push: fresh memory costs more than filling it

    def push(self, samples: Float32[np.ndarray, " sample"]) -> Complex128[np.ndarray, "frame bin"]:
        """Return the spectra of the frames that these samples complete."""
        self._queue.append(samples[None])
        taps = len(self._window)
        n = max(0, (self._queue.end - self._next - taps) // self._hop + 1)
        if n == 0:
            return np.empty((0, taps // 2 + 1), np.complex128)
        stop = self._next + (n - 1) * self._hop + taps
        spectra = self._spectra(self._queue.view(self._next, stop)[0], n)
        self._next += n * self._hop
        self._queue.drop(self._next)
        return spectra

    def flush(self) -> Complex128[np.ndarray, "frame bin"]:
        """Return the spectrum of one more frame, completed by reflection, if a sample lies in no frame yet; else none."""
        taps = len(self._window)
        covered = self._next - self._hop + taps if self._next else 0
        total = self._queue.end
        if total <= covered:
            return np.empty((0, taps // 2 + 1), np.complex128)
        # At least half of this frame is there (hop <= taps / 2), so its mirror image needs no sample dropped before.
        rest = self._queue.view(self._next, total)[0]
        return self._spectra(rest[mirror(0, taps, len(rest))], 1)

    def _spectra(self, samples: Float32[np.ndarray, " sample"], n: int) -> Complex128[np.ndarray, "frame bin"]:
        rows = -(-n // ROWS) * ROWS  # n rounded up
        if len(self._rows) < rows:
            self._rows = np.zeros((rows, len(self._window)))
        cut_frames(samples, self._window, self._hop, self._rows[:n])
        return np.asarray(scipy.fft.rfft(self._rows[:rows]))[:n]  # the rows after n hold earlier frames and are ignored


class OverlapAddStream:
    """Reconstruct samples from spectra of frames that overlap by one half: the inverse of `StftStream`.

    Each output sample is the sum of the two frames that hold it.

    Args:
        window: The taps, an even number.
    """

    def __init__(self, window: Float64[np.ndarray, " tap"]) -> None:
        self._window = window
        self._hop = len(window) // 2
        self._tail = np.zeros(self._hop)
        self._rows = np.zeros((0, len(window) // 2 + 1), np.complex128)

    def push(self, spectra: Complex128[np.ndarray, "frame bin"]) -> Float64[np.ndarray, " sample"]:
        """Return the samples that no later frame can change: hop for each frame."""
        n = len(spectra)
        rows = -(-n // ROWS) * ROWS
        if len(self._rows) < rows:
            self._rows = np.zeros((rows, spectra.shape[1]), np.complex128)
        self._rows[:n] = spectra
        frames = np.asarray(scipy.fft.irfft(self._rows[:rows], len(self._window)))
        samples = np.empty(n * self._hop)
        _overlap_add(frames, self._window, self._tail, samples)
        return samples

    def flush(self) -> Float64[np.ndarray, " sample"]:
        """Return the second half of the last frame."""
        return self._tail.copy()


def power(spectra: Complex[np.ndarray, "*frame bin"]) -> Float[np.ndarray, "*frame bin"]:
    """Return `|X|^2` of complex spectra, unscaled."""
    out = np.empty(spectra.shape, np.real(spectra).dtype)
    _power(spectra.reshape(-1), out.reshape(-1))
    return out


# Compiled loops, because each numpy call over a batch of frames writes memory that the next one has to fetch again.
@numba.njit(cache=True, nogil=True)
@no_type_check
def cut_frames(samples, window, hop, frames):
    """Write frames[t, i] = samples[hop t + i] window[i], for as many taps as the window has.

    Args:
        samples: [sample], as many as the frames need.
        window: [tap].
        hop: Samples between frames.
        frames: Output [frame, bin >= tap]; columns beyond the window stay as they are.
    """
    for t in range(len(frames)):
        for i in range(len(window)):
            frames[t, i] = samples[hop * t + i] * window[i]


@numba.njit(cache=True, nogil=True)
@no_type_check
def _overlap_add(frames, window, tail, samples):
    hop = len(tail)
    for t in range(len(samples) // hop):
        for i in range(hop):
            samples[t * hop + i] = frames[t, i] * window[i] + tail[i]
        for i in range(hop):  # the second half waits for the next frame
            tail[i] = frames[t, hop + i] * window[hop + i]


@numba.njit(cache=True, nogil=True)
@no_type_check
def _power(spectra, out):
    for i in range(len(out)):
        out[i] = spectra[i].real * spectra[i].real + spectra[i].imag * spectra[i].imag
