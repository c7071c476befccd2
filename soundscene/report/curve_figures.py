"""Figures over epochs, over seconds heard and over confidence."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from soundscene.plotting.drawing import SMALL_PT, WIDTH_IN, legend_below, look, styled
from soundscene.report.entries import Entry
from soundscene.scoring.curves import AccuracyByDuration, EpochCurve, Reliability, epoch_curve, reliability

PANEL_IN = (2.15, 2.95)  # a panel of the reliability figure with all that belongs to it
MARKS = 8  # markers on a curve
FEW = 10  # answers in a bin, below which its share is hardly worth a point


@styled
def epochs_figure(systems: Sequence[Entry]) -> Figure:
    """Figure 2: segment accuracy on the test part against epoch, by the softmax layer, systems over one another.

    Left the first part (split and seed) of the first system as in the paper, of every system that has it; right the mean
    over all parts of each system; one panel where there is nothing else. A ring marks the epoch that was tested.
    """
    shown = systems[0].parts[0]
    firsts = [[p for p in system.parts if (p.split, p.seed) == (shown.split, shown.seed)] for system in systems]
    n_parts = sorted({len(system.parts) for system in systems})
    alone = n_parts == [1] and all(firsts)
    figure = Figure(figsize=(WIDTH_IN, 3.0), layout="constrained")
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
        told = " to ".join(str(n) for n in dict.fromkeys((n_parts[0], n_parts[-1])))
        panels[1].set(title=f"mean of {told} (splits and seeds)")
    for panel in panels:
        _label_epochs(panel)
    handles = [_curve(panels[0], epoch_curve([]), number) for number in range(len(systems))]
    legend_below(figure, handles, [system.title for system in systems])
    return figure


@styled
def training_figure(contestant: Entry) -> Figure:
    """Losses and accuracies of one system by epoch: mean over parts as a line, lowest to highest as a band.

    Above: loss on mixed training examples, equation (12), log loss on held-out training groups and on the test part, in
    nats.
    Below: segment accuracy of the latter two. A line at each epoch that was tested.
    """
    figure = Figure(figsize=(WIDTH_IN, 4.8), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    histories = [part.history for part in contestant.parts]
    handles: dict[str, Line2D] = {}
    columns = (
        *((above, "loss", "training (mixed examples)", 0), (above, "validation_log_loss", "held-out training groups", 1)),
        *((above, "test_log_loss", "test part", 2), (below, "validation_accuracy", "held-out training groups", 1)),
        (below, "test_accuracy", "test part", 2),
    )
    for panel, key, label, number in columns:
        curve = epoch_curve(histories, key)
        if len(curve.epoch):
            scale = 100.0 if panel is below else 1.0
            handles[label] = _curve(panel, curve, number, scale)
            panel.fill_between(
                curve.epoch, scale * curve.low, scale * curve.high, color=look(number).color, alpha=0.15, linewidth=0
            )
    for epoch in sorted({part.epoch for part in contestant.parts}):
        for panel in (above, below):
            handles["tested epoch"] = panel.axvline(epoch, color="#777777", linewidth=0.9)
    above.set(ylabel="loss, nats")
    above.set_ylim(bottom=0)
    below.set(ylabel="segment accuracy, %")
    _label_epochs(below)
    legend_below(figure, list(handles.values()), list(handles))
    return figure


@styled
def seconds_figure(curves: Sequence[tuple[str, AccuracyByDuration]]) -> Figure:
    """Recording accuracy against seconds heard from the start; a ring where more sound gains less than half a point.

    curves: label and numbers of each contestant.
    """
    figure = Figure(figsize=(WIDTH_IN, 3.2), layout="constrained")
    axis = figure.subplots()
    handles, labels = [], []
    for number, (label, heard) in enumerate(curves):
        drawn = look(number)
        handles += axis.plot(
            heard.seconds, 100 * heard.accuracy, color=drawn.color, linestyle=drawn.dashes, marker=drawn.marker,
            markersize=4, clip_on=False,
        )  # fmt: skip
        enough = float(heard.accuracy[np.searchsorted(heard.seconds, heard.enough_s)])
        axis.plot([heard.enough_s], [100 * enough], "o", markersize=11, color="black", markerfacecolor="none", clip_on=False)
        labels.append(f"{label} (enough: {heard.enough_s:g} s)")
    axis.set(xlabel="seconds heard from the start, at most", ylabel="recording accuracy, %")
    axis.set_xlim(left=0)
    legend_below(figure, handles, labels)
    return figure


@styled
def reliability_figure(heads: Sequence[Entry]) -> Figure:
    """How often an answer of a given top probability is right, and how many such answers there are (bars, log scale).

    heads: the same system with each head, a row each. Columns: segments, recordings by the product rule, recordings after
    the temperature; a column that no head has is left out. On the diagonal, probabilities are what they claim.
    """
    kinds = (
        *(("segments", _of_segments), ("recordings, product rule", _of_recordings)),
        ("recordings, tempered", _of_tempered),
    )
    columns = [(name, [of(head) for head in heads]) for name, of in kinds]
    columns = [(name, found) for name, found in columns if any(found)]
    # Places in inches: all labels are of known size, and a grid this deep is more than the constrained layout solves.
    width, height = 0.45 + PANEL_IN[0] * len(columns), 0.3 + PANEL_IN[1] * len(heads)
    figure = Figure(figsize=(width, height))
    for row, head in enumerate(heads):
        for column, (name, found) in enumerate(columns):
            bins = found[row]
            if bins is None:
                continue
            left, bottom = 0.65 + PANEL_IN[0] * column, 0.5 + PANEL_IN[1] * (len(heads) - 1 - row)
            upper = figure.add_axes((left / width, (bottom + 0.6) / height, 1.7 / width, 1.7 / height))
            lower = figure.add_axes((left / width, bottom / height, 1.7 / width, 0.45 / height), sharex=upper)
            _reliability_panel(upper, lower, bins)
            told = f"{head.head}: ECE {100 * bins.error:.1f} %, n = {bins.count.sum()}"
            upper.set_title(f"{name}\n{told}", pad=8, fontsize=SMALL_PT)
            if column == 0:
                upper.set_ylabel("share of right answers")
                lower.set_ylabel("answers")
            if row == len(heads) - 1:
                lower.set_xlabel("top probability")
    return figure


def _reliability_panel(upper: Axes, lower: Axes, bins: Reliability) -> None:
    used = bins.count > 0
    upper.plot([0, 1], [0, 1], color="#777777", linewidth=0.9, linestyle="dashed")
    upper.plot(bins.confidence[used], bins.accuracy[used], color="#777777", linewidth=0.9, clip_on=False)
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
    drawn, n = look(number), len(curve.epoch)
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
