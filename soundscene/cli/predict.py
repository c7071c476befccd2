"""`soundscene predict`: scenes of one file or of a million, printed, or written to a folder.

A call is a source, a predictor and a sink. `read_sink` turns the options into one of three sinks, and refuses those that
do not go together; `run` then needs no more checks.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from soundscene.audio.folders import FolderSearch
from soundscene.cli.models import check_model, load_predictor
from soundscene.cli.options import (
    COMPUTE,
    CORES,
    INPUT,
    OUTPUT,
    AnyModelArgument,
    HeadOption,
    ParallelOption,
    PredictDeviceOption,
    SafeCsvOption,
    extra_of,
)
from soundscene.cli.sinks import ClusterShards, Form, OneFile, Printed, Recordings, Shards, Sink, read_sink
from soundscene.cli.terminal import UNREADABLE, bar, complain, err, tell
from soundscene.errors import SceneError
from soundscene.extras import require
from soundscene.texts import show

if TYPE_CHECKING:
    from soundscene.batch.run import BatchStats
    from soundscene.cli.rows import RowWriter
    from soundscene.cli.tables import PredictionPrinter
    from soundscene.predictor import Predictor
    from soundscene.systems.saved import SavedSystem

_DRAW_S, _LOG_S = 0.2, 60.0  # between two lines of progress, on a terminal and elsewhere


def predict(
    model: AnyModelArgument,
    paths: Annotated[list[str] | None, typer.Argument(metavar="PATH", help="Files, folders, and globs in quotes.")] = None,
    listed: Annotated[
        str | None,
        typer.Option("--from", metavar="FILE", help="File with one path per line; - for stdin.", rich_help_panel=INPUT),
    ] = None,
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
        typer.Option("--segments", help="Include the 2-second segments (csv, json, jsonl).", rich_help_panel=OUTPUT),
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

    Unreadable files and folders are listed at the end (exit code 3).
    """
    sink = read_sink(form, as_json, segments, unknown, folder, shard, cluster, safe_csv)
    if not paths and listed is None:
        raise SceneError("nothing to predict; give files, folders or globs, or a list of them by --from")
    check_model("predict", model, paths or ())
    run(Recordings(tuple(paths or ()), listed), model, head, sink, workers, device)


def run(
    source: Recordings,
    model: Path,
    head: Literal["svm", "softmax"] | None,
    sink: Sink,
    workers: int,
    device: str = "cpu",
) -> None:
    """Predict all of a source into a sink.

    Args:
        source: What to predict.
        model: Model file.
        head: Classifier; by default the recipe's choice.
        sink: Where predictions go.
        workers: Number of parallel workers on this machine.
        device: Where networks compute, as in `compute.place`.

    Raises:
        SceneError: The source or the model cannot be used, or an extra is missing.
        typer.Exit: With exit code 3, where some files could not be used.
    """
    match sink:
        case Printed():
            require("predict", extra_of(model))
            _print(source, lambda: _load(model, head, device), sink, workers)
        case OneFile():
            require("predict", extra_of(model), *(["parquet"] if sink.form == "parquet" else []))
            _write_one(source, lambda: _load(model, head, device), sink, workers)
        case Shards():
            require("predict", extra_of(model), *(["parquet"] if sink.form == "parquet" else []))
            _write(source, model, head, sink, workers, device)
        case ClusterShards():
            require("predict --cluster", "ray")
            if extra_of(model) != "torch":
                raise SceneError(f"{model}: --cluster predicts with a model file (.safetensors), not with an exported one")
            _write_on_cluster(source, model, head, sink)


def _load(model: Path, head: Literal["svm", "softmax"] | None, device: str = "cpu") -> "Predictor | SavedSystem":
    if extra_of(model) == "onnx":
        return load_predictor(model, head, device)
    from soundscene.bundle import is_system

    if is_system(model):
        require("predict", "experiment")
        from soundscene.systems.saved import load_system

        return load_system(model).checked(model, head)
    return load_predictor(model, head, device)


def _load_model(model: Path, head: Literal["svm", "softmax"] | None, device: str = "cpu") -> "Predictor":
    if extra_of(model) == "onnx":
        return load_predictor(model, head, device)
    from soundscene.bundle import is_system

    if is_system(model):
        raise SceneError(f"{model}: predictions of a saved system are printed or go to one file; leave --cluster out")
    return load_predictor(model, head, device)


def _print(source: Recordings, loaded: "Callable[[], Predictor | SavedSystem]", sink: Printed, workers: int) -> None:
    """Predictions to stdout: csv and jsonl as they come, table and json at the end."""
    from soundscene.cli.tables import PredictionPrinter

    rows_are_progress = sink.form in ("csv", "jsonl") and sys.stdout.isatty()
    with bar("predicting", not rows_are_progress, at_once=True) as progress:
        predictor = loaded()
        printer = PredictionPrinter(sink.form, sink.segments, sys.stdout, predictor.scenes, sink.unknown, sink.safe_csv)
        left_out = _predict_all(source, predictor, sink, workers, printer, progress)
    printer.finish(left_out.messages)
    left_out.tell()


def _write_one(source: Recordings, loaded: "Callable[[], Predictor | SavedSystem]", sink: OneFile, workers: int) -> None:
    """Predictions to one file, which is whole or absent."""
    from soundscene.cli.rows import RowWriter
    from soundscene.files import atomic_path

    with bar("predicting", at_once=True) as progress:
        predictor = loaded()
        sink.path.parent.mkdir(parents=True, exist_ok=True)
        choices = (sink.segments, predictor.scenes, sink.unknown, sink.safe_csv)
        with atomic_path(sink.path) as unfinished, RowWriter(unfinished, sink.form, *choices) as writer:
            left_out = _predict_all(source, predictor, sink, workers, writer, progress)
    err.print(show(f"{sink.path}: {writer.n_recordings:,} recordings, {writer.n_rows:,} rows"))
    left_out.tell()


