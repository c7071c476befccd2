"""`soundscene scan`: a manifest (CSV) of a folder of recordings."""

import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from soundscene.cli.options import INPUT, OUTPUT, ColumnsOption, SafeCsvOption
from soundscene.cli.outputs import keep_inputs
from soundscene.cli.terminal import UNREADABLE, bar, complain, say, tell
from soundscene.texts import counted

if TYPE_CHECKING:
    from soundscene.audio.facts import AudioFacts
    from soundscene.data.manifest import Manifest
    from soundscene.types import Recording

_MANY = 10  # files named in lines of their own
_SHORTEST = 12  # columns that the name of a scene keeps

Layout = Literal["folders", "audiofolder", "tau", "dcase", "esc50", "urbansound8k", "litis"]


def scan(
    source: Annotated[
        Path,
        typer.Argument(readable=False, metavar="FOLDER", help="Folder of recordings, or a CSV to group."),
    ],
    manifest: Annotated[Path, typer.Option("--out", metavar="CSV", help="Manifest (CSV) to write.", rich_help_panel=OUTPUT)],
    group: Annotated[
        str | None,
        typer.Option(metavar="HOW", help="Group excerpts: stem, parent, none or a REGEX. Default: by name."),
    ] = None,
    folds: Annotated[int, typer.Option(min=2, max=100, metavar="N", help="Folds to deal, by recording.")] = 5,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed of the folds.")] = 0,
    layout: Annotated[
        Layout | None,
        typer.Option(
            metavar="NAME", help="Layout of a published corpus, see above. Default: recognised.", rich_help_panel=INPUT
        ),
    ] = None,
    split_files: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Split files of LITIS. Default: 20 stratified splits.", rich_help_panel=INPUT),
    ] = None,
    columns: ColumnsOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a manifest that differs.", rich_help_panel=OUTPUT)] = False,
    safe_csv: SafeCsvOption = False,
) -> None:
    """Write a manifest (CSV) of a folder of recordings.

    Folders are scenes. Those named train, val, test, fold1 or by date are columns.

    Layouts: folders, audiofolder, tau, dcase, esc50, urbansound8k, litis (its folder or zip).

    Files and folders that cannot be read are listed at the end (exit code 3).
    """
    keep_inputs({"--out": manifest}, [])  # --force replaces manifests, also the one that is grouped
    from soundscene.data.columns import parse_columns
    from soundscene.data.table import scan_recordings

    with bar("reading headers") as progress:
        found = scan_recordings(
            source,
            manifest,
            group=group,
            n_folds=folds,
            seed=seed,
            layout=layout,
            split_files=split_files,
            columns=parse_columns(columns),
            progress=progress,
        )
    _print_table(found.manifest, found.facts)
    for note in found.notes:
        tell(note)
    for line in _named(found.unreadable):
        complain(line)
    found.write(manifest, force=force, safe=safe_csv)
    say(f"{manifest}: {counted(len(found), 'recording')} of {counted(len(found.scenes), 'scene')}")
    if found.unreadable:
        raise typer.Exit(UNREADABLE)


def _print_table(manifest: "Manifest", facts: "Mapping[Path, AudioFacts]") -> None:
    """Print files, groups, minutes, rates and channels of each scene, in the width of the terminal."""
    from rich.box import SIMPLE
    from rich.cells import cell_len
    from rich.table import Table

    from soundscene.cli.layout import print_table, shortened, width_of
    from soundscene.texts import show

    recordings = defaultdict(list)
    for recording in manifest.recordings:
        recordings[recording.scene].append(recording)
    names = ("scene", "files", "groups", "minutes", "kHz", "channels")
    rows, room = list[list[str]](), 0
    for most in (3, 2, 1):  # rates and numbers of channels in a cell
        rows = [[show(scene), *_cells(own, facts, most)] for scene, own in sorted(recordings.items())]
        rows.append(["all", *_cells(manifest.recordings, facts, most)])
        widths = [max(map(cell_len, column)) for column in zip(names, *rows, strict=True)]
        room = width_of(sys.stdout) - sum(widths[1:]) - 3 * len(widths) - 1
        if room >= min(_SHORTEST, widths[0]):
            break
    room = max(_SHORTEST, room)
    table = Table(box=SIMPLE)
    for name in names:
        table.add_column(name, justify="left" if name == "scene" else "right", no_wrap=True)
    for number, (scene, *cells) in enumerate(rows):
        if number == len(rows) - 1:
            table.add_section()
        table.add_row(shortened(scene, room, "right"), *cells)
    print_table(table, sys.stdout)


def _cells(recordings: "Sequence[Recording]", facts: "Mapping[Path, AudioFacts]", most: int) -> list[str]:
    """Return the cells of a scene: files, groups, minutes, and so many rates and channels."""
    known = [facts[r.path] for r in recordings if r.path in facts]
    minutes = sum(fact.duration_s or 0 for fact in known) / 60
    unknown = any(fact.duration_s is None for fact in known)  # only decoding tells
    rates = _values(Counter(fact.sample_rate for fact in known), lambda rate: f"{rate / 1000:g}", most)
    channels = _values(Counter(fact.n_channels for fact in known), lambda n: "?" if n is None else f"{n}", most)
    n_groups = len({r.group for r in recordings})
    return [f"{len(recordings)}", f"{n_groups}", f"{'> ' if unknown else ''}{minutes:.1f}", rates, channels]


def _values(counts: Counter[Any], text: Callable[[Any], str], most: int) -> str:
    """The values, the most frequent first."""
    some = [text(value) for value, _ in counts.most_common(most)]
    return ", ".join(some) + (", ..." if len(counts) > most else "")


def _named(lines: Sequence[str]) -> list[str]:
    more = [f"left out: {len(lines) - _MANY} more files that cannot be read"] if len(lines) > _MANY else []
    return [*lines[:_MANY], *more]
