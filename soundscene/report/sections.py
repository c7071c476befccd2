"""What stands where in a report: tables and figures of contestants, with captions that say what is drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.figure import Figure

from soundscene.experiment.results import SplitResult
from soundscene.plotting.drawing import svg
from soundscene.report.curve_figures import epochs_figure, reliability_figure, seconds_figure, training_figure
from soundscene.report.details import principal
from soundscene.report.entries import Entry
from soundscene.report.figures import confusion_figure, forest_figure, scene_figure, split_figure
from soundscene.report.page import Picture, Section
from soundscene.report.summary import RunFacts
from soundscene.report.tables import Table
from soundscene.scoring.comparisons import Comparison
from soundscene.scoring.curves import AccuracyByDuration, accuracy_by_seconds
from soundscene.scoring.intervals import Interval

BARS = 5  # contestants in the figure of scenes
CURVES = 8  # lines in one panel


@dataclass(frozen=True)
class Findings:
    """All that sections are made of: contestants (`main` is one of them), their recording accuracies with intervals,
    comparisons, tables by file name (cost among them), and accuracy by seconds heard of the principal contestants.
    """

    facts: RunFacts
    results: Sequence[SplitResult]
    entries: Sequence[Entry]
    main: Entry
    intervals: Sequence[Interval]
    comparisons: Sequence[Comparison]
    tables: Mapping[str, Table]
    heard: Sequence[tuple[Entry, AccuracyByDuration]]


def sections(found: Findings) -> list[Section]:
    """The sections of the page, in order."""
    return [
        _accuracy(found),
        _comparisons(found),
        _scenes(found),
        _probabilities(found),
        *_seconds(found),
        *_training(found),
        _run(found),
    ]


def heard_of(entries: Sequence[Entry], results: Sequence[SplitResult]) -> list[tuple[Entry, AccuracyByDuration]]:
    """Accuracy by seconds heard of every principal contestant with segments, answers of all parts together.

    The length of a segment is the one that the system's choices name; without it, or where members of a fusion differ, there
    is no curve.
    """
    length_s = {r.system: r.choices.get("audio", {}).get("segment_s") for r in results}
    curves = []
    for c in principal(entries):
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


def heard_table(curves: Sequence[tuple[Entry, AccuracyByDuration]]) -> Table:
    """Recording accuracy after the first segment, where more gains little, and at the end."""
    rows = []
    for c, heard in curves:
        enough = heard.accuracy[np.searchsorted(heard.seconds, heard.enough_s)]
        ends = ((heard.seconds[0], heard.accuracy[0]), (heard.enough_s, enough), (heard.seconds[-1], heard.accuracy[-1]))
        rows.append((c.title, c.head, *(cell for s, share in ends for cell in (f"{s:g}", f"{100 * share:.2f}"))))
    columns = ("system", "head", "first, s", "acc. %", "enough, s", "acc. %", "longest, s", "acc. %")
    note = (
        "Enough: after so many seconds no later step is better by half a point or more. It is read off the test recordings, "
        "so it describes them and is no setting. All answers together."
    )
    return Table("Accuracy against seconds heard", columns, tuple(rows), (note,))


def _accuracy(found: Findings) -> Section:
    text = (
        "Every system with every head it has. Segments are answered one by one; a recording is answered by the product "
        "of its segments' probabilities.",
    )
    picture = _picture(
        "splits",
        "Recording accuracy by split",
        f"Rings: one a split and seed ({len(found.main.parts)} for {found.main.label}). Diamond and grey bar: accuracy of "
        "all answers together and its 95 % interval, groups resampled; the same numbers at the right.",
        split_figure(found.entries, found.intervals),
    )
    return Section("Accuracy", text, (found.tables["table2"], found.tables["table3"]), (picture,))


def _comparisons(found: Findings) -> Section:
    text = (
        "Each line asks whether the first system is better than the second, on the same recordings. A claim holds, or is "
        "reversed, where p after Holm's correction over all lines is below 0.05; else it is undecided.",
    )
    if not found.comparisons:
        return Section("Comparisons", (*text, "No claim could be tested on this run."))
    picture = _picture(
        "comparisons",
        "Differences and their intervals",
        "First minus second, in points of accuracy. Line: 95 % interval of this comparison alone, so it may miss zero where "
        "the corrected verdict is undecided. Disc: holds; square: reversed; ring: undecided. Grey bar: differences smaller "
        "than those that a run of this size would find four times in five.",
        forest_figure(found.comparisons),
    )
    table = found.tables["comparisons"]
    order = (0, len(table.columns) - 1, *range(1, len(table.columns) - 1))  # the verdict where a narrow window shows it
    columns, *rows = (tuple(row[i] for i in order) for row in (table.columns, *table.rows))
    return Section("Comparisons", text, (replace(table, columns=columns, rows=tuple(rows)),), (picture,))


def _scenes(found: Findings) -> Section:
    main = found.main
    shown = [main, *(c for c in principal(found.entries) if c is not main)][:BARS]
    pictures = (
        _picture(
            "scenes",
            "F1 of each scene, by system",
            f"Scenes by the F1 of {main.label}, the worst at the top; recordings of all splits and seeds together.",
            scene_figure(shown),
        ),
        _picture(
            "confusion",
            f"Which scene is taken for which: {main.label}",
            "Numbers are answers for recordings, all splits and seeds together; the grey is the share of the row.",
            confusion_figure(main),
        ),
    )
    text = (f"Confusions and surest errors are shown for {main.label}; the files beside this page list the other systems'.",)
    tables = (found.tables["scenes"], _only(found.tables["confusions"], main), _only(found.tables["sure-errors"], main))
    return Section("Scenes", text, tables, pictures)


def _probabilities(found: Findings) -> Section:
    heads = [c for c in found.entries if c.name == found.main.name]
    picture = _picture(
        "reliability",
        f"Does a probability mean what it says? {found.main.title}",
        "Share of right answers among those of about the same top probability; on the dashed line it is what it claims to "
        "be. Rings: fewer than ten answers. Bars: number of answers, logarithmic. ECE: mean distance from the line. Softmax "
        "is before, SVM after Platt's calibration; tempered: with the temperature fitted on held-out training groups.",
        reliability_figure(heads),
    )
    text = (
        "How far the probabilities can be trusted: of segments, of recordings, and of recordings after the temperature.",
    )
    return Section("Probabilities", text, (found.tables["calibration"],), (picture,))


def _seconds(found: Findings) -> list[Section]:
    if not found.heard:
        return []
    picture = _picture(
        "seconds",
        "Recording accuracy against seconds heard",
        "Recordings heard from their start; one that is shorter keeps its last answer. Ring: after it no later point is "
        "better by half a point or more.",
        seconds_figure([(c.label, heard) for c, heard in found.heard[:CURVES]]),
    )
    text = ("How much of a recording it takes: the same answers, with segments up to a given second only.",)
    return [Section("Seconds heard", text, (found.tables["seconds"],), (picture,))]


def _training(found: Findings) -> list[Section]:
    by_system = {
        c.name: c for c in found.entries if c.kind == "system" and any("test_accuracy" in row for row in c.parts[0].history)
    }
    own = [c for c in by_system.values() if not c.base]
    varied = [c for c in by_system.values() if c.base]
    pictures = []
    if own:
        pictures.append(_epochs("epochs", "Test accuracy of segments against epoch (Figure 2)", own[:CURVES]))
    if varied:
        bases = [by_system[name] for name in dict.fromkeys(c.base for c in varied) if name in by_system]
        pictures.append(_epochs("epochs-variants", "The same for variants", [*bases, *varied][:CURVES]))
    main = found.main if found.main.name in by_system else next(iter(own), None)
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
    tables = (found.tables["fisher"],) if found.tables["fisher"].rows else ()
    if not (pictures or tables):
        return []
    text = ("Curves are of the softmax layer. They are drawn of test parts while training, and nothing reads them.",)
    return [Section("Training", text, tables, tuple(pictures))]


def _epochs(name: str, title: str, systems: Sequence[Entry]) -> Picture:
    first = systems[0].parts[0]
    caption = f"Softmax layer, split {first.split}, seed {first.seed}; ring: the epoch that was tested."
    figure = epochs_figure(systems)
    if len(figure.axes) > 1:
        caption = (
            f"Softmax layer. Left: split {first.split}, seed {first.seed} alone, as in the paper; ring: the epoch that was "
            "tested. Right: mean over all splits and seeds."
        )
    return _picture(name, title, caption, figure)


def _run(found: Findings) -> Section:
    facts = found.facts
    told = [
        f"Machine of the run: {facts.machine}, {facts.threads} threads. Tables in Markdown and CSV, and figures as SVG, lie "
        "beside this page."
    ]
    if facts.missing:
        told.append(f"Tasks without a result: {'; '.join(facts.missing)}.")
    notes = [note for r in found.results for note in dict.fromkeys(r.notes)]
    told += [f"{note} ({notes.count(note)} of {len(found.results)} trainings)" for note in dict.fromkeys(notes)]
    return Section("How it was run", tuple(told), (found.tables["cost"],))


def _only(table: Table, contestant: Entry) -> Table:
    """The rows of one contestant, without the columns that name it."""
    rows = tuple(row[2:] for row in table.rows if row[:2] == (contestant.title, contestant.head))
    empty = () if rows else ("No wrong answer.",)
    return replace(
        table, title=f"{table.title}: {contestant.label}", columns=table.columns[2:], rows=rows, notes=(*empty, *table.notes)
    )


def _picture(name: str, title: str, caption: str, figure: Figure) -> Picture:
    return Picture(name, title, caption, svg(figure, name))
