"""The front-end as a graph: a block of samples and a state in, images of the segments that it completes and the state out.

It is `signal.frontend.FrontEnd`, step by step. All of it depends on how many samples have come, so that one graph serves
files, streams and pages. A block may have any number of samples, none as well.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from soundscene.export.graph import F32, F64, INT, Graph
from soundscene.export.spectra import Halves, Spectra, add_frames, add_power, add_spectra
from soundscene.export.tracker import N_ROWS, Tracked, TrackerState, add_tracker
from soundscene.recipe import AudioRecipe, FeatureRecipe
from soundscene.signal.features import LogSpectrogram
from soundscene.signal.minimum_statistics import AFTER_SILENCE, POWER_FLOOR, SILENT, search_window
from soundscene.signal.noise import HIGH_SNR_DB, LOW_SNR_DB, OVERSUBTRACTION, RESIDUE
from soundscene.signal.windows import hann, mirror, owned_start, root_hamming

COUNTS = ("frames", "silence", "after_silence", "start", "next", "covered")
"""Of `counts`: frames so far; whether digital silence was met, and sound after it; and, in samples from the start of the
recording, where `channels` begins, where the next segment does, and where the last one ended."""


@dataclass(frozen=True)
class Block:
    """Inputs of a call.

    Attributes:
        samples: [sample].
        last: Whether no samples follow.
        hop: Samples from one segment to the next.
    """

    samples: str
    last: str
    hop: str


@dataclass(frozen=True)
class Channels:
    """The recording and the recording without its background noise.

    Attributes:
        both: [2, sample] of which no segment is complete; [1, sample] where no member hears the second.
        start: Sample of the recording at which they begin.
        end: Sample at which they end.
    """

    both: str
    start: str
    end: str


@dataclass(frozen=True)
class Reach:
    """How many samples beside a segment it depends on, as a resampler reads them.

    Attributes:
        before: Samples before its first.
        after: Samples after its last; those after the end of the recording are zeros.
    """

    before: int = 0
    after: int = 0

    def __or__(self, other: "Reach") -> "Reach":
        """Return the larger of both on each side."""
        return Reach(max(self.before, other.before), max(self.after, other.after))


def state_shapes(audio: AudioRecipe, subtracts: bool = True) -> dict[str, tuple[np.dtype, list[int | str]]]:
    """Return types and shapes of the state, by name. It begins with zeros, and with nothing where a size is a name.

    Args:
        audio: Settings.
        subtracts: Whether a member hears the recording without its noise; else nothing is kept of the tracker.
    """
    if not subtracts:
        return {"channels": (F32, [1, "held"]), "counts": (INT, [len(COUNTS)])}
    n_bins = audio.noise_hop + 1
    _, u = search_window(audio.noise_hop / audio.sample_rate)
    return {
        "pending": (F32, ["pending"]),  # samples from the next noise frame on
        "bins": (F64, [N_ROWS, n_bins]),
        "kept": (F64, [u, n_bins]),
        "alpha_c": (F64, [1]),
        "tail": (F32, [audio.noise_hop]),  # second half of the last frame without noise
        "channels": (F32, [2, "held"]),
        "counts": (INT, [len(COUNTS)]),
    }


def count(g: Graph, counts: str, name: str) -> str:
    """Return one of `COUNTS` as a number.

    Args:
        g: The graph.
        counts: All of them.
        name: Which.
    """
    return g.op("Gather", counts, g.constant(COUNTS.index(name), INT))


def add_noise_subtraction(g: Graph, audio: AudioRecipe, block: Block, state: dict[str, str]) -> tuple[dict[str, str], str]:
    """Add tracking and subtraction of noise.

    Args:
        g: The graph.
        audio: Settings.
        block: Inputs.
        state: Inputs, by the names of `state_shapes`.

    Returns:
        The state after the block, but for "channels" and "counts", with "frames", "silence" and "after_silence"; and both
        channels [2, sample] of the samples that are now known.
    """
    hop = audio.noise_hop
    i = lambda x: g.constant(x, INT)  # noqa: E731
    x = g.op("Concat", state["pending"], block.samples, axis=0)
    n = g.size(x, 0)
    frames = count(g, state["counts"], "frames")
    whole = g.op("Max", g.op("Sub", g.op("Div", n, i(hop)), i(1)), i(0))
    # At the end one more frame, completed by reflection, if a sample lies in no frame yet.
    begun = g.op("Greater", g.op("Add", frames, whole), i(0))
    rest = g.op("Sub", n, g.op("Mul", whole, i(hop)))
    lacking = g.op("Greater", rest, g.op("Where", begun, i(hop), i(0)))
    n_frames = g.op("Add", whole, g.cast(g.op("And", block.last, lacking), INT))
    names = ("bins", "kept", "alpha_c", "tail", "silence", "after_silence")
    before = {**state, **{name: count(g, state["counts"], name) for name in names[-2:]}}

    def some(b: Graph) -> list[str]:
        # beyond the end, samples are reflected about it, counted from the start of the last frame
        offset = b.op("Mul", whole, b.constant(hop, INT))
        needed = b.op("Mul", b.op("Add", n_frames, b.constant(1, INT)), b.constant(hop, INT))
        twice = b.op("Mul", rest, b.constant(2, INT))
        beyond = b.op("Mod", b.op("Sub", b.range(needed, n), offset), twice)  # none, but at the end
        back = b.op("Sub", b.op("Sub", twice, b.constant(1, INT)), beyond)
        places = b.op("Add", b.op("Where", b.op("Less", beyond, rest), beyond, back), offset)
        samples = b.op("Concat", b.cut(x, 0, needed, 0), b.op("Gather", x, places, axis=0), axis=0)
        return _subtract(b, audio, samples, frames, before)

    def none(b: Graph) -> list[str]:
        return [*(before[name] for name in names), b.constant(np.zeros(0), F32)]

    *values, cleaned = g.either(g.op("Greater", n_frames, i(0)), some, none)
    after: dict[str, str] = dict(zip(names, values, strict=True))
    cleaned = g.op("Concat", cleaned, after["tail"], axis=0)
    done = g.op("Mul", n_frames, i(hop))  # samples that no later frame can change
    known = g.op("Where", block.last, n, done)
    rows = [g.op("Unsqueeze", g.cut(row, 0, known, 0), g.ints(0)) for row in (x, cleaned)]
    after["pending"] = g.cut(x, known, 2**62, 0)
    after["frames"] = g.op("Add", frames, n_frames)
    return after, g.op("Concat", *rows, axis=0)


def add_recorded(g: Graph, block: Block, state: dict[str, str]) -> tuple[dict[str, str], str]:
    """Add what stands for `add_noise_subtraction` where no member hears the recording without its noise.

    Args:
        g: The graph.
        block: Inputs.
        state: Inputs, by the names of `state_shapes`.

    Returns:
        "frames", "silence" and "after_silence", and the samples [1, sample] that are now known.
    """
    return {name: count(g, state["counts"], name) for name in COUNTS[:3]}, g.op("Unsqueeze", block.samples, g.ints(0))


def _subtract(g: Graph, audio: AudioRecipe, x: str, frames: str, before: dict[str, str]) -> list[str]:
    """Subtract the noise of one frame or more of [hop (frames + 1)] samples; the state after, then the cleaned samples."""
    hop, n_bins = audio.noise_hop, audio.noise_hop + 1
    f = lambda value: g.constant(value, F64)  # noqa: E731
    window = root_hamming(2 * hop)
    # In float64, as in `signal.noise`: the tracker compares, and where float32 rounds otherwise, a minimum may be missed.
    blocks = g.cast(g.op("Reshape", x, g.ints(-1, hop)), F64)
    parts = add_spectra(g, Halves(blocks, blocks, 2, two_hops=True), window, 2 * hop, F64)
    # The bins stay in the order of the parts: the tracker does not mind, and nothing has to be moved.
    power = g.op("Concat", *(add_power(g, part) for part in parts), axis=1)
    state = TrackerState(before["bins"], before["kept"], before["alpha_c"])
    tracked = add_tracker(g, power, state, frames, n_bins, hop / audio.sample_rate)

    # `signal.noise.subtraction_gain`
    sums = [g.op("Max", g.op("ReduceSum", value, g.ints(1), keepdims=1), f(POWER_FLOOR)) for value in (power, tracked.noise)]
    snr_db = g.op("Mul", f(10 / math.log(10)), g.op("Log", g.op("Div", *sums)))
    snr_db = g.op("Clip", snr_db, f(LOW_SNR_DB), f(HIGH_SNR_DB))
    slope = (OVERSUBTRACTION - 1) / (LOW_SNR_DB - HIGH_SNR_DB)
    root_a = g.op("Sqrt", g.op("Add", f(1.0), g.op("Mul", f(slope), g.op("Sub", snr_db, f(HIGH_SNR_DB)))))
    root_v = g.op("Sqrt", g.op("Div", tracked.noise, g.op("Max", power, f(POWER_FLOOR))))
    residue = g.op("Min", f(1.0), g.op("Mul", f(math.sqrt(RESIDUE)), root_v))
    gain = g.op("Max", g.op("Sub", f(1.0), g.op("Mul", root_a, root_v)), residue)

    n_lower = len(parts[0].bins)
    gains = g.cut(gain, 0, n_lower, 1), g.cut(gain, n_lower, n_bins, 1)
    attenuated = [
        Spectra(g.op("Mul", part.real, gain), g.op("Mul", part.imaginary, gain), part.bins)
        for part, gain in zip(parts, gains, strict=True)
    ]
    first, second = (g.cast(half, F32) for half in add_frames(g, attenuated, 2 * hop, F64))
    first = g.op("Mul", first, g.constant(window[:hop], F32))
    second = g.op("Mul", second, g.constant(window[hop:], F32))
    carried = g.op("Concat", g.op("Unsqueeze", before["tail"], g.ints(0)), second, axis=0)
    cleaned = g.op("Reshape", g.op("Add", first, g.cut(carried, 0, -1, 0)), g.ints(-1))
    tail = g.op("Squeeze", g.cut(carried, -1, 2**62, 0), g.ints(0))
    new = tracked.state
    return [new.bins, new.kept, new.alpha_c, tail, *_silence(g, tracked, n_bins, before), cleaned]


def _silence(g: Graph, tracked: Tracked, n_bins: int, before: dict[str, str]) -> list[str]:
    """Whether digital silence was met, and whether sound has followed it, as `NoiseTracker.after_silence` says."""
    zero = g.constant(0, INT)
    silent = g.cast(g.op("Less", tracked.sum_power, g.constant(n_bins * SILENT, F64)), INT)
    met = g.op("Greater", g.op("Add", g.op("CumSum", silent, zero), before["silence"]), zero)
    met = g.op("Or", met, g.op("Greater", tracked.ratio, g.constant(AFTER_SILENCE, F64)))
    sounding = g.op("And", met, g.op("Equal", silent, zero))
    any_of = lambda x: g.op("ReduceMax", x, keepdims=0)  # noqa: E731
    return [
        g.op("Max", before["silence"], any_of(silent)),
        g.op("Max", before["after_silence"], any_of(g.cast(sounding, INT))),
    ]


@dataclass(frozen=True)
class Segments:
    """Segments that a block completes.

    Attributes:
        n: How many, a number.
        starts: [segment], in samples from the start of the recording.
        channels: Which they are cut from.
        state: "channels", and "start", "next" and "covered" of `COUNTS`, after the block.
    """

    n: str
    starts: str
    channels: Channels
    state: dict[str, str]


def add_segments(
    g: Graph, audio: AudioRecipe, block: Block, state: dict[str, str], known: str, reach: Reach = Reach()
) -> Segments:
    """Add the grid of segments, `signal.segments.SegmentStream`.

    Args:
        g: The graph.
        audio: Settings.
        block: Inputs.
        state: Inputs, by the names of `state_shapes`.
        known: Both channels [2, sample] of the samples that are new.
        reach: Samples beside a segment that are kept, or waited for, with it.
    """
    i = lambda x: g.constant(x, INT)  # noqa: E731
    size = i(audio.segment_samples)
    both = g.op("Concat", state["channels"], known, axis=1)
    start, following, covered = (count(g, state["counts"], name) for name in ("start", "next", "covered"))
    end = g.op("Add", start, g.size(both, 1))
    latest = g.op("Sub", end, size)  # at which a segment may start
    ready = g.op("Sub", latest, g.op("Where", block.last, i(0), i(reach.after))) if reach.after else latest
    n = g.op("Div", g.op("Add", g.op("Sub", ready, following), block.hop), block.hop)
    n = g.op("Where", g.op("Less", ready, following), i(0), n)
    starts = g.op("Add", g.op("Mul", g.range(n), block.hop), following)
    after = g.op("Add", following, g.op("Mul", n, block.hop))
    ended = g.op("Add", g.op("Sub", after, block.hop), size)
    covered = g.op("Where", g.op("Greater", n, i(0)), ended, covered)
    # the last piece: it ends with the recording
    rest = g.op("Sub", end, g.op("Max", covered, after))
    enough = g.op("GreaterOrEqual", rest, i(math.ceil(audio.last_piece * audio.segment_samples)))
    enough = g.op("And", g.op("And", enough, g.op("GreaterOrEqual", latest, i(0))), block.last)
    extra = g.op("Reshape", g.cast(enough, INT), g.ints(1))
    starts = g.op("Concat", starts, g.op("Expand", g.op("Reshape", latest, g.ints(1)), extra), axis=0)
    needed = g.op("Min", after, latest)
    needed = g.op("Sub", needed, i(reach.before)) if reach.before else needed
    keep = g.op("Min", g.op("Max", needed, start), end)
    new = {
        "channels": g.cut(both, g.op("Sub", keep, start), 2**62, 1),
        "start": keep,
        "next": after,
        "covered": covered,
    }
    return Segments(g.op("Add", n, g.op("Squeeze", extra)), starts, Channels(both, start, end), new)


def add_waves(g: Graph, audio: AudioRecipe, segments: Segments, n_channels: int = 2) -> str:
    """Add the samples of one segment or more, [segment, channel, sample]. A Scan of slices copies them faster than a Gather.

    Args:
        g: The graph.
        audio: Settings.
        segments: The segments.
        n_channels: Of `segments.channels`.
    """
    places = g.op("Sub", segments.starts, segments.channels.start)
    body = g.body("segment")
    place = body.input("place", INT, [])
    stop = body.op("Add", place, body.constant(audio.segment_samples, INT))
    body.result(body.cut(segments.channels.both, place, stop, 1), F32, [n_channels, audio.segment_samples])
    return g.op("Scan", places, body=body, num_scan_inputs=1)


def add_silent(g: Graph, waves: str) -> str:
    """Add whether every sample of each segment is zero, [segment].

    Args:
        g: The graph.
        waves: [segment, channel, sample].
    """
    recorded = g.op("Gather", waves, g.constant(0, INT), axis=1)
    peak = g.op("ReduceMax", g.op("Abs", recorded), g.ints(1), keepdims=0)
    return g.op("Equal", peak, g.constant(0.0, F32))


def add_images(g: Graph, audio: AudioRecipe, recipes: Sequence[FeatureRecipe], waves: str) -> list[str]:
    """Add the log spectrograms [segment, 2, band, frame] of one segment or more, `signal.features.LogSpectrograms`.

    Args:
        g: The graph.
        audio: Settings.
        recipes: Of each member; those of one window, hop and FFT share their spectra.
        waves: [segment, 2, sample].
    """
    powers: dict[tuple[int, int, int], list[tuple[str, np.ndarray]]] = {}
    images = []
    for recipe in recipes:
        spectrogram = LogSpectrogram(audio, recipe)
        key = (recipe.window, recipe.hop, recipe.n_fft)
        if key not in powers:
            halves = _frames(g, audio, recipe, spectrogram.n_frames, waves)
            parts = add_spectra(g, halves, hann(recipe.window), recipe.n_fft, F32)
            powers[key] = [(add_power(g, part), part.bins) for part in parts]
        bands = [g.op("MatMul", power, g.constant(spectrogram.filters[bins], F32)) for power, bins in powers[key]]
        total = g.op("Add", *bands) if len(bands) > 1 else bands[0]
        logs = g.op("Log", g.op("Max", total, g.constant(spectrogram.floor, F32)))  # [segment, 2, frame, band]
        images.append(g.op("Transpose", logs, perm=[0, 1, 3, 2]))
    return images


def _frames(g: Graph, audio: AudioRecipe, recipe: FeatureRecipe, n_frames: int, waves: str) -> Halves:
    """The frames of segments, which are extended by reflection at both ends."""
    size, window, hop = audio.segment_samples, recipe.window, recipe.hop
    first = owned_start(window, hop)
    stop = first + (n_frames - 1) * hop + window
    places = [mirror(first, 0, size), mirror(min(size, stop), stop, size)]
    before, after = (g.op("Gather", waves, g.constant(place, INT), axis=2) for place in places)
    extended = g.op("Concat", before, g.cut(waves, 0, min(size, stop), 2), after, axis=2)
    if window == 2 * hop:
        blocks = g.op("Reshape", extended, g.ints(0, 0, n_frames + 1, hop))
        return Halves(blocks, blocks, 4, two_hops=True)
    centre = window // 2
    starts = g.op("Mul", g.op("Unsqueeze", g.range(n_frames), g.ints(1)), g.constant(hop, INT))
    before, after = (
        g.op("Gather", extended, g.op("Add", starts, g.range(stop, start)), axis=2)
        for start, stop in ((0, centre), (centre, window))
    )
    return Halves(before, after, 4, two_hops=False)
