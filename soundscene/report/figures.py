"""Figures of a report: confusions, scores by scene and split, comparisons, curves over epochs and duration, reliability."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from soundscene.plotting.axes import legend_below, widen_for_labels
from soundscene.plotting.style import BORDER_GREY, PAGE_WIDTH_IN, REFERENCE_GREY, SMALL_PT, line_style, styled
from soundscene.report.confusions import counts_figure
from soundscene.report.entries import Entry
from soundscene.scoring.comparisons import Comparison
from soundscene.scoring.curves import AccuracyByDuration, EpochCurve, Reliability, epoch_curve, reliability
from soundscene.scoring.intervals import Interval
from soundscene.scoring.metrics import confusion

BARS = (("#222222", ""), ("#ffffff", ""), ("#888888", ""), ("#ffffff", "////"), ("#d0d0d0", ""), ("#ffffff", "xxxx"))
VERDICTS = {"holds": ("o", "black"), "reversed": ("s", "black"), "undecided": ("o", "white")}
PANEL_IN = (2.15, 2.95)  # width and height of a panel of the reliability figure with its titles and labels
MARKS = 8  # markers on a curve
FEW = 10  # predictions in a bin, below which its share is hardly worth a point


def confusion_figure(entry: Entry) -> Figure:
    """Draw the predictions of an entry as `counts_figure` does; counts pool all parts."""
    return counts_figure(confusion(entry.log_posterior(calibrated=False), entry.truth()), entry.scenes)


@styled
def scene_figure(entries: Sequence[Entry]) -> Figure:
    """Draw the F1 of every scene as bars, one an entry; scenes by the F1 of the first entry, the worst at the top.

    F1 = 2 hits / (true + predicted), over the predictions of all parts.
    """
    scores = np.stack([_scene_f1(c) for c in entries])
    order = np.argsort(scores[0], kind="stable")
    names = [entries[0].scenes[i] for i in order]
    thick = 0.8 / len(entries)
    row_in = 0.09 * len(entries) + 0.1
    figure = Figure(figsize=(PAGE_WIDTH_IN, 0.7 + row_in * len(names)), layout="constrained")
    axis = figure.subplots()
    bars = []
    for number, score in enumerate(scores):
        y = np.arange(len(names)) + (number - (len(entries) - 1) / 2) * thick
        face, hatch = BARS[number % len(BARS)]
        series = axis.barh(y, 100 * score[order], thick * 0.9, facecolor=face, hatch=hatch, edgecolor="black", linewidth=0.6)
        bars.append(series[0])
    axis.set_yticks(range(len(names)), names)
    axis.set(xlim=(0, 100), ylim=(len(names) - 0.5, -0.5), xlabel="F1, %")
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")
    legend_below(figure, bars, [c.label for c in entries])
    widen_for_labels(figure, left=names)
    return figure


@styled
def split_figure(entries: Sequence[Entry], intervals: Sequence[Interval | None]) -> Figure:
    """Draw the recording accuracy of every entry: a ring a part, a bar for the 95 % interval, a diamond for the estimate.

    Args:
        entries: A row each.
        intervals: Of each entry, as a share; None draws the mean over parts and no bar.
    """
    figure = Figure(figsize=(PAGE_WIDTH_IN, 0.7 + 0.27 * len(entries)), layout="constrained")
    axis = figure.subplots()
    numbers = []
    for row, (entry, interval) in enumerate(zip(entries, intervals, strict=True)):
        values = 100 * np.array([part.correct.mean() for part in entry.parts])
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
            axis.plot(
                [low, high], [row, row], color=BORDER_GREY, linewidth=5, solid_capstyle="butt", zorder=1, clip_on=False
            )
            text += f" [{low:.1f}, {high:.1f}]"
        axis.plot([estimate], [row], "D", markersize=5.5, color="black", markeredgecolor="white", zorder=4, clip_on=False)
        numbers.append(text)
    labels = [c.label for c in entries]
    axis.set_yticks(range(len(entries)), labels)
    axis.set(ylim=(len(entries) - 0.5, -0.5), xlabel="recording accuracy, %")
    axis.tick_params(axis="y", length=0)
    _write_right(axis, numbers)
    widen_for_labels(figure, left=labels)
    return figure


@styled
def forest_figure(family: Sequence[Comparison]) -> Figure:
    """Draw differences in points of accuracy, first minus second, with their 95 % intervals and verdicts.

    Filled: decided ("holds" a disc, "reversed" a square); ring: undecided. The grey bar spans the differences that are
    smaller than what the test could be expected to find (`Comparison.smallest`). Comparisons stand under their question.
    """
    labels: list[tuple[float, str]] = []  # place in lines of text, and the text; one line each, so that any font aligns
    questions: list[str] = list(dict.fromkeys(comparison.question for comparison in family))
    places: list[tuple[float, Comparison]] = []
    y = 0.0
    for question in questions:
        labels.append((y, question))
        y += 1.9
        for comparison in (c for c in family if c.question == question):
            labels += [(y - 0.5, comparison.first), (y + 0.5, f"\u2212 {comparison.second}; {comparison.measure}")]
            places.append((y, comparison))
            y += 2.4
    figure = Figure(figsize=(PAGE_WIDTH_IN + 2, 0.7 + SMALL_PT * 1.2 / 72 * y), layout="constrained")
    axis = figure.subplots()
    axis.axvline(0, color="black", linewidth=0.8)
    for place, comparison in places:
        _draw_comparison(axis, place, comparison)
    axis.set_yticks([place for place, _ in labels], [text for _, text in labels])
    for tick, (_, text) in zip(axis.get_yticklabels(), labels, strict=True):
        tick.set_fontweight("bold" if text in questions else "normal")
    axis.set(ylim=(y - 1, -1), xlabel="difference, points (first minus second)")
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")
    _write_right(axis, [_estimate_text(comparison) for _, comparison in places], [place for place, _ in places])
    widen_for_labels(figure, left=[text for _, text in labels])
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


def _estimate_text(comparison: Comparison) -> str:
    interval = comparison.difference
    text = f"{100 * interval.estimate:+z.1f}"
    if np.isfinite([interval.low, interval.high]).all():
        text += f" [{100 * interval.low:+z.1f}, {100 * interval.high:+z.1f}]"
    return f"{text} {comparison.verdict}".replace("-", "\u2212")


def _write_right(axis: Axes, texts: Sequence[str], places: Sequence[float] | None = None) -> None:
    """Write numbers at the right of their rows, as labels of a second axis, so that the layout leaves space for them."""
    side = axis.twinx()
    side.set(ylim=axis.get_ylim(), frame_on=False)
    side.grid(visible=False)
    side.set_yticks(range(len(texts)) if places is None else places, texts)
    side.tick_params(axis="y", length=0)


def _spread(values: Float64[np.ndarray, " part"]) -> Float64[np.ndarray, " part"]:
    """Return small steps up and down for values that would hide one another, in [-0.3, 0.3]."""
    shift = np.zeros(len(values))
    for value in np.unique(values.round(1)):
        same = np.flatnonzero(values.round(1) == value)
        shift[same] = (np.arange(len(same)) - (len(same) - 1) / 2) * min(0.12, 0.6 / len(same))
    return shift


def _scene_f1(entry: Entry) -> Float64[np.ndarray, " scene"]:
    counts = confusion(entry.log_posterior(calibrated=False), entry.truth())
    return 2 * np.diag(counts) / np.maximum(counts.sum(axis=0) + counts.sum(axis=1), 1)


@styled
def epochs_figure(systems: Sequence[Entry]) -> Figure:
    """Draw segment accuracy on the test part against epoch, by the softmax layer, systems over one another.

    Left is the first part (split and seed) of the first system, for every system that has it. Right is the mean over all
    parts of each system. There is one panel where both would be the same. A ring marks the epoch that was tested.
    Source: Figure 2 of the paper.
    """
    shown = systems[0].parts[0]
    firsts = [[p for p in system.parts if (p.split, p.seed) == (shown.split, shown.seed)] for system in systems]
    n_parts = sorted({len(system.parts) for system in systems})
    alone = n_parts == [1] and all(firsts)
    figure = Figure(figsize=(PAGE_WIDTH_IN, 3.0), layout="constrained")
    panels = figure.subplots(1, 1 if alone else 2, sharey=True, squeeze=False)[0]
    for number, (system, of_first) in enumerate(zip(systems, firsts, strict=True)):
        for part in of_first:
            _curve(panels[0], epoch_curve([part.history]), number)
            tested = [100 * row["test_accuracy"] for row in part.history if row["epoch"] == part.epoch]
            ring = {"markersize": 9, "color": "black", "markerfacecolor": "none", "clip_on": False}
            panels[0].plot([part.epoch] * len(tested), tested, "o", **ring)
        if not alone:
            _curve(panels[1], epoch_curve([part.history for part in system.parts]), number)
    panels[0].set(title=f"split {shown.split}, seed {shown.seed}", ylabel="test segment accuracy, %")
    if not alone:
        parts_text = " to ".join(str(n) for n in dict.fromkeys((n_parts[0], n_parts[-1])))
        panels[1].set(title=f"mean of {parts_text} (splits and seeds)")
    for panel in panels:
        _label_epochs(panel)
    handles = [_curve(panels[0], epoch_curve([]), number) for number in range(len(systems))]
    legend_below(figure, handles, [system.title for system in systems])
    return figure


@styled
def training_figure(entry: Entry) -> Figure:
    """Draw losses and accuracies of one system by epoch: mean over parts as a line, lowest to highest as a band.

    Above, in nats: loss on mixed training examples, equation (12), and log loss on held-out training groups and on the
    test part. Below: segment accuracy of the latter two. A vertical line marks each epoch that was tested.
    """
    figure = Figure(figsize=(PAGE_WIDTH_IN, 4.8), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    histories = [part.history for part in entry.parts]
    handles: dict[str, Line2D] = {}
    columns = (
        (above, "loss", "training (mixed examples)", 0),
        (above, "validation_log_loss", "held-out training groups", 1),
        (above, "test_log_loss", "test part", 2),
        (below, "validation_accuracy", "held-out training groups", 1),
        (below, "test_accuracy", "test part", 2),
    )
    for panel, key, label, number in columns:
        curve = epoch_curve(histories, key)
        if len(curve.epoch):
            scale = 100.0 if panel is below else 1.0
            handles[label] = _curve(panel, curve, number, scale)
            panel.fill_between(
                curve.epoch, scale * curve.low, scale * curve.high, color=line_style(number).color, alpha=0.15, linewidth=0
            )
    for epoch in sorted({part.epoch for part in entry.parts}):
        for panel in (above, below):
            handles["tested epoch"] = panel.axvline(epoch, color=REFERENCE_GREY, linewidth=0.9)
    above.set(ylabel="loss, nats")
    above.set_ylim(bottom=0)
    below.set(ylabel="segment accuracy, %")
    _label_epochs(below)
    legend_below(figure, list(handles.values()), list(handles))
    return figure


@styled
def duration_figure(curves: Sequence[tuple[str, AccuracyByDuration]]) -> Figure:
    """Draw recording accuracy against seconds used from the start; a ring where more sound gains less than half a point.

    curves: label and numbers of each entry.
    """
    figure = Figure(figsize=(PAGE_WIDTH_IN, 3.2), layout="constrained")
    axis = figure.subplots()
    handles, labels = [], []
    for number, (label, curve) in enumerate(curves):
        drawn = line_style(number)
        handles += axis.plot(
            curve.seconds, 100 * curve.accuracy, color=drawn.color, linestyle=drawn.dashes, marker=drawn.marker,
            markersize=4, clip_on=False,
        )  # fmt: skip
        enough = float(curve.accuracy[np.searchsorted(curve.seconds, curve.enough_s)])
        axis.plot([curve.enough_s], [100 * enough], "o", markersize=11, color="black", markerfacecolor="none", clip_on=False)
        labels.append(f"{label} (enough: {curve.enough_s:g} s)")
    axis.set(xlabel="seconds of sound from the start, at most", ylabel="recording accuracy, %")
    axis.set_xlim(left=0)
    legend_below(figure, handles, labels)
    return figure


@styled
def reliability_figure(heads: Sequence[Entry]) -> Figure:
    """Draw how often predictions of a given top probability are right, and how many there are (bars, log scale).

    Columns: segments, recordings by the product rule, recordings after the temperature. A column that no head has is left
    out. On the diagonal, probabilities are calibrated. heads: the same system with each head, a row each.
    """
    kinds = (
        ("segments", _of_segments),
        ("recordings, product rule", _of_recordings),
        ("recordings, tempered", _of_tempered),
    )
    columns = [(name, [of(head) for head in heads]) for name, of in kinds]
    columns = [(name, of_heads) for name, of_heads in columns if any(of_heads)]
    # Places in inches: all labels are of known size, and a grid this deep is more than the constrained layout solves.
    width, height = 0.45 + PANEL_IN[0] * len(columns), 0.3 + PANEL_IN[1] * len(heads)
    figure = Figure(figsize=(width, height))
    for row, head in enumerate(heads):
        for column, (name, of_heads) in enumerate(columns):
            bins = of_heads[row]
            if bins is None:
                continue
            left, bottom = 0.65 + PANEL_IN[0] * column, 0.5 + PANEL_IN[1] * (len(heads) - 1 - row)
            upper = figure.add_axes((left / width, (bottom + 0.6) / height, 1.7 / width, 1.7 / height))
            lower = figure.add_axes((left / width, bottom / height, 1.7 / width, 0.45 / height), sharex=upper)
            _reliability_panel(upper, lower, bins)
            error = f"{head.head}: ECE {100 * bins.error:.1f} %, n = {bins.count.sum()}"
            upper.set_title(f"{name}\n{error}", pad=8, fontsize=SMALL_PT)
            if column == 0:
                upper.set_ylabel("share predicted right")
                lower.set_ylabel("number")
            if row == len(heads) - 1:
                lower.set_xlabel("top probability")
    return figure


def _reliability_panel(upper: Axes, lower: Axes, bins: Reliability) -> None:
    used = bins.count > 0
    upper.plot([0, 1], [0, 1], color=REFERENCE_GREY, linewidth=0.9, linestyle="dashed")
    upper.plot(bins.confidence[used], bins.accuracy[used], color=REFERENCE_GREY, linewidth=0.9, clip_on=False)
    for chosen, face in ((bins.count >= FEW, "black"), (used & (bins.count < FEW), "white")):
        upper.plot(
            bins.confidence[chosen], bins.accuracy[chosen], "o", color="black", markerfacecolor=face, clip_on=False
        )  # fmt: skip
    upper.set(xlim=(0, 1), ylim=(0, 1), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    upper.tick_params(labelbottom=False)
    n_bins = len(bins.count)
    lower.bar((np.arange(n_bins) + 0.5) / n_bins, np.where(used, bins.count, np.nan), 0.85 / n_bins, color="#888888")
    top = int(np.ceil(np.log10(max(bins.count.max(), 2))))
    lower.set_yscale("log")
    ticks = [10**power for power in range(0, top + 1, max(1, top // 2))]
    lower.set_yticks(ticks, [str(tick) for tick in ticks])
    lower.set_yticks([], minor=True)
    lower.set_ylim(0.6, 10**top)


def _of_segments(head: Entry) -> Reliability | None:
    return reliability(head.segment_log_posterior(), head.segment_truth()) if head.has_segments else None


def _of_recordings(head: Entry) -> Reliability:
    return reliability(head.log_posterior(calibrated=False), head.truth())


def _of_tempered(head: Entry) -> Reliability | None:
    return reliability(head.log_posterior(calibrated=True), head.truth()) if head.tempered else None


def _curve(axis: Axes, curve: EpochCurve, number: int, scale: float = 100.0) -> Line2D:
    drawn, n = line_style(number), len(curve.epoch)
    step = max(1, n // MARKS)
    (line,) = axis.plot(
        curve.epoch, scale * curve.mean, color=drawn.color, linestyle=drawn.dashes, marker=drawn.marker,
        markevery=(min(number % step, n - 1), step) if n else None,
    )  # fmt: skip
    return line


def _label_epochs(axis: Axes) -> None:
    axis.set_xlabel("epoch")
    axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axis.set_xlim(left=0)
