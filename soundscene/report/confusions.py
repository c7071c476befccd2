"""The confusion matrix as a picture, of an evaluation or of an entry of a report."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from matplotlib.figure import Figure

from soundscene.files import write_atomic
from soundscene.plotting.axes import widen_for_labels
from soundscene.plotting.style import BORDER_GREY, SMALL_PT, styled
from soundscene.plotting.svg import check_output, render_file

LETTER_IN = 0.62 * SMALL_PT / 72  # of a digit


def draw_confusion(
    counts: Int64[np.ndarray, "scene scene"], scenes: Sequence[str], out: Path, heading: str = ""
) -> tuple[str, ...]:
    """Draw a confusion matrix as PNG or SVG, by the suffix of `out`.

    Args:
        counts: [true scene, predicted scene].
        scenes: Their names.
        out: File to write, atomically.
        heading: What nobody may see the picture without.

    Returns:
        Notes on what the picture could not show.

    Raises:
        SceneError: Another suffix, or a file that cannot be written.
    """
    suffix = check_output(out, (".png", ".svg"))
    content, notes = render_file(counts_figure(counts, scenes, heading), suffix, "confusion")
    write_atomic(out, content)
    return notes


@styled
def counts_figure(counts: Int64[np.ndarray, "scene scene"], scenes: Sequence[str], heading: str = "") -> Figure:
    """Draw predictions by true scene (rows, with their number) and predicted scene (columns); grey is the share of the row.

    No name is cut: the figure grows with the names and with the number of scenes.

    Args:
        counts: [true scene, predicted scene].
        scenes: Their names.
        heading: Above the matrix, in bold.
    """
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    n = len(counts)
    cell_in = max(0.27, LETTER_IN * len(str(counts.max())) + 0.1, 1.6 / n)  # the last, so that the axis labels fit
    names = list(scenes)
    rows = [f"{name} ({total})" for name, total in zip(names, counts.sum(axis=1), strict=True)]
    side_in = max(map(len, rows)) * LETTER_IN + 0.5
    below_in = max(map(len, names)) * LETTER_IN + 0.5
    width_in, above_in = max(side_in + n * cell_in, 1.5 * LETTER_IN * len(heading)), 0.3 * bool(heading)
    figure = Figure(figsize=(width_in, above_in + below_in + n * cell_in), layout="constrained")
    if heading:
        figure.suptitle(heading, fontsize=SMALL_PT, fontweight="bold")
    axis = figure.subplots()
    axis.pcolormesh(shares, cmap="Greys", vmin=0, vmax=1, edgecolors=BORDER_GREY, linewidth=0.5)
    axis.set_xticks(np.arange(n) + 0.5, names, rotation=90, rotation_mode="anchor", ha="right", va="center")
    axis.set_yticks(np.arange(n) + 0.5, rows)
    axis.set(xlabel="predicted scene", ylabel="true scene (predictions)", ylim=(n, 0), aspect="equal")
    axis.grid(visible=False)
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    for row, column in zip(*np.nonzero(counts), strict=True):
        color = "white" if shares[row, column] > 0.5 else "black"
        axis.text(
            column + 0.5, row + 0.5, str(counts[row, column]), ha="center", va="center", color=color, fontsize=SMALL_PT,
            fontweight="bold" if row == column else "normal",
        )  # fmt: skip
    widen_for_labels(figure, left=names, below=names)
    return figure
