"""`soundscene scan`: a manifest (CSV) of a folder of recordings."""

from pathlib import Path
from typing import Annotated

import typer

from soundscene.cli.terminal import out, tell


def scan(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder with one subfolder per scene.")],
    manifest: Annotated[Path, typer.Option("--out", metavar="CSV", help="Manifest (CSV) to write.")],
) -> None:
    """Write a manifest (CSV) of a folder of recordings."""
    from soundscene.data.manifest import scan as scan_folder

    scanned, notes = scan_folder(folder)
    scanned.write(manifest)
    for note in notes:
        tell(note)
    out.print(f"{manifest}: {len(scanned.recordings)} recordings of {len(scanned.scenes)} scenes")
