"""Text from outside: how it is parsed, how names are compared, and how they are shown on a terminal, in CSV and in Markdown.

Files and names may be a stranger's. See docs/decisions/0088-names.md.
"""

import json
import re
import tomllib
import unicodedata
from typing import Any

_MOST_DOTS = 100  # in a line of TOML: for each part of a dotted key, tomllib goes through all before it
LONGEST_NAME = 500  # characters of a name; to order the marks of a longer one may take seconds
LONGEST = 200  # characters of a stranger's text that a message shows

_SPACES = "\u2800"  # a blank that Unicode does not count as white space
# Default_Ignorable_Code_Point of Unicode 15, without the joiners below, and what else is drawn as nothing.
_INVISIBLE = (
    "\u00ad\u061c\u115f\u1160\u17b4\u17b5\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0"
    "\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_CONTROLS = "\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f"  # that are no white space
_REMOVED = re.compile(f"[{_INVISIBLE}{_CONTROLS}]")
_JOINERS = "\u034f\u180b-\u180f\u200c\u200d"  # they shape the letters of some scripts, and say nothing in others
_JOINER = re.compile(f"[{_JOINERS}]")
_WITHOUT_JOINERS = re.compile(  # scripts by the names of their characters
    "LATIN|GREEK|COPTIC|CYRILLIC|CJK|IDEOGRAPHIC|KANGXI|HIRAGANA|KATAKANA|HANGUL|BOPOMOFO|FULLWIDTH|HALFWIDTH|"
    "FEMININE|MASCULINE|MICRO|MODIFIER LETTER"
)

# Shown escaped: controls, line and paragraph separators, what turns the direction of text around, tags, and surrogates.
_DANGEROUS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\U000e0000-\U000e007f]")
_FORMULA = re.compile("'*\\s*[=+\\-@\uff1d\uff0b\uff0d\uff20\t\r\n]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s?%?|[+-]?(inf|nan)")


# --- parsing ----------------------------------------------------------------------------------------------------------


def parse_json(text: str | bytes, finite: bool = False) -> Any:
    """Parse JSON.

    Args:
        text: Text, or bytes in UTF-8.
        finite: Refuse NaN and Infinity, which are no JSON.

    Raises:
        ValueError: It is not JSON, or nested too deep, or too large.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant if finite else None)
    except (RecursionError, OverflowError, MemoryError) as error:
        raise ValueError(f"nested too deep or too large ({type(error).__name__})") from None


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML.

    Raises:
        ValueError: It is not TOML, or nested too deep, or a number of it is too long.
    """
    for number, line in enumerate(text.splitlines(), 1):
        if line.partition("#")[0].count(".") > _MOST_DOTS:
            raise ValueError(f"more than {_MOST_DOTS} dots in line {number}")
    try:
        return tomllib.loads(text)
    except (RecursionError, OverflowError, MemoryError) as error:
        raise ValueError(f"nested too deep, or a number is too long ({type(error).__name__})") from None


