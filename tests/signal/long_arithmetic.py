"""Minimum statistics in long arithmetic, written from the equations as printed, the mean square (21) included."""

from typing import Any

import mpmath
import numpy as np
from jaxtyping import Float64

TABLE_M = {
    1: "0", 2: ".26", 5: ".48", 8: ".58", 10: ".61", 15: ".668", 20: ".705", 30: ".762", 40: ".8", 60: ".841", 80: ".865",
    120: ".89", 140: ".9", 160: ".91", 180: ".92", 220: ".93", 260: ".935", 300: ".94",
}  # fmt: skip
FLOOR = "1e-20"


def noise_psd(power: Float64[np.ndarray, "frame bin"], hop_s: str, digits: int = 60) -> Float64[np.ndarray, "frame bin"]:
    """Noise power of frames in long arithmetic.

    Args:
        power: |X|^2 [frame, bin], raised to 1e-20.
        hop_s: Seconds between frames, as a decimal number.
        digits: Of the arithmetic.
    """
    with mpmath.workdps(digits):
        return _noise_psd([[mpmath.mpf(float(y)) for y in row] for row in power], mpmath.mpf(hop_s))


def _bias(d: int) -> Any:
    known = sorted(TABLE_M)
    low = max(one for one in known if one <= d)
    high = min((one for one in known if one >= d), default=low)
    if low == high:
        return mpmath.mpf(TABLE_M[low])
    x, at_low, at_high = (1 / mpmath.sqrt(one) for one in (d, low, high))
    m_low, m_high = mpmath.mpf(TABLE_M[low]), mpmath.mpf(TABLE_M[high])
    return m_low + (m_high - m_low) * (x - at_low) / (at_high - at_low)


def _noise_psd(power: list[list[Any]], hop: Any) -> Float64[np.ndarray, "frame bin"]:
    mpf, inf, n = mpmath.mpf, mpmath.inf, len(power[0])
    aca, amax, aminh, bmax = (mpmath.exp(-hop / mpf(tau)) for tau in (".0449", ".392", ".0133", ".0717"))
    v = int(mpmath.floor(mpf("1.536") / (hop * 8) + mpf(".5")))
    assert v >= 4, "the other setting is not rendered here"
    u = 8
    m_d, m_v = _bias(u * v), _bias(v)
    slopes = [mpf(10) ** (mpf(db) * v * hop / 10) for db in ("47", "31.4", "15.7", "4.1")]
    floor, ac, subwc, newest = mpf(FLOOR), mpf(1), v, 0
    p = pb = pb2 = sn2 = pminu = actmin = actminsub = [mpf(0)] * n
    kept = [[inf] * n for _ in range(u)]
    flag = [False] * n
    noise = np.empty((len(power), n))
    for t, row in enumerate(power):
        y = [max(one, floor) for one in row]
        if t == 0:
            p, pb, sn2, pminu = y[:], y[:], y[:], y[:]
            pb2 = [one * one for one in y]
            actmin, actminsub = [inf] * n, [inf] * n
        acb = 1 / (1 + (sum(p) / sum(y) - 1) ** 2)  # (9)
        ac = aca * ac + (1 - aca) * max(acb, aca)  # (10)
        lowest = min(aminh, (sum(p) / sum(sn2)) ** (-hop / mpf(".064")))
        ah = [max(amax * ac / (1 + (p[k] / sn2[k] - 1) ** 2), lowest) for k in range(n)]  # (11), (12)
        p = [ah[k] * p[k] + (1 - ah[k]) * y[k] for k in range(n)]  # (3)
        b = [min(one * one, bmax) for one in ah]
        pb = [b[k] * pb[k] + (1 - b[k]) * p[k] for k in range(n)]  # (20)
        pb2 = [b[k] * pb2[k] + (1 - b[k]) * p[k] ** 2 for k in range(n)]  # (21)
        bound = 1 / (mpf(14) * (t + 1))
        qi = [max(min((pb2[k] - pb[k] ** 2) / (2 * sn2[k] ** 2), mpf(".5")), bound) for k in range(n)]  # (23)
        qav = sum(qi) / n
        bc = 1 + mpf("2.12") * mpmath.sqrt(qav)
        over_d = [bc * p[k] * (1 + 2 * (u * v - 1) * (1 - m_d) / (1 / qi[k] - 2 * m_d)) for k in range(n)]  # (17)
        over_v = [bc * p[k] * (1 + 2 * (v - 1) * (1 - m_v) / (1 / qi[k] - 2 * m_v)) for k in range(n)]
        lower = [over_d[k] < actmin[k] for k in range(n)]
        actmin = [over_d[k] if lower[k] else actmin[k] for k in range(n)]
        actminsub = [over_v[k] if lower[k] else actminsub[k] for k in range(n)]
        if 1 < subwc < v:
            flag = [flag[k] or lower[k] for k in range(n)]
            pminu = [min(actminsub[k], pminu[k]) for k in range(n)]
            sn2 = pminu[:]
        elif subwc >= v:
            newest = (newest + 1) % u
            kept[newest] = actmin[:]
            slope = next((slopes[i] for i, q in enumerate((".03", ".05", ".06")) if qav < mpf(q)), slopes[3])
            for k in range(n):
                pminu[k] = min(window[k] for window in kept)
                if flag[k] and not lower[k] and pminu[k] < actminsub[k] < slope * pminu[k]:
                    pminu[k] = actminsub[k]
                    for window in kept:
                        window[k] = actminsub[k]
            flag, actmin, subwc = [False] * n, [inf] * n, 0
        subwc += 1
        noise[t] = [float(one) for one in sn2]
    return noise
