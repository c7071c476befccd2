"""Noise power by minimum statistics.

R. Martin, "Noise power spectral density estimation based on optimal smoothing and minimum statistics" (2001), with the
table M(D) of Martin (2006), in the form of VOICEBOX `v_estnoisem`. Equation numbers are those of the 2001 paper.
"""

import math
from typing import no_type_check

import numba
import numpy as np
from jaxtyping import Float, Float64

POWER_FLOOR = 1e-20
"""Input powers below this are raised to it before the recursion.

The reference lives through digital silence only because its language ignores NaN in min and max; 0 / 0 here would stay
in the state for ever. 1e-20 is 70 dB below the dither of 24-bit audio and 100 dB below the floor of the images, and its
square is far from the limits of float64. (A floor relative to the signal would need the future.)
"""

# Time constants in seconds; every smoothing constant is exp(-hop / tau).
TAU_CORRECTION = 0.0449  # of alpha_c (10), and the lower bound of what it smooths
TAU_MAX = 0.392  # upper bound of alpha (11)
TAU_MIN = 0.0133  # lower bound of alpha at high SNR (12)
TAU_FALL = 0.064  # decay of the SNR-dependent bound (12)
TAU_BETA = 0.0717  # upper bound of beta (20)
SEARCH_S = 1.536  # length of the search window
SUB_WINDOWS = 8  # U
MIN_SUB_WINDOW = 4  # least V, frames
BIAS_SLOPE = 2.12  # a_v of B_c
Q_MIN, Q_MAX = 2.0, 14.0  # bounds of the equivalent degrees of freedom
SLOPE_Q = (0.03, 0.05, 0.06, math.inf)  # below this mean 1 / Q_eq ...
SLOPE_DB_PER_S = (47.0, 31.4, 15.7, 4.1)  # ... noise may rise so fast within the search window

_TABLE_D = (1, 2, 5, 8, 10, 15, 20, 30, 40, 60, 80, 120, 140, 160, 180, 220, 260, 300)
_TABLE_M = (0, 0.26, 0.48, 0.58, 0.61, 0.668, 0.705, 0.762, 0.8, 0.841, 0.865, 0.89, 0.9, 0.91, 0.92, 0.93, 0.935, 0.94)


def bias_m(d: int) -> float:
    """M(D) of Martin (2006), table 5: linear in 1 / sqrt(D), constant above D = 300."""
    x = 1 / np.sqrt(np.array(_TABLE_D))
    return float(np.interp(1 / math.sqrt(d), x[::-1], _TABLE_M[::-1]))


def search_window(hop_s: float) -> tuple[int, int]:
    """V frames in a sub-window and U sub-windows in the search window, for a hop in seconds."""
    v = math.floor(SEARCH_S / (hop_s * SUB_WINDOWS) + 0.5)
    if v >= MIN_SUB_WINDOW:
        return v, SUB_WINDOWS
    return MIN_SUB_WINDOW, max(math.floor(SEARCH_S / (hop_s * MIN_SUB_WINDOW) + 0.5), 1)


class NoiseTracker:
    """Noise power of each frame from the frames so far: push powers in any number of frames at a time.

    n_bins: bins of a frame; hop_s: seconds between frames. The estimate of a frame is final at once, so nothing is ever
    held back. A rise is followed only after the search window of 1.5 s, a fall at once: give it whole recordings.
    """

    def __init__(self, n_bins: int, hop_s: float) -> None:
        v, u = search_window(hop_s)
        self._constants = np.array(
            [
                math.exp(-hop_s / TAU_CORRECTION),
                math.exp(-hop_s / TAU_MAX),
                math.exp(-hop_s / TAU_MIN),
                math.exp(-hop_s / TAU_BETA),
                -hop_s / TAU_FALL,
                bias_m(u * v),
                bias_m(v),
            ]
        )
        self._slopes = 10 ** (np.array(SLOPE_DB_PER_S) * v * hop_s / 10)
        self._bins = np.zeros((8, n_bins))
        self._kept = np.full((u, n_bins), np.inf)  # minima of the last U sub-windows
        self._alpha_c = np.ones(1)
        self._counts = np.array([0, v, 0, v])  # frames so far, place in the sub-window, newest row of _kept, V

    def push(self, power: Float[np.ndarray, "frame bin"]) -> Float64[np.ndarray, "frame bin"]:
        """Noise power of these frames, in the unit of `power`; finite and positive for every finite power >= 0."""
        if power.shape[1] != self._bins.shape[1]:
            raise ValueError(f"NoiseTracker of {self._bins.shape[1]} bins was given frames of {power.shape[1]}")
        noise = np.empty(power.shape)
        _track(
            np.ascontiguousarray(power, np.float64),
            noise,
            self._bins,
            self._kept,
            self._alpha_c,
            self._counts,
            self._constants,
            self._slopes,
        )
        return noise

    def flush(self) -> Float64[np.ndarray, "frame bin"]:
        """Nothing [0, bin]: the tracker holds no frame back."""
        return np.empty((0, self._bins.shape[1]))


