"""Samples -> images: the one composition that training, prediction and streams all use."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from soundscene.errors import AudioError, RecipeError
from soundscene.recipe import FRONT_END, AudioRecipe, FeatureRecipe
from soundscene.signal.features import LogSpectrogram
from soundscene.signal.memory import keep_freed_memory
from soundscene.signal.noise import TwoChannelStream
from soundscene.signal.segments import SegmentStream, Starts, Waves
from soundscene.types import Samples, SegmentImages

_BLOCK = 1 << 17  # samples worked on at a time (6 s): what a push takes beside its images does not grow with its size


class FrontEnd:
    """Compute two-channel log spectrograms of segments from mono samples (sections 2.1 and 4.2 of the paper).

    A whole recording is one push and a flush, so files, microphones and arrays take the same path.

    Args:
        audio: Sample rate, segments and noise frames.
        features: Filters, window and hop.
        segment_hop_s: Seconds from one segment's start to the next; by default segments do not overlap.
        version: Of the images, see `recipe.FRONT_END`; an earlier one only to finish what was begun with it.

    Raises:
        RecipeError: The hop is shorter than one sample, or the features do not fit the audio.
    """

    def __init__(
        self,
        audio: AudioRecipe,
        features: FeatureRecipe,
        segment_hop_s: float | None = None,
        version: int = FRONT_END,
    ) -> None:
        hop = audio.segment_samples if segment_hop_s is None else round(segment_hop_s * audio.sample_rate)
        if hop < 1:
            raise RecipeError(f"segments every {segment_hop_s} s: must be at least one sample at {audio.sample_rate} Hz")
        keep_freed_memory()
        self.audio = audio
        self.features = features
        self.segment_hop = hop
        self.version = version
        self.log_spectrogram = LogSpectrogram(audio, features)

    def __call__(self, samples: Samples) -> SegmentImages:
        """Compute the images of a whole recording; none if it is shorter than one segment."""
        stream = self.stream()
        return join_segments([stream.push(samples), stream.flush()])

    def stream(self) -> "FrontEndStream":
        """Return a new stream for one recording."""
        return FrontEndStream(self)


class FrontEndStream:
    """Process one recording block by block in constant memory, bit-identical for every division into blocks."""

    def __init__(self, front_end: FrontEnd) -> None:
        audio = front_end.audio
        self._sample_rate = audio.sample_rate
        self._log_spectrogram = front_end.log_spectrogram
        self._version = front_end.version
        self._two_channels = TwoChannelStream(
            audio.sample_rate, audio.noise_window, audio.noise_hop, mean_square=front_end.version < 2
        )
        self._segments = SegmentStream(audio.sample_rate, audio.segment_samples, front_end.segment_hop, audio.last_piece)
        self._n = 0  # samples so far
        self._flushed = False
        self._nothing = self._images(np.empty((0, 2, audio.segment_samples), np.float32), np.empty(0))

    def push(self, samples: Samples) -> SegmentImages:
        """Return the images of the segments that these samples complete.

        Raises:
            AudioError: A sample is not finite: it would stay in the noise estimate for ever.
        """
        self._open()
        pieces = []
        for at in range(0, len(samples), _BLOCK):
            block = samples[at : at + _BLOCK]
            self._check(block)
            self._n += len(block)
            channels = self._two_channels.push(block)
            if channels.shape[1] == 0:
                continue
            waves, start_s = self._segments.push(channels)
            if len(waves):
                pieces.append(self._images(waves, start_s))
        return join_segments(pieces) if pieces else self._nothing

    def flush(self) -> SegmentImages:
        """Return the images of the rest, the last segment among them; the stream cannot be used afterwards."""
        self._open()
        self._flushed = True
        return join_segments(
            [self._images(*self._segments.push(self._two_channels.flush())), self._images(*self._segments.flush())]
        )

    def notes(self, trained_with: int) -> tuple[str, ...]:
        """Return why a prediction may differ from that of the version of soundscene that a model was trained with, if so.

        Args:
            trained_with: Version of the front-end that made the model's training images.
        """
        if trained_with >= 2 or self._version < 2 or not self._two_channels.after_silence:
            return ()
        return (
            "sound follows digital silence, where soundscene 0.1, which trained this model, computed other images: its "
            "prediction may differ; retrain the model",
        )

    def _images(self, waves: Waves, start_s: Starts) -> SegmentImages:
        return SegmentImages(self._log_spectrogram(waves), start_s, np.asarray(~waves[:, 0].any(axis=1)))

    def _check(self, block: Samples) -> None:
        finite = np.isfinite(block)
        if not finite.all():
            at = int(np.argmin(finite))
            raise AudioError(
                f"sample {self._n + at} ({(self._n + at) / self._sample_rate:.3f} s) is {block[at]}; samples must be finite "
                f"numbers, nominally from -1 to 1: a damaged recording, or a division by zero before"
            )

    def _open(self) -> None:
        if self._flushed:
            raise RuntimeError("this stream was flushed; take a new one from FrontEnd.stream() for each recording")


def segment_batches(stream: FrontEndStream, blocks: Iterable[Samples], size: int) -> Iterator[SegmentImages]:
    """Yield the segments of a recording in batches, in constant memory.

    Args:
        stream: A fresh stream, which is flushed at the end.
        blocks: Mono samples at the recipe's rate, in blocks of any size.
        size: Segments in a batch, or up to one block's segments more. The last batch may be smaller, or empty.
    """
    waiting: list[SegmentImages] = []
    for block in blocks:
        waiting.append(stream.push(block))
        if sum(len(piece.start_s) for piece in waiting) >= size:
            yield join_segments(waiting)
            waiting = []
    yield join_segments([*waiting, stream.flush()])


def join_segments(pieces: Sequence[SegmentImages]) -> SegmentImages:
    """Concatenate segments, of one recording or of several, in their order."""
    if len(pieces) == 1:
        return pieces[0]
    return SegmentImages(
        np.concatenate([piece.images for piece in pieces]),
        np.concatenate([piece.start_s for piece in pieces]),
        np.concatenate([piece.silent for piece in pieces]),
    )
