"""How figures are drawn: one style, line looks that survive a black and white print, and SVG that can stand inside a page.

Text stays text in the SVG, so that it can be searched, read aloud and copied, and so that names in any script are shown by
whatever font the reader has. Letters drawn as outlines would need one font that knows every script.
"""

import io
import re
import unicodedata
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from matplotlib import style
from matplotlib.artist import Artist
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

WIDTH_IN = 7.0  # a column of the page, and of a printed sheet
TEXT_PT = 9.0
SMALL_PT = 8.0  # nothing is smaller
STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the layout is the same everywhere
    "font.size": TEXT_PT,
    "axes.titlesize": TEXT_PT,
    "axes.labelsize": TEXT_PT,
    "xtick.labelsize": SMALL_PT,
    "ytick.labelsize": SMALL_PT,
    "legend.fontsize": SMALL_PT,
    "legend.frameon": False,
    "legend.handlelength": 3.2,  # long enough to tell dashes apart
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.5,
    "hatch.linewidth": 0.6,
    "text.parse_math": False,  # "$" in the name of a scene is no formula
    "svg.fonttype": "none",
    "svg.hashsalt": "soundscene",  # else ids differ from run to run
}
styled = style.context(["default", STYLE])
"""Decorator of everything that draws: the reader's own matplotlib settings neither enter nor are changed for good."""

_FONTS = "'DejaVu Sans', Verdana, Arial, 'Noto Sans', sans-serif"
_SVG = "http://www.w3.org/2000/svg"
_LINK = "{http://www.w3.org/1999/xlink}href"
_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True)
class Look:
    """Colour, dashes and marker of one line; neighbours differ in all three and in their grey."""

    color: str
    dashes: str | tuple[float, tuple[float, ...]]
    marker: str


_COLORS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#7a3e9d", "#8a6d00", "#c2407f")
_DASHES = ("solid", (0.0, (5.0, 1.5)), (0.0, (1.2, 1.2)), (0.0, (6.0, 1.5, 1.2, 1.5)), (0.0, (3.0, 1.0, 1.0, 1.0, 1.0, 1.0)))
_MARKERS = "os^Dv<>PX"


def look(number: int) -> Look:
    """How the line of that number looks; the first 315 differ."""
    return Look(_COLORS[number % len(_COLORS)], _DASHES[number % len(_DASHES)], _MARKERS[number % len(_MARKERS)])


def legend_below(figure: Figure, handles: Sequence[Artist], labels: Sequence[str]) -> None:
    """A legend under all panels, in as many columns as the longest label leaves room for."""
    longest_pt = max(map(len, labels)) * 0.6 * SMALL_PT + 5 * SMALL_PT
    columns = int(max(1, min(3, len(labels), figure.get_figwidth() * 72 // longest_pt)))
    rows = -(-len(labels) // columns)
    figure.set_figheight(figure.get_figheight() + 0.06 + rows * 0.18)
    figure.legend(list(handles), list(labels), loc="outside lower left", ncols=columns)


def make_room(figure: Figure, left: Sequence[str], below: Sequence[str] = ()) -> None:
    """Widen a figure whose labels (at its left, below it) are in letters that the layout's font does not know.

    The layout takes them for 0.6 em wide; those of East Asian scripts take 1 em.
    """
    left_in, below_in = (_missing_em(labels) * SMALL_PT / 72 for labels in (left, below))
    width, height = figure.get_figwidth() + left_in, figure.get_figheight() + below_in
    figure.set_size_inches(width, height)
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine) and (left_in or below_in):
        engine.set(rect=(left_in / width, below_in / height, 1 - left_in / width, 1 - below_in / height))


def _missing_em(labels: Sequence[str]) -> float:
    """How much wider than the layout believes the widest label is, in em."""
    wide = [sum(unicodedata.east_asian_width(letter) in "WF" for letter in label) for label in labels]
    if not any(wide):
        return 0.0
    return max(0.6 * len(x) + 0.4 * n for x, n in zip(labels, wide, strict=True)) - max(0.5 * len(x) for x in labels)


@styled
def svg(figure: Figure, name: str) -> str:
    """The figure as one <svg> element, for a file of its own or inside a page; equal figures give equal bytes.

    name: of lower-case letters, digits and hyphens; every id begins with it, so that figures of one page keep to their own.
    Characters that XML forbids become U+FFFD.
    """
    if not re.fullmatch("[a-z][a-z0-9-]*", name):
        raise ValueError(f"figure name {name!r}: allowed are lower-case letters, digits and hyphens")
    FigureCanvasSVG(figure)
    file = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)  # the reader's font will know it
        figure.savefig(file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    root = ElementTree.fromstring(_NO_XML.sub("\ufffd", file.getvalue()))
    _tidy(root, name)
    root.attrib = {
        "xmlns": _SVG,
        "xmlns:xlink": "http://www.w3.org/1999/xlink",
        **{key: root.attrib[key] for key in ("width", "height", "viewBox")},
        "style": "stroke-linejoin: round; stroke-linecap: butt; overflow: visible",
    }
    return ElementTree.tostring(root, encoding="unicode")


def _tidy(element: ElementTree.Element, name: str) -> None:
    """No name spaces, no rules that would reach the page around, ids of its own, fonts that the reader may have."""
    element.tag = element.tag.removeprefix(f"{{{_SVG}}}")
    for key, value in list(element.attrib.items()):
        if key == "id":
            element.set(key, f"{name}-{value}")
        elif key == _LINK:  # always to a part of the same drawing, because no figure holds pixels
            del element.attrib[key]
            element.set("xlink:href", f"#{name}-{value.removeprefix('#')}")
        elif "url(#" in value:
            element.set(key, value.replace("url(#", f"url(#{name}-"))
        elif key == "style":
            element.set(key, re.sub("font-family: [^;]*", f"font-family: {_FONTS}", value))
    for child in list(element):
        if child.tag in (f"{{{_SVG}}}style", f"{{{_SVG}}}metadata"):
            element.remove(child)
        else:
            _tidy(child, name)
