"""What is compared: every system with every head, and fusions of systems, over all splits and seeds of a run.

Fusions are made here from stored predictions: nothing is trained again. Source: section 4.6.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Float64, Int64

from soundscene.errors import TrainingError
from soundscene.experiment.results import HeadPosteriors, SplitResult
from soundscene.scoring.fusion import fit_temperature, fuse_systems, temper

MIXED = "mixed"


@dataclass(frozen=True)
class EntryPart:
    """Predictions of one entry on one test part (one split and seed); log posteriors are natural logs.

    Attributes:
        split: Name of the split.
        seed: Of the training.
        recordings: Paths.
        groups: Of each recording.
        truth: Scene of each recording.
        duration_s: Of each recording.
        recording_of: Recording of each voting segment. This, `start_s` and `segment` are empty for a system that reads
            recordings as a whole, and for a fusion of unlike segments.
        start_s: Of each voting segment.
        segment: Log posterior of each voting segment.
        recording: Log posterior of each recording by the product rule.
        calibrated: The same after the temperature, or the same where none was fitted.
        tempered: Whether a temperature was fitted.
        history: A row an epoch, [] for fusions.
        epoch: The one that was tested; 0 for none, or for a fusion of different ones.
    """

    split: str
    seed: int
    recordings: tuple[str, ...]
    groups: tuple[str, ...]
    truth: Int64[np.ndarray, " recording"]
    duration_s: Float64[np.ndarray, " recording"]
    recording_of: Int64[np.ndarray, " segment"]
    start_s: Float64[np.ndarray, " segment"]
    segment: Float[np.ndarray, "segment scene"]
    recording: Float64[np.ndarray, "recording scene"]
    calibrated: Float64[np.ndarray, "recording scene"]
    tempered: bool
    history: list[dict[str, float]]
    epoch: int

    @property
    def correct(self) -> Float64[np.ndarray, " recording"]:
        """1.0 where the most probable scene of the recording is the true one, else 0.0."""
        return (self.recording.argmax(axis=1) == self.truth).astype(np.float64)

    @property
    def segment_truth(self) -> Int64[np.ndarray, " segment"]:
        """Scene of the recording that the segment is of."""
        return self.truth[self.recording_of]

    @property
    def segment_correct(self) -> Float64[np.ndarray, " segment"]:
        """1.0 where the most probable scene of the segment is the true one, else 0.0."""
        return (self.segment.argmax(axis=1) == self.segment_truth).astype(np.float64)

    @property
    def segment_groups(self) -> list[str]:
        """Group of the recording that the segment is of."""
        return [self.groups[i] for i in self.recording_of]


@dataclass(frozen=True)
class Fusion:
    """Systems to fuse under one name; members are names of systems."""

    name: str
    title: str
    members: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """One system with one head, or a fusion, over all splits and seeds.

    The methods pool over parts: a prediction is of one recording in one part, so a recording that is tested with three seeds
    counts three predictions, all of the same group.

    Attributes:
        name: Of the system or the fusion.
        title: As tables show it.
        head: "svm", "softmax", or "mixed" where a fusion joins unlike heads.
        kind: Whether it is a system or a fusion.
        base: Name of the system that this one is a variant of, "" for none.
        members: Systems of a fusion.
        scenes: Names, in the order of the posteriors.
        parts: Sorted by split, in the order of the results, then by seed.
    """

    name: str
    title: str
    head: str
    kind: Literal["system", "fusion"]
    base: str
    members: tuple[str, ...]
    scenes: tuple[str, ...]
    parts: tuple[EntryPart, ...]

    @property
    def label(self) -> str:
        """Title and head, as tables and legends show them."""
        return f"{self.title}, {self.head}"

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of its splits, in order."""
        return tuple(dict.fromkeys(part.split for part in self.parts))

    @property
    def seeds(self) -> tuple[int, ...]:
        """Its seeds, ascending."""
        return tuple(sorted({part.seed for part in self.parts}))

    @property
    def has_segments(self) -> bool:
        """Whether it has predictions of segments in every part."""
        return all(len(part.segment) for part in self.parts)

    @property
    def tempered(self) -> bool:
        """Whether a temperature was fitted in every part."""
        return all(part.tempered for part in self.parts)

    def recordings(self) -> list[str]:
        """Return the path of the recording of each prediction."""
        return [path for part in self.parts for path in part.recordings]

    def groups(self) -> list[str]:
        """Return the group of each prediction."""
        return [group for part in self.parts for group in part.groups]

    def truth(self) -> Int64[np.ndarray, " prediction"]:
        """Return the true scene of each prediction."""
        return np.concatenate([part.truth for part in self.parts])

    def correct(self) -> Float64[np.ndarray, " prediction"]:
        """Return 1.0 for a right and 0.0 for a wrong prediction; a temperature does not change it."""
        return np.concatenate([part.correct for part in self.parts])

    def log_posterior(self, calibrated: bool) -> Float64[np.ndarray, "prediction scene"]:
        """Return the log posterior of each prediction, by the product rule or after the temperature."""
        return np.concatenate([part.calibrated if calibrated else part.recording for part in self.parts])

    def segment_groups(self) -> list[str]:
        """Return the group of each voting segment of all parts."""
        return [group for part in self.parts for group in part.segment_groups]

    def segment_truth(self) -> Int64[np.ndarray, " segment"]:
        """Return the true scene of each voting segment of all parts."""
        return np.concatenate([part.segment_truth for part in self.parts])

    def segment_correct(self) -> Float64[np.ndarray, " segment"]:
        """Return 1.0 for a right and 0.0 for a wrong prediction, for each voting segment of all parts."""
        return np.concatenate([part.segment_correct for part in self.parts])

    def segment_log_posterior(self) -> Float64[np.ndarray, "segment scene"]:
        """Return the log posterior of each voting segment of all parts."""
        return np.concatenate([part.segment for part in self.parts]).astype(np.float64)


