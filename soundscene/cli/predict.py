"""`soundscene predict`: the scene of one file or of a million, printed, or kept in a folder that a restart goes on with."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from soundscene.cli.options import CORES, JsonOption
from soundscene.cli.terminal import complain, err, tell
from soundscene.errors import SceneError

if TYPE_CHECKING:
    from soundscene.batch.run import BatchStats

BROKEN = 3  # exit code: some files could not be used
_DRAW_S, _LOG_S = 0.2, 60.0  # between two lines of progress, on a terminal and elsewhere

Forms = Literal["table", "csv", "json", "jsonl", "parquet"]


def predict(
    model: Path,
    paths: Annotated[list[str] | None, typer.Argument(help="Files, folders, and globs in quotes.")] = None,
    listed: Annotated[str | None, typer.Option("--from", help="List with a path a line; - is stdin.")] = None,
    form: Annotated[
        Forms | None, typer.Option("--format", help="By default table; with --out csv, with --cluster parquet.")
    ] = None,
    as_json: JsonOption = False,
    head: Annotated[Literal["svm", "softmax"] | None, typer.Option(help="By default the recipe's.")] = None,
    segments: Annotated[bool, typer.Option("--segments", help="The 2-second segments too (csv, json, jsonl).")] = False,
    unknown: Annotated[
        bool, typer.Option("--unknown", help="Say unknown of what the model seems never to have heard.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="Files answered for at a time, on a core each.")] = CORES,
    folder: Annotated[str | None, typer.Option("--out", help="Keep rows there; given again, the run goes on.")] = None,
    shard: Annotated[int, typer.Option(min=1, max=100_000, help="Rows in a file of --out.")] = 1000,
    cluster: Annotated[str | None, typer.Option(help="Ray cluster: auto, local, HOST:PORT. --out may be a URL.")] = None,
) -> None:
    """Name the scene of files and of all files in folders; broken files are named at the end (exit code 3)."""
    if as_json and form not in (None, "json"):
        raise typer.BadParameter(f"--json is --format json and contradicts --format {form}; give one of them")
    form = "json" if as_json else form
    if not paths and listed is None:
        raise SceneError("nothing to predict; give files, folders or globs, or a list of them by --from")
    if folder is None:
        if form == "parquet" or cluster is not None:
            raise SceneError("--format parquet and --cluster write files; give --out FOLDER with them")
        _print(model, paths or [], listed, form or "table", head, segments, unknown, workers)
        return
    if segments or form in ("table", "json"):
        raise SceneError("--out keeps a row per recording as csv, jsonl or parquet; --segments and other forms are printed")
    if unknown:
        raise SceneError("--out keeps the columns unfamiliarity and unknown of every recording; leave --unknown out")
    if cluster is not None:
        if form not in (None, "parquet"):
            raise SceneError(f"--cluster writes Parquet; leave --format {form} out")
        _on_cluster(model, paths or [], listed, head, folder, shard, cluster)
        return
    _keep(model, paths or [], listed, form or "csv", head, workers, folder, shard)


def _print(
    model: Path,
    paths: list[str],
    listed: str | None,
    form: Forms,
    head: str | None,
    segments: bool,
    unknown: bool,
    workers: int,
) -> None:
    """Answers to stdout: csv and jsonl as they come, table and json at the end."""
    from soundscene.cli.tables import PredictionPrinter
    from soundscene.predictor import load

    if segments and form == "table":
        raise typer.BadParameter("--segments needs --format csv or json; the table has one row per file")
    files, _ = _files(paths, listed)
    predictor = load(model, head)  # type: ignore[arg-type]
    if unknown and predictor.unknown_lack:
        tell(predictor.unknown_lack)
    printer = PredictionPrinter(form, segments, sys.stdout, predictor.scenes, unknown)
    broken: list[str] = []
    n_broken = 0
    for path, answer in predictor.predict_each(files, workers):
        if isinstance(answer, SceneError):
            n_broken += 1
            printer.add_broken(str(path), str(answer).removeprefix(f"{path}: "))
            if form != "jsonl":  # there the line is the message
                broken.append(str(answer))
            continue
        for note in answer.notes if form != "jsonl" else ():
            tell(f"{answer.source}: {note}")
        printer.add(answer)
    printer.finish(broken)
    for message in broken:
        complain(message)
    if n_broken:
        complain(f"{n_broken} file(s) could not be used")
        raise typer.Exit(BROKEN)


def _keep(
    model: Path, paths: list[str], listed: str | None, form: Forms, head: str | None, workers: int, out: str, shard: int
) -> None:
    """Rows in shards, on this machine."""
    from soundscene.batch.request import BatchConfig
    from soundscene.batch.run import run_batch
    from soundscene.predictor import load
    from soundscene.timelines import check_parquet

    if "://" in out:
        raise SceneError(f"{out}: rows are kept in a folder; other places need --cluster")
    if form == "parquet":
        check_parquet(Path(out))
    files, total = _files(paths, listed)
    predictor = load(model, head)  # type: ignore[arg-type]
    config = BatchConfig.by(model, predictor, form)  # type: ignore[arg-type]
    with _progress(total) as told:
        tally = run_batch(predictor, config, files, Path(out), shard, workers, told)
    _finish(tally, out)


def _on_cluster(
    model: Path, paths: list[str], listed: str | None, head: str | None, out: str, shard: int, address: str
) -> None:
    """Rows in shards, on a Ray cluster."""
    from soundscene.batch.request import BatchConfig
    from soundscene.predictor import load
    from soundscene.timelines import check_parquet

    check_parquet(Path(out))
    from soundscene.batch.cluster import run_batch_on_cluster  # says what is missing
    from soundscene.batch.places import count_sources, sources
    from soundscene.jobs.ray import reach

    predictor = load(model, head)  # type: ignore[arg-type]
    config = BatchConfig.by(model, predictor, "parquet")
    total = count_sources(paths, listed)
    reach(address)
    with _progress(total) as told:
        tally = run_batch_on_cluster(model, config, sources(paths, listed), out, address, shard, told)
    _finish(tally, out)


def _files(paths: list[str], listed: str | None) -> tuple[Iterator[Path], int | None]:
    """The files, taken as they are needed, and how many; all folders are looked at before the first answer."""
    from soundscene.audio import folders

    for path in paths:
        if "://" in path and not Path(path).exists():
            raise SceneError(f"{path}: files elsewhere than on this machine need --cluster")
    named = [Path(path) for path in paths]
    total: int | None = folders.count_files(named)  # so that a folder without sound loses no answer
    files = folders.sound_files(named)
    if listed is not None:
        more = folders.count_listed(listed)
        total = None if more is None else total + more
        files = chain(files, map(Path, folders.listed(listed)))
    return files, total


@contextmanager
def _progress(total: int | None) -> "Iterator[Callable[[BatchStats], None]]":
    """Progress on stderr: one line that changes on a terminal, a line a minute elsewhere."""
    from soundscene.cli.batch_progress import progress_line

    every_s, last, width = _DRAW_S if err.is_terminal else _LOG_S, time.monotonic(), 0

    def told(tally: "BatchStats") -> None:
        nonlocal last, width
        if time.monotonic() - last < every_s:
            return
        last = time.monotonic()
        line = progress_line(tally, total)
        sys.stderr.write(f"\r{line:<{width}}" if err.is_terminal else f"{line}\n")
        sys.stderr.flush()
        width = len(line)

    try:
        yield told
    finally:
        if width and err.is_terminal:
            sys.stderr.write("\r" + " " * width + "\r")


def _finish(tally: "BatchStats", out: str) -> None:
    """A line on what was done, and exit code 3 where rows hold errors."""
    from soundscene.cli.batch_progress import summary_line

    err.print(summary_line(tally, out))
    if tally.broken:
        complain(f"{tally.broken} file(s) could not be used; the column error says why")
        raise typer.Exit(BROKEN)
