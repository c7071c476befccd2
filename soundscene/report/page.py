"""One page of HTML that needs nothing but itself: text, tables and figures; it knows nothing of experiments."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from soundscene.report.tables import Table

LONG = 20  # characters: a column with longer cells is kept wide enough to read them
_SIGN, _DIGITS = r"(?:[<>+\-\u2212]\s?)?", r"\d[\d.,]*(?:e-?\d+)?\s?%?"
_NUMBER = re.compile(rf"{_SIGN}{_DIGITS}(?:\s?(?:±|to|of|x|-|\u2013)\s?{_SIGN}{_DIGITS})*|[-\u2013]?")


@dataclass(frozen=True)
class Picture:
    """A figure: name (lower-case letters, digits, hyphens), title and caption in plain text.

    svg: one <svg> element as `drawing.svg` makes it. It is the only thing that enters the page as it is.
    """

    name: str
    title: str
    caption: str
    svg: str


@dataclass(frozen=True)
class Section:
    """Paragraphs of plain text, then tables, then figures, under a title."""

    title: str
    text: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Picture, ...] = ()


def page(title: str, lead: Sequence[str], sections: Sequence[Section], warnings: Sequence[str] = ()) -> str:
    """The page as one HTML document: no script, nothing from elsewhere, and a policy in it that forbids both.

    lead: paragraphs at the top; warnings: paragraphs in a box above them. All text is plain and is escaped.
    """
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    template = environment.from_string(files("soundscene.report").joinpath("page.html").read_text(encoding="utf-8"))
    return template.render(title=title, lead=lead, sections=sections, warnings=warnings, kinds_of=kinds_of)


def kinds_of(table: Table) -> list[str]:
    """For each column: "number" if every cell is one (or an interval, a ratio, a dash), "long" if a cell is, else "text"."""
    kinds = []
    for column in range(len(table.columns)):
        cells = [row[column] for row in table.rows]
        if any(cells) and all(_NUMBER.fullmatch(cell) for cell in cells):
            kinds.append("number")
        else:
            kinds.append("long" if any(len(cell) > LONG for cell in cells) else "text")
    return kinds
