"""The recordings of a command line: files, folders, globs and lists of paths, and what of them is left out."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import typer

from soundscene.audio.folders import FolderSearch
from soundscene.cli.sinks import Recordings
from soundscene.cli.terminal import UNREADABLE, complain, tell
from soundscene.errors import SceneError
from soundscene.texts import counted


@dataclass(frozen=True)
class LeftOut:
    """What of a source has no result.

    Attributes:
        messages: Of its files.
        n_unreadable: Files that could not be used.
        search: What of its folders could not be read.
    """

    messages: list[str]
    n_unreadable: int
    search: FolderSearch

    def tell(self) -> None:
        """Print it; exit with 3 where there is any."""
        for message in self.messages:
            complain(message)
            if Path(message.partition(": ")[0]).suffix.lower() in (".csv", ".tsv"):
                tell("a list of recordings, such as a manifest, is given by --from FILE")
        if self.n_unreadable:
            complain(f"{counted(self.n_unreadable, 'file')} could not be used")
        tell_folders(self.search)
        if self.n_unreadable or self.search.unreadable:
            raise typer.Exit(UNREADABLE)


def recordings_of(command: str, paths: Sequence[str], listed: str | None) -> Recordings:
    """Return what is to be read; a list that is a CSV with a column of paths, such as a manifest, is read at once.

    Args:
        command: Name of the command.
        paths: Files, folders and globs.
        listed: What was given as --from.

    Raises:
        SceneError: There is nothing to read, or the list cannot be read.
    """
    if not paths and listed is None:
        raise SceneError(f"nothing to {command}; give files, folders or globs, or a list of them by --from")
    if listed is None or listed == "-":
        return Recordings(tuple(paths), listed)
    from soundscene.data.manifest import listed_files

    files = listed_files(Path(listed)) if os.path.isfile(listed) else None
    return Recordings(tuple(paths), listed) if files is None else Recordings((*paths, *map(str, files)), None)


def files_of(source: Recordings, search: FolderSearch) -> tuple[Iterator[Path], int | None]:
    """Return the files, listed as they are needed, and their number.

    All folders are searched before the first result, so that a folder without audio loses none.

    Args:
        source: What was given.
        search: Receives what could not be read.

    Raises:
        SceneError: A path is elsewhere than on this machine.
    """
    from soundscene.audio import folders

    for path in source.paths:
        if "://" in path and not os.path.exists(path):
            raise SceneError(f"{path}: files elsewhere than on this machine need --cluster")
    paths = [Path(path) for path in source.paths]
    total: int | None = folders.count_files(paths)  # so that a folder without audio loses no prediction
    files = folders.sound_files(paths, search)
    if source.list_from is not None:
        more = folders.count_listed(source.list_from)
        total = None if more is None else total + more
        files = chain(files, map(Path, folders.listed(source.list_from)))
    return files, total


def tell_folders(search: FolderSearch) -> None:
    """Print what of the folders is left out."""
    for note in search.not_followed:
        tell(note)
    for error in search.unreadable:
        complain(error)
