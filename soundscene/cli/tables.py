"""Output of the command line: scores, confusions, predictions and model facts, as tables, CSV or JSON."""

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Any, TextIO

from rich.cells import cell_len
from rich.console import RenderableType
from rich.table import Table

from soundscene.cli.layout import WIDE, Cut, fitted, print_table, shortened, titled, width_of
from soundscene.cli.rows import column_names, csv_values, values_of
from soundscene.prediction import UNKNOWN, ScenePrediction
from soundscene.scoring.evaluation import Evaluation, PartScore
from soundscene.texts import counted, csv_cell, show
from soundscene.types import Head


def score_table(result: Evaluation) -> RenderableType:
    """Make a table with a row per head: accuracies, F1, precision, log loss and calibration error (ECE)."""
    title = f"{counted(result.n_recordings, 'recording')}, {counted(len(result.scenes), 'scene')}"
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("head", no_wrap=True)
    names = ("accuracy,\nsegment", "accuracy,\nrecording", "macro\nF1", "macro\nprecision")
    for name in (*names, "log loss", "log loss,\ntempered", "ECE", "ECE,\ntempered"):
        table.add_column(name, justify="right", no_wrap=True)
    for head, scores in result.scores.items():
        before, after = scores.recording, scores.calibrated
        of_segments = f"{scores.segment.accuracy:.1%}" if scores.segment.n else "-"
        shares = (before.accuracy, before.macro_f1, before.macro_precision)
        numbers = (before.log_loss, after.log_loss, before.calibration_error, after.calibration_error)
        table.add_row(head, of_segments, *(f"{x:.1%}" for x in shares), *(f"{x:.3f}" for x in numbers))
    return titled(title, table)


def scene_table(result: Evaluation, head: Head, width: int = WIDE) -> RenderableType:
    """Make a table of precision, recall and F1 of each scene, by recording.

    Args:
        result: The evaluation.
        head: Classifier to show.
        width: Of the table.
    """
    numbers = ("recordings", "precision", "recall", "F1")
    rows = [
        (s.scene, str(s.n), *("-" if x != x else f"{x:.1%}" for x in (s.precision, s.recall, s.f1)))
        for s in result.by_scene(head)
    ]
    return fitted(("scene", *numbers), rows, width, {"scene": "right"}, numbers, f"scenes, {head}")


def part_table(parts: Sequence[PartScore], head: Head, column: str, width: int = WIDE) -> RenderableType:
    """Make a table of the accuracy for each value of a column of the manifest; one group has no interval.

    Args:
        parts: Its values, and the accuracy of each.
        head: Classifier to show.
        column: Its name.
        width: Of the table.
    """
    numbers = ("recordings", "groups", "accuracy", "95 % interval")
    rows = []
    for s in parts:
        interval = f"{s.accuracy.low:.1%} to {s.accuracy.high:.1%}" if s.n_groups > 1 else "-"
        rows.append((s.value, str(s.n), str(s.n_groups), f"{s.accuracy.estimate:.1%}", interval))
    return fitted((column, *numbers), rows, width, {column: "right"}, numbers, f"accuracy by {show(column)}, {head}")


