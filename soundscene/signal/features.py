"""Two-channel segments -> images: the log spectrogram of section 4.2 of the paper."""

import numpy as np
import scipy.fft
from jaxtyping import Float32

from soundscene.errors import RecipeError
from soundscene.recipe import AudioRecipe, FeatureRecipe
from soundscene.signal.filterbanks import gammatone_filters, mel_filters
from soundscene.signal.stft import cut_frames, hann, mirror, owned_frames, owned_start, power
from soundscene.types import Images


class LogSpectrogram:
    """Compute natural logs of band powers [segment, 2, band, frame] from segments [segment, 2, sample].

    Frame t owns samples [hop t, hop (t + 1)). Its periodic Hann window is centred on their middle, and the segment is
    extended by reflection at both ends, so there are n // hop frames: 80 of a segment of 44100 samples. Powers are |X|^2,
    unscaled, weighted by the filters and raised to at least `features.floor`.

    Args:
        audio: Sample rate and segment length.
        features: Filters, window and hop.

    Raises:
        RecipeError: A segment is shorter than one hop, or the filters do not fit the spectrum.

    Source: section 4.2 of the paper.
    """

    def __init__(self, audio: AudioRecipe, features: FeatureRecipe) -> None:
        self.segment_samples = audio.segment_samples
        self.n_frames = owned_frames(audio.segment_samples, features.hop)
        self.n_bands = features.n_bands
        if self.n_frames == 0:
            raise RecipeError(
                f"a segment of {audio.segment_samples} samples holds no frame: features.hop = {features.hop} is longer; "
                f"use a longer audio.segment_s or a shorter hop"
            )
        make = {"mel": mel_filters, "gammatone": gammatone_filters}[features.kind]
        filters = make(audio.sample_rate, features.n_fft, features.n_bands, features.low_hz)
        self._filters = np.ascontiguousarray(filters.T, np.float32)  # [bin, band]: a third faster than as [band, bin]
        self._window = hann(features.window).astype(np.float32)
        self._hop = features.hop
        self._n_fft = features.n_fft
        self._floor = np.float32(features.floor)
        first = owned_start(features.window, features.hop)
        stop = first + (self.n_frames - 1) * features.hop + features.window
        # samples that the windows of all frames need: those that exist, and the reflected ones before and after
        self._inside = slice(max(first, 0), min(stop, audio.segment_samples))
        self._before = mirror(first, self._inside.start, audio.segment_samples)
        self._after = mirror(self._inside.stop, stop, audio.segment_samples)

    def __call__(self, segments: Float32[np.ndarray, "segment 2 sample"]) -> Images:
        """Compute the images of segments, each of the recipe's length."""
        if segments.shape[2] != self.segment_samples:
            raise ValueError(f"segments of {segments.shape[2]} samples; this recipe's have {self.segment_samples}")
        images = np.empty((len(segments), 2, self.n_bands, self.n_frames), np.float32)
        frames = np.zeros((2, self.n_frames, self._n_fft), np.float32)
        # One segment at a time: it fits the cache, and no product ever changes its shape, so that an image cannot
        # depend on how many others were computed with it (a BLAS chooses its order of summation by shape).
        for segment, image in zip(segments, images, strict=True):
            for channel, samples in enumerate(segment):
                parts = (samples[self._before], samples[self._inside], samples[self._after])
                cut_frames(np.concatenate(parts), self._window, self._hop, frames[channel])
            powers = power(np.asarray(scipy.fft.rfft(frames)))
            bands = np.matmul(powers.reshape(2 * self.n_frames, -1), self._filters)
            image[:] = bands.reshape(2, self.n_frames, self.n_bands).transpose(0, 2, 1)
        np.maximum(images, self._floor, out=images)
        return np.log(images, out=images)
