"""One matplotlib style for every picture: text sizes, widths, greys, and lines that survive a black and white print."""

from dataclasses import dataclass
from typing import Any

from matplotlib import style

PAGE_WIDTH_IN = 7.0  # a figure of the report: a column of the page, and of a printed sheet
PICTURE_WIDTH_IN = 11.0  # a picture of its own, with many panels
TEXT_PT = 9.0
SMALL_PT = 8.0  # nothing is smaller
PNG_DPI = 120

REFERENCE_GREY = "#777777"  # lines to compare with: zero, one, the diagonal
BORDER_GREY = "#bbbbbb"  # between cells, lanes and segments
BAND_GREY = "#d9d9d9"  # a deviation or a range around a line

STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the layout is the same everywhere
    "font.size": TEXT_PT,
    "figure.titlesize": 11.0,
    "axes.titlesize": TEXT_PT,
    "axes.titlelocation": "left",
    "axes.labelsize": TEXT_PT,
    "xtick.labelsize": SMALL_PT,
    "ytick.labelsize": SMALL_PT,
    "legend.fontsize": SMALL_PT,
    "legend.frameon": False,
    "legend.handlelength": 3.2,  # long enough to tell dashes apart
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,  # under lines and bars, and hidden by images
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.5,
    "hatch.linewidth": 0.6,
    "text.parse_math": False,  # "$" in the name of a scene is no formula
    "svg.fonttype": "none",  # text stays text: searchable, and in any script that the reader's fonts know
    "svg.hashsalt": "soundscene",  # else ids differ from run to run
}
styled = style.context(["default", STYLE])
"""Decorator of functions that draw or render: the user's matplotlib settings neither enter nor are changed for good."""

Dashes = str | tuple[float, tuple[float, ...]]
"""A line style of matplotlib: a name, or offset and lengths of dashes and gaps in line widths."""

CHANNELS = ("as recorded", "background noise subtracted")
CHANNEL_DASHES: tuple[Dashes, ...] = ("solid", (0.0, (3.0, 1.0)))
"""Names of the two image channels, and the lines that show them."""


@dataclass(frozen=True)
class LineStyle:
    """Colour, dashes and marker of one line; neighbours differ in all three and in their grey."""

    color: str
    dashes: Dashes
    marker: str


_COLORS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#7a3e9d", "#8a6d00", "#c2407f")
_DASHES = ("solid", (0.0, (5.0, 1.5)), (0.0, (1.2, 1.2)), (0.0, (6.0, 1.5, 1.2, 1.5)), (0.0, (3.0, 1.0, 1.0, 1.0, 1.0, 1.0)))
_MARKERS = "os^Dv<>PX"


def line_style(number: int) -> LineStyle:
    """Return the style of the line of that number; the first 315 differ."""
    return LineStyle(_COLORS[number % len(_COLORS)], _DASHES[number % len(_DASHES)], _MARKERS[number % len(_MARKERS)])
