"""Noise power by minimum statistics.

Speech and events come and go, while the background stays: the minimum of the smoothed power over the last 1.5 s is a
biased estimate of the noise power, and the bias follows from the variance of the smoothed power.

R. Martin, "Noise power spectral density estimation based on optimal smoothing and minimum statistics" (2001), with the
table M(D) of Martin (2006), in the form of VOICEBOX `v_estnoisem`. Equation numbers are those of the 2001 paper.

The variance of the smoothed power is kept as state. The paper keeps the mean square (21) and subtracts the squared mean,
which after digital silence leaves nothing but rounding. See docs/decisions/0092-variance-as-state.md.
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
    """Interpolate M(D) of Martin (2006), table 5: linear in 1 / sqrt(D), constant above D = 300.

    >>> round(bias_m(96), 3), bias_m(1)
    (0.877, 0.0)
    """
    x = 1 / np.sqrt(np.array(_TABLE_D))
    return float(np.interp(1 / math.sqrt(d), x[::-1], _TABLE_M[::-1]))


def search_window(hop_s: float) -> tuple[int, int]:
    """Return V, the frames of a sub-window, and U, the sub-windows of the search window, for a hop in seconds.

    >>> search_window(0.016), search_window(0.1)
    ((12, 8), (4, 4))
    """
    v = math.floor(SEARCH_S / (hop_s * SUB_WINDOWS) + 0.5)
    if v >= MIN_SUB_WINDOW:
        return v, SUB_WINDOWS
    return MIN_SUB_WINDOW, max(math.floor(SEARCH_S / (hop_s * MIN_SUB_WINDOW) + 0.5), 1)


SILENT = 2 * POWER_FLOOR
"""A frame whose mean power is below this is digital silence."""

AFTER_SILENCE = 1e14
"""Smoothed power over the noise estimate that only near-digital silence before it explains: 140 dB, the range of 24 bits.

