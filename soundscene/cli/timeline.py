"""`soundscene timeline`: which scene a long recording was in when."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.box import SIMPLE
from rich.table import Table

from soundscene.cli.terminal import out, tell


def timeline(
    model: Path,
    file: Path,
    stay_s: Annotated[float | None, typer.Option("--stay", help="Expected seconds in one scene; by default 120.")] = None,
    form: Annotated[
        Literal["table", "csv", "json", "labels"],
        typer.Option("--format", help="How to print; json: a line per span, labels: a label track for Audacity."),
    ] = "table",
    parquet: Annotated[Path | None, typer.Option(help="Write the rows as Parquet too.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw too, as .png or .svg.")] = None,
    head: Annotated[Literal["svm", "softmax"] | None, typer.Option(help="By default the recipe's.")] = None,
) -> None:
    """Tell when a recording of any length was in which scene, and how sure each change is."""
    from soundscene import timelines as lines
    from soundscene.cli.tables import print_table
    from soundscene.predictor import load
    from soundscene.types import clock

    predictor = load(model, head)
    stay_s = lines.DEFAULT_STAY_S if stay_s is None else stay_s
    lines.check_stay(predictor.bundle, stay_s)  # all checks come before hours of listening
    if parquet:
        lines.check_parquet(parquet)
    if picture:
        from soundscene.plotting.timeline_figure import picture_form

        picture_form(picture)
    found = lines.timeline(predictor.predict(file), predictor.bundle, predictor.head, stay_s)
    for note in found.notes:
        tell(f"{found.source}: {note}")
    if form == "table":
        out.print(f"{found.source}, {clock(found.duration_s)}")
        print_table(_table(lines.rows(found)), sys.stdout)
    else:
        {"csv": lines.write_csv, "json": lines.write_json_lines, "labels": lines.write_labels}[form](found, sys.stdout)
    if parquet:
        lines.write_parquet(found, parquet)
    if picture:
        from soundscene.plotting.timeline_figure import timeline_picture

        timeline_picture(found, picture)


def _table(rows: Iterable[dict[str, Any]]) -> Table:
    """A row per span."""
    from soundscene.types import clock

    columns = Table(box=SIMPLE)
    for name in ("from", "to", "scene", "probability", "change"):
        columns.add_column(name, justify="left" if name == "scene" else "right", no_wrap=True)
    for row in rows:
        sure = "" if row["change_probability"] is None else f"{row['change_probability']:.2f}"
        columns.add_row(clock(row["start_s"]), clock(row["end_s"]), row["scene"], f"{row['probability']:.2f}", sure)
    return columns
