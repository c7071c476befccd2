"""One HTML page that needs nothing but itself: text, tables, figures and terms; it knows nothing of what they are about."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

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


def page(title: str, lead: Sequence[str], sections: Sequence[Section], warnings: Sequence[str] = ()) -> str:
    """Return the page as one HTML document.

    It has no script and fetches nothing, and its content security policy forbids both. All text is plain and is escaped.

    Args:
        title: Of the document, and its only first heading.
        lead: Paragraphs at the top.
        sections: What follows the contents.
        warnings: Paragraphs in a box above the lead.
    """
    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined, finalize=_shown
    )
    template = environment.from_string(files("soundscene.plotting").joinpath("page.html").read_text(encoding="utf-8"))
    return template.render(title=title, lead=lead, sections=sections, warnings=warnings, kinds_of=kinds_of)


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
