"""Figures as bytes: SVG that stands alone or inside a page, and PNG with a note on letters that its font lacks.

Equal figures give equal bytes. Text stays text in the SVG, so that it can be searched, read aloud and copied, and so that
names in any script are shown by whatever font the reader has.
"""

import io
import os
import re
import warnings
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from soundscene.errors import SceneError
from soundscene.plotting.style import PNG_DPI, TEXT_PT, styled

IMAGE_DPI = 150  # of the pixels inside an SVG
_MARGIN_PT = 4  # left of a heading

_FONTS = "'DejaVu Sans', Verdana, Arial, 'Noto Sans', sans-serif"
_SVG = "http://www.w3.org/2000/svg"
_LINK = "{http://www.w3.org/1999/xlink}href"
_NOT_XML = "\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff"
_BOXES = "some names are in letters that the picture's font does not know: an .html or .svg shows them, a .png shows boxes"


def clean(name: str) -> str:
    """Return a name that every format can show: what XML forbids, and line ends, become U+FFFD."""
    return re.sub(f"[{_NOT_XML}\t\n\r]", "\ufffd", name)


def check_output(out: Path, suffixes: tuple[str, ...]) -> str:
    """Refuse, before anything is computed, a picture that cannot be written.

    Args:
        out: File to write.
        suffixes: Allowed ones, as ".png".

    Returns:
        The suffix in lower case.

    Raises:
        SceneError: Another suffix, a folder, or a place that does not exist or is not writable.
    """
    suffix = out.suffix.lower()
    if suffix not in suffixes:
        raise SceneError(f"{out}: a picture ends in {', '.join(suffixes[:-1])} or {suffixes[-1]}, not in {out.suffix!r}")
    if os.path.isdir(out):
        raise SceneError(f"{out}: is a folder; name the picture's file")
    if not os.path.isdir(out.parent):
        raise SceneError(f"{out}: cannot be written there, the folder {out.parent} does not exist; create it first")
    if not os.access(out.parent, os.W_OK | os.X_OK):
        raise SceneError(f"{out}: cannot be written there (no permission to write in {out.parent})")
    return suffix


def render_file(figure: Figure, suffix: str, name: str) -> tuple[bytes, tuple[str, ...]]:
    """Render a figure as the content of a file.

    Args:
        figure: What to render.
        suffix: ".png" or ".svg".
        name: As in `render_svg`.

    Returns:
        The bytes, and notes on what the picture could not show.
    """
    if suffix == ".png":
        return render_png(figure)
    return (render_svg(figure, name) + "\n").encode(), ()


@styled
def render_png(figure: Figure) -> tuple[bytes, tuple[str, ...]]:
    """Render a figure as PNG; return its bytes and notes on letters shown as boxes."""
    file = io.BytesIO()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        FigureCanvasAgg(figure)
        figure.savefig(file, format="png", dpi=PNG_DPI, metadata={"Software": None})
    unknown_letters = [w for w in caught if "missing from font" in str(w.message)]
    for warning in caught:
        if warning not in unknown_letters:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return file.getvalue(), (_BOXES,) if unknown_letters else ()


@styled
def render_svg(figure: Figure, name: str) -> str:
    """Render a figure as one <svg> element, for a file of its own or inside a page.

    Args:
        figure: What to render. Characters that XML forbids become U+FFFD.
        name: Lower-case letters, digits and hyphens. Every id begins with it, so that the figures of one page do not clash.

    Raises:
        ValueError: Another name.
    """
    if not re.fullmatch("[a-z][a-z0-9-]*", name):
        raise ValueError(f"figure name {name!r}: allowed are lower-case letters, digits and hyphens")
    FigureCanvasSVG(figure)
    file = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)  # the reader's font may have it
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", dpi=IMAGE_DPI, metadata=metadata)
    root = ElementTree.fromstring(_number_ids(re.sub(f"[{_NOT_XML}]", "\ufffd", file.getvalue())))
    _tidy(root, name)
    root.attrib = {
        "xmlns": _SVG,
        "xmlns:xlink": "http://www.w3.org/1999/xlink",
        **{key: root.attrib[key] for key in ("width", "height", "viewBox")},
        "style": "stroke-linejoin: round; stroke-linecap: butt; overflow: visible",
    }
    return ElementTree.tostring(root, encoding="unicode")


def headed(svg: str, text: str) -> str:
    """Return a drawing with a line of bold text above it; the drawing itself stays as it is.

    Args:
        svg: From `render_svg`.
        text: What nobody may see the drawing without.

    Raises:
        ValueError: It is not from `render_svg`.
    """
    root = re.match('(<svg [^>]*?)width="([0-9.]+)pt" height="[0-9.]+pt" viewBox="0 0 [0-9.]+ ([0-9.]+)"([^>]*>)', svg)
    if root is None:
        raise ValueError(f"no drawing of render_svg: {svg[:100]}")
    width, height = max(float(root[2]), _MARGIN_PT * 2 + 0.8 * TEXT_PT * len(text)), float(root[3]) + 2 * TEXT_PT
    box = f'width="{width:g}pt" height="{height:g}pt" viewBox="0 {-2 * TEXT_PT:g} {width:g} {height:g}"'
    style = f"font-weight: bold; font-size: {TEXT_PT:g}px; font-family: {_FONTS}"
    line = f'<text x="{_MARGIN_PT}" y="{-TEXT_PT / 2:g}" style="{style}">{escape(clean(text))}</text>'
    ground = f'<rect x="0" y="{-2 * TEXT_PT:g}" width="{width:g}" height="{2 * TEXT_PT:g}" style="fill: #ffffff" />'
    return f"{root[1]}{box}{root[4]}{ground}{line}{svg[root.end() :]}"


def _number_ids(svg: str) -> str:
    """Replace hashed ids by plain numbers: matplotlib hashes some of them from addresses in memory."""
    hashed = dict.fromkeys(re.findall(r'id="([a-zA-Z]+[0-9a-f]{10})"', svg))
    number_of = {name: f"id{number}" for number, name in enumerate(hashed)}
    return re.sub(
        r'(id="|#)([a-zA-Z]+[0-9a-f]{10})\b', lambda match: match[1] + number_of.get(match[2], match[2]), svg
    )  # fmt: skip


def _tidy(element: ElementTree.Element, name: str) -> None:
    """Drop name spaces and rules that would reach the page around, prefix ids, and name fonts that the reader may have."""
    element.tag = element.tag.removeprefix(f"{{{_SVG}}}")
    for key, value in list(element.attrib.items()):
        if key == "id":
            element.set(key, f"{name}-{value}")
        elif key == _LINK:  # a part of the same drawing, or the pixels of an image as data
            del element.attrib[key]
            element.set("xlink:href", f"#{name}-{value[1:]}" if value.startswith("#") else value)
        elif "url(#" in value:
            element.set(key, value.replace("url(#", f"url(#{name}-"))
        elif key == "style":
            element.set(key, re.sub("font-family: [^;]*", f"font-family: {_FONTS}", value))
    for child in list(element):
        if child.tag in (f"{{{_SVG}}}style", f"{{{_SVG}}}metadata"):
            element.remove(child)
        else:
            _tidy(child, name)
