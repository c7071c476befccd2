"""A backbone's own rate inside the graph: soxr's resampler as one convolution, whose taps are measured from soxr itself.

Between two rates of the ratio a : b, soxr's "HQ" filter is linear and repeats itself after `a` samples, which become `b`. So
the answers to `a` impulses are all of it: taps [b, tap] at a stride of `a`. The first two samples of a recording differ from
soxr's, by up to 0.01 of full scale; all others by 1e-7 (docs/decisions/0134).
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float32

from soundscene.audio.timing import Resampler
from soundscene.errors import SceneError
from soundscene.export.frontend import Block, Reach, Segments
from soundscene.export.graph import F32, F64, INT, Graph
from soundscene.recipe import AudioRecipe

LEAST = 1e-7  # of a tap that is kept
MOST_TAPS = 1 << 22  # of a graph, 16 MB
_AT_LEAST = 128  # samples made at once: fewer make a convolution slow
_SPAN_S = 0.2  # on either side of an impulse, longer than soxr's filter between all rates that are allowed


@dataclass(frozen=True)
class Resampling:
    """Taps that make `n_out` samples of the new rate of each `n_in` of the old.

    Attributes:
        taps: [n_out, tap].
        n_in: Samples of the old rate.
        n_out: Samples of the new rate.
        first: Where the first tap lies, in samples from the first of `n_in`; negative.
    """

    taps: Float32[np.ndarray, "n_out tap"]
    n_in: int
    n_out: int
    first: int

    @property
    def reach(self) -> Reach:
        """How many samples before and after a segment its resampled samples depend on."""
        rounding = -(-self.n_in // self.n_out) + 1  # a segment begins at the nearest sample of the new rate
        return Reach(self.n_in - self.first + rounding, max(0, self.first + self.taps.shape[1]) + rounding)


@lru_cache(4)
def measure(old: int, new: int) -> Resampling:
    """Measure soxr's resampler.

    Args:
        old: Rate of the samples, Hz.
        new: Rate of the result, Hz.

    Raises:
        SceneError: The rates have no small ratio, so that there would be too many taps.
    """
    divisor = math.gcd(old, new)
    times = -(-_AT_LEAST * divisor // new)
    n_in, n_out = old // divisor * times, new // divisor * times
    before = -(-round(_SPAN_S * old) // n_in)  # blocks
    if n_out * (2 * before + 1) * n_in > 16 * MOST_TAPS:
        raise SceneError(
            f"export: a backbone at {new} Hz beside sound at {old} Hz, whose ratio is {old // divisor} : {new // divisor}; "
            "allowed are ratios of small numbers; train with audio.sample_rate=16000, 22050, 32000, 44100 or 48000"
        )
    taps = np.zeros((n_out, (2 * before + 1) * n_in), np.float32)
    impulse = np.zeros((2 * before + 1) * n_in, np.float32)
    for place in range(n_in):
        impulse[:] = 0
        impulse[before * n_in + place] = 1
        resampler = Resampler(old, new, 1)
        answer = np.concatenate([resampler.push(impulse[:, None]), *resampler.flush()])[:, 0]
        for block in range(2 * before + 1):  # seen from a block, the impulse lies at a tap of its own
            taps[:, (2 * before - block) * n_in + place] = answer[block * n_out : (block + 1) * n_out]
    kept = np.flatnonzero((np.abs(taps) > LEAST).any(axis=0))
    return Resampling(np.ascontiguousarray(taps[:, kept[0] : kept[-1] + 1]), n_in, n_out, int(kept[0]) - before * n_in)


def add_resampled(g: Graph, audio: AudioRecipe, segments: Segments, block: Block, new: int) -> str:
    """Add the samples of one segment or more at another rate, [segment, sample], as `backbone.stream.BackboneStream` cuts.

    Args:
        g: The graph.
        audio: Of the samples.
        segments: The segments.
        block: Inputs: after the last block, what the resampler lacks is zeros.
        new: The other rate, Hz.
    """
    old, size = audio.sample_rate, round(audio.segment_s * new)
    i = lambda x: g.constant(x, INT)  # noqa: E731
    channels = segments.channels
    recorded = g.op("Squeeze", g.cut(channels.both, 0, 1, 0), g.ints(0))
    # `round(start_s * new)`: the nearest sample, of two the even one
    seconds = g.op("Div", g.cast(segments.starts, F64), g.constant(old, F64))
    first = g.cast(g.op("Round", g.op("Mul", seconds, g.constant(new, F64))), INT)
    if old == new:
        return _slices(g, recorded, g.op("Sub", first, channels.start), size)
    resampling = measure(old, new)
    n_in, n_out, width = resampling.n_in, resampling.n_out, resampling.taps.shape[1]
    n_blocks = -(-(size + n_out - 1) // n_out)
    n_read = (n_blocks - 1) * n_in + width
    left, right = resampling.reach.before, n_read + n_in
    padded = g.op("Pad", recorded, g.ints(left, right))
    number = g.op("Div", first, i(n_out))  # of the block in which the segment begins
    places = g.op("Add", g.op("Mul", number, i(n_in)), i(resampling.first + left))
    read = _slices(g, padded, g.op("Sub", places, channels.start), n_read)
    taps = g.constant(resampling.taps[:, None], F32)
    made = g.op("Conv", g.op("Unsqueeze", read, g.ints(1)), taps, strides=[n_in])  # [segment, n_out, block]
    made = g.op("Reshape", g.op("Transpose", made, perm=[0, 2, 1]), g.ints(0, -1))
    offset = g.op("Sub", first, g.op("Mul", number, i(n_out)))
    waves = _rows(g, made, offset, size)
    # `floor(n new / old + 1/2)` samples there are in all
    end = g.op("Div", g.op("Add", g.op("Mul", channels.end, i(2 * new)), i(old)), i(2 * old))
    end = g.op("Where", block.last, end, i(2**62))
    at = g.op("Add", g.op("Unsqueeze", first, g.ints(1)), g.range(size))
    return g.op("Where", g.op("Less", at, end), waves, g.constant(0.0, F32))


def _slices(g: Graph, samples: str, places: str, size: int) -> str:
    """[segment, size] of one row of samples, from a place each."""
    body = g.body("slice")
    place = body.input("place_of_slice", INT, [])
    stop = body.op("Add", place, body.constant(size, INT))
    body.result(body.cut(samples, place, stop, 0), F32, [size])
    return g.op("Scan", places, body=body, num_scan_inputs=1)


def _rows(g: Graph, rows: str, places: str, size: int) -> str:
    """[segment, size] of rows [segment, sample], from a place each."""
    body = g.body("row")
    place, row = body.input("place_of_row", INT, []), body.input("row_of_samples", F32, ["samples_of_row"])
    stop = body.op("Add", place, body.constant(size, INT))
    body.result(body.cut(row, place, stop, 0), F32, [size])
    return g.op("Scan", places, rows, body=body, num_scan_inputs=2)
