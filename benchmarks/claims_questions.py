"""What decision 0106 asks: arms, studies as far as they have run, and the families of questions with Holm's correction."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from scipy import stats

from soundscene.experiment.plan import PLAN, Plan
from soundscene.experiment.results import RunFolder, SplitResult
from soundscene.report.claims import Claim, Measure, decide
from soundscene.report.entries import Entry, find, make_entries
from soundscene.scoring.comparisons import LEVEL, POWER, Comparison, corrected
from soundscene.scoring.evaluation import LEAKAGE
from soundscene.scoring.intervals import Interval

CORPORA = ("ambience11", "esc10")
ATTENTION, CNN, CNN_MEAN = "att-crnn-mel", "cnn-mel", "cnn-mel+network.global_pooling=mean"
MEAN, LAST = "att-crnn-mel+network.pooling=mean", "att-crnn-mel+network.pooling=last"
NO_GRU = "att-crnn-mel+network.recurrent=none"
PRINTED, TWICE = (f"att-crnn-mel+network.attention_scale={scale}" for scale in ("printed", "printed-2h"))
COLD, WIDE = "att-crnn-mel+network.attention_temperature=0.1", "att-crnn-mel+network.attention_context=1"
ARMS = {
    ATTENTION: "Att-CRNN",
    MEAN: "its mean pooling",
    CNN: "CNN, maximum",
    CNN_MEAN: "CNN, mean",
    LAST: "GRUs without attention",
    NO_GRU: "attention without GRUs",
    PRINTED: "Att-CRNN, (9) as printed",
    TWICE: "Att-CRNN, (9) times 2H",
    COLD: "Att-CRNN, temperature 0.1",
    WIDE: "Att-CRNN, context vectors 10 times as long at the start",
}
HEARD, UNSEEN, ADDED = "same-30", "unseen-30", "same-2h"
HEADS = ("svm", "softmax")
FULL_WIDTH = ("same-paper", "unseen-paper")
Family = Literal["primary", "secondary", "added", "full width"]


def label(study: str, corpus: str, leaks: bool) -> str:
    """Name a study and its corpus, and say that it leaks where it does."""
    return f"{study}, {corpus}" + (f" ({LEAKAGE})" if leaks else "")


@dataclass(frozen=True)
class StudyResults:
    """One study on one corpus, as far as it has results: entries of one name are all its splits and seeds."""

    study: str
    plan: Plan
    results: tuple[SplitResult, ...]
    entries: tuple[Entry, ...]
    n_missing: int

    @property
    def label(self) -> str:
        """As `label` names it."""
        return label(self.study, self.plan.corpus, self.leaks)

    @property
    def leaks(self) -> bool:
        """Whether other excerpts of the tested recordings were trained on."""
        return bool(self.plan.diagnosis)

    @property
    def unit(self) -> str:
        """What it trains on and tests."""
        return "excerpts" if self.leaks else "recordings"

    @property
    def arms(self) -> list[str]:
        """Names of the systems that have results, in the order of `ARMS`."""
        return [name for name in ARMS if any(entry.name == name for entry in self.entries)]

    def of(self, arm: str) -> list[SplitResult]:
        """Return the results of one arm."""
        return [result for result in self.results if result.system == arm]


def read_studies(runs: Path) -> list[StudyResults]:
    """Return all studies that have a result, in the order of their names."""
    found = []
    for folder in sorted(path for path in runs.glob("*/*") if (path / PLAN).exists()):
        plan = Plan.read(folder)
        results, missing = RunFolder(folder).read_results(plan)
        if results:
            found.append(_study(folder.parent.name, plan, results, len(missing)))
    return found


def whole_arms(study: StudyResults) -> StudyResults | None:
    """Return the arms of an incomplete study that have all their splits and seeds, as a study; None without any."""
    n_asked = {spec.name: len(study.plan.splits) * len(study.plan.seeds) for spec in study.plan.systems}
    kept = [result for result in study.results if len(study.of(result.system)) == n_asked[result.system]]
    return _study(study.study, study.plan, kept, 0) if kept and study.n_missing else None


def of_seeds(study: StudyResults, seeds: Collection[int]) -> StudyResults:
    """Return a complete study with the results of some of its seeds only."""
    plan = replace(study.plan, seeds=tuple(seed for seed in study.plan.seeds if seed in seeds))
    return _study(study.study, plan, [result for result in study.results if result.seed in seeds], 0)


def n_copied(study: StudyResults, arm: str, other: StudyResults) -> int:
    """Count the trainings of an arm that another study has too: equal posteriors and equal histories, seconds included."""
    return sum(any(_same_training(one, two) for two in other.of(arm)) for one in study.of(arm))


@dataclass(frozen=True)
class Question:
    """One planned question: is the segment accuracy of the first arm higher than that of the second?

    Attributes:
        family: Holm's correction is over all questions of a family.
        claim: That holds if the first is better.
        study: By name.
        corpus: By name.
        first: Name of the system.
        second: Name of the system.
        head: Of both.
    """

    family: Family
    claim: str
    study: str
    corpus: str
    first: str
    second: str
    head: str

    @property
    def text(self) -> str:
        """Claim, study and corpus, because one family spans several of them."""
        return f"{self.claim}: {label(self.study, self.corpus, self.study in (HEARD, ADDED, FULL_WIDTH[0]))}"


@dataclass(frozen=True)
class Answer:
    """What is known of a question.

    Attributes:
        question: As planned.
        comparison: None where there is no answer yet.
        why: Why there is none: "not run", or "incomplete" with the number of trainings.
        by_seed: First minus second by each seed alone, a share.
    """

    question: Question
    comparison: Comparison | None
    why: str = ""
    by_seed: tuple[float, ...] = ()


def planned(corpora: Sequence[str] = CORPORA) -> list[Question]:
    """Return all questions that 0106 asks, answered or not."""
    asked: list[Question] = []
    others = [(ATTENTION, arm) for arm in (MEAN, CNN_MEAN, LAST, NO_GRU)] + [(CNN_MEAN, CNN)]
    for place in ((study, corpus) for study in (HEARD, UNSEEN) for corpus in corpora):
        asked.append(Question("primary", "Att-CRNN beats the CNN with maximum pooling", *place, ATTENTION, CNN, "svm"))
        asked.append(Question("secondary", "Att-CRNN beats the CNN, softmax", *place, ATTENTION, CNN, "softmax"))
        for first, second in others:
            asked += [Question("secondary", "An arm beats another", *place, first, second, head) for head in HEADS]
    for corpus in corpora:
        for arm in (ATTENTION, MEAN, CNN, CNN_MEAN):
            asked.append(Question("added", "(9) times 2H beats another arm", ADDED, corpus, TWICE, arm, "svm"))
        for study in FULL_WIDTH:
            claim = "At full width Att-CRNN beats the CNN with maximum pooling"
            asked.append(Question("full width", claim, study, corpus, ATTENTION, CNN, "svm"))
    return asked


def answers(family: Family, studies: Sequence[StudyResults], corpora: Sequence[str] = CORPORA) -> list[Answer]:
    """Return every planned question of a family, with its comparison where its study is complete.

    Holm's correction is over all planned questions; one without an answer counts as p = 1.

    Args:
        family: Of the questions.
        studies: All that have begun; questions of an incomplete one stay without an answer.
        corpora: Names.
    """
    asked = [_answer(question, studies) for question in planned(corpora) if question.family == family]
    found = iter(corrected(comparisons(asked), len(asked)))
    return [replace(a, comparison=next(found)) if a.comparison else a for a in asked]


def comparisons(asked: Iterable[Answer]) -> list[Comparison]:
    """Return the comparisons of the questions that have one."""
    return [answer.comparison for answer in asked if answer.comparison]


def difference(
    study: StudyResults, first: str, second: str, head: str, measure: Measure = "segment accuracy"
) -> tuple[Interval, tuple[float, ...]] | None:
    """Return the accuracy of the first arm minus that of the second, groups resampled, and that by seed.

    None where they have no segments in common.

    Args:
        study: Complete.
        first: Name of the system.
        second: Name of the system.
        head: Of both.
        measure: Accuracy of what.
    """
    one, other = (find(study.entries, arm, head) for arm in (first, second))
    if one is None or other is None:
        return None
    found = decide([Claim(study.label, one, other, measure)], "once", 0.0)
    return (found[0].difference, by_seed(one, other, measure)) if found else None


def by_seed(first: Entry, second: Entry, measure: Measure = "segment accuracy") -> tuple[float, ...]:
    """Return the accuracy of the first entry minus that of the second by each seed that both have, ascending."""
    seeds = [seed for seed in first.seeds if seed in second.seeds]
    return tuple(_accuracy(first, seed, measure) - _accuracy(second, seed, measure) for seed in seeds)


def smallest_after_holm(smallest: float, n: int) -> float:
    """Return the difference that four of five such corpora would show at the strictest step of Holm's correction.

    Args:
        smallest: The same before the correction: (z_0.975 + z_0.8) standard errors.
        n: Questions of the family; the strictest step tests at 5 % / n.
    """
    power = stats.norm.ppf(POWER)
    return float(smallest * (stats.norm.ppf(1 - LEVEL / 2 / n) + power) / (stats.norm.ppf(1 - LEVEL / 2) + power))


def _study(name: str, plan: Plan, results: Sequence[SplitResult], n_missing: int) -> StudyResults:
    return StudyResults(name, plan, tuple(results), tuple(make_entries(results, {}, {})), n_missing)


def _answer(question: Question, studies: Sequence[StudyResults]) -> Answer:
    pair = (question.first, question.second)
    study = next((s for s in studies if (s.study, s.plan.corpus) == (question.study, question.corpus)), None)
    n_there = sum(len(study.of(arm)) for arm in pair) if study else 0
    if study is None or not n_there:
        return Answer(question, None, "not run")
    first, second = (find(study.entries, arm, question.head) for arm in pair)
    if study.n_missing or first is None or second is None:
        n_asked = len(pair) * len(study.plan.splits) * len(study.plan.seeds)
        return Answer(question, None, f"incomplete: {n_there} of {n_asked} trainings")
    found = decide([Claim(question.text, first, second, "segment accuracy")], "once", 0.0)
    if not found:
        return Answer(question, None, "no segments in common")
    return Answer(question, found[0], by_seed=by_seed(first, second))


def _accuracy(entry: Entry, seed: int, measure: Measure) -> float:
    parts = [part for part in entry.parts if part.seed == seed]
    right = [part.segment_correct if measure == "segment accuracy" else part.correct for part in parts]
    return float(np.concatenate(right).mean())


def _same_training(one: SplitResult, other: SplitResult) -> bool:
    if (one.split, one.seed, one.history, set(one.heads)) != (other.split, other.seed, other.history, set(other.heads)):
        return False
    pairs = [(posteriors, other.heads[head]) for head, posteriors in one.heads.items()]
    return bool(one.history) and all(
        np.array_equal(a.segment, b.segment) and np.array_equal(a.recording, b.recording) for a, b in pairs
    )
