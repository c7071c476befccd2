"""What a figure shows once it is SVG: every line of text with its place and size, in points."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Float64
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from soundscene.plotting.svg import render_svg
from soundscene.report.entries import Entry, find

SVG = "{http://www.w3.org/2000/svg}"


@dataclass(frozen=True)
class Drawn:
    """text; size_pt; box: left, top, right, bottom in points from the upper left corner."""

    text: str
    size_pt: float
    box: tuple[float, float, float, float]


def drawn_texts(figure: Figure) -> tuple[list[Drawn], tuple[float, float]]:
    """All texts of a figure, and its width and height."""
    root = ElementTree.fromstring(render_svg(figure, "drawn"))
    width, height = (float(number) for number in root.attrib["viewBox"].split()[2:])
    return [_drawn(element) for element in root.iter(f"{SVG}text")], (width, height)


def chosen(entries: Sequence[Entry], name: str, head: str) -> Entry:
    found = find(entries, name, head)
    assert found is not None
    return found


def points(line: Artist) -> Float64[np.ndarray, "point 2"]:
    """What a line goes through, x and y, as numbers."""
    assert isinstance(line, Line2D)
    return np.asarray(line.get_xydata(), np.float64)


def marked(axis: Axes, *markers: str) -> list[Line2D]:
    """Lines of an axis with one of these markers ("None" is one)."""
    return [line for line in axis.lines if line.get_marker() in markers]


def bars(entries: Iterable[Artist]) -> list[tuple[float, float, float]]:
    """Left end, width and height of bars."""
    boxes = [bar for bar in entries if isinstance(bar, Rectangle)]
    return [(float(bar.get_x()), float(bar.get_width()), float(bar.get_height())) for bar in boxes]


def names_of(figure: Figure) -> list[str]:
    root = ElementTree.fromstring(render_svg(figure, "drawn"))
    return ["".join(element.itertext()) for element in root.iter(f"{SVG}text")]


def faults_of(figure: Figure) -> list[str]:
    """Texts under 8 points, outside the figure, or over one another."""
    texts, (width, height) = drawn_texts(figure)
    boxes = np.array([drawn.box for drawn in texts])
    faults = [f"{d.text!r}: {d.size_pt} pt" for d in texts if d.size_pt < 8]
    outside = (boxes[:, :2] < -0.5).any(axis=1) | (boxes[:, 2] > width + 0.5) | (boxes[:, 3] > height + 0.5)
    faults += [f"{texts[i].text!r}: {boxes[i].round(1)} of {width} x {height}" for i in np.flatnonzero(outside)]
    for i in range(len(boxes)):
        meeting = _meets(boxes[i], boxes[i + 1 :])
        faults += [f"{texts[i].text!r} over {texts[i + 1 + j].text!r}" for j in np.flatnonzero(meeting)]
    return faults


def _meets(box: Float64[np.ndarray, "4"], others: Float64[np.ndarray, "other 4"]) -> np.ndarray:
    slack = 0.4  # points; neighbours may touch
    return (
        (others[:, 0] < box[2] - slack)
        & (others[:, 2] > box[0] + slack)
        & (others[:, 1] < box[3] - slack)
        & (others[:, 3] > box[1] + slack)
    )


def _drawn(element: ElementTree.Element) -> Drawn:
    text, style = "".join(element.itertext()), element.attrib["style"]
    size = float(re.findall(r"font-size: ([\d.]+)px", style)[0])
    weight = "bold" if "font-weight: 700" in style or "bold" in style else "normal"
    transform = element.attrib["transform"]
    moved = re.search(r"translate\((\S+) (\S+)\)", transform)
    x, y = (float(v) for v in moved.groups()) if moved else (float(element.attrib["x"]), float(element.attrib["y"]))
    turned_by = re.search(r"rotate\((\S+?)[ )]", transform)
    angle = float(turned_by.group(1)) if turned_by else 0.0
    wide, below, above = _extent(text, size, weight)
    anchor = re.search(r"text-anchor: (\w+)", style)
    shift = {"start": 0.0, "middle": -0.5, "end": -1.0}[anchor.group(1) if anchor else "start"] * wide
    corners = np.array([[shift, -above], [shift + wide, below]])
    turn = np.radians(angle)
    turned = corners @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) + [x, y]
    (left, top), (right, bottom) = turned.min(axis=0), turned.max(axis=0)
    return Drawn(text, size, (left, top, right, bottom))


@cache
def _extent(text: str, size_pt: float, weight: str) -> tuple[float, float, float]:
    """Width, and ink below and above the base line, of the font that the layout reckons with."""
    font = get_font(findfont(FontProperties(family=["DejaVu Sans"], weight=weight)))
    scale = 50  # at their own size, letters would be rounded to whole pixels
    font.set_size(size_pt * scale, 72)
    font.set_text(text, 0.0)
    (wide, high), below = font.get_width_height(), font.get_descent()
    return wide / 64 / scale, below / 64 / scale, (high - below) / 64 / scale
