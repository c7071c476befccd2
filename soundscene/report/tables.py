"""Tables of a report as rows of text, each with the line that states how it was measured.

Accuracy and comparisons come first, as in the paper's Tables 2 and 3, then scenes, confusions, calibration, confident
errors, Fisher's criterion and cost. Published numbers stand beside ours for LITIS Rouen only. Which head they are of:
docs/decisions/0033-published-numbers.md.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from soundscene.experiment.results import SplitResult
from soundscene.plotting.page import Table
from soundscene.report.costs import costs, epochs_of, segments_per_second, trains_several
from soundscene.report.entries import Entry, EntryPart, find
from soundscene.report.published import KINDS, PAGES, PUBLISHED, Published, kind_of, page_of, works_of
from soundscene.scoring.comparisons import Comparison
from soundscene.scoring.intervals import Interval, mean_interval
from soundscene.scoring.metrics import (
    accuracy,
    confusion,
    expected_calibration_error,
    log_loss,
    macro_f1,
    macro_precision,
)
from soundscene.scoring.separation import fisher_criterion

N_PAIRS = 5
N_WRONG = 10
NONE = "–"
BEYOND = "minus nearest mean (95 %)"
METHODS = "How it was tested"  # title of the section that says it
ASSUMED = (
    "Published: LITIS Rouen, Phan et al. 2019, on the split files of the data set. The paper does not say which head its "
    "numbers are of; that they belong beside the SVM is an assumption."
)


@dataclass(frozen=True)
class Setting:
    """How the results were obtained, in words: the last note of every table."""

    data: str
    splits: str
    recipe: str
    epoch: str
    seeds: str
    machine: str

    def line(self) -> str:
        """Return the note as one line."""
        return (
            f"Data: {self.data}. Splits: {self.splits}. Recipe: {self.recipe}. Epoch: {self.epoch}. Seeds: {self.seeds}. "
            f"Machine: {self.machine}."
        )


def accuracy_table(entries: Sequence[Entry], setting: Setting, litis: bool = False, n: int = 10_000) -> Table:
    """Return Table 2: accuracy by segment and by recording.

    Mean and standard deviation are over splits, each split the mean of its seeds. The 95 % interval is of the pooled
    accuracy, groups resampled.

    Args:
        entries: A row each.
        setting: For the last note.
        litis: Put the published numbers beside the SVM.
        n: Bootstrap draws.
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
    notes = ["Mean ± standard deviation over splits; interval: bootstrap over groups, all splits together."]
    if several := dict.fromkeys(c.title for c in entries if trains_several(c.name)):
        notes.append(f"Epoch of {', '.join(several)}: that of the network that is trained last.")
    title = "Accuracy by segment and by recording"
    return Table(f"{title} (Table 2)" if litis else title, columns, tuple(rows), (*notes, *_ends(setting, litis)))


