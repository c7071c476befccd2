"""Parts of a corpus to learn from and to be tested on, by whole group: nothing is tested on what it has heard."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from soundscene.errors import ManifestError, TrainingError
from soundscene.texts import counted
from soundscene.types import Recording, Split

_MANY = 10  # notes of one kind


def check_leakage(split: Split, content_hashes: Mapping[Path, str] | None, groups: bool = True) -> None:
    """Refuse a split in which a group, or the same audio, is in both parts.

    Args:
        split: Training and test recordings.
        content_hashes: By path (`audio.files.content_hash`). A recording without one is compared by group only, as all
            are for None.
        groups: Whether to compare groups; only a split that leaks on purpose must not.

    Raises:
        ManifestError: It leaks; the message names both rows.
    """
    trained = {recording.group: recording for recording in split.train}
    for recording in split.test if groups else ():
        if twin := trained.get(recording.group):
            raise ManifestError(
                f"group {recording.group!r} appears in both training ({_row(twin)}) and test ({_row(recording)}); "
                "keep each group in one part, or scores are optimistic"
            )
    if content_hashes is None:
        return
    by_hash = {content_hashes[r.path]: r for r in split.train if r.path in content_hashes}
    for recording in split.test:
        if twin := by_hash.get(content_hashes.get(recording.path, "")):
            raise ManifestError(
                f"the same audio appears in both training ({_row(twin)}) and test ({_row(recording)}); remove one, "
                "or give both the same group"
            )


def check_two_scenes(scenes: Collection[str]) -> None:
    """Refuse to train on fewer than two scenes.

    Args:
        scenes: Those of the training recordings.

    Raises:
        TrainingError: There are fewer.
    """
    if len(scenes) < 2:
        raise TrainingError(
            f"the training part holds {counted(len(scenes), 'scene')} ({', '.join(scenes) or 'none'}); at least two are "
            "needed: add recordings of another scene, or choose another --test part"
        )


def label_conflicts(recordings: Sequence[Recording], content_hashes: Sequence[str]) -> tuple[str, ...]:
    """Name recordings that hold the same audio and have different scenes, of which one at most is right.

    Args:
        recordings: Of one part.
        content_hashes: Of each recording.

    Returns:
        A note for each recording whose audio another one has under another scene, and after ten of them how many more.
    """
    first: dict[str, Recording] = {}
    found = []
    for recording, content_hash in zip(recordings, content_hashes, strict=True):
        twin = first.setdefault(content_hash, recording)
        if twin.scene != recording.scene:
            found.append(
                f"the same audio has two scenes: {twin.scene!r} ({_row(twin)}) and {recording.scene!r} ({_row(recording)}); "
                "correct one or remove it"
            )
    more = [f"{len(found) - _MANY} more recordings have the audio of another scene"] if len(found) > _MANY else []
    return (*found[:_MANY], *more)


def hold_out(
    recordings: Sequence[Recording], share: float, generator: np.random.Generator
) -> tuple[tuple[Recording, ...], tuple[Recording, ...], tuple[str, ...]]:
    """Set whole groups aside.

    Of a scene with two groups or more at least one is held and at least one is kept, and never more than half of its
    recordings are held. A group of several scenes stays whole.

    Args:
        recordings: Rows of a manifest.
        share: Share of each scene's groups to hold, 0 to 1.
        generator: Draws the groups.

    Returns:
        Recordings kept, recordings held, and notes that name the scenes of which none is held.
    """
    if not 0 <= share < 1:
        raise ManifestError(f"a share of {share} cannot be held out, allowed is 0 <= share < 1")
    scenes: dict[str, Counter[str]] = {}  # of each group, its recordings by scene
    for recording in recordings:
        scenes.setdefault(recording.group, Counter())[recording.scene] += 1
    n_groups = Counter(scene for counts in scenes.values() for scene in counts)
    n_recordings = Counter(recording.scene for recording in recordings)
    wanted = {scene: max(1, round(share * n)) if share and n > 1 else 0 for scene, n in n_groups.items()}
    held: set[str] = set()
    held_groups: Counter[str] = Counter()
    held_recordings: Counter[str] = Counter()
    names = sorted(scenes)
    for index in generator.permutation(len(names)):  # one pass: it ends, whatever the groups look like
        counts = scenes[names[index]]
        if all(held_groups[s] < wanted[s] and 2 * (held_recordings[s] + n) <= n_recordings[s] for s, n in counts.items()):
            held.add(names[index])
            held_groups.update(counts.keys())
            held_recordings.update(counts)
    missed = [s for s in sorted(n_groups) if share and not held_groups[s]]
    notes = tuple(f"scene {s!r}: none of its {counted(n_groups[s], 'group')} can be held out" for s in missed)
    kept = tuple(recording for recording in recordings if recording.group not in held)
    return kept, tuple(recording for recording in recordings if recording.group in held), notes


def group_folds(
    groups: Sequence[str] | np.ndarray,
    labels: Sequence[str] | Sequence[int] | np.ndarray,
    n_folds: int,
    rng: np.random.Generator,
) -> tuple[Int64[np.ndarray, " recording"], int, tuple[str, ...]]:
    """Assign recordings to folds for cross-validation by group, stratified by label.

    The number of folds is reduced to the groups of the label that has fewest, and a note says so. Greedy: the largest
    group first, each into the fold where its labels are rarest.

    Args:
        groups: [recording].
        labels: [recording].
        n_folds: Number of folds wanted.
        rng: Breaks ties.

    Returns:
        Fold of each recording (from 0), number of folds, notes.

    Raises:
        ManifestError: A label cannot appear in two folds, so it would be missing from a training part.
    """
    if not len(groups):
        raise ManifestError("cross-validation by group: there are no recordings")
    _, group_of = np.unique(np.asarray(groups), return_inverse=True)
    label_names, label_of = np.unique(np.asarray(labels), return_inverse=True)
    counts = np.zeros((group_of.max() + 1, len(label_names)))  # [group, label]
    np.add.at(counts, (group_of, label_of), 1)
    fewest = int(np.argmin((counts > 0).sum(axis=0)))
    n_groups = int((counts[:, fewest] > 0).sum())
    if n_groups < 2 or n_folds < 2:
        raise ManifestError(
            f"cross-validation by group needs 2 folds or more, and 2 groups or more of each scene; "
            f"asked for {counted(n_folds, 'fold')}, {str(label_names[fewest])!r} has {counted(n_groups, 'group')}"
        )
    notes = ()
    if n_groups < n_folds:
        notes = (f"{n_groups} folds instead of {n_folds}: {str(label_names[fewest])!r} has only {n_groups} groups",)
        n_folds = n_groups
    weights = counts / counts.sum(axis=0)
    order = rng.permutation(len(counts))  # groups of one size in random order
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    filled = np.zeros((n_folds, len(label_names)))
    fold_of = np.zeros(len(counts), np.int64)
    for group in order:
        crowded = filled @ weights[group]  # how much of this group's labels each fold already has
        fold_of[group] = np.lexsort((filled.sum(axis=1), crowded))[0]
        filled[fold_of[group]] += weights[group]
    lone = np.flatnonzero((filled > 0).sum(axis=0) < 2)
    if len(lone):
        raise ManifestError(
            f"the groups of {str(label_names[lone[0]])!r} all fall into one fold, because they hold other scenes too; "
            "ask for fewer folds, or use smaller groups"
        )
    return fold_of[group_of], n_folds, notes


def deal_folds(
    recordings: Sequence[Recording], rng: np.random.Generator, n_folds: int = 5
) -> tuple[tuple[Recording, ...], tuple[str, ...]]:
    """Give the recordings a column `fold` ("1", "2", ...) by `group_folds`.

    Args:
        recordings: Rows of a manifest.
        rng: Breaks ties.
        n_folds: Number of folds wanted.

    Returns:
        Recordings with the column, and the notes of `group_folds`.

    Raises:
        ManifestError: As `group_folds`.
    """
    folds, _, notes = group_folds([r.group for r in recordings], [r.scene for r in recordings], n_folds, rng)
    columns = ({**r.columns, "fold": str(fold + 1)} for r, fold in zip(recordings, folds, strict=True))
    return tuple(replace(r, columns=c) for r, c in zip(recordings, columns, strict=True)), notes


def _row(recording: Recording) -> str:
    return f"line {recording.line}, {recording.path.name}" if recording.line else str(recording.path)


def group_rule(recordings: Sequence[Recording]) -> str:
    """Say what the unit of independence of recordings is.

    Args:
        recordings: Rows of a manifest.
    """
    groups = len({recording.group for recording in recordings})
    if any(recording.columns.get("group") for recording in recordings):
        return f"{counted(groups, 'group')} by the manifest's column group"
    return f"no column group: each of {groups} files counts as a recording of its own"
