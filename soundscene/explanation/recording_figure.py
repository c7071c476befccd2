"""The picture of one recording: its sound, what the network pooled, and how the prediction came about."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int64
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from soundscene.explanation.recording import RecordingView
from soundscene.plotting.axes import (
    band_edges,
    hatch_silence,
    hertz_axis,
    legend_below,
    picture_width_in,
    symmetric_limit,
    wrap_text,
)
from soundscene.plotting.player import TimePanel
from soundscene.plotting.style import (
    BAND_GREY,
    BORDER_GREY,
    CHANNEL_DASHES,
    CHANNELS,
    PICTURE_WIDTH_IN,
    REFERENCE_GREY,
    SMALL_PT,
    line_style,
    styled,
)
from soundscene.plotting.svg import clean

OVER_TIME = "over time"
BANDS_IN = 2.4  # of a panel with bands, so that 125 and 250 Hz do not touch
POINTS_PER_IN = 72  # of an SVG by matplotlib
ATTRIBUTION_COLOURS = "RdBu_r"  # diverging, and told apart by readers who see no red or no green
_MARKED = 60  # votes up to which each one has its marker

Panel = tuple[float, Callable[[Axes, Axes], None]]
"""Height in inches, and what draws it, given the panel and the narrow one at its side."""


@dataclass(frozen=True)
class TimeAxis:
    """The frames of the segments drawn on one axis of seconds, without those that the segment before has already.

    Attributes:
        segment: Segment that each column comes from.
        frame: Frame that each column comes from.
        edges_s: Borders of the columns, s.
        starts_s: Starts of the segments drawn, s.
        overlaps: Whether the last of them overlaps the one before.
    """

    segment: Int64[np.ndarray, " column"]
    frame: Int64[np.ndarray, " column"]
    edges_s: Float64[np.ndarray, " edge"]
    starts_s: Float64[np.ndarray, " segment"]
    overlaps: bool

    def columns(self, values: Float[np.ndarray, "segment row frame"]) -> Float[np.ndarray, "row column"]:
        """Return arrays of segments as one array over time."""
        return values[self.segment, :, self.frame].T


def time_axis(view: RecordingView, frame_s: float) -> TimeAxis:
    """Return the columns of a view.

    Args:
        view: What is drawn.
        frame_s: Seconds from frame to frame.
    """
    starts_s = view.start_s[view.drawn]
    ends_s = starts_s + view.segment_s
    times = starts_s[:, None] + np.arange(view.part.images.shape[3]) * frame_s
    fresh_from = np.concatenate([starts_s[:1], ends_s[:-1]])
    segment, frame = np.nonzero(times + frame_s / 2 > fresh_from[:, None])
    overlaps = bool(len(starts_s) > 1 and starts_s[-1] < ends_s[-2] - 1e-6)
    return TimeAxis(segment, frame, np.append(times[segment, frame], ends_s[-1]), starts_s, overlaps)


@styled
def recording_figure(
    view: RecordingView,
    centres_hz: Float64[np.ndarray, " band"],
    kind: str,
    sample_rate: int,
    hop: int,
    learnt: tuple[bool, bool],
) -> Figure:
    """Draw a recording.

    Args:
        view: Numbers to draw.
        centres_hz: Centre frequencies of the image's bands, Hz.
        kind: Of the features, as the recipe names it.
        sample_rate: Hz.
        hop: Samples from frame to frame.
        learnt: Whether spatial and temporal attention were learnt.
    """
    frame_s = hop / sample_rate
    time = time_axis(view, frame_s)
    panels: list[Panel] = [(0.9, lambda a, s: _wave(a, s, view, sample_rate))]
    panels += [(BANDS_IN, lambda a, s, c=c: _image(a, s, view, time, centres_hz, kind, c)) for c in range(2)]
    voting = ~view.silent[view.drawn]
    if view.part.temporal is not None and voting.any():
        panels += [
            (1.1, lambda a, s: _temporal(a, s, view, time, frame_s, learnt[1])),
            (1.9, lambda a, s: _mask(a, s, view, time, learnt[0])),
        ]
    if voting.any():
        panels.append((BANDS_IN, lambda a, s: _attribution(a, s, view, time, centres_hz)))
    posteriors_in = max(0.9, 0.19 * len(view.scenes))
    panels += [(posteriors_in, lambda a, s: _posteriors(a, s, view)), (1.6, lambda a, s: _fused(a, s, view))]
    heights = [height for height, _ in panels]
    names = [clean(scene) for scene in view.scenes]
    title = _title(view)
    height_in = sum(heights) + 0.5 * len(heights) + 0.2 * (title.count("\n") + 2)
    figure = Figure(figsize=(picture_width_in(PICTURE_WIDTH_IN, names), height_in), layout="constrained")
    axes = figure.subplots(len(panels), 2, width_ratios=(7, 1), height_ratios=heights, squeeze=False)
    figure.suptitle(title, x=0.01, ha="left")
    for (_, draw), (axis, side) in zip(panels, axes, strict=True):
        draw(axis, side)
        axis.set_label(OVER_TIME)
    for axis in axes[: len(panels) - 2, 0]:
        axis.set_xlim(time.edges_s[0], time.edges_s[-1])
        for start in time.starts_s[1:]:
            axis.axvline(start, color=BORDER_GREY, linewidth=0.6)
        for start in time.starts_s[view.silent[view.drawn]]:
            hatch_silence(axis, start, start + view.segment_s)
    axes[-3, 0].set_xlabel("seconds")
    handles, labels = axes[-1, 0].get_legend_handles_labels()
    legend_below(figure, handles, labels)
    return figure


def time_panels(figure: Figure) -> list[TimePanel]:
    """Return where the panels over time are in the figure's SVG, for the cursor of a player.

    Args:
        figure: Of `recording_figure`.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)  # the reader's font may have it
        figure.draw_without_rendering()  # the layout decides where the panels are
    width, height = figure.get_size_inches() * POINTS_PER_IN
    panels = []
    for axis in figure.axes:
        if axis.get_label() == OVER_TIME:
            box, (start_s, end_s) = axis.get_position(), axis.get_xlim()
            edges = (box.x0 * width, box.x1 * width, (1 - box.y1) * height, (1 - box.y0) * height)
            panels.append(TimePanel(*(round(float(x), 2) for x in (*edges, start_s, end_s))))
    return panels