def confusion_tables(result: Evaluation, head: Head, width: int = WIDE) -> Iterator[RenderableType]:
    """Make tables of recordings by true scene (rows) and predicted scene (columns, by number, so that no name is cut).

    Args:
        result: The evaluation.
        head: Classifier to show.
        width: Of a table. Where it does not hold all columns, further tables hold the rest.
    """
    counts = result.scores[head].recording.confusion
    names = [show(f"{number} {scene}") for number, scene in enumerate(result.scenes, 1)]
    digits = max(len(str(counts.max())), len(str(len(names))))
    room = max(width - digits * 2 - 10, 12)
    names = [shortened(name, room, "right") for name in names]
    n_columns = max(1, (width - max(map(cell_len, names)) - 2) // (digits + 1))
    for first in range(0, len(names), n_columns):
        chosen = range(first, min(first + n_columns, len(names)))
        part = "" if n_columns >= len(names) else f", predictions {chosen[0] + 1} to {chosen[-1] + 1}"
        title = f"true scene (rows) and prediction (columns), {head}{part}"
        table = Table(box=None, padding=(0, 1, 0, 0))
        table.add_column("", no_wrap=True)
        for number in chosen:
            table.add_column(str(number + 1), justify="right", no_wrap=True, min_width=digits)
        for name, row in zip(names, counts[:, chosen], strict=True):
            table.add_row(name, *(str(n) if n else "." for n in row))
        yield titled(title, table)


_CUTS: dict[str, Cut] = {"model": "left", "path": "left", "scene": "right", "next": "left"}


class PredictionPrinter:
    """Prints predictions as they come (csv, jsonl), as one document at the end (json) or as a table at the end.

    Args:
        form: table, csv, json or jsonl.
        with_segments: Whether to print the segments too.
        stream: Where to print.
        scenes: Names of the scenes, in the order of the posteriors.
        unknown: Whether to label out-of-distribution recordings as unknown, without a probability.
        safe_csv: Whether no cell of csv may be taken for a formula.
        with_model: Whether several models predict, which each row names.
    """

    def __init__(
        self,
        form: str,
        with_segments: bool,
        stream: TextIO,
        scenes: Sequence[str],
        unknown: bool = False,
        safe_csv: bool = False,
        with_model: bool = False,
    ) -> None:
        self._with_model = with_model
        self._form = form
        self._with_segments = with_segments
        self._unknown = unknown
        self._stream = stream
        self._scenes = tuple(scenes)
        self._documents: list[dict[str, Any]] = []
        self._rows: list[tuple[str, ...]] = []
        self._csv = csv.writer(stream, lineterminator="\n")
        self._safe_csv = safe_csv
        if form == "csv":
            self._write(column_names(self._scenes, with_model))

    def add(self, prediction: ScenePrediction, model: str | None = None) -> None:
        """Add a prediction.

        Args:
            prediction: Of a recording.
            model: Name of its model, where several predict.
        """
        unknown = self._unknown and prediction.unknown
        name = {} if model is None else {"model": model}
        if self._form == "csv":
            for row in values_of(prediction, self._scenes, self._with_segments, self._unknown):
                self._write((*name.values(), *csv_values(row)))
            self._stream.flush()  # a reader of a pipe need not wait for the last file
        elif self._form == "jsonl":
            self._line(name | prediction.to_dict(self._with_segments, self._unknown))
        elif self._form == "json":
            self._documents.append(name | prediction.to_dict(self._with_segments, self._unknown))
        else:
            second = prediction.posterior.argsort()[-1 if unknown else -2]
            cells = (
                *name.values(),
                prediction.source,
                UNKNOWN if unknown else prediction.scene,
                "" if unknown else f"{prediction.probability:.2f}",
                f"{prediction.scenes[second]} {prediction.posterior[second]:.2f}",
                f"{prediction.duration_s:.1f}",
            )
            self._rows.append(cells)

    def _write(self, cells: Sequence[str]) -> None:
        self._csv.writerow([csv_cell(cell, self._safe_csv) for cell in cells])

    def add_unreadable(self, path: str, error: str, model: str | None = None) -> None:
        """Add a file without a prediction, which has a line of its own in jsonl only.

        Args:
            path: The file.
            error: Why there is no prediction.
            model: Name of the only model that has none.
        """
        if self._form == "jsonl":
            self._line(({} if model is None else {"model": model}) | {"path": path, "error": error})

    def _line(self, value: dict[str, Any]) -> None:
        self._stream.write(json.dumps(value) + "\n")
        self._stream.flush()

    def finish(self, errors: Sequence[str]) -> None:
        """Print what waits for the end, and the messages of the files without a prediction (json)."""
        if self._form == "json":
            json.dump({"predictions": self._documents, "errors": list(errors)}, self._stream, indent=2)
            self._stream.write("\n")
        elif self._form == "table" and self._rows:
            names, rows, width = ("path", "scene", "probability", "next", "seconds"), self._rows, width_of(self._stream)
            if self._with_model:
                names, rows = ("model", *names), _short_models(rows) if width < WIDE else rows
            print_table(fitted(names, rows, width, _CUTS, ("probability", "seconds")), self._stream)


def _short_models(rows: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Name models by their stems, where those differ: in a narrow table the ends of all files would be the same."""
    stems = {row[0]: PurePath(row[0]).stem for row in rows}
    if len(set(stems.values())) < len(stems):
        return list(rows)
    return [(stems[row[0]], *row[1:]) for row in rows]
