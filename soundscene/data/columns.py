"""Columns of a CSV by the names that people give them: separator, header, and what `--columns` says.

A manifest needs `path` and `scene`. Other programs write `filename` and `label`, with semicolons or tabs, in any case.
See docs/decisions/0125-manifests-as-they-are.md.
"""

import csv
import difflib
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from soundscene.audio.folders import AUDIO_SUFFIXES
from soundscene.errors import ManifestError
from soundscene.texts import fold_name, short

ALIASES = {
    "path": ("path", "filename", "file", "filepath"),
    "scene": ("scene", "label", "class", "category", "scenelabel"),
    "group": ("group",),
    "fold": ("fold",),
}
"""Names of a column, compared without case, spaces, hyphens and underscores."""

SEPARATORS = (",", ";", "\t")
SPOKEN = {",": "a comma", ";": "a semicolon", "\t": "a tab"}
_NAMED_SEPARATOR = re.compile(r"sep=(.)\r?\n")  # first line of some spreadsheet programs

CsvRow = tuple[int, int, list[str]]
"""First and last line number of a row, and its cells without white space around them."""


def parse_columns(text: str | None) -> dict[str, str]:
    """Parse names of columns written `path=filename,scene=label`: what it is called here, and what it is in the CSV.

    >>> parse_columns("path=File name, scene=Label")
    {'path': 'File name', 'scene': 'Label'}

    Raises:
        ManifestError: The text is not of this form.
    """
    columns: dict[str, str] = {}
    for part in text.split(",") if text is not None else ():
        name, equals, given = (word.strip() for word in part.partition("="))
        if not (name and equals and given):
            raise ManifestError(f"columns {text!r}: expected name=column, for example path=filename,scene=label")
        if name in columns:
            raise ManifestError(f"columns {text!r}: {name!r} is given twice; give each column once")
        columns[name] = given
    _refuse_shared(f"columns {text!r}", {name: fold_name(given) for name, given in columns.items()}, columns)
    return columns


@dataclass(frozen=True)
class CsvRows:
    """The text of a CSV, cut into cells.

    Attributes:
        header: Names of the columns, those of a manifest as a manifest writes them.
        separator: Between two cells.
        below: Rows below the header that are not blank; raises `ManifestError` for text that is no CSV.
    """

    header: list[str]
    separator: str
    below: Iterator[CsvRow]


def read_rows(path: Path, text: str, columns: Mapping[str, str]) -> CsvRows:
    """Read the names of the columns and the rows below them.

    The separator is the one by which the header has a path and a scene: comma, semicolon or tab.

    Args:
        path: The CSV, for messages.
        text: Its text.
        columns: Names in the CSV by the name that a column gets here; the others are found by `ALIASES`.

    Raises:
        ManifestError: There is no header, or it lacks a column, or has one twice.
    """
    first_line = 1
    if named := _NAMED_SEPARATOR.match(text):
        text, first_line = text[named.end() :], 2
    line_end = text.find("\n", len(text) - len(text.lstrip()))
    head = text[: line_end if line_end >= 0 else len(text)]
    refusal: ManifestError | None = None
    for separator in dict.fromkeys([named[1]] if named else _by_count(head)):
        rows = _rows(path, text, separator, first_line)
        try:
            return CsvRows(_header(path, next(rows, (1, 1, []))[2], columns), separator, rows)
        except ManifestError as error:
            refusal = refusal or error
    assert refusal is not None
    raise refusal


def _by_count(head: str) -> list[str]:
    """Separators, the most frequent in the header first; a comma where there is none."""
    return sorted(SEPARATORS, key=lambda separator: -head.count(separator))


def _rows(path: Path, text: str, separator: str, first_line: int) -> Iterator[CsvRow]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
    before = first_line - 1
    while True:
        line = before + reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise ManifestError(f"{path}, line {line}: not valid CSV: {error}") from None
        if cells is None:
            return
        if any(cell.strip() for cell in cells):
            yield line, before + reader.line_num, [cell.strip() for cell in cells]


