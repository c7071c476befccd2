"""Build a manifest from a folder: scenes by folder, recordings by name, folds by recording."""

import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from soundscene.audio.folders import AUDIO_SUFFIXES, FolderSearch
from soundscene.data.grouping import FEWEST, FileName, Grouping, group_by_name, group_by_pattern
from soundscene.data.levels import Place, divided, doubts, places
from soundscene.data.manifest import Manifest
from soundscene.data.splits import deal_folds
from soundscene.errors import ManifestError
from soundscene.texts import counted, fold_case, fold_name, short
from soundscene.types import Recording

N_FOLDS = 5
_MANY, _FEW = 10, 2  # names listed in a message
NOT_GROUPED = "not grouped by "
"""Begins the note of a grouping that was refused."""
_BY = {"session": "time of recording", "day": "date of recording", "folder": "folder", "source": "source number"}


@dataclass(frozen=True)
class Listing:
    """Recordings before they are grouped.

    Attributes:
        path: Path of the manifest that they would be in.
        recordings: Each its own group, unless a manifest says otherwise.
        names: What grouping goes by, for each recording.
        notes: What was left out, for the user.
        grouped: Whether a manifest has given the groups.
        split: Whether columns hold splits of the corpus's own, so that no folds are dealt.
        doubts: Those of the notes without which a score would mislead.
    """

    path: Path
    recordings: tuple[Recording, ...]
    names: tuple[FileName, ...]
    notes: tuple[str, ...] = ()
    grouped: bool = False
    split: bool = False
    doubts: tuple[str, ...] = ()

    def without(self, paths: Mapping[Path, str]) -> "Listing":
        """Leave recordings out.

        Args:
            paths: Why each cannot be read.

        Raises:
            ManifestError: None is left.
        """
        kept = [i for i, recording in enumerate(self.recordings) if recording.path not in paths]
        if not kept:
            first = next(iter(paths.values())).removeprefix("left out: ")
            more = f"; and {len(paths) - 1} more" if len(paths) > 1 else ""
            raise ManifestError(f"none of {counted(len(paths), 'recording')} can be read: {first}{more}")
        return replace(self, recordings=tuple(self.recordings[i] for i in kept), names=tuple(self.names[i] for i in kept))


def scan(
    folder: str | Path,
    search: FolderSearch | None = None,
    *,
    group: str | None = None,
    n_folds: int = N_FOLDS,
    seed: int = 0,
) -> tuple[Manifest, tuple[str, ...]]:
    """Build a manifest from a folder with one subfolder per scene, and notes for the user.

    Args:
        folder: To search; see `list_folder`.
        search: Receives what could not be read or was not followed.
        group: See `arrange`.
        n_folds: See `arrange`.
        seed: See `arrange`.

    Raises:
        ManifestError: There is no subfolder with audio files, or the folder cannot be read.
    """
    listing = list_folder(folder, search)
    manifest, notes = arrange(listing, group, n_folds, seed)
    return manifest, (*listing.notes, *notes)


def list_folder(folder: str | Path, search: FolderSearch | None = None) -> Listing:
    """List the audio files of a folder by scene.

    Scenes are the subfolders, or the folders below train, val and test, below folds, or below dates, which become columns
    (`data.levels`). Files may be deeper inside a scene's folder. Hidden ones are skipped.

    Args:
        folder: To search.
        search: Receives what could not be read or was not followed.

    Raises:
        ManifestError: There is no subfolder with audio files, or the folder cannot be read.
    """
    folder, search = Path(folder), search or FolderSearch()
    if not os.path.isdir(folder):
        what = "is a file" if os.path.exists(folder) else "does not exist"
        raise ManifestError(f"{short(str(folder))}: {what}; expected a folder with one subfolder per scene")
    files, others = [], []
    for file in search.walk(folder):
        (files if file.suffix.lower() in AUDIO_SUFFIXES else others).append(file)
    try:
        found = places([file.relative_to(folder).parts[:-1] for file in files], str(folder))
    except ManifestError as error:
        raise ManifestError(f"{error}{_table_hint(others, folder)}") from None
    placed = [(file, place) for file, place in zip(files, found, strict=True) if place is not None]
    loose = [file for file, place in zip(files, found, strict=True) if place is None]
    if not placed:
        if search.unreadable:
            raise ManifestError(search.unreadable[0])
        raise ManifestError(
            f"{folder}: no subfolder contains audio files; expected one subfolder per scene{_hint(loose, others, folder)}"
        )
    recordings = [
        Recording(file, place.scene, file.relative_to(folder).as_posix(), columns=place.columns) for file, place in placed
    ]
    notes = [f"left out, because they are in no scene's folder: {_some(loose, folder)}"] if loose else []
    if others:
        notes.append(f"left out, because their suffix is not that of an audio file: {_some(others, folder)}")
    names = tuple(FileName(place.scene, place.folder, file.stem, place.part) for file, place in placed)
    unsure = tuple(doubts({place.scene for _, place in placed}))
    notes = [*notes, *_column_notes(placed), *unsure]
    return Listing(folder / "manifest.csv", tuple(recordings), names, tuple(notes), doubts=unsure)


