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
from soundscene.cli.options import COMPUTE, CORES, INPUT, OUTPUT, HeadOption, ModelArgument, SafeCsvOption
from soundscene.cli.terminal import UNREADABLE, complain, err, tell
from soundscene.errors import SceneError
from soundscene.extras import require
from soundscene.texts import show

if TYPE_CHECKING:
    from soundscene.batch.run import BatchStats
    from soundscene.predictor import Predictor

_DRAW_S, _LOG_S = 0.2, 60.0  # between two lines of progress, on a terminal and elsewhere

PrintForm = Literal["table", "csv", "json", "jsonl"]
ShardForm = Literal["csv", "jsonl", "parquet"]
Form = Literal["table", "csv", "json", "jsonl", "parquet"]


@dataclass(frozen=True)
class Recordings:
    """What to predict: files, folders and globs, and a list of paths, a file or "-" for stdin."""

    paths: tuple[str, ...]
    list_from: str | None


@dataclass(frozen=True)
class Printed:
    """Predictions go to stdout."""

    form: PrintForm
    segments: bool
    unknown: bool
    safe_csv: bool = False


@dataclass(frozen=True)
class Shards:
    """Predictions go to a folder of this machine, as files of some rows each."""

    folder: Path
    form: ShardForm
    rows: int
    safe_csv: bool = False


@dataclass(frozen=True)
class ClusterShards:
    """A Ray cluster predicts and writes Parquet files, to a folder or a URL."""

    place: str
    rows: int
    address: str


Sink = Printed | Shards | ClusterShards


def predict(
    model: ModelArgument,
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="PATH...", help="Files, folders, and globs in quotes.")
    ] = None,
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
    workers: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="Number of parallel workers (default: all cores).",
            show_default=False,
            rich_help_panel=COMPUTE,
        ),
    ] = CORES,
    folder: Annotated[
        str | None,
        typer.Option(
            "--out", metavar="FOLDER", help="Write results to this folder. Rerun to resume.", rich_help_panel=OUTPUT
        ),
    ] = None,
    shard: Annotated[
        int, typer.Option(min=1, max=100_000, metavar="N", help="Rows per file of --out.", rich_help_panel=OUTPUT)
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
) -> None:
    """Classify audio files and folders.

    Unreadable files and folders are listed at the end (exit code 3).
    """
    sink = read_sink(form, as_json, segments, unknown, folder, shard, cluster, safe_csv)
    if not paths and listed is None:
        raise SceneError("nothing to predict; give files, folders or globs, or a list of them by --from")
    run(Recordings(tuple(paths or ()), listed), model, head, sink, workers)


def read_sink(
    form: Form | None,
    as_json: bool,
    segments: bool,
    unknown: bool,
    folder: str | None,
    rows: int,
    cluster: str | None,
    safe_csv: bool = False,
) -> Sink:
    """Make the options one sink.

    Args:
        form: Form of the rows; by default that of the sink.
        as_json: Whether JSON is wanted, in place of a form.
        segments: Whether segments are wanted.
        unknown: Whether out-of-distribution recordings are to be labelled.
        folder: Folder or URL for files; by default rows are printed.
        rows: Rows per file.
        cluster: Address of a Ray cluster; by default this machine predicts.
        safe_csv: Whether no cell of csv may be taken for a formula.

    Raises:
        SceneError: The options do not go together.
        typer.BadParameter: Options that print do not go together.
    """
    if as_json and form not in (None, "json"):
        raise typer.BadParameter(f"--json is --format json and contradicts --format {form}; give one of them")
    form = "json" if as_json else form
    if safe_csv and (form or ("csv" if folder is not None and cluster is None else "table")) != "csv":
        raise typer.BadParameter("--safe-csv is for CSV; give --format csv with it")
    if folder is None:
        if form == "parquet" or cluster is not None:
            raise SceneError("--format parquet and --cluster write files; give --out FOLDER with them")
        if segments and form in (None, "table"):
            raise typer.BadParameter("--segments needs --format csv or json; the table has one row per file")
        return Printed(form or "table", segments, unknown, safe_csv)
    if segments or form in ("table", "json"):
        raise SceneError("--out writes a row per recording as csv, jsonl or parquet; --segments and other forms are printed")
    if unknown:
        raise SceneError("--out writes the columns unfamiliarity and unknown for every recording; leave --unknown out")
    if cluster is not None:
        if form not in (None, "parquet"):
            raise SceneError(f"--cluster writes Parquet; leave --format {form} out")
        return ClusterShards(folder, rows, cluster)
    if "://" in folder:
        raise SceneError(f"{folder}: results are written to a folder; other places need --cluster")
    return Shards(Path(folder), form or "csv", rows, safe_csv)


