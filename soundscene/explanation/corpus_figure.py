"""The picture of a corpus: for each scene, the frames, recurrent features and bands that the model weighs most."""

import numpy as np
from jaxtyping import Float, Float64
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from soundscene.explanation.corpus import SceneMeans, Spread
from soundscene.plotting.axes import hertz_axis, wrap_text
from soundscene.plotting.page import Table
from soundscene.plotting.style import (
    BAND_GREY,
    CHANNEL_DASHES,
    PAGE_WIDTH_IN,
    PICTURE_WIDTH_IN,
    REFERENCE_GREY,
    Dashes,
    styled,
)
from soundscene.plotting.svg import clean

_ROW_IN = 1.15


@styled
def corpus_figure(
    means: tuple[SceneMeans, ...], title: str, centres_hz: Float64[np.ndarray, " band"], frame_s: float
) -> Figure:
    """Draw a row of panels for each scene, all rows on the same axes so that they can be compared.

    Args:
        means: At least one scene.
        title: Of the picture.
        centres_hz: Centre frequencies of the image's bands, Hz.
        frame_s: Seconds from frame to frame.
    """
    attended = means[0].temporal is not None
    n_columns = 3 if attended else 1
    names = [clean(m.scene) for m in means]
    width = PICTURE_WIDTH_IN if attended else PAGE_WIDTH_IN
    figure = Figure(figsize=(width, _ROW_IN * len(means) + 1.6), layout="constrained")
    axes = figure.subplots(len(means), n_columns, squeeze=False, sharex="col", sharey="col")
    figure.suptitle(title, x=0.01, ha="left")
    for row, (m, name) in enumerate(zip(means, names, strict=True)):
        if m.temporal is not None and m.spatial is not None and m.effective_share is not None:
            n = len(m.temporal.mean)
            _mean_line(axes[row, 0], (np.arange(n) + 0.5) * frame_s, m.temporal)
            _mean_line(axes[row, 1], np.arange(float(len(m.spatial.mean))), m.spatial)
            for axis in axes[row, :2]:
                axis.axhline(1, color=REFERENCE_GREY, linewidth=0.6)
                axis.set_ylabel("times uniform")
        last = axes[row, -1]
        last.axhline(0, color=REFERENCE_GREY, linewidth=0.6)
        for channel, dashes in enumerate(CHANNEL_DASHES[: len(m.by_band.mean)]):
            of_channel = Spread(m.by_band.n, m.by_band.mean[channel], m.by_band.deviation[channel])
            _mean_line(last, np.arange(float(len(centres_hz))), of_channel, dashes, shade=channel == 0)
        last.set_ylabel("nats")
        axes[row, 0].set_title(
            wrap_text(f"{name}   ({m.recordings} recordings, {m.segments} segments)", int(10 * width)), fontweight="bold"
        )
    _label(axes, centres_hz, len(means[0].by_band.mean), attended)
    return figure


def corpus_table(means: tuple[SceneMeans, ...], centres_hz: Float64[np.ndarray, " band"]) -> Table:
    """Return the averages as a table: counts, effective share of frames, and the band with the largest attribution.

    Args:
        means: A row each.
        centres_hz: Centre frequencies of the image's bands, Hz.
    """
    columns = (
        "scene",
        "recordings",
        "segments",
        "effective share of frames",
        "nats from the mean image",
        "strongest band, Hz",
    )
    rows = []
    for m in means:
        share = m.effective_share
        frames = "none" if share is None else f"{float(share.mean):.2f} ± {float(share.deviation):.2f}"
        strongest = centres_hz[int(m.by_band.mean.sum(axis=0).argmax())]
        gained = f"{float(m.gained.mean):.2f} ± {float(m.gained.deviation):.2f}"
        rows.append((clean(m.scene), str(m.recordings), str(m.segments), frames, gained, f"{strongest:.0f}"))
    return Table("Averages by scene", columns, tuple(rows))


def _mean_line(axis: Axes, x: Float[np.ndarray, " x"], spread: Spread, dashes: Dashes = "solid", shade: bool = True) -> None:
    """Draw a mean with one standard deviation to both sides."""
    if shade:
        axis.fill_between(x, spread.mean - spread.deviation, spread.mean + spread.deviation, color=BAND_GREY, linewidth=0)
    axis.plot(x, spread.mean, color="black", linestyle=dashes)


def _label(axes: np.ndarray, centres_hz: Float64[np.ndarray, " band"], n_channels: int, attended: bool) -> None:
    hertz_axis(axes[-1, -1], centres_hz, along="x")
    channels = "solid: as recorded, dashed: noise subtracted" if n_channels > 1 else "as recorded"
    axes[-1, -1].set_xlabel(f"frequency, Hz\nwhat speaks for the scene (above 0) and against it\n{channels}")
    if attended:
        axes[-1, 0].set_xlabel("seconds within the segment\ntemporal attention (mean, grey: ± deviation)")
        axes[-1, 1].set_xlabel("recurrent feature (NOT frequency)\nspatial attention (mean, grey: ± deviation)")