Below it, mean square and variance give the same estimate (docs/decisions/0092-variance-as-state.md).
"""


class NoiseTracker:
    """Track the noise power of each frame from the frames so far, pushed any number at a time.

    The estimate of a frame is final at once, so nothing is ever held back. The estimate follows a fall at once and a rise
    only after the search window of 1.5 s, so give it whole recordings.

    Args:
        n_bins: Bins of a frame.
        hop_s: Seconds between frames.
        mean_square: Whether to keep the mean square (21) in place of the variance, as soundscene 0.1 did; only to finish
            what was begun with it, because rounding decides the estimate after digital silence.
    """

    def __init__(self, n_bins: int, hop_s: float, mean_square: bool = False) -> None:
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
        self._bins = np.zeros((8, n_bins))  # the rows that `_track` unpacks and explains
        self._kept = np.full((u, n_bins), np.inf)  # minima of the last U sub-windows
        self._alpha_c = np.ones(1)
        # frames so far, place in the sub-window, newest row of _kept, V, silence met, sound after silence met
        self._counts = np.array([0, v, 0, v, 0, 0])
        self._mean_square = mean_square

    @property
    def after_silence(self) -> bool:
        """Whether sound has followed a frame of digital silence."""
        return bool(self._counts[5])

    def push(self, power: Float[np.ndarray, "frame bin"]) -> Float64[np.ndarray, "frame bin"]:
        """Return the noise power of these frames in the unit of `power`; positive for every finite power >= 0."""
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
            self._mean_square,
        )
        return noise

    def flush(self) -> Float64[np.ndarray, "frame bin"]:
        """Return no frames [0, bin], because the tracker holds none back."""
        return np.empty((0, self._bins.shape[1]))


def noise_psd(power: Float[np.ndarray, "frame bin"], hop_s: float) -> Float64[np.ndarray, "frame bin"]:
    """Estimate the noise power of every frame and bin of a whole recording (Martin 2001).

    Args:
        power: `|X|^2` [frame, bin] in any unit, finite and >= 0, raised to `POWER_FLOOR`.
        hop_s: Seconds between frames.

    Returns:
        Noise power [frame, bin] in the same unit.
    """
    return NoiseTracker(power.shape[1], hop_s).push(power)


# One loop over frames with short loops over bins inside, because bins are coupled by three sums and frames by the
# recursion: numpy calls on 353 bins cost more than their arithmetic. Each short loop touches few arrays, so that the
# compiler can prove that they do not overlap and use vector instructions. `no_type_check` keeps the tests' run-time type
# checks from wrapping what numba is to compile.
@numba.njit(cache=True, error_model="numpy", nogil=True)
@no_type_check
def _track(power, noise, bins, kept, alpha_c, counts, constants, slopes, mean_square):
    # Names are those of VOICEBOX. Of each bin: p, the smoothed power (3); pb and var, its running mean (20) and variance
    # (var is the mean square (21) with `mean_square`); sn2, the noise estimate; pminu, the minimum of the search window;
    # actmin and actminsub, minima of the current sub-window corrected for the bias of D and of V frames; lminflag, whether
    # a local minimum was seen.
    p, pb, var, sn2, pminu, actmin, actminsub, lminflag = bins
    aca, amax, aminh, bmax, fall, m_d, m_v = constants
    n_frames, n_bins = power.shape
    t, subwc, newest, v, silence, after_silence = counts
    d = kept.shape[0] * v  # D = U V, frames of the search window
    # (17) is 1 + 2 (D - 1) / Qt with Qt = (Q_eq - 2 M) / (1 - M), written for 1 / Q_eq, which is what (23) computes
    slope_d, twice_d = 2.0 * (d - 1) * (1 - m_d), 2 * m_d
    slope_v, twice_v = 2.0 * (v - 1) * (1 - m_v), 2 * m_v
    y, ah, qi, over_d, over_v, kmod = np.empty((6, n_bins))
    for frame in range(n_frames):
        for k in range(n_bins):
            y[k] = max(power[frame, k], POWER_FLOOR)
        if t == 0:  # the recording begins with its own power as the noise
            for k in range(n_bins):
                p[k] = pb[k] = sn2[k] = pminu[k] = y[k]
                var[k] = y[k] * y[k] if mean_square else 0.0
                actmin[k] = actminsub[k] = np.inf
        t += 1

        sum_p, sum_y, sum_sn2 = _sum(p), _sum(y), _sum(sn2)
        if sum_y < n_bins * SILENT:
            silence = 1
        elif silence or sum_p > AFTER_SILENCE * sum_sn2:
            after_silence = 1
        # How much to smooth: the less, the further the smoothed power is from the input (9) and from the noise (11).
        acb = 1 / (1 + (sum_p / sum_y - 1) ** 2)  # (9)
        alpha_c[0] = aca * alpha_c[0] + (1 - aca) * max(acb, aca)  # (10)
        lowest = min(aminh, (sum_p / sum_sn2) ** fall)  # (12)
        top = amax * alpha_c[0]
        _smooth(p, y, sn2, ah, top, lowest)
        least = 1 / (Q_MAX * t)  # the reference's own bound
        if mean_square:
            _mean_squares(p, ah, pb, var, bmax)
            _inverse_q_of_mean_squares(pb, var, sn2, qi, least)
        else:
            _moments(p, ah, pb, var, bmax)
            _inverse_q(var, sn2, qi, least)
        # A minimum over D frames lies below the mean, the more so the more the power varies: 1 / Q_eq is that variance.
        qav = _sum(qi) / n_bins
        bc = 1 + BIAS_SLOPE * math.sqrt(qav)  # B_c: more where the power varies more on average
        _without_bias(p, qi, bc, slope_d, twice_d, over_d)
        _without_bias(p, qi, bc, slope_v, twice_v, over_v)
        _keep_least(over_d, over_v, actmin, actminsub, kmod)

        if 1 < subwc < v:  # inside a sub-window: the estimate may only fall
            for k in range(n_bins):
                lminflag[k] = max(lminflag[k], kmod[k])
            for k in range(n_bins):
                sn2[k] = pminu[k] = min(actminsub[k], pminu[k])
        elif subwc >= v:  # the sub-window is full: its minimum replaces that of U sub-windows ago, and noise may rise
            newest = (newest + 1) % kept.shape[0]
            _end_sub_window(newest, kept, actmin, actminsub, pminu, lminflag, kmod, _slope(qav, slopes))
            subwc = 0
        subwc += 1
        for k in range(n_bins):
            noise[frame, k] = sn2[k]
    counts[0], counts[1], counts[2], counts[4], counts[5] = t, subwc, newest, silence, after_silence


@numba.njit(inline="always")
@no_type_check
def _sum(x):
    """Eight running sums in a fixed order: additions that do not wait for each other."""
    a = b = c = d = e = f = g = h = 0.0
    whole = len(x) // 8 * 8
    for k in range(0, whole, 8):
        a += x[k]
        b += x[k + 1]
        c += x[k + 2]
        d += x[k + 3]
        e += x[k + 4]
        f += x[k + 5]
        g += x[k + 6]
        h += x[k + 7]
    for k in range(whole, len(x)):
        a += x[k]
    return ((a + b) + (c + d)) + ((e + f) + (g + h))


@numba.njit(inline="always")
@no_type_check
def _smooth(p, y, sn2, ah, top, lowest):
    for k in range(len(p)):
        away = p[k] - sn2[k]
        square = sn2[k] * sn2[k]
        ah[k] = max(top * square / (square + away * away), lowest)  # (11), times sn2^2 above and below the line
        p[k] = ah[k] * p[k] + (1 - ah[k]) * y[k]  # (3)


@numba.njit(inline="always")
@no_type_check
def _moments(p, ah, pb, var, bmax):
    # (21) less the square of (20), with both recursions put in: a sum of squares, from which nothing is subtracted
    for k in range(len(p)):
        b = min(ah[k] * ah[k], bmax)
        away = p[k] - pb[k]
        var[k] = b * (var[k] + (1 - b) * (away * away))
        pb[k] = b * pb[k] + (1 - b) * p[k]  # (20)


@numba.njit(inline="always")
@no_type_check
def _inverse_q(var, sn2, qi, least):
    for k in range(len(qi)):
        qi[k] = max(min(var[k] / (2 * sn2[k] * sn2[k]), 1 / Q_MIN), least)  # (23)


@numba.njit(inline="always")
@no_type_check
def _mean_squares(p, ah, pb, pb2, bmax):
    # as printed, and as soundscene 0.1 computed it
    for k in range(len(p)):
        b = min(ah[k] * ah[k], bmax)
        pb[k] = b * pb[k] + (1 - b) * p[k]  # (20)
        pb2[k] = b * pb2[k] + (1 - b) * (p[k] * p[k])  # (21)


@numba.njit(inline="always")
@no_type_check
def _inverse_q_of_mean_squares(pb, pb2, sn2, qi, least):
    for k in range(len(qi)):
        qi[k] = max(min((pb2[k] - pb[k] * pb[k]) / (2 * sn2[k] * sn2[k]), 1 / Q_MIN), least)  # (23)


@numba.njit(inline="always")
@no_type_check
def _without_bias(p, qi, bc, slope, twice, over):
    for k in range(len(p)):
        over[k] = bc * p[k] * (1.0 + slope * qi[k] / (1.0 - twice * qi[k]))  # (17)


@numba.njit(inline="always")
@no_type_check
def _keep_least(over_d, over_v, actmin, actminsub, kmod):
    # kmod marks the bins whose minimum this frame lowered; the estimate for V frames is taken at the same frame
    for k in range(len(kmod)):
        lower = over_d[k] < actmin[k]
        kmod[k] = 1.0 if lower else 0.0
        actmin[k] = over_d[k] if lower else actmin[k]
        actminsub[k] = over_v[k] if lower else actminsub[k]


@numba.njit(inline="always")
@no_type_check
def _slope(qav, slopes):
    # a steady input (small 1 / Q_eq) is trusted to rise fast, a varying one may be speech
    for i in range(3):
        if qav < SLOPE_Q[i]:
            return slopes[i]
    return slopes[3]


@numba.njit(inline="always")
@no_type_check
def _end_sub_window(newest, kept, actmin, actminsub, pminu, lminflag, kmod, slope):
    for k in range(len(actmin)):
        kept[newest, k] = actmin[k]
        least = kept[0, k]
        for i in range(1, len(kept)):
            least = min(least, kept[i, k])
        # a local minimum within the search window that is only a little higher is rising noise: it becomes the minimum
        if lminflag[k] > 0 and kmod[k] == 0 and least < actminsub[k] < slope * least:
            least = actminsub[k]
            kept[:, k] = least
        pminu[k] = least  # sn2 keeps its value on this frame, as in the reference
        lminflag[k] = 0.0
        actmin[k] = np.inf
