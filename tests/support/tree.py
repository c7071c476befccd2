"""The package tree of docs/architecture.md, generated from the first docstring line of each module.

    python -m tests.support.tree

rewrites it; `tests/test_docs.py` compares it.
"""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "architecture.md"
START, END = "<!-- tree: python -m tests.support.tree -->\n", "<!-- end of tree -->"


def tree(package: Path) -> str:
    """Return one line per module: its name, and the first line of its docstring. Empty files are left out."""
    lines = [f"{package.name}/", *_lines(package, "  ")]
    return "\n".join(["```text", *lines, "```"]) + "\n"


def split_page(text: str) -> tuple[str, str, str]:
    """Return what stands before the tree, the tree, and what stands after it."""
    before, rest = text.split(START)
    block, after = rest.split(END)
    return before, block, after


def _lines(folder: Path, indent: str) -> list[str]:
    lines = []
    for path in sorted(folder.iterdir(), key=lambda path: (path.is_dir(), path.name)):
        if path.is_dir() and any(path.glob("*.py")):
            lines += [f"{indent}{path.name}/", *_lines(path, indent + "  ")]
        elif path.suffix == ".py" and (docstring := ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))):
            lines.append(f"{indent}{path.name:<{28 - len(indent)}} {docstring.splitlines()[0]}")
    return lines


def main() -> None:
    """Rewrite the tree on the page."""
    before, _, after = split_page(PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(before + START + tree(ROOT / "soundscene") + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