def noise_psd(power: Float[np.ndarray, "frame bin"], hop_s: float) -> Float64[np.ndarray, "frame bin"]:
    """Noise power of every frame and bin of a whole recording (Martin 2001).

    power: |X|^2 in any unit, finite and >= 0, raised to `POWER_FLOOR`; hop_s: seconds between frames.
    """
    return NoiseTracker(power.shape[1], hop_s).push(power)


# One loop over frames with the bins inside, because bins are coupled by three sums and frames by the recursion: numpy
# calls on 353 bins cost more than their arithmetic (the compiled loop is 15 to 20 times faster). `no_type_check` keeps the
# tests' run-time type checks from wrapping what numba is to compile.
@numba.njit(cache=True, error_model="numpy")
@no_type_check
def _track(power, noise, bins, kept, alpha_c, counts, constants, slopes):
    p, pb, pb2, sn2, pminu, actmin, actminsub, lminflag = bins
    aca, amax, aminh, bmax, fall, m_d, m_v = constants
    n_frames, n_bins = power.shape
    t, subwc, newest, v = counts
    u = kept.shape[0]
    d = u * v
    y = np.empty(n_bins)
    qi = np.empty(n_bins)
    kmod = np.empty(n_bins)
    for frame in range(n_frames):
        for k in range(n_bins):
            y[k] = max(power[frame, k], POWER_FLOOR)
        if t == 0:
            for k in range(n_bins):
                p[k] = pb[k] = sn2[k] = pminu[k] = y[k]
                pb2[k] = y[k] * y[k]
                actmin[k] = actminsub[k] = np.inf
        t += 1

        sum_p = sum_y = sum_sn2 = 0.0
        for k in range(n_bins):
            sum_p += p[k]
            sum_y += y[k]
            sum_sn2 += sn2[k]
        acb = 1 / (1 + (sum_p / sum_y - 1) ** 2)  # (9)
        alpha_c[0] = aca * alpha_c[0] + (1 - aca) * max(acb, aca)  # (10)
        lowest = min(aminh, (sum_p / sum_sn2) ** fall)  # (12)
        top = amax * alpha_c[0]
        q_least = 1 / (Q_MAX * t)  # the reference's own bound
        for k in range(n_bins):
            ah = max(top / (1 + (p[k] / sn2[k] - 1) ** 2), lowest)  # (11)
            p[k] = ah * p[k] + (1 - ah) * y[k]  # (3)
            b = min(ah * ah, bmax)
            pb[k] = b * pb[k] + (1 - b) * p[k]  # (20)
            pb2[k] = b * pb2[k] + (1 - b) * (p[k] * p[k])  # (21)
            qi[k] = max(min((pb2[k] - pb[k] * pb[k]) / (2 * sn2[k] * sn2[k]), 1 / Q_MIN), q_least)  # (23)
        sum_qi = 0.0
        for k in range(n_bins):
            sum_qi += qi[k]
        qav = sum_qi / n_bins
        bc = 1 + BIAS_SLOPE * math.sqrt(qav)
        for k in range(n_bins):
            scaled = bc * p[k]
            over_d = scaled * (1 + 2 * (d - 1) * (1 - m_d) / (1 / qi[k] - 2 * m_d))  # (17)
            over_v = scaled * (1 + 2 * (v - 1) * (1 - m_v) / (1 / qi[k] - 2 * m_v))
            lower = over_d < actmin[k]
            kmod[k] = 1.0 if lower else 0.0
            actmin[k] = over_d if lower else actmin[k]
            actminsub[k] = over_v if lower else actminsub[k]

        if 1 < subwc < v:
            for k in range(n_bins):
                lminflag[k] = max(lminflag[k], kmod[k])
                pminu[k] = min(actminsub[k], pminu[k])
                sn2[k] = pminu[k]
        elif subwc >= v:
            newest = (newest + 1) % u
            slope = slopes[3]
            for i in range(2, -1, -1):
                if qav < SLOPE_Q[i]:
                    slope = slopes[i]
            for k in range(n_bins):
                kept[newest, k] = actmin[k]
                least = kept[0, k]
                for i in range(1, u):
                    least = min(least, kept[i, k])
                if lminflag[k] > 0 and kmod[k] == 0 and least < actminsub[k] < slope * least:
                    least = actminsub[k]
                    kept[:, k] = least
                pminu[k] = least  # sn2 keeps its value on this frame, as in the reference
                lminflag[k] = 0.0
                actmin[k] = np.inf
            subwc = 0
        subwc += 1
        for k in range(n_bins):
            noise[frame, k] = sn2[k]
    counts[0], counts[1], counts[2] = t, subwc, newest
