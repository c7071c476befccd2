"""The sentences at the top of a report: what was run, how it was tested, which claims hold, and what is missing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from soundscene.experiment.results import SplitResult
from soundscene.recipe import Recipe
from soundscene.report.entries import Entry, Fusion
from soundscene.report.recipes import recipe_text
from soundscene.report.tables import Setting
from soundscene.scoring.comparisons import Comparison
from soundscene.scoring.intervals import Interval
from soundscene.texts import counted

FEW_GROUPS = 20  # intervals by bootstrap over fewer are too narrow, see soundscene.scoring.intervals
VERDICTS = ("holds", "reversed", "undecided")


@dataclass(frozen=True)
class RunFacts:
    """What a report states about a run besides its results.

    Attributes:
        corpus: Its name.
        splits_text: How the splits were made, a clause such as "5 folds by group".
        design: "once" where every group is in one test part, "repeated" for random splits of one corpus.
        machine: Where it ran.
        threads: With how many.
        n_recordings: Of the corpus.
        n_groups: Of the corpus.
        scenes: Of the corpus.
        missing: Tasks without a result, in words.
        notes: Further lines.
        fusions: As in `make_entries`.
        bases: As in `make_entries`.
        litis: Whether the published numbers belong beside these.
        main: Name and head of the entry that the figures of one entry show; the first entry where there is no such entry.
        title: Of the page, "" for that of the corpus.
        recipe: What all systems start from.
        manifest: Name of the manifest, for the command that trains a model.
        model_bytes: Size of the model file of each system, by name, where there is one.
        heading: Put before the title of the page and of every table and figure, if the results must not be read without it.
    """

    corpus: str
    splits_text: str
    design: Literal["once", "repeated"]
    machine: str
    threads: int
    n_recordings: int
    n_groups: int
    scenes: tuple[str, ...]
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    fusions: Mapping[str, Fusion] = field(default_factory=dict)
    bases: Mapping[str, str] = field(default_factory=dict)
    litis: bool = False
    main: tuple[str, str] = ("att-crnn-mel", "svm")
    heading: str = ""
    title: str = ""
    recipe: Recipe | None = None
    manifest: str = "MANIFEST"
    model_bytes: Mapping[str, float] = field(default_factory=dict)

    @property
    def head(self) -> str:
        """Head of the tables with one head: the recipe's."""
        return self.recipe.calibration.head if self.recipe else "svm"

    @property
    def unit(self) -> str:
        """What is counted: a diagnosis tests excerpts, of which two may be cut from one recording."""
        return "excerpt" if self.heading else "recording"


def setting(facts: RunFacts, results: Sequence[SplitResult]) -> Setting:
    """Return how the results were obtained, for the note under every table.

    Args:
        facts: Of the run.
        results: Of the run.
    """
    data = f"{facts.corpus}, {facts.n_recordings} {facts.unit}s, {facts.n_groups} groups, {len(facts.scenes)} scenes"
    seeds = ", ".join(str(seed) for seed in sorted({r.seed for r in results}))
    recipe = recipe_text(facts.recipe) if facts.recipe else "not stated"
    machine = f"{facts.machine}, {counted(facts.threads, 'thread')}"
    return Setting(data, facts.splits_text, recipe, epoch_in_words(results), seeds, machine)


def epoch_in_words(results: Sequence[SplitResult]) -> str:
    """Return in words which epoch was tested."""
    trained = [r for r in results if r.epoch]
    if not trained:
        return "none (no system has epochs)"
    epochs = sorted({r.epoch for r in trained})
    span = f"{epochs[0]}" if len(epochs) == 1 else f"{epochs[0]} to {epochs[-1]}"
    if all(not r.history or r.epoch == r.history[-1]["epoch"] for r in trained):
        return f"the last of each training ({span})"
    return f"{span}; where it is not the last of a training, it was chosen on held-out training groups"


