"""The one style: lines that differ in every way, text that can be read, and settings of the user that stay out."""

from itertools import pairwise

import matplotlib

from soundscene.plotting.style import SMALL_PT, STYLE, line_style
from soundscene.plotting.svg import render_svg
from tests.plotting.figures import small_figure


def test_lines_differ_in_color_dashes_and_marker():
    styles = [line_style(number) for number in range(315)]
    assert len(set(styles)) == 315
    for first, second in pairwise(styles):
        assert first.color != second.color
        assert first.dashes != second.dashes
        assert first.marker != second.marker


def test_no_text_is_smaller_than_the_smallest() -> None:
    sizes = [value for key, value in STYLE.items() if key.endswith(("font.size", "titlesize", "labelsize", "fontsize"))]
    assert len(sizes) >= 6
    assert min(sizes) == SMALL_PT == 8.0


def test_the_users_own_settings_neither_enter_nor_change() -> None:
    before = render_svg(small_figure(), "same")
    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "path", "axes.grid": False}):
        assert render_svg(small_figure(), "same") == before
        assert matplotlib.rcParams["font.size"] == 30
    assert render_svg(small_figure(), "other") != before
