"""`soundscene evaluate` and `soundscene info`: how good a model is, and what it consists of."""

import csv
import io
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soundscene.cli.corpus import open_corpus
from soundscene.cli.models import check_model, check_scored, load_saved
from soundscene.cli.options import (
    CORES,
    OUTPUT,
    AnyModelArgument,
    ColumnsOption,
    HeadOption,
    JsonOption,
    ManifestArgument,
    ModelArgument,
    PredictDeviceOption,
    SafeCsvOption,
    TestOption,
    WorkersOption,
    extra_of,
)
from soundscene.cli.outputs import keep_inputs
from soundscene.cli.terminal import bar, out, print_json, say, tell, wrapped
from soundscene.errors import SceneError
from soundscene.extras import require
from soundscene.texts import counted, csv_cell, show

_RATES = ("rate", "sample_rate")  # of --by, which need no column

if TYPE_CHECKING:
    from soundscene.data.manifest import Manifest
    from soundscene.scoring.evaluation import Evaluation
    from soundscene.types import Head


def evaluate(
    model: ModelArgument,
    manifest: ManifestArgument,
    test: TestOption = None,
    columns: ColumnsOption = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by", metavar="COLUMN", help="Also score by a column, such as device or city; rate needs none. Repeatable."
        ),
    ] = None,
    head: HeadOption = None,
    predictions: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write a CSV with a row per recording.", rich_help_panel=OUTPUT),
    ] = None,
    confusion: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also draw the confusion matrix, a .png or .svg.", rich_help_panel=OUTPUT),
    ] = None,
    as_json: JsonOption = False,
    safe_csv: SafeCsvOption = False,
    device: PredictDeviceOption = "cpu",
    workers: WorkersOption = CORES,
) -> None:
    """Score a model on a manifest.

    Scores are by segment and by recording, with the softmax layer and with the SVM.
    """
    require("evaluate", "train", *(["report"] if confusion else []))
    check_model("evaluate", model, [manifest])
    check_scored(model, manifest)
    _check_outputs(predictions, confusion, safe_csv, [model, manifest, manifest / "manifest.csv"])
    with bar("reading audio", at_once=True) as reading:
        from soundscene.bundle import load_model
        from soundscene.compute import place
        from soundscene.pipeline import evaluate_on_manifest
        from soundscene.systems.saved_evaluation import evaluate_system

        corpus = open_corpus(manifest, columns)
        _check_columns(corpus, by or ())
        saved = load_saved("evaluate", model, head, device)
        if saved is not None:
            default = saved.head
            result = evaluate_system(saved, corpus, test=test, workers=workers, read_progress=reading)
        else:
            loaded = place(load_model(model), device)
            default = loaded.head
            result = evaluate_on_manifest(loaded, corpus, test=test, workers=workers, read_progress=reading)
    for note in (*result.notes, *_reservations(result)):
        tell(note)
    parts = {column: _values(result, corpus.path, column) for column in by or ()}
    _print(result, head or default, parts, as_json)
    if predictions:
        _write_predictions(result, head or default, predictions, safe_csv)
    if confusion:
        from soundscene.report.confusions import draw_confusion

        counts = result.scores[head or default].recording.confusion
        for note in draw_confusion(counts, result.scenes, confusion, result.heading):
            tell(note)


def _check_outputs(predictions: Path | None, confusion: Path | None, safe_csv: bool, inputs: list[Path]) -> None:
    """Refuse what cannot be written before the sound is read."""
    if safe_csv and predictions is None:
        raise typer.BadParameter("--safe-csv is for CSV; give --predictions FILE with it")
    if predictions is not None and predictions.suffix.lower() != ".csv":
        raise SceneError(f"--predictions {predictions}: a CSV ends in .csv")
    if confusion is not None:
        from soundscene.plotting.svg import check_output

        check_output(confusion, (".png", ".svg"))
    keep_inputs({"--predictions": predictions, "--confusion": confusion}, inputs)


def _check_columns(corpus: "Manifest", by: list[str] | tuple[str, ...]) -> None:
    """Refuse columns that are not there before the sound is read."""
    for column in by:
        if column not in _RATES:
            corpus.values(column)


def _values(result: "Evaluation", manifest: Path, column: str) -> list[str]:
    """Return the value of a column for each recording; the sample rate of the files needs no column."""
    from soundscene.data.manifest import Manifest

    listed = Manifest(manifest, result.recordings)
    if column in _RATES and column not in listed.columns:
        if not result.native_hz:
            raise SceneError(
                f"--by {column}: a saved system keeps no sample rate of its files; name a column of the manifest"
            )
        return [str(hz) for hz in result.native_hz]
    return [value if value else "(none)" for value in listed.values(column)]


