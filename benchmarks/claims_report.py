"""Tables of the arms of decision 0106, from whatever has finished, and the page that holds them and the pictures."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.claims_control import interval_text, question_of_hearing, trained_and_held_out
from benchmarks.claims_epochs import epochs_compared
from benchmarks.claims_figures import figures, of_segments, svg_of
from benchmarks.claims_questions import (
    ADDED,
    ARMS,
    ATTENTION,
    CNN,
    CNN_MEAN,
    CORPORA,
    HEADS,
    HEARD,
    LAST,
    MEAN,
    TWICE,
    UNSEEN,
    Answer,
    StudyResults,
    answers,
    comparisons,
    difference,
    n_copied,
    read_studies,
    smallest_after_holm,
    whole_arms,
)
from soundscene.experiment.results import SplitResult
from soundscene.files import write_atomic
from soundscene.plotting.page import Table
from soundscene.report.claims import Measure
from soundscene.report.entries import find
from soundscene.report.recipes import recipe_text
from soundscene.report.tables import generator_for
from soundscene.scoring.evaluation import LEAKAGE
from soundscene.scoring.intervals import mean_interval

WHOLE = "Whole arms of a study that is not complete"


def write(runs: Path, out: Path, corpora: Sequence[str] = CORPORA) -> None:
    """Write tables and pictures of the finished studies.

    Args:
        runs: Folder that `benchmarks.claims run` filled.
        out: Folder for tables.md and the pictures.
        corpora: Names of those that the questions are asked of.
    """
    begun = read_studies(runs)
    complete = [study for study in begun if not study.n_missing]
    whole = [arms for study in begun if (arms := whole_arms(study))]
    if not complete:
        raise SystemExit(f"{runs}: no study is complete yet; run `python -m benchmarks.claims run` first")
    primary = answers("primary", begun, corpora)
    tables = [
        *scores("Accuracy", complete, begun),
        questions("Primary questions", primary),
        questions("Secondary questions", answers("secondary", begun, corpora)),
        questions("Questions added on 27 November 2026: (9) times 2H", answers("added", begun, corpora)),
        questions("Primary questions at full width, added on 29 November 2026", answers("full width", begun, corpora)),
        question_of_hearing(begun),
        *unplanned(complete),
        *of_recordings(complete),
        *epochs_compared(complete),
        *trained_and_held_out([study for study in complete if study.leaks]),
        *attention("Where attention goes, and what it is worth", complete, begun),
        *scores(f"{WHOLE}: accuracy", whole, begun),
        *attention(f"{WHOLE}: where attention goes", whole, begun),
    ]
    drawn = figures(complete, whole, primary)
    out.mkdir(parents=True, exist_ok=True)
    for name, picture in drawn.items():
        write_atomic(out / f"{name}.svg", svg_of(picture, name).encode())
    pictures = "\n\n".join(f"![{picture.alt}]({name}.svg)" for name, picture in drawn.items())
    text = "\n".join(_headed(table).markdown() for table in tables)
    page = f"# The arms of decision 0106\n\n{_state(begun)}\n\n{text}\n{pictures}\n"
    write_atomic(out / "tables.md", page.encode())


def _headed(table: Table) -> Table:
    """Return a table whose title says that its rows are of heard recordings, all of them or those that say so."""
    leaking = [any(LEAKAGE in cell for cell in row) for row in table.rows]
    if LEAKAGE in table.title or not any(leaking):
        return table
    which = LEAKAGE if all(leaking) else f"{LEAKAGE} in the rows that say so"
    return replace(table, title=f"{table.title} ({which})")


def scores(title: str, studies: Sequence[StudyResults], begun: Sequence[StudyResults]) -> list[Table]:
    """Return the accuracy of every arm with both heads: a table for unseen recordings, and one for heard ones.

    Args:
        title: Of the tables.
        studies: To show.
        begun: All studies, to find trainings that two of them share.
    """
    tables = []
    for leaks, condition in ((True, f"heard recordings ({LEAKAGE})"), (False, "unseen recordings")):
        rows = []
        for study in (s for s in studies if s.leaks == leaks):
            for name in study.arms:
                for entry in (e for head in HEADS if (e := find(study.entries, name, head))):
                    whole = mean_interval(entry.correct(), entry.groups(), generator_for(f"{entry.label} recording"))
                    cells = [interval_text(of_segments(entry)), interval_text(whole), _log_loss(study.of(name), entry.head)]
                    cells += [_size(study.of(name), study.unit)]
                    cells += [f"{len(entry.splits)} x {len(entry.seeds)}", _copied(study, name, begun)]
                    rows.append((study.label, ARMS[name], entry.head, *cells))
        unit = "excerpts" if leaks else "recordings"
        columns = ("study", "arm", "head", "segments, % (95 %)", f"{unit}, % (95 %)", "log loss of segments")
        columns += ("training part", "splits x seeds")
        notes = (
            "Intervals: bootstrap over groups, all splits and seeds together. Log loss: of the test part after the last "
            "epoch, softmax layer, before the temperature, mean over trainings. Held out of the training part: for the "
            "temperature, neither the network nor the SVM is trained on it; the number of segments counts it. Note: "
            "trainings that another study has too (equal posteriors and histories).",
        )
        if rows:
            tables.append(Table(f"{title}, {condition}", (*columns, "note"), tuple(rows), notes))
    return tables


def questions(title: str, family: Sequence[Answer]) -> Table:
    """Return all planned questions of a family; one without an answer says why in place of its difference."""
    n, rows = len(family), []
    for answer in family:
        asked, c = answer.question, answer.comparison
        cells = [answer.why, "-", "-", "-", "-", "-"]
        if c:
            strictest = smallest_after_holm(c.smallest, n)
            cells = [interval_text(c.difference, "+"), _by_seed(answer.by_seed), f"{c.p_holm:.4f}", c.verdict]
            cells += [f"{100 * c.smallest:.1f}", f"{100 * strictest:.1f}"]
        rows.append((asked.text, *(f"{ARMS[arm]}, {asked.head}" for arm in (asked.first, asked.second)), *cells))
    columns = ("question", "first", "second", "segments, points (95 %)", "by seed", "p, Holm", "verdict")
    columns += ("found in 4 of 5 from, before Holm", "found in 4 of 5 from, strictest step of Holm")
    open_ = n - len(comparisons(family))
    notes = (
        "First minus second; scores averaged over seeds, groups resampled and flipped. Intervals and p values are of these "
        "trainings and hold no chance of training; by seed, the same difference is what stands beside them. Holm over "
        f"{n} questions{f'; the {open_} without an answer yet count as p = 1' if open_ else ''}.",
        "Last two columns: difference, in points, that four of five such corpora would show at 5 % before Holm's correction "
        f"and at its strictest step (5 % / {n}). An undecided difference may be larger; its interval says how large.",
    )
    return Table(title, columns, tuple(rows), notes)


def unplanned(studies: Sequence[StudyResults]) -> list[Table]:
    """Return differences that 0106 does not ask for, but that the page needs: intervals, no verdicts.

    Args:
        studies: Complete ones.
    """
    rows = []
    for study in studies:
        for first, second, head in _not_asked(study):
            rows += _difference_row(study, first, second, head, "segment accuracy")
    notes = (
        "First minus second, scores averaged over seeds, groups resampled. Not planned, so not tested and not corrected.",
    )
    columns = ("study", "first", "second", "segments, points (95 %)", "by seed")
    return [Table("Differences that no question was planned for", columns, tuple(rows), notes)] if rows else []


def of_recordings(studies: Sequence[StudyResults]) -> list[Table]:
    """Return differences in the accuracy of whole recordings, the paper's measure: intervals, no verdicts.

    Args:
        studies: Complete ones.
    """
    rows = []
    for study in studies:
        for first, second in ((ATTENTION, CNN), (ATTENTION, CNN_MEAN), (ATTENTION, MEAN), (CNN_MEAN, CNN)):
            for head in HEADS:
                rows += _difference_row(study, first, second, head, "recording accuracy")
    notes = (
        "First minus second, whole recordings (or excerpts of them) by the product of their segments' posteriors, scores "
        "averaged over seeds, groups resampled. 0106 reports them and tests none.",
    )
    columns = ("study", "first", "second", "recordings, points (95 %)", "by seed")
    return [Table("Differences of recordings", columns, tuple(rows), notes)] if rows else []


def _difference_row(study: StudyResults, first: str, second: str, head: str, measure: Measure) -> list[tuple[str, ...]]:
    """Return a row of two arms of one head; none where they have nothing in common."""
    found = difference(study, first, second, head, measure)
    arms = (f"{ARMS[first]}, {head}", f"{ARMS[second]}, {head}")
    return [(study.label, *arms, interval_text(found[0], "+"), _by_seed(found[1]))] if found else []


def _not_asked(study: StudyResults) -> list[tuple[str, str, str]]:
    """Return pairs of arms and a head that no question is about."""
    others = [arm for arm in study.arms if arm != ATTENTION]
    pairs = [(ATTENTION, arm) for arm in others] + [(CNN_MEAN, CNN)]
    if study.study in (HEARD, UNSEEN):  # what GRUs and their mean do without attention
        pairs = [(LAST, CNN), (MEAN, LAST), (MEAN, CNN)]
    if study.study == ADDED:  # asked for the SVM only
        return [(TWICE, arm, "softmax") for arm in study.arms if arm != TWICE]
    return [(first, second, head) for first, second in pairs for head in HEADS]


def attention(title: str, studies: Sequence[StudyResults], begun: Sequence[StudyResults]) -> list[Table]:
    """Return how far attention leaves uniform, and what the softmax layer loses when it is made uniform at test.

    Args:
        title: Of the table.
        studies: To show.
        begun: All studies, to find trainings that two of them share.
    """
    rows = []
    for study in studies:
        for name in study.arms:
            histories = [r.history for r in study.of(name) if r.history and "temporal_entropy" in r.history[-1]]
            if not histories:
                continue
            ends = [history[-1] for history in histories]
            lost = [row["test_accuracy"] - row["test_accuracy_uniform_attention"] for row in ends]
            cells = [
                f"{np.mean([row[key] for row in rows_]):.4f}"
                for key in ("temporal_entropy", "spatial_entropy")
                for rows_ in ([history[0] for history in histories], ends)
            ]
            spread = f"{100 * np.mean(lost):+z.2f} ({100 * min(lost):+z.2f} to {100 * max(lost):+z.2f})"
            rows.append((study.label, ARMS[name], *cells, spread, str(len(histories)), _copied(study, name, begun)))
    columns = ("study", "arm", "time, first epoch", "time, last", "space, first epoch", "space, last")
    columns += ("points lost without it (range)", "trainings", "note")
    notes = (
        "Entropy: share of that of uniform weights, 128 training segments. Lost: segments of the test part, softmax layer, "
        "with learnt weights made uniform. Note: trainings that another study has too (equal posteriors and histories).",
    )
    return [Table(title, columns, tuple(rows), notes)] if rows else []


def trained_on(study: StudyResults) -> str:
    """Say how many recordings (or excerpts) and segments the trainings of a study had, by which conditions differ."""
    size = _size(study.results, study.unit)
    return f"training part {size}" if size else "size of the training part not stated"


def _size(results: Sequence[SplitResult], unit: str) -> str:
    counts = []
    for key, name in (("training_recordings", unit), ("training_segments", "segments")):
        if found := [r.facts[key] for r in results if key in r.facts]:
            held = f" ({_range([len(r.held_recordings) for r in results])} held out)" if name == unit else ""
            counts.append(f"{_range(found)} {name}{held}")
    return ", ".join(counts)


def _range(numbers: Sequence[int]) -> str:
    return " to ".join(map(str, dict.fromkeys((min(numbers), max(numbers)))))


def _log_loss(results: Sequence[SplitResult], head: str) -> str:
    losses = [r.history[-1]["test_log_loss"] for r in results if r.history and "test_log_loss" in r.history[-1]]
    return f"{np.mean(losses):.2f}" if losses and head == "softmax" else "-"


def _copied(study: StudyResults, name: str, begun: Sequence[StudyResults]) -> str:
    """Say which trainings of an arm are those of `same-30` or `unseen-30`, by their results."""
    if study.study in (HEARD, UNSEEN):
        return ""
    n_all = len(study.of(name))
    for other in (s for s in begun if s.study in (HEARD, UNSEEN) and s.plan.corpus == study.plan.corpus):
        if n := n_copied(study, name, other):
            return f"as {other.study}" if n == n_all else f"{n} of {n_all} as {other.study}"
    return ""


def _state(begun: Sequence[StudyResults]) -> str:
    lines = [
        "Data, split, epoch, seed, recipe, machine and time of each study (the sum over its trainings, as time passed, with "
        "other work beside some; a result that is another study's counts in both):",
        "",
    ]
    for study in begun:
        results = study.results
        epochs = sorted({r.epoch for r in results})
        seeds = sorted({r.seed for r in results})
        recipe = study.plan.base_recipe()
        machine = sorted({str(r.facts.get("machine", "?")) for r in results})
        n_all = len(results) + study.n_missing
        left_out = f"; **not complete: {study.n_missing} of {n_all} trainings missing**" if study.n_missing else ""
        lines.append(
            f"- {study.label}: {len(study.plan.recordings)} {study.unit}, {trained_on(study)}, {study.plan.text}; last "
            f"epoch ({epochs}), seeds {seeds}; recipe {recipe_text(recipe)}, {recipe.audio.segment_s:g}-s segments; "
            f"{', '.join(machine)}, one thread each; {_hours(results)}{left_out}. {' '.join(study.plan.notes)}".rstrip()
        )
    return "\n".join(lines)


def _hours(results: Sequence[SplitResult]) -> str:
    """Time of trainings, or less: of one that was resumed `seconds` has the last process, `epoch_seconds` all epochs."""
    seconds = sum(max(float(r.facts.get(key, 0.0)) for key in ("seconds", "epoch_seconds")) for r in results)
    return f"{len(results)} trainings, at least {seconds / 3600:.1f} hours"


def _by_seed(differences: Sequence[float]) -> str:
    return ", ".join(f"{100 * x:+z.1f}" for x in differences)
