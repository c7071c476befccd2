"""Manifests of corpora as they are published: TAU and DCASE, ESC-50, UrbanSound8K, and Hugging Face's audiofolder.

Each keeps the corpus's own splits, and groups by what it says is one source: docs/decisions/0125-manifests-as-they-are.md.
LITIS Rouen has a module of its own, `data.litis`.
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from soundscene.data.columns import read_rows
from soundscene.data.csv_text import read_text
from soundscene.data.levels import is_wrapper, part_columns
from soundscene.data.scan import Listing, list_folder, names_of
from soundscene.errors import ManifestError
from soundscene.texts import counted, parse_json, short
from soundscene.types import Recording

_META = ("meta.csv", "meta.txt")
_SETUPS = ("evaluation_setup", "split_setup")
_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.tsv")
_LISTED = 5  # names in a message


def read_layout(folder: Path, layout: str) -> Listing:
    """Read a published corpus.

    Args:
        folder: Where it was unpacked.
        layout: "tau", "dcase", "esc50", "urbansound8k" or "audiofolder".

    Raises:
        ManifestError: The folder does not have this layout; the message says what is expected.
    """
    if not os.path.isdir(folder):
        what = "is a file" if os.path.exists(folder) else "does not exist"
        raise ManifestError(f"{short(str(folder))}: {what}; expected the folder of the corpus")
    return _READERS[layout](folder)


def detect_layout(folder: Path) -> str | None:
    """Return the layout that the files of a folder show, None for folders by scene.

    Args:
        folder: To look at.
    """
    if (folder / "meta" / "esc50.csv").is_file():
        return "esc50"
    if (folder / "metadata" / "UrbanSound8K.csv").is_file():
        return "urbansound8k"
    if any((folder / name).is_file() for name in _META) and any((folder / name).is_dir() for name in _SETUPS):
        return "dcase"
    return "audiofolder" if any(map(_names_scenes, _metadata_files(folder))) else None


def unused_metadata(folder: Path) -> tuple[str, ...]:
    """Return a note for files such as metadata.csv that name no scenes, so that the folders do.

    Args:
        folder: That has no layout.
    """
    files = [str(file.relative_to(folder)) for file in _metadata_files(folder)]
    some = ", ".join(map(short, files[:_LISTED])) + (f" and {len(files) - _LISTED} more" if len(files) > _LISTED else "")
    return (f"{some}: names no scenes, so the folders do",) if files else ()


# --- ESC-50 and UrbanSound8K ------------------------------------------------------------------------------------------


def _esc50(folder: Path) -> Listing:
    rows = _table(folder, "meta/esc50.csv", {"path": "filename", "scene": "category", "group": "src_file"})
    return _listing(folder, (_moved(folder / "audio" / row["path"], row) for row in rows), folder / "meta/esc50.csv")


def _urbansound(folder: Path) -> Listing:
    where = "metadata/UrbanSound8K.csv"
    rows = _table(folder, where, {"path": "slice_file_name", "scene": "class", "group": "fsID"})
    files = (_moved(folder / "audio" / f"fold{row.get('fold', '')}" / row["path"], row) for row in rows)
    return _listing(folder, files, folder / where)


# --- TAU and DCASE ----------------------------------------------------------------------------------------------------


def _dcase(folder: Path) -> Listing:
    """Read meta.csv, or meta.txt without a header, and the lists of evaluation_setup or split_setup."""
    meta = next((folder / name for name in _META if (folder / name).is_file()), None)
    if meta is None:
        raise ManifestError(f"{folder}: has no meta.csv; expected the folder with meta.csv, audio and evaluation_setup")
    rows = list(_dcase_rows(meta))
    splits = _setup(folder, {row["path"] for row in rows})
    recordings = []
    for row in rows:
        columns = {k: v for k, v in row.items() if k not in ("path", "scene", "identifier", "source_label")}
        identifier = row.get("identifier", "")
        if identifier:
            columns["group"] = identifier
        if city := re.match(r"([A-Za-z]+)-\d+", identifier):
            columns["city"] = city[1]
        if device := row.get("source_label", ""):
            columns["device"] = device
        columns |= {name: parts.get(row["path"], "") for name, parts in splits.items()}
        path = folder / row["path"]
        recordings.append(Recording(path, row["scene"], identifier or row["path"], columns=columns))
    listing = _listing(folder, recordings, meta)
    return replace(listing, notes=(*listing.notes, *_setup_notes(splits)), split=bool(splits))


def _dcase_rows(meta: Path) -> Iterator[dict[str, str]]:
    """Rows of meta.csv; meta.txt of 2016 and 2017 has path, scene and perhaps identifier, without a header."""
    text = read_text(meta)
    first = text.partition("\n")[0].split("\t")
    if not any(name.strip().casefold() == "filename" for name in first):
        text = "\t".join(["filename", "scene_label", "identifier", "source_label"][: len(first)]) + "\n" + text
    rows = read_rows(meta, text, {})
    for line, _, cells in rows.below:
        if len(cells) < 2:
            raise ManifestError(f"{meta}, line {line}: {len(cells)} cells; expected filename, scene_label and identifier")
        yield dict(zip(rows.header, cells, strict=False))


def _setup(folder: Path, known: set[str]) -> dict[str, dict[str, str]]:
    """Cells train and test of each split, by path: fold1_train.csv and fold1_evaluate.csv, or split5.csv and test.csv."""
    files = {f.name: f for name in _SETUPS if (folder / name).is_dir() for f in sorted((folder / name).iterdir())}
    files = {name: file for name, file in files.items() if file.suffix in (".csv", ".txt")}
    splits: dict[str, dict[str, str]] = {}
    for name, file in files.items():
        if match := re.fullmatch(r"(fold\d+)_train\.(csv|txt)", name):
            fold, suffix = match[1], match[2]
            tested = next((files[n] for n in (f"{fold}_evaluate.{suffix}", f"{fold}_test.{suffix}") if n in files), None)
            if tested is None:
                raise ManifestError(f"{file}: has no {fold}_evaluate.{suffix} and no {fold}_test.{suffix} beside it")
            splits[fold] = _parts(file, tested, known)
        elif re.fullmatch(r"split\d+\.csv", name) and "test.csv" in files:  # sizes of the training set, DCASE 2024 and 2025
            splits[file.stem] = _parts(file, files["test.csv"], known)
    return dict(sorted(splits.items(), key=lambda item: int(re.sub(r"\D", "", item[0]))))


def _parts(train: Path, test: Path, known: set[str]) -> dict[str, str]:
    parts = {}
    for file, part in ((train, "train"), (test, "test")):
        for line, name in enumerate(read_text(file).splitlines(), 1):
            path = name.split("\t")[0].strip()
            if not path or (line == 1 and path.casefold() == "filename"):
                continue
            if path not in known:
                raise ManifestError(f"{file}, line {line}: {short(path)} is not in the corpus's meta file")
            if parts.setdefault(path, part) != part:
                raise ManifestError(f"{file}, line {line}: {short(path)} is in {train.name} too")
    return parts


def _setup_notes(splits: dict[str, dict[str, str]]) -> list[str]:
    if not splits:
        return ["no evaluation_setup with lists of training and test files was found, so folds are dealt"]
    sizes = [f"{name} {sum(part == 'train' for part in parts.values())}" for name, parts in splits.items()]
    stem = re.sub(r"\d+$", "*", next(iter(splits)))
    first = next(iter(splits))
    return [
        f"the corpus's own splits are columns (training files: {', '.join(sizes)}): train --test {first}=test, or "
        f"experiment --splits 'columns={stem}'"
    ]


# --- audiofolder ------------------------------------------------------------------------------------------------------


def _audiofolder(folder: Path) -> Listing:
    """Read metadata.csv or metadata.jsonl, in the folder or in that of each part; without one, folders are labels."""
    files = list(_metadata_files(folder))
    if not files:
        return list_folder(folder)
    found = []
    for file in files:
        part = file.parent.relative_to(folder).parts
        for row in _labelled(file):
            path = file.parent / row.pop("path")
            scene = row.pop("scene")
            below = path.relative_to(folder) if path.is_relative_to(folder) else path
            columns = part_columns(part or below.parts[:-1])
            found.append(Recording(path, scene, row.get("group") or below.as_posix(), columns={**columns, **row}))
    return _listing(folder, found, files[0])


def _labelled(file: Path) -> Iterator[dict[str, str]]:
    """Rows of a file that must name the scenes."""
    try:
        yield from _metadata(file)
    except ManifestError as error:  # a folder takes no --columns
        raise ManifestError(str(error).replace("; say which: ", "; give this file in the folder's place, with ")) from None


def _metadata_files(folder: Path) -> Iterator[Path]:
    """In the folder, in those in it, and in those of a folder named data or the like."""
    below = _subfolders(folder)
    deeper = [inner for entry in below if is_wrapper(entry.name) for inner in _subfolders(entry)]
    for place in (folder, *below, *deeper):
        yield from (place / name for name in _METADATA if (place / name).is_file())


def _subfolders(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except OSError:  # the search of the folder says so
        return []


def _names_scenes(file: Path) -> bool:
    try:
        return next(_metadata(file), None) is not None
    except ManifestError:
        return False


def _metadata(file: Path) -> Iterator[dict[str, str]]:
    if file.suffix != ".jsonl":
        rows = read_rows(file, read_text(file), {})
        yield from (dict(zip(rows.header, cells, strict=False)) for _, _, cells in rows.below)
        return
    for number, line in enumerate(read_text(file).splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except ValueError as error:
            raise ManifestError(f"{file}, line {number}: not valid JSON ({short(str(error))})") from None
        if not isinstance(row, dict):
            raise ManifestError(f"{file}, line {number}: expected an object with file_name and label")
        yield _renamed(file, number, row)


def _renamed(file: Path, number: int, row: dict[str, Any]) -> dict[str, str]:
    """Names of a manifest for the keys of a line of JSON, by the rules for the header of a CSV."""
    header = "\t".join(str(key).replace("\t", " ") for key in row)
    try:
        names = read_rows(file, header + "\n", {}).header
    except ManifestError as error:
        raise ManifestError(str(error).replace("line 1:", f"line {number}:", 1)) from None
    cells = (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in row.values())
    return dict(zip(names, cells, strict=False))


# --- what they share --------------------------------------------------------------------------------------------------


def _table(folder: Path, where: str, columns: dict[str, str]) -> Iterator[dict[str, str]]:
    file = folder / where
    if not file.is_file():
        raise ManifestError(f"{folder}: has no {where}; expected the folder that has it, with audio beside it")
    rows = read_rows(file, read_text(file), columns)
    for line, _, cells in rows.below:
        if len(cells) != len(rows.header):
            raise ManifestError(f"{file}, line {line}: {len(cells)} cells, the header has {len(rows.header)}")
        yield dict(zip(rows.header, cells, strict=True))


def _moved(path: Path, row: dict[str, str]) -> Recording:
    columns = {k: v for k, v in row.items() if k not in ("path", "scene")}
    return Recording(path, row["scene"], columns.get("group") or row["path"], columns=columns)


def _listing(folder: Path, recordings: Iterable[Recording], meta: Path) -> Listing:
    """Leave out what is not there, with a note: many people unpack a part of a corpus only."""
    listed = list(recordings)
    there = [r for r in listed if r.path.is_file()]
    missing = [r.path for r in listed if not r.path.is_file()]
    if not there:
        raise ManifestError(
            f"{meta}: none of its {counted(len(listed), 'file')} is there, such as {listed[0].path if listed else 'none'}"
        )
    notes: list[str] = []
    if missing:
        some = ", ".join(short(str(path.relative_to(folder))) for path in missing[:_LISTED])
        notes.append(f"{len(missing)} of {counted(len(listed), 'file')} of {meta.name} are not there and left out: {some}")
    grouped = any(r.columns.get("group") for r in there)
    return Listing(folder / "manifest.csv", tuple(there), names_of(there, folder), tuple(notes), grouped)


_READERS: dict[str, Callable[[Path], Listing]] = {
    "tau": _dcase,
    "dcase": _dcase,
    "esc50": _esc50,
    "urbansound8k": _urbansound,
    "audiofolder": _audiofolder,
}
