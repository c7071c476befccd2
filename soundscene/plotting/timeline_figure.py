"""The timeline as a picture: a lane per scene, how sure the decoder is, and the posteriors it was made of.

Nothing is told by colour alone: place tells the scene, darkness the probability.
"""

import unicodedata
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator

from soundscene.errors import SceneError
from soundscene.files import atomic_path
from soundscene.types import Timeline, clock

FORMATS = ("png", "svg")
TEXT_PT = 9.0
_COLUMNS = 1200  # of the strips: no more than a page shows, whatever the recording's length
_SILENT = "#cfe3f2"  # what did not vote; hatched too
_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800)
_STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the layout is the same everywhere
    "font.size": TEXT_PT,
    "text.parse_math": False,  # "$" in a name is no formula
    "svg.fonttype": "none",
    "svg.hashsalt": "soundscene",
    "hatch.linewidth": 0.6,
}


_styled = style.context(["default", _STYLE])  # the reader's own settings neither enter nor are changed for good


@_styled
def timeline_picture(found: Timeline, out: Path) -> None:
    """Draw a timeline as PNG or SVG, as the suffix of `out` says; written beside and renamed.

    Top: a lane for each scene that occurs, most frequent first, with its spans; a change's probability is written above
    it, where there is room. Below: posterior of every scene by the segments themselves, white 0 to black 1. Axis in hours,
    minutes and seconds. A hatched stretch is silence, which does not vote.
    Raises: `SceneError` for another suffix, or where the file cannot be written.
    """
    form = picture_form(out)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)  # the reader's font may know it
        figure = draw(found)
        with atomic_path(out) as unfinished:
            figure.savefig(unfinished, format=form, dpi=120, metadata={"Date": None} if form == "svg" else None)


def picture_form(out: Path) -> str:
    """png or svg, by the suffix; raises `SceneError` for another one."""
    form = out.suffix.lower().removeprefix(".")
    if form not in FORMATS:
        raise SceneError(f"{out}: a picture is a file that ends in .png or .svg")
    return form


@_styled
def draw(found: Timeline) -> Figure:
    """The figure itself, wide enough for the longest name of a scene."""
    order = _by_time(found)
    present = [scene for scene in order if any(span.scene == scene for span in found.spans)]
    label_in = max(_em(scene) for scene in order) * TEXT_PT / 72
    width_in, lanes_in, strip_in = 8.0 + label_in, 0.3 * len(present) + 0.35, 0.22 * len(order) + 0.2
    height_in = lanes_in + strip_in + 1.6
    figure = Figure(figsize=(width_in, height_in))
    FigureCanvasAgg(figure)
    left, right = (label_in + 0.25) / width_in, 1 - 1.0 / width_in
    lanes = figure.add_axes((left, 1 - (lanes_in + 0.55) / height_in, right - left, lanes_in / height_in))
    strip = figure.add_axes((left, 0.6 / height_in, right - left, strip_in / height_in), sharex=lanes)
    bar = figure.add_axes((1 - 0.8 / width_in, 0.6 / height_in, 0.15 / width_in, strip_in / height_in))
    _draw_lanes(lanes, found, present)
    columns, edges_s = _columns(found, [found.scenes.index(scene) for scene in order])
    shown = strip.pcolormesh(edges_s, np.arange(len(order) + 1), columns.T, cmap="Greys", vmin=0, vmax=1, rasterized=True)
    _draw_silence(strip, found)
    strip.set_yticks(np.arange(len(order)) + 0.5, order)
    strip.set(ylim=(len(order), 0), xlim=(0, max(found.duration_s, float(found.end_s[-1]))))
    strip.set_title("posterior of the segments themselves", loc="left", fontsize=TEXT_PT)
    strip.set_xlabel("time, h:min:s")
    strip.xaxis.set_major_locator(_locator(strip.get_xlim()[1]))
    strip.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: clock(seconds)))
    figure.colorbar(shown, cax=bar)
    return figure


