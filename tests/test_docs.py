"""The documents tell the truth about the tree and the commands."""

import ast
import re
from pathlib import Path

import pytest
import typer

from soundscene.cli.app import app
from soundscene.recipe import Recipe

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted((ROOT / "docs" / "decisions").glob("*.md"))


def test_readme_tree_has_one_line_for_each_file_of_the_package() -> None:
    tree = README.split("## The tree")[1].split("```")[1]
    listed = [
        line.split()[0].split("/")[-1] for line in tree.splitlines() if line.split() and line.split()[0].endswith(".py")
    ]
    files = [p.name for p in (ROOT / "soundscene").rglob("*.py") if p.name != "__init__.py"]
    files += [p.name for p in (ROOT / "benchmarks").glob("*.py")]
    assert sorted(listed) == sorted(files)


def test_python_in_readme_is_valid() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert blocks
    for block in blocks:
        ast.parse(block)


def test_commands_and_options_of_readme_exist() -> None:
    group = typer.main.get_group(app)
    used = re.findall(r"^(?:\.venv/bin/)soundscene (\w+)(.*)$", README, re.MULTILINE)
    assert {name for name, _ in used} >= {"scan", "train", "evaluate", "predict", "info"}
    for name, rest in used:
        known = {option for parameter in group.commands[name].params for option in parameter.opts}
        assert set(re.findall(r"--\w+", rest.split("#")[0])) <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_decision_pages_have_number_question_and_choice(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"# {page.name[:4]} ")
    assert "**Question.**" in text
    assert "**Choice." in text
    assert not re.search(r"@[A-Z]+@|TODO", text)


def test_recipe_keys_named_in_documents_exist() -> None:
    keys = {f"{section}.{name}" for section, values in Recipe().to_dict().items() for name in values}
    sections = "|".join(Recipe().to_dict())
    for page in [ROOT / "README.md", *PAGES]:
        named = re.findall(rf"`(?:--set )?((?:{sections})\.[a-z_]+)(?: ?=[^`]*)?`", page.read_text(encoding="utf-8"))
        assert set(named) - {n for n in named if n.endswith(".py")} <= keys, page.name


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "guide").glob("*.md")), ids=lambda p: p.name)
def test_commands_options_pictures_and_links_of_the_guide_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    group = typer.main.get_group(app)
    for name, rest in re.findall(r"^\$ .*?\bsoundscene (\w+)([^|;]*)", text, re.MULTILINE):
        known = {option for parameter in group.commands[name].params for option in parameter.opts}
        assert set(re.findall(r"--\w+", rest)) <= known, (name, rest)
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (page.parent / target).exists(), target
    blocks = re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert all(block.startswith("$ ") and len(block.splitlines()) > 1 for block in blocks)  # a command and what it said
    assert blocks or page.name == "README.md"
