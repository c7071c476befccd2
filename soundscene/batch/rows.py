"""What is kept of a recording: a row with its answer or its error, and shards of such rows as CSV, JSON lines or Parquet.

Numbers are written so that they read back as the same bits, in all three forms.
"""

import csv
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TextIO

from soundscene.errors import SceneError
from soundscene.files import atomic_path
from soundscene.timelines import check_parquet
from soundscene.types import ScenePrediction

ShardFormat = Literal["csv", "jsonl", "parquet"]
FORMS: tuple[ShardFormat, ...] = ("csv", "jsonl", "parquet")
COLUMNS = ("path", "scene", "probability", "duration_s", "unfamiliarity", "unknown", "error", "notes")
_TEXTS = ("path", "scene", "error", "notes")


@dataclass(frozen=True)
class Row:
    """A recording's path, and its answer or the error (without the path) that says why there is none."""

    path: str
    answer: ScenePrediction | None
    error: str = ""

    @classmethod
    def of(cls, path: str | Path, answer: ScenePrediction | SceneError, read_as: str | Path | None = None) -> "Row":
        """The row of what `Predictor.predict_each` gives; read_as: what the file was read as, where not as `path`."""
        name, where = str(path), str(path if read_as is None else read_as)
        if isinstance(answer, ScenePrediction):
            return cls(name, replace(answer, segments=()))  # rows wait in memory, and a recording may last for hours
        return cls(name, None, str(answer).removeprefix(f"{where}: "))


def as_text(path: str) -> str:
    """A path as rows have it: the name of a file need not be text, and bytes that are none are written as \\udcXX."""
    return path.encode("utf-8", "backslashreplace").decode()


def columns(scenes: Sequence[str]) -> tuple[str, ...]:
    """Names of the columns: `COLUMNS`, then the posterior of each scene under its name.

    A scene that is called like one of `COLUMNS` has the column p(NAME).
    """
    return (*COLUMNS, *(f"p({scene})" if scene in COLUMNS else scene for scene in scenes))


def flat(row: Row, scenes: Sequence[str]) -> tuple[Any, ...]:
    """The values of a row in the order of `columns`; None where there is nothing to say.

    Seconds to the millisecond; unknown is 1 or 0.
    """
    answer = row.answer
    if answer is None:
        return (as_text(row.path), *(None,) * 5, row.error, None, *(None for _ in scenes))
    notes = "; ".join(answer.notes) or None
    odd = (answer.unfamiliarity, float(answer.unknown))
    said = (answer.scene, answer.probability, round(answer.duration_s, 3), *odd, None, notes)
    return (as_text(row.path), *said, *map(float, answer.posterior))


def document(row: Row) -> dict[str, Any]:
    """A row as plain values for JSON; with an error there are only path and error."""
    if row.answer is None:
        return {"path": row.path, "error": row.error}
    return row.answer.to_dict() | {"path": row.path}


def write_shard(rows: Sequence[Row], scenes: Sequence[str], form: ShardFormat, path: Path) -> None:
    """Write rows as a file that has its name only when it is whole and on the disk.

    Raises: `SceneError` where it cannot be written, and without pyarrow for Parquet.
    """
    if form == "parquet":
        _write_parquet(rows, scenes, path)
        return
    with (
        atomic_path(path) as unfinished,
        unfinished.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        if form == "csv":
            _write_csv([columns(scenes), *(flat(row, scenes) for row in rows)], file)
        else:
            file.writelines(json.dumps(document(row)) + "\n" for row in rows)
        _to_disk(file)


def read_paths(path: Path, form: ShardFormat, scenes: Sequence[str]) -> Iterator[str]:
    """The paths of a shard, as `as_text` has them.

    Raises: `SceneError` for a file that is not a whole shard of these scenes.
    """
    try:
        if form == "parquet":
            import pyarrow.parquet

            found = pyarrow.parquet.read_table(path, columns=["path"]).column("path").to_pylist()
            yield from found
            return
        with path.open(encoding="utf-8", newline="") as file:
            yield from _csv_paths(file, columns(scenes)) if form == "csv" else _json_paths(file)
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:  # pyarrow's errors are ValueErrors
        reason = " ".join(str(error).split())[:200]
        raise SceneError(
            f"{path}: not a whole shard ({reason}); take it away, and its recordings are answered again"
        ) from None


def _write_csv(rows: Iterable[tuple[Any, ...]], file: TextIO) -> None:
    """Lines of cells, floats as repr has them. Before Python 3.13 `csv` forgets that a CR has to be in quotes."""
    plain, quoting = csv.writer(file, lineterminator="\n"), csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in rows:
        (quoting if any(isinstance(cell, str) and "\r" in cell for cell in row) else plain).writerow(row)


def _csv_paths(file: TextIO, expected: tuple[str, ...]) -> Iterator[str]:
    reader = csv.reader(file, strict=True)
    header = next(reader, [])
    if tuple(header) != expected:
        raise ValueError(f"its header is {','.join(header)}")
    for cells in reader:
        if len(cells) != len(expected):
            raise ValueError(f"line {reader.line_num} has {len(cells)} cells, the header has {len(expected)}")
        yield cells[0]


def _json_paths(file: TextIO) -> Iterator[str]:
    for line in file:
        yield as_text(json.loads(line)["path"])


def _write_parquet(rows: Sequence[Row], scenes: Sequence[str], path: Path) -> None:
    check_parquet(path)
    import pyarrow
    import pyarrow.parquet

    names = columns(scenes)
    types = [pyarrow.string() if name in _TEXTS else pyarrow.float64() for name in names]
    values = zip(*(flat(row, scenes) for row in rows), strict=True)
    arrays = [pyarrow.array(column, kind) for column, kind in zip(values, types, strict=True)]
    with atomic_path(path) as unfinished:
        pyarrow.parquet.write_table(pyarrow.Table.from_arrays(arrays, list(names)), unfinished)
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())


def _to_disk(file: TextIO) -> None:
    """Wait until the disk has it: a name that is there after a power cut must not be that of an empty file."""
    file.flush()
    os.fsync(file.fileno())
