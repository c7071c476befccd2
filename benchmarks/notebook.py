"""Make a notebook of docs/guide/notebook.py, run it, and render it to HTML.

    python -m benchmarks.notebook [--source docs/guide/notebook.py] --out FOLDER

FOLDER gets the notebook with its output (.ipynb), the page (.html) and the files that the cells write. Needs the extra
`notebook`; `make notebook` installs it.
"""

import argparse
import re
import time
from pathlib import Path
from typing import Any

CELL = re.compile(r"^# %%(.*)$", re.MULTILINE)
LIMIT_S = 600


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=Path("docs/guide/notebook.py"))
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    import nbformat  # pyright: ignore[reportMissingImports]
    from nbclient import NotebookClient  # pyright: ignore[reportMissingImports]
    from nbconvert import HTMLExporter  # pyright: ignore[reportMissingImports]

    args.out.mkdir(parents=True, exist_ok=True)
    if left := sorted(path.name for path in args.out.iterdir()):
        raise SystemExit(f"{args.out}: holds {', '.join(left[:3])}; name an empty folder")
    started = time.perf_counter()
    notebook: Any = nbformat.v4.new_notebook()
    for kind, text in cells_of(args.source.read_text(encoding="utf-8")):
        make = nbformat.v4.new_markdown_cell if kind == "markdown" else nbformat.v4.new_code_cell
        notebook.cells.append(make(text))
    NotebookClient(notebook, timeout=LIMIT_S, kernel_name="python3", resources={"metadata": {"path": args.out}}).execute()
    nbformat.write(notebook, args.out / "notebook.ipynb")
    page, _ = HTMLExporter().from_notebook_node(notebook)
    (args.out / "notebook.html").write_text(page, encoding="utf-8")
    n = sum(cell.cell_type == "code" for cell in notebook.cells)
    print(f"{args.out}/notebook.html: {n} cells, {time.perf_counter() - started:.0f} s")
    return 0


def cells_of(text: str) -> list[tuple[str, str]]:
    """Divide a program at its lines `# %%` into cells: (markdown or code, text)."""
    parts = CELL.split(text)[1:]
    cells = []
    for mark, body in zip(parts[::2], parts[1::2], strict=True):
        if "[markdown]" in mark:
            cells.append(("markdown", re.sub(r"^# ?", "", body.strip(), flags=re.MULTILINE)))
        else:
            cells.append(("code", body.strip()))
    return cells


if __name__ == "__main__":
    raise SystemExit(main())
