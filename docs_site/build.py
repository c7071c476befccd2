"""Build the site of the documents: `python -m docs_site.build [--out FOLDER]`; see docs/decisions/0139-the-site.md.

The pages of the repository and those that are generated (API, commands, recipe, formats, decisions) are put into one folder,
from which Sphinx makes the site. A warning of Sphinx is an error.
"""

import argparse
import filecmp
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

from docs_site import api, commands, formats, recipe_keys
from docs_site.check import check_site
from docs_site.pages import LINK, Linker, lines_of, pages, place

ROOT = Path(__file__).parents[1]
SECTIONS = {
    "tutorials": ["/tutorials/*", "/first-minutes"],
    "guide": ["*"],  # before them those that its README.md links, in its order
    "explanation": ["method", "*", "/architecture", "/performance"],
    "reference": ["commands/index", "api/index", "recipe", "*", "/promises"],
    "results": ["/LOG", "/reproducing", "**/*"],
    "decisions": ["*"],
    "project": ["/overview", "changelog", "/migration", "contributing", "*", "/release"],
}
"""Folder -> the pages of its section. A page that no section lists is a warning of Sphinx."""


class SiteError(Exception):
    """The site cannot be built; the message says what to change."""


def stage(root: Path, out: Path) -> None:
    """Write the sources of the site.

    Args:
        root: The repository.
        out: Folder to write; what it held is removed.

    Raises:
        SiteError: A link leads nowhere.
    """
    shutil.rmtree(out, ignore_errors=True)
    linker = Linker(root, out)
    for page in pages(root):
        text = linker.turn(page, (root / page).read_text(encoding="utf-8"))
        is_report = page.is_relative_to("docs/results") and page.name != "README.md"
        _write(out / place(page), with_title(text, f"{page.parent.name}: {page.stem}") if is_report else text)
    if linker.broken:
        raise SiteError("links that lead nowhere:\n" + "\n".join(linker.broken))
    for name, text in generated_pages().items():
        _write(out / "reference" / name, text)
    _write(out / "decisions" / "index.md", decisions_page(root / "docs" / "decisions"))
    _write(out / "project" / "index.md", "# Project\n\nWhat changed, how to contribute, and how releases are made.\n")
    for folder in SECTIONS:
        entries = section(out, folder)
        _append(out / folder / "index.md", toctree(entries, hidden=folder not in ("reference", "project")))
    _append(out / "index.md", toctree([f"{folder}/index" for folder in SECTIONS]))


def generated_pages() -> dict[str, str]:
    """Return the pages of the reference, by their path in it."""
    generated = {f"commands/{name}.md": text for name, text in commands.command_pages().items()}
    generated |= {f"api/{name}": text for name, text in api.api_pages().items()}
    return generated | {"recipe.md": recipe_keys.recipe_page(), "formats.md": formats.formats_page()}


def toctree(entries: list[str], hidden: bool = True) -> str:
    """Return the block that lists the pages of a section.

    Args:
        entries: Names of pages.
        hidden: Whether the list is in the navigation only.
    """
    lines = ["```{toctree}", ":maxdepth: 1", *([":hidden:"] if hidden else []), "", *entries, "```"]
    return "\n" + "\n".join(lines) + "\n"


def decisions_page(folder: Path) -> str:
    """Return the page that lists the decisions.

    Args:
        folder: Their folder.
    """
    head = "# Decisions\n\nChoices that somebody could have made otherwise: question, choice, and what was measured.\n\n"
    rows = []
    for page in sorted(folder.glob("*.md")):
        number, _, title = page.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ").partition(" ")
        rows.append(f"| [{number}]({page.name}) | {title} |")
    return head + "\n".join(["| | decision |", "|---|---|", *rows]) + "\n"