def _reservations(result: "Evaluation") -> list[str]:
    """Return notes where scores are low because scenes were not tested, or high because recordings were trained on."""
    notes, n, present = list[str](), len(result.scenes), len(set(result.truth.tolist()))
    if present < n:
        notes.append(
            f"{n - present} of the model's {n} scenes have no recording here; in macro F1 and precision they count 0"
        )
    if result.n_trained_on:
        notes.append(
            f"{result.n_trained_on} of {result.n_recordings} recordings are in the model's training set: scores are "
            "optimistic; use --test with the rows that training left out"
        )
    return notes


def _print(result: "Evaluation", head: "Head", parts: dict[str, list[str]], as_json: bool) -> None:
    """Print the scores as tables or as JSON."""
    from soundscene.cli.layout import print_table, width_of
    from soundscene.cli.tables import confusion_tables, part_table, scene_table, score_table
    from soundscene.pipeline import as_dict
    from soundscene.scoring.evaluation import LEAKAGE

    if as_json:
        print_json(as_dict(result, head, parts))
        return
    width = width_of(sys.stdout)
    for note in result.notes:
        if note.startswith(LEAKAGE):  # beside the scores too, because they go where the notes do not
            say(wrapped(f"{note}.", out))
    print_table(score_table(result), sys.stdout)
    say(result.sentence(head))
    say("")
    print_table(scene_table(result, head, width), sys.stdout)
    flat = False
    for column, values in parts.items():
        unit = ", Hz" if column in _RATES and all(map(str.isdigit, values)) else ""
        found = result.by_value(values, head)
        flat |= any(part.n_groups > 1 and part.accuracy.low == part.accuracy.high for part in found)
        say("")
        print_table(part_table(found, head, column + unit, width), sys.stdout)
    if flat:
        say("An interval without width excludes nothing: other groups need not be alike.")
    for table in confusion_tables(result, head, width):
        say("")
        print_table(table, sys.stdout)


def _write_predictions(result: "Evaluation", head: "Head", path: Path, safe: bool) -> None:
    """Write a row per recording: true and predicted scene, and the tempered posterior; in front of it what must be read."""
    from soundscene.files import write_atomic

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    marks = [("heading", result.heading)] if result.heading else []  # as in the tables of a report
    names = (*(name for name, _ in marks), "path", "group", "true_scene", "scene", "probability", *result.scenes)
    writer.writerow([csv_cell(name, safe) for name in names])
    for recording, truth, row in zip(result.recordings, result.truth, result.log_posterior[head], strict=True):
        best, numbers = int(row.argmax()), [f"{math.exp(x):.6f}" for x in row]
        cells = (str(recording.path), recording.group, result.scenes[truth], result.scenes[best], numbers[best], *numbers)
        writer.writerow([csv_cell(cell, safe) for cell in (*(mark for _, mark in marks), *cells)])
    write_atomic(path, text.getvalue().encode("utf-8", "backslashreplace"))


def info(model: AnyModelArgument, as_json: JsonOption = False) -> None:
    """Show a model's scenes, recipe and provenance.

    The training's range too: from where on a prediction notes that a recording is unlike the training.
    """
    check_model("info", model)
    require("info", extra_of(model))
    facts = _facts(model)
    if as_json:
        print_json(facts)
        return
    if facts.get("training_range"):
        facts["training_range"] = _limits(facts)
    if facts.get("diagnosis"):
        from soundscene.scoring.evaluation import leakage_note

        facts["diagnosis"] = leakage_note(facts)[0]
    members = {f"member {member.pop('name')}": member for member in facts.pop("members", [])}
    sections = members | {f"choices.{name}": value for name, value in facts.pop("choices", {}).items()}
    sections |= {f"recipe.{name}": values for name, values in facts.pop("recipe").items()}
    for key, value in (facts | sections).items():
        shown = _rounded(value) if out.is_terminal else value  # programs get all digits
        text = f"{key:<26}{value if isinstance(value, str) else json.dumps(shown, ensure_ascii=False)}"
        out.print(wrapped(show(" ".join(text.splitlines())), out, indent=26))


def _limits(facts: dict[str, Any]) -> str:
    """Return the line on the range of the training recordings."""
    from soundscene.signal.ranges import TrainingRange

    usual = TrainingRange.from_stored(facts["training_range"])
    assert usual is not None
    limits = usual.limits(facts["recipe"]["audio"]["sample_rate"] / 2)
    return f"of {counted(usual.recordings, 'recording')}; noted: {limits}"


def _rounded(value: Any) -> Any:
    """Return a fact with numbers of four digits, which is what a person reads."""
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(part) for part in value]
    return float(f"{value:.4g}") if isinstance(value, float) and math.isfinite(value) else value


def _facts(model: Path) -> dict[str, Any]:
    if extra_of(model) == "onnx":
        from soundscene.graph_model import load_graph

        return load_graph(model).facts.to_facts()
    saved = load_saved("info", model)
    if saved is not None:
        return saved.facts
    from soundscene.bundle import load_model
    from soundscene.model_facts import model_facts

    return model_facts(load_model(model))
