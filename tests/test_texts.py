"""Text from outside: what is compared as one name, and what appears without doing anything."""

import csv
import io
import json
import time
import unicodedata

import pytest

from soundscene.texts import (
    LONGEST,
    LONGEST_NAME,
    counted,
    csv_cell,
    fold_case,
    fold_name,
    markdown,
    match_name,
    parse_json,
    parse_toml,
    plain_cell,
    safe_cell,
    short,
    show,
)

SAME = [  # several spellings of each name
    ("Café", ["Cafe\u0301", "Caf\u00e9", " Café\u200b", "Ca\u200dfé", "Cafe\u200b\u0301", "Caf\ufeffé", "C\u00adafé"]),
    ("city centre", ["city  centre", "city\u00a0centre", "city\u3000centre ", "\tcity\ncentre", "city\u2028centre"]),
    ("Москва", ["Москва", "Мос\u200cква", "\u202bМосква\u202c", "Москва\x00"]),
    ("Αθήνα", ["Αθη\u0301να", "Αθή\u200dνα", "\u2060Αθήνα"]),
    ("北京", ["北京", "北\u200d京", "北\ufe00京", "\u2066北京\u2069", "北京\U000e0100"]),
    ("서울", [unicodedata.normalize("NFD", "서울"), "서\u200c울", "서울\u3164"]),
    ("トウキョウ", ["トウキ\u200bョウ", "トウキョウ\u200d"]),
    ("می\u200cخواهم", ["می\u200cخواهم", "\u200fمی\u200cخواهم", "می\u200cخواهم\u200b"]),
    ("park 1", ["park 1\u200d", "park\u2800 1", "park 1\x1b"]),
    ("☕", ["☕\ufe0f", "☕"]),
]
OTHER = [  # that look different, or mean something else
    ("می\u200cخواهم", "میخواهم"),  # Persian writes the two with a joiner or as one word
    ("\u0915\u094d\u200d\u0937", "\u0915\u094d\u0937"),  # Hindi: a half letter, or a ligature
    ("\u0d28\u0d4d\u200d", "\u0d28\u0d4d"),  # Malayalam
    ("👩\u200d💻", "👩💻"),
    ("rain", "Rain"),
    ("ｒａｉｎ", "rain"),  # NFC, not NFKC
    ("a b", "ab"),
    ("\u0645\u0600", "\u0645"),  # an Arabic sign of Unicode's category for invisible characters, which is visible
]


@pytest.mark.parametrize(("name", "spellings"), SAME)
def test_what_looks_the_same_is_the_same(name: str, spellings: list[str]) -> None:
    assert {fold_name(spelling) for spelling in spellings} == {name}
    assert fold_name(name) == name


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_what_is_different_stays_different(one: str, other: str) -> None:
    assert fold_name(one) != fold_name(other)


def test_case_alone() -> None:
    for one, other in (("Rain", "RAIN\u200b"), ("Straße", "STRASSE"), ("CAFÉ", "cafe\u0301"), ("ΣΟΦΟΣ", "σοφος")):
        assert fold_name(one) != fold_name(other)
        assert fold_case(one) == fold_case(other)
    assert fold_case("rain") != fold_case("ruin")


def test_a_name_is_found_as_it_is_written_or_as_it_is_compared() -> None:
    names = ("Cafe\u0301", "rain", "a b", "a\u00a0b")
    assert match_name("Caf\u00e9", names) == "Cafe\u0301"
    assert match_name("a\u00a0b", names) == "a\u00a0b"
    assert match_name("a  b", names) is None, "two of the model's look like this"
    assert match_name("Rain", names) is None


@pytest.mark.parametrize("piece", ["\u0301\u0323", "\u200d", "a\u200d\u0301", "\u0645\u200d\u0301", "\u200b", "é "])
def test_no_name_takes_long(piece: str) -> None:
    started = time.process_time()
    for length in (LONGEST_NAME, LONGEST_NAME + 1, 10**5):
        text = (piece * length)[:length]
        fold_case(text)
        match_name(text, (text[:-1], "a"))
    assert time.process_time() - started < 1


@pytest.mark.parametrize("piece", ["<", "](", "http://", "a@", "&amp", "\\", "&#", "www.", "'", " ", "-1", "\x1b", "1"])
def test_no_text_takes_long_to_show(piece: str) -> None:
    started = time.process_time()
    text = piece * 10**4
    for shown in (show(text), safe_cell(text), plain_cell(text), safe_cell(f"{text}x")):
        assert len(shown) >= len(text) - 1
    assert len(markdown(text)) >= len(text.strip())
    assert time.process_time() - started < 1


