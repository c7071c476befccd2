"""`soundscene embed`: one vector per recording, for search, clustering and other classifiers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from soundscene.cli.models import check_model, load_predictor
from soundscene.cli.options import (
    CORES,
    OUTPUT,
    AnyModelArgument,
    ListOption,
    ParallelOption,
    PredictDeviceOption,
    SafeCsvOption,
    extra_of,
)
from soundscene.cli.outputs import keep_inputs
from soundscene.cli.sources import LeftOut, files_of, recordings_of
from soundscene.cli.terminal import bar, err
from soundscene.errors import SceneError
from soundscene.extras import require
from soundscene.texts import show

if TYPE_CHECKING:
    import numpy as np


def embed(
    model: AnyModelArgument,
    paths: Annotated[list[str] | None, typer.Argument(metavar="PATH", help="Files, folders, and globs in quotes.")] = None,
    place: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="File to write: .npy, .parquet or .csv.", rich_help_panel=OUTPUT),
    ] = None,
    listed: ListOption = None,
    member: Annotated[
        str | None, typer.Option(metavar="NAME", help="Member of the model. Default: all, one after the other.")
    ] = None,
    workers: ParallelOption = CORES,
    safe_csv: SafeCsvOption = False,
    device: PredictDeviceOption = "cpu",
) -> None:
    """Write one vector per recording to a file.

    It is what the heads of a model read, the mean over the segments.

    The column path names each row; of X.npy it is in X.paths.csv.

    Unreadable files and folders are listed at the end (exit code 3).
    """
    if place is None:
        raise typer.BadParameter("--out FILE is needed: a .npy, .parquet or .csv", param_hint="--out")
    source = recordings_of("embed", paths or (), listed)
    parquet = place.suffix.lower() == ".parquet"
    require("embed", extra_of(model), *(["parquet"] if parquet else []))
    check_model("embed", model, paths or (), ("--out", place))
    from soundscene.audio.folders import FolderSearch
    from soundscene.batch.embeddings import check_suffix, join_embeddings, paths_beside

    check_suffix(place)
    beside = paths_beside(place) if place.suffix.lower() == ".npy" else None
    keep_inputs({"--out": place, f"--out {place} also writes": beside}, [model, *(paths or ()), listed])
    search, rows, messages = FolderSearch(), list["tuple[str, np.ndarray]"](), list[str]()
    files, total = files_of(source, search)
    with bar("embedding", at_once=True) as progress:
        import numpy as np

        predictor = load_predictor(model, None, device)
        chosen = predictor.members_named(member)
        for done, (path, found) in enumerate(predictor.embed_each(files, workers), 1):
            if isinstance(found, SceneError):
                messages.append(str(found))
            else:
                rows.append((str(path), np.concatenate([found[i] for i in chosen])))
            if total is not None:
                progress(done, total)
    if rows:
        table = join_embeddings(rows)
        table.write(place, safe_csv)
        err.print(show(f"{place}: {len(rows):,} recordings, {table.vectors.shape[1]} values each"))
    else:
        err.print(show(f"{place}: not written, because no recording could be read"))
    LeftOut(messages, len(messages), search).tell()
