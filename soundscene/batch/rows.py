"""Rows of a batch: a recording's prediction or its error, and shards of rows as CSV, JSON lines or Parquet.

Numbers are written so that they read back as the same bits, in all three formats.
"""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from soundscene.errors import SceneError
from soundscene.prediction import ScenePrediction
from soundscene.texts import csv_cell, parse_json, plain_cell

ShardFormat = Literal["csv", "jsonl", "parquet"]
FORMS: tuple[ShardFormat, ...] = ("csv", "jsonl", "parquet")
COLUMNS = ("path", "scene", "probability", "duration_s", "unfamiliarity", "unknown", "error", "notes")
_TEXTS = ("path", "scene", "error", "notes")


@dataclass(frozen=True)
class Row:
    """A recording and its prediction, or the error that says why there is none.

    Attributes:
        path: Of the recording.
        prediction: None where there is an error.
        error: Without the path.
    """

    path: str
    prediction: ScenePrediction | None
    error: str = ""

    @classmethod
    def of(cls, path: str | Path, prediction: ScenePrediction | SceneError, read_as: str | Path | None = None) -> "Row":
        """Return the row of what `Predictor.predict_each` yields.

        Args:
            path: Of the recording.
            prediction: A prediction or an error.
            read_as: Path that the recording was read from, if not `path`.
        """
        name, where = str(path), str(path if read_as is None else read_as)
        if isinstance(prediction, ScenePrediction):
            return cls(name, replace(prediction, segments=()))  # rows wait in memory, and a recording may last for hours
        return cls(name, None, str(prediction).removeprefix(f"{where}: "))


def as_text(path: str) -> str:
    r"""Return a path as rows have it: a file name need not be text, and bytes that are none are written as \udcXX."""
    return path.encode("utf-8", "backslashreplace").decode()


def row_key(path: str, form: ShardFormat) -> str:
    """Return a path as a shard has it, by which a restart knows that it has a row.

    Args:
        path: Of a recording, or as a shard has it.
        form: Format of the shards. CSV shows escapes of a terminal, the others keep them.
    """
    return csv_cell(path) if form == "csv" else as_text(path)


def columns(scenes: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the columns: `COLUMNS`, then the posterior of each scene under its name.

    A scene that has the name of one of `COLUMNS` has the column p(NAME).
    """
    return (*COLUMNS, *(f"p({scene})" if scene in COLUMNS else scene for scene in scenes))


def flat(row: Row, scenes: Sequence[str]) -> tuple[Any, ...]:
    """Return the values of a row in the order of `columns`, None where there is none.

    Seconds are rounded to the millisecond; unknown is 1 or 0.

    Args:
        row: A row.
        scenes: All scenes, in order.
    """
    prediction = row.prediction
    if prediction is None:
        return (as_text(row.path), *(None,) * 5, row.error, None, *(None for _ in scenes))
    notes = "; ".join(prediction.notes) or None
    odd = (prediction.unfamiliarity, float(prediction.unknown))
    values = (prediction.scene, prediction.probability, round(prediction.duration_s, 3), *odd, None, notes)
    return (as_text(row.path), *values, *map(float, prediction.posterior))


def document(row: Row) -> dict[str, Any]:
    """Return a row as plain values for JSON; with an error only path and error."""
    if row.prediction is None:
        return {"path": row.path, "error": row.error}
    return row.prediction.to_dict() | {"path": row.path}


def shard_bytes(rows: Sequence[Row], scenes: Sequence[str], form: ShardFormat, safe: bool = False) -> bytes:
    """Return the content of a shard.

    Args:
        rows: In order.
        scenes: All scenes, in the order of the columns.
        form: Format of the shard; Parquet needs pyarrow.
        safe: Whether no cell of CSV may be taken for a formula.
    """
    content = io.BytesIO()
    if form == "parquet":
        _write_parquet(rows, scenes, content)
        return content.getvalue()
    file = io.TextIOWrapper(content, encoding="utf-8", errors="backslashreplace", newline="")
    if form == "csv":
        lines = [columns(scenes), *(flat(row, scenes) for row in rows)]
        csv.writer(file, lineterminator="\n").writerows([csv_cell(cell, safe) for cell in line] for line in lines)
    else:
        file.writelines(json.dumps(document(row)) + "\n" for row in rows)
    file.flush()
    return content.getvalue()


def read_paths(content: bytes, name: str, form: ShardFormat, scenes: Sequence[str], safe: bool = False) -> Iterator[str]:
    """Yield the paths of a shard, as `row_key` writes them.

    Args:
        content: Of the shard.
        name: Its path, for messages.
        form: Its format.
        scenes: All scenes, in the order of the columns.
        safe: Whether the shard was written so.

    Raises:
        SceneError: The content is not a whole shard of these scenes.
    """
    try:
        if form == "parquet":
            import pyarrow.parquet

            yield from pyarrow.parquet.read_table(io.BytesIO(content), columns=["path"]).column("path").to_pylist()
            return
        if not content.endswith(b"\n"):
            raise ValueError("its last line is cut short")
        text = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8", newline="")
        yield from _csv_paths(text, columns(scenes), safe) if form == "csv" else _json_paths(text)
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        csv.Error,
    ) as error:  # pyarrow's errors are ValueErrors
        reason = " ".join(str(error).split())[:200]
        raise SceneError(f"{name}: not a whole shard ({reason}); move it away to predict its recordings again") from None


def _csv_paths(file: io.TextIOWrapper, expected: tuple[str, ...], safe: bool) -> Iterator[str]:
    reader = csv.reader(file, strict=True)
    header = next(reader, [])
    if list(map(csv_cell, header)) != [csv_cell(name, safe) for name in expected]:  # 0.1 wrote escapes as they are
        raise ValueError(f"its header is {','.join(header)}")
    for cells in reader:
        if len(cells) != len(expected):
            raise ValueError(f"line {reader.line_num} has {len(cells)} cells, the header has {len(expected)}")
        yield plain_cell(csv_cell(cells[0])) if safe else csv_cell(cells[0])


def _json_paths(file: io.TextIOWrapper) -> Iterator[str]:
    for line in file:
        yield as_text(parse_json(line)["path"])


def write_parquet_rows(
    names: Sequence[str], rows: Sequence[Sequence[Any]], path: Path, texts: Sequence[str] = _TEXTS
) -> None:
    """Write rows as a Parquet file.

    Args:
        names: Of the columns.
        rows: Their values; None is missing.
        path: File to write.
        texts: Columns of text; all others hold numbers.
    """
    import pyarrow
    import pyarrow.parquet

    columns = list(zip(*rows, strict=True)) or [() for _ in names]
    arrays = [
        pyarrow.array(column, pyarrow.string() if name in texts else pyarrow.float64())
        for name, column in zip(names, columns, strict=True)
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_arrays(arrays, list(names)), path)


def _write_parquet(rows: Sequence[Row], scenes: Sequence[str], file: io.BytesIO) -> None:
    import pyarrow
    import pyarrow.parquet

    names = columns(scenes)
    types = [pyarrow.string() if name in _TEXTS else pyarrow.float64() for name in names]
    values = zip(*(flat(row, scenes) for row in rows), strict=True)
    arrays = [pyarrow.array(column, kind) for column, kind in zip(values, types, strict=True)]
    pyarrow.parquet.write_table(pyarrow.Table.from_arrays(arrays, list(names)), file)