@dataclass(frozen=True)
class _LeftOut:
    """What of a source has no prediction."""

    messages: list[str]
    n_unreadable: int
    search: FolderSearch

    def tell(self) -> None:
        """Print it; exit with 3 where there is any."""
        for message in self.messages:
            complain(message)
        if self.n_unreadable:
            complain(f"{self.n_unreadable} file(s) could not be used")
        _tell_folders(self.search)
        if self.n_unreadable or self.search.unreadable:
            raise typer.Exit(UNREADABLE)


def _predict_all(
    source: Recordings,
    predictor: "Predictor | SavedSystem",
    sink: Printed | OneFile,
    workers: int,
    printer: "PredictionPrinter | RowWriter",
    progress: Callable[..., None],
) -> _LeftOut:
    """Predict all files of a source; notes are printed as they come, errors are kept for the end."""
    search = FolderSearch()
    files, total = _files(source, search)
    if sink.unknown and predictor.why_unknown_unavailable:
        tell(predictor.why_unknown_unavailable)
    lines = sink.form == "jsonl" and isinstance(sink, Printed)  # there the line is the message
    messages: list[str] = []
    n_unreadable = 0
    for done, (path, prediction) in enumerate(predictor.predict_each(files, workers), 1):
        if isinstance(prediction, SceneError):
            n_unreadable += 1
            printer.add_unreadable(str(path), str(prediction).removeprefix(f"{path}: "))
            if not lines:
                messages.append(str(prediction))
        else:
            for note in prediction.notes if not lines else ():
                tell(f"{prediction.source}: {note}")
            printer.add(prediction)
        if total is not None:
            progress(done, total)
    return _LeftOut(messages, n_unreadable, search)


def _write(
    source: Recordings, model: Path, head: Literal["svm", "softmax"] | None, sink: Shards, workers: int, device: str
) -> None:
    """Rows in shards, on this machine."""
    from soundscene.batch.folder import BatchConfig
    from soundscene.batch.run import run_batch

    search = FolderSearch()
    files, total = _files(source, search)
    predictor = _load_model(model, head, device)
    config = BatchConfig.of_model(model, predictor, sink.form, sink.safe_csv)
    with _progress(total) as progress:
        stats = run_batch(predictor, config, files, sink.folder, sink.rows, workers, progress)
    _finish(stats, str(sink.folder), search)


def _write_on_cluster(source: Recordings, model: Path, head: Literal["svm", "softmax"] | None, sink: ClusterShards) -> None:
    """Rows in shards, on a Ray cluster."""
    from soundscene.batch.cluster import run_batch_on_cluster
    from soundscene.batch.folder import BatchConfig
    from soundscene.batch.sources import count_sources, sources

    predictor = _load_model(model, head)
    config = BatchConfig.of_model(model, predictor, "parquet")
    total, search = count_sources(source.paths, source.list_from), FolderSearch()
    with _progress(total) as progress:
        paths = sources(source.paths, source.list_from, search)
        stats = run_batch_on_cluster(model, config, paths, sink.place, sink.address, sink.rows, progress)
    _finish(stats, sink.place, search)


def _files(source: Recordings, search: FolderSearch) -> tuple[Iterator[Path], int | None]:
    """The files, listed as they are needed, and their number; all folders are searched before the first prediction."""
    from soundscene.audio import folders

    for path in source.paths:
        if "://" in path and not os.path.exists(path):
            raise SceneError(f"{path}: files elsewhere than on this machine need --cluster")
    paths = [Path(path) for path in source.paths]
    total: int | None = folders.count_files(paths)  # so that a folder without audio loses no prediction
    files = folders.sound_files(paths, search)
    if source.list_from is not None:
        more = folders.count_listed(source.list_from)
        total = None if more is None else total + more
        files = chain(files, map(Path, folders.listed(source.list_from)))
    return files, total


@contextmanager
def _progress(total: int | None) -> "Iterator[Callable[[BatchStats], None]]":
    """Progress on stderr: one line that changes on a terminal, a line a minute elsewhere."""
    from soundscene.cli.progress import batch_line

    every_s, last, width = _DRAW_S if err.is_terminal else _LOG_S, time.monotonic(), 0

    def show(stats: "BatchStats") -> None:
        nonlocal last, width
        if time.monotonic() - last < every_s:
            return
        last = time.monotonic()
        line = batch_line(stats, total)
        sys.stderr.write(f"\r{line:<{width}}" if err.is_terminal else f"{line}\n")
        sys.stderr.flush()
        width = len(line)

    try:
        yield show
    finally:
        if width and err.is_terminal:
            sys.stderr.write("\r" + " " * width + "\r")


def _tell_folders(search: FolderSearch) -> None:
    """Print what of the folders is left out."""
    for note in search.not_followed:
        tell(note)
    for error in search.unreadable:
        complain(error)


def _finish(stats: "BatchStats", place: str, search: FolderSearch) -> None:
    """Print a line on what was done; exit with 3 where rows hold errors, or a folder could not be read."""
    from soundscene.cli.progress import batch_summary
    from soundscene.recipe import FRONT_END

    err.print(show(batch_summary(stats, place)))
    if stats.front_end < FRONT_END:
        tell(f"{place}: begun with front-end {stats.front_end} of an earlier soundscene, and continued with it")
    if stats.broken:
        complain(f"{stats.broken} file(s) could not be used; the column error says why")
    _tell_folders(search)
    if stats.broken or search.unreadable:
        raise typer.Exit(UNREADABLE)
