"""`soundscene explain`: a picture of what a prediction is based on."""

import os
from pathlib import Path
from typing import Annotated

import typer

from soundscene.cli.corpus import open_corpus
from soundscene.cli.models import check_model
from soundscene.cli.options import ColumnsOption, HeadOption, ModelArgument, TestOption
from soundscene.cli.outputs import keep_inputs
from soundscene.cli.terminal import bar, say, tell
from soundscene.extras import require
from soundscene.texts import counted


def explain(
    model: ModelArgument,
    source: Annotated[
        Path, typer.Argument(readable=False, metavar="SOURCE", help="Audio file, or a manifest (.csv) to average.")
    ],
    picture: Annotated[Path, typer.Option("--out", metavar="FILE", help="Picture to write: .png, .svg, or .html (a page).")],
    head: HeadOption = None,
    scene: Annotated[
        str | None, typer.Option(metavar="NAME", help="Scene to attribute (audio file). Default: the predicted scene.")
    ] = None,
    from_s: Annotated[
        float, typer.Option("--from", min=0, metavar="SECONDS", help="Start of the picture (audio file).")
    ] = 0.0,
    segments: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Segments to draw (audio file), or to attribute per recording (manifest)."),
    ] = None,
    test: TestOption = None,
    columns: ColumnsOption = None,
    member: Annotated[
        str | None, typer.Option(metavar="NAME", help="Member of the model to draw. Default: the first with attention.")
    ] = None,
) -> None:
    """Draw the attention and attribution behind predictions.

    Attention is over time and features, attribution over frequency.
    """
    require("explain", "explain")
    check_model("explain", model, [source], ("--out", picture))
    from soundscene.bundle import load_model
    from soundscene.explanation.corpus import ATTRIBUTED
    from soundscene.explanation.recording import SEGMENTS
    from soundscene.explanation.write import SUFFIXES, explain_manifest, explain_recording
    from soundscene.plotting.svg import check_output

    check_output(picture, SUFFIXES)
    keep_inputs({"--out": picture}, [model, source])
    is_manifest = source.suffix.lower() in (".csv", ".tsv") or os.path.isdir(source)
    if is_manifest and (scene is not None or from_s):
        raise typer.BadParameter("--scene and --from are for an audio file; a manifest is averaged over all its scenes")
    if test and not is_manifest:
        raise typer.BadParameter("--test chooses rows of a manifest (.csv); leave it out for an audio file")
    if columns and not is_manifest:
        raise typer.BadParameter("--columns is for a manifest (.csv); leave it out for an audio file")
    if is_manifest:
        corpus = open_corpus(source, columns)
        with bar("explaining", at_once=True) as progress:
            loaded = load_model(model)
            means, notes = explain_manifest(
                loaded, corpus, picture, test=test, head=head, most=segments or ATTRIBUTED, member=member, progress=progress
            )
        summary = f"{counted(sum(m.recordings for m in means), 'recording')} of {counted(len(means), 'scene')}"
    else:
        with bar("explaining", at_once=True):
            loaded, most = load_model(model), segments or SEGMENTS
            view, notes = explain_recording(
                loaded, source, picture, head=head, scene=scene, from_s=from_s, most=most, member=member
            )
        summary = f"{view.scenes[view.predicted]}, probability {view.fused[-1, view.predicted]:.2f}"
    say(f"{picture}: {summary}")
    for note in notes:  # the last ones say how exact the picture is
        tell(note)
