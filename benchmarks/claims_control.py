"""Of the recordings that a diagnosis tests, those that the network was trained on and those held out for its temperature."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

from benchmarks.claims_questions import ARMS, ATTENTION, HEADS, StudyResults
from soundscene.experiment.results import SplitResult
from soundscene.plotting.page import Table
from soundscene.report.entries import Entry, EntryPart, find
from soundscene.report.tables import generator_for
from soundscene.scoring.intervals import Interval, mean_interval

NONE = "-"


def trained_and_held_out(studies: Sequence[StudyResults]) -> list[Table]:
    """Return the accuracy of every arm on excerpts of recordings that it was trained on, and of those held out.

    The second are a control inside the same test: the same networks, but nothing of the recording was heard.

    Args:
        studies: Where recordings were heard.
    """
    rows = []
    for study in studies:
        for name, head in ((arm, head) for arm in study.arms for head in HEADS):
            entry, main = find(study.entries, name, head), find(study.entries, ATTENTION, head)
            if entry is None or main is None:
                continue
            held = [_held_out(study, part, study.of(name)) for part in entry.parts]
            cells = [_text(_accuracy(entry, held, want), signed=False) for want in (False, True)]
            other = [_held_out(study, part, study.of(ATTENTION)) for part in main.parts]
            comparable = name != ATTENTION and all(map(np.array_equal, held, other)) and len(held) == len(other)
            minus = [
                _text(_accuracy(main, held, want, entry), signed=True) if comparable else NONE for want in (False, True)
            ]
            n = sum(int(mask.sum()) for mask in held)
            rows.append((study.label, ARMS[name], head, *cells, *minus, f"{n} of {sum(map(len, held))}"))
    columns = ("study", "arm", "head", "trained on, % (95 %)", "held out, % (95 %)")
    columns += ("Att-CRNN minus it, trained on", "Att-CRNN minus it, held out", "predictions held out")
    notes = (
        "Segments. Held out: a tenth of the training groups of each scene, for the temperature (calibration.held_out). No "
        "network and no SVM hears them; their other excerpts are tested like all. Predictions of all directions and seeds "
        "together, groups resampled; not planned, so not tested.",
    )
    title = "Of the tested recordings, those that were trained on and those held out"
    return [Table(title, columns, tuple(rows), notes)] if rows else []


def _held_out(study: StudyResults, part: EntryPart, results: Sequence[SplitResult]) -> Bool[np.ndarray, " segment"]:
    """Return for each segment of a part whether the group of its recording was held out from the training."""
    result = next(r for r in results if (r.split, r.seed) == (part.split, part.seed))
    of_path = {path: (scene, group) for path, scene, group in study.plan.recordings}
    held = {of_path[path] for path in result.held_recordings}
    return np.array([of_path[part.recordings[i]] in held for i in part.recording_of], bool)


def _accuracy(
    entry: Entry, held: Sequence[Bool[np.ndarray, " segment"]], want: bool, minus: Entry | None = None
) -> Interval | None:
    """Return the accuracy on the segments that were held out or not, or the difference to another entry; None of none."""
    correct = entry.segment_correct() - (minus.segment_correct() if minus else 0)
    chosen = np.concatenate(held) == want
    if not chosen.any():
        return None
    groups = [group for group, is_chosen in zip(entry.segment_groups(), chosen, strict=True) if is_chosen]
    return mean_interval(correct[chosen], groups, generator_for(f"{entry.label} {minus and minus.label} held out {want}"))


def _text(interval: Interval | None, signed: bool) -> str:
    if interval is None:
        return NONE
    estimate, low, high = (
        f"{100 * x:+z.1f}" if signed else f"{100 * x:.1f}" for x in (interval.estimate, interval.low, interval.high)
    )
    return f"{estimate} ({low} to {high})"
