"""The noise tracker (`signal.minimum_statistics`) as a Scan over frames, in float64, with its state in and out."""

import math
from dataclasses import dataclass

import numpy as np

from soundscene.export.graph import BOOL, F64, INT, Graph
from soundscene.signal import minimum_statistics as ms

N_ROWS = 8  # of the state of each bin: p, pb, var, sn2, pminu, actmin, actminsub, lminflag


@dataclass(frozen=True)
class TrackerState:
    """What goes from block to block.

    Attributes:
        bins: [8, bin], the rows that `_track` of the tracker unpacks.
        kept: [U, bin], minima of the last U sub-windows.
        alpha_c: [1].
    """

    bins: str
    kept: str
    alpha_c: str


@dataclass(frozen=True)
class Tracked:
    """Outputs of the tracker.

    Attributes:
        noise: [frame, bin].
        state: After the last frame.
        sum_power: [frame], sums over the bins of the input.
        ratio: [frame, 1], smoothed power over noise before the frame.
    """

    noise: str
    state: TrackerState
    sum_power: str
    ratio: str


def add_tracker(g: Graph, power: str, state: TrackerState, before: str, n_bins: int, hop_s: float) -> Tracked:
    """Add the tracker for one frame or more; a Scan of no frames is refused by ONNX Runtime.

    What depends on the input and on the number of a frame alone is computed for all frames at once, outside of the Scan,
    because each node of its body costs about half a microsecond a frame.

    Args:
        g: The graph.
        power: [frame, bin] in float64.
        state: Of the frames before; anything before the first.
        before: Frames before, one integer.
        n_bins: Bins of a frame.
        hop_s: Seconds between frames.
    """
    v, u = ms.search_window(hop_s)
    f = lambda x: g.constant(x, F64)  # noqa: E731
    y = g.op("Max", power, f(ms.POWER_FLOOR))
    sum_y = g.op("ReduceSum", y, g.ints(1), keepdims=1)
    number = g.op("Add", g.range(g.size(y, 0)), before)
    # twice the reference's bound of 1 / Q_eq
    least = g.op("Div", f(2.0), g.op("Mul", f(ms.Q_MAX), g.cast(g.op("Add", number, g.constant(1, INT)), F64)))
    place = g.op("Mod", number, g.constant(v, INT))  # in the sub-window; the first of a recording is its own
    end = g.op("Equal", place, g.constant(0, INT))
    middle = g.op("Greater", place, g.constant(1, INT))
    newest = g.op("Mod", g.op("Add", g.op("Div", number, g.constant(v, INT)), g.constant(1, INT)), g.constant(u, INT))
    row = g.op("Equal", g.op("Unsqueeze", newest, g.ints(1, 2)), g.constant(np.arange(u).reshape(1, u, 1), INT))
    column = lambda x: g.op("Unsqueeze", x, g.ints(1))  # noqa: E731

    first = g.op("Equal", before, g.constant(0, INT))
    y0 = g.op("Gather", y, g.constant(0, INT), axis=0)
    at_first = lambda new, old: g.op("Where", first, new, old)  # noqa: E731
    p, pb, var, sn2, pminu = (g.op("Gather", state.bins, g.constant(i, INT), axis=0) for i in range(5))
    act = g.cut(state.bins, 5, 7, 0)
    flag = g.op("Greater", g.op("Gather", state.bins, g.constant(7, INT), axis=0), f(0.0))
    states = [
        at_first(y0, p),
        at_first(y0, pb),
        at_first(f(0.0), var),
        at_first(y0, sn2),
        at_first(y0, pminu),
        at_first(f(np.inf), act),
        g.op("And", flag, g.op("Not", first)),
        at_first(f(np.inf), state.kept),
        at_first(f(1.0), state.alpha_c),
    ]
    inputs = [y, sum_y, column(least), column(middle), column(end), row]
    body = _frame(g, n_bins, hop_s)
    *new, noise, ratio = g.ops(11, "Scan", *states, *inputs, body=body, num_scan_inputs=len(inputs))
    as_row = lambda x: g.op("Unsqueeze", x, g.ints(0))  # noqa: E731
    bins = g.op("Concat", *map(as_row, new[:5]), new[5], as_row(g.cast(new[6], F64)), axis=0)
    return Tracked(noise, TrackerState(bins, new[7], new[8]), sum_y, ratio)


