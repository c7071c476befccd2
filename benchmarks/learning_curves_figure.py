"""The picture of `learning_curves.py`: accuracy by the number of training recordings, one panel a corpus."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from soundscene.plotting.axes import legend_below
from soundscene.plotting.style import PAGE_WIDTH_IN, line_style, styled
from soundscene.plotting.svg import render_svg

HEIGHT_IN = 3.2
NUDGE = 0.05  # of a step along the axis from one system to the next, so that their intervals do not cover each other


@styled
def draw_curves(curves: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]], out: Path) -> None:
    """Draw a panel for each corpus and a line for each system, with intervals; lines differ in grey, dashes and marker.

    curves: corpus -> system -> rows of size, accuracy and folds; out: SVG file.
    """
    figure = Figure(figsize=(PAGE_WIDTH_IN, HEIGHT_IN), layout="constrained")
    panels = figure.subplots(1, len(curves), sharey=True, squeeze=False)[0]
    systems = list(dict.fromkeys(system for of_corpus in curves.values() for system in of_corpus))
    handles: dict[str, Any] = {}
    for axis, (corpus, of_corpus) in zip(panels, curves.items(), strict=True):
        sizes = list(dict.fromkeys(row["size"] for rows in of_corpus.values() for row in rows))
        for system, rows in of_corpus.items():
            number = systems.index(system)
            style = line_style(number)
            x = [sizes.index(row["size"]) + NUDGE * (number - (len(systems) - 1) / 2) for row in rows]
            y = [100 * row["accuracy"].estimate for row in rows]
            low = [100 * (row["accuracy"].estimate - row["accuracy"].low) for row in rows]
            high = [100 * (row["accuracy"].high - row["accuracy"].estimate) for row in rows]
            handles[system] = axis.errorbar(
                x, y, (low, high), color=style.color, linestyle=style.dashes, marker=style.marker, elinewidth=0.8, capsize=2
            )
        axis.set_title(corpus)
        axis.set_xticks(range(len(sizes)), sizes)
        axis.set_xlabel("training recordings a scene")
    panels[0].set_ylabel("recordings right, %")
    legend_below(figure, list(handles.values()), list(handles))
    out.write_text(render_svg(figure, out.stem), encoding="utf-8")
