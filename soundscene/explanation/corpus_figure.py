"""The picture of a corpus: for each scene, the frames, recurrent features and bands that the model listened to."""

import numpy as np
from jaxtyping import Float, Float64
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from soundscene.explanation.corpus import SceneMeans, Spread
from soundscene.plotting.sheet import clean, styled, wrapped

_ROW_IN = 1.15


@styled
def corpus_figure(
    means: tuple[SceneMeans, ...], title: str, centres_hz: Float64[np.ndarray, " band"], frame_s: float
) -> Figure:
    """A row of panels for each scene, all rows on the same axes so that they can be compared.

    means: at least one; centres_hz [band]: of the image; frame_s: seconds from frame to frame.
    """
    attended = means[0].temporal is not None
    n_columns = 3 if attended else 1
    names = [clean(m.scene) for m in means]
    width = 11.0 if attended else 7.0
    figure = Figure(figsize=(width, _ROW_IN * len(means) + 1.6), layout="constrained")
    axes = figure.subplots(len(means), n_columns, squeeze=False, sharex="col", sharey="col")
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    for row, (m, name) in enumerate(zip(means, names, strict=True)):
        if m.temporal is not None and m.spatial is not None and m.listened is not None:
            n = len(m.temporal.mean)
            _band(axes[row, 0], (np.arange(n) + 0.5) * frame_s, m.temporal, "black", "solid")
            _band(axes[row, 1], np.arange(float(len(m.spatial.mean))), m.spatial, "black", "solid")
            for axis in axes[row, :2]:
                axis.axhline(1, color="0.5", linewidth=0.6)
                axis.set_ylabel("times uniform")
        last = axes[row, -1]
        last.axhline(0, color="0.5", linewidth=0.6)
        for channel, look in enumerate(("solid", (0, (3, 1)))[: len(m.by_band.mean)]):
            one = Spread(m.by_band.n, m.by_band.mean[channel], m.by_band.deviation[channel])
            _band(last, np.arange(float(len(centres_hz))), one, "black", look, shade=channel == 0)
        last.set_ylabel("nats")
        axes[row, 0].set_title(
            wrapped(f"{name}   ({m.recordings} recordings, {m.segments} segments)", int(10 * width)), fontweight="bold"
        )
    _label(axes, centres_hz, len(means[0].by_band.mean), attended)
    return figure


def corpus_rows(
    means: tuple[SceneMeans, ...], centres_hz: Float64[np.ndarray, " band"]
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The averages as a table: counts, how many frames were listened to, which bands bring most."""
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
        listened = "none" if m.listened is None else f"{float(m.listened.mean):.2f} ± {float(m.listened.deviation):.2f}"
        strongest = centres_hz[int(m.by_band.mean.sum(axis=0).argmax())]
        gained = f"{float(m.gained.mean):.2f} ± {float(m.gained.deviation):.2f}"
        rows.append((clean(m.scene), str(m.recordings), str(m.segments), listened, gained, f"{strongest:.0f}"))
    return columns, rows


def _band(
    axis: Axes,
    x: Float[np.ndarray, " x"],
    spread: Spread,
    color: str,
    look: str | tuple[int, tuple[int, int]],
    shade: bool = True,
) -> None:
    """A mean with one standard deviation to both sides."""
    if shade:
        axis.fill_between(x, spread.mean - spread.deviation, spread.mean + spread.deviation, color="0.85", linewidth=0)
    axis.plot(x, spread.mean, color=color, linestyle=look)


def _label(axes: np.ndarray, centres_hz: Float64[np.ndarray, " band"], n_channels: int, attended: bool) -> None:
    ticks = np.linspace(0, len(centres_hz) - 1, 6).round().astype(int)
    axes[-1, -1].set_xticks(ticks, [f"{centres_hz[i]:.0f}" for i in ticks])
    channels = "solid: as recorded, dashed: noise subtracted" if n_channels > 1 else "as recorded"
    axes[-1, -1].set_xlabel(f"band centre, Hz\nattribution (integrated gradients, not attention)\n{channels}")
    if attended:
        axes[-1, 0].set_xlabel("seconds within the segment\ntemporal attention (mean, grey: ± deviation)")
        axes[-1, 1].set_xlabel("recurrent feature (NOT frequency)\nspatial attention (mean, grey: ± deviation)")
