"""The picture of a recording's images, of the attention that pooled them, and of what each segment was taken for."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from soundscene.plotting.axes import band_edges, hertz_axis, picture_width_in, wrap_text
from soundscene.plotting.style import BORDER_GREY, CHANNELS, PICTURE_WIDTH_IN, REFERENCE_GREY, styled
from soundscene.plotting.svg import clean

_BANDS_IN, _CURVE_IN, _MASK_IN = 2.4, 1.1, 1.6  # height of panels
_LETTERS = 120  # of a line of the title

_Panel = tuple[float, Callable[[Axes], None]]


@dataclass(frozen=True)
class AttentionView:
    """What is drawn: some segments of a recording, one after another.

    Attributes:
        title: Recording and prediction, in a line.
        notes: Further lines.
        scenes: Names.
        start_s: Start of each segment drawn, seconds.
        segment_s: Length of a segment, seconds.
        images: Of each segment, natural logarithms.
        temporal: Attention over frames; None for a network without.
        spatial: Attention over recurrent features; None for a network without.
        posterior: Of each segment alone; NaN for digital silence.
        centres_hz: Centre frequencies of the bands, Hz.
        kind: Of the features, as the recipe names it.
    """

    title: str
    notes: tuple[str, ...]
    scenes: tuple[str, ...]
    start_s: Float64[np.ndarray, " segment"]
    segment_s: float
    images: Float[np.ndarray, "segment 2 band frame"]
    temporal: Float32[np.ndarray, "segment frame"] | None
    spatial: Float32[np.ndarray, "segment recurrent"] | None
    posterior: Float64[np.ndarray, "segment scene"]
    centres_hz: Float64[np.ndarray, " band"]
    kind: str


@styled
def attention_figure(view: AttentionView) -> Figure:
    """Draw images, attention and posteriors on one axis of seconds.

    Args:
        view: What is drawn.
    """
    panels: list[_Panel] = [(_BANDS_IN, lambda axis, c=c: _image(axis, view, c)) for c in range(2)]
    if view.temporal is not None and view.spatial is not None:
        panels += [(_CURVE_IN, lambda axis: _temporal(axis, view)), (_MASK_IN, lambda axis: _mask(axis, view))]
    panels.append((max(0.9, 0.19 * len(view.scenes)), lambda axis: _posterior(axis, view)))
    heights = [height for height, _ in panels]
    title = "\n".join(wrap_text(line, _LETTERS) for line in (view.title, *view.notes))
    height_in = sum(heights) + 0.5 * len(heights) + 0.2 * (title.count("\n") + 2)
    width_in = picture_width_in(PICTURE_WIDTH_IN, [clean(scene) for scene in view.scenes])
    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    axes = figure.subplots(len(panels), 1, height_ratios=heights, squeeze=False)[:, 0]
    figure.suptitle(title, x=0.01, ha="left")
    for (_, draw), axis in zip(panels, axes, strict=True):
        draw(axis)
        axis.set_xlim(view.start_s[0], view.start_s[-1] + view.segment_s)
        for start in view.start_s[1:]:
            axis.axvline(start, color=BORDER_GREY, linewidth=0.6)
    axes[-1].set_xlabel("seconds")
    return figure


def _image(axis: Axes, view: AttentionView, channel: int) -> None:
    decibels = view.images[:, channel] * (10 / np.log(10))
    low, high = np.percentile(view.images * (10 / np.log(10)), (2, 99.8))
    for start, image in zip(view.start_s, decibels, strict=True):
        edges = start + np.linspace(0, view.segment_s, image.shape[1] + 1)
        axis.pcolormesh(edges, band_edges(view.centres_hz), image, cmap="magma", vmin=low, vmax=high, rasterized=True)
    axis.set_title(f"log-{view.kind} image, {CHANNELS[channel]}, {low:.0f} dB (black) to {high:.0f} dB (bright)")
    hertz_axis(axis, view.centres_hz)


def _temporal(axis: Axes, view: AttentionView) -> None:
    assert view.temporal is not None
    n = view.temporal.shape[1]
    for start, weights, row in zip(view.start_s, view.temporal, view.posterior, strict=True):
        if not np.isnan(row).any():
            axis.plot(start + (np.arange(n) + 0.5) * view.segment_s / n, weights * n, color="black")
    axis.axhline(1, color=REFERENCE_GREY, linewidth=0.6)
    axis.set(ylabel="times even", title="when the network pooled: temporal attention, 1 is even")
    axis.set_ylim(bottom=0)


def _mask(axis: Axes, view: AttentionView) -> None:
    assert view.temporal is not None
    assert view.spatial is not None
    n, n_frames = view.spatial.shape[1], view.temporal.shape[1]
    mask = view.spatial[:, :, None] * view.temporal[:, None, :] * np.float32(n * n_frames)
    mask[np.isnan(view.posterior).any(axis=1)] = np.nan
    low, high = float(np.nanmin(mask)), float(np.nanmax(mask))
    for start, values in zip(view.start_s, mask, strict=True):
        edges = start + np.linspace(0, view.segment_s, n_frames + 1)
        axis.pcolormesh(edges, np.arange(n + 1), values, cmap="Greys", vmin=low, vmax=high, rasterized=True)
    what = "when and which features: both attentions multiplied"
    axis.set(
        title=f"{what}, {low:.2f} (white) to {high:.2f} (black) times even", ylabel="recurrent feature\n(NOT frequency)"
    )


def _posterior(axis: Axes, view: AttentionView) -> None:
    for start, row in zip(view.start_s, view.posterior, strict=True):
        edges = (start, start + view.segment_s)
        axis.pcolormesh(edges, np.arange(len(row) + 1), row[:, None], cmap="Greys", vmin=0, vmax=1, rasterized=True)
    axis.set_yticks(np.arange(len(view.scenes)) + 0.5, [clean(scene) for scene in view.scenes])
    axis.invert_yaxis()
    axis.set_title("posterior of each segment alone, 0 (white) to 1 (black)")
