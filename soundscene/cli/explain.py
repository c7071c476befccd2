"""`soundscene explain`: what a model listened to in a recording, or on average in the scenes of a manifest, as a picture."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from soundscene.cli.options import TestOption
from soundscene.cli.terminal import bar, out, tell


def explain(
    model: Path,
    source: Annotated[Path, typer.Argument(help="A sound file, or a manifest (.csv) to average over.")],
    picture: Annotated[Path, typer.Option("--out", help="Picture to write: .png, .svg, or .html (a page).")],
    head: Annotated[Literal["svm", "softmax"] | None, typer.Option(help="By default the recipe's.")] = None,
    scene: Annotated[str | None, typer.Option(help="Scene to attribute, instead of the answer (a file).")] = None,
    from_s: Annotated[float, typer.Option("--from", min=0, help="Seconds at which to begin to draw (a file).")] = 0.0,
    segments: Annotated[
        int | None, typer.Option(min=1, help="Segments to draw (a file) or to attribute of each recording (a manifest).")
    ] = None,
    test: TestOption = None,
) -> None:
    """Draw what a model listened to: attention over time and features, attribution over frequency, and the answer."""
    from soundscene.bundle import ModelBundle
    from soundscene.explanation.corpus import ATTRIBUTED
    from soundscene.explanation.recording import SEGMENTS
    from soundscene.explanation.write import explain_manifest, explain_recording
    from soundscene.plotting.sheet import check_out

    check_out(picture)
    corpus = source.suffix.lower() == ".csv"
    if corpus and (scene is not None or from_s):
        raise typer.BadParameter("--scene and --from are for a sound file; a manifest is averaged over all its scenes")
    if test and not corpus:
        raise typer.BadParameter("--test chooses rows of a manifest (.csv); leave it out for a sound file")
    bundle = ModelBundle.load(model)
    if corpus:
        with bar("explaining") as progress:
            means, notes = explain_manifest(
                bundle, source, picture, test=test, head=head, most=segments or ATTRIBUTED, progress=progress
            )
        said = f"{sum(m.recordings for m in means)} recordings of {len(means)} scenes"
    else:
        view, notes = explain_recording(
            bundle, source, picture, head=head, scene=scene, from_s=from_s, most=segments or SEGMENTS
        )
        said = f"{view.scenes[view.best]} {view.answer[-1, view.best]:.2f}"
    for note in notes:
        tell(note)
    out.print(f"{picture}: {said}")
