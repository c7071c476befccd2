"""The page stands alone, escapes what is not ours, and can be read with eyes, ears and thumbs."""

import csv
import io
import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from soundscene.plotting.page import Picture, Section, Table, kinds_of, page

EVIL = "<script>alert(\"1\")</script> & 'x' 😀 {{ 7 * 7 }}"
DRAWN = '<svg xmlns="http://www.w3.org/2000/svg" width="9pt" height="9pt"><text id="{}-1">bus</text></svg>'
VOID = {"meta", "br", "link", "img", "input"}


class Reader(HTMLParser):
    """Elements in order (tag, attributes, path of open tags) and the text inside each tag."""

    def __init__(self):
        super().__init__()
        self.elements, self.open, self.texts = [], [], []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), tuple(self.open)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag  # well nested

    def handle_data(self, data):
        if data.strip():
            self.texts.append((self.open[-1], data.strip()))

    def all(self, tag):
        return [attributes for name, attributes, _ in self.elements if name == tag]


def read(text):
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader


def picture(name="curve", title="A curve"):
    return Picture(name, title, f"Caption of {name}.", DRAWN.format(name))


TABLE = Table(
    "Scores",
    ("system", "acc. %", "95 % interval", "verdict"),
    (("one", "93.78", "91.00 to 95.10", "holds"), ("two", "–", "-1.5 to +2.0", "undecided")),
    ("A note.",),
)


@pytest.fixture(scope="module")
def text():
    sections = [
        Section("First", ("A paragraph.",), (TABLE,), (picture("one"), picture("two"))),
        Section("Second", (), (TABLE,), (picture("three"),), (("Term", "Meaning."),)),
    ]
    return page("A title", ["The first.", "The next."], sections, ["A warning."])


