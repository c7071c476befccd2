"""What a report says at its top, in sentences: what was run, how it was tested, which claims hold, and what is missing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from soundscene.experiment.results import SplitResult
from soundscene.report.entries import Entry, Fusion
from soundscene.report.tables import Setting
from soundscene.scoring.comparisons import Comparison
from soundscene.scoring.intervals import Interval

FEW_GROUPS = 20  # of which a bootstrap is too sure, see soundscene.scoring.intervals
VERDICTS = ("holds", "reversed", "undecided")


@dataclass(frozen=True)
class RunFacts:
    """What a report says of a run besides its results.

    corpus: its name; splits_text: how the splits were made, a clause such as "5 folds by group"; design: "once" where every
    group stands in one test part, "repeated" for random splits of one corpus; machine, threads: where and with how many it
    ran; n_recordings, n_groups, scenes: of the corpus; missing: tasks without a result, in words; notes: further lines;
    fusions, bases: as in `make_entries`; litis: whether the published numbers belong beside these; main: name and head of the
    contestant that the figures of one contestant show (the first contestant where it is not there).
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


def setting(facts: RunFacts, results: Sequence[SplitResult]) -> Setting:
    """How the numbers came about, for the line under every table."""
    data = f"{facts.corpus}, {facts.n_recordings} recordings, {facts.n_groups} groups, {len(facts.scenes)} scenes"
    seeds = ", ".join(str(seed) for seed in sorted({r.seed for r in results}))
    return Setting(data, facts.splits_text, epoch_in_words(results), seeds, f"{facts.machine}, {facts.threads} threads")


def epoch_in_words(results: Sequence[SplitResult]) -> str:
    """Which epoch was tested, in words."""
    trained = [r for r in results if r.epoch]
    if not trained:
        return "none (no system has epochs)"
    epochs = sorted({r.epoch for r in trained})
    told = f"{epochs[0]}" if len(epochs) == 1 else f"{epochs[0]} to {epochs[-1]}"
    if all(not r.history or r.epoch == r.history[-1]["epoch"] for r in trained):
        return f"the last of each training ({told})"
    return f"{told}; where it is not the last of a training, it was chosen on held-out training groups"


def lead(
    facts: RunFacts,
    results: Sequence[SplitResult],
    main: Entry,
    interval: Interval,
    comparisons: Sequence[Comparison],
) -> list[str]:
    """The paragraphs at the top; interval: of the main contestant's recording accuracy."""
    titles = list(dict.fromkeys(r.title for r in results))
    n_splits, seeds = len({r.split for r in results}), sorted({r.seed for r in results})
    corpus = (
        f"{facts.corpus}: {_count(facts.n_recordings, 'recording')} of {_count(len(facts.scenes), 'scene')} in "
        f"{_count(facts.n_groups, 'group')}. Splits: {facts.splits_text}; {_count(n_splits, 'split')} with results. "
        f"{_count(len(titles), 'system')}: {', '.join(titles)}. Seeds: {', '.join(map(str, seeds))}."
    )
    score = (
        f"{main.label} names the right scene for {100 * interval.estimate:.1f} % of the test recordings "
        f"(95 % interval {100 * interval.low:.1f} to {100 * interval.high:.1f}, over groups; all splits and seeds "
        "together). Which system stands here does not depend on its score."
    )
    if interval.low == interval.high:
        score += " The interval has no width because no error was seen, which does not mean that none will come."
    tested = (
        f"Tested epoch: {epoch_in_words(results)}. Nothing was chosen by test recordings: epoch, temperature and settings "
        "come from training parts alone."
    )
    return [corpus, tested, score, *verdicts(comparisons), *_limits(facts, results), *facts.notes]


def verdicts(comparisons: Sequence[Comparison]) -> list[str]:
    """How many comparisons of each question hold, are reversed, or are undecided."""
    if not comparisons:
        return ["No comparison: the run holds no two systems that a claim is about, on the same split."]
    text = (
        f"{_count(len(comparisons), 'paired comparison')}, tested at 5 % after Holm's correction over all of them. "
        "Undecided is a verdict: a run of this size cannot tell the two apart, which does not make them equal."
    )
    told = []
    for question in dict.fromkeys(c.question for c in comparisons):
        asked = [c.verdict for c in comparisons if c.question == question]
        counts = ", ".join(f"{kind} in {asked.count(kind)}" for kind in VERDICTS if kind in asked)
        told.append(f"{question}: {counts} of {_count(len(asked), 'comparison')}.")
    return [text, *told]


def warnings(facts: RunFacts, untested: bool) -> list[str]:
    """What the reader must know before anything else; untested: claims could not be tested for want of training sizes."""
    told = []
    if facts.missing:
        told.append(
            f"This report is incomplete: {_count(len(facts.missing), 'task')} of the run without a result. The numbers "
            f"below are of the others only, and splits may differ between systems. Missing: {'; '.join(facts.missing)}."
        )
    if untested:
        told.append(
            "No claim was tested: over random splits the test needs to know how many recordings a training part has, and no "
            "result of this run says it."
        )
    return told


def _limits(facts: RunFacts, results: Sequence[SplitResult]) -> list[str]:
    told = []
    n_groups = len({group for r in results for group in r.groups})
    if n_groups < FEW_GROUPS:
        told.append(
            f"The test parts hold {_count(n_groups, 'group')}: with fewer than {FEW_GROUPS}, intervals by resampling groups "
            "come out too narrow."
        )
    if len({r.split for r in results}) == 1:
        told.append(
            "There is one split, so no spread over splits can be given; intervals are over the groups of its test part and "
            "say nothing of other training parts."
        )
    elif facts.design == "repeated":
        told.append(
            "The splits are random and share recordings, so their figures are not independent: comparisons use a test that "
            "corrects for it. Intervals of single accuracies resample groups and leave the choice of training part out."
        )
    return told


def _count(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word}s"
