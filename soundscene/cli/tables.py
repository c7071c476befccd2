"""Output of the command line: scores, confusions, predictions and model facts, as tables, CSV or JSON."""

import csv
import json
from collections.abc import Sequence
from typing import Any, TextIO

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from soundscene.member import BackboneMember, Member, NetworkMember, name_of
from soundscene.model import Model
from soundscene.prediction import ScenePrediction
from soundscene.recipe import Recipe
from soundscene.scoring.evaluation import Evaluation
from soundscene.texts import csv_cell, show
from soundscene.types import Head

WIDE = 100_000  # characters


def print_table(table: Table, stream: TextIO) -> None:
    """Print a table as wide as it needs to be; a terminal wraps it, but no name is cut.

    Args:
        table: The table.
        stream: Where to print.
    """
    Console(file=stream, width=WIDE, highlight=False, markup=False, emoji=False).print(table)


def score_table(result: Evaluation) -> Table:
    """Make a table with a row per head: accuracies, F1, precision, log loss and calibration error (ECE)."""
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
    """Make a table of recordings by true scene (rows) and predicted scene (columns, by number, so that no name is cut).

    Args:
        result: The evaluation.
        head: Classifier to show.
    """
    table = Table(title=f"true scene (rows) and prediction (columns), {head}", title_justify="left", box=SIMPLE)
    table.add_column("", no_wrap=True)
    for number in range(1, len(result.scenes) + 1):
        table.add_column(str(number), justify="right")
    for number, row in enumerate(result.scores[head].recording.confusion, 1):
        table.add_row(show(f"{number} {result.scenes[number - 1]}"), *(str(n) if n else "." for n in row))
    return table


def model_facts(model: Model) -> dict[str, Any]:
    """Collect all facts of a model, except the hashes of its training recordings."""
    provenance = {k: v for k, v in model.provenance.items() if k not in ("trained_on", "members")}
    familiarity = model.familiarity
    return {
        "scenes": list(model.scenes),
        "head": model.head,
        "parameters": sum(member.n_parameters for member in model.members),
        "temperature": model.temperature,
        "familiarity": familiarity
        and {
            "score": familiarity.kind,
            "held_out_recordings": len(familiarity.calibration_scores),
            "threshold": familiarity.threshold(),
        },
        **provenance,
        "members": _member_facts(model),
        "recipe": _recipe_of(model.members[0]).to_dict(),
    }


def _member_facts(model: Model) -> list[dict[str, Any]]:
    """Collect what differs from member to member: of the recipe, the values that are not those of the first."""
    first = _recipe_of(model.members[0]).to_dict()
    trained = model.provenance.get("members")
    facts = []
    for member in model.members:
        own = trained.get(member.name) if isinstance(trained, dict) else None
        facts.append(
            {
                "name": member.name,
                "system": name_of(member.recipe) if isinstance(member, NetworkMember) else "frozen backbone",
                "parameters": member.n_parameters,
                "bytes": sum(t.numel() * t.element_size() for t in _tensors_of(member)),
                "recipe": {
                    f"{section}.{key}": value
                    for section, values in _recipe_of(member).to_dict().items()
                    for key, value in values.items()
                    if value != first[section][key]
                },
                **(own if isinstance(own, dict) else {}),
                **({"backbone": member.facts} if isinstance(member, BackboneMember) else {}),
            }
        )
    return facts


def _recipe_of(member: Member) -> Recipe:
    assert isinstance(member, NetworkMember | BackboneMember)
    return member.recipe


def _tensors_of(member: Member) -> list[Any]:
    assert isinstance(member, NetworkMember | BackboneMember)
    weights = member.network.state_dict() if isinstance(member, NetworkMember) else member.stored.tensors
    return [*weights.values(), *member.svm.state_dict().values()]


UNKNOWN = "unknown"  # in place of a scene


class PredictionPrinter:
    """Prints predictions as they come (csv, jsonl), as one document at the end (json) or as a table at the end.

    Args:
        form: table, csv, json or jsonl.
        with_segments: Whether to print the segments too.
        stream: Where to print.
        scenes: Names of the scenes, in the order of the posteriors.
        unknown: Whether to label out-of-distribution recordings as unknown, without a probability.
        safe_csv: Whether no cell of csv may be taken for a formula.
    """

    def __init__(
        self,
        form: str,
        with_segments: bool,
        stream: TextIO,
        scenes: Sequence[str],
        unknown: bool = False,
        safe_csv: bool = False,
    ) -> None:
        self._form = form
        self._with_segments = with_segments
        self._unknown = unknown
        self._stream = stream
        self._scenes = tuple(scenes)
        self._documents: list[dict[str, Any]] = []
        self._table = Table("path", "scene", "probability", "next", "seconds", box=None)
        self._csv = csv.writer(stream, lineterminator="\n")
        self._safe_csv = safe_csv
        if form == "csv":
            self._write(["path", "start_s", "end_s", "scene", "probability", *self._scenes])

    def add(self, prediction: ScenePrediction) -> None:
        """Add a prediction."""
        unknown = self._unknown and prediction.unknown
        if self._form == "csv":
            rows = [(0.0, prediction.duration_s, prediction.posterior)]
            if self._with_segments:
                rows += [(s.start_s, s.end_s, s.posterior) for s in prediction.segments]
            for start, end, posterior in rows:
                best = int(posterior.argmax())
                numbers = [f"{p:.6f}" for p in posterior]
                is_unknown = unknown and posterior is prediction.posterior  # segments keep their best scene
                label = (UNKNOWN, "") if is_unknown else (self._scenes[best], numbers[best])
                self._write([prediction.source, f"{start:g}", f"{end:g}", *label, *numbers])
            self._stream.flush()  # a reader of a pipe need not wait for the last file
        elif self._form == "jsonl":
            self._line(prediction.to_dict(self._with_segments) | self._label(unknown))
        elif self._form == "json":
            self._documents.append(prediction.to_dict(self._with_segments) | self._label(unknown))
        else:
            second = prediction.posterior.argsort()[-1 if unknown else -2]
            self._table.add_row(
                show(prediction.source),
                UNKNOWN if unknown else show(prediction.scene),
                "" if unknown else f"{prediction.probability:.2f}",
                show(f"{self._scenes[second]} {prediction.posterior[second]:.2f}"),
                f"{prediction.duration_s:.1f}",
            )

    def _write(self, cells: Sequence[str]) -> None:
        self._csv.writerow([csv_cell(cell, self._safe_csv) for cell in cells])

    def _label(self, unknown: bool) -> dict[str, Any]:
        return {"scene": UNKNOWN, "probability": None} if unknown else {}

    def add_unreadable(self, path: str, error: str) -> None:
        """Add a file without a prediction, which has a line of its own in jsonl only.

        Args:
            path: The file.
            error: Why there is no prediction.
        """
        if self._form == "jsonl":
            self._line({"path": path, "error": error})

    def _line(self, value: dict[str, Any]) -> None:
        self._stream.write(json.dumps(value) + "\n")
        self._stream.flush()

    def finish(self, errors: Sequence[str]) -> None:
        """Print what waits for the end, and the messages of the files without a prediction (json)."""
        if self._form == "json":
            json.dump({"predictions": self._documents, "errors": list(errors)}, self._stream, indent=2)
            self._stream.write("\n")
        elif self._form == "table" and self._table.row_count:
            print_table(self._table, self._stream)
