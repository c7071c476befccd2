"""LITIS Rouen, read from the user's own copy: 3026 recordings of 30 s, 19 scenes, 20 splits.

What is known of its files, and from where: docs/decisions/0052-litis.md.
"""

import lzma
import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from soundscene.audio.folders import AUDIO_SUFFIXES, FolderSearch
from soundscene.data.designs import Design, check, random_splits, repeats
from soundscene.data.manifest import Manifest
from soundscene.errors import ManifestError
from soundscene.texts import counted
from soundscene.types import Recording, Split

N_RECORDINGS = 3026
N_SCENES = 19
N_SPLITS = 20
TRAIN_SHARE = 0.8
RELATION = "relation_wav_examples.txt"

_LISTS = frozenset({".txt", ".csv", ".tsv", ".lst"})

Named = list[tuple[str, str]]
"""Names of the recordings of one side of a split, each after the file and line that has it."""


def read_litis(folder_or_zip: Path, unpack_to: Path) -> tuple[Manifest, tuple[str, ...]]:
    """Read the recordings of an unpacked folder (audio files anywhere below it) or of the zip, by base name.

    The scene is the base name up to its first digit, without separators at its end: `metro-paris12.wav` is of
    `metro-paris`. Each recording is its own group. Hidden files and `__MACOSX` are passed over.

    Args:
        folder_or_zip: LITIS Rouen.
        unpack_to: Folder for the audio files of a zip, made if it is missing. A file that is there in full is kept.

    Returns:
        Manifest, and notes where the numbers of recordings and scenes are not those of LITIS Rouen.

    Raises:
        ManifestError: A name lacks scene or number, two files have one name, the zip is damaged, or there is no audio.
    """
    if os.path.isdir(folder_or_zip):
        search = FolderSearch()
        members = [file.relative_to(folder_or_zip).as_posix() for file in search.walk(folder_or_zip)]
        if search.unreadable:
            raise ManifestError(search.unreadable[0])
        sounds = _sounds(folder_or_zip, members)
        root, files = folder_or_zip, [folder_or_zip / member for member in sounds.values()]
    else:
        root, files = unpack_to, _unpack(folder_or_zip, unpack_to)
    recordings = tuple(Recording(f, _scene(folder_or_zip, f.name), f.relative_to(root).as_posix()) for f in files)
    manifest = Manifest(root / "manifest.csv", recordings)
    n, n_scenes = len(recordings), len(manifest.scenes)
    if (n, n_scenes) == (N_RECORDINGS, N_SCENES):
        return manifest, ()
    return manifest, (
        f"{folder_or_zip}: {n} recordings of {n_scenes} scenes; LITIS Rouen has {N_RECORDINGS} of {N_SCENES}, "
        "so results are not comparable with published ones",
    )


def litis_design(manifest: Manifest, splits_folder: Path | None, seed: int) -> Design:
    """Read the splits of the user's files, or draw 20 seeded stratified ones by recording; `text` says which.

    Two forms are read. The index files of the data set: `relation_wav_examples.txt` (per line a file name and a number) with
    two files whose names hold "matrices" and "Learn" or "Test" (per line a split: numbers of its recordings). Or text files
    whose names hold a number and "train" or "test", such as `split01_test.txt` (per line a file name, optionally a label).
    There, blank lines and lines that start with # are passed over, and a part without a train file trains on everything
    else. Names may lack folder and suffix.

    Args:
        manifest: Recordings, from `read_litis`.
        splits_folder: Folder of the files; None draws the splits.
        seed: Of the drawn splits.

    Raises:
        ManifestError: With file and line, for an unknown name, a recording that appears twice or in both parts, an empty
            part, a train file without its test file, and a scene that is tested without training recordings.
    """
    if splits_folder is None:
        drawn = random_splits(manifest, N_SPLITS, TRAIN_SHARE, seed)
        by = "recording" if len({r.group for r in manifest.recordings}) == len(manifest.recordings) else "group"
        how = f"{N_SPLITS} stratified splits by {by}, drawn with seed {seed}, {100 * TRAIN_SHARE:g} % for training"
        return replace(drawn, text=f"{how} (not the data set's own splits)")
    if not os.path.isdir(splits_folder):
        raise ManifestError(f"{splits_folder}: is not a folder; expected a folder with split files")
    files = [f for f in sorted(splits_folder.iterdir()) if f.is_file() and f.suffix.lower() in _LISTS and f.name[0] != "."]
    indexed = any("matrices" in file.name.lower() or file.name == RELATION for file in files)
    splits = _splits(manifest, _index_files(splits_folder, files) if indexed else _part_files(splits_folder, files))
    n = counted(len(splits), "split")
    kind = "repeated" if repeats(splits) else "once"
    design = Design(splits, kind, f"{n} read from {splits_folder} (the user's files)")
    check(design, None)
    return design


