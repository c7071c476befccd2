"""`soundscene budget`: parameters, bytes and products of a model, against the limits of DCASE; and what 8 bits cost."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from soundscene.cli.corpus import open_corpus
from soundscene.cli.models import check_model
from soundscene.cli.options import CORES, ColumnsOption, HeadOption, ModelArgument, TestOption, WorkersOption
from soundscene.cli.terminal import bar, say, tell
from soundscene.extras import require

if TYPE_CHECKING:
    from soundscene.export.int8 import Int8Cost
    from soundscene.model import Model
    from soundscene.types import Head


def budget(
    model: ModelArgument,
    manifest: Annotated[
        Path | None,
        typer.Argument(readable=False, metavar="MANIFEST", help="Recordings on which 8 bits are compared with 32."),
    ] = None,
    test: TestOption = None,
    columns: ColumnsOption = None,
    head: HeadOption = None,
    workers: WorkersOption = CORES,
) -> None:
    """Show a model's size and cost a second of sound.

    Parameters, bytes and multiply-accumulates by layer, and whether it fits the limits of DCASE. With a manifest, also what
    `export --int8` costs on its recordings.
    """
    require("budget", "torch", "onnx", *(["train"] if manifest else []))
    given = {"--test": test, "--columns": columns, "--head": head}
    if manifest is None and (lone := [name for name, value in given.items() if value is not None]):
        raise typer.BadParameter(f"{lone[0]} is for the recordings of a manifest; give MANIFEST with it")
    check_model("budget", model, [manifest] if manifest else [])
    from soundscene.bundle import load_model

    loaded = load_model(model)
    _print_layers(loaded)
    if manifest:
        _say_cost(_cost(loaded, manifest, test, columns, head, workers))


def _print_layers(model: "Model") -> None:
    from rich.box import SIMPLE
    from rich.table import Table

    from soundscene.cli.layout import print_table
    from soundscene.export.budget import MOST_BYTES, MOST_MACS, fits, layers

    found = layers(model)
    table = Table(box=SIMPLE)
    for name in ("layer", "parameters", "bytes", "bytes, int8", "MAC a second"):
        table.add_column(name, justify="left" if name == "layer" else "right", no_wrap=True)
    for layer in found:
        numbers = (layer.parameters, 4 * layer.parameters, layer.int8_bytes, round(layer.macs))
        table.add_row(layer.name, *(f"{n:,}" for n in numbers))
    total = [sum(getattr(layer, name) for layer in found) for name in ("parameters", "int8_bytes", "macs")]
    table.add_row("total", f"{total[0]:,}", f"{4 * total[0]:,}", f"{total[1]:,}", f"{round(total[2]):,}")
    print_table(table, sys.stdout)
    for what, int8 in (("weights in 32 bits", False), ("weights in 8 bits", True)):
        verdict = "fits" if fits(found, int8) else "does not fit"
        say(f"{what}: {verdict} the DCASE limits of {MOST_BYTES // 1000} kB and {MOST_MACS / 1e6:g} million MAC a second")


def _cost(
    model: "Model", manifest: Path, test: str | None, columns: str | None, head: "Head | None", workers: int
) -> "Int8Cost":
    with bar("reading audio", at_once=True) as reading:
        from soundscene.data.corpus import read_features, recordings_of
        from soundscene.export.int8 import int8_cost

        recordings = recordings_of(open_corpus(manifest, columns), test, model.scenes)
        corpus = read_features(
            recordings, model.audio, model.build_front_end(), workers, reading, model.front_end, None, model.usual
        )
        return int8_cost(model, corpus, head or model.head)


def _say_cost(cost: "Int8Cost") -> None:
    if cost.n_trained_on:
        tell(f"{cost.n_trained_on} of {cost.n} recordings are in the model's training set; use --test with those left out")
    points = [100 * x for x in (cost.difference.estimate, cost.difference.low, cost.difference.high)]
    say(
        f"in 8 bits {cost.after:.1%} of {cost.n} recordings right, in 32 bits {cost.before:.1%}: {points[0]:+.1f} points, "
        f"95 % interval {points[1]:+.1f} to {points[2]:+.1f} ({cost.head}, {cost.n_groups} groups resampled)"
    )
    say(f"{cost.changed} of {cost.n} scenes changed; posteriors differ by at most {cost.largest:.2g}")