def comparison_table(
    entries: Sequence[Entry],
    setting: Setting,
    litis: bool = False,
    beyond: Mapping[tuple[str, str], Interval] | None = None,
) -> Table:
    """Return Table 3: recording accuracy, macro F1 and macro precision (means over splits), and error reductions.

    Error reduction is (e - e') / e with mean errors over the splits that both have, against the CNN of the same feature and
    head, and against HOG.

    Args:
        entries: A row each.
        setting: For the last note.
        litis: Put the published numbers beside the SVM, and add rows of the earlier systems.
        beyond: Recording accuracy minus that of the nearest mean, by name and head, where the run has it.
    """
    columns = ("system", "head", "acc. %", "macro F1 %", "macro prec. %", "error less than CNN %", "error less than HOG %")
    numbers = [page_of(c.base or c.name) for c in entries] + ([p.page for p in PUBLISHED] if litis else [])
    pages = sorted({number for number in numbers if number})
    columns = (*columns, *((BEYOND,) if beyond else ()), "kind", *(("page",) if pages else ()))
    columns = (*columns, *(("published acc.", "published F1", "published prec.") if litis else ()))
    hog = find(entries, "hog", "svm")
    rows = []
    for c in sorted(entries, key=lambda c: _place(kind_of(c.base or c.name))):  # stable: within a kind as they were
        measured = (
            mean_over_splits(c, lambda p: accuracy(p.recording, p.truth)),
            mean_over_splits(c, lambda p: macro_f1(p.recording, p.truth)),
            mean_over_splits(c, lambda p: macro_precision(p.recording, p.truth)),
        )
        less = (error_reduction(c, _cnn_of(c, entries)), error_reduction(c, hog))
        kind, page = kind_of(c.base or c.name) or NONE, page_of(c.base or c.name) or NONE
        more = _beyond(beyond.get((c.name, c.head))) if beyond else ()
        cells = (c.title, c.head, *(f"{100 * x:.2f}" for x in measured), *map(_share, less), *more, kind)
        rows.append((*cells, *((page,) if pages else ()), *(_printed(*_triple(beside(c))) if litis else ())))
    if litis:
        ours = {c.name for c in entries}
        empty = [NONE] * (7 if beyond else 6)
        others = [p for p in PUBLISHED if p.name not in ours]
        rows += [(p.title, *empty, p.kind, *_printed(p.page), *_printed(*_triple(p))) for p in others]
        rows.sort(key=lambda row: _place(row[columns.index("kind")]))
    notes = ["Means over splits, by recording; macro: over scenes, one that is neither true nor predicted counts 0."]
    if beyond:
        notes.append(
            f"{BEYOND}: difference of recording accuracy in points, on the same recordings, and its 95 % interval alone. It "
            f"is no test, and belongs to no family of Holm's correction: an interval above zero is a hint. See {METHODS}."
        )
    if pages:
        notes.append(f"Page, on what is known and what we chose: {', '.join(PAGES[number] for number in pages)}.")
    if works := works_of([*(c.base or c.name for c in entries), *(p.name for p in PUBLISHED if litis)]):
        notes.append(f"Systems of other authors are named after, by their numbers in the paper: {works}.")
    title = "Accuracy, F1 and precision"
    return Table(f"{title} (Table 3)" if litis else title, columns, tuple(rows), (*notes, *_ends(setting, litis)))


def _beyond(difference: Interval | None) -> tuple[str]:
    if difference is None:
        return (NONE,)
    return (f"{_signed(100 * difference.estimate, 2)} ({_interval(difference, signed=True)})",)


def _place(kind: str) -> int:
    return KINDS.index(kind) if kind in KINDS else len(KINDS)


def claims_table(comparisons: Sequence[Comparison], setting: Setting) -> Table:
    """Return a row for each paired comparison: difference, interval, p before and after Holm, smallest difference, verdict.

    Args:
        comparisons: Of one family.
        setting: For the last note.
    """
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
        f"shown to differ, which is not shown to be equal. Tests: see {METHODS}.",
        setting.line(),
    )
    return Table("Paired comparisons", columns, tuple(rows), notes)


def all_tables(
    results: Sequence[SplitResult],
    entries: Sequence[Entry],
    comparisons: Sequence[Comparison],
    setting: Setting,
    litis: bool = False,
    n: int = 10_000,
    head: str = "svm",
    beyond: Mapping[tuple[str, str], Interval] | None = None,
) -> dict[str, Table]:
    """Return every table that is the same whenever the results are the same, by a name for its file; not the cost.

    Args:
        results: What a run holds.
        entries: Made of these results.
        comparisons: Of these entries.
        setting: For the last note of each table.
        litis: Put the published numbers beside the SVM.
        n: Bootstrap draws.
        head: The recipe's.
        beyond: As in `comparison_table`.
    """
    chief = principal(entries, head)
    return {
        "table2": accuracy_table(entries, setting, litis, n),
        "table3": comparison_table(entries, setting, litis, beyond),
        "comparisons": claims_table(comparisons, setting),
        "scenes": scene_table(chief, setting),
        "confusions": confused_table(chief, setting),
        "calibration": calibration_table(entries, setting),
        "sure-errors": wrong_table(chief, setting),
        "fisher": fisher_table(results, {c.name: c.base for c in entries if c.base}, setting),
    }


def principal(entries: Sequence[Entry], head: str = "svm") -> list[Entry]:
    """Return systems and fusions that are no variants, each with one head: the recipe's if it has that, else its own.

    Args:
        entries: To choose from.
        head: The recipe's.
    """
    with_head = {c.name for c in entries if c.head == head}
    return [c for c in entries if not c.base and (c.head == head or c.name not in with_head)]


