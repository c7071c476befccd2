"""What estimators are given, checked: recordings, labels and groups; a message names X[3], not a file of ours."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, Shaped

from soundscene.audio.arrays import as_source
from soundscene.audio.files import write_array
from soundscene.errors import AudioError, SceneError
from soundscene.files import url_hint
from soundscene.texts import LONGEST_NAME, counted, fold_case, fold_name, short
from soundscene.types import Recording

ORIGIN = "SceneClassifier.fit"  # in the place of the manifest's file, in messages and in the model's provenance


def recordings_in(X: Any) -> list[Any]:
    """Return several recordings as `as_source` gives them.

    Args:
        X: List of paths, (samples, sample rate), or mappings with array and sampling_rate.

    Raises:
        AudioError: It is one recording or a table, or holds something else.
    """
    if hasattr(X, "columns"):
        named = ", ".join(map(str, list(X.columns)[:10]))
        raise AudioError(f"X is a table with the columns {short(named)}; select the column of recordings, such as X['path']")
    pair = isinstance(X, tuple) and len(X) == 2 and isinstance(X[1], Real)
    if pair or isinstance(X, str | os.PathLike | Mapping) or hasattr(X, "get_all_samples"):
        what = short(repr(os.fspath(X))) if isinstance(X, str | os.PathLike) else f"of type {type(X).__name__}"
        raise AudioError(f"X is one recording ({what}); a list of recordings is expected, such as [X]")
    if not isinstance(X, Iterable) or getattr(X, "shape", None) == ():
        raise AudioError(f"X is of type {type(X).__name__}; a list of recordings is expected")
    found = []
    for number, source in enumerate(X):
        try:
            found.append(as_source(source))
        except AudioError as error:
            raise _of(number, error) from None
    return found


def scene_names(classes: Shaped[np.ndarray, " class"]) -> tuple[str, ...]:
    """Return the name of the scene of each class: the text of its label.

    Args:
        classes: Distinct labels.

    Raises:
        SceneError: A name cannot be seen or is too long, or two differ only in spaces or case.
    """
    known: dict[str, Any] = {}
    for label in classes:
        name = fold_name(str(label))
        if not name or len(name) > LONGEST_NAME:
            raise SceneError(f"label {short(repr(str(label)))}: a scene's name has 1 to {LONGEST_NAME} visible characters")
        twin = known.setdefault(fold_case(name), label)
        if twin is not label:
            one, two = short(repr(str(twin))), short(repr(str(label)))
            raise SceneError(f"labels {one} and {two} differ only in spaces or case; use one spelling")
    return tuple(fold_name(str(label)) for label in classes)


def group_numbers(groups: Any, n_rows: int) -> Int64[np.ndarray, " row"]:
    """Return the number of each row's group.

    Args:
        groups: A value for each row.
        n_rows: Number of rows.

    Raises:
        ValueError: They are no column of that many values, or cannot be compared.
    """
    given = np.asarray(groups)
    if given.shape != (n_rows,):
        what = counted(len(given), "group") if given.ndim == 1 else f"groups of shape {given.shape}"
        raise ValueError(f"{what} for {n_rows} rows of X: each row needs one group")
    try:
        values, numbers = np.unique(given, return_inverse=True)
    except TypeError:
        raise ValueError("groups hold None, or text beside numbers: each row needs a group of one type") from None
    if values.dtype.kind == "f" and np.isnan(values).any():
        raise ValueError("groups hold NaN: each row needs a group")
    return numbers.astype(np.int64)


def rows_of(sources: Sequence[Any], scenes: Sequence[str], groups: Any, folder: Path) -> tuple[Recording, ...]:
    """Return recordings as rows of a manifest; samples are written to files, which training reads.

    What is given twice, as in a bootstrap, has two rows. Without groups, both are of one group.

    Args:
        sources: As `recordings_in` returns them.
        scenes: Scene of each.
        groups: Group of each, or None.
        folder: For the files.

    Raises:
        AudioError: A file does not exist, or samples are unusable.
    """
    first: dict[Any, int] = {}
    rows: list[Recording] = []
    for number, (source, scene) in enumerate(zip(sources, scenes, strict=True)):
        at = first.setdefault(id(source[0]) if isinstance(source, tuple) else os.path.abspath(source), number)
        try:
            path = rows[at].path if at < number else _file(source, folder / f"X[{number}].wav")
        except AudioError as error:
            raise _of(number, error) from None
        group = str(at) if groups is None else str(groups[number])
        rows.append(Recording(path, scene, group, columns={} if groups is None else {"group": group}))
    return tuple(rows)


def by_position(error: SceneError, rows: Sequence[Recording], folder: Path) -> SceneError:
    """Return an error of training in whose message recordings are named as X[3].

    Args:
        error: Its message names files.
        rows: Recordings, in the order of X.
        folder: With the files of samples, of which the caller knows nothing.
    """
    names = {}
    for number, row in reversed(list(enumerate(rows))):  # of what is there twice, the first
        names[str(row.path)] = f"X[{number}]" if row.path.parent == folder else f"X[{number}], {row.path}"
    longest_first = sorted(names, key=len, reverse=True)
    text = re.sub("|".join(map(re.escape, longest_first)), lambda found: names[found[0]], str(error))
    return type(error)(text.replace("remove their rows", "leave them out"))


def _file(source: Any, place: Path) -> Path:
    if isinstance(source, tuple):
        samples, rate = source
        return write_array(samples, rate, place)
    path = Path(source).absolute()
    if not path.exists():
        raise AudioError(f"{short(str(source))} {url_hint(Path(source)) or 'does not exist'}")
    return path


def _of(number: int, error: AudioError) -> AudioError:
    return type(error)(f"X[{number}]: {str(error).removeprefix('array: ')}")