def build(root: Path, out: Path, fresh: bool = True) -> int:
    """Build the site.

    Args:
        root: The repository.
        out: Folder for the site; its sources and Sphinx's cache are put beside it.
        fresh: Whether to begin from nothing.

    Returns:
        The exit code of Sphinx.
    """
    from sphinx.cmd.build import build_main

    sources, cache = out.with_name(out.name + "-source"), out.with_name(out.name + "-cache")
    if fresh:
        shutil.rmtree(out, ignore_errors=True)
        shutil.rmtree(cache, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        stage(root, Path(folder) / "new")
        replace_changed(Path(folder) / "new", sources)
    strict = ["-b", "html", "-W", "--keep-going", "-q", "-c", str(root / "docs_site"), "-d", str(cache)]
    return build_main([*strict, str(sources), str(out)])


def replace_changed(new: Path, old: Path) -> None:
    """Make a folder equal to another; a file that is equal already keeps its time, so that Sphinx passes over it.

    Args:
        new: The folder as it shall be.
        old: The folder to change.
    """
    wanted = {path.relative_to(new) for path in new.rglob("*") if path.is_file()}
    for path in [path for path in old.rglob("*") if path.is_file()]:
        if path.relative_to(old) not in wanted:
            path.unlink()
    for name in wanted:
        if not (old / name).is_file() or not filecmp.cmp(new / name, old / name, shallow=False):
            (old / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(new / name, old / name)


def section(out: Path, folder: str) -> list[str]:
    """Return the pages of a section in order: those that its patterns name; of the guide first those that its index links.

    Args:
        out: Sources of the site.
        folder: Of the section.
    """
    index = out / folder / "index.md"
    patterns = list(SECTIONS[folder])
    if folder == "guide":
        patterns = [*(link.removesuffix(".md") for link in links_of(index.read_text(encoding="utf-8"))), *patterns]
    names: dict[str, None] = {}
    for pattern in patterns:
        base = out if pattern.startswith("/") else out / folder
        for suffix in (".md", ".rst"):
            found = sorted(base.glob(pattern.lstrip("/") + suffix))
            names |= {f"/{path.relative_to(out).with_suffix('').as_posix()}": None for path in found if path != index}
    return list(names)


def links_of(text: str) -> list[str]:
    """Return the targets of the links of a page, in order."""
    return list(dict.fromkeys(link[1] for link in LINK.finditer(text)))


def with_title(text: str, title: str) -> str:
    r"""Return a generated report with one title and no level of headings left out, as Sphinx wants pages.

    Args:
        text: Markdown.
        title: For a page that has none, or several.

    >>> with_title("### a\n##### b\n", "page")
    '# page\n\n## a\n### b\n'
    """
    lines = list(lines_of(text))
    levels = [len(line) - len(line.lstrip("#")) for line, is_code in lines if not is_code and re.match(r"#{1,6} ", line)]
    has_title = levels[:1] == [1] and levels.count(1) == 1
    new = {level: "#" * (place + (1 if has_title else 2)) for place, level in enumerate(sorted(set(levels)))}
    parts = [
        new[len(found[1])] + line[len(found[1]) :] if not is_code and (found := re.match(r"(#{1,6}) ", line)) else line
        for line, is_code in lines
    ]
    return ("" if has_title else f"# {title}\n\n") + "".join(parts)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _append(path: Path, text: str) -> None:
    _write(path, path.read_text(encoding="utf-8") + text)


def main() -> None:
    """Build the site, check it, and say what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "site")
    parser.add_argument("--again", action="store_true", help="Keep what has not changed.")
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    try:
        code = build(ROOT, arguments.out, not arguments.again)
    except SiteError as error:
        sys.exit(f"docs_site: {error}")
    cpu = sum(os.times()[:4])
    faults = check_site(arguments.out) if code == 0 else []
    for fault in faults:
        sys.stderr.write(f"{fault}\n")
    n_pages = len(list(arguments.out.rglob("*.html")))
    sys.stdout.write(f"{arguments.out / 'index.html'}: {n_pages} pages, {cpu:.1f} s of CPU\n")
    sys.exit(code or bool(faults))


if __name__ == "__main__":
    main()
