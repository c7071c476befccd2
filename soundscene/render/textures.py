"""Building blocks of rendered sound: coloured noise, slow random curves, and events scattered over time."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64
from scipy import fft

from soundscene.types import Samples


@dataclass(frozen=True)
class Take:
    """One recording being made: how many samples, at which rate (Hz), and where its randomness comes from."""

    n_samples: int
    sample_rate: int
    generator: np.random.Generator

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.sample_rate

    @property
    def highest_hz(self) -> float:
        """Highest frequency that events may have; the rest up to half the rate is left to filters' skirts."""
        return 0.45 * self.sample_rate

    def log_uniform(self, low: float, high: float, size: int = 1) -> Float64[np.ndarray, " size"]:
        """Draws whose logarithm is uniform between two positive bounds, for frequencies, rates and decays."""
        return np.exp(self.generator.uniform(np.log(low), np.log(high), size))

    def log_uniform_one(self, low: float, high: float) -> float:
        """One draw of `log_uniform`."""
        return float(self.log_uniform(low, high)[0])


def unit_rms(samples: Samples) -> Samples:
    """The same sound at a root mean square of one; silence stays silence."""
    rms = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
    return samples / np.float32(rms) if rms > 0 else samples


def coloured_noise(take: Take, low_hz: float, high_hz: float, tilt_db: float = 0.0) -> Samples:
    """Gaussian noise of unit RMS between two frequencies (12 dB per octave outside), tilted by `tilt_db` per octave.

    Drawn as a spectrum: one inverse transform, where filtering white noise would need a forward one too.
    """
    n_fft = fft.next_fast_len(take.n_samples, real=True)
    hz = np.maximum(fft.rfftfreq(n_fft, 1 / take.sample_rate), 1.0).astype(np.float32)
    draws = take.generator.standard_normal((hz.size, 2), dtype=np.float32)
    gain = np.exp(np.log(hz / np.float32(1000)) * np.float32(tilt_db / 6.0206))
    gain /= np.sqrt((1 + (np.float32(low_hz) / hz) ** 4) * (1 + (hz / np.float32(high_hz)) ** 4))
    return unit_rms(np.asarray(fft.irfft(draws.view(np.complex64)[:, 0] * gain, n_fft))[: take.n_samples])


def slow_curve(take: Take, rate_hz: float) -> Samples:
    """Smooth random curve around zero with unit variance at its knots, `rate_hz` knots a second."""
    knots = take.generator.standard_normal(int(take.duration_s * rate_hz) + 3).astype(np.float32)
    offset = take.generator.random()
    position = np.arange(take.n_samples, dtype=np.float64) * (rate_hz / take.sample_rate) + offset
    left = position.astype(np.int64)
    part = (position - left).astype(np.float32)
    weight = part * part * (3 - 2 * part)
    return knots[left] * (1 - weight) + knots[left + 1] * weight


def poisson_times(take: Take, rate_hz: float) -> Float64[np.ndarray, " event"]:
    """Sorted onsets in seconds of a Poisson process; at least one, so that no recording lacks its event."""
    count = max(int(take.generator.poisson(rate_hz * take.duration_s)), 1)
    return np.sort(take.generator.uniform(0, take.duration_s, count))


def regular_times(take: Take, period_s: float, jitter: float) -> Float64[np.ndarray, " event"]:
    """Onsets every `period_s` seconds from a random start; `jitter` is the deviation as a share of the period.

    At least one, and all within the recording: what the jitter moves outside sounds at its first or last sample.
    """
    times = np.arange(take.generator.uniform(0, min(period_s, take.duration_s)), take.duration_s, period_s)
    times = times + take.generator.normal(0, jitter * period_s, times.size)
    return np.clip(times, 0, take.duration_s - 1 / take.sample_rate)


def scatter(take: Take, onset_s: Float[np.ndarray, " event"], grains: Float32[np.ndarray, "event grain"]) -> Samples:
    """Add each grain at its onset (seconds, none negative); what would sound past the end is cut."""
    positions = np.round(onset_s * take.sample_rate).astype(np.int64)[:, None] + np.arange(grains.shape[1])
    # bincount: the loop over events runs in C, 5 times faster than np.add.at
    total = np.bincount(positions.ravel(), weights=grains.ravel(), minlength=take.n_samples)
    return total[: take.n_samples].astype(np.float32)


def ringing(
    take: Take,
    hz: Float[np.ndarray, " event"],
    decay_s: Float[np.ndarray, " event"],
    amplitude: Float[np.ndarray, " event"],
) -> Float32[np.ndarray, "event grain"]:
    """Struck resonances: sines that decay by 1/e in `decay_s`, cut after five of the longest decay."""
    seconds = np.arange(int(5 * decay_s.max() * take.sample_rate) + 2, dtype=np.float32) / np.float32(take.sample_rate)
    hz = np.minimum(hz, take.highest_hz)
    phase = take.generator.uniform(0, 2 * np.pi, hz.size).astype(np.float32)
    angle = (2 * np.pi * hz).astype(np.float32)[:, None] * seconds + phase[:, None]
    rate = (1 / decay_s).astype(np.float32)[:, None]
    return amplitude.astype(np.float32)[:, None] * np.exp(-rate * seconds) * np.sin(angle)


def clicks(
    take: Take, decay_s: Float[np.ndarray, " event"], amplitude: Float[np.ndarray, " event"]
) -> Float32[np.ndarray, "event grain"]:
    """Bursts of white noise with exponential decay: broadband impacts."""
    seconds = np.arange(int(5 * decay_s.max() * take.sample_rate) + 2, dtype=np.float32) / np.float32(take.sample_rate)
    burst = take.generator.standard_normal((decay_s.size, seconds.size), dtype=np.float32)
    return amplitude.astype(np.float32)[:, None] * np.exp(-seconds / decay_s.astype(np.float32)[:, None]) * burst


def sweeps(
    take: Take,
    start_hz: Float[np.ndarray, " event"],
    end_hz: Float[np.ndarray, " event"],
    length_s: Float[np.ndarray, " event"],
    bend: Float[np.ndarray, " event"],
) -> Float32[np.ndarray, "event grain"]:
    """Tones that glide from one frequency to another under a sine-shaped envelope.

    `bend` is the height of an arch over the straight glide, as a share of the start frequency.
    """
    seconds = np.arange(int(length_s.max() * take.sample_rate) + 1, dtype=np.float32) / np.float32(take.sample_rate)
    part = np.minimum(seconds / length_s.astype(np.float32)[:, None], np.float32(1))
    hz = start_hz[:, None] + (end_hz - start_hz)[:, None] * part + (bend * start_hz)[:, None] * (4 * part * (1 - part))
    hz = np.clip(hz, 20.0, take.highest_hz)
    angle = 2 * np.pi / take.sample_rate * np.cumsum(hz, axis=1)
    return (np.sin(np.pi * part) * np.sin(angle)).astype(np.float32)
