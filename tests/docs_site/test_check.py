"""The check of a built site finds dead links and what would be fetched from the network."""

from pathlib import Path

import pytest

from docs_site.check import check_site

GOOD = (
    '<link rel="canonical" href="https://example.org/"><link rel="stylesheet" href="a.css">'
    '<img src="data:image/png;base64,">'
    '<h1 id="top">A</h1><a href="b.html#x">b</a><a href="#top">top</a><a href="https://example.org/">net</a>'
)


def site(folder: Path, page: str = GOOD, style: str = "p { color: red }") -> list[str]:
    (folder / "a.html").write_text(page)
    (folder / "b.html").write_text('<p id="x">b</p>')
    (folder / "a.css").write_text(style)
    return check_site(folder)


def test_a_good_site_has_no_fault(tmp_path: Path) -> None:
    assert site(tmp_path) == []


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        ('<a href="c.html">c</a>', "a.html: links c.html, which does not exist"),
        ('<a href="b.html#y">b</a>', "a.html: links b.html#y, which has no such anchor"),
        ('<a href="#y">b</a>', "a.html: links #y, which has no such anchor"),
        ('<img src="c.png">', "a.html: fetches c.png, which does not exist"),
        ('<script src="https://example.org/x.js">', "a.html: fetches https://example.org/x.js from the network"),
        ('<link rel="stylesheet" href="//example.org/x.css">', "a.html: fetches //example.org/x.css from the network"),
    ],
)
def test_faults_are_named(tmp_path: Path, page: str, fault: str) -> None:
    assert site(tmp_path, page) == [fault]


@pytest.mark.parametrize("style", ["@import 'https://example.org/x.css';", "p { background: url(//example.org/x.png) }"])
def test_a_style_may_fetch_nothing(tmp_path: Path, style: str) -> None:
    assert site(tmp_path, style=style) == ["a.css: fetches from the network"]


def test_an_empty_site_is_a_fault(tmp_path: Path) -> None:
    assert check_site(tmp_path) == [f"{tmp_path}: holds no pages"]
