"""No block of code in the documents escapes: a test runs it, or it is named here with the reason."""

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

from benchmarks import walk
from tests.support.blocks import ROOT, Block, blocks_of, documents, walked
from tests.support.tree import END, START

MEASURED = "the command of a measurement: hours, a corpus or a machine that is not at hand"
INSTALLS = "installs from a package index"
OWN_FILES = "files of the reader's own; commands and options are checked by tests/test_docs.py"
NOT_RUN: dict[tuple[str, str], tuple[int, str]] = {
    # page, language -> how many blocks, and why no test runs them
    ("README.md", ""): (3, f"make demo and make test; {INSTALLS}; experiments of hours"),
    ("CONTRIBUTING.md", ""): (1, "lists the targets of make; tests would run themselves"),
    ("docs/index.md", ""): (1, OWN_FILES),
    ("docs/first-minutes.md", "console"): (6, "recordings of ambience11, which are not part of the project"),
    ("docs/guide/export.md", ""): (1, INSTALLS),
    ("docs/guide/export.md", "javascript"): (1, "needs Node.js with a package of its own"),
    ("docs/guide/hub.md", ""): (3, "a repository of the reader's own; tests/test_hub.py has a stand-in"),
    ("docs/guide/page.md", ""): (1, "a web server that does not end; tests/page exports pages"),
    ("docs/guide/container.md", ""): (2, "needs a container daemon; tests/serve/test_container.py does the steps without"),
    ("docs/guide/service.md", ""): (2, f"{INSTALLS}; a service that does not end; curl"),
    ("docs/guide/sixteen.md", ""): (1, OWN_FILES),
    ("docs/guide/transfer.md", ""): (3, "needs YAMNet's published weights, or an encoder of the reader's own"),
    ("docs/reproducing.md", ""): (3, "LITIS Rouen, which is not at hand; days"),
    ("docs/explanation/method.md", "math"): (5, "equations"),
    ("docs/LOG.md", ""): (5, MEASURED),
    ("docs/results/parity.md", ""): (2, MEASURED),
    ("docs/results/kept/README.md", ""): (1, MEASURED),
    ("docs/results/robust/README.md", ""): (1, MEASURED),
    ("docs/results/transfer/README.md", ""): (2, MEASURED),
    ("docs/decisions/0003-attention-scale.md", ""): (1, MEASURED),
    ("docs/decisions/0050-feature-store.md", ""): (2, MEASURED),
    ("docs/decisions/0060-peers.md", ""): (1, INSTALLS),
    ("docs/decisions/0061-bulk-prediction.md", ""): (1, MEASURED),
    ("docs/decisions/0063-training-on-a-gpu.md", ""): (1, MEASURED),
    ("docs/decisions/0070-timeline.md", ""): (2, MEASURED),
    ("docs/decisions/0071-unfamiliarity.md", ""): (1, MEASURED),
    ("docs/decisions/0072-explain.md", ""): (1, MEASURED),
    ("docs/decisions/0074-live.md", ""): (1, MEASURED),
    ("docs/decisions/0101-the-default-of-train.md", ""): (2, MEASURED),
    ("docs/decisions/0106-the-arms.md", ""): (1, MEASURED),
    ("docs/decisions/0130-the-service.md", ""): (1, MEASURED),
    ("docs/decisions/0114-table3-in-a-report.md", ""): (1, MEASURED),
    ("docs/decisions/0115-temporal-transformer-and-lstm-sa.md", ""): (1, MEASURED),
    ("docs/decisions/0117-scene-and-speech-trees.md", ""): (1, MEASURED),
}


def escaping(blocks: list[Block], pages: list[str]) -> Counter[tuple[str, str]]:
    """Count the blocks that no test runs, by page and language."""
    found: Counter[tuple[str, str]] = Counter()
    for block, after in zip(blocks, [*blocks[1:], None], strict=True):
        printed = after is not None and after.is_output and after.page == block.page
        is_walked = block.page in pages and (block.language == "console" or (block.language == "python" and printed))
        is_tested = block.language == "python" and has_test(block.page)
        if not (block.is_output or is_walked or is_tested or is_generated(block)):
            found[block.page, block.language] += 1
    return found


@cache
def has_test(page: str) -> bool:
    """Whether a test of its own runs the ```python blocks of a page: it says so in a line of its source, `RUNS = "PAGE"`."""
    return any(f'RUNS = "{page}"' in path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))


def is_generated(block: Block) -> bool:
    """Whether a program writes the block, and a test compares it: the tree of the architecture page."""
    if block.page != "docs/architecture.md":
        return False
    before = (ROOT / block.page).read_text(encoding="utf-8").splitlines()[block.line - 2]
    return f"{before}\n" == START and bool(END)


def test_every_block_is_run_or_named_with_a_reason() -> None:
    blocks = [block for page in documents() for block in blocks_of(page)]
    pages = [page.relative_to(ROOT).as_posix() for page in walked()]
    found = escaping(blocks, pages)
    named = {key: n for key, (n, _) in NOT_RUN.items()}
    lines = [
        f"{b.page}:{b.line}: ```{b.language}"
        for b in blocks
        if found[b.page, b.language] != named.get((b.page, b.language), 0)
    ]
    assert found == named, "\n".join(
        ["run these blocks (```console, or ```python with ```text below), or name them:", *lines]
    )


def test_a_block_that_nobody_runs_is_found(tmp_path: Path) -> None:
    page = tmp_path / "docs" / "new.md"
    page.parent.mkdir()
    page.write_text(
        "a\n\n```python\n1 / 0\n```\n\n```python\nprint(1)\n```\n\n```text\n1\n```\n\n- x\n  ```\n  cat\n  ```\n"
    )
    blocks = blocks_of(page, tmp_path)
    assert [(b.line, b.language, b.is_output) for b in blocks] == [
        (3, "python", False),
        (7, "python", False),
        (11, "text", True),
        (16, "", False),
    ]
    assert escaping(blocks, ["docs/new.md"]) == {("docs/new.md", "python"): 1, ("docs/new.md", ""): 1}


def test_walk_finds_the_blocks_that_are_left_to_it() -> None:
    """benchmarks/walk.py has patterns of its own: it must see as many blocks as are counted here."""
    for page in walked():
        text = page.read_text(encoding="utf-8")
        blocks = blocks_of(page)
        assert len(walk.BLOCK.findall(text)) == sum(b.language == "console" for b in blocks)
        assert len(walk.SCRIPT.findall(text)) == sum(b.is_output for b in blocks)


def test_python_blocks_are_python() -> None:
    for page in documents():
        for block in blocks_of(page):
            if block.language == "python":
                assert ast.parse(block.text).body, f"{block.page}:{block.line}"


def test_all_fences_are_understood() -> None:
    """A fence that the pattern above misses would escape all of these tests."""
    for page in documents():
        fences = re.findall(r"^ *`{3,}", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert len(fences) == 2 * len(blocks_of(page)), page