def scene_table(entries: Sequence[Entry], setting: Setting) -> Table:
    """Return the F1 of each scene, a column for each entry; counts pooled over splits and seeds.

    Args:
        entries: A column each.
        setting: For the last note.
    """
    counts = [confusion(c.log_posterior(calibrated=False), c.truth()) for c in entries]
    f1 = [2 * np.diag(k) / np.maximum(k.sum(axis=0) + k.sum(axis=1), 1) for k in counts]
    scene_of = {name: int(scene) for c in entries for name, scene in zip(c.recordings(), c.truth(), strict=True)}
    tested = Counter(scene_of.values())
    scenes = entries[0].scenes if entries else ()
    rows = tuple((scene, str(tested[i]), *(f"{100 * f[i]:.1f}" for f in f1)) for i, scene in enumerate(scenes))
    note = "F1 in %, by recording, all splits and seeds together."
    return Table("F1 of each scene", ("scene", "recordings", *(c.label for c in entries)), rows, (note, setting.line()))


def confused_table(entries: Sequence[Entry], setting: Setting) -> Table:
    """Return the five most frequent confusions of each entry.

    Args:
        entries: At most five rows each.
        setting: For the last note.
    """
    rows = []
    for c in entries:
        counts = confusion(c.log_posterior(calibrated=False), c.truth())
        of_true = counts.sum(axis=1)
        np.fill_diagonal(counts, 0)
        order = np.argsort(-counts, axis=None, kind="stable")[:N_PAIRS]
        for true, predicted in zip(*np.unravel_index(order, counts.shape), strict=True):
            if n := int(counts[true, predicted]):
                share = f"{100 * n / of_true[true]:.1f}"
                rows.append((c.title, c.head, c.scenes[true], c.scenes[predicted], str(n), share))
    columns = ("system", "head", "true scene", "answer", "answers", "% of the scene's answers")
    note = f"Recordings, all splits and seeds together; at most {N_PAIRS} pairs for each."
    return Table("Scenes most often confused", columns, tuple(rows), (note, setting.line()))


def calibration_table(entries: Sequence[Entry], setting: Setting) -> Table:
    """Return log loss and calibration error of segments, and of recordings before and after the temperature.

    Segments of the softmax layer are before Platt's calibration, those of the SVM after it.

    Args:
        entries: A row each.
        setting: For the last note.
    """
    rows = []
    for c in entries:
        cells = [(NONE, NONE)] * 3
        if c.has_segments:
            cells[0] = _calibration(c.segment_log_posterior(), c.segment_truth())
        cells[1] = _calibration(c.log_posterior(calibrated=False), c.truth())
        if c.tempered:
            cells[2] = _calibration(c.log_posterior(calibrated=True), c.truth())
        rows.append((c.title, c.head, *(cell for two in cells for cell in two)))
    columns = ("system", "head")
    for what in ("segment", "recording", "recording, tempered"):
        columns = (*columns, f"log loss: {what}", f"ECE %: {what}")
    note = (
        "Log loss in nats, ECE over 15 bins, all splits and seeds together. A row of the softmax is before Platt's "
        "calibration, the same system's SVM after it; recordings by the product rule. Temperatures were fitted on held-out "
        "training groups."
    )
    return Table("Calibration", columns, tuple(rows), (note, setting.line()))


def wrong_table(entries: Sequence[Entry], setting: Setting) -> Table:
    """Return the ten recordings of each entry whose wrong prediction was the most confident, by the tempered probability.

    Args:
        entries: At most ten rows each.
        setting: For the last note.
    """
    rows = []
    for c in entries:
        log_posterior, truth = c.log_posterior(calibrated=True), c.truth()
        predicted, top = log_posterior.argmax(axis=1), np.exp(log_posterior.max(axis=1))
        names = c.recordings()
        wrong = np.flatnonzero(predicted != truth).tolist()
        tested, missed = Counter(names), Counter(names[i] for i in wrong)
        most_confident: dict[str, int] = {}
        for i in sorted(wrong, key=lambda i: (-top[i], names[i], i)):
            most_confident.setdefault(names[i], i)
        for name, i in list(most_confident.items())[:N_WRONG]:
            often = f"{missed[name]} of {tested[name]}"
            rows.append((c.title, c.head, name, c.scenes[truth[i]], c.scenes[predicted[i]], f"{top[i]:.3f}", often))
    columns = ("system", "head", "recording", "true scene", "answer", "probability", "wrong in")
    note = f"At most {N_WRONG} recordings for each; probability after the temperature, where one was fitted."
    return Table("Most confident errors", columns, tuple(rows), (note, setting.line()))