def make_entries(results: Sequence[SplitResult], fusions: Mapping[str, Fusion], bases: Mapping[str, str]) -> list[Entry]:
    """Return every system with every head, in the order of the results, then every fusion whose members have results.

    A fusion is made for each head that all members have, else once, "mixed": each member with its SVM if it has one, else
    with the head it has. It has a part for each split and seed that all members have, and is left out without any. Its
    temperature is fitted on the fused posteriors of held-out recordings, where all members held out the same, never on the
    test part.

    Args:
        results: What a run holds.
        fusions: By name.
        bases: Name of a variant -> name of the system it varies.

    Raises:
        TrainingError: No results, results with other scenes, with other recordings, groups or truth in the same split, or
            two results of the same system, split and seed.
    """
    _check(results)
    order = {split: i for i, split in enumerate(dict.fromkeys(r.split for r in results))}
    by_system: dict[str, list[SplitResult]] = {}
    for result in sorted(results, key=lambda r: (order[r.split], r.seed)):
        by_system.setdefault(result.system, []).append(result)
    entries = []
    for system in dict.fromkeys(r.system for r in results):
        of_system = by_system[system]
        for head in dict.fromkeys(h for r in of_system for h in r.heads):
            parts = tuple(_part(r, r.heads[head]) for r in of_system if head in r.heads)
            first = of_system[0]
            base = bases.get(system, "")
            entries.append(Entry(system, first.title, head, "system", base, (), first.scenes, parts))
    for fusion in fusions.values():
        if all(member in by_system for member in fusion.members):
            entries += _fused(fusion, [by_system[member] for member in fusion.members])
    return entries


def find(entries: Sequence[Entry], name: str, head: str) -> Entry | None:
    """Return the entry of that name and head, None where there is none.

    Args:
        entries: To search.
        name: Of the system or the fusion.
        head: Of the entry.
    """
    return next((c for c in entries if (c.name, c.head) == (name, head)), None)