EVIL = "\x1b[31mred\x1b[0m\x1b]0;title\x07 \x9b2J \u202egnp.exe \r\n \udc80 \U000e0041\u2028é 北京 می\u200cخواهم"


def test_nothing_shown_does_anything() -> None:
    shown = show(EVIL)
    assert shown.startswith(r"\x1b[31mred\x1b[0m\x1b]0;title\x07 \x9b2J \u202egnp.exe \r\n \udc80 \U000e0041\u2028é")
    assert shown.endswith("é 北京 می\u200cخواهم"), "letters of any script stay as they are"
    assert show(shown) == shown
    assert all(unicodedata.category(c) not in ("Cc", "Cs", "Zl", "Zp") for c in shown)
    assert show(r"C:\new\x1b") == r"C:\new\x1b"


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1 a", "-x", "@SUM(1)", "\t=1", "\r=1", " =1", "'=1", "''=1", "＝1", "－a", '=HYPERLINK("http://x","y")', "-"],
)
def test_no_safe_cell_is_a_formula_and_all_come_back(text: str) -> None:
    cell = safe_cell(text)
    assert cell == "'" + text
    assert plain_cell(cell) == text
    stream = io.StringIO()
    csv.writer(stream).writerow([csv_cell(text, safe=True), csv_cell(1.5, safe=True), csv_cell(None, safe=True)])
    assert not stream.getvalue().lstrip('"').startswith(("=", "+", "-", "@", "\t", "\r"))


@pytest.mark.parametrize("text", ["rain", "-1.5", "+3", "-1e-05", "-12 %", "'quoted'", "a=b", "1-2", "", "-inf"])
def test_what_is_no_formula_stays(text: str) -> None:
    assert safe_cell(text) == plain_cell(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("</script><script>alert(1)</script>", r"\</script>\<script>alert(1)\</script>"),
        ("[link](javascript:alert(1)) **b** |`", r"[link\](javascript:alert(1)) **b** \|\`"),
        (r"[x\](http://y)", r"[x\\\](http\://y)"),
        ("![i](//x)[r][s]", r"![i\](//x)[r\][s]"),
        ("[r]: http://x", r"[r\]: http\://x"),
        ("<https://x> https://x www.x.org a@b.org", r"\<https\://x> https\://x www\.x.org a\@b.org"),
        ("&lt;b&gt; &#60;", "&amp;lt;b&amp;gt; &amp;#60;"),
        ("two\nlines\x1b[1m", r"two lines\x1b[1m"),
        ("p < 0.05, 3 > 2, [19], R&D, night_crickets, 50 %", "p < 0.05, 3 > 2, [19], R&D, night_crickets, 50 %"),
    ],
)
def test_markdown_without_live_markup(text: str, expected: str) -> None:
    assert markdown(text) == expected


def test_markdown_shows_what_was_written() -> None:
    """Read by an engine of its own: no tag, no link, and the text as it was."""
    engine = pytest.importorskip("markdown_it").MarkdownIt("commonmark", {"html": True})
    for text in (
        "</script><script>alert(1)</script>",
        r"[x\](http://y) \\[a](b) ![c](d)",
        "<a href=x>&lt;",
        "[r]: http://x",
    ):
        html = engine.renderInline(markdown(text))
        assert not any(tag in html for tag in ("<a", "<script", "<img", "</script"))


@pytest.mark.parametrize("text", ["[" * 10**5, '{"a":' * 10**5, "9" * 5000, "", "\x00"], ids=range(5))
def test_what_no_parser_can_read_is_a_value_error(text: str) -> None:
    for parse in (parse_json, parse_toml):
        if text or parse is parse_json:
            with pytest.raises(ValueError, match=r".+"):
                parse(text)


def test_parsers_parse() -> None:
    assert parse_json(json.dumps({"a": [1, None]})) == {"a": [1, None]}
    assert parse_json(b'"\xc3\xa9"') == "é"
    assert parse_toml("a = [1, 2]") == {"a": [1, 2]}


def test_long_texts_are_cut() -> None:
    assert short("a" * LONGEST) == "a" * LONGEST
    assert short("a" * (LONGEST + 1)) == "a" * (LONGEST - 3) + "..."


def test_one_thing_is_not_many() -> None:
    assert [counted(n, "file") for n in (0, 1, 2)] == ["0 files", "1 file", "2 files"]
