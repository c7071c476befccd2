"""Segments of sound at 16 kHz -> log-mel patches, as the public AudioSet networks of Google (VGGish, YAMNet) read them."""

import numpy as np
import scipy.fft
from jaxtyping import Float32

from soundscene.signal.filterbanks import htk_mel_filters
from soundscene.signal.stft import cut_frames, hann, power

SAMPLE_RATE = 16000
WINDOW, HOP, N_FFT = 400, 160, 512  # samples: 25 ms every 10 ms, zero-padded at the end
N_BANDS, LOW_HZ, HIGH_HZ = 64, 125.0, 7500.0
OFFSET = 0.001  # added before the logarithm
PATCH, PATCH_HOP = 96, 48  # frames: a patch of 0.96 s every 0.48 s

PATCH_SAMPLES = (PATCH - 1) * HOP + WINDOW  # 15600, 0.975 s


class LogMelPatches:
    """Compute patches [segment, patch, frame, band] of segments [segment, sample] at 16 kHz.

    Values are ln(mel @ |X| + 0.001) of magnitudes, not powers. Patches begin with the segment and lie wholly inside, one
    every `patch_hop` frames: a segment of 2 s holds three, of which the last ends at 1.935 s. A segment shorter than a patch
    (0.975 s) is extended by zeros, as in the published code. No patch reaches into the next segment, so that a segment's
    values depend on its own samples only.

    Args:
        segment_samples: Length of a segment.
        patch_hop: Frames from one patch to the next.

    Source: research/audioset/yamnet/features.py in tensorflow/models.
    """

    def __init__(self, segment_samples: int, patch_hop: int = PATCH_HOP) -> None:
        if segment_samples < 1 or patch_hop < 1:
            raise ValueError(f"segments of {segment_samples} samples, patches every {patch_hop}: both must be at least 1")
        self.segment_samples = segment_samples
        self.patch_hop = patch_hop
        self.n_patches = max(0, (segment_samples - PATCH_SAMPLES) // (patch_hop * HOP)) + 1
        self.n_frames = PATCH + (self.n_patches - 1) * patch_hop
        self._window = hann(WINDOW).astype(np.float32)
        self._filters = np.ascontiguousarray(
            htk_mel_filters(SAMPLE_RATE, N_FFT, N_BANDS, LOW_HZ, HIGH_HZ).T, dtype=np.float32
        )

    def log_mel(self, segment: Float32[np.ndarray, " sample"]) -> Float32[np.ndarray, "frame band"]:
        """Compute the log-mel image of the frames that belong to a patch."""
        needed = (self.n_frames - 1) * HOP + WINDOW
        if len(segment) < needed:
            segment = np.concatenate([segment, np.zeros(needed - len(segment), np.float32)])
        frames = np.zeros((self.n_frames, N_FFT), np.float32)
        cut_frames(segment, self._window, HOP, frames)
        magnitude = np.sqrt(power(np.asarray(scipy.fft.rfft(frames))))
        return np.log(magnitude @ self._filters + np.float32(OFFSET))

    def __call__(self, segments: Float32[np.ndarray, "segment sample"]) -> Float32[np.ndarray, "segment patch frame band"]:
        """Compute the patches of segments, each of the same length.

        Raises:
            ValueError: The segments have another length.
        """
        if segments.shape[1] != self.segment_samples:
            raise ValueError(f"segments of {segments.shape[1]} samples; these patches are for {self.segment_samples}")
        patches = np.empty((len(segments), self.n_patches, PATCH, N_BANDS), np.float32)
        # One segment at a time, as in `LogSpectrogram`: its values cannot depend on how many others it came with.
        for segment, rows in zip(segments, patches, strict=True):
            image = self.log_mel(segment)
            for i, patch in enumerate(rows):
                patch[:] = image[i * self.patch_hop : i * self.patch_hop + PATCH]
        return patches
