"""Building blocks of rendered sound: coloured noise, slow random curves, and events scattered over time."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64
from scipy import fft

from soundscene.types import Samples


@dataclass(frozen=True)
class Take:
    """One recording to render.

    Attributes:
        n_samples: Its length.
        sample_rate: Hz.
        generator: Of its random draws.
    """

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
        """Draw values whose logarithm is uniform between two bounds, for frequencies, rates and decays.

        Args:
            low: Lower bound, positive.
            high: Upper bound.
            size: Number of draws.
        """
        return np.exp(self.generator.uniform(np.log(low), np.log(high), size))

    def log_uniform_one(self, low: float, high: float) -> float:
        """Return one draw of `log_uniform`.

        Args:
            low: Lower bound, positive.
            high: Upper bound.
        """
        return float(self.log_uniform(low, high)[0])


def unit_rms(samples: Samples) -> Samples:
    """Scale a sound to a root mean square of one; silence stays silence."""
    rms = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
    return samples / np.float32(rms) if rms > 0 else samples


def coloured_noise(take: Take, low_hz: float, high_hz: float, tilt_db: float = 0.0) -> Samples:
    """Return Gaussian noise of unit RMS between two frequencies, with slopes of 12 dB per octave outside.

    It is drawn as a spectrum: one inverse transform, where filtering white noise would need a forward one too.

    Args:
        take: Length, rate and generator.
        low_hz: Lower edge, Hz.
        high_hz: Upper edge, Hz.
        tilt_db: Tilt of the spectrum, dB per octave.
    """
    n_fft = fft.next_fast_len(take.n_samples, real=True)
    hz = np.maximum(fft.rfftfreq(n_fft, 1 / take.sample_rate), 1.0).astype(np.float32)
    draws = take.generator.standard_normal((hz.size, 2), dtype=np.float32)
    gain = np.exp(np.log(hz / np.float32(1000)) * np.float32(tilt_db / 6.0206))
    gain /= np.sqrt((1 + (np.float32(low_hz) / hz) ** 4) * (1 + (hz / np.float32(high_hz)) ** 4))
    return unit_rms(np.asarray(fft.irfft(draws.view(np.complex64)[:, 0] * gain, n_fft))[: take.n_samples])


def slow_curve(take: Take, rate_hz: float) -> Samples:
    """Return a smooth random curve around zero with unit variance at its knots.

    Args:
        take: Length, rate and generator.
        rate_hz: Knots per second.
    """
    knots = take.generator.standard_normal(int(take.duration_s * rate_hz) + 3).astype(np.float32)
    offset = take.generator.random()
    position = np.arange(take.n_samples, dtype=np.float64) * (rate_hz / take.sample_rate) + offset
    left = position.astype(np.int64)
    part = (position - left).astype(np.float32)
    weight = part * part * (3 - 2 * part)
    return knots[left] * (1 - weight) + knots[left + 1] * weight


def poisson_times(take: Take, rate_hz: float) -> Float64[np.ndarray, " event"]:
    """Return sorted onsets of a Poisson process, s; at least one, so that no recording lacks its event.

    Args:
        take: Length, rate and generator.
        rate_hz: Mean number of onsets per second.
    """
    count = max(int(take.generator.poisson(rate_hz * take.duration_s)), 1)
    return np.sort(take.generator.uniform(0, take.duration_s, count))


def regular_times(take: Take, period_s: float, jitter: float) -> Float64[np.ndarray, " event"]:
    """Return regular onsets from a random start, s.

    There is at least one, and all are within the recording: what the jitter moves outside is at its first or last sample.

    Args:
        take: Length, rate and generator.
        period_s: From onset to onset, s.
        jitter: Standard deviation as a share of the period.
    """
    times = np.arange(take.generator.uniform(0, min(period_s, take.duration_s)), take.duration_s, period_s)
    times = times + take.generator.normal(0, jitter * period_s, times.size)
    return np.clip(times, 0, take.duration_s - 1 / take.sample_rate)


def scatter(take: Take, onset_s: Float[np.ndarray, " event"], grains: Float32[np.ndarray, "event grain"]) -> Samples:
    """Add each grain at its onset; what would last past the end is cut.

    Args:
        take: Length and rate.
        onset_s: Not negative, s.
        grains: Samples of each event.
    """
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
    """Return struck resonances: decaying sines, cut after five of the longest decay.

    Args:
        take: Rate and generator.
        hz: Frequencies, Hz.
        decay_s: Time of a decay by 1/e, s.
        amplitude: At the onset.
    """
    seconds = np.arange(int(5 * decay_s.max() * take.sample_rate) + 2, dtype=np.float32) / np.float32(take.sample_rate)
    hz = np.minimum(hz, take.highest_hz)
    phase = take.generator.uniform(0, 2 * np.pi, hz.size).astype(np.float32)
    angle = (2 * np.pi * hz).astype(np.float32)[:, None] * seconds + phase[:, None]
    rate = (1 / decay_s).astype(np.float32)[:, None]
    return amplitude.astype(np.float32)[:, None] * np.exp(-rate * seconds) * np.sin(angle)


def clicks(
    take: Take, decay_s: Float[np.ndarray, " event"], amplitude: Float[np.ndarray, " event"]
) -> Float32[np.ndarray, "event grain"]:
    """Return bursts of white noise with exponential decay: broadband impacts.

    Args:
        take: Rate and generator.
        decay_s: Time of a decay by 1/e, s.
        amplitude: At the onset.
    """
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
    """Return tones that glide from one frequency to another under a sine-shaped envelope.

    Args:
        take: Rate.
        start_hz: Frequencies at the onset, Hz.
        end_hz: Frequencies at the end, Hz.
        length_s: Durations, s.
        bend: Height of an arch over the straight glide, as a share of the start frequency.
    """
    seconds = np.arange(int(length_s.max() * take.sample_rate) + 1, dtype=np.float32) / np.float32(take.sample_rate)
    part = np.minimum(seconds / length_s.astype(np.float32)[:, None], np.float32(1))
    hz = start_hz[:, None] + (end_hz - start_hz)[:, None] * part + (bend * start_hz)[:, None] * (4 * part * (1 - part))
    hz = np.clip(hz, 20.0, take.highest_hz)
    angle = 2 * np.pi / take.sample_rate * np.cumsum(hz, axis=1)
    return (np.sin(np.pi * part) * np.sin(angle)).astype(np.float32)
