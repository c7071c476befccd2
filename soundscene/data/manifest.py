"""Corpora as CSV files: which recording was made in which scene, and which recordings belong together.

A manifest has the columns `path` (relative to the CSV, or absolute) and `scene`, optionally `group` (the unit of
independence: place, day, device, original recording) and any others, such as `fold`, which are carried along.
See docs/decisions/0021-manifest-and-leakage.md. Names of scenes, groups and of the values of a split are compared as
`texts.fold_name` spells them (docs/decisions/0088-names.md).
"""

import csv
import io
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from soundscene.data.columns import SPOKEN, CsvRows, nearest, path_cells, read_rows
from soundscene.data.csv_text import read_text
from soundscene.data.splits import check_leakage
from soundscene.errors import ManifestError
from soundscene.files import url_hint, write_atomic
from soundscene.texts import LONGEST_NAME, counted, fold_case, fold_name, plain_cell, safe_cell, short, show
from soundscene.types import Recording, Split

_MANY = 10  # values listed in a message


@dataclass(frozen=True, repr=False)
class Manifest:
    """The rows of a corpus; `scenes` are their scenes, sorted (left out, they are found).

    Raises:
        ManifestError: There are no rows, or two scenes or two groups differ only in case.
    """

    path: Path
    recordings: tuple[Recording, ...]
    scenes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.recordings:
            raise ManifestError(f"{self.path}: holds no recordings; at least one row below the header is needed")
        recordings = tuple(map(_folded, self.recordings))
        _refuse_cases(self.path, "scene", ((r, r.scene) for r in recordings))
        _refuse_cases(self.path, "group", ((r, r.group) for r in recordings if r.columns.get("group")))
        object.__setattr__(self, "recordings", recordings)
        found = tuple(sorted({recording.scene for recording in recordings}))
        if self.scenes not in ((), found):
            raise ManifestError(f"{self.path}: the scenes given are {self.scenes}, those of the recordings {found}")
        object.__setattr__(self, "scenes", found)

    def __repr__(self) -> str:
        """Return one line: file, recordings and scenes."""
        counts = f"{counted(len(self.recordings), 'recording')} of {counted(len(self.scenes), 'scene')}"
        return f"<Manifest {short(show(str(self.path)))}: {counts}>"

    @classmethod
    def read(cls, path: str | Path, columns: Mapping[str, str] | None = None) -> "Manifest":
        """Read and check a CSV file; every file in it must exist.

        Comma, semicolon or tab separate, and common names of the columns are known: `data.columns`.

        Args:
            path: The file.
            columns: Names in the CSV, by the name that a column gets here, such as {"scene": "habitat"}.

        Raises:
            ManifestError: The CSV or a row is invalid; the message names the file and the line.
        """
        path = Path(path)
        rows = read_rows(path, read_text(path), columns or {})
        recordings = [_recording(path, rows, first, last, cells) for first, last, cells in rows.below]
        _refuse_doubled(path, recordings)
        return cls(path, tuple(recordings))

    @classmethod
    def of(cls, source: "str | Path | Manifest") -> "Manifest":
        """Return a manifest as it is, or read it from its path."""
        return source if isinstance(source, Manifest) else cls.read(source)

    def write(self, path: str | Path, safe: bool = False) -> None:
        """Write a CSV file that `read` gives back, all or nothing, and the folders above it.

        Args:
            path: File to write.
            safe: As in `to_csv`.

        Raises:
            ManifestError: It cannot be written.
        """
        path = Path(path)
        try:
            content = self.to_csv(path.parent, safe).encode()
        except UnicodeEncodeError:
            raise ManifestError(f"{path}: cannot be written (a file's name is not valid Unicode; rename it)") from None
        write_atomic(path, content, ManifestError)

    def to_csv(self, folder: Path, safe: bool = False) -> str:
        """Return the text of a CSV file that `read` gives back.

        Files below the CSV's folder get relative paths, others absolute ones. Paths keep control characters, because an
        escaped path would name another file.

        Args:
            folder: Where the file is to be.
            safe: Whether no cell may be taken for a formula by a spreadsheet.
        """
        cells = [{"path": _relative(r.path, folder), "scene": r.scene} for r in self.recordings]
        for recording, row in zip(self.recordings, cells, strict=True):
            row.update(recording.columns)
            if "group" not in row and recording.group != row["path"]:  # otherwise it is its own group when read again
                row["group"] = fold_name(recording.group)  # as it is read; a name of several lines would be refused
        if safe:
            cells = [{name: _safe(name, value) for name, value in row.items()} for row in cells]
        columns = list(dict.fromkeys(name for row in cells for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(cells)
        return text.getvalue()

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns, in the order of the file."""
        return tuple(dict.fromkeys(["path", "scene", "group", *(name for r in self.recordings for name in r.columns)]))

    def values(self, column: str) -> Sequence[str | None]:
        """Return the value of one column in each row as it is compared, None in a row without that column.

        Raises:
            ManifestError: No row has the column; the message names the nearest one. Or it is path.
        """
        column = fold_name(column)
        if column == "path":
            others = ", ".join(self.columns[1:])
            raise ManifestError(
                f"{self.path}: path is no column to split or group by, each row has its own; there are {others}"
            )
        fixed = {"scene": [r.scene for r in self.recordings], "group": [r.group for r in self.recordings]}
        values = fixed.get(column) or [r.columns.get(column) for r in self.recordings]
        if all(value is None for value in values):
            raise ManifestError(
                f"{self.path}: no column {column!r}; there are {', '.join(self.columns)}{nearest(column, self.columns[1:])}"
            )
        return values if column in fixed else [None if value is None else fold_name(value) for value in values]

    def split(self, column: str, value: str) -> Split:
        """Test on the rows whose `column` is the text `value`, train on all others.

        In a column of the values train and test alone, rows with an empty cell are in neither part.

        Args:
            column: Name of a column, such as fold.
            value: Value of the test part, such as 1.

        Raises:
            ManifestError: The column or value is unknown, two values differ only in case, no row is left to train on, a
                scene would be tested that no training recording has, or a group would appear in both parts.
        """
        values, value = self.values(column), fold_name(value)
        _refuse_cases(self.path, column, zip(self.recordings, values, strict=True))
        if value not in values:
            raise ManifestError(f"{self.path}: no row has {column} = {value!r}; there are {_counted(Counter(values))}")
        rows = list(zip(self.recordings, values, strict=True))
        of_parts = {own for own in values if own} == {"train", "test"}
        split = Split(
            train=tuple(r for r, own in rows if own != value and (own or not of_parts)),
            test=tuple(r for r, own in rows if own == value),
        )
        where = f"{self.path}: testing on {column}={value}"
        if not split.train:
            raise ManifestError(f"{where} leaves no recordings to train on, because every row has this value")
        unseen = sorted({r.scene for r in split.test} - {r.scene for r in split.train})
        if unseen:
            raise ManifestError(
                f"{where} would test scenes without training recordings: {', '.join(unseen)}; use a column whose every "
                "value leaves recordings of each scene"
            )
        check_leakage(split, None)
        return split


def listed_files(path: Path) -> list[Path] | None:
    """Return the files of a CSV with a column of paths, such as a manifest; None of any other list.

    Args:
        path: The list. One that is not named .csv or .tsv has a path a line.

    Raises:
        ManifestError: It cannot be read.
    """
    if path.suffix.lower() not in (".csv", ".tsv") or (names := path_cells(read_text(path))) is None:
        return None
    return [_file(path.parent, name) or path.parent / name for name in map(plain_cell, names)]


def parse_test(text: str) -> tuple[str, str]:
    """Parse a test part written `column=value`, such as "fold=1", into column and value.

    >>> parse_test("fold=1")
    ('fold', '1')

    Raises:
        ManifestError: The text is not of this form.
    """
    column, equals, value = (part.strip() for part in text.partition("="))
    if not (column and equals and value):
        raise ManifestError(f"test part {text!r}: expected column=value, for example fold=1")
    return column, value


# --- reading ----------------------------------------------------------------------------------------------------------


def _recording(path: Path, rows: CsvRows, line: int, last: int, cells: list[str]) -> Recording:
    where, header = f"{path}, line {line}", rows.header
    while len(cells) > len(header) and not cells[-1]:
        cells.pop()
    if len(cells) != len(header):
        separator = SPOKEN.get(rows.separator, repr(rows.separator))
        hint = f"put quotes around text that holds {separator}" if len(cells) > len(header) else "is the row complete?"
        if last > line:
            hint = f'it ends in line {last}: is there a stray quote (")?'
        raise ManifestError(f"{where}: {len(cells)} cells, the header has {len(header)}; {hint}")
    row = {name: plain_cell(cell) for name, cell in zip(header, cells, strict=True)}
    if last > line:
        _refuse_stray_quote(path, line, last, row, rows.separator)
    name, scene = row.pop("path"), row.pop("scene")
    if not name or not fold_name(scene):
        raise ManifestError(f"{where}: the {'scene' if name else 'path'} is empty; every row needs a path and a scene")
    for column, text in (("scene", scene), ("group", row.get("group", "")), ("fold", row.get("fold", ""))):
        if len(text) > LONGEST_NAME:
            raise ManifestError(f"{where}: the {column} has {len(text):,} characters; allowed are {LONGEST_NAME}")
    file = _file(path.parent, name)
    if file is None:
        if hint := url_hint(Path(name)):
            raise ManifestError(f"{where}: {short(name)} {hint}")
        raise ManifestError(f"{where}: {short(name)} does not exist; paths are relative to {path.parent.absolute()}")
    return Recording(file, scene, row.get("group") or name, line, row)


def _file(folder: Path, name: str) -> Path | None:
    """Find the file of a row: by its path, by one with Windows separators, or in a home folder (~)."""
    names = [name, name.replace("\\", "/")]
    if name.startswith("~"):
        with suppress(RuntimeError):  # ~name of a user that this machine does not have
            names.append(str(Path(names[1]).expanduser()))
    return next((folder / name for name in names if _exists(folder / name)), None)


def _exists(file: Path) -> bool:
    try:
        return file.exists()
    except (OSError, ValueError):  # a name that is too long, or that holds a null character
        return False


def _refuse_stray_quote(path: Path, line: int, last: int, row: dict[str, str], separator: str) -> None:
    """Refuse a row of several lines that a stray quote has made of several rows.

    Names hold no line ends, and a path only where there is such a file. Any other cell may, unless a line begins a row.
    """
    for name, cell in row.items():
        if "\n" not in cell and "\r" not in cell:
            continue
        if name == "path":
            stray = _file(path.parent, cell) is None
        elif name in ("scene", "group", "fold"):
            stray = True
        else:
            at = list(row).index("path")
            rows = [cells for cells in csv.reader(cell.splitlines()[1:], delimiter=separator) if len(cells) > max(at, 1)]
            stray = any(cells[at].strip() and _file(path.parent, cells[at].strip()) for cells in rows)
        if stray:
            raise ManifestError(
                f'{path}, line {line}: a quote (") opens in the column {short(name)} and closes in line {last}, so that '
                f"{last - line + 1} rows are one; remove the stray quote"
            )


def _folded(recording: Recording) -> Recording:
    scene = fold_name(recording.scene)
    group = fold_name(recording.group) if recording.columns.get("group") else recording.group
    if (scene, group) == (recording.scene, recording.group):
        return recording
    return replace(recording, scene=scene, group=group)


def _refuse_cases(path: Path, column: str, rows: Iterable[tuple[Recording, str | None]]) -> None:
    """Refuse two values that differ only in upper and lower case."""
    known: dict[str, tuple[Recording, str]] = {}
    spellings: dict[str, str] = {}
    for recording, value in rows:
        if not value or value in spellings:
            continue
        spellings[value] = fold_case(value)
        twin, other = known.setdefault(spellings[value], (recording, value))
        if other != value:
            where = f"{path}, line {recording.line}" if recording.line else f"{path}"
            one, two = (f"line {r.line}" if r.line else short(str(r.path)) for r in (recording, twin))
            raise ManifestError(
                f"{where}: {column} {short(value)!r} ({one}) differs only in case from {short(other)!r} ({two}); "
                "use one spelling"
            )


def _refuse_doubled(path: Path, recordings: list[Recording]) -> None:
    lines: dict[str, int] = {}
    for recording in recordings:
        first = lines.setdefault(os.path.abspath(recording.path), recording.line)
        if first != recording.line:
            raise ManifestError(
                f"{path}, line {recording.line}: {recording.path.name} is already listed in line {first}; "
                "list each file once"
            )


# --- writing and messages ---------------------------------------------------------------------------------------------


def _relative(file: Path, folder: Path) -> str:
    file, folder = Path(os.path.abspath(file)), Path(os.path.abspath(folder))
    return (file.relative_to(folder) if file.is_relative_to(folder) else file).as_posix()


def _safe(column: str, text: str) -> str:
    cell = safe_cell(text)
    return f"./{text}" if cell != text and column == "path" else cell


def _counted(values: Counter[str | None]) -> str:
    some = [f"{value} ({n})" for value, n in values.most_common(_MANY)]
    return ", ".join(some) + (f" and {len(values) - _MANY} more" if len(values) > _MANY else "")
