"""The sections of a report: tables and figures of entries, with captions that state what is drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.figure import Figure

from soundscene.experiment.results import SplitResult
from soundscene.plotting.page import Picture, Section, Table
from soundscene.plotting.svg import render_svg
from soundscene.report.cost_figure import CostPoint, cost_figure
from soundscene.report.costs import costs
from soundscene.report.entries import Entry
from soundscene.report.figures import (
    confusion_figure,
    duration_figure,
    epochs_figure,
    forest_figure,
    reliability_figure,
    scene_figure,
    split_figure,
    training_figure,
)
from soundscene.report.published import PAGES, kind_of, row_of
from soundscene.report.summary import RunFacts
from soundscene.report.tables import METHODS, principal
from soundscene.scoring.comparisons import Comparison
from soundscene.scoring.curves import AccuracyByDuration, accuracy_by_seconds
from soundscene.scoring.intervals import Interval
from soundscene.texts import counted

BARS = 5  # entries in the figure of scenes
CURVES = 8  # lines in one panel


@dataclass(frozen=True)
class Findings:
    """Everything that the sections show.

    Attributes:
        facts: Of the run.
        results: Of the run.
        entries: Made of the results.
        main: The entry that the figures of one entry show.
        intervals: Recording accuracy of each entry.
        comparisons: Of the entries.
        tables: By file name, cost among them.
        duration_curves: Accuracy by duration of the principal entries.
    """

    facts: RunFacts
    results: Sequence[SplitResult]
    entries: Sequence[Entry]
    main: Entry
    intervals: Sequence[Interval]
    comparisons: Sequence[Comparison]
    tables: Mapping[str, Table]
    duration_curves: Sequence[tuple[Entry, AccuracyByDuration]]


def sections(findings: Findings) -> list[Section]:
    """Return the sections of the page, in order."""
    return [
        _accuracy(findings),
        _comparisons(findings),
        _scenes(findings),
        _probabilities(findings),
        *_duration(findings),
        *_training(findings),
        _run(findings),
        _methods(findings),
    ]


def duration_curves(
    entries: Sequence[Entry], results: Sequence[SplitResult], head: str = "svm"
) -> list[tuple[Entry, AccuracyByDuration]]:
    """Return the accuracy by seconds used of every principal entry with segments, all parts together.

    The length of a segment is the one in the system's choices. Without it, or where members of a fusion differ, there is no
    curve.

    Args:
        entries: Made of the results.
        results: With the choices of their systems.
        head: The recipe's.
    """
    length_s = {r.system: r.choices.get("audio", {}).get("segment_s") for r in results}
    curves = []
    for c in principal(entries, head):
        lengths = {length_s.get(name) for name in c.members or (c.name,)}
        (length,) = lengths if len(lengths) == 1 else (None,)
        if not c.has_segments or length is None:
            continue
        sizes = [len(part.recordings) for part in c.parts]
        shift = np.cumsum([0, *sizes[:-1]])
        recording_of = np.concatenate([part.recording_of + n for part, n in zip(c.parts, shift, strict=True)])
        start_s = np.concatenate([part.start_s for part in c.parts])
        curves.append((c, accuracy_by_seconds(c.segment_log_posterior(), recording_of, start_s, c.truth(), float(length))))
    return curves


def duration_table(curves: Sequence[tuple[Entry, AccuracyByDuration]]) -> Table:
    """Return recording accuracy after the first segment, where more sound gains little, and at the end."""
    rows = []
    for c, curve in curves:
        enough = curve.accuracy[np.searchsorted(curve.seconds, curve.enough_s)]
        ends = ((curve.seconds[0], curve.accuracy[0]), (curve.enough_s, enough), (curve.seconds[-1], curve.accuracy[-1]))
        rows.append((c.title, c.head, *(cell for s, share in ends for cell in (f"{s:g}", f"{100 * share:.2f}"))))
    columns = ("system", "head", "first, s", "acc. %", "enough, s", "acc. %", "longest, s", "acc. %")
    note = (
        "Enough: after so many seconds no later step is better by half a point or more. It is read off the test recordings, "
        "so it describes them and is no setting. All splits and seeds together."
    )
    return Table("Accuracy against duration", columns, tuple(rows), (note,))


def _accuracy(findings: Findings) -> Section:
    text = (
        "Every system with every head it has. Segments are classified one by one; a recording is classified by the product "
        "of its segments' probabilities.",
    )
    picture = _picture(
        "splits",
        "Recording accuracy by split",
        f"Rings: one a split and seed ({len(findings.main.parts)} for {findings.main.label}). Diamond and grey bar: "
        "accuracy over all splits and seeds and its 95 % interval, groups resampled; the same numbers at the right.",
        split_figure(findings.entries, findings.intervals),
    )
    return Section("Accuracy", text, (findings.tables["table2"], findings.tables["table3"]), (picture,))


def _comparisons(findings: Findings) -> Section:
    text = (
        "Each line tests whether the first system is better than the second, on the same recordings. A claim holds, or is "
        "reversed, where p after Holm's correction over all lines is below 0.05; otherwise it is undecided.",
    )
    if not findings.comparisons:
        return Section("Comparisons", (*text, "No claim could be tested on this run."))
    picture = _picture(
        "comparisons",
        "Differences and their intervals",
        "First minus second, in points of accuracy. Line: 95 % interval of this comparison alone, so it may miss zero where "
        "the corrected verdict is undecided. Disc: holds; square: reversed; ring: undecided. Grey bar: differences smaller "
        "than those that a run of this size would find four times in five.",
        forest_figure(findings.comparisons),
    )
    table = findings.tables["comparisons"]
    order = (0, len(table.columns) - 1, *range(1, len(table.columns) - 1))  # the verdict where a narrow window shows it
    columns, *rows = (tuple(row[i] for i in order) for row in (table.columns, *table.rows))
    return Section("Comparisons", text, (replace(table, columns=columns, rows=tuple(rows)),), (picture,))


def _scenes(findings: Findings) -> Section:
    main = findings.main
    shown = [main, *(c for c in principal(findings.entries, findings.facts.head) if c is not main)][:BARS]
    pictures = (
        _picture(
            "scenes",
            "F1 of each scene, by system",
            f"Scenes by the F1 of {main.label}, the worst at the top; recordings of all splits and seeds together.",
            scene_figure(shown),
        ),
        _picture(
            "confusion",
            f"Confusion matrix: {main.label}",
            "Numbers of recordings, all splits and seeds together; the grey is the share of the row.",
            confusion_figure(main),
        ),
    )
    text = (
        f"Confusions and most confident errors are shown for {main.label}; the CSV files list those of the other systems.",
    )
    tables = (
        findings.tables["scenes"],
        _only(findings.tables["confusions"], main),
        _only(findings.tables["sure-errors"], main),
    )
    return Section("Scenes", text, tables, pictures)


def _probabilities(findings: Findings) -> Section:
    heads = [c for c in findings.entries if c.name == findings.main.name]
    picture = _picture(
        "reliability",
        f"Reliability of the probabilities: {findings.main.title}",
        "Share predicted right among predictions of about the same top probability; on the dashed line both are equal. "
        "Rings: fewer than ten predictions. Bars: number of predictions, logarithmic. ECE: mean distance from the line. "
        "Softmax is before, SVM after Platt's calibration; tempered: temperature fitted on held-out training groups.",
        reliability_figure(heads),
    )
    text = (
        "How well the probabilities of segments, of recordings, and of recordings after the temperature are calibrated.",
    )
    return Section("Probabilities", text, (findings.tables["calibration"],), (picture,))


def _duration(findings: Findings) -> list[Section]:
    if not findings.duration_curves:
        return []
    picture = _picture(
        "seconds",
        "Recording accuracy against duration",
        "Recordings from their start up to a given duration; a shorter one keeps its last prediction. Ring: after it no "
        "later point is better by half a point or more.",
        duration_figure([(c.label, curve) for c, curve in findings.duration_curves[:CURVES]]),
    )
    text = ("How much of a recording is needed: the same results, with segments up to a given second only.",)
    return [Section("Duration", text, (findings.tables["seconds"],), (picture,))]


def _training(findings: Findings) -> list[Section]:
    by_system = {
        c.name: c
        for c in findings.entries
        if c.kind == "system" and any("test_accuracy" in row for row in c.parts[0].history)
    }
    own = [c for c in by_system.values() if not c.base]
    varied = [c for c in by_system.values() if c.base]
    pictures, litis = [], findings.facts.litis
    if own:
        title = "Test accuracy of segments against epoch"
        pictures.append(_epochs("epochs", f"{title} (Figure 2)" if litis else title, own[:CURVES], litis))
    if varied:
        bases = [by_system[name] for name in dict.fromkeys(c.base for c in varied) if name in by_system]
        pictures.append(_epochs("epochs-variants", "The same for variants", [*bases, *varied][:CURVES], litis))
    main = findings.main if findings.main.name in by_system else next(iter(own), None)
    if main:
        pictures.append(
            _picture(
                "training",
                f"Training of {main.title}",
                "Mean over splits and seeds; bands from the lowest to the highest of them. The training loss is of mixed "
                "examples with mixed labels, so its level is not that of the other two.",
                training_figure(main),
            )
        )
    tables = (findings.tables["fisher"],) if findings.tables["fisher"].rows else ()
    if not (pictures or tables):
        return []
    text = ("Curves are of the softmax layer. The test part is measured while training, but nothing is selected by it.",)
    return [Section("Training", text, tables, tuple(pictures))]


def _epochs(name: str, title: str, systems: Sequence[Entry], litis: bool) -> Picture:
    first = systems[0].parts[0]
    caption = f"Softmax layer, split {first.split}, seed {first.seed}; ring: the epoch that was tested."
    figure = epochs_figure(systems)
    if len(figure.axes) > 1:
        alone = "alone, as in the paper" if litis else "alone"
        caption = (
            f"Softmax layer. Left: split {first.split}, seed {first.seed} {alone}; ring: the epoch that was tested. Right: "
            "mean over all splits and seeds."
        )
    return _picture(name, title, caption, figure)


def _run(findings: Findings) -> Section:
    facts = findings.facts
    text = [
        f"Machine of the run: {facts.machine}, {counted(facts.threads, 'thread')}. Tables in "
        "Markdown and CSV, and figures as SVG, are in the folder of this page."
    ]
    if facts.missing:
        text.append(f"Tasks without a result: {'; '.join(facts.missing)}.")
    notes = [note for r in findings.results for note in dict.fromkeys(r.notes)]
    text += [f"{note} ({notes.count(note)} of {len(findings.results)} trainings)" for note in dict.fromkeys(notes)]
    return Section("How it was run", tuple(text), (findings.tables["cost"],), _cost(findings))


def _cost(findings: Findings) -> tuple[Picture, ...]:
    """Draw accuracy against cost, of systems whose cost is known: the entry of each with its first head."""
    known = costs(findings.results, findings.facts.model_bytes)
    points: list[CostPoint] = []
    for c, interval in zip(findings.entries, findings.intervals, strict=True):
        cost = known.get(c.name)
        if cost is None or c.base or not cost.training_s > 0 or any(p.name == c.name for p in points):
            continue
        points.append(CostPoint(c.name, c.title, kind_of(c.name), interval, cost.training_s, cost.prediction_s))
    if len(points) < 2:
        return ()
    caption = (
        "Recording accuracy and its 95 % interval against the median time of a training and of a prediction, for each "
        "recording, without the features. Numbers as in the list; the form of a mark tells the kind of system. Each system "
        "with its first head."
    )
    return (_picture("cost", "Accuracy against cost", caption, cost_figure(points)),)


def _methods(findings: Findings) -> Section:
    """Say in words what the tests are, for readers without the decision pages."""
    terms = [
        (
            "Intervals",
            "Groups of recordings are drawn with replacement 10,000 times; the interval holds the middle 95 % of the scores."
            " Recordings of one group are right or wrong together, so single recordings are never drawn.",
        ),
        (
            "Comparisons where every group is tested once",
            "The signs of the differences are flipped group by group; p is the share of flips with at least the difference "
            "found. Holm's correction runs over all comparisons of the page.",
        ),
        (
            "Comparisons over random splits of one corpus",
            "Training parts overlap, so results of splits are not independent: the corrected resampled t test of Nadeau and "
            "Bengio (2003).",
        ),
        (
            "Which system to use",
            "The system with the highest accuracy is compared with each other one. Each p is multiplied by the number of "
            "pairs of systems, because the leader was picked by the same recordings.",
        ),
    ]
    named = {r.title: row.page for r in findings.results if (row := row_of(r.system)) is not None and row.page}
    if named:
        pages = {page: [title for title, of in named.items() if of == page] for page in sorted({*named.values()})}
        listed = "; ".join(f"{', '.join(titles)}: {PAGES[page]}" for page, titles in pages.items())
        terms.append(
            (
                "Systems named after papers",
                "They are systems of that kind. The full text of the papers was not available, so they reproduce nothing. "
                f"What is known of each and what was chosen, in the source of soundscene: {listed}.",
            )
        )
    return Section(METHODS, terms=tuple(terms))


def _only(table: Table, entry: Entry) -> Table:
    """Return the rows of one entry, without the columns that name it."""
    rows = tuple(row[2:] for row in table.rows if row[:2] == (entry.title, entry.head))
    empty = () if rows else ("No error.",)
    return replace(
        table, title=f"{table.title}: {entry.label}", columns=table.columns[2:], rows=rows, notes=(*empty, *table.notes)
    )


def _picture(name: str, title: str, caption: str, figure: Figure) -> Picture:
    return Picture(name, title, caption, render_svg(figure, name))
