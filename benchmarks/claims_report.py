"""Tables and pictures of the arms of decision 0106, from whatever has finished."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from soundscene.experiment.plan import PLAN, Plan
from soundscene.experiment.results import RunFolder, SplitResult
from soundscene.plotting.page import Table
from soundscene.plotting.style import styled
from soundscene.plotting.svg import headed, render_svg
from soundscene.report.claims import Claim, decide
from soundscene.report.entries import Entry, find, make_entries
from soundscene.report.figures import epochs_figure, forest_figure
from soundscene.report.recipes import recipe_text
from soundscene.report.tables import generator_for
from soundscene.scoring.comparisons import Comparison, corrected
from soundscene.scoring.evaluation import LEAKAGE
from soundscene.scoring.intervals import Interval, mean_interval

ARMS = {
    "att-crnn-mel": "Att-CRNN",
    "att-crnn-mel+network.pooling=mean": "its mean pooling",
    "cnn-mel": "CNN, maximum",
    "cnn-mel+network.global_pooling=mean": "CNN, mean",
    "att-crnn-mel+network.pooling=last": "GRUs without attention",
    "att-crnn-mel+network.recurrent=none": "attention without GRUs",
    "att-crnn-mel+network.attention_scale=printed": "Att-CRNN, (9) as printed",
    "att-crnn-mel+network.attention_scale=printed-2h": "Att-CRNN, (9) times 2H",
    "att-crnn-mel+network.attention_temperature=0.1": "Att-CRNN, temperature 0.1",
    "att-crnn-mel+network.attention_context=1": "Att-CRNN, context vectors 10 times as long at the start",
}
CONDITIONS = {"same": f"same recording ({LEAKAGE})", "unseen": "unseen recordings"}
ATTENTION, CNN, CNN_MEAN = "att-crnn-mel", "cnn-mel", "cnn-mel+network.global_pooling=mean"
TWICE = "att-crnn-mel+network.attention_scale=printed-2h"
PRIMARY = "Att-CRNN beats the CNN with maximum pooling"
HEADS = ("svm", "softmax")
N_PRIMARY = 2 * 2  # two conditions on two corpora
N_SECONDARY = N_PRIMARY * (1 + 5 * len(HEADS))  # of six arms: four others beside the CNN, and CNN mean minus maximum


@dataclass(frozen=True)
class Finished:
    """One study on one corpus, as far as it has results: entries of one name are all its splits and seeds."""

    study: str
    plan: Plan
    results: tuple[SplitResult, ...]
    entries: tuple[Entry, ...]
    n_missing: int

    @property
    def label(self) -> str:
        """Study and corpus, and that it leaks where it does."""
        return f"{self.study}, {self.plan.corpus}" + (f" ({LEAKAGE})" if self.plan.diagnosis else "")

    @property
    def arms(self) -> list[str]:
        """Names of the systems, in the order of `ARMS`."""
        return [name for name in ARMS if any(entry.name == name for entry in self.entries)]


def write(runs: Path, out: Path) -> None:
    """Write tables and pictures of the finished studies.

    Args:
        runs: Folder that `benchmarks.claims run` filled.
        out: Folder for tables.md and the pictures.
    """
    begun = [study for folder in sorted(runs.glob("*/*")) if (folder / PLAN).exists() and (study := _read(folder))]
    finished = [study for study in begun if not study.n_missing]
    if not finished:
        raise SystemExit(f"{runs}: no study is complete yet; run `python -m benchmarks.claims run` first")
    primary, secondary = families(finished)
    tables = [
        _scores(finished),
        _questions("Primary questions", primary, N_PRIMARY),
        _questions("Secondary questions", secondary, N_SECONDARY),
    ]
    if added := added_questions(finished):
        tables.append(_questions("Questions added on 27 November 2026: (9) times 2H", added, len(added)))
    tables += [_attention(finished)]
    figures = {"arms": arms_figure([s for s in finished if s.study in ("same-30", "unseen-30")])}
    figures |= {"primary": forest_figure(primary)} if primary else {}
    for study in finished:
        shown = [replace(entry, title=ARMS[name]) for name in study.arms if (entry := find(study.entries, name, "softmax"))]
        figures[f"epochs-{study.study}-{study.plan.corpus}"] = epochs_figure(shown[:8])
    leaking = {f"epochs-{study.study}-{study.plan.corpus}" for study in finished if study.plan.diagnosis}
    out.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        svg = render_svg(figure, name)
        (out / f"{name}.svg").write_text((headed(svg, LEAKAGE) if name in leaking else svg) + "\n", encoding="utf-8")
    pictures = "\n\n".join(f"![{name}]({name}.svg)" for name in figures)
    text = "\n".join(table.markdown() for table in tables)
    (out / "tables.md").write_text(f"# The arms of decision 0106\n\n{_state(begun)}\n\n{text}\n{pictures}\n", "utf-8")


def families(finished: Sequence[Finished]) -> tuple[list[Comparison], list[Comparison]]:
    """Return the primary and the secondary questions, each family corrected by itself, over all that 0106 asks.

    The label of a comparison names the study and the corpus, because one family spans all of them.
    """
    primary, secondary = [], []
    for study in finished:
        if study.study not in ("same-30", "unseen-30"):
            continue
        asked = [(PRIMARY, ATTENTION, CNN, "svm")]
        further = [(ATTENTION, name) for name in study.arms if name not in (ATTENTION, CNN)] + [(CNN_MEAN, CNN)]
        asked += [("Att-CRNN beats the CNN, softmax", ATTENTION, CNN, "softmax")]
        asked += [("An arm beats another", first, second, head) for first, second in further for head in HEADS]
        for question, first, second, head in asked:
            better, worse = find(study.entries, first, head), find(study.entries, second, head)
            if better is None or worse is None:
                continue
            for one in decide([Claim(f"{question}: {study.label}", better, worse, "segment accuracy")], "once", 0.0):
                (primary if question == PRIMARY else secondary).append(one)
    return corrected(primary, N_PRIMARY), corrected(secondary, N_SECONDARY)


def added_questions(finished: Sequence[Finished]) -> list[Comparison]:
    """Return the questions about the form times 2H where recordings were heard, a family of its own."""
    asked: list[Comparison] = []
    for study in (s for s in finished if s.study == "same-2h"):
        first = find(study.entries, TWICE, "svm")
        for name in (n for n in study.arms if n != TWICE):
            second = find(study.entries, name, "svm")
            if first is not None and second is not None:
                claim = Claim(f"(9) times 2H beats another arm: {study.label}", first, second, "segment accuracy")
                asked += decide([claim], "once", 0.0)
    return corrected(asked)


@styled
def arms_figure(finished: Sequence[Finished]) -> Figure:
    """Draw segment accuracy (SVM) of every arm: a panel a corpus, a disc for heard recordings, a ring for unseen ones."""
    corpora = list(dict.fromkeys(study.plan.corpus for study in finished))
    figure = Figure(figsize=(7.5, 3.5), layout="constrained")
    panels = figure.subplots(1, max(len(corpora), 1), sharey=True, squeeze=False)[0]
    names = [name for name in ARMS if any(name in study.arms for study in finished)]
    for panel, corpus in zip(panels, corpora, strict=False):
        for study in (s for s in finished if s.plan.corpus == corpus):
            heard = bool(study.plan.diagnosis)
            for place, name in enumerate(names):
                if (entry := find(study.entries, name, "svm")) is None:
                    continue
                interval = _of_segments(entry)
                y = place + (0.15 if heard else -0.15)
                panel.plot([100 * interval.low, 100 * interval.high], [y, y], color="black", linewidth=1)
                face = "black" if heard else "white"
                panel.plot(100 * interval.estimate, y, "o", color="black", markerfacecolor=face, markersize=5)
        panel.set(title=corpus, xlabel="segment accuracy, %")
    panels[0].set_yticks(range(len(names)), [ARMS[name] for name in names])
    panels[0].invert_yaxis()
    for face, label in (
        ("black", f"another excerpt of the recording was trained on: {LEAKAGE}"),
        ("white", "unseen recordings"),
    ):
        panels[0].plot([], [], "o-", color="black", markerfacecolor=face, markersize=5, linewidth=1, label=label)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def _read(folder: Path) -> Finished | None:
    plan = Plan.read(folder)
    results, missing = RunFolder(folder).read_results(plan)
    if not results:
        return None
    return Finished(folder.parent.name, plan, tuple(results), tuple(make_entries(results, {}, {})), len(missing))


def _of_segments(entry: Entry) -> Interval:
    correct = np.concatenate([part.segment_correct for part in entry.parts])
    groups = [group for part in entry.parts for group in part.segment_groups]
    return mean_interval(correct, groups, generator_for(f"{entry.label} segment"))


def _scores(finished: Sequence[Finished]) -> Table:
    rows = []
    for study in finished:
        for name in study.arms:
            for entry in (e for head in HEADS if (e := find(study.entries, name, head))):
                recordings = mean_interval(entry.correct(), entry.groups(), generator_for(f"{entry.label} recording"))
                cells = [_percent(_of_segments(entry)), _percent(recordings)]
                rows.append((study.label, ARMS[name], entry.head, *cells, f"{len(entry.splits)} x {len(entry.seeds)}"))
    columns = ("study", "arm", "head", "segments, % (95 %)", "recordings, % (95 %)", "splits x seeds")
    return Table("Accuracy", columns, tuple(rows), ("Intervals: bootstrap over groups, all splits and seeds together.",))


def _questions(title: str, family: Sequence[Comparison], n_asked: int) -> Table:
    rows = [
        (
            c.question,
            c.first,
            c.second,
            f"{100 * c.difference.estimate:+.1f} ({100 * c.difference.low:+.1f} to {100 * c.difference.high:+.1f})",
            f"{c.p_holm:.4f}",
            c.verdict,
            f"{100 * c.smallest:.1f}",
        )
        for c in family
    ]
    columns = ("question", "first", "second", "segments, points (95 %)", "p, Holm", "verdict", "found in 4 of 5 from")
    open_ = n_asked - len(family)
    of_open = f"; the {open_} without an answer yet count as p = 1" if open_ else ""
    notes = (
        "First minus second; scores averaged over seeds, groups resampled and flipped; Holm over "
        f"{n_asked} questions{of_open}.",
        "Last column: difference that four of five such corpora would show at 5 % before Holm's correction. An undecided "
        "difference may be larger; its interval says how large.",
    )
    return Table(title, columns, tuple(rows), notes)


def _attention(finished: Sequence[Finished]) -> Table:
    """How far attention leaves uniform, and what the softmax layer loses when it is made uniform at test."""
    rows = []
    for study in finished:
        for name in study.arms:
            histories = [r.history for r in study.results if r.system == name and "temporal_entropy" in r.history[-1]]
            if not histories:
                continue
            ends = [history[-1] for history in histories]
            lost = [row["test_accuracy"] - row["test_accuracy_uniform_attention"] for row in ends]
            cells = [
                f"{np.mean([row[key] for row in rows_]):.4f}"
                for key in ("temporal_entropy", "spatial_entropy")
                for rows_ in ([history[0] for history in histories], ends)
            ]
            spread = f"{100 * np.mean(lost):+.2f} ({100 * min(lost):+.2f} to {100 * max(lost):+.2f})"
            rows.append((study.label, ARMS[name], *cells, spread, str(len(histories))))
    columns = ("study", "arm", "time, first epoch", "time, last", "space, first epoch", "space, last")
    columns += ("points lost without it (range)", "trainings")
    notes = (
        "Entropy: share of that of uniform weights, 128 training segments. Lost: segments of the test part, softmax layer, "
        "with learnt weights made uniform.",
    )
    return Table("Where attention goes, and what it is worth", columns, tuple(rows), notes)


def _state(finished: Sequence[Finished]) -> str:
    lines = ["Data, split, epoch, seed, recipe and machine of each study:", ""]
    for study in finished:
        results = study.results
        epochs = sorted({r.epoch for r in results})
        seeds = sorted({r.seed for r in results})
        recipe = study.plan.base_recipe()
        machine = sorted({str(r.facts.get("machine", "?")) for r in results})
        what = "excerpts" if study.plan.diagnosis else "recordings"
        n_all = len(results) + study.n_missing
        left_out = f"; **left out below: {study.n_missing} of {n_all} trainings missing**" if study.n_missing else ""
        lines.append(
            f"- {study.label}: {len(study.plan.recordings)} {what}, {trained_on(study)}, {study.plan.text}; last epoch "
            f"({epochs}), seeds {seeds}; recipe {recipe_text(recipe)}, {recipe.audio.segment_s:g}-s segments; "
            f"{', '.join(machine)}, one thread each{left_out}. {' '.join(study.plan.notes)}"
        )
    return "\n".join(lines)


def trained_on(study: Finished) -> str:
    """Say how many recordings and segments the trainings of a study had, by which conditions differ."""
    recordings = sorted({r.facts["training_recordings"] for r in study.results if "training_recordings" in r.facts})
    segments = sorted({r.facts["training_segments"] for r in study.results if "training_segments" in r.facts})
    counts = ((recordings, "recordings"), (segments, "segments"))
    said = [f"{' to '.join(map(str, dict.fromkeys((n[0], n[-1]))))} {name}" for n, name in counts if n]
    return f"each training on {' and '.join(said)}" if said else "size of the trainings not stated"


def _percent(interval: Interval) -> str:
    return f"{100 * interval.estimate:.1f} ({100 * interval.low:.1f} to {100 * interval.high:.1f})"
