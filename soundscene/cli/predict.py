"""`soundscene predict`: scenes of one file or of a million, printed, or written to a folder.

A call is a source, a predictor and a sink. `read_sink` turns the options into one of three sinks, and refuses those that
do not go together; `run` then needs no more checks.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from soundscene.audio.folders import FolderSearch
from soundscene.cli.loaded import LoadedModels, load_models
from soundscene.cli.models import check_model, leading_models, load_predictor
from soundscene.cli.options import (
    COMPUTE,
    CORES,
    OUTPUT,
    AnyModelArgument,
    HeadOption,
    ListOption,
    ParallelOption,
    PredictDeviceOption,
    SafeCsvOption,
    extra_of,
)
from soundscene.cli.outputs import keep_inputs
from soundscene.cli.sinks import ClusterShards, Form, OneFile, Printed, Recordings, Shards, Sink, read_sink
from soundscene.cli.sources import LeftOut, files_of, recordings_of, tell_folders
from soundscene.cli.terminal import UNREADABLE, bar, complain, err, tell
from soundscene.errors import SceneError
from soundscene.extras import require
from soundscene.texts import counted, show

if TYPE_CHECKING:
    from soundscene.batch.run import BatchStats
    from soundscene.cli.rows import RowWriter
    from soundscene.cli.tables import PredictionPrinter
    from soundscene.predictor import Predictor

_LOG_S = 60.0  # between two lines of progress where there is no terminal


def predict(
    model: AnyModelArgument,
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="PATH", help="Files, folders, and globs in quotes; further MODELs before them."),
    ] = None,
    listed: ListOption = None,
    form: Annotated[
        Form | None,
        typer.Option(
            "--format",
            metavar="FORM",
            help="table, csv, json, jsonl or parquet. Default: table; csv with --out, parquet with --cluster.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.", rich_help_panel=OUTPUT)] = False,
    head: HeadOption = None,
    segments: Annotated[
        bool,
        typer.Option(
            "--segments", help="Include the segments of each recording (csv, json, jsonl).", rich_help_panel=OUTPUT
        ),
    ] = False,
    unknown: Annotated[
        bool, typer.Option("--unknown", help="Label out-of-distribution recordings as unknown.", rich_help_panel=OUTPUT)
    ] = False,
    workers: ParallelOption = CORES,
    folder: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="PLACE",
            help="One file (.csv, .jsonl, .parquet), or a folder of shards: rerun to resume.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    shard: Annotated[
        int, typer.Option(min=1, max=100_000, metavar="N", help="Rows per file of a folder.", rich_help_panel=OUTPUT)
    ] = 1000,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Ray cluster: auto, local or HOST:PORT. --out may then be a URL.",
            rich_help_panel=COMPUTE,
        ),
    ] = None,
    safe_csv: SafeCsvOption = False,
    device: PredictDeviceOption = "cpu",
) -> None:
    """Classify audio files and folders.

    Several MODELs (predict A.safetensors B.safetensors PATH) read each file once; rows name the model.

    Unreadable files and folders are listed at the end (exit code 3).
    """
    sink = read_sink(form, as_json, segments, unknown, folder, shard, cluster, safe_csv)
    check_model("predict", model, paths or ())
    if isinstance(sink, OneFile):
        keep_inputs({"--out": sink.path}, [model, *(paths or ()), listed])
    more, sounds = leading_models(paths or ())
    run(recordings_of("predict", sounds, listed), (model, *more), head, sink, workers, device)


def run(
    source: Recordings,
    models: Sequence[Path],
    head: Literal["svm", "softmax"] | None,
    sink: Sink,
    workers: int,
    device: str = "cpu",
) -> None:
    """Predict all of a source into a sink.

    Args:
        source: What to predict.
        models: Model files, one or several.
        head: Classifier; by default the recipe's choice.
        sink: Where predictions go.
        workers: Number of parallel workers on this machine.
        device: Where networks compute, as in `compute.place`.

    Raises:
        SceneError: The source or the model cannot be used, or an extra is missing.
        typer.Exit: With exit code 3, where some files could not be used.
    """
    extras = tuple(dict.fromkeys(map(extra_of, models)))
    model = models[0]
    if len(models) > 1 and isinstance(sink, Shards | ClusterShards):
        raise SceneError(
            "several models: rows are printed, or go to one file (.csv, .jsonl, .parquet); leave the folder out"
        )
    match sink:
        case Printed():
            require("predict", *extras)
            _print(source, lambda: load_models(models, head, device), sink, workers)
        case OneFile():
            require("predict", *extras, *(["parquet"] if sink.form == "parquet" else []))
            _write_one(source, lambda: load_models(models, head, device), sink, workers)
        case Shards():
            require("predict", *extras, *(["parquet"] if sink.form == "parquet" else []))
            _write(source, model, head, sink, workers, device)
        case ClusterShards():
            require("predict --cluster", "ray")
            if extra_of(model) != "torch":
                raise SceneError(f"{model}: --cluster predicts with a model file (.safetensors), not with an exported one")
            _write_on_cluster(source, model, head, sink)


def _load_model(model: Path, head: Literal["svm", "softmax"] | None, device: str = "cpu") -> "Predictor":
    if extra_of(model) == "onnx":
        return load_predictor(model, head, device)
    from soundscene.bundle import is_system

    if is_system(model):
        raise SceneError(f"{model}: predictions of a saved system are printed or go to one file; leave --cluster out")
    return load_predictor(model, head, device)


def _print(source: Recordings, loaded: Callable[[], LoadedModels], sink: Printed, workers: int) -> None:
    """Predictions to stdout: csv and jsonl as they come, table and json at the end."""
    from soundscene.cli.tables import PredictionPrinter

    rows_are_progress = sink.form in ("csv", "jsonl") and sys.stdout.isatty()
    with bar("predicting", not rows_are_progress, at_once=True) as progress:
        models = loaded()
        choices = (models.scenes, sink.unknown, sink.safe_csv, models.several)
        printer = PredictionPrinter(sink.form, sink.segments, sys.stdout, *choices)
        left_out = _predict_all(source, models, sink, workers, printer, progress)
    printer.finish(left_out.messages)
    left_out.tell()


def _write_one(source: Recordings, loaded: Callable[[], LoadedModels], sink: OneFile, workers: int) -> None:
    """Predictions to one file, which is whole or absent."""
    from soundscene.cli.rows import RowWriter
    from soundscene.files import atomic_path

    with bar("predicting", at_once=True) as progress:
        models = loaded()
        sink.path.parent.mkdir(parents=True, exist_ok=True)
        choices = (sink.segments, models.scenes, sink.unknown, sink.safe_csv, models.several)
        with atomic_path(sink.path) as unfinished, RowWriter(unfinished, sink.form, *choices) as writer:
            left_out = _predict_all(source, models, sink, workers, writer, progress)
    err.print(show(f"{sink.path}: {writer.n_recordings:,} recordings, {writer.n_rows:,} rows"))
    left_out.tell()


def _predict_all(
    source: Recordings,
    models: LoadedModels,
    sink: Printed | OneFile,
    workers: int,
    printer: "PredictionPrinter | RowWriter",
    progress: Callable[..., None],
) -> LeftOut:
    """Predict all files of a source; notes are printed as they come, errors are kept for the end."""
    search = FolderSearch()
    files, total = files_of(source, search)
    for why in models.why_unknown_unavailable if sink.unknown else ():
        tell(why)
    lines = sink.form == "jsonl" and isinstance(sink, Printed)  # there the line is the message
    messages: list[str] = []
    n_unreadable = 0
    for done, (path, results) in enumerate(models.results(files, workers), 1):
        failures = models.failures(path, results)
        n_unreadable += bool(failures)
        for name, reason, message in failures:
            printer.add_unreadable(str(path), reason, name)
            if not lines:
                messages.append(message)
        found = [(n, p) for n, p in zip(models.names, results, strict=True) if not isinstance(p, SceneError)]
        for note in dict.fromkeys(note for _, p in found for note in p.notes) if not lines else ():
            tell(f"{path}: {note}")
        for name, prediction in found:
            printer.add(prediction, name if models.several else None)
        if total is not None:
            progress(done, total)
    return LeftOut(messages, n_unreadable, search)


def _write(
    source: Recordings, model: Path, head: Literal["svm", "softmax"] | None, sink: Shards, workers: int, device: str
) -> None:
    """Rows in shards, on this machine."""
    from soundscene.batch.folder import BatchConfig
    from soundscene.batch.run import run_batch

    search = FolderSearch()
    files, total = files_of(source, search)
    with _progress(total) as progress:
        predictor = _load_model(model, head, device)
        config = BatchConfig.of_model(model, predictor, sink.form, sink.safe_csv)
        stats = run_batch(predictor, config, files, sink.folder, sink.rows, workers, progress)
    _finish(stats, str(sink.folder), search)


def _write_on_cluster(source: Recordings, model: Path, head: Literal["svm", "softmax"] | None, sink: ClusterShards) -> None:
    """Rows in shards, on a Ray cluster."""
    from soundscene.batch.cluster import run_batch_on_cluster
    from soundscene.batch.folder import BatchConfig
    from soundscene.batch.sources import count_sources, sources

    total, search = count_sources(source.paths, source.list_from), FolderSearch()
    with _progress(total) as progress:
        predictor = _load_model(model, head)
        config = BatchConfig.of_model(model, predictor, "parquet")
        paths = sources(source.paths, source.list_from, search)
        stats = run_batch_on_cluster(model, config, paths, sink.place, sink.address, sink.rows, progress)
    _finish(stats, sink.place, search)


@contextmanager
def _progress(total: int | None) -> "Iterator[Callable[[BatchStats], None]]":
    """Progress on stderr: a bar on a terminal, a line a minute elsewhere.

    Args:
        total: Number of paths, where it is known.
    """
    from soundscene.cli.progress import batch_line, batch_note, time_left_s

    last = time.monotonic()

    def print_line(stats: "BatchStats") -> None:
        nonlocal last
        if time.monotonic() - last >= _LOG_S:
            last = time.monotonic()
            err.print(batch_line(stats, total))

    if not err.is_terminal:
        yield print_line
        return
    with bar("predicting", at_once=True) as update:
        yield lambda stats: update(stats.rows + stats.skipped, total, batch_note(stats, total), time_left_s(stats, total))


def _finish(stats: "BatchStats", place: str, search: FolderSearch) -> None:
    """Print a line on what was done; exit with 3 where rows hold errors, or a folder could not be read."""
    from soundscene.cli.progress import batch_summary
    from soundscene.recipe import FRONT_END

    err.print(show(batch_summary(stats, place)))
    if stats.front_end < FRONT_END:
        tell(f"{place}: begun with front-end {stats.front_end} of an earlier soundscene, and continued with it")
    if stats.broken:
        complain(f"{counted(stats.broken, 'file')} could not be used; the column error says why")
    tell_folders(search)
    if stats.broken or search.unreadable:
        raise typer.Exit(UNREADABLE)
