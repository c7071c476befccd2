"""`soundscene export`: a model as one file in ONNX, for programs without PyTorch."""

from pathlib import Path
from typing import Annotated

import typer

from soundscene.cli.options import ModelArgument
from soundscene.cli.terminal import say, tell
from soundscene.extras import require

CHECK = "Check"  # title of a panel


def export(
    model: ModelArgument,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="File to write (.onnx).")],
    whole: Annotated[
        bool, typer.Option("--whole", help="A graph that takes a whole recording in one call, for other programs.")
    ] = False,
    int8: Annotated[bool, typer.Option("--int8", help="Keep the networks' weights in 8 bits: a third of the size.")] = False,
    check: Annotated[
        bool,
        typer.Option("--check/--no-check", help="Compare with PyTorch; write nothing that differs.", rich_help_panel=CHECK),
    ] = True,
    sound: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", help="Compare on these recordings too: files or folders.", rich_help_panel=CHECK),
    ] = None,
) -> None:
    """Export a model to ONNX, front-end included.

    `soundscene predict`, `timeline` and `listen` take the file like a model, without PyTorch.
    """
    if sound and not check:
        raise typer.BadParameter("--sound names recordings for the check; leave --no-check out")
    require("export", "torch", "onnx")
    from soundscene.audio.folders import sound_files
    from soundscene.bundle import load_model
    from soundscene.export.check import default_sounds, recorded_sounds
    from soundscene.export.write import export_model

    sounds = []
    if check:
        loaded = load_model(model)
        sounds = default_sounds(loaded.audio.sample_rate, loaded.audio.segment_s)
        sounds += recorded_sounds([*sound_files(sound or [])], loaded)
    exported = export_model(model, out, whole, int8, sounds)
    kind = f"{'a whole recording' if whole else 'blocks of samples and a state'} in, weights in {8 if int8 else 32} bits"
    say(f"{exported.path}: {exported.size / 1000:,.0f} kB, {kind}")
    if (found := exported.parity) is None:
        tell(f"{exported.path}: not compared with the model")
        return
    text = (
        f"{found.recordings} sounds, {found.segments} segments, both heads: posteriors differ from the model's by at most "
        f"{found.segment:.1e} (segment) and {found.recording:.1e} (recording)"
    )
    say(text + (f"; {found.changed} of {found.recordings} scenes changed" if int8 or found.changed else ""))
