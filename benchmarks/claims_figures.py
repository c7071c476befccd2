"""Pictures of the arms of decision 0106: accuracy of every arm, and entropy of attention over the epochs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from benchmarks.claims_control import control_means
from benchmarks.claims_questions import (
    ADDED,
    ARMS,
    CNN,
    CNN_MEAN,
    HEARD,
    LAST,
    MEAN,
    UNSEEN,
    Answer,
    StudyResults,
    comparisons,
)
from soundscene.plotting.axes import legend_below
from soundscene.plotting.style import PAGE_WIDTH_IN, REFERENCE_GREY, line_style, styled
from soundscene.plotting.svg import headed, render_svg
from soundscene.report.entries import Entry, find
from soundscene.report.figures import epochs_figure, forest_figure
from soundscene.report.tables import generator_for
from soundscene.scoring.curves import epoch_curve
from soundscene.scoring.evaluation import LEAKAGE
from soundscene.scoring.intervals import Interval, mean_interval

ENTROPIES = {"temporal_entropy": "time", "spatial_entropy": "space"}
ALIKE = {"entropy-heard": (HEARD, ADDED), "entropy-unseen": (UNSEEN, "forms")}  # 30 epochs, segments of 2 s
WITH_ATTENTION = [arm for arm in ARMS if arm not in (MEAN, LAST, CNN, CNN_MEAN)]  # an arm has one line in all figures
CONTROL = {"same-30": "30 epochs, a tenth out", "same-90": "90 epochs, a tenth out", "half-90": "90 epochs, half out"}
MARKS = 8  # markers on a curve


@dataclass(frozen=True)
class Drawn:
    """A figure of the report.

    Attributes:
        figure: The figure.
        alt: What it shows, for who cannot see it.
        leaks: Whether all results in it are of heard recordings.
    """

    figure: Figure
    alt: str
    leaks: bool = False


def figures(complete: Sequence[StudyResults], whole: Sequence[StudyResults], primary: Sequence[Answer]) -> dict[str, Drawn]:
    """Draw all figures that the results allow, by name.

    Args:
        complete: Complete studies.
        whole: Whole arms of the others; only figures of entropy show them.
        primary: The primary questions.
    """
    drawn: dict[str, Drawn] = {}
    if main := [study for study in complete if study.study in (HEARD, UNSEEN)]:
        drawn["arms"] = Drawn(
            arms_figure(main), f"Segment accuracy of all arms: heard recordings ({LEAKAGE}) and unseen ones"
        )
    if decided := comparisons(primary):
        alt = f"Att-CRNN minus the CNN with maximum, with intervals: heard recordings ({LEAKAGE}) and unseen ones"
        drawn["primary"] = Drawn(forest_figure(decided), alt)
    for corpus in dict.fromkeys(study.plan.corpus for study in complete):
        of_corpus = [s for name in CONTROL for s in complete if (s.study, s.plan.corpus) == (name, corpus)]
        shown = {CONTROL[s.study]: means for s in of_corpus if s.leaks and (means := control_means(s, "svm"))}
        if shown:
            alt = f"Segment accuracy on {corpus} of arms where they had heard the recording and where it was held out"
            drawn[f"hearing-{corpus}"] = Drawn(hearing_figure(corpus, shown), f"{alt} ({LEAKAGE})", leaks=True)
    for name, studies in ALIKE.items():
        shown = [study for asked in studies for study in (*complete, *whole) if study.study == asked]
        if curves := attention_histories(shown):
            heard = name == "entropy-heard"
            alt = f"Entropy of attention by epoch, {f'heard recordings ({LEAKAGE})' if heard else 'unseen recordings'}"
            drawn[name] = Drawn(entropy_figure(curves), alt, heard)
    for study in complete:
        shown = [replace(entry, title=ARMS[arm]) for arm in study.arms if (entry := find(study.entries, arm, "softmax"))]
        if shown:
            alt = f"Learning curves of {study.label}: segment accuracy of the softmax layer by epoch"
            drawn[f"epochs-{study.study}-{study.plan.corpus}"] = Drawn(epochs_figure(shown[:8]), alt, study.leaks)
    return drawn


def svg_of(drawn: Drawn, name: str) -> str:
    """Return the content of a file, headed where all results in the figure leak."""
    svg = render_svg(drawn.figure, name)
    return (headed(svg, LEAKAGE) if drawn.leaks else svg) + "\n"


def of_segments(entry: Entry) -> Interval:
    """Return the segment accuracy of an entry, all splits and seeds together, with its 95 % interval."""
    return mean_interval(entry.segment_correct(), entry.segment_groups(), generator_for(f"{entry.label} segment"))


@styled
def arms_figure(studies: Sequence[StudyResults]) -> Figure:
    """Draw segment accuracy (SVM) of every arm: a panel a corpus, a disc for heard recordings, a ring for unseen ones."""
    corpora = list(dict.fromkeys(study.plan.corpus for study in studies))
    figure = Figure(figsize=(7.5, 3.5), layout="constrained")
    panels = figure.subplots(1, len(corpora), sharey=True, squeeze=False)[0]
    names = [name for name in ARMS if any(name in study.arms for study in studies)]
    for panel, corpus in zip(panels, corpora, strict=True):
        for study in (s for s in studies if s.plan.corpus == corpus):
            for place, name in enumerate(names):
                if (entry := find(study.entries, name, "svm")) is None:
                    continue
                face, shift = ("black", 0.15) if study.leaks else ("white", -0.15)
                _mark(panel, of_segments(entry), place + shift, face)
        panel.set(title=corpus, xlabel="segment accuracy, %")
    _label(figure, panels[0], names, f"another excerpt of the recording was trained on: {LEAKAGE}", "unseen recordings")
    return figure


@styled
def hearing_figure(corpus: str, controls: Mapping[str, Mapping[str, tuple[Interval, Interval]]]) -> Figure:
    """Draw segment accuracy (SVM) of every arm in the control: a disc where it had heard the recording, else a ring."""
    figure = Figure(figsize=(7.5, 2.7), layout="constrained")
    panels = figure.subplots(1, len(controls), sharex=True, sharey=True, squeeze=False)[0]
    names = [name for name in ARMS if any(name in means for means in controls.values())]
    for panel, (title, means) in zip(panels, controls.items(), strict=True):
        for place, name in ((place, name) for place, name in enumerate(names) if name in means):
            for interval, face, shift in zip(means[name], ("black", "white"), (-0.15, 0.15), strict=True):
                _mark(panel, interval, place + shift, face)
        panel.set(title=title)
    panels[len(panels) // 2].set_xlabel(f"{corpus}, segment accuracy, %")
    _label(figure, panels[0], names, "the network had heard the recording", "the recording was held out")
    return figure


def _mark(panel: Axes, interval: Interval, y: float, face: str) -> None:
    """Draw an interval and its estimate, a disc or a ring."""
    panel.plot([100 * interval.low, 100 * interval.high], [y, y], color="black", linewidth=1)
    panel.plot(100 * interval.estimate, y, "o", color="black", markerfacecolor=face, markersize=5)


def _label(figure: Figure, first: Axes, names: Sequence[str], disc: str, ring: str) -> None:
    """Name the arms at the left, and say below what a disc and a ring are."""
    first.set_yticks(range(len(names)), [ARMS[name] for name in names])
    first.invert_yaxis()
    for face, label in (("black", disc), ("white", ring)):
        first.plot([], [], "o-", color="black", markerfacecolor=face, markersize=5, linewidth=1, label=label)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)


Histories = Mapping[str, Mapping[str, Sequence[list[dict[str, float]]]]]
"""Histories of the trainings, by corpus and arm."""


def attention_histories(studies: Sequence[StudyResults]) -> Histories:
    """Return the histories of the arms that have attention; of an arm in several studies, those of the first."""
    found: dict[str, dict[str, list[list[dict[str, float]]]]] = {}
    for study in studies:
        for arm in study.arms:
            histories = [r.history for r in study.of(arm) if r.history and "temporal_entropy" in r.history[-1]]
            if histories:
                found.setdefault(study.plan.corpus, {}).setdefault(arm, histories)
    return dict(sorted(found.items()))


@styled
def entropy_figure(curves: Histories) -> Figure:
    """Draw the entropy of attention by epoch, a share of that of uniform weights: corpora across, time and space down.

    A line is the mean over splits and seeds.
    """
    figure = Figure(figsize=(PAGE_WIDTH_IN, 4.6), layout="constrained")
    panels = figure.subplots(len(ENTROPIES), len(curves), sharex=True, sharey=True, squeeze=False)
    handles: dict[str, Line2D] = {}
    for row, (key, axis) in zip(panels, ENTROPIES.items(), strict=True):
        row[0].set_ylabel("entropy, share of uniform")
        for panel, (corpus, of_corpus) in zip(row, curves.items(), strict=True):
            panel.axhline(1, color=REFERENCE_GREY, linewidth=0.9)
            for number, arm in enumerate(WITH_ATTENTION):
                if arm not in of_corpus:
                    continue
                curve, drawn = epoch_curve(of_corpus[arm], key), line_style(number)
                step = max(1, len(curve.epoch) // MARKS)
                (handles[arm],) = panel.plot(
                    curve.epoch, curve.mean, color=drawn.color, linestyle=drawn.dashes, marker=drawn.marker,
                    markevery=(number % step, step),
                )  # fmt: skip
            panel.set(title=f"{corpus}, attention over {axis}")
    for panel in panels[-1]:
        panel.set_xlabel("epoch")
        panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        panel.set_xlim(left=0)
    shown = [arm for arm in WITH_ATTENTION if arm in handles]
    legend_below(figure, [handles[arm] for arm in shown], [ARMS[arm] for arm in shown])
    return figure
