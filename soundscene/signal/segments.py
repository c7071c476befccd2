"""Cut a stream of channels into segments of one length."""

import numpy as np
from jaxtyping import Float32, Float64

from soundscene.signal.stft import SampleQueue

Waves = Float32[np.ndarray, "segment channel segment_sample"]
Starts = Float64[np.ndarray, " segment"]


class SegmentStream:
    """Cut channels into segments [segment, channel, sample] with their start times in seconds: push, then flush at the end.

    The last segment ends with the recording, so it may overlap the one before. A recording shorter than one segment has no
    segment. Start times never decrease.

    Args:
        sample_rate: In Hz.
        samples: Length of a segment.
        hop: Samples from one start to the next, by default `samples`.
        last_piece: Share of a segment, in (0, 1], that the uncovered rest must fill to be used.
        channels: Number of channels.
    """

    def __init__(
        self, sample_rate: int, samples: int, hop: int | None = None, last_piece: float = 0.5, channels: int = 2
    ) -> None:
        self._sample_rate = sample_rate
        self._samples = samples
        self._hop = samples if hop is None else hop
        self._last_piece = last_piece
        self._channels = channels
        self._next = 0  # first sample of the next segment
        self._covered = 0  # end of the last one
        self._queue = SampleQueue(channels)
        if samples < 1 or self._hop < 1:
            raise ValueError(f"segments of {samples} samples every {self._hop}: both must be at least 1")

    def push(self, channels: Float32[np.ndarray, "channel sample"]) -> tuple[Waves, Starts]:
        """Return the segments that these samples complete."""
        self._queue.append(channels)
        starts = range(self._next, self._queue.end - self._samples + 1, self._hop)
        cut = self._cut(starts)
        if starts:
            self._next = starts[-1] + self._hop
            self._covered = starts[-1] + self._samples
        # One segment's length is kept even where the next segment begins later: the last piece may reach back so far.
        self._queue.drop(min(self._next, self._queue.end - self._samples))
        return cut

    def flush(self) -> tuple[Waves, Starts]:
        """Return the last segment, if the uncovered rest is long enough; else nothing."""
        end = self._queue.end
        rest = end - max(self._covered, self._next)  # samples that a hop longer than a segment skips do not count
        enough = end >= self._samples and rest >= self._last_piece * self._samples
        return self._cut(range(end - self._samples, end - self._samples + int(enough)))

    def _cut(self, starts: range) -> tuple[Waves, Starts]:
        waves = np.empty((len(starts), self._channels, self._samples), np.float32)
        for i, start in enumerate(starts):
            waves[i] = self._queue.view(start, start + self._samples)
        return waves, np.array(starts, np.float64) / self._sample_rate
