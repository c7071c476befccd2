"""Figures as bytes: the same each time, whole by themselves, and in nobody's way inside a page."""

import base64
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from soundscene.errors import SceneError
from soundscene.plotting.svg import check_output, clean, render_file, render_png, render_svg
from tests.plotting.figures import NAMES, small_figure

PNG = b"\x89PNG\r\n\x1a\n"
SAME = """
from soundscene.plotting.svg import render_svg
from tests.plotting.figures import small_figure
print(render_svg(small_figure(), "same"), end="")
"""


def test_equal_figures_give_equal_bytes_in_any_process() -> None:
    here = render_svg(small_figure(), "same")
    done = subprocess.run(
        [sys.executable, "-c", SAME], check=True, capture_output=True, text=True, env=os.environ | {"PYTHONHASHSEED": "1"}
    )
    assert done.stdout == here
    assert render_png(small_figure())[0] == render_png(small_figure())[0]


def test_the_svg_stands_alone_and_keeps_to_itself() -> None:
    text = render_svg(small_figure(), "some-name")
    assert text.startswith("<svg ")
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert ids
    assert all(i.startswith("some-name-") for i in ids)
    assert len(set(ids)) == len(ids)
    used = re.findall(r'xlink:href="#([^"]*)"', text) + re.findall(r"url\(#([^)]*)\)", text)
    assert used
    assert set(used) <= set(ids)
    assert set(re.findall(r"https?://[^\"' ]*", text)) == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "<style" not in text
    assert "<metadata" not in text
    with pytest.raises(ValueError, match="figure name 'a b': allowed are lower-case letters"):
        render_svg(small_figure(), "a b")


def test_ids_hold_nothing_of_the_process() -> None:
    text = render_svg(small_figure(), "plain")
    assert re.findall(r'"plain-id\d+"', text)
    assert not re.findall(r'id="plain-[a-z]+[0-9a-f]{10}"', text)  # hashes, some of places in memory


def test_pixels_stay_data_and_names_stay_text() -> None:
    root = ElementTree.fromstring(render_svg(small_figure(), "a"))
    links = [value for element in root.iter() for key, value in element.attrib.items() if key.endswith("}href")]
    pixels = [link for link in links if not link.startswith("#")]
    assert len(pixels) == 1
    assert base64.b64decode(pixels[0].removeprefix("data:image/png;base64,"))[:8] == PNG
    texts = ["".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"<b>bold</b> & $x^2$", "market \ufffd", "駅前の広い交差点", "tube 😀"} <= set(texts)
    styles = [element.attrib["style"] for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert all("font-family: 'DejaVu Sans', Verdana" in style for style in styles)


def test_letters_that_the_font_lacks_are_noted_for_png_only() -> None:
    png, notes = render_file(small_figure(), ".png", "a")
    assert png.startswith(PNG)
    assert len(notes) == 1
    assert "shows boxes" in notes[0]
    svg, notes = render_file(small_figure(), ".svg", "a")
    assert svg == (render_svg(small_figure(), "a") + "\n").encode()
    assert notes == ()
    figure = small_figure()
    figure.axes[1].set_yticks(range(2), ["bus", "park"])
    assert render_png(figure)[1] == ()


def test_clean_names() -> None:
    assert [clean(name) for name in NAMES] == [NAMES[0], "market \ufffd", *NAMES[2:]]
    assert clean("a\nb\tc\ud800") == "a\ufffdb\ufffdc\ufffd"


def test_outputs_that_cannot_be_are_refused(tmp_path: Path) -> None:
    assert check_output(tmp_path / "a.SVG", (".png", ".svg")) == ".svg"
    with pytest.raises(SceneError, match=r"a picture ends in \.png or \.svg, not in '\.html'"):
        check_output(tmp_path / "a.html", (".png", ".svg"))
    (tmp_path / "b.png").mkdir()
    with pytest.raises(SceneError, match="is a folder; name the picture's file"):
        check_output(tmp_path / "b.png", (".png",))
    with pytest.raises(SceneError, match="does not exist; create it first"):
        check_output(tmp_path / "no" / "a.png", (".png", ".svg"))
