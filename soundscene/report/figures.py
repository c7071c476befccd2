"""Figures of the answers: which scenes are taken for which, how well each is told, and how systems compare."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from soundscene.plotting.drawing import SMALL_PT, WIDTH_IN, legend_below, make_room, styled
from soundscene.report.entries import Entry
from soundscene.scoring.comparisons import Comparison
from soundscene.scoring.intervals import Interval
from soundscene.scoring.metrics import confusion

LETTER_IN = 0.62 * SMALL_PT / 72  # of a digit
BARS = (("#222222", ""), ("#ffffff", ""), ("#888888", ""), ("#ffffff", "////"), ("#d0d0d0", ""), ("#ffffff", "xxxx"))
VERDICTS = {"holds": ("o", "black"), "reversed": ("s", "black"), "undecided": ("o", "white")}


@styled
def confusion_figure(contestant: Entry) -> Figure:
    """Answers by true scene (rows, with their number) and answered scene (columns); grey is the share of the row.

    Counts pool all parts. No name is cut: the figure grows with the names and with the number of scenes.
    """
    counts = confusion(contestant.log_posterior(calibrated=False), contestant.truth())
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    n = len(counts)
    cell_in = max(0.27, LETTER_IN * len(str(counts.max())) + 0.1, 1.6 / n)  # the last, so that the axis labels fit
    names = list(contestant.scenes)
    rows = [f"{name} ({total})" for name, total in zip(names, counts.sum(axis=1), strict=True)]
    side_in = max(map(len, rows)) * LETTER_IN + 0.5
    below_in = max(map(len, names)) * LETTER_IN + 0.5
    figure = Figure(figsize=(side_in + n * cell_in, below_in + n * cell_in), layout="constrained")
    axis = figure.subplots()
    axis.pcolormesh(shares, cmap="Greys", vmin=0, vmax=1, edgecolors="#bbbbbb", linewidth=0.5)
    axis.set_xticks(np.arange(n) + 0.5, names, rotation=90, rotation_mode="anchor", ha="right", va="center")
    axis.set_yticks(np.arange(n) + 0.5, rows)
    axis.set(xlabel="answered scene", ylabel="true scene (answers)", ylim=(n, 0), aspect="equal")
    axis.grid(visible=False)
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    for row, column in zip(*np.nonzero(counts), strict=True):
        color = "white" if shares[row, column] > 0.5 else "black"
        axis.text(
            column + 0.5, row + 0.5, str(counts[row, column]), ha="center", va="center", color=color, fontsize=SMALL_PT,
            fontweight="bold" if row == column else "normal",
        )  # fmt: skip
    make_room(figure, left=names, below=names)
    return figure


@styled
def scene_figure(entries: Sequence[Entry]) -> Figure:
    """F1 of every scene as bars, one a contestant; scenes by the F1 of the first contestant, the worst at the top.

    F1 = 2 hits / (true + answered), over the answers of all parts.
    """
    scores = np.stack([_scene_f1(c) for c in entries])
    order = np.argsort(scores[0], kind="stable")
    names = [entries[0].scenes[i] for i in order]
    thick = 0.8 / len(entries)
    row_in = 0.09 * len(entries) + 0.1
    figure = Figure(figsize=(WIDTH_IN, 0.7 + row_in * len(names)), layout="constrained")
    axis = figure.subplots()
    bars = []
    for number, score in enumerate(scores):
        y = np.arange(len(names)) + (number - (len(entries) - 1) / 2) * thick
        face, hatch = BARS[number % len(BARS)]
        drawn = axis.barh(y, 100 * score[order], thick * 0.9, facecolor=face, hatch=hatch, edgecolor="black", linewidth=0.6)
        bars.append(drawn[0])
    axis.set_yticks(range(len(names)), names)
    axis.set(xlim=(0, 100), ylim=(len(names) - 0.5, -0.5), xlabel="F1, %")
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")
    legend_below(figure, bars, [c.label for c in entries])
    make_room(figure, left=names)
    return figure


@styled
def split_figure(entries: Sequence[Entry], intervals: Sequence[Interval | None]) -> Figure:
    """Recording accuracy of every contestant: a ring a part, a bar for the 95 % interval, a diamond for the estimate.

    intervals: of each contestant, as a share; None draws the mean over parts and no bar.
    """
    figure = Figure(figsize=(WIDTH_IN, 0.7 + 0.27 * len(entries)), layout="constrained")
    axis = figure.subplots()
    told = []
    for row, (contestant, interval) in enumerate(zip(entries, intervals, strict=True)):
        values = 100 * np.array([part.correct.mean() for part in contestant.parts])
        axis.plot(
            values,
            row + _spread(values),
            "o",
            markersize=4,
            color="#333333",
            markerfacecolor="none",
            zorder=3,
            clip_on=False,
        )
        estimate = 100 * interval.estimate if interval else float(values.mean())
        text = f"{estimate:.1f}"
        if interval and np.isfinite([interval.low, interval.high]).all():
            low, high = 100 * interval.low, 100 * interval.high
            axis.plot([low, high], [row, row], color="#bbbbbb", linewidth=5, solid_capstyle="butt", zorder=1, clip_on=False)
            text += f" [{low:.1f}, {high:.1f}]"
        axis.plot([estimate], [row], "D", markersize=5.5, color="black", markeredgecolor="white", zorder=4, clip_on=False)
        told.append(text)
    labels = [c.label for c in entries]
    axis.set_yticks(range(len(entries)), labels)
    axis.set(ylim=(len(entries) - 0.5, -0.5), xlabel="recording accuracy, %")
    axis.tick_params(axis="y", length=0)
    _write_right(axis, told)
    make_room(figure, left=labels)
    return figure


@styled
def forest_figure(family: Sequence[Comparison]) -> Figure:
    """Differences in points of accuracy, first minus second, with their 95 % intervals, and the verdicts.

    Filled: decided ("holds" a disc, "reversed" a square); ring: undecided. The grey bar spans the differences that are
    smaller than what the test could be expected to find (`Comparison.smallest`). Comparisons stand under their question.
    """
    labels: list[tuple[float, str]] = []  # place in lines of text, and the text; one line each, so that any font aligns
    questions: list[str] = list(dict.fromkeys(comparison.question for comparison in family))
    drawn: list[tuple[float, Comparison]] = []
    y = 0.0
    for question in questions:
        labels.append((y, question))
        y += 1.9
        for comparison in (c for c in family if c.question == question):
            labels += [(y - 0.5, comparison.first), (y + 0.5, f"\u2212 {comparison.second}; {comparison.measure}")]
            drawn.append((y, comparison))
            y += 2.4
    figure = Figure(figsize=(WIDTH_IN + 2, 0.7 + SMALL_PT * 1.2 / 72 * y), layout="constrained")
    axis = figure.subplots()
    axis.axvline(0, color="black", linewidth=0.8)
    for place, comparison in drawn:
        _draw_comparison(axis, place, comparison)
    axis.set_yticks([place for place, _ in labels], [text for _, text in labels])
    for tick, (_, text) in zip(axis.get_yticklabels(), labels, strict=True):
        tick.set_fontweight("bold" if text in questions else "normal")
    axis.set(ylim=(y - 1, -1), xlabel="difference, points (first minus second)")
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")
    _write_right(axis, [_told(comparison) for _, comparison in drawn], [place for place, _ in drawn])
    make_room(figure, left=[text for _, text in labels])
    return figure


def _draw_comparison(axis: Axes, place: float, comparison: Comparison) -> None:
    smallest = 100 * comparison.smallest
    if np.isfinite(smallest):
        axis.barh([place], [2 * smallest], 1.5, left=-smallest, color="#dcdcdc")
    low, high = 100 * comparison.difference.low, 100 * comparison.difference.high
    if np.isfinite([low, high]).all():
        axis.plot([low, high], [place, place], color="black", linewidth=1.6, solid_capstyle="butt")
    marker, face = VERDICTS[comparison.verdict]
    axis.plot([100 * comparison.difference.estimate], [place], marker, markersize=6.5, color="black", markerfacecolor=face)


def _told(comparison: Comparison) -> str:
    interval = comparison.difference
    text = f"{100 * interval.estimate:+.1f}"
    if np.isfinite([interval.low, interval.high]).all():
        text += f" [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"
    return f"{text} {comparison.verdict}".replace("-", "\u2212")


def _write_right(axis: Axes, texts: Sequence[str], places: Sequence[float] | None = None) -> None:
    """Numbers at the right of their rows, as labels of a second axis, so that the layout leaves room for them."""
    side = axis.twinx()
    side.set(ylim=axis.get_ylim(), frame_on=False)
    side.grid(visible=False)
    side.set_yticks(range(len(texts)) if places is None else places, texts)
    side.tick_params(axis="y", length=0)


def _spread(values: Float64[np.ndarray, " part"]) -> Float64[np.ndarray, " part"]:
    """Small steps up and down for values that would hide one another, in [-0.3, 0.3]."""
    shift = np.zeros(len(values))
    for value in np.unique(values.round(1)):
        same = np.flatnonzero(values.round(1) == value)
        shift[same] = (np.arange(len(same)) - (len(same) - 1) / 2) * min(0.12, 0.6 / len(same))
    return shift


def _scene_f1(contestant: Entry) -> Float64[np.ndarray, " scene"]:
    counts = confusion(contestant.log_posterior(calibrated=False), contestant.truth())
    return 2 * np.diag(counts) / np.maximum(counts.sum(axis=0) + counts.sum(axis=1), 1)
