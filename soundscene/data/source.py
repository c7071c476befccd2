"""A corpus as a command is given it: a manifest, or a folder that is scanned at once."""

import os
from collections.abc import Mapping
from pathlib import Path

from soundscene.audio.folders import FolderSearch
from soundscene.data.layouts import detect_layout, read_layout, unused_metadata
from soundscene.data.manifest import Manifest
from soundscene.data.scan import NOT_GROUPED, arrange, list_folder
from soundscene.errors import ManifestError
from soundscene.texts import counted


def read_source(path: str | Path, columns: Mapping[str, str] | None = None) -> tuple[Manifest, str]:
    """Read a manifest, that in a folder, or a folder of recordings without one.

    Args:
        path: CSV or folder.
        columns: As in `Manifest.read`.

    Returns:
        The manifest, and what was done in one line where a folder was given; else an empty text.

    Raises:
        ManifestError: It is neither, or a folder in it cannot be read.
    """
    path = Path(path)
    if not os.path.isdir(path):
        return Manifest.read(path, columns), ""
    if (listed := path / "manifest.csv").is_file():
        return Manifest.read(listed, columns), f"{path}: its manifest.csv is used"
    if columns:
        raise ManifestError(f"{path}: is a folder without manifest.csv; --columns is for the columns of a CSV")
    search = FolderSearch()
    layout = detect_layout(path)
    listing = read_layout(path, layout) if layout else list_folder(path, search)
    if search.unreadable:
        raise ManifestError(search.unreadable[0])
    manifest, notes = arrange(listing)
    said = [*([] if layout else unused_metadata(path)), *listing.doubts, *(n for n in notes if n.startswith(NOT_GROUPED))]
    n_files, n_groups = len(manifest.recordings), len({r.group for r in manifest.recordings})
    scenes = counted(len(manifest.scenes), "scene")
    folds = len({fold for r in manifest.recordings if (fold := r.columns.get("fold"))})
    words = [
        f"{path}: scanned{f' as {layout}' if layout else ''}, {counted(n_files, 'file')} of {scenes}",
        counted(n_groups, "recording") if n_groups < n_files else "each its own recording",
        *([counted(folds, "fold")] if folds else []),
    ]
    return manifest, f"{'; '.join([', '.join(words), *said])}; soundscene scan {path} --out FILE.csv shows and keeps it"
