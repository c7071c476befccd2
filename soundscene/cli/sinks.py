"""Where predictions go: stdout, one file, a folder of shards, or a cluster's shards; read from the options of `predict`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import typer

from soundscene.cli.outputs import ONE_FILE, FileForm, is_one_file, refuse_other_file
from soundscene.errors import SceneError

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
class OneFile:
    """Predictions go to one file, with the columns of `--format csv`."""

    path: Path
    form: FileForm
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


Sink = Printed | OneFile | Shards | ClusterShards


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
    if folder is not None:
        refuse_other_file(folder)
    if folder is not None and cluster is None and is_one_file(folder):
        return _one_file(Path(folder), form, segments, unknown, safe_csv)
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


def _one_file(path: Path, form: Form | None, segments: bool, unknown: bool, safe_csv: bool) -> OneFile:
    """Make a file the sink; its suffix decides the form."""
    suffix = path.suffix.lower()
    if form not in (None, ONE_FILE[suffix]):
        raise SceneError(f"--out {path} is {ONE_FILE[suffix]} by its suffix and contradicts --format {form}; leave one out")
    if safe_csv and suffix != ".csv":
        raise typer.BadParameter("--safe-csv is for CSV; name the file .csv with it")
    return OneFile(path, ONE_FILE[suffix], segments, unknown, safe_csv)
