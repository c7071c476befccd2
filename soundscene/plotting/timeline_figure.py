"""The timeline as a picture: a lane per scene, the probability of each change, and the posteriors of the segments.

Nothing is shown by colour alone: place shows the scene, darkness the probability.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from soundscene.files import write_atomic
from soundscene.plotting.axes import clock_axis, hatch_silence, label_width_in
from soundscene.plotting.style import BORDER_GREY, SMALL_PT, TEXT_PT, styled
from soundscene.plotting.svg import check_output, render_file
from soundscene.types import Timeline

SUFFIXES = (".png", ".svg")
_COLUMNS = 1200  # of the strip: no more than a page shows, whatever the recording's length


def draw_timeline(line: Timeline, out: Path) -> tuple[str, ...]:
    """Draw a timeline as PNG or SVG, by the suffix of `out`.

    Top: a lane for each scene that occurs, longest first, with its spans. The probability of a change is written above
    it where there is space. Below: the tempered posterior of every scene by segment, which the decoder reads, white 0 to
    black 1. A hatched
    stretch is silence, which has no vote.

    Args:
        line: Timeline of one recording.
        out: File to write, atomically.

    Returns:
        Notes on what the picture could not show.

    Raises:
        SceneError: Another suffix, or a file that cannot be written.
    """
    suffix = check_output(out, SUFFIXES)
    content, notes = render_file(timeline_figure(line), suffix, "timeline")
    write_atomic(out, content)
    return notes


@styled
def timeline_figure(line: Timeline) -> Figure:
    """Return the figure of a timeline, wide enough for the longest name of a scene."""
    scenes = _by_duration(line)
    present = [scene for scene in scenes if any(span.scene == scene for span in line.spans)]
    label_in = label_width_in(scenes, TEXT_PT)
    # Places in inches: lanes and strip must line up, and no name may be cut.
    width_in, lanes_in, strip_in = 8.0 + label_in, 0.3 * len(present) + 0.35, 0.22 * len(scenes) + 0.2
    height_in = lanes_in + strip_in + 1.6
    figure = Figure(figsize=(width_in, height_in))
    FigureCanvasAgg(figure)
    left, right = (label_in + 0.25) / width_in, 1 - 1.0 / width_in
    lanes = figure.add_axes((left, 1 - (lanes_in + 0.55) / height_in, right - left, lanes_in / height_in))
    strip = figure.add_axes((left, 0.6 / height_in, right - left, strip_in / height_in), sharex=lanes)
    color_bar = figure.add_axes((1 - 0.8 / width_in, 0.6 / height_in, 0.15 / width_in, strip_in / height_in))
    _draw_lanes(lanes, line, present)
    columns, edges_s = _mean_posterior(line, [line.scenes.index(scene) for scene in scenes])
    mesh = strip.pcolormesh(edges_s, np.arange(len(scenes) + 1), columns.T, cmap="Greys", vmin=0, vmax=1, rasterized=True)
    _draw_silence(strip, line)
    strip.set_yticks(np.arange(len(scenes)) + 0.5, scenes)
    strip.set(ylim=(len(scenes), 0), xlim=(0, _end_s(line)))
    strip.set_title("posterior of each segment alone, tempered: what the spans are decoded from")
    strip.grid(visible=False)
    clock_axis(strip, line.started)
    figure.colorbar(mesh, cax=color_bar)
    return figure


def _draw_lanes(axis: Axes, line: Timeline, present: Sequence[str]) -> None:
    for span in line.spans:
        axis.broken_barh([(span.start_s, span.end_s - span.start_s)], (present.index(span.scene) + 0.15, 0.7), color="black")
    axis.set_yticks(np.arange(len(present)) + 0.5, present)
    axis.set_ylim(len(present), -0.6)
    axis.grid(visible=False)
    for edge in range(len(present) + 1):
        axis.axhline(edge, color=BORDER_GREY, linewidth=0.5, zorder=0)
    free_s = -np.inf  # from here on, no number stands in the way of another
    for change in line.changes:
        lane, other = present.index(change.after), present.index(change.before)
        axis.plot([change.time_s] * 2, sorted((lane + 0.5, other + 0.5)), color="black", linewidth=0.8)
        if change.time_s - free_s >= 0:
            axis.text(change.time_s, -0.3, f"{change.probability:.2f}", ha="center", va="center", fontsize=SMALL_PT)
            free_s = change.time_s + _end_s(line) / 20
    _draw_silence(axis, line)
    numbers = "; number: probability of the change" if line.changes else ""
    axis.set_title(f"{_short(Path(line.source).name)}: scene over time, expected stay {line.stay_s:g} s{numbers}")
    axis.tick_params(labelbottom=False)


def _draw_silence(axis: Axes, line: Timeline) -> None:
    starts, ends = np.append(0.0, line.end_s), np.append(line.start_s, line.duration_s)
    for start, end in zip(starts, ends, strict=True):
        if end - start > float(line.end_s[0] - line.start_s[0]):  # shorter than a segment: the rest at the end
            hatch_silence(axis, start, end)


def _mean_posterior(
    line: Timeline, order: Sequence[int]
) -> tuple[Float64[np.ndarray, "column scene"], Float64[np.ndarray, " edge"]]:
    """Return the mean posterior of the segments in each column of time; NaN, which is left blank, where none votes."""
    end_s = _end_s(line)
    length_s = float(line.end_s[0] - line.start_s[0])
    n = int(min(_COLUMNS, max(1, np.ceil(end_s / length_s))))
    edges_s = np.minimum(np.arange(n + 1) * max(end_s / n, length_s), end_s)
    column = np.clip(np.searchsorted(edges_s, (line.start_s + line.end_s) / 2, "right") - 1, 0, n - 1)
    total = np.zeros((n, len(line.scenes)))
    np.add.at(total, column, line.posterior if line.tempered is None else line.tempered)
    count = np.bincount(column, minlength=n)[:, None]
    with np.errstate(invalid="ignore"):
        return (total / count)[:, list(order)], edges_s


def _end_s(line: Timeline) -> float:
    return max(line.duration_s, float(line.end_s[-1]))


def _by_duration(line: Timeline) -> list[str]:
    """Return the scenes, the one that lasts longest first."""
    duration_s = dict.fromkeys(line.scenes, 0.0)
    for span in line.spans:
        duration_s[span.scene] += span.end_s - span.start_s
    return sorted(line.scenes, key=lambda scene: -duration_s[scene])


def _short(name: str, most: int = 50) -> str:
    return name if len(name) <= most else f"{name[: most - 15]}...{name[-12:]}"
