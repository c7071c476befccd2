"""What a backbone reads of a stream: push blocks of samples, get what is prepared of the segments that they complete."""

from collections import deque

import numpy as np

from soundscene.audio.timing import Resampler
from soundscene.backbone.encoder import Backbone
from soundscene.recipe import AudioRecipe
from soundscene.signal.frontend import BLOCK
from soundscene.signal.segments import SegmentStream, Starts, Waves
from soundscene.signal.stft import SampleQueue
from soundscene.signal.streams import check_finite, join_segments
from soundscene.types import Samples, SegmentFeatures


class BackboneSource:
    """Prepare what a backbone reads of mono samples, which it resamples if it has a rate of its own.

    Args:
        backbone: What prepares segments.
        audio: Rate of the samples, and the grid of segments.
        segment_hop_s: Seconds from one segment's start to the next, by default their length.
    """

    def __init__(self, backbone: Backbone, audio: AudioRecipe, segment_hop_s: float | None = None) -> None:
        self.backbone = backbone
        self.audio = audio
        self.segment_hop = audio.segment_samples if segment_hop_s is None else round(segment_hop_s * audio.sample_rate)

    def stream(self) -> "BackboneStream":
        """Return a new stream for one recording."""
        return BackboneStream(self)


class BackboneStream:
    """Process one recording block by block in constant memory; the division into blocks changes nothing.

    Segments are cut at the rate of the samples, as for the networks' images, so that all members of a model agree on them to
    the sample. At the backbone's rate a segment begins at the nearest sample, and waits until the resampler has given its
    end. A few samples that the resampler lacks at the end of the recording are zeros.

    Args:
        source: Backbone, rate and grid.
    """

    def __init__(self, source: BackboneSource) -> None:
        audio = source.audio
        self._backbone = source.backbone
        self._old, self._new = audio.sample_rate, source.backbone.sample_rate
        self._size = round(audio.segment_s * self._new)
        self._old_size = audio.segment_samples
        self._grid = SegmentStream(self._old, self._old_size, source.segment_hop, audio.last_piece, channels=1)
        self._resampler = Resampler(self._old, self._new, 1) if self._old != self._new else None
        self._queue = SampleQueue(1)  # at the backbone's rate
        self._waiting: deque[tuple[float, bool]] = deque()  # start and silence of segments that the grid has completed
        self._n = 0
        self._nothing = self._prepare(np.zeros((0, self._size), np.float32), [], [])

    def push(self, samples: Samples) -> SegmentFeatures:
        """Return what is prepared of the segments that these samples complete.

        Raises:
            AudioError: A sample is not finite.
        """
        pieces = []
        for at in range(0, len(samples), BLOCK):
            block = samples[at : at + BLOCK]
            check_finite(block, self._n, self._old)
            self._n += len(block)
            self._wait(*self._grid.push(block[None]))
            if self._resampler is None:
                self._queue.append(block[None])
            else:
                self._queue.append(self._resampler.push(block[:, None]).T)
            pieces.append(self._ready())
        return join_segments(pieces) if pieces else self._nothing

    def flush(self) -> SegmentFeatures:
        """Return the rest, the last segment among them; the stream cannot be used afterwards."""
        self._wait(*self._grid.flush())
        if self._resampler is not None:
            for rest in self._resampler.flush():
                self._queue.append(rest.T)
        if self._waiting:
            lacking = round(self._waiting[-1][0] * self._new) + self._size - self._queue.end
            self._queue.append(np.zeros((1, max(0, lacking)), np.float32))
        return self._ready()

    def notes(self, trained_with: int) -> tuple[str, ...]:
        """Return no note: nothing of it depends on the version of the front-end."""
        return ()

    def _wait(self, waves: Waves, start_s: Starts) -> None:
        self._waiting.extend((float(start), not wave.any()) for start, wave in zip(start_s, waves, strict=True))

    def _ready(self) -> SegmentFeatures:
        """What is prepared of the segments whose samples are there."""
        waves, start_s, silent = [], [], []
        while self._waiting and (start := round(self._waiting[0][0] * self._new)) + self._size <= self._queue.end:
            at_s, is_silent = self._waiting.popleft()
            waves.append(self._queue.view(start, start + self._size)[0].copy())
            start_s.append(at_s)
            silent.append(is_silent)
        # The last piece may reach back by a segment from the last sample that came.
        keep = (self._n - self._old_size) * self._new // self._old - 1
        first = round(self._waiting[0][0] * self._new) if self._waiting else keep
        self._queue.drop(min(keep, first))
        return self._prepare(np.stack(waves), start_s, silent) if waves else self._nothing

    def _prepare(self, waves: np.ndarray, start_s: list[float], silent: list[bool]) -> SegmentFeatures:
        prepared = self._backbone.prepare(waves)
        return SegmentFeatures((prepared,), np.array(start_s, np.float64), np.array(silent, np.bool_))