def test_it_asks_nothing_of_the_network_and_runs_nothing(text):
    assert not re.search(r"<(script|link|img|iframe|object|embed|video|audio|base)\b", text)
    assert not re.search(r"\bon\w+=", text)
    assert "@import" not in text
    assert "@font-face" not in text
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))
    found = read(text)
    for _, attributes, _ in found.elements:
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith("#")
    namespaces = {"http://www.w3.org/2000/svg"}  # a name, not an address that is fetched
    assert set(re.findall(r"\w+://[^\"'\s<]*", text)) == namespaces
    (policy,) = (a["content"] for a in found.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"  # pixels inside an SVG


def test_title_language_and_headings_in_order(text):
    found = read(text)
    assert found.all("html") == [{"lang": "en"}]
    assert ("title", "A title") in found.texts
    levels = [int(tag[1]) for tag, _, _ in found.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert any(a.get("name") == "viewport" and "width=device-width" in a["content"] for a in found.all("meta"))


def test_contents_lead_to_every_section_and_ids_are_unique(text):
    found = read(text)
    ids = [attributes["id"] for _, attributes, _ in found.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert [a["href"] for a in found.all("a")] == ["#section-1", "#section-2"]
    assert {a["href"][1:] for a in found.all("a")} <= set(ids)
    assert (
        [t for tag, t in found.texts if tag == "a"]
        == ["First", "Second"]
        == [t for tag, t in found.texts if tag == "h2"][1:]
    )
    labels = [a["aria-labelledby"] for _, a, _ in found.elements if "aria-labelledby" in a]
    assert set(labels) <= set(ids)


def test_texts_are_in_order_warnings_first(text):
    texts = [t for _, t in read(text).texts]
    expected = ("A warning.", "The first.", "The next.", "Contents", "A paragraph.", "Scores", "A note.", "Term", "Meaning.")
    places = [texts.index(t) for t in expected]
    assert places == sorted(places)
    assert "A warning." not in page("t", [], [])
    assert "warning" not in {a.get("class") for _, a, _ in read(page("t", ["x"], [])).elements}


def test_tables_have_headers_and_numbers_stand_right(text):
    found = read(text)
    cells = [(tag, a) for tag, a, path in found.elements if tag in ("td", "th")][:12]
    assert [a.get("scope") for tag, a in cells if tag == "th"] == ["col"] * 4 + ["row"] * 2
    assert [a["class"].split()[0] for _, a in cells] == ["text", "number", "number", "text"] * 3
    assert re.search(r"\.number \{[^}]*text-align: right", text)
    for tag, _, path in found.elements:
        if tag == "table":
            assert path[-1] == "div"
    boxes = [a for a in found.all("div") if a.get("class") == "box"]
    assert len(boxes) == 5  # two tables, three figures, each scrolls by itself, with the keyboard too
    assert all(a["tabindex"] == "0" and a["role"] == "region" for a in boxes)
    assert re.search(r"\.box \{[^}]*overflow-x: auto", text)


def test_figures_are_inline_named_and_on_white(text):
    found = read(text)
    cards = [a for a in found.all("div") if a.get("class") == "card"]
    assert [a["aria-label"] for a in cards] == [f"A curve. Caption of {name}." for name in ("one", "two", "three")]
    assert all(a["role"] == "img" for a in cards)
    assert [path[-1] for tag, _, path in found.elements if tag == "svg"] == ["div"] * 3
    assert re.search(r"\.card \{ background: #ffffff", text)
    assert "@media screen and (prefers-color-scheme: dark)" in text
    assert "@media print" in text


def test_everything_of_the_user_is_escaped():
    table = Table(EVIL, ("a", EVIL), ((EVIL, EVIL),), (EVIL,))
    drawn = Picture("evil", EVIL, EVIL, DRAWN.format("evil"))
    text = page(EVIL, [EVIL], [Section(EVIL, (EVIL,), (table,), (drawn,), ((EVIL, EVIL),))], [EVIL])
    assert "<script" not in text
    found = read(text)
    shown = [tag for tag, t in found.texts if t == EVIL]
    assert sorted(shown) == sorted(
        ["title", "h1", "p", "li", "a", "h2", "p", "h3", "th", "th", "td", "p", "h3", "figcaption", "dt", "dd"]
    )
    assert [a["aria-label"] for a in found.all("div") if "aria-label" in a] == [f"{EVIL}. {EVIL}"]


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["93.78", "100.00"], "number"),
        (["93.78 ± 0.45", "–"], "number"),
        (["-1.20 to +3.40", "+0.5 to +0.7"], "number"),
        (["< 0.001", "0.031"], "number"),
        (["3 x 1", "20 x 2"], "number"),
        (["1 of 3", ""], "number"),
        (["−4.0", "1e-05", "12 %", "30-500"], "number"),
        (["", ""], "text"),
        (["2.4.1", "30 Hz"], "text"),
        (["park", "12"], "text"),
        (["12", "Recurrent layers with attention"], "long"),
        ([], "text"),
    ],
)
def test_kinds_of_columns(cells, kind):
    assert kinds_of(Table("t", ("name", "what"), tuple(("x", cell) for cell in cells), ())) == ["text", kind]


def test_markdown_and_csv_survive_any_name():
    table = Table("T", ("a|b", "c"), (("x\ny", 'say "1,2"'), ("", "–")), ("note",))
    assert table.markdown().splitlines() == [
        "### T", "", "| a\\|b | c |", "|---|---|", '| x y | say "1,2" |', "|  | – |", "", "note  ",
    ]  # fmt: skip
    assert list(csv.reader(io.StringIO(table.csv()))) == [["a|b", "c"], ["x\ny", 'say "1,2"'], ["", "–"]]


def test_equal_input_gives_equal_bytes(text):
    assert page("t", ["a"], [Section("s", ("b",), (TABLE,), (picture(),))]) == page(
        "t", ["a"], [Section("s", ("b",), (TABLE,), (picture(),))]
    )


def test_no_control_character_reaches_a_page_or_a_table():
    """A terminal obeys them, XML forbids them; markup in Markdown is shown."""
    name = "\x1b[31mred\x07 </td><script>alert(1)</script> [a](javascript:b)"
    table = Table(name, ("a", name), (("=1+1", name),), (name,))
    html = page(name, [name], [Section(name, (name,), (table,))], [name])
    for text in (html, table.markdown(), table.csv(), table.csv(safe=True)):
        assert "\x1b" not in text
        assert "\x07" not in text
        assert r"\x1b[31mred\x07" in text
    assert "<script" not in html
    assert not re.search(r"(?<!\\)<(script|/td)|(?<!\\)\]\(", table.markdown())
    assert "'=1+1" in table.csv(safe=True)
