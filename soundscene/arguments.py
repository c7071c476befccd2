"""What the functions of `api` are given: which recordings, which corpus, and whether a value is one that is allowed."""

import os
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, cast

from soundscene.audio.arrays import as_source, is_one
from soundscene.audio.folders import FolderSearch, sound_files
from soundscene.data.manifest import Manifest
from soundscene.data.source import read_source
from soundscene.data.table import ScanResult
from soundscene.errors import ManifestError, SceneError
from soundscene.loading import PathLike
from soundscene.predictor import Source

CorpusLike = PathLike | Manifest | ScanResult


def is_many(source: Any) -> bool:
    """Whether a source is several: a folder, a list, an array of paths, a column of a data frame, a data set."""
    return is_folder(source) or not is_one(source)


def is_folder(source: Any) -> bool:
    """Whether a source is the path of a folder."""
    return isinstance(source, str | os.PathLike) and os.path.isdir(source)


def each_source(source: Any) -> Iterable[Any]:
    """Return the recordings of a source, one or several."""
    if is_folder(source):
        return sound_files([Path(source)], FolderSearch())
    return source if is_many(source) else [source]


def checked_source(source: Any) -> Source:
    """Return one recording in a form that every method of a predictor takes; a mapping stays one, for the name in it.

    Raises:
        AudioError: As `audio.arrays.as_source` does.
    """
    given = as_source(source)
    return source if isinstance(source, Mapping) else given


def as_manifest(corpus: CorpusLike) -> Manifest:
    """Return the manifest of a corpus: of a CSV, of what `scan` returned, or of a folder.

    Raises:
        ManifestError: It is something else, or cannot be read.
    """
    if isinstance(corpus, ScanResult):
        return corpus.manifest
    if isinstance(corpus, Manifest):
        return corpus
    return read_source(as_path("manifest", corpus, "a CSV, a folder, or what soundscene.scan returned"))[0]


def as_path(name: str, given: Any, allowed: str) -> Path:
    """Return a path.

    Args:
        name: Of the argument.
        given: Its value.
        allowed: What it may be, for the message.

    Raises:
        ManifestError: It is no path, or an empty one, which would be the working folder.
    """
    if not isinstance(given, str | os.PathLike):
        frame = "; write it to a file first (to_csv)" if hasattr(given, "to_csv") else ""
        raise ManifestError(f"{name} of type {type(given).__name__}: expected {allowed}{frame}")
    if not os.fspath(given):
        raise ManifestError(f"{name} '': is empty, expected {allowed}")
    return Path(cast("PathLike", given))


def check_test(test: Any) -> None:
    """Refuse a choice of test rows that is no text, or empty.

    Raises:
        ManifestError: As above.
    """
    if test is not None and not (isinstance(test, str) and test.strip()):
        raise ManifestError(f'test {repr(test)[:60]}: expected COLUMN=VALUE as text, such as "fold=1"')


def check_number(name: str, given: Any, least: float) -> None:
    """Refuse what is no number, or too small.

    Args:
        name: Of the argument.
        given: Its value.
        least: That is allowed.

    Raises:
        SceneError: As above.
    """
    if not isinstance(given, Real) or isinstance(given, bool) or not float(given) >= least:
        raise SceneError(f"{name} {repr(given)[:60]}: expected a number, at least {least:g}")


def as_list(given: str | Sequence[str]) -> Sequence[str]:
    """Return texts; one that stands alone is a list of one."""
    return (given,) if isinstance(given, str) else given