def _header(path: Path, names: list[str], columns: Mapping[str, str]) -> list[str]:
    if not names:
        raise ManifestError(f"{path}: is empty; expected a header with the columns path and scene, then one row per file")
    if any("\n" in name or "\r" in name for name in names):
        raise ManifestError(f'{path}, line 1: a column name holds line ends; remove the stray quote (")')
    names = [fold_name(name) for name in names]
    while len(names) > 1 and not names[-1]:  # spreadsheets end every line with the separators of empty columns
        names.pop()
    _refuse_doubled(path, names)
    places = {wanted: _given(path, names, given) for wanted, given in columns.items()}
    _refuse_shared(f"{path}, line 1", places, columns)
    for wanted, aliases in ALIASES.items():
        if wanted not in columns and (place := _found(path, names, wanted, aliases, set(places.values()))) is not None:
            places[wanted] = place
    if missing := [wanted for wanted in ("path", "scene") if wanted not in places]:
        which = f"no column{'s' if len(missing) > 1 else ''} {' and '.join(map(repr, missing))}"
        raise ManifestError(f"{path}, line 1: {which}; there are {short(', '.join(names))}{_hint(missing, names, columns)}")
    renamed = {place: wanted for wanted, place in places.items()}
    # a column that has the name of another one, which --columns chose in its place, stands aside
    result = [renamed.get(i, f"{name} (column {i + 1})" if name in places else name) for i, name in enumerate(names)]
    _refuse_doubled(path, result)
    return result


def _given(path: Path, names: list[str], given: str) -> int:
    """Place of a column that --columns names: as it is written, or else in another case."""
    wanted = fold_name(given)
    for alike in (lambda name: name == wanted, lambda name: _plain(name) == _plain(wanted)):
        places = [i for i, name in enumerate(names) if alike(name)]
        if len(places) == 1:
            return places[0]
    raise ManifestError(
        f"{path}, line 1: no column {short(given)!r}, which --columns names; there are {short(', '.join(names))}"
        f"{nearest(given, names)}"
    )


def _found(path: Path, names: list[str], wanted: str, aliases: Sequence[str], taken: set[int]) -> int | None:
    """Place of a column by its usual names: the very name first, and one of several others is not guessed."""
    if wanted in names and names.index(wanted) not in taken:
        return names.index(wanted)
    places = [i for i, name in enumerate(names) if _plain(name) in aliases and i not in taken]
    same = [i for i in places if _plain(names[i]) == wanted]
    places = same or places
    if len(places) > 1:
        several = " and ".join(repr(names[i]) for i in places)
        raise ManifestError(
            f"{path}, line 1: the columns {several} may each be the {wanted}; say which one, for example "
            f"--columns {wanted}={names[places[0]]}"
        )
    return places[0] if places else None


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).casefold()


def _refuse_doubled(path: Path, names: list[str]) -> None:
    doubled = [name for name, n in Counter(names).items() if n > 1]
    if doubled:
        raise ManifestError(f"{path}, line 1: column {short(doubled[0])!r} appears twice; column names must be unique")


def _refuse_shared(where: str, places: Mapping[str, object], columns: Mapping[str, str]) -> None:
    """Refuse one column of a CSV under two names."""
    known: dict[object, str] = {}
    for name, place in places.items():
        if (other := known.setdefault(place, name)) != name:
            raise ManifestError(
                f"{where}: the column {short(columns[name])!r} is given as {other!r} and as {name!r}; give each column once"
            )


def _hint(missing: list[str], names: list[str], columns: Mapping[str, str]) -> str:
    misspelt = [name for name in columns if name not in ALIASES and nearest(name, missing)]
    if misspelt:
        return f"; --columns names {short(misspelt[0])!r}{nearest(misspelt[0], missing)}"
    if len(names) == 1 and "|" in names[0]:
        return "; the separator must be a comma, a semicolon or a tab, not '|'"
    if any(PurePath(name).suffix.lower() in AUDIO_SUFFIXES for name in names):
        return "; the first line must name the columns: path,scene"
    near = nearest(missing[0], names)
    return near or f"; say which: --columns {','.join(f'{wanted}=NAME' for wanted in missing)}"


def path_cells(text: str) -> list[str] | None:
    r"""Return the cells of the column of paths of a CSV, or None of a text without such a column, such as a plain list.

    >>> path_cells("scene,File\nrain,a.wav\n"), path_cells("a.wav\nb.wav\n")
    (['a.wav'], None)

    Args:
        text: Of the file.
    """
    for separator in SEPARATORS:
        rows = csv.reader(io.StringIO(text.lstrip(), newline=""), delimiter=separator)
        try:
            names = [_plain(fold_name(name)) for name in next(rows, [])]
            if places := [names.index(alias) for alias in ALIASES["path"] if alias in names]:
                return [row[places[0]].strip() for row in rows if len(row) > places[0] and row[places[0]].strip()]
        except csv.Error:  # a line that is longer than a cell may be
            return None
    return None


def nearest(wanted: str, names: Sequence[str]) -> str:
    """Return a question for the name that was meant, as the end of a message; empty where none is near.

    Args:
        wanted: As given.
        names: Those there are.
    """
    near = difflib.get_close_matches(wanted.lower(), list(names), 1, 0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
