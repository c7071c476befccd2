"""Generated pages say what the code says, all of it."""

import re

import msgspec
import pytest
import typer

import soundscene
from docs_site import api, formats, recipe_keys
from docs_site.commands import command_pages, escape
from soundscene.cli.app import app
from soundscene.errors import RecipeError
from soundscene.recipe import Recipe
from tests.support.command_line import run

PAGES = command_pages()
GROUP = typer.main.get_group(app)


def plain(text: str) -> str:
    """Return text without the escapes of Markdown, in one line."""
    return " ".join(re.sub(r"\\(.)", r"\1", text).split())


@pytest.mark.parametrize("command", sorted(GROUP.commands))
def test_a_page_has_what_help_prints(
    command: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "300")  # no text is wrapped
    assert run(command, "--help") == 0
    shown = capfd.readouterr().out.translate(str.maketrans("│╭╮╰╯─", "      "))
    page = plain(PAGES[command])
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+(?= )", shown)) - {"--help"}
    heads = re.findall(r"^```\{option\} (.*)$", PAGES[command], re.MULTILINE)
    assert options >= {name for head in heads for name in re.findall(r"--[a-z][a-z0-9-]+", head)}
    assert all(any(name in head for head in heads) or name in page for name in options)
    texts = [
        re.split(r"\s{2,}", line.strip())[-1].removesuffix("[required]").strip()
        for line in shown.splitlines()
        if "--" in line
    ]
    for text in texts:
        without_default = re.sub(r"\s*\[(default|required).*", "", text)
        assert without_default in page or without_default.startswith(("Usage", "Show this message")), text


def test_every_command_is_listed() -> None:
    assert set(PAGES) == {"index", *GROUP.commands}
    assert all(f"({name}.md)" in PAGES["index"] for name in GROUP.commands)


def test_markup_in_a_help_text_is_escaped() -> None:
    assert escape("a|b *c* `d*e` <f>") == r"a\|b \*c\* `d*e` \<f\>"
    assert escape("it`s") == "its"
    assert escape(r"N\[,seed]") == r"N\[,seed\]"


def test_every_recipe_key_has_a_row_with_a_default_that_is_allowed() -> None:
    page = recipe_keys.recipe_page()
    for section, values in Recipe().to_dict().items():
        for name in values:
            assert len(re.findall(rf"^\| `{section}\.{name}` \|", page, re.MULTILINE)) == 1


@pytest.mark.parametrize(
    ("key", "words", "inside", "outside"),
    [
        ("training.epochs", "1 to 10000, whole", ["1", "10000"], ["0", "10001", "1.5"]),
        ("network.conv_dropout", "0 to below 1", ["0.0", "0.999"], ["1.0"]),
        ("audio.last_piece", "above 0 to 1", ["0.01", "1.0"], ["0.0"]),
        ("features.kind", "gammatone, mel", ["mel", "gammatone"], ["cqt"]),
    ],
)
def test_allowed_values_are_those_that_a_recipe_takes(key: str, words: str, inside: list[str], outside: list[str]) -> None:
    section, name = key.split(".")
    fields = {field.name: field for field in msgspec.structs.fields(type(getattr(Recipe(), section)))}
    assert recipe_keys.allowed(msgspec.inspect.type_info(fields[name].type)) == words
    assert all(Recipe().with_settings([f"{key}={value}"]) for value in inside)
    for value in outside:
        with pytest.raises(RecipeError):
            Recipe().with_settings([f"{key}={value}"])


def test_presets_are_shown_where_they_differ() -> None:
    page = recipe_keys.recipe_page()
    assert "| `network.attention_scale` | mean-preserving, printed, printed-2h | `mean-preserving` |  | `printed` |" in page
    assert "`training.epochs` | 1 to 10000, whole | `500` | `30` |  |" in page


def test_public_names_have_their_page() -> None:
    shown = {name for page in api.PUBLIC.values() for name in page.names}
    assert shown >= set(soundscene.__all__) - {"__version__"}


def test_modules_of_the_reference_exist_and_have_a_first_line() -> None:
    assert all(api.first_line(name) for names in api.MODULES.values() for name in names.split())


def test_a_column_without_a_remark_fails() -> None:
    assert "| `change_probability` |" in formats.formats_page()
    with pytest.raises(KeyError):
        formats.columns(("path", "new_column"))
