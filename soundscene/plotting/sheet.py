"""What the pictures share: style, axes in hertz, signed shades, and a figure as PNG, SVG or part of a page."""

import io
import os
import re
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float64
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from soundscene.errors import SceneError
from soundscene.recipe import Recipe
from soundscene.signal.filterbanks import gammatone_centres_hz, mel_centres_hz

CHANNELS = ("as recorded", "background noise subtracted")
DPI = 110
SMALL_PT = 8.0  # nothing is smaller
STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the layout is the same everywhere
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.labelsize": 9.0,
    "axes.titlelocation": "left",
    "xtick.labelsize": SMALL_PT,
    "ytick.labelsize": SMALL_PT,
    "legend.fontsize": SMALL_PT,
    "legend.frameon": False,
    "legend.handlelength": 4.0,  # long enough to tell dashes apart
    "hatch.linewidth": 0.6,
    "lines.linewidth": 1.0,
    "text.parse_math": False,  # "$" in a name is no formula
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "soundscene",  # else ids differ from run to run
}
styled = style.context(["default", STYLE])
"""Decorator of everything that draws: the reader's own matplotlib settings neither enter nor are changed for good."""

LOOKS: tuple[dict[str, Any], ...] = (
    {"color": "#000000", "linestyle": "solid", "marker": "o"},
    {"color": "#0072b2", "linestyle": (0, (5, 1.5)), "marker": "s"},
    {"color": "#d55e00", "linestyle": (0, (1.2, 1.2)), "marker": "^"},
    {"color": "#666666", "linestyle": (0, (6, 1.5, 1.2, 1.5)), "marker": "D"},
)
"""Lines that colour, dashes and marker all tell apart, so that two of the three survive a black and white print."""

FORMATS = (".png", ".svg", ".html")
_NO_XML = re.compile("[\x00-\x1f\ud800-\udfff\ufffe\uffff]")
_BOXES = "some names are in letters that the picture's font does not know: an .html or .svg shows them, a .png shows boxes"


def clean(name: str) -> str:
    """A name that every format can show: what XML forbids, and line ends, become U+FFFD."""
    return _NO_XML.sub("\ufffd", name)


def wrapped(text: str, letters: int) -> str:
    """A line broken into several, inside words too where one is longer than a line."""
    return "\n".join(textwrap.wrap(text, letters, break_long_words=True))


def widened(width_in: float, names: Sequence[str]) -> float:
    """The width of a figure (inches) that has these names at its side, so that long ones take nothing from the panels."""
    longest = max((len(name) for name in names), default=0)
    return width_in + max(0, longest - 16) * 0.6 * SMALL_PT / 72


def band_centres_hz(recipe: Recipe) -> Float64[np.ndarray, " band"]:
    """Centre frequencies of the image's bands, Hz, low to high."""
    features, rate = recipe.features, recipe.audio.sample_rate
    if features.kind == "mel":
        return mel_centres_hz(features.n_bands, features.low_hz, rate / 2)
    return gammatone_centres_hz(rate, features.n_bands, features.low_hz)


def hertz_axis(axis: Axes, centres_hz: Float64[np.ndarray, " band"], label: str = "band centre, Hz") -> None:
    """Ticks of a vertical axis whose unit is the band: six centre frequencies."""
    ticks = np.linspace(0, len(centres_hz) - 1, 6).round().astype(int)
    axis.set_yticks(ticks, [f"{centres_hz[i]:.0f}" for i in ticks])
    axis.set(ylabel=label, ylim=(-0.5, len(centres_hz) - 0.5))


def largest(values: Float[np.ndarray, "..."], percentile: float = 99.5) -> float:
    """Symmetric limit of the shades of signed values; above zero, so that shades exist."""
    return max(float(np.nanpercentile(np.abs(values), percentile)) if values.size else 0.0, 1e-12)


def check_out(out: Path) -> None:
    """Refuse, before anything is computed, an output that cannot be written.

    Raises: `SceneError` for another suffix than .png, .svg or .html, a folder, or a place that is missing or closed.
    """
    if out.suffix.lower() not in FORMATS:
        raise SceneError(f"{out}: a picture ends in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}, not in {out.suffix!r}")
    if out.is_dir():
        raise SceneError(f"{out}: is a folder; name the picture's file")
    if not out.parent.is_dir():
        raise SceneError(f"{out}: cannot be written there, the folder {out.parent} does not exist; make it first")
    if not os.access(out.parent, os.W_OK | os.X_OK):
        raise SceneError(f"{out}: cannot be written there (no permission to write in {out.parent})")


@styled
def rendered(figure: Figure, form: str) -> tuple[bytes, tuple[str, ...]]:
    """A figure as bytes of PNG (form ".png") or SVG, and notes on what it could not show; equal figures, equal bytes."""
    file = io.BytesIO()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if form == ".png":
            FigureCanvasAgg(figure)
            figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None})
        else:
            FigureCanvasSVG(figure)
            figure.savefig(file, format="svg", dpi=150, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    boxes = form == ".png" and any("missing from font" in str(w.message) for w in caught)
    for warning in caught:
        if "missing from font" not in str(warning.message):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    content = file.getvalue() if form == ".png" else _numbered(file.getvalue())
    return content, (_BOXES,) if boxes else ()


def _numbered(svg: bytes) -> bytes:
    """The ids of a drawing as plain numbers: matplotlib makes some of them from places in memory."""
    found = dict.fromkeys(re.findall(rb'id="([a-zA-Z]+[0-9a-f]{10})"', svg))
    for number, name in enumerate(found):
        svg = re.sub(rb'(id="|#)' + name + rb"\b", rb"\g<1>id-%d" % number, svg)
    return svg


def svg_element(svg: bytes) -> str:
    """The <svg> element of a file of SVG, without prologue and metadata, to stand inside a page and fill its width."""
    text = svg.decode("utf-8")
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    return re.sub(r'^<svg([^>]*?) width="[^"]*"', r'<svg\1 width="100%"', re.sub(r' height="[0-9.]+pt"', "", text, count=1))
