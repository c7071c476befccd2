"""Which system of a run to use: the one that is better than all others, or the leader, if nothing is decided."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from soundscene.experiment.results import SplitResult
from soundscene.recipe import Recipe
from soundscene.report.claims import Claim, decide
from soundscene.report.entries import Entry
from soundscene.report.recipes import recipe_words
from soundscene.scoring.comparisons import LEVEL
from soundscene.scoring.intervals import Interval
from soundscene.systems.catalogue import trainable

QUESTION = "Which system to use"
MOST_NAMES = 3


@dataclass(frozen=True)
class Advice:
    """Which system to use.

    Attributes:
        choice: The entry.
        decided: Whether it is better than every other.
        text: Why, in sentences.
        command: The command that trains it; "" where `train` cannot.
        leader: The entry with the best score of several; None where there is one.
    """

    choice: Entry
    decided: bool
    text: str
    command: str
    leader: Entry | None = None


def advise(
    candidates: Sequence[Entry],
    intervals: Sequence[Interval],
    results: Sequence[SplitResult],
    design: Literal["once", "repeated"],
    share: float,
    recipe: Recipe | None = None,
    manifest: str = "MANIFEST",
    n: int = 10_000,
) -> Advice:
    """Return which of several entries to use.

    The entry with the highest recording accuracy is compared with each other one. As it was picked by the same recordings,
    each p is multiplied by the number of pairs among all candidates (Bonferroni), not by that of the comparisons made.

    Args:
        candidates: Entries that are no variants, each with one head; at least one.
        intervals: Recording accuracy of each.
        results: With the seconds of their trainings.
        design: As in `claims.decide`.
        share: As in `claims.decide`; without it repeated splits cannot be compared.
        recipe: What the systems start from; without it there is no command.
        manifest: Name of the manifest, for the command.
        n: Draws of the tests.
    """
    order = sorted(range(len(candidates)), key=lambda i: -intervals[i].estimate)
    best, interval = candidates[order[0]], intervals[order[0]]
    others = [candidates[i] for i in order[1:]]
    rivals = _rivals(best, others, design, share, n)
    if not others:
        choice, text = best, f"Only {best.label} was run: it is {_score(interval)}. Add systems to compare it with."
    elif not rivals:
        count = "the other" if len(others) == 1 else f"each of the {len(others)} others"
        choice = best
        text = f"Use {best.label}: {_score(interval)}, and better than {count} on the same recordings (p < {LEVEL:g})."
    else:
        tied = [best, *rivals]
        choice = next((c for c in tied if all(map(trainable, c.members or (c.name,)))), best)
        text = (
            f"Undecided: {best.label} leads, {_score(interval)}, but this run cannot tell it from {_names(rivals)}. "
            f"Until more groups are tested, use {choice.label}, {_why(choice, best, tied, results)}."
        )
    if others:
        text += " The leader was picked by these test recordings, so its score is slightly optimistic."
    command = train_command(choice, recipe, manifest) if recipe else ""
    if recipe and not command:
        text += " soundscene train does not train it; what can be saved is in the folder `models` of this run."
    return Advice(choice, not rivals and bool(others), text, command, best if others else None)


def train_command(entry: Entry, recipe: Recipe, manifest: str) -> str:
    """Return the command that trains an entry on all of a manifest; "" where `train` cannot.

    Args:
        entry: A system or a fusion of systems.
        recipe: What the systems start from.
        manifest: Its name.
    """
    members = entry.members or (entry.name,)
    if not all(map(trainable, members)):
        return ""
    words = ["soundscene", "train", manifest, "--out", "model.safetensors", "--systems", ",".join(members)]
    head = [] if entry.head in (recipe.calibration.head, "mixed") else ["--set", f"calibration.head={entry.head}"]
    return shlex.join([*words, *recipe_words(recipe), *head])


def _rivals(best: Entry, others: Sequence[Entry], design: Literal["once", "repeated"], share: float, n: int) -> list[Entry]:
    """Return the entries that the best one is not shown to be better than."""
    n_pairs = len(others) * (len(others) + 1) / 2
    rivals = []
    for other in others:
        untested = design == "repeated" and not share
        tested = [] if untested else decide([Claim(QUESTION, best, other, "recording accuracy")], design, share, n)
        if not tested or not tested[0].p * n_pairs < LEVEL:  # p may be NaN
            rivals.append(other)
    return rivals


def _names(rivals: Sequence[Entry]) -> str:
    names = [c.label for c in rivals[:MOST_NAMES]]
    return "; ".join([*names, *([f"{len(rivals) - MOST_NAMES} more"] if len(rivals) > MOST_NAMES else [])])


def _why(choice: Entry, best: Entry, tied: Sequence[Entry], results: Sequence[SplitResult]) -> str:
    """Say why the choice is taken, and which of those that cannot be told apart trains quickest."""
    why = "the leader" if choice is best else "the best of them that soundscene train can train"
    seconds = [_seconds(c, results) for c in tied]
    quickest = tied[int(np.argmin(seconds))]
    if quickest is choice or np.isinf(min(seconds)):
        return why
    return f"{why}; {quickest.label} trains quickest ({_time(min(seconds))} against {_time(_seconds(choice, results))})"


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"


def _seconds(entry: Entry, results: Sequence[SplitResult]) -> float:
    """Return the median time of a training, of a fusion the sum over its members; infinite where it is not known."""
    total = 0.0
    for name in entry.members or (entry.name,):
        seconds = [float(r.facts["seconds"]) for r in results if r.system == name and r.facts.get("seconds")]
        total += float(np.median(seconds)) if seconds else float("inf")
    return total


def _score(interval: Interval) -> str:
    low, high = 100 * interval.low, 100 * interval.high
    return f"right for {100 * interval.estimate:.1f} % of the test recordings (95 % interval {low:.1f} to {high:.1f} %)"