def _frame(g: Graph, n_bins: int, hop_s: float) -> Graph:
    """The body of the Scan: one frame. Names and equations are those of `minimum_statistics._track`."""
    v, u = ms.search_window(hop_s)
    b = g.body("frame")
    o, f = b.op, lambda x: b.constant(x, F64)
    aca, amax, aminh, bmax = (math.exp(-hop_s / tau) for tau in (ms.TAU_CORRECTION, ms.TAU_MAX, ms.TAU_MIN, ms.TAU_BETA))
    p, pb, var, sn2, pminu = (b.input(name, F64, [n_bins]) for name in ("p", "pb", "var", "sn2", "pminu"))
    act = b.input("act", F64, [2, n_bins])
    flag = b.input("lminflag", BOOL, [n_bins])
    kept = b.input("kept", F64, [u, n_bins])
    alpha_c = b.input("alpha_c", F64, [1])
    y = b.input("y", F64, [n_bins])
    sum_y = b.input("sum_y", F64, [1])
    least = b.input("least", F64, [1])
    middle, end = b.input("middle", BOOL, [1]), b.input("end", BOOL, [1])
    row = b.input("row", BOOL, [u, 1])
    one, axis = f(1.0), b.ints(0)

    # As few nodes as possible, in forms that lose no digits: most of a frame's time is what a node costs by being one.
    sum_p, sum_sn2 = (o("ReduceSum", x, axis, keepdims=1) for x in (p, sn2))
    away = o("Sub", o("Div", sum_p, sum_y), one)
    acb = o("Div", one, o("Add", one, o("Mul", away, away)))  # (9)
    alpha = o("Add", o("Mul", f(aca), alpha_c), o("Mul", f(1 - aca), o("Max", acb, f(aca))))  # (10)
    ratio = o("Div", sum_p, sum_sn2)
    lowest = o("Min", f(aminh), o("Pow", ratio, f(-hop_s / ms.TAU_FALL)))  # (12)
    away = o("Sub", o("Div", p, sn2), one)
    ah = o("Max", o("Div", o("Mul", f(amax), alpha), o("Add", one, o("Mul", away, away))), lowest)  # (11)
    p1 = o("Add", y, o("Mul", ah, o("Sub", p, y)))  # (3)
    beta = o("Min", o("Mul", ah, ah), f(bmax))
    away = o("Sub", p1, pb)
    part = o("Mul", beta, away)
    var1 = o("Mul", beta, o("Add", var, o("Mul", away, o("Sub", away, part))))
    pb1 = o("Sub", p1, part)  # (20)
    # twice 1 / Q_eq, (23); the constants below are for it
    qi = o("Clip", o("Div", var1, o("Mul", sn2, sn2)), least, f(2 / ms.Q_MIN))
    qav = o("ReduceMean", qi, axis, keepdims=1)
    scaled = o("Mul", p1, o("Add", one, o("Mul", f(ms.BIAS_SLOPE / math.sqrt(2)), o("Sqrt", qav))))
    windows = ((u * v, ms.bias_m(u * v)), (v, ms.bias_m(v)))  # frames of the search window and of a sub-window, and M
    # (17), 1 + s q / (1 - m q) with s = (D - 1) (1 - M) and q twice 1 / Q_eq, as (1 - s / m) + 1 / (m / s - m m / s q)
    s_m = np.array([[(d - 1) * (1 - m) / m] for d, m in windows])
    turned = f([[m / ((d - 1) * (1 - m)) * m] for d, m in windows])
    bias = o("Add", f(1 - s_m), o("Reciprocal", o("Sub", f(1 / s_m), o("Mul", turned, qi))))
    over = o("Mul", scaled, bias)
    place = lambda x, i: o("Gather", x, b.constant(i, INT), axis=0)  # noqa: E731
    kmod = o("Less", place(over, 0), place(act, 0))
    act1 = o("Where", kmod, over, act)
    actminsub = place(act1, 1)

    def at_end(e: Graph) -> list[str]:
        # the sub-window is full: its minimum replaces that of U sub-windows ago, and noise may rise
        o = e.op
        slopes = 10 ** (np.array(ms.SLOPE_DB_PER_S) * v * hop_s / 10)
        beyond = e.cast(o("GreaterOrEqual", qav, e.constant(2 * np.array(ms.SLOPE_Q[:3]), F64)), INT)
        rise = o("Gather", e.constant(slopes, F64), o("ReduceSum", beyond, e.ints(0), keepdims=1), axis=0)
        actmin = o("Gather", act1, e.constant(0, INT), axis=0)
        kept1 = o("Where", row, actmin, kept)
        minimum = o("ReduceMin", kept1, e.ints(0), keepdims=0)
        rising = o("And", o("Less", minimum, actminsub), o("Less", actminsub, o("Mul", rise, minimum)))
        rising = o("And", o("And", flag, o("Not", kmod)), rising)
        return [
            o("Where", rising, actminsub, kept1),
            o("Where", rising, actminsub, minimum),
            e.constant(np.full((2, n_bins), np.inf), F64),
            e.constant(np.zeros(n_bins), BOOL),
            sn2,  # keeps its value on this frame, as in the reference
        ]

    def within(e: Graph) -> list[str]:
        o = e.op
        low = o("Min", actminsub, pminu)
        flag1 = o("Or", flag, o("And", kmod, middle))
        return [kept, o("Where", middle, low, pminu), act1, flag1, o("Where", middle, low, sn2)]

    kept1, pminu1, act2, flag1, sn21 = b.either(end, at_end, within)
    outputs = (
        (p1, F64, [n_bins]), (pb1, F64, [n_bins]), (var1, F64, [n_bins]), (sn21, F64, [n_bins]), (pminu1, F64, [n_bins]),
        (act2, F64, [2, n_bins]), (flag1, BOOL, [n_bins]), (kept1, F64, [u, n_bins]), (alpha, F64, [1]),
        (b.op("Identity", sn21), F64, [n_bins]), (ratio, F64, [1]),
    )  # fmt: skip
    for value, dtype, shape in outputs:
        b.result(value, dtype, shape)
    return b
