"""Where pages of the repository are put on the site, and where their links lead there."""

import os
from pathlib import Path, PurePosixPath

import pytest

from docs_site.build import ROOT, SECTIONS, SiteError, replace_changed, section, stage, with_title
from docs_site.pages import Linker, place


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with two pages of the guide, a decision and a program."""
    texts = {
        "README.md": "[a](docs/guide/a.md) `[code](nowhere.md)` [`code`](docs/guide/) [net](https://example.org) [self](#x)",
        "CHANGELOG.md": "# Changes",
        "CONTRIBUTING.md": "# Contributing",
        "benchmarks/README.md": "# Programs\n\n[walk](walk.py)",
        "benchmarks/walk.py": "print(1)",
        "docs/guide/README.md": "# Guide\n\n[a](a.md)",
        "docs/guide/a.md": "# A\n\n[home](../../README.md#install) [all](../decisions/)\n\n```\n[code](nowhere.md)\n```\n",
        "docs/decisions/0001-x.md": "# 0001 X",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def turned(root: Path, page: str) -> str:
    linker = Linker(root, root / "out")
    text = linker.turn(PurePosixPath(page), (root / page).read_text())
    assert not linker.broken
    return text


def test_links_lead_to_the_places_of_pages(root: Path) -> None:
    assert turned(root, "README.md") == (
        "[a](guide/a.md) `[code](nowhere.md)` [`code`](guide/index.md) [net](https://example.org) [self](#x)"
    )
    assert turned(root, "docs/guide/a.md").splitlines()[2] == "[home](../overview.md#install) [all](../decisions/index.md)"


def test_code_stays_as_it_is(root: Path) -> None:
    assert turned(root, "docs/guide/a.md").endswith("```\n[code](nowhere.md)\n```\n")


def test_a_file_that_is_no_page_is_copied(root: Path) -> None:
    assert "[walk](../files/benchmarks/walk.py)" in turned(root, "benchmarks/README.md")
    assert (root / "out" / "files" / "benchmarks" / "walk.py").read_text() == "print(1)"


@pytest.mark.parametrize("target", ["b.md", "../../../outside.md", "/etc/passwd", "../missing/"])
def test_links_that_lead_nowhere_are_named(root: Path, target: str) -> None:
    linker = Linker(root, root / "out")
    linker.turn(PurePosixPath("docs/guide/a.md"), f"[x]({target})")
    assert linker.broken == [f"docs/guide/a.md: {target}"]


def test_a_broken_link_ends_the_build(root: Path) -> None:
    (root / "docs" / "guide" / "a.md").write_text("[x](gone.md)")
    with pytest.raises(SiteError, match=r"docs/guide/a\.md: gone\.md"):
        stage(root, root / "out")


def test_a_new_page_of_the_guide_is_listed_behind_those_that_the_index_links(tmp_path: Path) -> None:
    folder = tmp_path / "guide"
    folder.mkdir()
    (folder / "index.md").write_text("1. [z](z.md)\n2. [b](b.md)")
    for name in ("a", "b", "z"):
        (folder / f"{name}.md").write_text(f"# {name}")
    assert section(tmp_path, "guide") == ["/guide/z", "/guide/b", "/guide/a"]


def test_pages_of_the_repository_are_all_in_one_section_only(tmp_path: Path) -> None:
    stage(ROOT, tmp_path / "source")
    listed = [name for folder in SECTIONS for name in section(tmp_path / "source", folder)]
    pages = {f"/{path.relative_to(tmp_path / 'source').with_suffix('')}" for path in (tmp_path / "source").rglob("*.md")}
    below = {page for page in pages if page.startswith(("/reference/api/", "/reference/commands/", "/files/"))}
    indexes = {f"/{folder}/index" for folder in SECTIONS}
    assert sorted(set(listed) - {"/reference/api/index", "/reference/commands/index"}) == sorted(
        pages - below - indexes - {"/index"}
    )
    assert len(listed) == len(set(listed))


def test_places() -> None:
    assert place(PurePosixPath("README.md")).as_posix() == "overview.md"
    assert place(PurePosixPath("docs/results/README.md")).as_posix() == "results/index.md"


def test_reports_get_one_title_and_no_gap_between_levels() -> None:
    assert with_title("# t\n\n### a\n\n```\n# code\n```\n", "x") == "# t\n\n## a\n\n```\n# code\n```\n"
    assert with_title("no heading\n", "x") == "# x\n\nno heading\n"
    assert with_title("# a\n# b\n", "x") == "# x\n\n## a\n## b\n"


def test_only_changed_sources_are_written(tmp_path: Path) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    for folder, texts in (
        (new, {"a/same": "1", "a/other": "2", "added": "3"}),
        (old, {"a/same": "1", "a/other": "x", "gone": ""}),
    ):
        for name, text in texts.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
    os.utime(old / "a" / "same", (1, 1))
    replace_changed(new, old)
    assert {p.relative_to(old).as_posix(): p.read_text() for p in old.rglob("*") if p.is_file()} == {
        "a/same": "1",
        "a/other": "2",
        "added": "3",
    }
    assert (old / "a" / "same").stat().st_mtime == 1
