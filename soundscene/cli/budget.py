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
    from soundscene.data.manifest import Manifest
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
    from soundscene.member import networks_of

    corpus = open_corpus(manifest, columns) if manifest else None
    with bar("reading the model", at_once=True):
        loaded = load_model(model)
    _print_layers(loaded)
    if corpus and not networks_of(loaded.members):
        tell(f"{model} has no network, so that `export --int8` changes nothing, and nothing is compared")
    elif corpus:
        _say_cost(_cost(loaded, corpus, test, head, workers))


def _print_layers(model: "Model") -> None:
    from soundscene.cli.layout import fitted, print_table, width_of
    from soundscene.export.budget import MOST_BYTES, MOST_MACS, fits, layers
    from soundscene.member import networks_of

    found = layers(model)
    total = [sum(getattr(layer, name) for layer in found) for name in ("parameters", "bytes", "int8_bytes", "macs")]
    counts = [(layer.name, layer.parameters, layer.bytes, layer.int8_bytes, layer.macs) for layer in found]
    rows = [(name, *(f"{round(n):,}" for n in costs)) for name, *costs in (*counts, ("total", *total))]
    numbers = ("parameters", "bytes", "bytes,\nint8", "MAC a\nsecond")
    print_table(fitted(("layer", *numbers), rows, width_of(sys.stdout), {"layer": "left"}, numbers), sys.stdout)
    n_networks = len(networks_of(model.members))
    of = "weights" if n_networks == len(model.members) else "the networks' weights"
    kinds = (
        [(f"{of} in 32 bits", False), (f"{of} in 8 bits", True)] if n_networks else [("weights as they are stored", False)]
    )
    for what, int8 in kinds:
        verdict = "fits" if fits(found, int8) else "does not fit"
        say(f"{what}: {verdict} the DCASE limits of {MOST_BYTES // 1000} kB and {MOST_MACS / 1e6:g} million MAC a second")


def _cost(model: "Model", manifest: "Manifest", test: str | None, head: "Head | None", workers: int) -> "Int8Cost":
    with bar("reading audio", at_once=True) as reading:
        from soundscene.data.corpus import read_features, recordings_of
        from soundscene.export.int8 import int8_cost

        recordings = recordings_of(manifest, test, model.scenes)
        corpus = read_features(
            recordings, model.audio, model.build_front_end(), workers, reading, model.front_end, None, model.usual
        )
        return int8_cost(model, corpus, head or model.head)


def _say_cost(cost: "Int8Cost") -> None:
    from soundscene.scoring.evaluation import LEAKAGE

    for note in cost.notes:
        tell(note)
        if note.startswith(LEAKAGE):  # beside the accuracies too, because they go where the notes do not
            say(f"{note}.")
    if cost.n_trained_on:
        tell(f"{cost.n_trained_on} of {cost.n} recordings are in the model's training set; use --test with those left out")
    points = [100 * x for x in (cost.difference.estimate, cost.difference.low, cost.difference.high)]
    say(
        f"in 8 bits {cost.after:.1%} of {cost.n} recordings right, in 32 bits {cost.before:.1%}: {points[0]:+z.1f} points, "
        f"95 % interval {points[1]:+z.1f} to {points[2]:+z.1f} ({cost.head}, {cost.n_groups} groups resampled)"
    )
    say(f"{cost.changed} of {cost.n} scenes changed; posteriors differ by at most {cost.largest:.2g}")
