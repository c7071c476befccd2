"""Short-time spectra and their inverse as matrix products with folded bases.

ONNX has a DFT operator, but ONNX Runtime's takes 1.7 times as long as these products for 2048 taps and 8 times for 704. A
frame is folded about its centre: the even part meets the cosines, the odd part the sines. Even and odd taps apart give the
upper half of the bins by a sign. So a quarter of the products remain. The bases are made in the graph from integers, which
keeps 5 MB out of the file; ONNX Runtime computes them once, when it loads it. Taps are taken by slices: a Gather costs
several times as much for each.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int

from soundscene.export.graph import F64, INT, Graph

_END = 2**62  # of an axis


@dataclass(frozen=True)
class Spectra:
    """Some bins of spectra, whose phases count from the centre of the frame.

    Attributes:
        real: [..., frame, bin].
        imaginary: [..., frame, bin].
        bins: Their numbers.
    """

    real: str
    imaginary: str
    bins: Int[np.ndarray, " bin"]


@dataclass(frozen=True)
class Halves:
    """Where the taps of frames are, on both sides of their centres.

    Attributes:
        before: Name of a value whose last axis holds the taps before the centre, the last one next to it.
        after: The same of the centre and the taps after it.
        n_axes: Number of their axes.
        two_hops: Whether both are the same blocks of a hop, [..., frame + 1, hop], of which a frame has two.
    """

    before: str
    after: str
    n_axes: int
    two_hops: bool


def add_spectra(
    g: Graph, halves: Halves, window: Float64[np.ndarray, " tap"], n_fft: int, dtype: np.dtype[Any]
) -> list[Spectra]:
    """Add the spectra of frames, zero-padded to n_fft taps.

    Args:
        g: The graph.
        halves: Taps of the frames.
        window: Their weights.
        n_fft: Length of the transform.
        dtype: In which it is computed, that of the samples.

    Returns:
        Parts with all bins, each bin once; two parts if n_fft is even.
    """
    steps = (None,) if n_fft % 2 else (0, 1)  # of an odd number of bins none has a partner
    bins = np.arange(n_fft // (2 if n_fft % 2 else 4) + 1)
    cos, sin = [], []
    for parity in steps:
        distance, even, odd = _folded(g, halves, window, parity, dtype)
        cos.append(g.op("MatMul", even, _basis(g, "Cos", distance, bins, n_fft, dtype)))
        sin.append(g.op("MatMul", odd, _basis(g, "Sin", distance, bins, n_fft, dtype, -1.0)))
    if len(steps) == 1:
        return [Spectra(cos[0], sin[0], bins)]
    # at distance j, cos(2 pi j (n/2 - k) / n) = (-1)^j cos(2 pi j k / n), and sin has the other sign
    lower = Spectra(g.op("Add", *cos), g.op("Add", *sin), bins)
    n_upper = n_fft // 2 + 1 - len(bins)
    if n_upper < len(bins):  # the bin in the middle is its own partner
        cos, sin = ([g.cut(value, 0, n_upper, -1) for value in values] for values in (cos, sin))
    return [lower, Spectra(g.op("Sub", *cos), g.op("Sub", sin[1], sin[0]), n_fft // 2 - bins[:n_upper])]


def add_power(g: Graph, part: Spectra) -> str:
    """Add |X|^2 of a part.

    Args:
        g: The graph.
        part: Some bins of spectra.
    """
    return g.op("Add", g.op("Mul", part.real, part.real), g.op("Mul", part.imaginary, part.imaginary))


def add_frames(g: Graph, parts: list[Spectra], n: int, dtype: np.dtype[Any]) -> tuple[str, str]:
    """Add the inverse transform of spectra [frame, bin] of n taps, n even.

    Args:
        g: The graph.
        parts: From `add_spectra`, two of them.
        n: Taps of a frame.
        dtype: In which it is computed.

    Returns:
        Taps before the centre and those from the centre on, [frame, n / 2] each.
    """
    lower, upper = parts
    half, bins = n // 2, lower.bins
    weight = np.full(len(bins), 2.0 / n)
    weight[0] = 1.0 / n  # bins 0 and n / 2, which have no mirror image
    real, imaginary = upper.real, upper.imaginary
    if len(upper.bins) < len(bins):
        pads = g.ints(0, 0, 0, len(bins) - len(upper.bins))
        real, imaginary = (g.op("Pad", value, pads) for value in (real, imaginary))
    # the same two identities, for bins in place of taps
    sums = [g.op("Add", lower.real, real), g.op("Sub", lower.imaginary, imaginary)]
    differences = [g.op("Sub", lower.real, real), g.op("Add", lower.imaginary, imaginary)]
    after, before = [], []
    for parity, (cos, sin) in enumerate((sums, differences)):
        distance = np.arange(half // 2 + 1) * 2 + parity  # the last one may lie beyond the frame, and is left out below
        even = g.op("MatMul", cos, _basis(g, "Cos", bins, distance, n, dtype, weight))
        odd = g.op("MatMul", sin, _basis(g, "Sin", bins, distance, n, dtype, -weight))
        after.append(g.op("Unsqueeze", g.op("Add", even, odd), g.ints(2)))
        before.append(g.op("Unsqueeze", g.op("Sub", even, odd), g.ints(2)))
    shape = g.ints(0, 2 * (half // 2 + 1))
    after, before = (g.op("Reshape", g.op("Concat", *side, axis=2), shape) for side in (after, before))
    return _slice(g, before, (1,), (half,), (0,), (-1,)), g.cut(after, 0, half, 1)


def _folded(
    g: Graph, halves: Halves, window: Float64[np.ndarray, " tap"], parity: int | None, dtype: np.dtype[Any]
) -> tuple[Int[np.ndarray, " distance"], str, str]:
    """Distances from the centre, all or those of a parity, and the even and the odd part of the windowed frames there."""
    centre = len(window) // 2
    step, first = (1, 0) if parity is None else (2, parity)
    distance = np.arange(first, centre + 1, step)
    right = np.arange(first, len(window) - centre, step)
    nearest = first or step
    left = np.arange(nearest, centre + 1, step)
    frames = (halves.n_axes - 2,) if halves.two_hops else ()
    start, end, one = ((value,) * len(frames) for value in (1, _END, 1))
    after = _slice(g, halves.after, (*frames, -1), (*start, first), (*end, _END), (*one, step))
    start, end = ((value,) * len(frames) for value in (0, -1))
    at = centre - nearest
    before = _slice(g, halves.before, (*frames, -1), (*start, at), (*end, -_END), (*one, -step))
    sides = ((after, window[centre + right], 0), (before, window[centre - left], int(first == 0)))
    padded = []
    for side, weight, missing_first in sides:
        missing_last = len(distance) - len(weight) - missing_first
        side = g.op("Mul", side, g.constant(weight, dtype))
        if missing_first or missing_last:
            pads = [0] * (2 * halves.n_axes)
            pads[halves.n_axes - 1], pads[-1] = missing_first, missing_last
            side = g.op("Pad", side, g.ints(*pads))
        padded.append(side)
    return distance, g.op("Add", *padded), g.op("Sub", *padded)


def _slice(
    g: Graph, value: str, axes: tuple[int, ...], start: tuple[int, ...], stop: tuple[int, ...], step: tuple[int, ...]
) -> str:
    return g.op("Slice", value, g.ints(*start), g.ints(*stop), g.ints(*axes), g.ints(*step))


def _basis(
    g: Graph,
    kind: str,
    rows: Int[np.ndarray, " row"],
    columns: Int[np.ndarray, " column"],
    n: int,
    dtype: np.dtype[Any],
    weight: float | Float64[np.ndarray, " row"] = 1.0,
) -> str:
    """[row, column] weight cos or sin(2 pi row column / n), of angles that are reduced as integers.

    A cosine is the sine a quarter later: before 1.30, ONNX Runtime has no Cos of float64.
    """
    product = g.op("Mul", g.constant(rows[:, None], INT), g.constant(columns[None], INT))
    if kind == "Cos":  # in quarters of a step, so that all is integers
        product, n = g.op("Add", g.op("Mul", product, g.constant(4, INT)), g.constant(n, INT)), 4 * n
    turns = g.cast(g.op("Mod", product, g.constant(n, INT)), F64)
    value = g.op("Sin", g.op("Mul", turns, g.constant(2 * np.pi / n, F64)))
    scaled = g.op("Mul", value, g.constant(np.broadcast_to(weight, len(rows))[:, None], F64))
    return scaled if dtype == F64 else g.cast(scaled, dtype)
