"""`soundscene budget`: parameters, bytes and products of a model, against the limits of the DCASE challenge."""

import sys

from soundscene.cli.options import ModelArgument
from soundscene.cli.terminal import say
from soundscene.extras import require


def budget(model: ModelArgument) -> None:
    """Show a model's size and cost a second of sound.

    Parameters, bytes and multiply-accumulates by layer, and whether it fits the limits of DCASE.
    """
    require("budget", "torch", "onnx")
    from rich.box import SIMPLE
    from rich.table import Table

    from soundscene.bundle import load_model
    from soundscene.cli.layout import print_table
    from soundscene.export.budget import MOST_BYTES, MOST_MACS, fits, layers

    found = layers(load_model(model))
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
