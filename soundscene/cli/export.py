"""`soundscene export`: a model as one file in ONNX for programs without PyTorch, or as a page for browsers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from soundscene.cli.models import check_model
from soundscene.cli.options import AnyModelArgument
from soundscene.cli.outputs import keep_inputs
from soundscene.cli.terminal import bar, say, tell
from soundscene.extras import require

if TYPE_CHECKING:
    from soundscene.export.check import Parity, Sound

CHECK = "Check"  # title of a panel


def export(
    model: AnyModelArgument,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="File to write (.onnx); with page a folder.")],
    form: Annotated[
        Literal["onnx", "page"],
        typer.Option("--format", help="One file, or a page: a folder for any web server; sound stays in the browser."),
    ] = "onnx",
    whole: Annotated[
        bool, typer.Option("--whole", help="A graph that takes a whole recording in one call, for other programs.")
    ] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="Keep the networks' weights in 8 bits: a third of their size.")
    ] = False,
    check: Annotated[
        bool,
        typer.Option("--check/--no-check", help="Compare with PyTorch; write nothing that differs.", rich_help_panel=CHECK),
    ] = True,
    sound: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", help="Compare on these recordings too: files or folders.", rich_help_panel=CHECK),
    ] = None,
) -> None:
    """Export a model to ONNX, or as a page for browsers.

    The front-end is in the file, which `predict`, `timeline` and `listen` take without PyTorch. `--format page` writes a
    page with the model in it, which classifies dropped files and the microphone. It takes an exported file too.
    """
    check_model("export", model, options=("--out", out))
    if sound and not check:
        raise typer.BadParameter("--sound names recordings for the check; leave --no-check out")
    keep_inputs({"--out": out}, [model, *(sound or ())])
    if int8 and model.suffix.lower() != ".onnx":
        _note_lone_backbone(model)
    if form == "page":
        if whole:
            raise typer.BadParameter("--whole is not for a page, which reads sound block by block")
        _export_page(model, out, int8, sound or [], check)
        return
    if model.suffix.lower() == ".onnx":
        raise typer.BadParameter(f"{model} is an exported file already; --format page makes a page of it")
    require("export", "torch", "onnx")
    with bar("exporting", at_once=True):
        from soundscene.export.write import export_model

        exported = export_model(model, out, whole, int8, _sounds(model, sound or []) if check else [])
    takes = "a whole recording" if whole else "blocks of samples and a state"
    bits = exported.weights.replace("float32", "32 bits").replace("int8", "8 bits")
    say(f"{exported.path}: {exported.size / 1000:,.0f} kB, takes {takes}, weights{':' if ',' in bits else ' in'} {bits}")
    _say_parity(exported.path, exported.parity, int8)


def _note_lone_backbone(model: Path) -> None:
    """Say where --int8 changes nothing."""
    require("export", "torch", "onnx")
    from soundscene.bundle import load_model
    from soundscene.member import networks_of

    if not networks_of(load_model(model).members):
        tell(f"--int8 changes nothing: {model} has no network, and its backbone is exported as it is stored")


def _export_page(model: Path, out: Path, int8: bool, sound: list[Path], check: bool) -> None:
    exported_before = model.suffix.lower() == ".onnx"
    require("export --format page", *([] if exported_before else ["torch"]), "onnx")
    from soundscene.export.page import export_page
    from soundscene.page.engine import require_engine

    require_engine("export --format page")
    if exported_before and sound:
        raise typer.BadParameter("--sound is for a model file; this one is exported already")
    with bar("exporting", at_once=True):
        page = export_page(model, out, int8, _sounds(model, sound) if check and not exported_before else [])
    say(f"{page.folder}: a page of {page.size / 1e6:,.1f} MB for any web server; try python -m http.server -d {page.folder}")
    if not exported_before:
        _say_parity(page.folder, page.parity, int8)


def _sounds(model: Path, sound: list[Path]) -> "list[Sound]":
    """What the exported file is checked on."""
    from soundscene.audio.folders import sound_files
    from soundscene.bundle import load_model
    from soundscene.export.check import default_sounds, recorded_sounds

    loaded = load_model(model)
    sounds = default_sounds(loaded.audio.sample_rate, loaded.audio.segment_s)
    return [*sounds, *recorded_sounds([*sound_files(sound)], loaded)]


def _say_parity(path: Path, found: "Parity | None", int8: bool) -> None:
    if found is None:
        tell(f"{path}: not compared with the model")
        return
    text = (
        f"{found.recordings} sounds, {found.segments} segments, both heads: posteriors differ from the model's by at most "
        f"{found.segment:.1e} (segment) and {found.recording:.1e} (recording)"
    )
    say(text + (f"; {found.changed} of {found.recordings} scenes changed" if int8 or found.changed else ""))
