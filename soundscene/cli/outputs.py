"""Where results go: one file, told by its suffix, or a folder; and what the words of a command line say of it."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from soundscene.audio.folders import AUDIO_SUFFIXES
from soundscene.errors import SceneError

FileForm = Literal["csv", "jsonl", "parquet"]
ONE_FILE: dict[str, FileForm] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
OTHER_FILES = frozenset(AUDIO_SUFFIXES) | {
    *(".json", ".txt", ".tsv", ".xlsx", ".xls", ".ods", ".html", ".xml", ".yaml", ".yml", ".md", ".pdf"),
    *(".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".tgz", ".7z"),
    *(".feather", ".arrow", ".avro", ".orc", ".pkl", ".h5", ".hdf5", ".sqlite", ".npy", ".npz"),
    *(".png", ".svg", ".jpg", ".jpeg", ".safetensors", ".onnx"),
}


def refuse_other_file(place: str) -> None:
    """Refuse a name that is one of a file, but of none that is written; a folder of that name would surprise.

    Args:
        place: What was given as --out.

    Raises:
        SceneError: It has such a suffix, and no folder has that name.
    """
    suffix = Path(place).suffix.lower()
    if "://" not in place and suffix in OTHER_FILES and not os.path.isdir(place):
        kinds = ", ".join(name for name in ONE_FILE if name != ".ndjson")
        raise SceneError(f"--out {place}: one file ends in {kinds}, not in {suffix}; a name without a suffix is a folder")


def is_one_file(place: str) -> bool:
    """Tell whether a place for results is one file: its suffix says so, and no folder has that name.

    >>> is_one_file("rows.csv"), is_one_file("rows")
    (True, False)
    """
    return "://" not in place and Path(place).suffix.lower() in ONE_FILE and not os.path.isdir(place)


def keep_inputs(outputs: Mapping[str, str | Path | None], inputs: Iterable[str | Path | None]) -> None:
    """Refuse outputs that would replace what the command reads, or any recording.

    Args:
        outputs: What was given, by the name of its option.
        inputs: Models, manifests, lists and recordings of the command line.

    Raises:
        SceneError: An output is the file of an input, by whatever name, or a sound file that is there.
    """
    replaced = {name: place for name, place in outputs.items() if place is not None and os.path.isfile(place)}
    given = [path for path in inputs if path is not None] if replaced else []
    for name, place in replaced.items():
        if Path(place).suffix.lower() in AUDIO_SUFFIXES:
            raise SceneError(f"{name} {place}: is a sound file, and would be replaced; name another file")
        if any(os.path.isfile(path) and os.path.samefile(place, path) for path in given):
            raise SceneError(f"{name} {place}: is what the command reads, and would be replaced; name another file")


def option(words: Sequence[str], name: str) -> str | None:
    """Return the value of an option among the words of a command line, None where it is not given.

    >>> option(["predict", "--out=rows.csv"], "--out"), option(["predict", "--out", "a"], "--out")
    ('rows.csv', 'a')

    Args:
        words: Words after the program's name.
        name: Long name of the option.
    """
    for number, word in enumerate(words):
        given, equals, value = word.partition("=")
        if given == name:
            return value if equals else next(iter(words[number + 1 : number + 2]), "")
    return None
