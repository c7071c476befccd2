"""One HTML page that needs nothing but itself: text, tables, figures and terms; it knows nothing of what they are about."""

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from soundscene.plotting.player import Player, script, script_source
from soundscene.texts import csv_cell, markdown, show

LONG = 20  # characters: a column with longer cells is kept wide enough to read them
_SIGN, _DIGITS = r"(?:[<>+\-\u2212]\s?)?", r"\d[\d.,]*(?:e-?\d+)?\s?%?"
_NUMBER = re.compile(rf"{_SIGN}{_DIGITS}(?:\s?(?:±|to|of|x|-|\u2013)\s?{_SIGN}{_DIGITS})*|[-\u2013]?")


@dataclass(frozen=True)
class Table:
    """Rows of cells under columns.

    Attributes:
        title: Heading, plain text.
        columns: Names of the columns.
        rows: Cells as text, as many in a row as there are columns.
        notes: Lines below the table.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def markdown(self) -> str:
        """Return the table in Markdown with its title as a heading; markup in its texts is shown, none is alive."""
        head = [f"### {markdown(self.title)}", "", _line(self.columns), "|" + "---|" * len(self.columns)]
        return "\n".join([*head, *map(_line, self.rows), "", *(f"{markdown(note)}  " for note in self.notes)]) + "\n"

    def csv(self, safe: bool = False) -> str:
        """Return columns and rows as CSV.

        Args:
            safe: Whether no cell may be taken for a formula by a spreadsheet.
        """
        text = io.StringIO()
        lines = ([csv_cell(cell, safe) for cell in line] for line in (self.columns, *self.rows))
        csv.writer(text, lineterminator="\n").writerows(lines)
        return text.getvalue()


@dataclass(frozen=True)
class Picture:
    """A figure of a page.

    Attributes:
        name: Lower-case letters, digits and hyphens.
        title: Plain text.
        caption: Plain text.
        svg: One <svg> element of `render_svg`, the only thing that enters the page unescaped.
    """

    name: str
    title: str
    caption: str
    svg: str


@dataclass(frozen=True)
class Section:
    """A part of a page under a title; its contents in the order of the fields.

    Attributes:
        title: Plain text, also in the contents.
        text: Paragraphs of plain text.
        tables: Tables with their titles and notes.
        figures: Figures with their captions.
        terms: Terms and what they mean, plain text.
    """

    title: str
    text: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Picture, ...] = ()
    terms: tuple[tuple[str, str], ...] = ()


def page(
    title: str,
    lead: Sequence[str],
    sections: Sequence[Section],
    warnings: Sequence[str] = (),
    player: Player | None = None,
    answer: tuple[str, str] | None = None,
    source: str = "",
) -> str:
    """Return the page as one HTML document.

    It fetches nothing and has no script but that of the player, and its content security policy forbids both. All text is
    plain and is escaped.

    Args:
        title: Of the document, and its only first heading.
        lead: Paragraphs at the top.
        sections: What follows the contents.
        warnings: Paragraphs in a box above the lead.
        player: Sound to play, above the picture that it belongs to.
        answer: What the page says first, and a command with it, which may be empty.
        source: Where all numbers of the page are from, one line below the lead.
    """
    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined, finalize=_shown
    )
    playing = {"facts": json.dumps(player.data), "script": script(), "script_source": script_source()} if player else {}
    environment.filters["linked"] = partial(_linked, [section.title for section in sections])
    template = environment.from_string(files("soundscene.plotting").joinpath("page.html").read_text(encoding="utf-8"))
    facts = {"title": title, "lead": lead, "sections": sections, "warnings": warnings, "answer": answer, "source": source}
    return template.render(facts, kinds_of=kinds_of, player=player, **playing)


def _linked(titles: Sequence[str], text: str) -> Markup:
    """Escape plain text, and link "see" with the title of a section to that section."""
    escaped = str(escape(_shown(text)))
    for number, title in enumerate(titles, 1):
        name = str(escape(title))
        escaped = escaped.replace(f"see {name}", f'see <a href="#section-{number}">{name}</a>')
    return Markup(escaped)


def kinds_of(table: Table) -> list[str]:
    """Return the kind of each column.

    It is "number" where every cell is a number, an interval, a ratio or a dash, "long" where a cell is long, else "text".
    """
    kinds = []
    for column in range(len(table.columns)):
        cells = [row[column] for row in table.rows]
        if any(cells) and all(_NUMBER.fullmatch(cell) for cell in cells):
            kinds.append("number")
        else:
            kinds.append("long" if any(len(cell) > LONG for cell in cells) else "text")
    return kinds


def _shown(value: object) -> object:
    """Write out control characters of plain text, but for line ends; what is markup already stays."""
    return "\n".join(map(show, value.split("\n"))) if type(value) is str else value


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(markdown, cells)) + " |"