def litis_manifest(
    source: Path, csv: Path, split_files: Path | None = None, seed: int = 0
) -> tuple[Manifest, tuple[str, ...]]:
    """Convert LITIS Rouen to a manifest with a column for each split, and notes for the user.

    The columns split01, split02, ... hold `train` or `test`; a recording in neither part has an empty cell. The splits
    are those of `litis_design`: its `split 01` is the column split01, which `--splits columns=split*` reads back. The
    caller writes the manifest: `manifest.write(manifest.path)`.

    Args:
        source: The unpacked folder, or the zip, which is unpacked into a folder `litis` beside `csv`.
        csv: Path the manifest is for.
        split_files: Folder of the data set's index files or of text files of splits; None: 20 stratified splits.
        seed: Of the drawn splits.

    Raises:
        ManifestError: See `read_litis` and `litis_design`.
    """
    corpus, notes = read_litis(source, csv.parent / "litis")
    design = litis_design(corpus, split_files, seed)
    cells: dict[Path, dict[str, str]] = {r.path: {} for r in corpus.recordings}
    for name, split in design.splits.items():
        for part, recordings in (("train", split.train), ("test", split.test)):
            for recording in recordings:
                cells[recording.path][name.replace(" ", "")] = part
    columns = [name.replace(" ", "") for name in design.splits]
    rows = (replace(r, columns={c: cells[r.path].get(c, "") for c in columns}) for r in corpus.recordings)
    return Manifest(csv, tuple(rows)), (*notes, design.text)


def is_litis(manifest: Manifest) -> bool:
    """Tell whether a manifest is of LITIS Rouen: as many recordings and scenes, and each scene that of its file name."""
    if (len(manifest.recordings), len(manifest.scenes)) != (N_RECORDINGS, N_SCENES):
        return False
    return all(_scene_in(recording.path.name) == recording.scene for recording in manifest.recordings)


def with_origin(manifest: Manifest, design: Design) -> Design:
    """Say in the text of a design of LITIS Rouen whether its splits are those that `litis_manifest` draws.

    Args:
        manifest: Of LITIS Rouen.
        design: Read from the columns of the manifest.
    """
    drawn = litis_design(manifest, None, 0)
    paths = [
        {(frozenset(r.path for r in s.train), frozenset(r.path for r in s.test)) for s in d.splits.values()}
        for d in (design, drawn)
    ]
    origin = drawn.text if paths[0] == paths[1] else "the data set's own if they were read from its split files"
    return replace(design, text=f"{design.text}: {origin}")


# --- recordings -------------------------------------------------------------------------------------------------------


def _sounds(source: Path, members: Iterable[str]) -> dict[str, str]:
    """Base name -> member, sorted by base name; every name is checked before anything is unpacked."""
    found: dict[str, tuple[str, str]] = {}
    for member in members:
        *folders, name = member.replace("\\", "/").split("/")
        if name.startswith(".") or "__MACOSX" in folders or PurePosixPath(name).suffix.lower() not in AUDIO_SUFFIXES:
            continue
        _scene(source, name)
        key = _key(name)
        if key in found:
            raise ManifestError(
                f"{source}: {found[key][1]!r} and {member!r} have the same name; without folder and "
                "suffix, names must be unique"
            )
        found[key] = (name, member)
    if not found:
        raise ManifestError(f"{source}: contains no audio files; expected WAV files such as quietstreet12.wav")
    return dict(sorted(found.values()))


