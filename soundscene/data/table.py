"""What a scan of recordings found: their table, what their headers say, and what was left out."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from soundscene.audio.facts import AudioFacts, audio_facts
from soundscene.audio.folders import AUDIO_SUFFIXES, FolderSearch
from soundscene.data.layouts import detect_layout, read_layout, unused_metadata
from soundscene.data.litis import litis_manifest
from soundscene.data.manifest import Manifest
from soundscene.data.scan import N_FOLDS, Listing, arrange, list_folder, list_manifest
from soundscene.errors import AudioError, ManifestError
from soundscene.frames import data_frame
from soundscene.texts import counted, short, show
from soundscene.types import Compared, Recording

LAYOUTS = ("folders", "audiofolder", "tau", "dcase", "esc50", "urbansound8k", "litis")
_FIRST, _LAST = ("path", "scene", "group"), ("duration_s", "sample_rate", "channels")
_SHOWN = 5  # scenes in a line


@dataclass(frozen=True, eq=False, repr=False)
class ScanResult(Compared):
    """Recordings that a scan found, by scene and group.

    Attributes:
        manifest: The rows that it would write.
        facts: What the header of each file says.
        notes: How files were grouped, and what was left out.
        unreadable: A line for each file or folder that cannot be read.
    """

    manifest: Manifest
    facts: Mapping[Path, AudioFacts] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()

    @property
    def recordings(self) -> tuple[Recording, ...]:
        """Rows of the manifest."""
        return self.manifest.recordings

    @property
    def scenes(self) -> tuple[str, ...]:
        """Names of the scenes, sorted."""
        return self.manifest.scenes

    def __len__(self) -> int:
        """Return the number of recordings."""
        return len(self.recordings)

    def __repr__(self) -> str:
        """Return one line: recordings, groups, scenes, and what cannot be read."""
        names = short(show(", ".join(self.scenes[:_SHOWN])))
        more = f" and {len(self.scenes) - _SHOWN} more" if len(self.scenes) > _SHOWN else ""
        sizes = (len(self), "recording"), (len({r.group for r in self.recordings}), "group"), (len(self.scenes), "scene")
        recordings, groups, scenes = (counted(n, word) for n, word in sizes)
        lost = f"; {len(self.unreadable)} unreadable" if self.unreadable else ""
        return f"<ScanResult {recordings}, {groups}; {scenes}: {names}{more}{lost}>"

    def to_frame(self, library: str | None = None) -> Any:
        """Return a data frame with a row per recording.

        Columns: path, scene, group, the further columns of the manifest, duration_s, sample_rate (Hz), channels. What a
        file's header says is `file(NAME)` where the manifest has a column of that name.

        Args:
            library: "pandas" or "polars"; by default the one that the program has imported, else the one that is there.

        Raises:
            SceneError: Neither is installed.
        """
        own = [name for name in self.manifest.columns if name not in ("path", "scene", "group")]
        last = [f"file({name})" if name in own else name for name in _LAST]
        return data_frame([self._row(r, own, last) for r in self.recordings], [*_FIRST, *own, *last], library)

    def write(self, path: str | Path, *, force: bool = False, safe: bool = False) -> None:
        """Write the manifest; one that differs is replaced only if that is wanted, because people correct them by hand.

        Args:
            path: CSV to write.
            force: Whether to replace a manifest that differs.
            safe: Whether no cell may be taken for a formula by a spreadsheet.

        Raises:
            ManifestError: Another one is there already, or the file cannot be written.
        """
        path = Path(path)
        if not force and os.path.isfile(path):
            try:
                same = path.read_text(encoding="utf-8") == self.manifest.to_csv(path.parent, safe)
            except (OSError, ValueError):
                same = False
            if not same:
                raise ManifestError(f"{path}: is there already, and differs; --force replaces it, another --out keeps both")
        self.manifest.write(path, safe)

    def _row(self, recording: Recording, own: Iterable[str], last: Iterable[str]) -> dict[str, Any]:
        facts = self.facts.get(recording.path)
        known = (facts.duration_s, facts.sample_rate, facts.n_channels) if facts else (None, None, None)
        row = {"path": str(recording.path), "scene": recording.scene, "group": recording.group}
        return row | {name: recording.columns.get(name) for name in own} | dict(zip(last, known, strict=True))


def scan_recordings(
    source: str | Path,
    out: Path | None = None,
    *,
    group: str | None = None,
    n_folds: int = N_FOLDS,
    seed: int = 0,
    layout: str | None = None,
    split_files: Path | None = None,
    columns: Mapping[str, str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ScanResult:
    """Scan a folder, a published corpus, or a CSV without groups. Nothing is written, but the files of a zip of LITIS.

    Args:
        source: Folder, CSV, or the zip of LITIS.
        out: Manifest that is to be written, beside which a zip is unpacked.
        group: As in `arrange`.
        n_folds: As in `arrange`.
        seed: As in `arrange`.
        layout: Name of a layout; by default found.
        split_files: Folder of split files of LITIS.
        columns: Of a CSV, as in `Manifest.read`.
        progress: Called with (headers read, files in all).

    Raises:
        ManifestError: Nothing is found there, or options do not go together.
    """
    source = Path(source)
    if layout not in (None, *LAYOUTS):
        raise ManifestError(f"layout {layout!r}: allowed are {', '.join(LAYOUTS)}")
    if out is not None and os.path.isdir(out):
        raise ManifestError(f"{out}: is a folder; name the manifest to write, for example {out / 'manifest.csv'}")
    if split_files is not None and layout != "litis":
        raise ManifestError("--split-files is for --layout litis")
    search = FolderSearch()
    if layout == "litis":
        given = {
            "--group": group is not None,
            "--folds": n_folds != N_FOLDS,
            "--seed": seed != 0,
            "--columns": bool(columns),
        }
        if unused := [option for option, is_given in given.items() if is_given]:
            raise ManifestError(f"{', '.join(unused)}: not for --layout litis, whose groups and splits are its own")
        if out is None and os.path.isfile(source):
            raise ManifestError(f"{source}: is unpacked beside the manifest; name the manifest (out), or give the folder")
        made, notes = litis_manifest(source, out or source / "manifest.csv", split_files)
        facts, failures = _read_headers(made.recordings, progress)
    else:
        listing, first = _list(source, layout, columns, search)
        facts, failures = _read_headers(listing.recordings, progress)
        made, notes = arrange(listing.without(failures), group, n_folds, seed)
        notes = (*first, *listing.notes, *notes)
    return ScanResult(made, facts, (*notes, *search.not_followed), (*search.unreadable, *failures.values()))


def _list(
    source: Path, layout: str | None, columns: Mapping[str, str] | None, search: FolderSearch
) -> tuple[Listing, tuple[str, ...]]:
    """List the recordings of a folder, of a published corpus, or of a CSV without groups, and say how it was read."""
    if os.path.isfile(source) and layout is None and source.suffix.lower() not in AUDIO_SUFFIXES:
        return list_manifest(source, columns or {}), ()
    if columns:
        raise ManifestError("--columns is for the columns of a CSV; a folder has none")
    notes: tuple[str, ...] = ()
    if layout is None and os.path.isdir(source) and (layout := detect_layout(source)):
        notes = (f"{source}: read as --layout {layout}; --layout folders takes its folders for scenes",)
    if layout not in (None, "folders"):
        return read_layout(source, layout), notes
    listing = list_folder(source, search)
    return listing, unused_metadata(source) if layout is None else ()


def _read_headers(
    recordings: Sequence[Recording], progress: Callable[[int, int], None] | None
) -> tuple[dict[Path, AudioFacts], dict[Path, str]]:
    """Return what the headers of files say, and why the others cannot be used."""
    facts, failures = {}, {}
    for done, recording in enumerate(recordings, 1):
        try:
            facts[recording.path] = audio_facts(recording.path)
        except AudioError as error:
            failures[recording.path] = f"left out: {error}"
        if progress:
            progress(done, len(recordings))
    return facts, failures
