"""Tables that fit the terminal: what is too wide is shortened, paths at their left, and nothing is broken inside a word."""

import os
from collections.abc import Collection, Mapping, Sequence
from typing import Literal, TextIO

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from soundscene.texts import show

WIDE = 100_000  # characters, where nobody looks: a file or a pipe
_GAP = 2  # columns between two columns of a table
_SHORTEST = 12  # characters that a shortened cell keeps
Cut = Literal["left", "right"]


def width_of(stream: TextIO) -> int:
    """Return how wide a table may be: as the terminal, or as COLUMNS says; elsewhere nothing is shortened."""
    if (columns := os.environ.get("COLUMNS", "")).isdigit() and int(columns) > 0:
        return int(columns)
    try:
        return os.get_terminal_size(stream.fileno()).columns if stream.isatty() else WIDE
    except (OSError, ValueError):
        return WIDE


def print_table(table: RenderableType, stream: TextIO) -> None:
    """Print a table no wider than the terminal. Where that is too narrow, cells are broken between words.

    Args:
        table: The table.
        stream: Where to print.
    """
    Console(file=stream, width=width_of(stream), highlight=False, markup=False, emoji=False).print(table)


def shortened(text: str, width: int, cut: Cut) -> str:
    """Return a text of at most so many columns, with an ellipsis where something is cut.

    >>> shortened("/data/2026/street.wav", 14, "left")
    '…26/street.wav'

    Args:
        text: One line.
        width: Columns.
        cut: Which end is cut: the left of a path, whose end tells it from others.
    """
    if cell_len(text) <= width:
        return text
    while text and cell_len(text) > width - 1:
        text = text[1:] if cut == "left" else text[:-1]
    return f"…{text}" if cut == "left" else f"{text}…"


def fitted(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int,
    cuts: Mapping[str, Cut],
    numbers: Collection[str] = (),
    title: str | None = None,
) -> RenderableType:
    """Make a table whose cells fit into a width; the columns of `cuts` are shortened for it, the widest first.

    Args:
        columns: Names of the columns, which may have several lines.
        rows: Cells.
        width: Of the whole table.
        cuts: Columns that may be shortened, and at which end.
        numbers: Columns that are aligned at the right.
        title: Above the table.
    """
    cells = [[show(cell) for cell in row] for row in rows]
    names = list(columns)
    headings = [max(map(cell_len, name.split("\n"))) for name in names]
    widest = [max(column) for column in zip(headings, *(map(cell_len, row) for row in cells), strict=True)]
    excess = sum(widest) + _GAP * len(names) - width
    while excess > 0:
        able = [i for i, name in enumerate(names) if name in cuts and widest[i] > max(_SHORTEST, headings[i])]
        if not able:
            break
        at = max(able, key=lambda i: widest[i])
        least = max([_SHORTEST, headings[at], *(widest[i] for i in able if widest[i] < widest[at])])
        step = min(excess, widest[at] - least) or 1
        widest[at] -= step
        excess -= step
    table = Table(box=None, padding=(0, _GAP, 0, 0))
    for name in names:
        table.add_column(name, justify="right" if name in numbers else "left", no_wrap=name in cuts)
    for row in cells:
        table.add_row(
            *(shortened(cell, widest[i], cuts[name]) if (name := names[i]) in cuts else cell for i, cell in enumerate(row))
        )
    return table if title is None else titled(title, table)


def titled(title: str, table: Table) -> RenderableType:
    """Put a title above a table that may be longer than the table is wide, as rich would break it.

    Args:
        title: One line.
        table: The table.
    """
    return Group(Text(title, style="italic"), table)
