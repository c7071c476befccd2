"""The checks that all audio passes, from a file or from an array: what is refused, what is noted, what comes out.

The output is mono float32 samples at the recipe's rate. Errors name the source, its value, what is allowed and the likely
cause. Notes name what may make a prediction worse. See docs/decisions/0020-decoding-and-resampling.md.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import soxr
from jaxtyping import Float32

from soundscene.audio.arrays import beyond_scale
from soundscene.audio.evidence import Mixer, SignalMeter, mean_of_channels
from soundscene.errors import AudioError
from soundscene.recipe import AudioRecipe
from soundscene.types import Samples

_LOWEST_HZ, _HIGHEST_HZ = 1000, 768000
_MUCH_SILENCE = 0.5  # share of a recording from which on digital silence is noted
LOUDEST = 1e10  # peak up to which no power overflows float32; unscaled 32-bit integers reach 2.1e9
_TOP_STEP = 32767 / 32768  # largest sample of 16 bits
UNSCALED = 8.0  # peak above which samples are rather unscaled integers than loud


@dataclass(frozen=True)
class AudioSummary:
    """Hold what is known once a recording has been read to its end.

    Attributes:
        duration_s: Seconds of decoded samples.
        notes: What may make a prediction worse.
        content_hash: SHA-256 of the mono samples at the source's rate in 16 bits.
        sample_rate: Of the source, Hz.
        rate_notes: Those of the notes that follow from the rate alone.
    """

    duration_s: float
    notes: tuple[str, ...]
    content_hash: str
    sample_rate: int
    rate_notes: tuple[str, ...]


class Intake:
    """Check, mix and resample audio of any length: [sample, channel] -> mono -> the recipe's rate.

    It checks single samples and the rate, never the whole recording, and its memory does not grow.

    Args:
        name: Source, for messages.
        sample_rate: Rate of the source, Hz.
        audio: Settings of the recipe; None to leave the rate unchanged.

    Raises:
        AudioError: The rate is implausible.
    """

    def __init__(self, name: str, sample_rate: int, audio: AudioRecipe | None) -> None:
        if not _LOWEST_HZ <= sample_rate <= _HIGHEST_HZ:
            raise AudioError(
                f"{name}: a sample rate of {sample_rate} Hz is not plausible, allowed are {_LOWEST_HZ} to {_HIGHEST_HZ} Hz; "
                "is the header damaged, or the rate given in kHz?"
            )
        self._name, self._rate, self._audio = name, sample_rate, audio
        self._resampler = None
        if audio is not None and audio.sample_rate != sample_rate:
            self._resampler = soxr.ResampleStream(sample_rate, audio.sample_rate, 1, dtype="float32", quality="HQ")
        self.n_in = self.n_out = 0  # samples so far, at the source's rate and at the recipe's
        self.peak = 0.0

    def mix(self, block: Float32[np.ndarray, "native channel"]) -> Samples:
        """Check the next samples and mix them down to mono at the source's rate.

        Raises:
            AudioError: A sample is not finite, or beyond `LOUDEST`.
        """
        self.check(block)
        return mean_of_channels(block)

    def check(self, block: Float32[np.ndarray, "native channel"]) -> None:
        """Check the next samples.

        Raises:
            AudioError: A sample is not finite, or beyond `LOUDEST`.
        """
        peak = max(float(block.max(initial=0.0)), -float(block.min(initial=0.0)))
        if not peak <= LOUDEST:  # NaN included
            self._refuse_values(block)
        self.peak = max(self.peak, peak)
        self.n_in += len(block)

    def resample(self, mono: Float32[np.ndarray, " native"], last: bool = False) -> Samples:
        """Return what is ready at the recipe's rate.

        Args:
            mono: The next samples [sample].
            last: Whether no samples follow.
        """
        if self._resampler is not None:
            mono = self._resampler.resample_chunk(mono, last=last)
        self.n_out += len(mono)
        return mono

    def rate_notes(self) -> tuple[str, ...]:
        """Note the effect of a low sample rate on the prediction."""
        if self._audio is None or self._rate >= self._audio.sample_rate:
            return ()
        top, edge = self._audio.sample_rate / 2, self._rate / 2
        return (
            f"sampled at {self._rate} Hz, below the recipe's {self._audio.sample_rate} Hz: nothing above {edge:g} Hz, "
            f"so the bands from {edge:g} to {top:g} Hz stay empty and the prediction may be wrong",
        )

    def peak_notes(self) -> tuple[str, ...]:
        """Note samples beyond full scale and their likely cause."""
        if self.peak <= 1.0:
            return ()
        cause = "; were integers converted without scaling?" if self.peak > UNSCALED else ", left unchanged"
        return (f"peak {self.peak:.4g}, samples are expected within -1 to 1{cause}",)

    def _refuse_values(self, block: Float32[np.ndarray, "sample channel"]) -> None:
        bad = ~np.isfinite(block)
        finite = not bad.any()
        sample, channel = (int(number) for number in np.argwhere(np.abs(block) > LOUDEST if finite else bad)[0])
        value, second = block[sample, channel], (self.n_in + sample) / self._rate
        if finite:
            raise beyond_scale(self._name, float(value), second, channel)
        raise AudioError(
            f"{self._name}: holds {value:g} at {second:.3f} s (channel {channel + 1}), samples must be finite; did the "
            "program that wrote it divide by zero?"
        )


class Gate:
    """Takes [sample, channel] blocks at the source's rate, gives mono blocks at the recipe's rate, by push and flush.

    `push` and `flush` raise `AudioError` when the audio cannot be used.

    Args:
        name: Source, for messages.
        sample_rate: Rate of the source, Hz.
        audio: Settings of the recipe; None to judge and hash only.
        holds_float: Whether the source stores floating point, so that samples beyond +-1 are no overshoot of a decoder.
    """

    def __init__(self, name: str, sample_rate: int, audio: AudioRecipe | None, holds_float: bool) -> None:
        self._intake = Intake(name, sample_rate, audio)
        self._name, self._rate, self._audio, self._holds_float = name, sample_rate, audio, holds_float
        self._piece = max(1, sample_rate // 10)  # silence is judged by 0.1 s: quiet 16-bit sound has single zeros
        self._hash = hashlib.sha256()
        self._mixer, self._meter = Mixer(sample_rate), SignalMeter(self._piece)
        self._n_in = self._n_silent = self._n_leading = 0
        self._unmeasured = np.zeros(0, np.float32)  # the beginning of the next piece

    def push(self, block: Float32[np.ndarray, "native channel"]) -> Samples:
        """Accept the next samples of any number and return what is ready; the output does not depend on the blocks."""
        self._intake.check(block)
        return self._accept(self._mixer.push(block))

    def _accept(self, mono: Float32[np.ndarray, " native"]) -> Samples:
        self._measure(mono)
        self._n_in += len(mono)
        # 16 bits, so that WAV, FLAC and a 24-bit master of the same samples agree; the rate is left out on purpose:
        # the same samples under another rate are no new recording either.
        steps = mono * np.float32(32768.0)
        np.rint(steps, out=steps)
        if self._intake.peak >= _TOP_STEP:  # as a rule nothing is to be clipped
            np.clip(steps, -32768, 32767, out=steps)
        self._hash.update(steps.astype("<i2").data)
        return self._intake.resample(mono)

    def flush(self) -> Samples:
        """Return the remaining samples, after the last push.

        Raises:
            AudioError: The recording as a whole is too short or silent.
        """
        mixed = self._accept(self._mixer.flush())
        if not self._unmeasured.any():
            self._n_silent += len(self._unmeasured)
        if not self._n_in:
            raise AudioError(f"{self._name}: holds no samples; was the recording or the export interrupted?")
        if self._n_leading == self._n_in:
            raise AudioError(f"{self._name}: {self._why_silent()}")
        rest = np.concatenate([mixed, self._intake.resample(np.zeros(0, np.float32), last=True)])
        if self._audio is not None and self._intake.n_out < self._audio.segment_samples:
            raise AudioError(
                f"{self._name}: lasts {self._n_in / self._rate:.3f} s, the recipe needs at least one segment of "
                f"{self._audio.segment_s:.3f} s (audio.segment_s); leave the file out, or train with shorter segments"
            )
        return rest

    def summary(self) -> AudioSummary:
        """Return what is known after `flush`."""
        rate_notes = self._intake.rate_notes()
        return AudioSummary(self._n_in / self._rate, self._notes(), self._hash.hexdigest(), self._rate, rate_notes)

    def _measure(self, mono: Samples) -> None:
        if self._n_leading == self._n_in:
            self._n_leading += int(np.argmax(mono != 0)) if mono.any() else len(mono)
        mono = np.concatenate([self._unmeasured, mono])
        whole = len(mono) // self._piece * self._piece
        self._n_silent += self._meter.push(mono[:whole].reshape(-1, self._piece))
        self._unmeasured = mono[whole:].copy()

    def _why_silent(self) -> str:
        if self._intake.peak:
            return "its channels cancel each other when mixed to mono; is the polarity of one inverted?"
        return (
            f"digital silence: all {self._n_in} samples are exactly zero; was the microphone muted, or the wrong "
            "input recorded?"
        )

    def _notes(self) -> tuple[str, ...]:
        notes = [*self._intake.rate_notes()]
        if self._n_silent > _MUCH_SILENCE * self._n_in:
            notes.append(
                f"{self._n_silent / self._n_in:.0%} is digital silence (samples exactly zero), "
                f"of it {self._n_leading / self._rate:.2f} s at the start"
            )
        notes.extend(self._mixer.notes())
        notes.extend(self._meter.notes(self._n_in - self._n_silent))
        if self._holds_float:
            notes.extend(self._intake.peak_notes())
        return tuple(notes)
