"""Write the folder of a report: report.html, tables.md, csv/ and figures/."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from soundscene.errors import TrainingError
from soundscene.experiment.results import SplitResult
from soundscene.files import write_atomic
from soundscene.plotting.page import Picture, Table, page
from soundscene.plotting.svg import headed
from soundscene.report.advice import Advice, advise
from soundscene.report.claims import beyond_baseline, claims, compare, share_tested
from soundscene.report.entries import Entry, find, make_entries
from soundscene.report.sections import Findings, duration_curves, duration_table, sections
from soundscene.report.summary import RunFacts, lead, setting, warnings
from soundscene.report.tables import all_tables, cost_table, generator_for, principal
from soundscene.scoring.curves import AccuracyByDuration
from soundscene.scoring.intervals import Interval, mean_interval
from soundscene.scoring.metrics import confusion
from soundscene.texts import markdown

_SHOWN = {  # columns of CSV that page and Markdown name otherwise: files keep the names that programs read
    "answer": "prediction",
    "answers": "predictions",
    "% of the scene's answers": "% of the scene's recordings",
}


def write_report(
    facts: RunFacts, results: Sequence[SplitResult], out: Path, n: int = 10_000, safe_csv: bool = False
) -> tuple[Path, Advice | None, Table]:
    """Write a report of stored results into a folder.

    Everything is computed before anything is written, and each file is written atomically, the page last. Equal results give
    equal bytes, except for the cost table. Other files in the folder are left alone.

    Args:
        facts: Of the run.
        results: Of the run.
        out: Folder to write; created where it does not exist.
        n: Draws of bootstraps and sign flips.
        safe_csv: Whether no cell of CSV may be taken for a formula.

    Returns:
        Path of the page, which system to use, and the accuracy of each. Results under a heading give no advice.

    Raises:
        TrainingError: The results do not fit together (see `make_entries`), or the folder cannot be written.
    """
    entries = make_entries(results, facts.fusions, facts.bases)
    main = find(entries, *facts.main) or principal(entries, facts.head)[0]
    share = share_tested(results)
    untested = facts.design == "repeated" and len({r.split for r in results}) > 1 and not share and bool(claims(entries))
    comparisons = [] if untested else compare(entries, facts.design, share, n)
    intervals = [mean_interval(c.correct(), c.groups(), generator_for(f"{c.label} recording"), n) for c in entries]
    curves = duration_curves(entries, results, facts.head)
    chief = [(c, i) for c, i in zip(entries, intervals, strict=True) if c in principal(entries, facts.head)]
    candidates, of_candidates = [c for c, _ in chief], [i for _, i in chief]
    chosen = (results, facts.design, share, facts.recipe, facts.manifest, n)
    advice = None if facts.heading else advise(candidates, of_candidates, *chosen)
    stated = setting(facts, results)
    beyond = {} if untested else beyond_baseline(entries, facts.design, share, n)
    tables = all_tables(results, entries, comparisons, stated, facts.litis, n, facts.head, beyond)
    tables |= {"seconds": duration_table(curves), "cost": cost_table(results, stated, facts.model_bytes)}
    tables = {name: replace(table, title=_headed(facts, table.title)) for name, table in tables.items()}
    shown = {name: replace(table, columns=tuple(_SHOWN.get(c, c) for c in table.columns)) for name, table in tables.items()}
    contents = [
        replace(
            section,
            figures=tuple(_marked_picture(facts, picture) for picture in section.figures),
            tables=tuple(replace(t, notes=tuple(n for n in t.notes if n != stated.line())) for t in section.tables),
        )
        for section in sections(Findings(facts, results, entries, main, intervals, comparisons, shown, curves))
    ]
    title = _headed(facts, facts.title or f"Acoustic scenes: {facts.corpus}")
    interval = intervals[[c is main for c in entries].index(True)]
    leads = advice is not None and advice.leader is main
    top, warned = lead(facts, results, main, interval, comparisons, leads), warnings(facts, untested)
    numbers = {
        "confusion-counts": _confusion_counts(entries),
        "seconds-heard": _duration_rows(curves),
        "history": _history(entries),
    }
    content = {f"csv/{name}.csv": _marked(facts, table).csv(safe_csv) for name, table in (tables | numbers).items()}
    content |= {f"figures/{picture.name}.svg": picture.svg + "\n" for section in contents for picture in section.figures}
    said = [advice.text, *([f"To train it: {advice.command}"] if advice.command else [])] if advice else []
    html = page(title, top, contents, warned, answer=(advice.text, advice.command) if advice else None, source=stated.line())
    content |= {"tables.md": _markdown(title, [*warned, *said, *top], shown), "report.html": html}
    for name, text in content.items():
        _write(out / name, text)
    summary = summary_table(chief)
    return out / "report.html", advice, replace(summary, title=_headed(facts, summary.title))


def summary_table(chief: Sequence[tuple[Entry, Interval]]) -> Table:
    """Return the recording accuracy of each principal entry, the best first.

    Args:
        chief: Entries, and the intervals of their accuracy.
    """
    rows = tuple(
        (c.title, c.head, f"{100 * i.estimate:.1f} %", f"{100 * i.low:.1f} to {100 * i.high:.1f} %")
        for c, i in sorted(chief, key=lambda row: -row[1].estimate)
    )
    return Table("Recording accuracy", ("system", "head", "accuracy", "95 % interval"), rows)


def _headed(facts: RunFacts, title: str) -> str:
    return f"{facts.heading}. {title}" if facts.heading else title


def _marked_picture(facts: RunFacts, picture: Picture) -> Picture:
    """Return a picture with the heading over its title, and inside its file, which may travel alone."""
    if not facts.heading:
        return picture
    return replace(picture, title=_headed(facts, picture.title), svg=headed(picture.svg, facts.heading))


def _marked(facts: RunFacts, table: Table) -> Table:
    """Return a table for CSV, which has no title: the heading is a column, so that no row is read without it."""
    if not facts.heading:
        return table
    rows = tuple((facts.heading, *row) for row in table.rows)
    return replace(table, columns=("heading", *table.columns), rows=rows)


def _markdown(title: str, paragraphs: Sequence[str], tables: dict[str, Table]) -> str:
    return "\n".join(
        [
            f"# {markdown(title)}",
            "",
            *(f"{markdown(text)}\n" for text in paragraphs),
            *(table.markdown() for table in tables.values()),
        ]
    )


def _confusion_counts(entries: Sequence[Entry]) -> Table:
    rows = []
    for c in entries:
        counts = confusion(c.log_posterior(calibrated=False), c.truth())
        for true, predicted in zip(*np.nonzero(counts), strict=True):
            rows.append((c.name, c.head, c.scenes[true], c.scenes[predicted], str(counts[true, predicted])))
    return Table("Confusion counts", ("system", "head", "true_scene", "answer", "recordings"), tuple(rows))


def _duration_rows(curves: Sequence[tuple[Entry, AccuracyByDuration]]) -> Table:
    rows = tuple(
        (c.name, c.head, f"{seconds:g}", f"{share:.6f}")
        for c, curve in curves
        for seconds, share in zip(curve.seconds, curve.accuracy, strict=True)
    )
    return Table("Accuracy against duration", ("system", "head", "seconds", "accuracy"), rows, ())


def _history(entries: Sequence[Entry]) -> Table:
    """Return every epoch of every training, without the seconds it took, which differ from run to run."""
    parts = [(c.name, part) for c in {c.name: c for c in entries}.values() for part in c.parts]
    keys = list(dict.fromkeys(key for _, part in parts for row in part.history for key in row if key != "seconds"))
    rows = tuple(
        (name, part.split, str(part.seed), *(f"{row[key]:.6g}" if key in row else "" for key in keys))
        for name, part in parts
        for row in part.history
    )
    return Table("History", ("system", "split", "seed", *keys), rows, ())


def _write(path: Path, text: str) -> None:
    # file names of recordings may hold bytes that are no UTF-8
    write_atomic(path, text.encode("utf-8", "backslashreplace"), TrainingError)