def headline(view: RecordingView) -> str:
    """Return recording and prediction in one line."""
    return f"{clean(view.name)}: {clean(view.scenes[view.predicted])}, probability {view.fused[-1, view.predicted]:.2f}"


def remarks(view: RecordingView) -> tuple[str, ...]:
    """Return notes on what the picture leaves out or adds."""
    notes = [view.of_members] if view.of_members else []
    n, drawn = len(view.start_s), len(view.part.images)
    first, last = view.start_s[view.drawn][[0, -1]]
    if drawn < n:
        notes.append(
            f"Drawn in detail: {drawn} of {n} segments, {first:g} s to {last + view.segment_s:g} s. "
            "The two lowest panels show the whole recording."
        )
    if view.part.temporal is None:
        which = "This model" if view.of_members is None else f"The member {view.member}"
        notes.append(f"{which} {view.unattended}. Temporal attention, spatial attention and their product are left out.")
    if drawn > 1 and last < view.start_s[view.drawn][-2] + view.segment_s - 1e-6:
        notes.append("The last segment overlaps the one before: it is shown from where it is new, its attention dashed.")
    if view.silent[view.drawn].all():
        notes.append("All segments drawn are digital silence, which does not vote: there is nothing to explain.")
    if view.silent.any():
        notes.append("Hatched: digital silence, which did not vote.")
    return tuple(notes)


def completeness(view: RecordingView) -> str:
    """Return how far the sums of the attributions are from what they should sum to."""
    voting = ~view.silent[view.drawn]
    error, gained = (np.abs(v[voting]).max(initial=0) for v in (view.part.attribution.error, view.part.attribution.gained))
    return (
        f"attributions are integrated gradients: those of a segment sum to the change of log posterior from the mean image "
        f"within {error:.2g} nats (largest change {gained:.3g})"
    )


def _title(view: RecordingView) -> str:
    lines = [f"{headline(view)}   ({view.duration_s:.1f} s, {view.head} head, fused and tempered)", *remarks(view)]
    return "\n".join(wrap_text(line, 130) for line in lines)


