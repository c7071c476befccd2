"""The time of a file's samples: they are counted, brought to one rate, and silence stands where sound is missing."""

from collections.abc import Iterator

import numpy as np
import soxr
from jaxtyping import Float32

from soundscene.audio.containers import Part

_SILENCE = 1 << 14  # samples of each channel that are yielded at once
_MOST_SILENCE_S = 600.0  # that a file's gaps are filled with: a damaged time stamp may claim years
_MOST_GAPS = 3  # that have a note each

Blocks = Iterator[Float32[np.ndarray, "sample channel"]]


class SampleClock:
    """Counts the samples of a file, fills what is missing with silence, and says so.

    Args:
        rate: Of the samples, Hz.
        notes: Receives what is noted.
    """

    def __init__(self, rate: int, notes: list[str]) -> None:
        self.rate, self.notes = rate, notes
        self.n = 0
        self._filled_s = self._more_s = 0.0
        self._n_gaps = 0

    @property
    def now_s(self) -> float:
        """Seconds of sound so far."""
        return self.n / self.rate

    def count(self, blocks: Blocks) -> Blocks:
        """Pass blocks on and count their samples."""
        for block in blocks:
            self.n += len(block)
            yield block

    def place(self, part: Part, blocks: Blocks) -> Blocks:
        """Pass the blocks of a part on, and note what its container says of its beginning and end.

        Args:
            part: Of the file.
            blocks: Its blocks.
        """
        if part.before:
            self.notes.append(part.before.format(s=f"{self.now_s:.2f} s"))
        yield from self.end(part, self.count(blocks))

    def end(self, part: Part, blocks: Blocks) -> Blocks:
        """Pass on the blocks of a part that are counted already, and note what its container says of its end.

        Args:
            part: Of the file.
            blocks: Its blocks.
        """
        yield from blocks
        if part.after:
            self.notes.append(part.after.format(s=f"{self.now_s:.2f} s"))

    def gap(self, seconds: float, n_channels: int) -> Blocks:
        """Yield silence for sound that is missing, and note it.

        Args:
            seconds: Length of the gap.
            n_channels: Channels of the blocks.
        """
        start, fill = self.now_s, self._filled_s + seconds <= _MOST_SILENCE_S
        self._n_gaps += 1
        if not fill:
            self.notes.append(f"{seconds:.0f} s are missing at {start:.2f} s; left out, so what follows comes too early")
        elif self._n_gaps <= _MOST_GAPS:
            self.notes.append(f"no sound from {start:.2f} to {start + seconds:.2f} s, missing in the file; read as silence")
        else:
            self._more_s += seconds
            more = f"{self._n_gaps - _MOST_GAPS} more gaps, {self._more_s:.2f} s in all, read as silence"
            self.notes[:] = [note for note in self.notes if " more gaps, " not in note] + [more]
        left = round(seconds * self.rate) if fill else 0
        self._filled_s += seconds if fill else 0.0
        while left > 0:
            n = min(left, _SILENCE)
            self.n, left = self.n + n, left - n
            yield np.zeros((n, n_channels), np.float32)


def at_rate(blocks: Blocks, old: int, new: int) -> Blocks:
    """Resample blocks of one part to the rate of the file.

    Args:
        blocks: Of the part, of one width.
        old: Their rate, Hz.
        new: The rate of the file, Hz.
    """
    stream = None
    for block in blocks:
        stream = stream or Resampler(old, new, block.shape[1])
        yield stream.push(block)
    if stream is not None:
        yield from stream.flush()


class Resampler:
    """Resamples blocks of one rate and width to the rate of the file.

    Args:
        old: Rate of the blocks, Hz.
        new: Rate of the file, Hz.
        n_channels: Channels of the blocks.
    """

    def __init__(self, old: int, new: int, n_channels: int) -> None:
        self.setup = old, n_channels
        self._stream = soxr.ResampleStream(old, new, n_channels, dtype="float32", quality="HQ")

    def push(self, block: Float32[np.ndarray, "native channel"]) -> Float32[np.ndarray, "sample channel"]:
        """Return what is ready of the next block."""
        return self._stream.resample_chunk(np.ascontiguousarray(block))

    def flush(self) -> Blocks:
        """Yield the rest, after the last block."""
        yield self._stream.resample_chunk(np.zeros((0, self.setup[1]), np.float32), last=True)
