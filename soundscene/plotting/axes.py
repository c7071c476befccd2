"""Axes in hertz and in clock time, marks of silence, legends, and figures wide enough for long labels in any script."""

import textwrap
import unicodedata
from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import numpy as np
from jaxtyping import Float, Float64
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator, NullFormatter

from soundscene.plotting.style import SMALL_PT
from soundscene.recipe import Recipe
from soundscene.signal.filterbanks import gammatone_centres_hz, mel_centres_hz
from soundscene.types import clock

OCTAVES_HZ = (125, 250, 500, 1000, 2000, 4000, 8000, 16000, 32000)
_DAY_S = 86400
_CLOCK_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800)
_USUAL_LABELS_IN = 1.25  # width that a picture leaves for the labels at its left: 16 letters


def band_centres_hz(recipe: Recipe) -> Float64[np.ndarray, " band"]:
    """Return the centre frequencies of the image's bands, Hz, low to high."""
    features, rate = recipe.features, recipe.audio.sample_rate
    if features.kind == "mel":
        return mel_centres_hz(features.n_bands, features.low_hz, rate / 2)
    return gammatone_centres_hz(rate, features.n_bands, features.low_hz)


def band_edges(centres_hz: Float64[np.ndarray, " band"]) -> Float64[np.ndarray, " edge"]:
    """Return the borders of the bands on an axis whose unit is the band: band k spans k - 0.5 to k + 0.5."""
    return np.arange(len(centres_hz) + 1) - 0.5