def list_manifest(path: str | Path, columns: Mapping[str, str] | None = None) -> Listing:
    """List the recordings of a CSV that has no groups yet; groups that it has are kept.

    Args:
        path: The CSV.
        columns: Its columns, as in `Manifest.read`.

    Raises:
        ManifestError: It is no manifest.
    """
    manifest = Manifest.read(path, columns)
    grouped = any(r.columns.get("group") for r in manifest.recordings)
    return Listing(manifest.path, manifest.recordings, names_of(manifest.recordings, manifest.path.parent), grouped=grouped)


def names_of(recordings: Sequence[Recording], root: Path) -> tuple[FileName, ...]:
    """Return what grouping goes by where a table names the scenes.

    A folder counts where a scene has several, but for train, test, folds and dates, which may divide a recording.

    Args:
        recordings: With their scenes.
        root: Folder of the table; names do not depend on how it was typed.
    """
    found = divided([_folders_below(recording.path.parent, root) for recording in recordings])
    folders: dict[str, set[str]] = defaultdict(set)
    for recording, (_, folder) in zip(recordings, found, strict=True):
        folders[recording.scene].add(folder)
    return tuple(
        FileName(r.scene, folder if len(folders[r.scene]) > 1 else "", r.path.stem, part)
        for r, (part, folder) in zip(recordings, found, strict=True)
    )


def _folders_below(folder: Path, root: Path) -> tuple[str, ...]:
    try:
        return Path(os.path.relpath(folder, root)).parts
    except ValueError:  # another drive
        return folder.parts


def arrange(
    listing: Listing, group: str | None = None, n_folds: int = N_FOLDS, seed: int = 0
) -> tuple[Manifest, tuple[str, ...]]:
    """Group recordings and deal stratified folds, so that `--test fold=1` works at once.

    There are fewer folds where a scene has fewer groups, and none where it has one or where a column `fold` is there.

    Args:
        listing: The recordings.
        group: Which are excerpts of one: "stem" (by name), "parent" (by folder), "none", or a regular expression that finds
            the recording in a path. By default names and folders decide (`data.grouping`).
        n_folds: Number of folds wanted.
        seed: Of the folds.

    Returns:
        The manifest, and notes for the user.

    Raises:
        ManifestError: The regular expression is none, or matches nothing.
    """
    recordings, notes = _grouped(listing, group)
    if listing.split or any(r.columns.get("fold") for r in recordings):
        unused = [f"--folds {n_folds}"] * (n_folds != N_FOLDS) + [f"--seed {seed}"] * (seed != 0)
        if unused:
            notes = (*notes, f"{' and '.join(unused)}: not used, because the corpus has folds or splits of its own")
    else:
        try:
            recordings, dealt = deal_folds(recordings, np.random.default_rng(seed), n_folds)
            notes = (*notes, *dealt)
        except ManifestError as error:
            notes = (*notes, f"no column 'fold' was made: {error}")
    manifest = Manifest(listing.path, recordings)
    if len(manifest.scenes) == 1:
        notes = (*notes, f"only one scene, {manifest.scenes[0]}: classification needs at least two")
    return manifest, (*notes, *_leaks(recordings))


# --- groups -----------------------------------------------------------------------------------------------------------


def _grouped(listing: Listing, group: str | None) -> tuple[tuple[Recording, ...], tuple[str, ...]]:
    recordings = listing.recordings
    if group is None and listing.grouped:
        return recordings, ()
    if group == "none":
        return _with_groups(recordings, [r.path.as_posix() for r in recordings]), (_ungrouped(recordings),)
    if group in (None, "stem", "parent"):
        found = group_by_name(listing.names, group)  # type: ignore[arg-type]
        notes = [_grouping_note(found, group)] if found.joined else []
        if not found.joined and not found.refused:
            notes.append(_ungrouped(recordings))
        return _with_groups(recordings, found.groups), (*notes, *_refused(listing.names, found, group))
    root = listing.path.parent
    groups, n_unmatched = group_by_pattern([_below(r.path, root) for r in recordings], group)
    notes = [f"{_files_are(groups, 'are')} by --group {group}"]
    if n_unmatched:
        notes.append(f"{counted(n_unmatched, 'file')} that --group {group} does not match: each counts as a recording")
    return _with_groups(recordings, groups), tuple(notes)


