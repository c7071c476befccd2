"""What more epochs change: the same arms in two studies that differ in nothing else, by the seeds that both have."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from benchmarks.claims_control import interval_text
from benchmarks.claims_figures import of_segments
from benchmarks.claims_questions import ARMS, ATTENTION, CNN, CNN_MEAN, HEADS, MEAN, StudyResults, difference, of_seeds
from soundscene.plotting.page import Table
from soundscene.report.entries import Entry, find
from soundscene.report.tables import generator_for
from soundscene.scoring.intervals import mean_interval

PAIRS = (("same-30", "same-90"), ("same-90", "same-270"), ("same-30", "same-270"), ("unseen-30", "unseen-90"))
LEADS = ((ATTENTION, CNN), (ATTENTION, CNN_MEAN), (ATTENTION, MEAN), (CNN_MEAN, CNN))
NOTES = (
    "Segments of the test parts, by the seeds that both studies have; the same excerpts or recordings, groups resampled. "
    "Not planned, so not tested. Intervals hold no chance of training; by seed, the same change is what stands beside them.",
)


@dataclass(frozen=True)
class _Pair:
    """One corpus with fewer and with more epochs, by the same seeds."""

    fewer: StudyResults
    more: StudyResults

    @property
    def cells(self) -> tuple[str, str, str]:
        """What its rows begin with."""
        return self.more.label, self.fewer.study, ", ".join(map(str, self.more.plan.seeds))

    def entries(self, arm: str, head: str) -> tuple[Entry, Entry] | None:
        """Return an arm with fewer and with more epochs; None without both, or where they were tested on other segments."""
        fewer, more = (find(study.entries, arm, head) for study in (self.fewer, self.more))
        return (fewer, more) if fewer and more and _tested(fewer) == _tested(more) else None


def epochs_compared(studies: Sequence[StudyResults]) -> list[Table]:
    """Return how much each arm gains by more epochs, and how far the differences of arms change.

    Args:
        studies: Complete ones.
    """
    gains, changes = [], []
    for pair in _pairs(studies):
        for head in HEADS:
            arms = {arm: found for arm in pair.more.arms if (found := pair.entries(arm, head))}
            gained = {arm: more.segment_correct() - fewer.segment_correct() for arm, (fewer, more) in arms.items()}
            for arm, both in arms.items():
                cells = [interval_text(of_segments(entry)) for entry in both]
                gains.append((*pair.cells, ARMS[arm], head, *cells, *_change(gained[arm], both[1], f"{pair.cells} {arm}")))
            for first, second in ((a, b) for a, b in LEADS if a in arms and b in arms):
                leads = [difference(study, first, second, head) for study in (pair.fewer, pair.more)]
                cells = [interval_text(lead[0], "+") if lead else "-" for lead in leads]
                cells += _change(gained[first] - gained[second], arms[first][1], f"{pair.cells} {first} {second}")
                changes.append((*pair.cells, ARMS[first], ARMS[second], head, *cells))
    compared = ("study", "with fewer epochs", "seeds")
    columns = (*compared, "arm", "head", "fewer, % (95 %)", "more, % (95 %)", "gained, points (95 %)", "by seed")
    leading = (*compared, "first", "second", "head", "fewer, points (95 %)", "more, points (95 %)")
    leading += ("changed, points (95 %)", "by seed")
    tables = [Table("What more epochs gain", columns, tuple(gains), NOTES)] if gains else []
    title = "What more epochs change in the difference of two arms"
    return [*tables, *([Table(title, leading, tuple(changes), NOTES)] if changes else [])]


def _pairs(studies: Sequence[StudyResults]) -> Iterator[_Pair]:
    """Yield the pairs of studies of one corpus that have a seed in common, reduced to those that both have."""
    by_name = {(study.study, study.plan.corpus): study for study in studies}
    for corpus in sorted({study.plan.corpus for study in studies}):
        for names in PAIRS:
            fewer, more = (by_name.get((name, corpus)) for name in names)
            if fewer and more and (seeds := {*fewer.plan.seeds} & {*more.plan.seeds}):
                yield _Pair(of_seeds(fewer, seeds), of_seeds(more, seeds))


def _tested(entry: Entry) -> list[tuple[object, ...]]:
    """Return what tells the tested segments of one entry from those of another: excerpts have paths of their own a study."""
    return [
        (part.split, part.seed, part.groups, *(a.tobytes() for a in (part.truth, part.recording_of, part.start_s)))
        for part in entry.parts
    ]


def _change(score: Float64[np.ndarray, " segment"], entry: Entry, name: str) -> list[str]:
    """Return the mean of what changed in each tested segment, with its interval, and by seed."""
    whole = mean_interval(score, entry.segment_groups(), generator_for(f"{name} {entry.head} change"))
    seed = np.concatenate([np.full(len(part.segment), part.seed) for part in entry.parts])
    return [interval_text(whole, "+"), ", ".join(f"{100 * score[seed == one].mean():+z.1f}" for one in entry.seeds)]
