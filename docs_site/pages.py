"""Pages of the repository as pages of the site: where each one is put, and where its links lead there.

Pages stay plain Markdown, so their links work in the repository too. On the way to the site they are turned. A file that is
no page, such as a program, is copied and can be opened from the page.
"""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

FENCE = re.compile(r"^ *(`{3,}|~{3,})")
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)")
ROOT_PAGES = {
    "README.md": "overview.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "benchmarks/README.md": "project/benchmarks.md",
}
"""Pages outside of docs/ -> their places on the site."""
FILES = PurePosixPath("files")


def pages(root: Path) -> list[PurePosixPath]:
    """Return the pages of a repository, relative to its root."""
    found = [path.relative_to(root).as_posix() for path in sorted((root / "docs").rglob("*.md"))]
    return [PurePosixPath(path) for path in (*ROOT_PAGES, *found)]


def place(page: PurePosixPath) -> PurePosixPath:
    """Return where a page is on the site; the README.md of a folder is the folder's index.

    >>> place(PurePosixPath("docs/guide/README.md")).as_posix()
    'guide/index.md'
    """
    if page.as_posix() in ROOT_PAGES:
        return PurePosixPath(ROOT_PAGES[page.as_posix()])
    inside = page.relative_to("docs")
    return inside.with_name("index.md") if inside.name == "README.md" else inside


def lines_of(text: str) -> Iterator[tuple[str, bool]]:
    """Yield the lines of a page, each with whether it belongs to a fenced block of code."""
    fence = ""
    for line in text.splitlines(keepends=True):
        found = FENCE.match(line)
        if not fence and found:
            fence = found[1]
            yield line, True
        elif fence:
            yield line, True
            if found and found[1].startswith(fence) and line.strip() == found[1]:
                fence = ""
        else:
            yield line, False


class Linker:
    """Turns the links of pages, and copies the files that they lead to.

    Attributes:
        broken: Links that lead nowhere, as "page: link".
    """

    def __init__(self, root: Path, out: Path) -> None:
        self.root = root
        self.out = out
        self.broken: list[str] = []

    def turn(self, page: PurePosixPath, text: str) -> str:
        """Return the text of a page with the links of the site; code stays as it is.

        Args:
            page: The page, relative to the root of the repository.
            text: Its Markdown.
        """
        return "".join(line if is_code else self._turn_line(page, line) for line, is_code in lines_of(text))

    def _turn_line(self, page: PurePosixPath, line: str) -> str:
        masked = CODE.sub(lambda code: "x" * len(code[0]), line)  # of equal length, so that positions are those of the line
        turned, at = "", 0
        for link in LINK.finditer(masked):
            turned += line[at : link.start(1)] + self.target(page, link[1])
            at = link.end(1)
        return turned + line[at:]

    def target(self, page: PurePosixPath, target: str) -> str:
        """Return what a link becomes; a link to the network, or inside of the page, stays.

        Args:
            page: The page that has it, relative to the root of the repository.
            target: What stands between the brackets.
        """
        path, hash_, anchor = target.partition("#")
        if not path or re.match(r"[a-z]+:", path):
            return target
        meant = PurePosixPath(os.path.normpath(page.parent / path))
        if (self.root / meant).is_dir():  # decisions have no index but on the site
            meant = meant / "README.md"
            known = (self.root / meant).is_file() or meant == PurePosixPath("docs/decisions/README.md")
        else:
            known = (self.root / meant).is_file()
        if not known or meant.is_absolute() or meant.parts[0] == "..":
            self.broken.append(f"{page}: {target}")
            return target
        if meant.suffix == ".md" and (meant.parts[0] == "docs" or meant.as_posix() in ROOT_PAGES):
            there = place(meant)
        else:
            there = FILES / meant
            (self.out / there).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.root / meant, self.out / there)
        return os.path.relpath(there, place(page).parent) + hash_ + anchor
