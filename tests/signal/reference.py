"""Slow float64 renderings of the front-end, written from the formulas and sharing nothing with the package."""

import numpy as np
import scipy.signal
from jaxtyping import Float32, Float64


def segment_power(
    samples: Float32[np.ndarray, " sample"], window: int = 1102, hop: int = 551, n_fft: int = 2048
) -> Float64[np.ndarray, "bin frame"]:
    """|X|^2 of frames centred on samples [hop t, hop (t + 1)), the samples reflected at both ends."""
    longer = np.pad(samples.astype(np.float64), window, mode="symmetric")
    taps = scipy.signal.get_window("hann", window)
    first = window + hop // 2 - window // 2
    frames = [longer[first + hop * t : first + hop * t + window] * taps for t in range(len(samples) // hop)]
    return np.abs(np.fft.rfft(frames, n_fft)).T ** 2


def plain_power(samples: np.ndarray, window: int, hop: int) -> Float64[np.ndarray, "frame bin"]:
    """|X|^2 of periodic-Hann frames from sample 0 on, no padding."""
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), window)[::hop]
    return np.abs(np.fft.rfft(frames * scipy.signal.get_window("hann", window))) ** 2


def db(power: np.ndarray) -> np.ndarray:
    """10 log10."""
    return 10 * np.log10(power)


def rms(values: np.ndarray) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(np.square(values))))