def _check(results: Sequence[SplitResult]) -> None:
    if not results:
        raise TrainingError("no results to report: the run has not finished any task yet; run the experiment first")
    first = results[0]
    of_split: dict[str, SplitResult] = {}
    seen: set[tuple[str, str, int]] = set()
    for result in results:
        if result.scenes != first.scenes:
            raise TrainingError(
                f"{result.system}, split {result.split}, has the scenes {', '.join(result.scenes)}, {first.system}, "
                f"split {first.split}, {', '.join(first.scenes)}: all must have the same; are these results of two corpora?"
            )
        other = of_split.setdefault(result.split, result)
        same = (result.recordings, result.groups) == (other.recordings, other.groups)
        if not (same and np.array_equal(result.truth, other.truth)):
            raise TrainingError(
                f"split {result.split}: {result.system}, seed {result.seed}, and {other.system}, seed {other.seed}, were "
                "tested on other recordings, groups or scenes; the manifest has changed in between: delete the older results"
            )
        task = (result.system, result.split, result.seed)
        if task in seen:
            raise TrainingError(f"{result.system}, split {result.split}, seed {result.seed}: two results, one is allowed")
        seen.add(task)


def _part(result: SplitResult, posteriors: HeadPosteriors) -> EntryPart:
    by_segment = bool(len(posteriors.segment))
    return EntryPart(
        split=result.split,
        seed=result.seed,
        recordings=result.recordings,
        groups=result.groups,
        truth=result.truth,
        duration_s=result.duration_s,
        recording_of=result.recording_of if by_segment else np.zeros(0, np.int64),
        start_s=result.start_s if by_segment else np.zeros(0),
        segment=posteriors.segment,
        recording=posteriors.recording,
        calibrated=posteriors.calibrated,
        tempered=bool(len(posteriors.held)),
        history=result.history,
        epoch=result.epoch,
    )


def _fused(fusion: Fusion, of_members: Sequence[Sequence[SplitResult]]) -> list[Entry]:
    tables = [{(r.split, r.seed): r for r in of_member} for of_member in of_members]
    tasks = [[table[task] for table in tables] for task in tables[0] if all(task in table for table in tables)]
    if not tasks:
        return []
    heads = [head for head in tasks[0][0].heads if all(head in r.heads for task in tasks for r in task)]
    scenes = tasks[0][0].scenes
    entries = []
    for head in heads or [MIXED]:
        parts = tuple(_fused_part(task, [r.heads[_own(r, head)] for r in task]) for task in tasks)
        entries.append(Entry(fusion.name, fusion.title, head, "fusion", "", fusion.members, scenes, parts))
    return entries


def _own(result: SplitResult, head: str) -> str:
    if head != MIXED:
        return head
    return "svm" if "svm" in result.heads else next(iter(result.heads))


def _fused_part(task: Sequence[SplitResult], posteriors: Sequence[HeadPosteriors]) -> EntryPart:
    first = task[0]
    alike = all(
        len(s.segment) and np.array_equal(r.recording_of, first.recording_of) and np.array_equal(r.start_s, first.start_s)
        for r, s in zip(task, posteriors, strict=True)
    )
    recording = fuse_systems([s.recording for s in posteriors])
    tempered = bool(first.held_recordings) and all(r.held_recordings == first.held_recordings for r in task)
    calibrated = recording
    if tempered:
        calibrated = temper(recording, fit_temperature(fuse_systems([s.held for s in posteriors]), first.held_truth))
    epochs = {r.epoch for r in task}
    return EntryPart(
        split=first.split,
        seed=first.seed,
        recordings=first.recordings,
        groups=first.groups,
        truth=first.truth,
        duration_s=first.duration_s,
        recording_of=first.recording_of if alike else np.zeros(0, np.int64),
        start_s=first.start_s if alike else np.zeros(0),
        segment=fuse_systems([s.segment for s in posteriors]) if alike else np.zeros((0, recording.shape[1])),
        recording=recording,
        calibrated=calibrated,
        tempered=tempered,
        history=[],
        epoch=epochs.pop() if len(epochs) == 1 else 0,
    )