def hertz_axis(axis: Axes, centres_hz: Float64[np.ndarray, " band"], along: Literal["x", "y"] = "y") -> None:
    """Label an axis whose unit is the band at octaves: 125, 250, 500, 1k and so on.

    Args:
        axis: Panel to label.
        centres_hz: Centre frequencies, Hz, low to high.
        along: Which of its axes.
    """
    octaves_hz = np.array([hz for hz in OCTAVES_HZ if centres_hz[0] <= hz <= centres_hz[-1]], dtype=np.float64)
    if len(octaves_hz) < 2:  # bands that span less than two octaves
        octaves_hz = centres_hz[[0, len(centres_hz) // 2, -1]]
    ticks = np.interp(octaves_hz, centres_hz, np.arange(len(centres_hz)))
    labels = [f"{hz / 1000:g}k" if hz >= 1000 else f"{hz:g}" for hz in octaves_hz.round()]
    if along == "x":  # where numbers of low octaves would touch, every other one is left out
        near = [i for i in range(1, len(ticks) - 1) if ticks[i] - ticks[i - 1] < 0.1 * len(centres_hz)]
        labels = ["" if i in near[::2] else label for i, label in enumerate(labels)]
        axis.set_xticks(ticks, labels)
        axis.set_xlabel("frequency, Hz")
        return
    axis.set_yticks(ticks, labels)
    for label, gap in zip(axis.get_yticklabels()[1:], np.diff(ticks), strict=True):
        if gap < 0.06 * len(centres_hz):  # the numbers would touch: this one stands above its tick
            label.set_verticalalignment("bottom")
    axis.set(ylabel="frequency, Hz", ylim=(-0.5, len(centres_hz) - 0.5))


def plain_decades(axis: Axis) -> None:
    """Label a logarithmic axis in digits, such as 0.01: matplotlib's own labels are formulas, which the style switches off.

    Args:
        axis: The axis of a panel.
    """
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def clock_axis(axis: Axes, began: datetime | None = None) -> None:
    """Label the horizontal axis of a panel, in seconds, as h:min:s at whole minutes or hours.

    Args:
        axis: Panel to label.
        began: When second 0 was; then the labels are times of day.
    """
    since_s = 0.0 if began is None else (began - began.replace(hour=0, minute=0, second=0, microsecond=0)).total_seconds()
    end_s = axis.get_xlim()[1]
    steps_s = [step for step in _CLOCK_STEPS_S if end_s / step <= 8]
    whole = MultipleLocator(steps_s[0], -(since_s % steps_s[0])) if steps_s else MaxNLocator(6, integer=True)
    axis.xaxis.set_major_locator(whole)
    axis.xaxis.set_major_formatter(
        FuncFormatter(lambda s, _: clock(s) if began is None else clock(float(round(s + since_s) % _DAY_S)))
    )
    axis.set_xlabel("time, h:min:s" if began is None else "time of day, h:min:s")


def hatch_silence(axis: Axes, start_s: float, end_s: float) -> None:
    """Hatch a stretch of digital silence, which has no prediction.

    Args:
        axis: Panel with seconds along x.
        start_s: Where the silence begins, s.
        end_s: Where it ends, s.
    """
    axis.axvspan(start_s, end_s, facecolor="#cfe3f2", edgecolor="white", hatch="///", linewidth=0, zorder=1.5)


def symmetric_limit(values: Float[np.ndarray, "..."], percentile: float = 99.5) -> float:
    """Return a limit for the shades of signed values, from -limit to +limit.

    Args:
        values: What is shaded; NaN is ignored.
        percentile: Of the absolute values, so that single outliers do not take all shades.

    Returns:
        The limit, above zero even where all values are zero.
    """
    return max(float(np.nanpercentile(np.abs(values), percentile)) if values.size else 0.0, 1e-12)


def legend_below(figure: Figure, handles: Sequence[Artist], labels: Sequence[str]) -> None:
    """Add a legend under all panels and make the figure that much higher.

    Args:
        figure: Figure with a constrained layout.
        handles: Lines or bars, one for each label.
        labels: Never cut: there are as many columns, three at most, as the longest one permits.
    """
    longest_pt = max(map(len, labels)) * 0.6 * SMALL_PT + 5 * SMALL_PT
    columns = int(max(1, min(3, len(labels), figure.get_figwidth() * 72 // longest_pt)))
    rows = -(-len(labels) // columns)
    figure.set_figheight(figure.get_figheight() + 0.06 + rows * 0.18)
    figure.legend(list(handles), list(labels), loc="outside lower left", ncols=columns)


def label_width_in(labels: Sequence[str], size_pt: float = SMALL_PT) -> float:
    """Return an upper bound of the width of the widest label.

    Args:
        labels: Names of scenes, in any script.
        size_pt: Size of the text, points.

    Returns:
        Inches. Letters of the layout's font are narrower than 0.7 em, those of East Asian scripts are 1 em wide.
    """
    return max((0.7 * len(label) + 0.3 * _wide_letters(label) for label in labels), default=0.0) * size_pt / 72


def picture_width_in(width_in: float, labels: Sequence[str]) -> float:
    """Return the width of a figure with labels at its left, so that long ones take nothing from the panels.

    Args:
        width_in: Width with labels of usual length, inches.
        labels: Names of scenes.
    """
    return width_in + max(0.0, label_width_in(labels) - _USUAL_LABELS_IN)


def widen_for_labels(figure: Figure, left: Sequence[str], below: Sequence[str] = ()) -> None:
    """Widen a figure of the constrained layout whose labels are in letters that the layout's font lacks.

    The layout takes such letters for 0.6 em wide, but those of East Asian scripts take 1 em.

    Args:
        figure: Figure to widen; it stays as it is where no label has such letters.
        left: Labels at its left.
        below: Labels below it, turned by 90 degrees.
    """
    left_in, below_in = (_missing_em(labels) * SMALL_PT / 72 for labels in (left, below))
    width, height = figure.get_figwidth() + left_in, figure.get_figheight() + below_in
    figure.set_size_inches(width, height)
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine) and (left_in or below_in):
        engine.set(rect=(left_in / width, below_in / height, 1 - left_in / width, 1 - below_in / height))


def _missing_em(labels: Sequence[str]) -> float:
    """Return how much wider than the layout assumes the widest label is, in em."""
    wide = [_wide_letters(label) for label in labels]
    if not any(wide):
        return 0.0
    return max(0.6 * len(x) + 0.4 * n for x, n in zip(labels, wide, strict=True)) - max(0.5 * len(x) for x in labels)


def _wide_letters(label: str) -> int:
    return sum(unicodedata.east_asian_width(letter) in "WF" for letter in label)


def wrap_text(text: str, letters: int) -> str:
    """Break a line into several of at most so many letters, inside words too where one is longer.

    Args:
        text: One line.
        letters: Longest line of the result.
    """
    return "\n".join(textwrap.wrap(text, letters, break_long_words=True))
