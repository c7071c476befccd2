"""`soundscene scan`: a manifest (CSV) of a folder of recordings."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from soundscene.cli.options import OUTPUT, ColumnsOption, SafeCsvOption
from soundscene.cli.terminal import UNREADABLE, bar, complain, out, say, tell

if TYPE_CHECKING:
    from soundscene.audio.facts import AudioFacts
    from soundscene.audio.folders import FolderSearch
    from soundscene.data.manifest import Manifest
    from soundscene.data.scan import Listing
    from soundscene.types import Recording

_MANY = 10  # files named in lines of their own

Layout = Literal["folders", "audiofolder", "tau", "dcase", "esc50", "urbansound8k", "litis"]


def scan(
    source: Annotated[
        Path,
        typer.Argument(readable=False, metavar="FOLDER", help="Folder of recordings; a CSV to group; the zip of LITIS."),
    ],
    manifest: Annotated[Path, typer.Option("--out", metavar="CSV", help="Manifest (CSV) to write.", rich_help_panel=OUTPUT)],
    group: Annotated[
        str | None,
        typer.Option(metavar="HOW", help="Group excerpts: stem, parent, none or a REGEX. Default: by name."),
    ] = None,
    folds: Annotated[int, typer.Option(min=2, max=100, metavar="N", help="Folds to deal, by recording.")] = 5,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed of the folds.")] = 0,
    layout: Annotated[
        Layout | None, typer.Option(metavar="NAME", help="Layout of a published corpus, see below. Default: found.")
    ] = None,
    split_files: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Split files of LITIS. Default: 20 stratified splits.")
    ] = None,
    columns: ColumnsOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a manifest that differs.", rich_help_panel=OUTPUT)] = False,
    safe_csv: SafeCsvOption = False,
) -> None:
    """Write a manifest (CSV) of a folder of recordings.

    Folders are scenes. Those named train, val, test, fold1 or by date are columns.

    Layouts: folders, audiofolder, tau, dcase, esc50, urbansound8k, litis.

    Files and folders that cannot be read are listed at the end (exit code 3).
    """
    from soundscene.audio.folders import FolderSearch
    from soundscene.data.scan import arrange

    if split_files is not None and layout != "litis":
        raise typer.BadParameter("--split-files is for --layout litis")
    search = FolderSearch()
    if layout == "litis":
        from soundscene.data.litis import litis_manifest

        made, notes = litis_manifest(source, manifest, split_files)
        facts, failures = _read_headers(made.recordings)
    else:
        listing = _listing(source, layout, columns, search)
        facts, failures = _read_headers(listing.recordings)
        made, notes = arrange(listing.without(failures), group, folds, seed)
        notes = (*listing.notes, *notes)
    _print_table(made, facts)
    for note in (*notes, *search.not_followed):
        tell(note)
    _write(made, manifest, safe_csv, force)
    for line in (*search.unreadable, *_named(list(failures.values()))):
        complain(line)
    say(f"{manifest}: {len(made.recordings)} recordings of {len(made.scenes)} scenes")
    if search.unreadable or failures:
        raise typer.Exit(UNREADABLE)


def _listing(source: Path, layout: str | None, columns: str | None, search: "FolderSearch") -> "Listing":
    """List the recordings of a folder, of a published corpus, or of a CSV without groups."""
    from soundscene.audio.folders import AUDIO_SUFFIXES
    from soundscene.data.columns import parse_columns
    from soundscene.data.layouts import detect_layout, read_layout
    from soundscene.data.scan import list_folder, list_manifest

    if os.path.isfile(source) and layout is None and source.suffix.lower() not in AUDIO_SUFFIXES:
        return list_manifest(source, parse_columns(columns))
    if columns is not None:
        raise typer.BadParameter("--columns is for the columns of a CSV; a folder has none")
    if layout is None and os.path.isdir(source) and (layout := detect_layout(source)):
        tell(f"{source}: read as --layout {layout}; --layout folders takes its folders for scenes")
    return list_folder(source, search) if layout in (None, "folders") else read_layout(source, layout)


def _read_headers(recordings: "Sequence[Recording]") -> "tuple[dict[Path, AudioFacts], dict[Path, str]]":
    """Return what the headers of files say, and why the others cannot be used."""
    from soundscene.audio.facts import audio_facts
    from soundscene.errors import AudioError

    facts, failures = {}, {}
    with bar("reading headers") as progress:
        for done, recording in enumerate(recordings, 1):
            try:
                facts[recording.path] = audio_facts(recording.path)
            except AudioError as error:
                failures[recording.path] = f"left out: {error}"
            progress(done, len(recordings))
    return facts, failures


def _print_table(manifest: "Manifest", facts: "dict[Path, AudioFacts]") -> None:
    """Print files, groups, minutes, rates and channels of each scene."""
    from rich.box import SIMPLE
    from rich.table import Table

    from soundscene.texts import show

    table = Table(box=SIMPLE)
    table.add_column("scene")
    for name in ("files", "groups", "minutes", "kHz", "channels"):
        table.add_column(name, justify="right")
    rows = defaultdict(list)
    for recording in manifest.recordings:
        rows[recording.scene].append(recording)
    for scene, own in [*sorted(rows.items()), ("all", list(manifest.recordings))]:
        if scene == "all":
            table.add_section()
        known = [facts[r.path] for r in own if r.path in facts]
        minutes = sum(fact.duration_s or 0 for fact in known) / 60
        unknown = any(fact.duration_s is None for fact in known)  # only decoding tells
        cells = [f"{len(own)}", f"{len({r.group for r in own})}", f"{'> ' if unknown else ''}{minutes:.1f}"]
        rates = _values(Counter(fact.sample_rate for fact in known), lambda rate: f"{rate / 1000:g}")
        channels = _values(Counter(fact.n_channels for fact in known), lambda n: "?" if n is None else f"{n}")
        table.add_row(show(scene), *cells, rates, channels)
    out.print(table)


def _values(counts: Counter[Any], text: Callable[[Any], str]) -> str:
    """The values, the most frequent first; three at most."""
    some = [text(value) for value, _ in counts.most_common(3)]
    return ", ".join(some) + (", ..." if len(counts) > 3 else "")


def _named(lines: list[str]) -> list[str]:
    more = [f"left out: {len(lines) - _MANY} more files that cannot be read"] if len(lines) > _MANY else []
    return [*lines[:_MANY], *more]


def _write(made: "Manifest", path: Path, safe: bool, force: bool) -> None:
    """Write the manifest, and replace one that differs only if that is wanted: people correct manifests by hand."""
    from soundscene.errors import ManifestError

    if not force and os.path.isfile(path):
        try:
            same = path.read_text(encoding="utf-8") == made.to_csv(path.parent, safe)
        except (OSError, ValueError):
            same = False
        if not same:
            raise ManifestError(f"{path}: is there already, and differs; --force replaces it, another --out keeps both")
    made.write(path, safe)
