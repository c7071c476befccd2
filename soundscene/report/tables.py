"""The paper's Tables 2 and 3 and the paired comparisons, as rows of text, each with the line that says how it was measured.

Published numbers stand beside ours for LITIS Rouen only. Which head they are of: docs/decisions/0033-published-numbers.md.
"""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from soundscene.report.entries import Entry, EntryPart, find
from soundscene.report.published import PUBLISHED, Published
from soundscene.scoring.comparisons import Comparison
from soundscene.scoring.intervals import Interval, mean_interval
from soundscene.scoring.metrics import accuracy, macro_f1, macro_precision

NONE = "–"
ASSUMED = (
    "Published: LITIS Rouen, Phan et al. 2019, on the split files of the data set. The paper does not say which head its "
    "numbers are of; that they belong beside the SVM is an assumption (decision 0033)."
)


@dataclass(frozen=True)
class Table:
    """Rows of cells under columns; notes are lines below it."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]

    def markdown(self) -> str:
        """With its title as a heading; a cell's vertical bars and line ends are escaped."""
        head = [f"### {self.title}", "", _line(self.columns), "|" + "---|" * len(self.columns)]
        return "\n".join([*head, *map(_line, self.rows), "", *(f"{note}  " for note in self.notes)]) + "\n"

    def csv(self) -> str:
        """Columns and rows only."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.columns, *self.rows])
        return text.getvalue()


@dataclass(frozen=True)
class Setting:
    """How the numbers came about, in words: under every table."""

    data: str
    splits: str
    epoch: str
    seeds: str
    machine: str

    def line(self) -> str:
        """One line."""
        return (
            f"Data: {self.data}. Splits: {self.splits}. Epoch: {self.epoch}. Seeds: {self.seeds}. Machine: {self.machine}."
        )


def accuracy_table(entries: Sequence[Entry], setting: Setting, litis: bool = False, n: int = 10_000) -> Table:
    """Table 2: accuracy by segment and by recording.

    Mean and standard deviation over splits (each split the mean of its seeds), and the 95 % interval of the pooled accuracy,
    groups resampled, n draws. litis: put the published numbers beside the SVM.
    """
    columns = ("system", "head", "segment acc. %", "95 % interval", "recording acc. %", "95 % interval", "epoch")
    columns = (*columns, "splits x seeds", *(("published 2 s", "published 30 s") if litis else ()))
    rows = []
    for c in entries:
        segments = (NONE, NONE)
        if c.has_segments:
            segments = (_spread(c, lambda p: float(p.segment_correct.mean())), _pooled(c, "segment", n))
        recordings = (_spread(c, lambda p: float(p.correct.mean())), _pooled(c, "recording", n))
        cells = (c.title, c.head, *segments, *recordings, epochs(c), f"{len(c.splits)} x {len(c.seeds)}")
        printed = _printed(beside(c).segment, beside(c).recording) if litis else ()
        rows.append((*cells, *printed))
    notes = ["Mean ± standard deviation over splits; interval: bootstrap over groups of the answers of all splits together."]
    return Table("Accuracy by segment and by recording (Table 2)", columns, tuple(rows), (*notes, *_ends(setting, litis)))


def comparison_table(entries: Sequence[Entry], setting: Setting, litis: bool = False) -> Table:
    """Table 3: recording accuracy, macro F1, macro precision (means over splits), and how much less is wrong.

    Error reduction: (e - e') / e with mean errors over the splits that both have, against the CNN of the same feature and
    head, and against HOG. litis: published numbers beside the SVM, and rows of the earlier systems.
    """
    columns = ("system", "head", "acc. %", "macro F1 %", "macro prec. %", "error less than CNN %", "error less than HOG %")
    columns = (*columns, *(("published acc.", "published F1", "published prec.") if litis else ()))
    hog = find(entries, "hog", "svm")
    rows = []
    for c in entries:
        measured = (
            mean_over_splits(c, lambda p: accuracy(p.recording, p.truth)),
            mean_over_splits(c, lambda p: macro_f1(p.recording, p.truth)),
            mean_over_splits(c, lambda p: macro_precision(p.recording, p.truth)),
        )
        less = (error_reduction(c, _cnn_of(c, entries)), error_reduction(c, hog))
        cells = (c.title, c.head, *(f"{100 * x:.2f}" for x in measured), *map(_share, less))
        rows.append((*cells, *(_printed(*_triple(beside(c))) if litis else ())))
    if litis:
        ours = {c.name for c in entries}
        rows += [(p.title, *[NONE] * 6, *_printed(*_triple(p))) for p in PUBLISHED if p.name not in ours]
    notes = [
        "Means over splits of the recordings' figures; macro: over scenes, one that is neither true nor answered counts 0."
    ]
    return Table("Accuracy, F1 and precision (Table 3)", columns, tuple(rows), (*notes, *_ends(setting, litis)))


def claims_table(comparisons: Sequence[Comparison], setting: Setting) -> Table:
    """A row for each paired comparison: difference, interval, p before and after Holm, smallest difference, verdict."""
    columns = ("claim", "first", "second", "of", "difference, points", "95 % interval", "p", "p (Holm)", "could show")
    columns = (*columns, "splits", "groups", "verdict")
    rows = []
    for c in comparisons:
        points = (_signed(100 * c.difference.estimate, 2), _interval(c.difference, signed=True))
        smallest = NONE if np.isnan(c.smallest) else f"{100 * c.smallest:.2f}"
        tested = (_p(c.p), _p(c.p_holm), smallest, str(c.n_splits), str(c.n_groups), c.verdict)
        rows.append((c.question, c.first, c.second, c.measure, *points, *tested))
    notes = (
        f"First minus second, on the same recordings, mean over seeds. Holm's correction runs over all {len(rows)} rows; "
        'intervals and "could show" are not corrected.',
        "Could show: the difference that a test at 5 % would find in four of five corpora like this one. Undecided: not "
        "shown to differ, which is not shown to be equal. Tests: decision 0053.",
        setting.line(),
    )
    return Table("Paired comparisons", columns, tuple(rows), notes)


def mean_over_splits(contestant: Entry, figure: Callable[[EntryPart], float]) -> float:
    """Mean over splits of a figure, each split the mean of its seeds."""
    return float(np.mean(_by_split(contestant, figure)))


def error_reduction(contestant: Entry, other: Entry | None) -> float:
    """(e - e') / e of recording errors, e those of `other`, over the splits that both have.

    nan where there is no other, it is the same contestant, no split is shared, or the other makes no error.
    """
    if other is None or other == contestant or (other.name, other.head) == (contestant.name, contestant.head):
        return float("nan")
    shared = [s for s in contestant.splits if s in other.splits]
    errors = [
        float(np.mean([np.mean([1 - p.correct.mean() for p in c.parts if p.split == s]) for s in shared] or [0.0]))
        for c in (contestant, other)
    ]
    return (errors[1] - errors[0]) / errors[1] if errors[1] > 0 else float("nan")


def epochs(contestant: Entry) -> str:
    """The epoch that was tested, or the range of them."""
    of_parts = sorted({p.epoch for p in contestant.parts} - {0})
    return NONE if not of_parts else "-".join(str(e) for e in dict.fromkeys((of_parts[0], of_parts[-1])))


def beside(contestant: Entry) -> Published:
    """The published row that belongs beside a contestant: by the SVM, or by its only head; an empty row otherwise."""
    fits = contestant.head == "svm" or contestant.name == "mfcc-dnn"
    return next((p for p in PUBLISHED if fits and p.name == contestant.name), Published(""))


def generator_for(text: str) -> np.random.Generator:
    """Draws that depend on a name alone, so that the same results give the same bytes."""
    return np.random.default_rng([*text.encode()])


def _by_split(contestant: Entry, figure: Callable[[EntryPart], float]) -> list[float]:
    return [float(np.mean([figure(p) for p in contestant.parts if p.split == split])) for split in contestant.splits]


def _spread(contestant: Entry, figure: Callable[[EntryPart], float]) -> str:
    values = _by_split(contestant, figure)
    mean = f"{100 * np.mean(values):.2f}"
    return f"{mean} ± {100 * np.std(values, ddof=1):.2f}" if len(values) > 1 else mean


def _pooled(contestant: Entry, what: str, n: int) -> str:
    draws = generator_for(f"{contestant.label} {what}")
    if what == "segment":
        return _interval(mean_interval(contestant.segment_correct(), contestant.segment_groups(), draws, n))
    return _interval(mean_interval(contestant.correct(), contestant.groups(), draws, n))


def _cnn_of(contestant: Entry, entries: Sequence[Entry]) -> Entry | None:
    name = contestant.base or contestant.name
    if not name.startswith("att-crnn-"):
        return None
    return find(entries, f"cnn-{name.removeprefix('att-crnn-')}", contestant.head)


def _ends(setting: Setting, litis: bool) -> tuple[str, ...]:
    return (ASSUMED, setting.line()) if litis else (setting.line(),)


def _interval(interval: Interval, signed: bool = False) -> str:
    if np.isnan(interval.low):
        return NONE
    return " to ".join(_signed(100 * x, 2) if signed else f"{100 * x:.2f}" for x in (interval.low, interval.high))


def _share(value: float) -> str:
    return NONE if np.isnan(value) else _signed(100 * value, 1)


def _signed(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:+.{digits}f}"  # what rounds to zero is +0, not -0


def _p(value: float) -> str:
    return NONE if np.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _triple(row: Published) -> tuple[str, str, str]:
    return row.recording, row.f1, row.precision


def _printed(*values: str) -> tuple[str, ...]:
    return tuple(value or NONE for value in values)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"