def run(source: Recordings, model: Path, head: Literal["svm", "softmax"] | None, sink: Sink, workers: int) -> None:
    """Predict all of a source into a sink.

    Args:
        source: What to predict.
        model: Model file.
        head: Classifier; by default the recipe's choice.
        sink: Where predictions go.
        workers: Number of parallel workers on this machine.

    Raises:
        SceneError: The source or the model cannot be used, or an extra is missing.
        typer.Exit: With exit code 3, where some files could not be used.
    """
    match sink:
        case Printed():
            require("predict", "torch")
            _print(source, _load(model, head), sink, workers)
        case Shards():
            require("predict", "torch", *(["parquet"] if sink.form == "parquet" else []))
            _write(source, model, head, sink, workers)
        case ClusterShards():
            require("predict --cluster", "ray")
            _write_on_cluster(source, model, head, sink)


def _load(model: Path, head: Literal["svm", "softmax"] | None) -> "Predictor":
    from soundscene.predictor import load

    return load(model, head)


def _print(source: Recordings, predictor: "Predictor", sink: Printed, workers: int) -> None:
    """Predictions to stdout: csv and jsonl as they come, table and json at the end."""
    from soundscene.cli.tables import PredictionPrinter

    search = FolderSearch()
    files, _ = _files(source, search)
    if sink.unknown and predictor.why_unknown_unavailable:
        tell(predictor.why_unknown_unavailable)
    printer = PredictionPrinter(sink.form, sink.segments, sys.stdout, predictor.scenes, sink.unknown, sink.safe_csv)
    messages: list[str] = []
    n_unreadable = 0
    for path, prediction in predictor.predict_each(files, workers):
        if isinstance(prediction, SceneError):
            n_unreadable += 1
            printer.add_unreadable(str(path), str(prediction).removeprefix(f"{path}: "))
            if sink.form != "jsonl":  # there the line is the message
                messages.append(str(prediction))
            continue
        for note in prediction.notes if sink.form != "jsonl" else ():
            tell(f"{prediction.source}: {note}")
        printer.add(prediction)
    printer.finish(messages)
    for message in messages:
        complain(message)
    if n_unreadable:
        complain(f"{n_unreadable} file(s) could not be used")
    _tell_folders(search)
    if n_unreadable or search.unreadable:
        raise typer.Exit(UNREADABLE)


def _write(source: Recordings, model: Path, head: Literal["svm", "softmax"] | None, sink: Shards, workers: int) -> None:
    """Rows in shards, on this machine."""
    from soundscene.batch.folder import BatchConfig
    from soundscene.batch.run import run_batch

    search = FolderSearch()
    files, total = _files(source, search)
    predictor = _load(model, head)
    config = BatchConfig.of_model(model, predictor, sink.form, sink.safe_csv)
    with _progress(total) as progress:
        stats = run_batch(predictor, config, files, sink.folder, sink.rows, workers, progress)
    _finish(stats, str(sink.folder), search)


def _write_on_cluster(source: Recordings, model: Path, head: Literal["svm", "softmax"] | None, sink: ClusterShards) -> None:
    """Rows in shards, on a Ray cluster."""
    from soundscene.batch.cluster import run_batch_on_cluster
    from soundscene.batch.folder import BatchConfig
    from soundscene.batch.sources import count_sources, sources

    predictor = _load(model, head)
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