def _key(name: str) -> str:
    """What identifies a recording in any list: its name without folder, suffix of a sound file, and case."""
    file = PurePosixPath(name.replace("\\", "/"))
    return (file.stem if file.suffix.lower() in AUDIO_SUFFIXES else file.name).casefold()


def _scene(source: Path, name: str) -> str:
    scene = _scene_in(name)
    if not scene:
        raise ManifestError(
            f"{source}: {name!r} is not named by a scene and a number, such as quietstreet12.wav; for other names write a "
            "manifest"
        )
    return scene


def _scene_in(name: str) -> str:
    """Return the base name up to its first digit; empty without one."""
    match = re.match(r"([^0-9]*)[0-9]", PurePosixPath(name).stem)
    return match[1].strip(" ._-") if match else ""


def _unpack(source: Path, folder: Path) -> list[Path]:
    if not os.path.exists(source):
        raise ManifestError(f"{source}: does not exist; expected the zip of LITIS Rouen or its unpacked folder")
    try:
        with zipfile.ZipFile(source) as archive:
            sounds = _sounds(source, archive.namelist())
            folder.mkdir(parents=True, exist_ok=True)
            return [_unpack_one(archive, member, folder / name) for name, member in sounds.items()]
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError) as error:
        why = " ".join(str(error).split())
        raise ManifestError(f"{source}: not a zip, or a damaged one ({why}); was its download complete?") from None
    except RuntimeError as error:  # a password, or a way of packing that Python does not know
        raise ManifestError(f"{source}: cannot be unpacked ({' '.join(str(error).split())})") from None
    except OSError as error:
        raise ManifestError(f"{source}: cannot be unpacked to {folder} ({error.strerror or error})") from None


def _unpack_one(archive: zipfile.ZipFile, member: str, target: Path) -> Path:
    """Write a member beside its place and rename it, so that what lies in its place is whole."""
    info = archive.getinfo(member)
    if target.is_file() and target.stat().st_size == info.file_size:
        return target
    unfinished = target.with_name(f".{os.getpid()}.part")
    try:
        with archive.open(info) as packed, unfinished.open("wb") as file:
            shutil.copyfileobj(packed, file)
        os.replace(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)
    return target


# --- splits -----------------------------------------------------------------------------------------------------------


def _splits(manifest: Manifest, sides: Mapping[tuple[int, str], Named]) -> dict[str, Split]:
    """sides: by number and "train" or "test"; every number has a test side."""
    known: dict[str, Recording] = {}
    for recording in manifest.recordings:
        if known.setdefault(_key(recording.path.name), recording) is not recording:
            raise ManifestError(
                f"{manifest.path}: two recordings are named {recording.path.name}, and split files, which name recordings "
                "without folder and suffix, cannot distinguish them"
            )
    splits = {}
    for number in sorted({number for number, _ in sides}):
        where_train = _recordings(known, sides.get((number, "train"), []))
        where_test = _recordings(known, sides[number, "test"])
        both = next((path for path in where_test if path in where_train), None)
        if both:
            raise ManifestError(f"{where_test[both]}: {both.name} appears in both training ({where_train[both]}) and test")
        test = tuple(r for r in manifest.recordings if r.path in where_test)
        everything = (number, "train") not in sides
        train = tuple(r for r in manifest.recordings if r.path not in where_test and (everything or r.path in where_train))
        unseen = [r for r in test if r.scene not in {r.scene for r in train}]
        if unseen:
            raise ManifestError(
                f"{where_test[unseen[0].path]}: {unseen[0].path.name} tests the scene {unseen[0].scene}, of which split "
                f"{number} has no recording in training"
            )
        splits[f"split {number:02d}"] = Split(train, test)
    return splits


