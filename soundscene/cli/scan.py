"""`soundscene scan`: a manifest (CSV) of a folder of recordings."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from soundscene.audio.folders import FolderSearch
from soundscene.cli.options import SafeCsvOption
from soundscene.cli.terminal import UNREADABLE, complain, say, tell


def scan(
    folder: Annotated[
        Path, typer.Argument(readable=False, metavar="FOLDER", help="Folder of recordings, or the zip of LITIS Rouen.")
    ],
    manifest: Annotated[Path, typer.Option("--out", metavar="CSV", help="Manifest (CSV) to write.")],
    layout: Annotated[
        Literal["folders", "litis"], typer.Option(help="One subfolder per scene, or LITIS Rouen.")
    ] = "folders",
    split_files: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Split files of LITIS. Default: 20 stratified splits.")
    ] = None,
    safe_csv: SafeCsvOption = False,
) -> None:
    """Write a manifest (CSV) of a folder of recordings.

    Folders that cannot be read are listed at the end (exit code 3).
    """
    search = FolderSearch()
    if layout == "folders":
        if split_files is not None:
            raise typer.BadParameter("--split-files is for --layout litis")
        from soundscene.data.manifest import scan as scan_folder

        scanned, notes = scan_folder(folder, search)
    else:
        from soundscene.data.litis import litis_manifest

        scanned, notes = litis_manifest(folder, manifest, split_files)
    scanned.write(manifest, safe_csv)
    for note in (*notes, *search.not_followed):
        tell(note)
    for folder_error in search.unreadable:
        complain(folder_error)
    say(f"{manifest}: {len(scanned.recordings)} recordings of {len(scanned.scenes)} scenes")
    if search.unreadable:
        raise typer.Exit(UNREADABLE)
