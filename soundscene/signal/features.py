"""Two-channel segments -> images: the log spectrogram of section 4.2 of the paper."""

from collections.abc import Sequence

import msgspec
import numpy as np
import scipy.fft
from jaxtyping import Float32

from soundscene.errors import RecipeError
from soundscene.recipe import AudioRecipe, FeatureRecipe
from soundscene.signal.filterbanks import gammatone_filters, mel_filters
from soundscene.signal.stft import cut_frames, power
from soundscene.signal.windows import hann, mirror, owned_frames, owned_start
from soundscene.types import Images


class LogSpectrogram:
    """Compute natural logs of band powers [segment, 2, band, frame] from segments [segment, 2, sample].

    Frame t owns samples [hop t, hop (t + 1)). Its periodic Hann window is centred on their middle, and the segment is
    extended by reflection at both ends, so there are n // hop frames: 80 of a segment of 44100 samples. Powers are `|X|^2`,
    unscaled, weighted by the filters and raised to at least `features.floor`.

    Args:
        audio: Sample rate and segment length.
        features: Filters, window and hop.

    Raises:
        RecipeError: A segment is shorter than one hop, or the filters do not fit the spectrum.

    Source: section 4.2 of the paper.
    """

    def __init__(self, audio: AudioRecipe, features: FeatureRecipe) -> None:
        self.n_frames = owned_frames(audio.segment_samples, features.hop)
        self.n_bands = features.n_bands
        if self.n_frames == 0:
            raise RecipeError(
                f"a segment of {audio.segment_samples} samples holds no frame: features.hop = {features.hop} is longer; "
                f"use a longer audio.segment_s or a shorter hop"
            )
        make = {"mel": mel_filters, "gammatone": gammatone_filters}[features.kind]
        filters = make(audio.sample_rate, features.n_fft, features.n_bands, features.low_hz)
        self.filters = np.ascontiguousarray(filters.T, np.float32)  # [bin, band]: a third faster than as [band, bin]
        self.floor = np.float32(features.floor)
        self.frames = PowerFrames(audio, features)

    def __call__(self, segments: Float32[np.ndarray, "segment 2 sample"]) -> Images:
        """Compute the images of segments, each of the recipe's length."""
        return log_spectrograms([self], segments)[0]


class LogSpectrograms:
    """Compute the images of several feature recipes from the same segments, each to the bits of its own `LogSpectrogram`.

    Recipes with the same images share them, as one array. Recipes with the same window, hop and FFT share power spectra.

    Args:
        audio: Sample rate and segment length.
        recipes: One or more.

    Raises:
        RecipeError: As `LogSpectrogram` does.
    """

    def __init__(self, audio: AudioRecipe, recipes: Sequence[FeatureRecipe]) -> None:
        keys = [images_key(recipe) for recipe in recipes]
        distinct = dict.fromkeys(keys)
        self._log_spectrograms = [LogSpectrogram(audio, recipe) for recipe in distinct]
        self._place = [list(distinct).index(key) for key in keys]

    def __call__(self, segments: Float32[np.ndarray, "segment 2 sample"]) -> tuple[Images, ...]:
        """Compute the images of segments for each recipe, in the order of the recipes."""
        images: dict[int, Images] = {}
        for key in dict.fromkeys(one.frames.key for one in self._log_spectrograms):
            places = [i for i, one in enumerate(self._log_spectrograms) if one.frames.key == key]
            found = log_spectrograms([self._log_spectrograms[i] for i in places], segments)
            images |= dict(zip(places, found, strict=True))
        return tuple(images[place] for place in self._place)


def images_key(features: FeatureRecipe) -> FeatureRecipe:
    """Return the recipe without what does not change images: two recipes with the same key have the same images."""
    return msgspec.structs.replace(features, clamp=1.0)  # the network clamps


def log_spectrograms(
    alike: Sequence[LogSpectrogram], segments: Float32[np.ndarray, "segment 2 sample"]
) -> tuple[Images, ...]:
    """Compute the images of segments for several filter banks on one power spectrum.

    Args:
        alike: Log spectrograms whose frames have the same key.
        segments: Each of the recipe's length.
    """
    frames, n = alike[0].frames, alike[0].n_frames
    if segments.shape[2] != frames.segment_samples:
        raise ValueError(f"segments of {segments.shape[2]} samples; this recipe's have {frames.segment_samples}")
    images = tuple(np.empty((len(segments), 2, one.n_bands, n), np.float32) for one in alike)
    buffer = frames.buffer()
    # One segment at a time: it fits the cache, and no product ever changes its shape, so that an image cannot
    # depend on how many others were computed with it (a BLAS chooses its order of summation by shape).
    for i, segment in enumerate(segments):
        powers = frames.power(segment, buffer).reshape(2 * n, -1)
        for one, of_bank in zip(alike, images, strict=True):
            bands = np.matmul(powers, one.filters)
            of_bank[i] = bands.reshape(2, n, one.n_bands).transpose(0, 2, 1)
    for one, of_bank in zip(alike, images, strict=True):
        np.maximum(of_bank, one.floor, out=of_bank)
        np.log(of_bank, out=of_bank)
    return images


class PowerFrames:
    """Compute the power spectra of a segment's frames; equal keys give equal spectra."""

    def __init__(self, audio: AudioRecipe, features: FeatureRecipe) -> None:
        self.segment_samples = audio.segment_samples
        self.key = (features.window, features.hop, features.n_fft)
        self._n_frames = owned_frames(audio.segment_samples, features.hop)
        self._window = hann(features.window).astype(np.float32)
        self._hop = features.hop
        self._n_fft = features.n_fft
        first = owned_start(features.window, features.hop)
        stop = first + (self._n_frames - 1) * features.hop + features.window
        # samples that the windows of all frames need: those that exist, and the reflected ones before and after
        self._inside = slice(max(first, 0), min(stop, audio.segment_samples))
        self._before = mirror(first, self._inside.start, audio.segment_samples)
        self._after = mirror(self._inside.stop, stop, audio.segment_samples)

    def buffer(self) -> Float32[np.ndarray, "2 frame tap"]:
        """Memory for the frames of one segment; zeros, because columns beyond the window stay as they are."""
        return np.zeros((2, self._n_frames, self._n_fft), np.float32)

    def power(
        self, segment: Float32[np.ndarray, "2 sample"], buffer: Float32[np.ndarray, "2 frame tap"]
    ) -> Float32[np.ndarray, "2 frame bin"]:
        """Compute `|X|^2` of all frames.

        Args:
            segment: Both channels.
            buffer: From `buffer`; may be used again.
        """
        for channel, samples in enumerate(segment):
            parts = (samples[self._before], samples[self._inside], samples[self._after])
            cut_frames(np.concatenate(parts), self._window, self._hop, buffer[channel])
        return power(np.asarray(scipy.fft.rfft(buffer)))
