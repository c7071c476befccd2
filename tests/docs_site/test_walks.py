"""The walks: commands of README, tutorials and guide run again, in one folder, and end as the pages say.

What they print is not compared: probabilities of a training differ between machines, and times between runs.
benchmarks/walk.py renews it.
"""

import re
from pathlib import Path

import pytest

from benchmarks import walk
from tests.support.blocks import ROOT, walked

STARTING = ("docs/tutorials/start.md",)  # pages that need nothing; all others need what `make demo` leaves behind
EXIT = re.compile(r"^\[exit code (\d+)\]$")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the demo, two minutes of computing."""
    folder = tmp_path_factory.mktemp("demo")
    walk.output(f"soundscene demo --out {folder}", ROOT)
    assert (folder / "att-crnn.safetensors").exists()
    return folder


def ends(lines: list[str]) -> list[str]:
    """Return the exit codes other than 0 of the commands of a block."""
    return [found[1] for line in lines if (found := EXIT.match(line))]


def check_page(page: Path, folder: Path) -> None:
    """Run the commands and scripts of a page; each must end as the page says, and print something where it does there."""
    text = page.read_text(encoding="utf-8")
    for block in walk.BLOCK.findall(text):
        shown = block.rstrip("\n").split("\n")
        again = walk.rerun(block, folder).split("\n")[1:-1]  # a traceback ends it
        assert ends(again) == ends(shown), f"{page.name}: {block}\n" + "\n".join(again)
        n_commands = sum(line.startswith(("$ ", "> ")) for line in shown)
        assert (len(again) > n_commands) == (len(shown) > n_commands), f"{page.name}: {block}"
    for _, script in walk.SCRIPT.findall(text):
        assert not ends(walk.printed(script, folder)), f"{page.name}: {script}"


@pytest.mark.slow
@pytest.mark.parametrize("name", STARTING)
def test_a_tutorial_runs_from_nothing(name: str, tmp_path: Path) -> None:
    check_page(ROOT / name, tmp_path)


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.kill
def test_readme_and_guide_run_after_the_demo(demo: Path) -> None:
    for page in walked():
        if page.relative_to(ROOT).as_posix() not in STARTING:
            check_page(page, demo)
