"""`soundscene timeline`: the scenes of a long recording over time."""

import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from soundscene.cli.options import OUTPUT, HeadOption, ModelArgument, SafeCsvOption
from soundscene.cli.terminal import say, tell
from soundscene.extras import require
from soundscene.texts import show

if TYPE_CHECKING:
    from rich.table import Table


def timeline(
    model: ModelArgument,
    file: Annotated[Path, typer.Argument(readable=False, metavar="FILE", help="Audio file of any length.")],
    stay_s: Annotated[
        float | None, typer.Option("--stay", metavar="SECONDS", help="Expected time in one scene. Default: 120.")
    ] = None,
    form: Annotated[
        Literal["table", "csv", "json", "labels"],
        typer.Option(
            "--format", help="json: one line per span; labels: a label track for Audacity.", rich_help_panel=OUTPUT
        ),
    ] = "table",
    parquet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the rows as Parquet.", rich_help_panel=OUTPUT)
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also draw a .png or .svg.", rich_help_panel=OUTPUT)
    ] = None,
    head: HeadOption = None,
    safe_csv: SafeCsvOption = False,
) -> None:
    """Segment a long recording into scenes over time."""
    if safe_csv and form != "csv":
        raise typer.BadParameter("--safe-csv is for CSV; give --format csv with it")
    require("timeline", "torch", *(["parquet"] if parquet else []), *(["plot"] if picture else []))
    from soundscene import timelines
    from soundscene.cli.tables import print_table
    from soundscene.predictor import load
    from soundscene.types import clock

    predictor = load(model, head)
    stay_s = timelines.DEFAULT_STAY_S if stay_s is None else stay_s
    timelines.check_stay(predictor.model, stay_s)  # all checks come before what may take hours
    if parquet:
        timelines.check_parquet(parquet)
    if picture:
        from soundscene.plotting.svg import check_output
        from soundscene.plotting.timeline_figure import SUFFIXES

        check_output(picture, SUFFIXES)
    result = timelines.timeline(predictor.predict(file), predictor.model, predictor.head, stay_s)
    for note in result.notes:
        tell(f"{result.source}: {note}")
    if form == "table":
        say(f"{result.source}, {clock(result.duration_s)}")
        print_table(_table(timelines.rows(result)), sys.stdout)
    else:
        csv_writer = partial(timelines.write_csv, safe=safe_csv)
        writers = {"csv": csv_writer, "json": timelines.write_json_lines, "labels": timelines.write_labels}
        writers[form](result, sys.stdout)
    if parquet:
        timelines.write_parquet(result, parquet)
    if picture:
        from soundscene.plotting.timeline_figure import draw_timeline

        for note in draw_timeline(result, picture):
            tell(note)


def _table(rows: Iterable[dict[str, Any]]) -> "Table":
    """A row per span."""
    from rich.box import SIMPLE
    from rich.table import Table

    from soundscene.types import clock

    table = Table(box=SIMPLE)
    for name in ("from", "to", "scene", "probability", "change"):
        table.add_column(name, justify="left" if name == "scene" else "right", no_wrap=True)
    for row in rows:
        change = "" if row["change_probability"] is None else f"{row['change_probability']:.2f}"
        table.add_row(clock(row["start_s"]), clock(row["end_s"]), show(row["scene"]), f"{row['probability']:.2f}", change)
    return table