def fisher_table(results: Sequence[SplitResult], bases: Mapping[str, str], setting: Setting) -> Table:
    """Return Fisher's criterion of the test embeddings of every system that has some; variants follow their base.

    Args:
        results: What a run holds.
        bases: Name of a variant -> name of the system it varies.
        setting: For the last note.
    """
    by_system: dict[str, list[SplitResult]] = {}
    for result in results:
        if result.embedding.size:
            by_system.setdefault(result.system, []).append(result)
    place = {name: i for i, name in enumerate(by_system)}
    rows = []
    for name in sorted(by_system, key=lambda name: (place.get(bases.get(name, name), place[name]), name in bases)):
        of_split: dict[str, list[float]] = {}
        for r in by_system[name]:
            of_split.setdefault(r.split, []).append(fisher_criterion(r.embedding, r.truth[r.recording_of]))
        values = [float(np.mean(v)) for v in of_split.values()]
        spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 and np.isfinite(values).all() else ""
        base = next((r.title for r in by_system.get(bases.get(name, ""), [])), NONE)
        n_features = by_system[name][0].embedding.shape[1]
        rows.append((by_system[name][0].title, base, f"{np.mean(values):.3f}{spread}", str(n_features), str(len(values))))
    columns = ("system", "variant of", "between / within", "features", "splits")
    note = (
        "Variance between the scenes' means over variance within scenes, of the embeddings of the test segments, each "
        "feature standardised, scenes weighing the same; mean ± standard deviation over splits."
    )
    return Table("Fisher's criterion", columns, tuple(rows), (note, setting.line()))


def cost_table(results: Sequence[SplitResult], setting: Setting, sizes: Mapping[str, float] | None = None) -> Table:
    """Return the computing time and the size of each system, grouped by kind.

    It is not among `all_tables`, because it differs from run to run.

    Args:
        results: With the facts of their trainings.
        setting: For the last note.
        sizes: Bytes of the model files of each system.
    """
    found = costs(results, sizes)
    by_system: dict[str, list[SplitResult]] = {}
    for result in results:
        by_system.setdefault(result.system, []).append(result)
    rows = []
    for name, of_system in sorted(by_system.items(), key=lambda item: _place(kind_of(item[0]))):
        seconds = [float(r.facts.get("seconds", np.nan)) for r in of_system]
        speed = [segments_per_second(r) for r in of_system]
        counted = [epochs_of(r) for r in of_system]
        epochs = sorted({n for n in counted if n is not None})
        where = {f"{r.facts.get('device', '?')}, {r.facts.get('machine', '?')}" for r in of_system}
        threads = sorted({str(r.facts.get("threads", "?")) for r in of_system})
        trained = NONE if None in counted else "-".join(str(e) for e in dict.fromkeys((epochs[0], epochs[-1])))
        hours = f"{np.nansum(seconds) / 3600:.2f}"
        cost = found[name]
        each = ((1000 * cost.training_s, ".1f"), (1000 * cost.prediction_s, ".2f"), (cost.model_bytes / 1e6, ".2f"))
        cells = (of_system[0].title, kind_of(name) or NONE, str(len(of_system)), _median(seconds, ".1f"))
        cells = (*cells, *(_median([value], form) for value, form in each), hours, trained, _median(speed, ".0f"))
        rows.append((*cells, ", ".join(threads), "; ".join(sorted(where))))
    columns = ("system", "kind", "trainings", "seconds each (median)", "training, ms a recording")
    columns = (*columns, "prediction, ms a recording", "model, MB", "hours in all", "epochs", "segments a second")
    note = (
        "Seconds of the process that finished the training, without the epochs of an interrupted one. Costs a recording are "
        "without its features, which are computed once and stored. Model: size of its file, where it can be saved. "
        "Epochs: of all networks of a system. Segments a second: of systems whose epochs run over segments. "
        f"{NONE} also where results of an older soundscene have another count."
    )
    return Table("Cost", (*columns, "threads", "machine"), tuple(rows), (note, setting.line()))


