"""The figure of accuracy against cost: what a training and a prediction take, readable in black and white."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from soundscene.plotting.axes import legend_below, plain_decades
from soundscene.plotting.style import PAGE_WIDTH_IN, REFERENCE_GREY, SMALL_PT, styled
from soundscene.report.published import KINDS
from soundscene.scoring.intervals import Interval

_FORMS = ("o", "s", "^", "D", "v", "P", "X", "h")  # of marks; every other one is white inside


@dataclass(frozen=True)
class CostPoint:
    """One system of the figure.

    Attributes:
        name: Of the system.
        title: As tables show it.
        kind: Of system, "" for others.
        accuracy: Share of recordings that are right, and its interval.
        training_s: Seconds of a training for each recording.
        prediction_s: Seconds of a prediction for each recording, NaN where it is not known.
    """

    name: str
    title: str
    kind: str
    accuracy: Interval
    training_s: float
    prediction_s: float


@styled
def cost_figure(points: Sequence[CostPoint]) -> Figure:
    """Draw accuracy against seconds of training (left) and of prediction (right), both for each recording.

    Marks have a number, which the list below explains with the system's kind by its form, so that no colour is needed.

    Args:
        points: The systems.
    """
    ranked = sorted(points, key=lambda point: -point.accuracy.estimate)
    kinds = [kind for kind in (*KINDS, "") if any(point.kind == kind for point in ranked)]
    rows = -(-len(ranked) // 2)
    figure = Figure(figsize=(PAGE_WIDTH_IN, 3.4 + 0.18 * rows), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axis, seconds, label in (
        (left, [point.training_s for point in ranked], "training, s a recording"),
        (right, [point.prediction_s for point in ranked], "prediction, s a recording"),
    ):
        _panel(axis, ranked, seconds, kinds)
        axis.set(xlabel=label, xscale="log")
        plain_decades(axis.xaxis)
    left.set_ylabel("recording accuracy, %")
    named = [kind for kind in kinds if kind]
    handles = [_mark(kinds, kind) for kind in (*named, *(point.kind for point in ranked))]
    labels = [*named, *(f"{number} {point.title}" for number, point in enumerate(ranked, 1))]
    legend_below(figure, handles, labels)
    return figure


def _panel(axis: Axes, points: Sequence[CostPoint], seconds: Sequence[float], kinds: Sequence[str]) -> None:
    for point, cost in zip(points, seconds, strict=True):
        if not np.isfinite(cost) or cost <= 0:
            continue
        share = point.accuracy
        if np.isfinite(share.low):
            axis.plot([cost, cost], [100 * share.low, 100 * share.high], color=REFERENCE_GREY, linewidth=0.8)
        mark = _mark(kinds, point.kind)
        axis.plot(
            [cost], [100 * share.estimate], marker=mark.get_marker(), markersize=7, color="black",
            markerfacecolor=mark.get_markerfacecolor(), linestyle="none",
        )  # fmt: skip
    axis.margins(x=0.12)
    known = [i for i, cost in enumerate(seconds) if np.isfinite(cost) and cost > 0]
    places = np.array([(np.log10(seconds[i]), 100 * points[i].accuracy.estimate) for i in known]).reshape(-1, 2)
    for i, (right, up) in zip(known, _free_sides(places), strict=True):
        axis.annotate(
            str(i + 1), (seconds[i], 100 * points[i].accuracy.estimate), (7 * right, 5 * up), textcoords="offset points",
            fontsize=SMALL_PT, ha="left" if right > 0 else "right", va="center",
        )  # fmt: skip


def _free_sides(places: Float64[np.ndarray, "point 2"]) -> list[tuple[int, int]]:
    """Return for each point the side, right or left and above or below, that is farthest from all other marks and labels."""
    span = np.maximum(np.ptp(places, axis=0), 1e-9) if len(places) else np.ones(2)
    marks = (places - places.min(axis=0)) / span if len(places) else places
    taken, sides = [*marks], []
    for mark in marks:
        choices = [(1, 1), (-1, 1), (1, -1), (-1, -1)]
        labels = [mark + np.array([0.05 * right, 0.02 * up]) for right, up in choices]
        others = [other for other in taken if other is not mark]
        gap = [min((float(np.linalg.norm(label - other)) for other in others), default=1.0) for label in labels]
        best = int(np.argmax(gap))
        sides.append(choices[best])
        taken.append(labels[best])
    return sides


def _mark(kinds: Sequence[str], kind: str) -> Line2D:
    number = kinds.index(kind)
    inside = "white" if number % 2 else "black"
    return Line2D([], [], linestyle="none", marker=_FORMS[number % len(_FORMS)], color="black", markerfacecolor=inside)