def _draw_lanes(axis: Axes, found: Timeline, present: Sequence[str]) -> None:
    duration_s = max(found.duration_s, float(found.end_s[-1]))
    for span in found.spans:
        axis.broken_barh([(span.start_s, span.end_s - span.start_s)], (present.index(span.scene) + 0.15, 0.7), color="black")
    axis.set_yticks(np.arange(len(present)) + 0.5, present)
    axis.set_ylim(len(present), -0.6)
    for edge in range(len(present) + 1):
        axis.axhline(edge, color="#bbbbbb", linewidth=0.5, zorder=0)
    free_s = -np.inf
    for change in found.changes:
        lane, other = present.index(change.after), present.index(change.before)
        axis.plot([change.time_s] * 2, sorted((lane + 0.5, other + 0.5)), color="black", linewidth=0.8)
        if change.time_s - free_s >= 0:
            axis.text(change.time_s, -0.3, f"{change.probability:.2f}", ha="center", va="center", fontsize=TEXT_PT - 1)
            free_s = change.time_s + duration_s / 20
    _draw_silence(axis, found)
    name = Path(found.source).name
    sure = "; number: probability of the change" if found.changes else ""
    axis.set_title(f"{_short(name)}: scene over time, expected stay {found.stay_s:g} s{sure}", loc="left", fontsize=TEXT_PT)
    axis.tick_params(labelbottom=False)


def _draw_silence(axis: Axes, found: Timeline) -> None:
    starts, ends = np.append(0.0, found.end_s), np.append(found.start_s, found.duration_s)
    for start, end in zip(starts, ends, strict=True):
        if end - start > float(found.end_s[0] - found.start_s[0]):  # shorter than a segment: the rest at the end
            axis.axvspan(start, end, facecolor=_SILENT, hatch="///", edgecolor="white", linewidth=0, zorder=0.5)


def _columns(
    found: Timeline, order: Sequence[int]
) -> tuple[Float64[np.ndarray, "column scene"], Float64[np.ndarray, " edge"]]:
    """Mean posterior of the segments in each column of time; NaN, which is left blank, where none voted."""
    end_s = max(found.duration_s, float(found.end_s[-1]))
    length_s = float(found.end_s[0] - found.start_s[0])
    n = int(min(_COLUMNS, max(1, np.ceil(end_s / length_s))))
    edges_s = np.minimum(np.arange(n + 1) * max(end_s / n, length_s), end_s)
    column = np.clip(np.searchsorted(edges_s, (found.start_s + found.end_s) / 2, "right") - 1, 0, n - 1)
    total = np.zeros((n, len(found.scenes)))
    np.add.at(total, column, found.posterior)
    count = np.bincount(column, minlength=n)[:, None]
    with np.errstate(invalid="ignore"):
        return (total / count)[:, list(order)], edges_s


def _by_time(found: Timeline) -> list[str]:
    """Scenes, the one that lasts longest first."""
    lasts = dict.fromkeys(found.scenes, 0.0)
    for span in found.spans:
        lasts[span.scene] += span.end_s - span.start_s
    return sorted(found.scenes, key=lambda scene: -lasts[scene])


def _locator(end_s: float) -> MultipleLocator | MaxNLocator:
    """Ticks at whole minutes or hours, six or so."""
    fits = [step for step in _STEPS_S if end_s / step <= 8]
    return MultipleLocator(fits[0]) if fits else MaxNLocator(6, integer=True)


def _em(name: str) -> float:
    """Width of a name at most, in em: letters of the layout's font are narrower than 0.7, East Asian ones are 1."""
    return sum(1.0 if unicodedata.east_asian_width(letter) in "WF" else 0.7 for letter in name)


def _short(name: str, most: int = 50) -> str:
    return name if len(name) <= most else f"{name[: most - 15]}...{name[-12:]}"
