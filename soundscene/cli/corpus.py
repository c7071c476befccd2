"""The corpus that a command is given: a manifest, or a folder that is scanned, with a line that says so."""

from pathlib import Path
from typing import TYPE_CHECKING

from soundscene.cli.terminal import tell

if TYPE_CHECKING:
    from soundscene.data.manifest import Manifest


def open_corpus(path: Path, columns: str | None, shown: bool = True) -> "Manifest":
    """Read a manifest, or scan a folder, and say what was done with a folder.

    Args:
        path: CSV or folder.
        columns: What `--columns` says.
        shown: Whether to say it.

    Raises:
        ManifestError: It is neither.
    """
    from soundscene.data.columns import parse_columns
    from soundscene.data.source import read_source

    manifest, note = read_source(path, parse_columns(columns))
    if note and shown:
        tell(note)
    return manifest
