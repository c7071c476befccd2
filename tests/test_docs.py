"""Documents against the code: commands, options, names, links, and the generated tree."""

import ast
import re
from pathlib import Path

import typer

from soundscene.cli.app import app
from soundscene.recipe import Recipe
from tests.support.tree import PAGE, split_page, tree

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
DECISIONS = sorted((DOCS / "decisions").glob("*.md"))
GUIDE = sorted((DOCS / "guide").glob("*.md"))
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/README.md")),
    *sorted(DOCS.glob("*.md")),
    DOCS / "results" / "README.md",
    *DECISIONS,
    *GUIDE,
]
README_LIMIT = 9000  # characters
WORDS = r"flatters?|flattering|gone on with|goes on where|never heard|judges?"


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_readme_is_short_and_starts_with_what_it_is():
    text = text_of(ROOT / "README.md")
    assert len(text) <= README_LIMIT
    assert "it predicts where a recording was made" in text.splitlines()[2]


def test_tree_is_the_one_that_the_modules_give():
    assert split_page(text_of(PAGE))[1] == tree(ROOT / "soundscene"), "run `python -m tests.support.tree`"


def test_relative_links_and_pictures_exist():
    missing = [
        f"{name_of(page)}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text_of(page))
        if not target.startswith("http") and not (page.parent / target).exists()
    ]
    assert not missing


def test_files_named_in_code_style_exist():
    """`benchmarks/x.py`, `tests/x.py` and `package/module.py` in the text of all pages but the history."""
    missing = [
        f"{name_of(page)}: {path}"
        for page in PAGES
        if page.name not in ("CHANGELOG.md", "migration.md")
        for path in re.findall(r"`(?:python )?((?:[a-z_0-9]+/)+[a-z_0-9]+\.py)", text_of(page))
        if not (ROOT / path).exists() and not (ROOT / "soundscene" / path).exists()
    ]
    assert not missing


def test_commands_and_options_in_readme_and_guide_exist():
    group = typer.main.get_group(app)
    wrong = []
    used: set[str] = set()
    for page in (ROOT / "README.md", DOCS / "migration.md", *GUIDE):
        for name, rest in re.findall(
            r"(?:^\$ .*?|^|`)\bsoundscene (?!is\b)([a-z]+)([^|;`\n#]*)", text_of(page), re.MULTILINE
        ):
            if name not in group.commands:
                wrong += [f"{name_of(page)}: soundscene {name}"] if rest.strip() else []
                continue
            used.add(name)
            known = {option for parameter in group.commands[name].params for option in parameter.opts} | {"--help"}
            wrong += [f"{name_of(page)}: {name} {option}" for option in set(re.findall(r"--[a-z-]+", rest)) - known]
    assert not wrong
    assert used >= set(group.commands) - {"demo"}


def test_console_blocks_show_a_command_and_its_output():
    wrong = []
    for page in (ROOT / "README.md", *GUIDE):
        for block in re.findall(r"^```console\n(.*?)^```$", text_of(page), re.MULTILINE | re.DOTALL):
            if not block.startswith("$ ") or len(block.splitlines()) < 2 or "Traceback" in block:
                wrong.append(f"{name_of(page)}: {block.splitlines()[0]}")
    assert not wrong


def test_python_in_readme_is_valid_and_short():
    blocks = re.findall(r"```python\n(.*?)```", text_of(ROOT / "README.md"), re.DOTALL)
    assert blocks
    for block in blocks:
        assert ast.parse(block).body
        assert sum(bool(line.strip()) for line in block.splitlines()) <= 12


def test_decision_pages_have_number_question_and_choice():
    wrong = []
    for page in DECISIONS:
        text = text_of(page)
        if not text.startswith(f"# {page.name[:4]} ") or "**Question.**" not in text or "**Choice." not in text:
            wrong.append(page.name)
        if re.search(r"@[A-Z]+@|TODO", text):
            wrong.append(f"{page.name}: unfinished")
    assert not wrong
    numbers = [page.name[:4] for page in DECISIONS]
    assert sorted(set(numbers)) == numbers


def test_recipe_keys_named_in_documents_exist():
    keys = {f"{section}.{name}" for section, values in Recipe().to_dict().items() for name in values}
    sections = "|".join(Recipe().to_dict())
    wrong = []
    for page in PAGES:
        named = re.findall(rf"`(?:--set )?((?:{sections})\.[a-z_]+)(?: ?=[^`]*)?`", text_of(page))
        wrong += [f"{name_of(page)}: {key}" for key in named if key not in keys and not is_module(key)]
    assert not wrong


def is_module(dotted: str) -> bool:
    parts = dotted.split(".")
    return parts[-1] == "py" or (ROOT / "soundscene" / parts[0] / f"{parts[1]}.py").exists()


def test_new_names_of_the_migration_page_exist():
    sources = "\n".join(text_of(path) for path in (ROOT / "soundscene").rglob("*.py"))
    missing = []
    for row in re.findall(r"^\|[^|]*\|([^|]*)\|$", text_of(DOCS / "migration.md"), re.MULTILINE):
        for name in re.findall(r"`([\w.]+)`", row.replace("(still `room` in plan.json)", "")):
            path = ROOT.joinpath(*name.split("."))
            exists = path.is_dir() or path.with_suffix(".py").exists() if name.startswith("soundscene.") else None
            if exists is None:
                last = name.split(".")[-1]
                exists = re.search(rf"(class|def) {last}\b|^\s+{last}: |^{last} = ", sources, re.MULTILINE) is not None
            if not exists:
                missing.append(name)
    assert not missing


def test_each_benchmark_has_its_line():
    listed = re.findall(r"^\| \[(\w+\.py)\]", text_of(ROOT / "benchmarks" / "README.md"), re.MULTILINE)
    assert listed == sorted(path.name for path in (ROOT / "benchmarks").glob("*.py"))


def test_pages_for_users_use_the_words_of_the_field():
    pages = (ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", DOCS / "migration.md", *GUIDE)
    wrong = []
    for page in pages:
        prose = re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL)
        wrong += [f"{name_of(page)}: {word}" for word in re.findall(rf"\b(?:{WORDS})\b", prose)]
    assert not wrong