def _wave(axis: Axes, side: Axes, view: RecordingView, sample_rate: int) -> None:
    samples = view.part.samples
    step = max(1, len(samples) // 4000)  # lowest and highest of so many samples: no peak is lost
    whole = samples[: len(samples) // step * step].reshape(-1, step)
    seconds = view.part.samples_from_s + (np.arange(len(whole)) + 0.5) * step / sample_rate
    axis.fill_between(seconds, whole.min(axis=1), whole.max(axis=1), color="black", linewidth=0.3)
    peak = symmetric_limit(samples, 100.0)
    axis.set(ylim=(-1.05 * peak, 1.05 * peak), ylabel="amplitude", title="waveform, as the model receives it (mono)")
    side.axis("off")


def _image(
    axis: Axes,
    side: Axes,
    view: RecordingView,
    time: TimeAxis,
    centres_hz: Float64[np.ndarray, " band"],
    kind: str,
    channel: int,
) -> None:
    decibels = view.part.images * (10 / np.log(10))
    low, high = np.percentile(decibels, (2, 99.8))
    values = time.columns(decibels[:, channel])
    drawn = axis.pcolormesh(time.edges_s, band_edges(centres_hz), values, cmap="magma", vmin=low, vmax=high, rasterized=True)
    read = channel < view.part.attribution.values.shape[1]
    axis.set_title(f"log-{kind} image, {CHANNELS[channel]}" + ("" if read else " (this model does not read it)"))
    hertz_axis(axis, centres_hz)
    side.axis("off")
    bar = side.inset_axes((0.0, 0.0, 0.14, 1.0))
    axis.figure.colorbar(drawn, cax=bar, label="dB")


def _temporal(axis: Axes, side: Axes, view: RecordingView, time: TimeAxis, frame_s: float, learnt: bool) -> None:
    assert view.part.temporal is not None
    n_frames = view.part.temporal.shape[1]
    voting = ~view.silent[view.drawn]
    for i in np.flatnonzero(voting):
        seconds = time.starts_s[i] + (np.arange(n_frames) + 0.5) * frame_s
        dashed = bool(time.overlaps and i == len(voting) - 1)
        axis.plot(seconds, view.part.temporal[i] * n_frames, color="black", linestyle=CHANNEL_DASHES[dashed])
    axis.axhline(1, color=REFERENCE_GREY, linewidth=0.6)
    how = "" if learnt else "; not learnt by this model"
    axis.set(ylabel="times even", title=f"when the network pooled: temporal attention, 1 is even{how}")
    axis.set_ylim(bottom=0)
    side.axis("off")


def _mask(axis: Axes, side: Axes, view: RecordingView, time: TimeAxis, learnt: bool) -> None:
    assert view.part.temporal is not None
    assert view.part.spatial is not None
    n, n_frames = view.part.spatial.shape[1], view.part.temporal.shape[1]
    voting = ~view.silent[view.drawn]
    mask = view.part.spatial[:, :, None] * view.part.temporal[:, None, :] * np.float32(n * n_frames)
    mask[~voting] = np.nan
    low, high = float(np.nanmin(mask)), float(np.nanmax(mask))
    axis.pcolormesh(time.edges_s, np.arange(n + 1), time.columns(mask), cmap="Greys", rasterized=True)
    axis.set(
        ylabel="recurrent feature\n(NOT frequency)",
        title=f"when and which features: both attentions multiplied, {low:.2f} (white) to {high:.2f} (black) times even",
    )
    spatial = view.part.spatial[voting] * n
    rows = np.arange(n) + 0.5
    side.fill_betweenx(rows, spatial.min(axis=0), spatial.max(axis=0), color=BAND_GREY, linewidth=0)
    side.plot(spatial.mean(axis=0), rows, color="black")
    side.axvline(1, color=REFERENCE_GREY, linewidth=0.6)
    how = "(grey: lowest to\nhighest segment)" if learnt else "(not learnt)"
    side.set(ylim=(0, n), yticks=[], xlabel=f"times even\n{how}", title="spatial\nattention")


def _attribution(
    axis: Axes, side: Axes, view: RecordingView, time: TimeAxis, centres_hz: Float64[np.ndarray, " band"]
) -> None:
    values = view.part.attribution.values.astype(np.float64)
    values[view.silent[view.drawn]] = np.nan
    both = values.sum(axis=1)
    limit = symmetric_limit(both)
    axis.pcolormesh(
        time.edges_s,
        band_edges(centres_hz),
        time.columns(both),
        cmap=ATTRIBUTION_COLOURS,
        vmin=-limit,
        vmax=limit,
        rasterized=True,
    )
    scene = clean(view.scenes[view.attributed])
    axis.set_title(
        wrap_text(f"what speaks for {scene} (red) and against it (blue); white does neither", 105)
        + f"\nfull colour: {limit:.2g} nats of log posterior or more; this is attribution, not attention; channels summed"
    )
    hertz_axis(axis, centres_hz)
    by_band = np.nanmean(values.sum(axis=3), axis=0)
    rows = np.arange(len(centres_hz))
    side.axvline(0, color=REFERENCE_GREY, linewidth=0.6)
    for channel, dashes in zip(by_band, CHANNEL_DASHES, strict=False):
        side.plot(channel, rows, color="black", linestyle=dashes)
    channels = "solid: as recorded\ndashed: subtracted" if len(by_band) > 1 else "(as recorded)"
    side.set(ylim=(-0.5, len(rows) - 0.5), yticks=[], xlabel=f"nats per segment\n{channels}", title="by band")


def _posteriors(axis: Axes, side: Axes, view: RecordingView) -> None:
    """Draw segment posteriors as shades, scene by seconds, and the fused prediction as bars in the same rows."""
    n = len(view.scenes)
    edges = np.append(view.start_s[0], view.start_s + view.segment_s)
    rows = np.arange(n + 1) - 0.5
    axis.pcolormesh(edges, rows, view.posterior.T, cmap="Greys", vmin=0, vmax=1, rasterized=True)
    for start, end in zip(edges[:-1][view.silent], edges[1:][view.silent], strict=True):
        hatch_silence(axis, start, end)
    axis.set_yticks(np.arange(n), [clean(scene) for scene in view.scenes])
    axis.set(xlim=(edges[0], edges[-1]), ylim=(n - 0.5, -0.5), xlabel="seconds")
    axis.set_title("posterior of each segment alone: white 0, black 1")
    side.barh(np.arange(n), view.fused[-1], color=BORDER_GREY, edgecolor="black", linewidth=0.6)
    for row, value in enumerate(view.fused[-1]):
        beside = value < 0.6  # a number across the end of its bar is hard to read
        side.text(value + 0.03 if beside else 0.03, row, f"{value:.3f}", va="center", fontsize=SMALL_PT)
    side.set(
        xlim=(0, 1), ylim=(n - 0.5, -0.5), yticks=[], xlabel="probability", title="fused prediction,\ncalibrated,\ntempered"
    )


def _fused(axis: Axes, side: Axes, view: RecordingView) -> None:
    """Draw the fused prediction after each vote, as steps, for the scenes that matter."""
    seconds = np.append(view.vote_end_s, view.start_s[-1] + view.segment_s)
    few = len(view.vote_end_s) <= _MARKED
    for number, scene in enumerate(_shown_scenes(view)):
        look = line_style(number)
        axis.plot(
            seconds, np.append(view.fused[:, scene], view.fused[-1, scene]), drawstyle="steps-post", color=look.color,
            linestyle=look.dashes, marker=look.marker if few else "", label=clean(view.scenes[scene]), clip_on=False,
        )  # fmt: skip
    axis.set(
        xlim=(view.start_s[0], seconds[-1]),
        ylim=(-0.04, 1.04),
        xlabel="seconds of sound",
        ylabel="probability",
        title="fused prediction over time: product of all segments so far, tempered",
    )
    side.axis("off")


def _shown_scenes(view: RecordingView) -> Int64[np.ndarray, " line"]:
    """Return the scenes with a line: the three most probable in the end, and the one that is attributed."""
    best = np.argsort(-view.fused[-1], kind="stable")[:3]
    return best if view.attributed in best else np.append(best, view.attributed)
