"""Predictions as one file: CSV, JSON lines or Parquet with the columns that `predict --format csv` prints."""

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from soundscene.batch.rows import as_text, write_parquet_rows
from soundscene.cli.outputs import FileForm
from soundscene.prediction import UNKNOWN, ScenePrediction, scene_columns
from soundscene.texts import csv_cell

COLUMNS = ("path", "start_s", "end_s", "scene", "probability")
RowValues = tuple[str | float | None, ...]


def values_of(prediction: ScenePrediction, scenes: Sequence[str], with_segments: bool, unknown: bool) -> Iterator[RowValues]:
    """Yield the rows of a prediction: of the recording, then of its segments.

    Args:
        prediction: Of a recording.
        scenes: Scenes of the columns; a model may lack some, and then has no value there.
        with_segments: Whether to yield the segments too.
        unknown: Whether an out-of-distribution recording is labelled as unknown, without a probability. Segments keep their
            most probable scene.
    """
    parts = [(0.0, prediction.duration_s, prediction.posterior)]
    if with_segments:
        parts += [(s.start_s, s.end_s, s.posterior) for s in prediction.segments]
    for number, (start_s, end_s, posterior) in enumerate(parts):
        best = int(posterior.argmax())
        is_unknown = unknown and prediction.unknown and number == 0
        label = (UNKNOWN, None) if is_unknown else (prediction.scenes[best], float(posterior[best]))
        own = dict(zip(prediction.scenes, map(float, posterior), strict=True))
        yield (prediction.source, start_s, end_s, *label, *map(own.get, scenes))


class RowWriter:
    """Writes rows to a file as they come, but Parquet at the end. A context manager.

    Args:
        path: File to write.
        form: csv, jsonl or parquet.
        with_segments: Whether to write the segments too.
        scenes: Names of the scenes, in the order of the posteriors.
        unknown: Whether to label out-of-distribution recordings as unknown.
        safe_csv: Whether no cell of CSV may be taken for a formula.
        with_model: Whether the first column names the model.
    """

    def __init__(
        self,
        path: Path,
        form: FileForm,
        with_segments: bool,
        scenes: Sequence[str],
        unknown: bool = False,
        safe_csv: bool = False,
        with_model: bool = False,
    ) -> None:
        self.n_recordings = self.n_rows = 0
        self._path, self._form = path, form
        self._with_segments, self._unknown, self._safe = with_segments, unknown, safe_csv
        self._scenes, self._with_model = tuple(scenes), with_model
        self._names = column_names(scenes, with_model)
        self._rows: list[RowValues] = []
        self._open = ExitStack()

    def __enter__(self) -> "RowWriter":
        if self._form != "parquet":
            file = self._path.open("w", encoding="utf-8", errors="backslashreplace", newline="")
            self._file = self._open.enter_context(file)
            self._csv = csv.writer(self._file, lineterminator="\n")
        if self._form == "csv":
            self._csv.writerow([csv_cell(name, self._safe) for name in self._names])
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._open.close()
        if self._form == "parquet" and kind is None:
            write_parquet_rows(self._names, self._rows, self._path, texts=("model", "path", "scene"))

    def add(self, prediction: ScenePrediction, model: str | None = None) -> None:
        """Write the rows of a prediction.

        Args:
            prediction: Of a recording.
            model: Name of its model, where several predict.
        """
        self.n_recordings += 1
        name = () if model is None else (as_text(model),)
        for row in values_of(prediction, self._scenes, self._with_segments, self._unknown):
            self.n_rows += 1
            plain = (*name, as_text(prediction.source), *row[1:])
            if self._form == "parquet":
                self._rows.append(plain)
            elif self._form == "csv":
                self._csv.writerow([csv_cell(cell, self._safe) for cell in (*name, *csv_values(row))])
            else:
                self._file.write(json.dumps(dict(zip(self._names, plain, strict=True))) + "\n")

    def add_unreadable(self, path: str, error: str, model: str | None = None) -> None:
        """Do nothing: a file without a prediction has no row.

        Args:
            path: The file.
            error: Why there is no prediction.
            model: As in `add`.
        """


def column_names(scenes: Sequence[str], with_model: bool = False) -> tuple[str, ...]:
    """Return the names of the columns: a scene that has the name of another column has the column p(NAME).

    Args:
        scenes: In order.
        with_model: Whether the first column names the model.
    """
    first = ("model", *COLUMNS) if with_model else COLUMNS
    return (*first, *scene_columns(scenes, first))


def csv_values(row: RowValues) -> tuple[Any, ...]:
    """Return the cells of a row as CSV has them: seconds, and probabilities with six digits."""
    path, start_s, end_s, scene, *numbers = row
    return (path, f"{start_s:g}", f"{end_s:g}", scene, *("" if x is None else f"{x:.6f}" for x in numbers))
