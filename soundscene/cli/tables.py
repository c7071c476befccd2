"""What the command line shows: scores, confusions, predictions and the facts of a bundle, as tables, CSV or JSON."""

import csv
import json
from collections.abc import Sequence
from typing import Any, TextIO

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from soundscene.bundle import Head, ModelBundle
from soundscene.scoring.evaluation import Evaluation
from soundscene.types import ScenePrediction

WIDE = 100_000  # characters


def print_table(table: Table, stream: TextIO) -> None:
    """As wide as it needs to be: a terminal wraps it, but no name is cut."""
    Console(file=stream, width=WIDE, highlight=False, markup=False, emoji=False).print(table)


def score_table(result: Evaluation) -> Table:
    """A row per head: accuracy by segment and by recording, F1, precision, log loss and calibration error (ECE)."""
    table = Table(title=f"{result.n_recordings} recordings, {len(result.scenes)} scenes", title_justify="left", box=SIMPLE)
    table.add_column("head")
    for name in ("segment", "recording", "F1", "prec.", "log loss", "tempered", "ECE", "tempered"):
        table.add_column(name, justify="right")
    for head, scores in result.scores.items():
        before, after = scores.recording, scores.calibrated
        shares = (scores.segment.accuracy, before.accuracy, before.macro_f1, before.macro_precision)
        numbers = (before.log_loss, after.log_loss, before.calibration_error, after.calibration_error)
        table.add_row(head, *(f"{x:.1%}" for x in shares), *(f"{x:.3f}" for x in numbers))
    return table


def confusion_table(result: Evaluation, head: Head) -> Table:
    """Recordings by true scene (rows) and answer (columns, by the number of the scene, so that no name is cut)."""
    table = Table(title=f"true scene (rows) and answer (columns), {head}", title_justify="left", box=SIMPLE)
    table.add_column("", no_wrap=True)
    for number in range(1, len(result.scenes) + 1):
        table.add_column(str(number), justify="right")
    for number, row in enumerate(result.scores[head].recording.confusion, 1):
        table.add_row(f"{number} {result.scenes[number - 1]}", *(str(n) if n else "." for n in row))
    return table


def bundle_facts(bundle: ModelBundle) -> dict[str, Any]:
    """Everything a bundle says of itself, but for the hashes of its training recordings."""
    provenance = {k: v for k, v in bundle.provenance.items() if k != "trained_on"}
    known = bundle.familiarity
    n_parameters = sum(p.numel() for p in bundle.network.parameters())
    return {
        "scenes": list(bundle.scenes),
        "head": bundle.recipe.calibration.head,
        "parameters": n_parameters,
        "temperature": bundle.temperature,
        "familiarity": known
        and {"score": known.kind, "held_out_recordings": len(known.held), "threshold": known.threshold()},
        **provenance,
        "recipe": bundle.recipe.to_dict(),
    }


UNKNOWN = "unknown"  # in place of a scene


class PredictionPrinter:
    """Prints predictions as they come (csv, jsonl), as one document at the end (json) or as a table at the end.

    unknown: say "unknown", without a probability, where a recording is less familiar than the model's threshold allows.
    """

    def __init__(self, form: str, with_segments: bool, stream: TextIO, scenes: Sequence[str], unknown: bool = False) -> None:
        self._form = form
        self._with_segments = with_segments
        self._unknown = unknown
        self._stream = stream
        self._scenes = tuple(scenes)
        self._documents: list[dict[str, Any]] = []
        self._table = Table("path", "scene", "probability", "next", "seconds", box=None)
        self._csv = csv.writer(stream, lineterminator="\n")
        if form == "csv":
            self._csv.writerow(["path", "start_s", "end_s", "scene", "probability", *self._scenes])

    def add(self, answer: ScenePrediction) -> None:
        """Take one prediction."""
        unknown = self._unknown and answer.unknown
        if self._form == "csv":
            rows = [(0.0, answer.duration_s, answer.posterior)]
            if self._with_segments:
                rows += [(s.start_s, s.end_s, s.posterior) for s in answer.segments]
            for start, end, posterior in rows:
                best = int(posterior.argmax())
                numbers = [f"{p:.6f}" for p in posterior]
                said = (UNKNOWN, "") if unknown and posterior is answer.posterior else (self._scenes[best], numbers[best])
                self._csv.writerow([answer.source, f"{start:g}", f"{end:g}", *said, *numbers])
            self._stream.flush()  # whoever reads it through a pipe need not wait for the last file
        elif self._form == "jsonl":
            self._line(answer.to_dict(self._with_segments) | self._unknown_said(unknown))
        elif self._form == "json":
            self._documents.append(answer.to_dict(self._with_segments) | self._unknown_said(unknown))
        else:
            second = answer.posterior.argsort()[-1 if unknown else -2]
            self._table.add_row(
                answer.source,
                UNKNOWN if unknown else answer.scene,
                "" if unknown else f"{answer.probability:.2f}",
                f"{self._scenes[second]} {answer.posterior[second]:.2f}",
                f"{answer.duration_s:.1f}",
            )

    def _unknown_said(self, unknown: bool) -> dict[str, Any]:
        return {"scene": UNKNOWN, "probability": None} if unknown else {}

    def add_broken(self, path: str, error: str) -> None:
        """Take a file without an answer, which has a line of its own (jsonl) or none."""
        if self._form == "jsonl":
            self._line({"path": path, "error": error})

    def _line(self, value: dict[str, Any]) -> None:
        self._stream.write(json.dumps(value) + "\n")
        self._stream.flush()

    def finish(self, broken: Sequence[str]) -> None:
        """Print what waits for the end; `broken`: messages of the files without an answer."""
        if self._form == "json":
            json.dump({"predictions": self._documents, "errors": list(broken)}, self._stream, indent=2)
            self._stream.write("\n")
        elif self._form == "table" and self._table.row_count:
            print_table(self._table, self._stream)
