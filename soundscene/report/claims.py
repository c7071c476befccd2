"""The paper's claims as pairs of entries, tested together as one family."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64

from soundscene.experiment.results import SplitResult
from soundscene.report import published
from soundscene.report.entries import Entry, EntryPart, find
from soundscene.scoring.comparisons import Comparison, corrected, evidence_once, evidence_repeated
from soundscene.scoring.intervals import Interval

Measure = Literal["recording accuracy", "segment accuracy"]
MEASURES: tuple[Measure, ...] = ("recording accuracy", "segment accuracy")

ATTENTION = "Recurrent layers with attention beat the CNN"
FEATURES = "Two features together beat one"
SYSTEMS = "All networks together beat the Att-CRNNs together"
HEADS = "The SVM beats the softmax layer"
VARIANTS = "The system beats its variant"
EARLIER = "Att-CRNN beats the earlier systems"
BEYOND = "It is above the nearest mean"
BY_CNN = "The CNN baseline beats the earlier systems"


@dataclass(frozen=True)
class Claim:
    """The claim that `first` is better than `second`, in recording or segment accuracy."""

    question: str
    first: Entry
    second: Entry
    measure: Measure


@dataclass(frozen=True)
class _Pair:
    """Scores of both on one split, mean over the seeds of each; a prediction is of a recording or a segment."""

    first: Float64[np.ndarray, " prediction"]
    second: Float64[np.ndarray, " prediction"]
    groups: list[str]


def claims(entries: Sequence[Entry]) -> list[Claim]:
    """Return the claims that the given entries allow, in a fixed order."""
    possible: list[Claim] = []
    heads = tuple(dict.fromkeys(c.head for c in entries))
    systems = [c for c in entries if c.kind == "system"]

    def ask(question: str, first: tuple[str, str], second: tuple[str, str], measure: Measure = "recording accuracy") -> None:
        better, worse = find(entries, *first), find(entries, *second)
        if better is not None and worse is not None:
            possible.append(Claim(question, better, worse, measure))

    features = [c.name.removeprefix("att-crnn-") for c in entries if c.name.startswith("att-crnn-") and not c.base]
    for feature in dict.fromkeys(features):  # "fusion" is one of them
        for head in heads:
            for measure in MEASURES:
                ask(ATTENTION, (f"att-crnn-{feature}", head), (f"cnn-{feature}", head), measure)
    for kind in ("att-crnn", "cnn"):
        for head in heads:
            fusion = find(entries, f"{kind}-fusion", head)
            for member in fusion.members if fusion else ():
                ask(FEATURES, (f"{kind}-fusion", head), (member, head))
    for head in heads:
        ask(SYSTEMS, ("all-fusion", head), ("att-crnn-fusion", head))
    for name in dict.fromkeys(c.name for c in systems if not c.base):
        ask(HEADS, (name, "svm"), (name, "softmax"))
    for variant in systems:
        ask(VARIANTS, (variant.base, variant.head), (variant.name, variant.head))
    for earlier in systems:
        if earlier.name in published.EARLIER:
            ask(EARLIER, ("att-crnn-mel", "svm"), (earlier.name, earlier.head))
    for earlier in systems:
        if earlier.name in published.EARLIER:
            ask(BY_CNN, ("cnn-mel", "svm"), (earlier.name, earlier.head))
    return possible


def beyond_baseline(
    entries: Sequence[Entry],
    design: Literal["once", "repeated"],
    test_per_train: float,
    n: int = 10_000,
) -> dict[tuple[str, str], Interval]:
    """Return how much each entry is above the nearest mean in recording accuracy, by name and head; {} without that system.

    These are intervals and no tests: they join no family, so that the p-values of `compare` do not depend on them.

    Args:
        entries: Of a run.
        design: As in `compare`.
        test_per_train: As in `compare`.
        n: As in `compare`.
    """
    baseline = find(entries, published.BASELINES[0], "softmax")
    if baseline is None:
        return {}
    others = [c for c in entries if c is not baseline and {*c.splits} & {*baseline.splits}]
    decided = decide([Claim(BEYOND, c, baseline, "recording accuracy") for c in others], design, test_per_train, n)
    return {(c.name, c.head): one.difference for c, one in zip(others, decided, strict=True)}


def compare(
    entries: Sequence[Entry],
    design: Literal["once", "repeated"],
    test_per_train: float,
    n: int = 10_000,
) -> list[Comparison]:
    """Test every claim that the entries allow, see `decide`.

    Args:
        entries: To compare.
        design: "once" where every group is in one test part, "repeated" for random splits.
        test_per_train: As in `evidence_repeated`; not used for "once".
        n: Draws of bootstrap and sign flips.
    """
    return corrected(decide(claims(entries), design, test_per_train, n))


def decide(
    family: Sequence[Claim],
    design: Literal["once", "repeated"],
    test_per_train: float,
    n: int = 10_000,
) -> list[Comparison]:
    """Test claims, each alone; `corrected` then makes one family of them.

    Scores are first averaged over the seeds of each entry, so seeds need not be the same. Only splits that both entries have
    count, and a claim without any is left out. A single random split tests every group once and is treated so. The draws
    depend on the claim alone, so that further systems do not change them.

    Args:
        family: To test.
        design: "once" where every group is in one test part, "repeated" for random splits.
        test_per_train: As in `evidence_repeated`; not used for "once".
        n: Draws of bootstrap and sign flips.
    """
    tested = []
    for claim in family:
        pairs = _pairs(claim)
        if not pairs:
            continue
        groups = [group for pair in pairs for group in pair.groups]
        if design == "repeated" and len(pairs) > 1:
            difference = np.array([pair.first.mean() - pair.second.mean() for pair in pairs])
            evidence = evidence_repeated(difference, test_per_train)
        else:
            names = f"{claim.question} {claim.first.label} {claim.second.label} {claim.measure}"
            first, second = (np.concatenate(side) for side in zip(*((p.first, p.second) for p in pairs), strict=True))
            evidence = evidence_once(first, second, groups, np.random.default_rng([*names.encode()]), n)
        tested.append(
            Comparison(
                question=claim.question,
                first=claim.first.label,
                second=claim.second.label,
                measure=claim.measure,
                difference=evidence.difference,
                p=evidence.p,
                p_holm=float("nan"),
                smallest=evidence.smallest,
                n_splits=len(pairs),
                n_groups=len(set(groups)),
            )
        )
    return tested


def share_tested(results: Sequence[SplitResult]) -> float:
    """Return test recordings per training recording, mean over the results, which `compare` needs for random splits.

    It is 0.0 where no result has the number of recordings that it was trained on.
    """
    trained = [(len(r.recordings), r.facts["training_recordings"]) for r in results if r.facts.get("training_recordings")]
    return float(np.mean([test / train for test, train in trained])) if trained else 0.0


def _pairs(claim: Claim) -> list[_Pair]:
    pairs = []
    for split in claim.first.splits:
        of_first, of_second = ([p for p in c.parts if p.split == split] for c in (claim.first, claim.second))
        if not of_second:
            continue
        if claim.measure == "recording accuracy":
            first, second = (np.mean([p.correct for p in parts], axis=0) for parts in (of_first, of_second))
            pairs.append(_Pair(first, second, list(of_first[0].groups)))
        elif _same_segments([*of_first, *of_second]):
            first, second = (np.mean([p.segment_correct for p in parts], axis=0) for parts in (of_first, of_second))
            pairs.append(_Pair(first, second, of_first[0].segment_groups))
    return pairs


def _same_segments(parts: Sequence[EntryPart]) -> bool:
    """Return whether all of them have predictions of the same segments, and of at least one."""
    first = parts[0]
    return len(first.segment) > 0 and all(
        np.array_equal(p.recording_of, first.recording_of) and np.array_equal(p.start_s, first.start_s) for p in parts
    )