def mean_over_splits(entry: Entry, metric: Callable[[EntryPart], float]) -> float:
    """Return the mean of a metric over splits, each split the mean of its seeds.

    Args:
        entry: Whose parts are measured.
        metric: Of one part.
    """
    return float(np.mean(_by_split(entry, metric)))


def error_reduction(entry: Entry, other: Entry | None) -> float:
    """Return (e - e') / e of recording errors, e those of `other`, over the splits that both have.

    Args:
        entry: Whose errors are e'.
        other: Whose errors are e.

    Returns:
        A share, negative where `other` is better. NaN where there is no other, both are the same, no split is shared, or
        the other makes no error.
    """
    if other is None or other == entry or (other.name, other.head) == (entry.name, entry.head):
        return float("nan")
    shared = [s for s in entry.splits if s in other.splits]
    errors = [
        float(np.mean([np.mean([1 - p.correct.mean() for p in c.parts if p.split == s]) for s in shared] or [0.0]))
        for c in (entry, other)
    ]
    return (errors[1] - errors[0]) / errors[1] if errors[1] > 0 else float("nan")


def epochs(entry: Entry) -> str:
    """Return the epoch that was tested, or the range of them."""
    of_parts = sorted({p.epoch for p in entry.parts} - {0})
    return NONE if not of_parts else "-".join(str(e) for e in dict.fromkeys((of_parts[0], of_parts[-1])))


def beside(entry: Entry) -> Published:
    """Return the published row that belongs beside an entry by its name and head; an empty row otherwise."""
    return next((p for p in PUBLISHED if (p.name, p.head) == (entry.name, entry.head)), Published("", ""))


def generator_for(text: str) -> np.random.Generator:
    """Return a generator that depends on a name alone, so that the same results give the same bytes."""
    return np.random.default_rng([*text.encode()])


def _by_split(entry: Entry, metric: Callable[[EntryPart], float]) -> list[float]:
    return [float(np.mean([metric(p) for p in entry.parts if p.split == split])) for split in entry.splits]


def _spread(entry: Entry, metric: Callable[[EntryPart], float]) -> str:
    values = _by_split(entry, metric)
    mean = f"{100 * np.mean(values):.2f}"
    return f"{mean} ± {100 * np.std(values, ddof=1):.2f}" if len(values) > 1 else mean


def _pooled(entry: Entry, what: str, n: int) -> str:
    draws = generator_for(f"{entry.label} {what}")
    if what == "segment":
        return _interval(mean_interval(entry.segment_correct(), entry.segment_groups(), draws, n))
    return _interval(mean_interval(entry.correct(), entry.groups(), draws, n))


def _cnn_of(entry: Entry, entries: Sequence[Entry]) -> Entry | None:
    name = entry.base or entry.name
    if not name.startswith("att-crnn-"):
        return None
    return find(entries, f"cnn-{name.removeprefix('att-crnn-')}", entry.head)


def _ends(setting: Setting, litis: bool) -> tuple[str, ...]:
    return (ASSUMED, setting.line()) if litis else (setting.line(),)


def _interval(interval: Interval, signed: bool = False) -> str:
    if np.isnan(interval.low):
        return NONE
    return " to ".join(_signed(100 * x, 2) if signed else f"{100 * x:.2f}" for x in (interval.low, interval.high))


def _share(value: float) -> str:
    return NONE if np.isnan(value) else _signed(100 * value, 1)


def _signed(value: float, digits: int) -> str:
    return f"{value:+z.{digits}f}"  # what rounds to zero is +0, not -0


def _p(value: float) -> str:
    return NONE if np.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _triple(row: Published) -> tuple[str, str, str]:
    return row.recording, row.f1, row.precision


def _printed(*values: str) -> tuple[str, ...]:
    return tuple(value or NONE for value in values)


def _calibration(
    log_posterior: Float64[np.ndarray, "prediction scene"], truth: Int64[np.ndarray, " prediction"]
) -> tuple[str, str]:
    loss, error = log_loss(log_posterior, truth), expected_calibration_error(log_posterior, truth)
    return f"{loss:.3f}", f"{100 * error:.1f}"


def _median(values: Sequence[float], form: str) -> str:
    known = [v for v in values if np.isfinite(v) and v > 0]
    return f"{np.median(known):{form}}" if known else NONE