def _recordings(known: Mapping[str, Recording], named: Named) -> dict[Path, str]:
    """Where each recording is named, by its path."""
    found: dict[Path, str] = {}
    for where, name in named:
        if _key(name) not in known:
            raise ManifestError(f"{where}: {name!r} is not one of the {len(known)} recordings")
        path = known[_key(name)].path
        if path in found:
            raise ManifestError(f"{where}: {name} is listed twice in this part, first in {found[path]}")
        found[path] = where
    return found


def _part_files(folder: Path, files: list[Path]) -> dict[tuple[int, str], Named]:
    found: dict[tuple[int, str], Path] = {}
    for file in files:
        side, numbers = _side(file), re.findall(r"[0-9]+", file.stem)
        if not side:
            continue
        if not numbers:
            raise ManifestError(
                f"{file}: the name contains no split number; rename it, for example to split01_{side}{file.suffix} would"
            )
        twin = found.setdefault((int(numbers[-1]), side), file)
        if twin != file:
            raise ManifestError(f"{file}: {twin.name} is the {side} part of split {int(numbers[-1])} already")
    if not found:
        raise ManifestError(
            f"{folder}: contains no split files; expected text files whose names contain a number and train or test, such "
            f"as split01_test.txt, or {RELATION} with its two files of matrices"
        )
    for (number, _), file in found.items():
        if (number, "test") not in found:
            raise ManifestError(f"{file}: split {number} has no test file beside it")
    return {key: _part(file) for key, file in found.items()}


def _part(file: Path) -> Named:
    named = []
    for where, row in _rows(file):
        name, *label = re.split(r"[,;\s]+", row.rstrip(",;"))
        if len(label) > 1 or not all(re.fullmatch("[0-9]+", text) for text in label):
            raise ManifestError(f"{where}: {row!r} is not a file name, or a file name and a whole number")
        named.append((where, name.strip("\"'")))
    if not named:
        raise ManifestError(f"{file}: lists no recordings; expected one per line")
    return named


def _index_files(folder: Path, files: list[Path]) -> dict[tuple[int, str], Named]:
    matrices = {side: [f for f in files if "matrices" in f.name.lower() and _side(f) == side] for side in ("train", "test")}
    relation = folder / RELATION
    if relation not in files or any(len(found) != 1 for found in matrices.values()):
        raise ManifestError(
            f"{folder}: expected {RELATION} and two text files with 'matrices' and 'Learn' or 'Test' in their names; "
            f"there are {', '.join(f.name for f in files)}"
        )
    names: dict[float, str] = {}
    for where, row in _rows(relation):
        match = re.fullmatch(r"(\S+)\s+([0-9]+)", row)
        if not match or names.setdefault(float(match[2]), match[1]) != match[1]:
            raise ManifestError(f"{where}: {row!r} is not a file name and a number of its own")
    sides: dict[tuple[int, str], Named] = {}
    for side, (file,) in matrices.items():
        for number, (where, row) in enumerate(_rows(file), 1):
            sides[number, side] = [
                (where, names.get(_number(index), f"number {index}")) for index in re.split(r"[,;\s]+", row)
            ]
    numbers = {side: [number for number, s in sides if s == side] for side in matrices}
    if numbers["train"] != numbers["test"] or not numbers["test"]:
        raise ManifestError(
            f"{folder}: {matrices['train'][0].name} has {len(numbers['train'])} lines, {matrices['test'][0].name} "
            f"{len(numbers['test'])}; each split is a line in both"
        )
    return sides


def _side(file: Path) -> str:
    """By the file's name; empty for neither side."""
    sides = {"test" if word == "test" else "train" for word in re.findall("train|learn|test", file.stem.lower())}
    if len(sides) > 1:
        raise ManifestError(f"{file}: the name contains both train and test; expected one of them")
    return min(sides, default="")


def _number(index: str) -> float:
    """MATLAB writes 12 as 1.2000000e+01."""
    try:
        return float(index)
    except ValueError:
        return float("nan")


def _rows(file: Path) -> list[tuple[str, str]]:
    """Place and text of each line that says something."""
    try:
        text = file.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise ManifestError(f"{file}: cannot be read ({error.strerror})") from None
    lines = [(f"{file}, line {number}", line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    return [(where, line) for where, line in lines if line and not line.startswith("#")]
