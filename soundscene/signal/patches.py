"""Segments of sound at 16 kHz -> log-mel patches, as the public AudioSet networks of Google (VGGish, YAMNet) read them."""

import numpy as np
import scipy.fft
from jaxtyping import Float32

from soundscene.signal.filterbanks import htk_mel_filters
from soundscene.signal.stft import cut_frames, power
from soundscene.signal.windows import hann

SAMPLE_RATE = 16000
WINDOW, HOP, N_FFT = 400, 160, 512  # samples: 25 ms every 10 ms, zero-padded at the end
N_BANDS, LOW_HZ, HIGH_HZ = 64, 125.0, 7500.0
OFFSET = 0.001  # added before the logarithm
LARGEST_GAIN = 100.0  # 40 dB: what is quieter than that is noise of the recorder
_SMALLEST = 1e-6  # magnitude: far below the offset, so that nothing of it is left after that
PATCH, PATCH_HOP = 96, 48  # frames: a patch of 0.96 s every 0.48 s

PATCH_SAMPLES = (PATCH - 1) * HOP + WINDOW  # 15600, 0.975 s


class LogMelPatches:
    """Compute log-mel images [segment, frame, band] of segments [segment, sample] at 16 kHz, for `cut_patches`.

    Values are ln(mel @ |X| + 0.001) of magnitudes, not powers. Patches begin with the segment and lie wholly inside, one
    every `patch_hop` frames: a segment of 2 s holds three, of which the last ends at 1.935 s. A segment shorter than a patch
    (0.975 s) is extended by zeros, as in the published code. No patch reaches into the next segment, so that a segment's
    values depend on its own samples only.

    Args:
        segment_samples: Length of a segment.
        patch_hop: Frames from one patch to the next.
        level: Root mean square that each segment's mel magnitudes are brought to, by a gain of 100 at most. So the gain of a
            recorder makes no difference. None keeps the level, as in the published code.

    Attributes:
        n_patches: Patches of a segment.
        n_frames: Frames that they cover.
        filters: [bin, band].

    Source: research/audioset/yamnet/features.py in tensorflow/models.
    """

    def __init__(self, segment_samples: int, patch_hop: int = PATCH_HOP, level: float | None = None) -> None:
        if segment_samples < 1 or patch_hop < 1:
            raise ValueError(f"segments of {segment_samples} samples, patches every {patch_hop}: both must be at least 1")
        self.segment_samples = segment_samples
        self.patch_hop = patch_hop
        self.level = level
        self.n_patches = max(0, (segment_samples - PATCH_SAMPLES) // (patch_hop * HOP)) + 1
        self.n_frames = PATCH + (self.n_patches - 1) * patch_hop
        self._window = hann(WINDOW)
        self.filters = np.ascontiguousarray(htk_mel_filters(SAMPLE_RATE, N_FFT, N_BANDS, LOW_HZ, HIGH_HZ).T)

    def __call__(self, segments: Float32[np.ndarray, "segment sample"]) -> Float32[np.ndarray, "segment image_frame band"]:
        """Compute the log-mel image of each segment, as far as patches cover it.

        Raises:
            ValueError: The segments have another length.
        """
        if segments.shape[1] != self.segment_samples:
            raise ValueError(f"segments of {segments.shape[1]} samples; these patches are for {self.segment_samples}")
        needed = (self.n_frames - 1) * HOP + WINDOW
        if segments.shape[1] < needed:
            segments = np.pad(segments, ((0, 0), (0, needed - segments.shape[1])))
        images = np.empty((len(segments), self.n_frames, N_BANDS), np.float32)
        # In float64: beside strong bass, float32 moves the logarithm of a quiet band by up to 0.003.
        frames = np.zeros((self.n_frames, N_FFT))
        # One segment at a time, as in `LogSpectrograms`: its values cannot depend on how many others it came with.
        for segment, image in zip(segments, images, strict=True):
            cut_frames(segment, self._window, HOP, frames)
            magnitude = np.sqrt(power(np.asarray(scipy.fft.rfft(frames))))
            mel = (magnitude @ self.filters).astype(np.float32)
            np.log(_gain(mel, self.level) * mel + np.float32(OFFSET), out=image)
        return images


def to_log_power(
    images: Float32[np.ndarray, "segment image_frame band"],
) -> Float32[np.ndarray, "segment 1 band image_frame"]:
    """Return the same as log power of one channel, the scale on which training images are varied.

    Args:
        images: From `LogMelPatches`.
    """
    magnitude = np.maximum(np.exp(images) - np.float32(OFFSET), np.float32(_SMALLEST))
    return np.ascontiguousarray((2 * np.log(magnitude)).transpose(0, 2, 1)[:, None])


def from_log_power(
    power: Float32[np.ndarray, "segment 1 band image_frame"], level: float | None = None
) -> Float32[np.ndarray, "segment image_frame band"]:
    """Return log-mel images of log power, the inverse of `to_log_power`.

    Args:
        power: Of one channel.
        level: As in `LogMelPatches`.
    """
    magnitude = np.exp(power[:, 0] / 2)
    gains = np.array([_gain(one, level) for one in magnitude], np.float32)
    return np.ascontiguousarray(np.log(gains[:, None, None] * magnitude + np.float32(OFFSET)).transpose(0, 2, 1))


def _gain(mel: Float32[np.ndarray, "_ _"], level: float | None) -> np.float32:
    """Factor that brings the magnitudes of a segment to a level."""
    if level is None:
        return np.float32(1)
    rms = float(np.sqrt(np.mean(np.square(mel))))
    return np.float32(min(level / rms, LARGEST_GAIN) if rms > 0 else 1)


def cut_patches(
    images: Float32[np.ndarray, "segment image_frame band"], patch_hop: int = PATCH_HOP
) -> Float32[np.ndarray, "segment patch frame band"]:
    """Cut images into patches, which share memory.

    Args:
        images: From `LogMelPatches`.
        patch_hop: Frames from one patch to the next.
    """
    patches = np.lib.stride_tricks.sliding_window_view(images, PATCH, axis=1)[:, ::patch_hop]
    return patches.transpose(0, 1, 3, 2)
