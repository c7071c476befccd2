"""`soundscene scan`: a manifest (CSV) of a folder of recordings."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from soundscene.cli.options import SafeCsvOption
from soundscene.cli.terminal import say, tell


def scan(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of recordings, or the zip of LITIS Rouen.")],
    manifest: Annotated[Path, typer.Option("--out", metavar="CSV", help="Manifest (CSV) to write.")],
    layout: Annotated[
        Literal["folders", "litis"], typer.Option(help="One subfolder per scene, or LITIS Rouen.")
    ] = "folders",
    split_files: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Split files of LITIS. Default: 20 stratified splits.")
    ] = None,
    safe_csv: SafeCsvOption = False,
) -> None:
    """Write a manifest (CSV) of a folder of recordings."""
    if layout == "folders":
        if split_files is not None:
            raise typer.BadParameter("--split-files is for --layout litis")
        from soundscene.data.manifest import scan as scan_folder

        scanned, notes = scan_folder(folder)
    else:
        from soundscene.data.litis import litis_manifest

        scanned, notes = litis_manifest(folder, manifest, split_files)
    scanned.write(manifest, safe_csv)
    for note in notes:
        tell(note)
    say(f"{manifest}: {len(scanned.recordings)} recordings of {len(scanned.scenes)} scenes")
