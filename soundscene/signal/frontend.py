"""Samples -> images: the one composition that training, prediction and streams all use."""

from collections.abc import Sequence

import numpy as np

from soundscene.errors import RecipeError
from soundscene.recipe import FRONT_END, AudioRecipe, FeatureRecipe
from soundscene.signal.features import LogSpectrograms
from soundscene.signal.memory import keep_freed_memory
from soundscene.signal.noise import TwoChannelStream
from soundscene.signal.segments import SegmentStream, Starts, Waves
from soundscene.signal.streams import AFTER_SILENCE_NOTE, check_finite, join_segments
from soundscene.types import Samples, SegmentFeatures

BLOCK = 1 << 17  # samples worked on at a time (6 s): what a push takes beside its images does not grow with its size


class FrontEnd:
    """Compute two-channel log spectrograms of segments from mono samples (sections 2.1 and 4.2 of the paper).

    A whole recording is one push and a flush, so files, microphones and arrays take the same path. Several feature recipes
    share everything before their filters, and each has the bits of its own front-end.

    Args:
        audio: Sample rate, segments and noise frames.
        features: Filters, window and hop; or one for each member of a model.
        segment_hop_s: Seconds from one segment's start to the next; by default segments do not overlap.
        version: Of the images, see `recipe.FRONT_END`; an earlier one only to finish what was begun with it.

    Raises:
        RecipeError: The hop is shorter than one sample, or the features do not fit the audio.
    """

    def __init__(
        self,
        audio: AudioRecipe,
        features: FeatureRecipe | Sequence[FeatureRecipe],
        segment_hop_s: float | None = None,
        version: int = FRONT_END,
    ) -> None:
        hop = audio.segment_samples if segment_hop_s is None else round(segment_hop_s * audio.sample_rate)
        if hop < 1:
            raise RecipeError(f"segments every {segment_hop_s} s: must be at least one sample at {audio.sample_rate} Hz")
        keep_freed_memory()
        self.audio = audio
        self.segment_hop = hop
        self.version = version
        recipes = (features,) if isinstance(features, FeatureRecipe) else tuple(features)
        self.log_spectrograms = LogSpectrograms(audio, recipes)

    def __call__(self, samples: Samples) -> SegmentFeatures:
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
        self._log_spectrograms = front_end.log_spectrograms
        self._version = front_end.version
        self._two_channels = TwoChannelStream(
            audio.sample_rate, audio.noise_window, audio.noise_hop, mean_square=front_end.version < 2
        )
        self._segments = SegmentStream(audio.sample_rate, audio.segment_samples, front_end.segment_hop, audio.last_piece)
        self._n = 0  # samples so far
        self._flushed = False
        self._nothing = self._images(np.empty((0, 2, audio.segment_samples), np.float32), np.empty(0))

    def push(self, samples: Samples) -> SegmentFeatures:
        """Return the images of the segments that these samples complete.

        Raises:
            AudioError: A sample is not finite: it would stay in the noise estimate for ever.
        """
        self._open()
        pieces = []
        for at in range(0, len(samples), BLOCK):
            block = samples[at : at + BLOCK]
            check_finite(block, self._n, self._sample_rate)
            self._n += len(block)
            channels = self._two_channels.push(block)
            if channels.shape[1] == 0:
                continue
            waves, start_s = self._segments.push(channels)
            if len(waves):
                pieces.append(self._images(waves, start_s))
        return join_segments(pieces) if pieces else self._nothing

    def flush(self) -> SegmentFeatures:
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
        return (AFTER_SILENCE_NOTE,)

    def _images(self, waves: Waves, start_s: Starts) -> SegmentFeatures:
        return SegmentFeatures(self._log_spectrograms(waves), start_s, np.asarray(~waves[:, 0].any(axis=1)))

    def _open(self) -> None:
        if self._flushed:
            raise RuntimeError("this stream was flushed; take a new one from FrontEnd.stream() for each recording")