def short(text: str) -> str:
    """Return a text as a message shows it: cut where it is long."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


# --- comparing --------------------------------------------------------------------------------------------------------


def fold_name(name: str) -> str:
    r"""Return the spelling of a name by which it is compared: what looks the same is the same.

    That is NFC, single spaces in place of any white space, none at the ends, and no invisible characters. Joiners are
    removed beside letters of Latin, Greek, Cyrillic and of Chinese, Japanese and Korean. Other scripts need them. Of a name
    longer than `LONGEST_NAME`, only white space is folded.

    >>> fold_name("Cafe\u0301  du\u00a0Nord\u200b")
    'Café du Nord'
    """
    if len(name) > LONGEST_NAME or (name.isascii() and name.isprintable()):
        return " ".join(name.split())
    name = unicodedata.normalize("NFC", _REMOVED.sub("", name))
    if _JOINER.search(name):
        name = _without_idle_joiners(name)
    return unicodedata.normalize("NFC", " ".join(re.sub(f"[{_SPACES}]", " ", name).split()))


def fold_case(name: str) -> str:
    """Return the folded spelling without differences of upper and lower case."""
    if len(name) > LONGEST_NAME:
        return fold_name(name).casefold()
    folded = unicodedata.normalize("NFD", fold_name(name)).casefold()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", folded).casefold())


def match_name(name: str, names: tuple[str, ...]) -> str | None:
    """Find a name among others, as they are written or else as they are compared.

    Args:
        name: Name to find.
        names: Names of a model.

    Returns:
        The spelling among `names`, None where no name or more than one is the same.
    """
    if name in names:
        return name
    folded = fold_name(name)
    found = [other for other in names if fold_name(other) == folded]
    return found[0] if len(found) == 1 else None


def _without_idle_joiners(name: str) -> str:
    """Keep a joiner only beside a letter of a script that has joiners, or between two symbols (emoji)."""
    after, next_base = [""] * len(name), ""
    for i in range(len(name) - 1, -1, -1):
        after[i] = next_base
        next_base = name[i] if _is_base(name[i]) else next_base
    kept, before = [], ""
    for character, following in zip(name, after, strict=True):
        kinds = [_kind(before), _kind(following)] if _JOINER.match(character) else ["joined"]
        if "plain" not in kinds and ("joined" in kinds or kinds == ["symbol", "symbol"]):
            kept.append(character)
        before = character if _is_base(character) else before
    return "".join(kept)


def _is_base(character: str) -> bool:
    """Whether it is neither a mark nor a joiner."""
    return not _JOINER.match(character) and not unicodedata.category(character).startswith("M")


def _kind(character: str) -> str:
    if not character:
        return "none"
    category = unicodedata.category(character)
    if category in ("So", "Sk"):
        return "symbol"
    if not category.startswith("L"):
        return "none"
    return "plain" if _WITHOUT_JOINERS.match(unicodedata.name(character, "")) else "joined"


# --- showing ----------------------------------------------------------------------------------------------------------


def counted(n: int, word: str) -> str:
    """Return a number of things in words, `1 file` or `2 files`.

    Args:
        n: How many.
        word: One of them.
    """
    return f"{n} {word}" if n == 1 else f"{n} {word}s"


def show(text: str) -> str:
    r"""Return a text that does nothing but appear: escapes of a terminal, line ends and the like are written out.

    A second call changes nothing. JSON escapes by itself, and manifests keep paths as they are, so that they can be read.

    >>> print(show("\x1b[31mred\n"))
    \x1b[31mred\n
    """
    return _DANGEROUS.sub(lambda found: found[0].encode("unicode_escape", "backslashreplace").decode(), text)


def safe_cell(text: str) -> str:
    """Return a cell of CSV that no spreadsheet takes for a formula: an apostrophe stands before = + - @, tab and CR.

    Numbers stay as they are. `plain_cell` gives the text back.

    >>> safe_cell("=1+1"), safe_cell("-1.5"), safe_cell("rain")
    ("'=1+1", '-1.5', 'rain')
    """
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def plain_cell(text: str) -> str:
    """Return the text that `safe_cell` made a cell of."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def csv_cell(value: Any, safe: bool = False) -> Any:
    """Return a value as a cell of CSV: text as `show` writes it, but for line ends and tabs, and other values unchanged.

    Args:
        value: Text, a number, or None.
        safe: Whether text must not be taken for a formula.
    """
    if not isinstance(value, str):
        return value
    text = re.sub(r"[^\n\t]+", lambda found: show(found[0]), value)  # CSV has quotes for line ends
    return safe_cell(text) if safe else text


def markdown(text: str) -> str:
    r"""Return text for Markdown in which no markup of HTML, no link and no image is alive; line ends become spaces.

    >>> print(markdown("<b>x</b> [a](javascript:b) & a|b, p < 0.05 [19]"))
    \<b>x\</b> [a\](javascript:b) & a\|b, p < 0.05 [19]
    """
    text = show(" ".join(text.split()))
    text = re.sub(r"\\(?=[!-/:-@\[-`{-~])", r"\\\\", text)  # a backslash before punctuation would take away our own
    text = re.sub(r"<(?=[A-Za-z/!?])|\](?=[(\[:])|\||`", r"\\\g<0>", text)
    text = re.sub(r"(?i)&(?=#?\w+;)", "&amp;", text)
    text = re.sub(r"(?i)\b(https?|ftp|mailto|xmpp):", r"\1\\:", text)
    return re.sub(r"(?i)\bwww\.|(?<=[\w.+-])@(?=[\w-]+\.)", lambda found: f"{found[0][:-1]}\\{found[0][-1]}", text)


def check_scenes(names: Any) -> tuple[str, ...]:
    """Return the scenes of a header; raises `ValueError` unless they are names that differ to the eye."""
    if not isinstance(names, list):
        raise ValueError(f"scenes are {short(repr(names))}, expected a list of names")
    folded = dict[str, str]()
    for name in names:
        if not isinstance(name, str):
            raise ValueError(f"a scene is {short(repr(name))}, expected a name")
        if len(name) > LONGEST_NAME:
            raise ValueError(f"a scene has a name of {len(name)} characters, allowed are {LONGEST_NAME}")
        name.encode()  # ValueError: half of a surrogate pair is no text
        look = fold_name(name)
        if not look:
            raise ValueError(f"a scene is {name!r}, expected a name that can be seen")
        if look in folded:
            raise ValueError(f"scenes {folded[look]!r} and {name!r} look the same, expected different names")
        folded[look] = name
    if len(names) < 2:
        raise ValueError(f"scenes are {names}, expected two or more names")
    return tuple(names)
