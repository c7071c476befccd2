"""The report of a run folder, from its plan and its results."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from soundscene.errors import TrainingError
from soundscene.experiment.plan import Plan
from soundscene.experiment.results import RunFolder, SplitResult
from soundscene.plotting.page import Table
from soundscene.report.advice import Advice, train_command
from soundscene.report.entries import Fusion
from soundscene.report.published import row_of
from soundscene.report.summary import RunFacts
from soundscene.report.tables import METHODS
from soundscene.report.write import write_report
from soundscene.scoring.evaluation import LEAKAGE
from soundscene.systems.catalogue import split_names

FUSIONS = (
    Fusion("att-crnn-fusion", "Att-CRNN (fusion)", ("att-crnn-mel", "att-crnn-gammatone")),
    Fusion("cnn-fusion", "CNN baseline (fusion)", ("cnn-mel", "cnn-gammatone")),
    Fusion("all-fusion", "Att-CRNN + CNN (fusion)", ("att-crnn-mel", "att-crnn-gammatone", "cnn-mel", "cnn-gammatone")),
)


@dataclass(frozen=True)
class Report:
    """A written report.

    Attributes:
        page: Path of the HTML page.
        text: The tables as Markdown.
        notes: What the reader should know first.
        advice: Which system to use; None where the results must not be used for that.
        summary: Accuracy of each system, the table of the terminal.
        command: That of the advice, with the path of the manifest from here; "" where there is none.
    """

    page: Path
    text: str
    notes: tuple[str, ...]
    advice: Advice | None
    summary: Table
    command: str = ""


def report_on_run(
    run: Path,
    out: Path | None = None,
    main: str | None = None,
    fuse: Sequence[str] = (),
    safe_csv: bool = False,
    title: str = "",
) -> Report:
    """Write tables, figures and page of the results in a run folder, finished or not.

    The paper's fusions are made wherever their members have results.

    Args:
        run: Folder of the run.
        out: Folder of the report, RUN/report by default.
        main: System of the figures of one entry, as "att-crnn-mel/svm".
        fuse: Further fusions of stored results, as "NAME=SYSTEM,SYSTEM".
        safe_csv: Whether no cell of CSV may be taken for a formula by a spreadsheet.
        title: Of the page, by default that of the corpus.

    Raises:
        TrainingError: A folder without results, or a name that has none.
    """
    plan = Plan.read(run)
    results, missing = RunFolder(run).read_results(plan)
    if not results:
        raise TrainingError(f"{run}: none of its {len(plan.tasks())} trainings has a result yet; run the experiment first")
    own = [_fusion(text) for text in fuse]
    systems = {r.system for r in results}
    for fusion in own:
        if unknown := [name for name in fusion.members if name not in systems]:
            raise TrainingError(
                f"--fuse {fusion.name}: no results of {', '.join(unknown)}; there are {', '.join(sorted(systems))}"
            )
    recipe = plan.base_recipe()
    name, _, head = (main or f"att-crnn-mel/{recipe.calibration.head}").partition("/")
    if main and not any(r.system == name and head in r.heads for r in results):
        allowed = sorted({f"{r.system}/{head}" for r in results for head in r.heads})
        raise TrainingError(f"--main {main}: allowed are {', '.join(allowed)}")
    fusions = {f.name: f for f in (*FUSIONS, *own) if set(f.members) <= systems}
    facts = RunFacts(
        corpus=plan.corpus,
        splits_text=plan.text,
        design=plan.design,
        machine="; ".join(sorted({_machine(r) for r in results})),
        threads=plan.threads,
        n_recordings=len(plan.recordings),
        n_groups=len({group for _, _, group in plan.recordings}),
        scenes=tuple(sorted({scene for _, scene, _ in plan.recordings})),
        missing=tuple(f"{t.system} on {t.split}, seed {t.seed}" for t in missing),
        notes=(*plan.notes, *_left_out(plan), *_reimplemented(results)),
        fusions=fusions,
        bases={spec.name: spec.base for spec in plan.systems if spec.base},
        litis=plan.litis,
        main=(name, head),
        model_bytes=_model_bytes(RunFolder(run), plan),
        heading=LEAKAGE if plan.diagnosis else "",
        title=title,
        recipe=recipe,
        manifest=_manifest_name(plan),
    )
    folder = out or run / "report"
    page, advice, summary = write_report(facts, results, folder, safe_csv=safe_csv)
    notes = (f"{len(missing)} of {len(plan.tasks())} trainings have no result yet; the page lists them",) if missing else ()
    command = ""
    if advice and advice.command:  # as it works in this folder; the page, which others read, has the name alone
        command = train_command(advice.choice, recipe, _manifest_path(plan))
    return Report(page, (folder / "tables.md").read_text(encoding="utf-8"), notes, advice, summary, command)


def _manifest_name(plan: Plan) -> str:
    """Return the name of the manifest beside the recordings, as `experiment` was given it, as far as that is known."""
    names = ("manifest.csv", f"{plan.corpus}.csv")
    return next((name for name in names if (Path(plan.root) / name).is_file()), "MANIFEST")


def _manifest_path(plan: Plan) -> str:
    """Return the path of that manifest from the working directory."""
    name = _manifest_name(plan)
    found = Path(plan.root) / name
    return os.path.relpath(found) if found.is_file() else name


def _fusion(text: str) -> Fusion:
    name, equals, members = text.partition("=")
    systems = tuple(split_names(members))
    if not (name and equals and len(systems) > 1 and all(systems)):
        raise TrainingError(f"--fuse {text!r}: expected NAME=SYSTEM,SYSTEM, such as both=att-crnn-mel,hog")
    return Fusion(name, name, systems)


def _machine(result: SplitResult) -> str:
    facts = result.facts
    torch = facts.get("versions", {}).get("torch", "?")
    return f"{facts.get('machine', '?')}, {facts.get('device', '?')}, PyTorch {torch}"


def _reimplemented(results: Sequence[SplitResult]) -> tuple[str, ...]:
    """Return a note on the systems named after papers whose full text was not available."""
    named = {r.title: row_of(r.system) for r in results}
    titles = [f"{title} ({row.page})" for title, row in named.items() if row is not None and row.page]
    if not titles:
        return ()
    kind = "systems of that kind with our choices, not reproductions of the papers they are named after"
    return (f"{', '.join(titles)}: {kind}; the numbers are those of pages (see {METHODS}).",)


def _model_bytes(folder: RunFolder, plan: Plan) -> dict[str, float]:
    """Return the median size of the model files of each system, where a run has them."""
    sizes: dict[str, list[int]] = {}
    for task in plan.tasks():
        if (path := folder.model(task)).is_file():
            sizes.setdefault(task.system, []).append(path.stat().st_size)
    return {system: float(median(found)) for system, found in sizes.items()}


def _left_out(plan: Plan) -> tuple[str, ...]:
    if not plan.left_out:
        return ()
    return (f"{len(plan.left_out)} recordings could not be used and were left out: {'; '.join(plan.left_out)}.",)
