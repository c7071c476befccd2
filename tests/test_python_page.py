"""The code of the page on Python, and of its notebook, on files like those of the demo."""

import shutil
import warnings
from pathlib import Path
from typing import Any

import matplotlib
import pytest
import sklearn

from benchmarks.notebook import cells_of
from tests.support.blocks import ROOT, blocks_of
from tests.support.tiny import SCENES, recording, write, write_corpus

RUNS = "docs/guide/python.md"
NOTEBOOK = ROOT / "docs" / "guide" / "notebook.py"


@pytest.fixture
def folder(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The demo's names: rendered/SCENE/SCENE_0000.wav with a manifest, and att-crnn.safetensors; the working folder."""
    manifest = write_corpus(tmp_path / "rendered", n_per_scene=6)
    text = manifest.read_text()
    for scene in SCENES:
        for number in range(6):
            old, new = f"{scene}/{number}.wav", f"{scene}/{scene}_{number:04d}.wav"
            (manifest.parent / old).rename(manifest.parent / new)
            text = text.replace(old, new)
    manifest.write_text(text)
    for number in range(2):
        write(tmp_path / "rendered" / "sea" / f"sea_{number:04d}.wav", recording("sea", 2.2, number))
    shutil.copy(model, tmp_path / "att-crnn.safetensors")
    matplotlib.use("agg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(texts: list[str], names: dict[str, Any]) -> dict[str, Any]:
    """Run pieces of code one after the other, in one namespace."""
    with warnings.catch_warnings(), sklearn.config_context():
        warnings.simplefilter("ignore")  # of libraries, to a user who runs this
        for text in texts:
            exec(compile(text, RUNS, "exec"), names)
    return names


@pytest.mark.slow  # trains twice
def test_each_block_of_the_page_runs(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    blocks = [block.text for block in blocks_of(ROOT / RUNS) if block.language == "python"]
    assert len(blocks) == 2
    names = run(blocks, {})
    assert {"why.svg", "vectors.npy", "vectors.paths.csv", "scenes.safetensors"} <= {p.name for p in folder.iterdir()}
    assert names["prediction"].source == "rendered/rain/rain_0001.wav"
    assert names["search"].best_params_["calibratedsvc__C"] in (0.01, 0.1, 1)
    assert "calibratedsvc__C" in capfd.readouterr().out


@pytest.mark.slow  # trains
def test_the_cells_of_the_notebook_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    matplotlib.use("agg")
    cells = [text for kind, text in cells_of(NOTEBOOK.read_text(encoding="utf-8")) if kind == "code"]
    assert len(cells) == 10
    names = run(cells, {})
    assert names["prediction"]._repr_html_().count("<audio") == 1
    assert names["axes"].get_title("left").startswith("rendered/rain/rain_0000.wav")


def test_cells_are_divided_at_their_marks() -> None:
    assert cells_of("# %% [markdown]\n# # a\n#\n# b\n\n# %%\n1\n2\n\n# %%\n# c\n3\n") == [
        ("markdown", "# a\n\nb"),
        ("code", "1\n2"),
        ("code", "# c\n3"),
    ]