def lead(
    facts: RunFacts,
    results: Sequence[SplitResult],
    main: Entry,
    interval: Interval,
    comparisons: Sequence[Comparison],
    leads: bool = False,
) -> list[str]:
    """Return the paragraphs at the top.

    Args:
        facts: Of the run.
        results: Of the run.
        main: Entry whose accuracy is stated.
        interval: Of its recording accuracy.
        comparisons: Of all entries.
        leads: Whether the main entry is also the one that the page says leads, of several.
    """
    titles = list(dict.fromkeys(r.title for r in results))
    n_splits, seeds = len({r.split for r in results}), sorted({r.seed for r in results})
    corpus = (
        f"{counted(facts.n_recordings, facts.unit)} of {counted(len(facts.scenes), 'scene')} in "
        f"{counted(facts.n_groups, 'group')}; {counted(len(titles), 'system')}, {counted(n_splits, 'split')}, "
        f"{counted(len(seeds), 'seed')}: {', '.join(titles)}."
    )
    score = (
        f"{main.label} predicts the right scene for {100 * interval.estimate:.1f} % of the test {facts.unit}s "
        f"(95 % interval {100 * interval.low:.1f} to {100 * interval.high:.1f} %, over groups; all splits and seeds "
        "together). "
    )
    score += (
        "It leads the systems that were compared, so its score is slightly optimistic."
        if leads
        else "This system was not selected by its score."
    )
    if interval.low == interval.high:
        score += " The interval has no width because no error occurred, which does not exclude errors on other recordings."
    tested = (
        f"Tested epoch: {epoch_in_words(results)}. Epoch, temperature and settings come from training parts alone, none was "
        "selected by test recordings."
    )
    return [corpus, tested, score, *verdicts(comparisons), *_limits(facts, results), *facts.notes]


def verdicts(comparisons: Sequence[Comparison]) -> list[str]:
    """Return how many comparisons of each question hold, are reversed, or are undecided."""
    if not comparisons:
        return ["No comparison: the run has no two systems of one claim on the same split."]
    text = (
        f"{counted(len(comparisons), 'paired comparison')}, tested at 5 % after Holm's correction over all of them. "
        "Undecided is a verdict: a run of this size cannot tell the two apart, which does not prove them equal."
    )
    outcomes = []
    for question in dict.fromkeys(c.question for c in comparisons):
        of_question = [c.verdict for c in comparisons if c.question == question]
        counts = ", ".join(f"{kind} in {of_question.count(kind)}" for kind in VERDICTS if kind in of_question)
        outcomes.append(f"{question}: {counts} of {counted(len(of_question), 'comparison')}.")
    return [text, *outcomes]


def warnings(facts: RunFacts, untested: bool) -> list[str]:
    """Return what the reader must know before anything else.

    Args:
        facts: Of the run.
        untested: Whether claims could not be tested because the sizes of the training parts are unknown.
    """
    paragraphs = []
    if facts.missing:
        paragraphs.append(
            f"This report is incomplete: {counted(len(facts.missing), 'task')} of the run without a result. The results "
            f"below are of the others only, and splits may differ between systems. Missing: {'; '.join(facts.missing)}."
        )
    if untested:
        paragraphs.append(
            "No claim was tested: over random splits the test needs the number of recordings in a training part, and no "
            "result of this run has it."
        )
    return paragraphs


def _limits(facts: RunFacts, results: Sequence[SplitResult]) -> list[str]:
    paragraphs = []
    n_groups = len({group for r in results for group in r.groups})
    if n_groups < FEW_GROUPS:
        paragraphs.append(
            f"The test parts hold {counted(n_groups, 'group')}: with fewer than {FEW_GROUPS}, intervals by resampling "
            "groups are too narrow."
        )
    if len({r.split for r in results}) == 1:
        paragraphs.append(
            "There is one split, so no spread over splits can be given. Intervals are over the groups of its test part and "
            "do not cover other training parts."
        )
    elif facts.design == "repeated":
        paragraphs.append(
            "The splits are random and share recordings, so their results are not independent: comparisons use a test that "
            "corrects for it. Intervals of single accuracies resample groups and do not cover the choice of training part."
        )
    return paragraphs