def _with_groups(recordings: Sequence[Recording], groups: Sequence[str]) -> tuple[Recording, ...]:
    """Give recordings their groups, in one spelling; without two in one group there is no column."""
    spelling: dict[str, str] = {}
    groups = [spelling.setdefault(fold_case(fold_name(group)), fold_name(group)) for group in groups]
    if len(spelling) == len(groups):
        return tuple(replace(r, columns={k: v for k, v in r.columns.items() if k != "group"}) for r in recordings)
    return tuple(
        replace(r, group=group, columns={"group": group, **{k: v for k, v in r.columns.items() if k != "group"}})
        for r, group in zip(recordings, groups, strict=True)
    )


def _grouping_note(found: Grouping, group: str | None) -> str:
    ways = {_BY.get(way, "stem") for way in found.by.values() if way != "name"}
    by = " or ".join(sorted(ways))
    if group is None:
        return f"{_files_are(found.groups, 'look like')}; grouped by {by}, --group none to undo"
    return f"{_files_are(found.groups, 'are')} by --group {group}"


def _files_are(groups: Sequence[str], verb: str) -> str:
    return f"{counted(len(groups), 'file')} {verb} {counted(len(set(groups)), 'recording')}"


def _refused(names: Sequence[FileName], found: Grouping, group: str | None) -> list[str]:
    if not found.refused:
        return []
    n_files = Counter(name.scene for name in names)
    (first, n), *others = sorted(found.refused.items())
    scenes = [f"{first} would have {counted(n, 'group')} of {counted(n_files[first], 'file')}"]
    scenes += [f"{scene} {n} of {n_files[scene]}" for scene, n in others[:_FEW]]
    more = f" and {counted(len(others) - _FEW, 'more scene')}" if len(others) > _FEW else ""
    by = "folder" if group == "parent" else "name"
    return [
        f"{NOT_GROUPED}{by}: {', '.join(scenes)}{more}, and a scene needs {FEWEST}; if they are excerpts of one "
        "recording, say --group REGEX, or scores will be optimistic"
    ]


def _ungrouped(recordings: Sequence[Recording]) -> str:
    if len(recordings) == 1:
        return "one file is one recording"
    return (
        f"each of {len(recordings)} files counts as an independent recording; give excerpts of one recording the same group "
        "(--group) and the same fold, or scores will be optimistic"
    )


def _leaks(recordings: Sequence[Recording]) -> list[str]:
    """Warn where the parts that the folders name divide a recording."""
    parts: dict[str, set[str]] = defaultdict(set)
    for recording in recordings:
        if part := recording.columns.get("split"):
            parts[recording.group].add(part)
    torn = sorted(group for group, found in parts.items() if len(found) > 1)
    if not torn:
        return []
    names = ", ".join(sorted(set().union(*parts.values())))
    return [
        f"{len(torn)} of {counted(len(parts), 'recording')} have excerpts in more than one of {names}"
        f", such as {torn[0]}: --test split=test is refused for that; use --test fold=1"
    ]


# --- messages ---------------------------------------------------------------------------------------------------------


def _column_notes(placed: Sequence[tuple[Path, Place]]) -> list[str]:
    values: dict[str, Counter[str]] = defaultdict(Counter)
    for _, place in placed:
        for column, value in place.columns.items():
            values[column][value] += 1
    notes = []
    for column, counts in values.items():
        some = [f"{value} ({n})" for value, n in sorted(counts.items())]
        more = f" and {len(some) - _MANY} more" if len(some) > _MANY else ""
        notes.append(f"folders named {', '.join(some[:_MANY])}{more} are the column {column}, not scenes")
    return notes


def _some(files: Sequence[Path], folder: Path) -> str:
    names = [short(file.relative_to(folder).as_posix()) for file in sorted(files)[:_MANY]]
    return ", ".join(names) + (f" and {len(files) - _MANY} more" if len(files) > _MANY else "")


def _hint(loose: Sequence[Path], others: Sequence[Path], folder: Path) -> str:
    hint = (
        f"; {counted(len(loose), 'audio file')} {'are' if len(loose) > 1 else 'is'} directly in it, without a scene"
        if loose
        else ""
    )
    return hint + _table_hint(others, folder) if loose else hint


def _table_hint(others: Sequence[Path], folder: Path) -> str:
    tables = [file for file in others if file.suffix.lower() in (".csv", ".tsv")]
    if not tables:
        return ""
    if len(tables) == 1:
        return f"; if {_some(tables, folder)} in it names the scenes, give that file"
    return f"; if one of {_some(tables, folder)} in it names the scenes, give that file"


def _below(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
