"""Blocks of code in the documents: where each one is, and who runs it."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^( *)(`{3,})(\S*)[^\n]*\n(.*?)^ *\2 *$", re.MULTILINE | re.DOTALL)
WALKED = ("README.md", "docs/tutorials/*.md", "docs/guide/*.md")
"""Pages whose ```console blocks benchmarks/walk.py runs, in this order; in the slow tier tests/docs_site/test_walks.py."""


@dataclass(frozen=True)
class Block:
    """A block of code of a page.

    Attributes:
        page: Relative to the root of the repository.
        line: Of its fence.
        language: "" without one.
        text: What it holds.
        is_output: Whether it is the ```text block directly below a ```python block, which shows what that prints.
    """

    page: str
    line: int
    language: str
    text: str
    is_output: bool = False


def documents(root: Path = ROOT) -> list[Path]:
    """Return all pages: those of docs/, and those at the root and in benchmarks/ that are on the site too."""
    outside = [root / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/README.md")]
    return [path for path in (*outside, *sorted((root / "docs").rglob("*.md"))) if path.exists()]


def blocks_of(page: Path, root: Path = ROOT) -> list[Block]:
    """Return the blocks of a page in order."""
    text = page.read_text(encoding="utf-8")
    name = page.relative_to(root).as_posix()
    blocks: list[Block] = []
    end, before = 0, ""
    for found in BLOCK.finditer(text):
        is_output = found[3] == "text" and before == "python" and not text[end : found.start()].strip()
        line = text.count("\n", 0, found.start()) + 1
        blocks.append(Block(name, line, found[3], found[4], is_output))
        end, before = found.end(), found[3]
    return blocks


def walked(root: Path = ROOT) -> list[Path]:
    """Return the pages whose commands are run."""
    return [path for pattern in WALKED for path in sorted(root.glob(pattern))]
