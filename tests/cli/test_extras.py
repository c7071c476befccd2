"""Extras: a command that lacks one names it, it is enough, and what needs none works without PyTorch."""

from pathlib import Path

import pytest

from soundscene.errors import SceneError
from soundscene.extras import EXTRAS, explain_missing, require
from tests.support.installed import PYPROJECT, absent, modules, normal, requirements, run_installed
from tests.support.tiny import RATE, recording, write

RUN_FOLDER = Path(__file__).parents[1] / "fixtures_0_1_0" / "run"
FOR_DEVELOPERS = {"bench", "dev", "docs", "notebook"}

LACKING: list[tuple[str, str, str]] = [
    # command line, what it needs, extras that are enough
    ("train a.csv --out m", "train needs PyTorch", "train"),
    ("evaluate m a.csv", "evaluate needs PyTorch", "train"),
    ("predict m a.wav", "predict needs PyTorch", "torch"),
    ("predict m a.wav --out rows --format parquet", "predict needs PyTorch", "torch,parquet"),
    ("predict m a.wav --out rows --cluster auto", "predict --cluster needs PyTorch", "ray"),
    ("embed m a.wav --out a.npy", "embed needs PyTorch", "torch"),
    ("embed m a.wav --out a.parquet", "embed needs PyTorch", "torch,parquet"),
    ("push m me/scenes --card a.md", "push needs PyTorch", "torch"),
    ("push m me/scenes --on a.csv", "push needs PyTorch", "torch,hub,train"),
    ("predict hf://me/scenes a.wav", "hf://me/scenes needs huggingface_hub", "hub"),
    ("info m", "info needs PyTorch", "torch"),
    ("timeline m a.wav", "timeline needs PyTorch", "torch"),
    ("timeline m a.wav --parquet a.parquet --picture a.png", "timeline needs PyTorch", "torch,parquet,plot"),
    ("listen m", "listen needs PyTorch", "live"),
    ("listen m --stdin", "listen needs PyTorch", "torch"),
    ("listen m --devices", "listen needs PyTorch", "live"),
    ("explain m a.wav --out a.png", "explain needs PyTorch", "explain"),
    ("experiment a.csv", "experiment needs PyTorch", "experiment"),
    ("experiment a.csv --cluster auto", "experiment needs PyTorch", "ray"),
    ("report run", "report needs Matplotlib", "report"),
    ("export m --out m.onnx", "export needs PyTorch", "torch,onnx"),
    ("budget m", "budget needs PyTorch", "torch,onnx"),
    ("predict m.onnx a.wav", "predict needs ONNX Runtime", "onnx"),
    ("timeline m.onnx a.wav", "timeline needs ONNX Runtime", "onnx"),
    ("listen m.onnx --stdin", "listen needs ONNX Runtime", "onnx"),
    ("serve m", "serve needs PyTorch", "torch,serve"),
    ("serve m.onnx", "serve needs ONNX Runtime", "onnx,serve"),
    ("demo --out demo", "demo needs PyTorch", "train,plot"),
]


def test_the_table_of_extras_is_that_of_the_project() -> None:
    assert set(EXTRAS) == set(PYPROJECT["optional-dependencies"]) - FOR_DEVELOPERS
    for extra, names in EXTRAS.items():
        wanted = {normal(requirement.name) for requirement in requirements(extra)}
        assert {next(iter(modules()[module])) for module in names if module in modules()} <= wanted, extra
        assert len(names) == len(wanted), extra


def test_a_core_installation_names_the_extra_and_does_what_needs_none(manifest: Path, tmp_path: Path) -> None:
    assert {"torch", "lightning_fabric", "matplotlib", "ray"} <= set(absent(()))
    scan = ["scan", str(manifest.parent), "--out", str(tmp_path / "m.csv")]
    helps = [[line.split()[0], "--help"] for line, _, _ in LACKING]
    lines = [line.split() for line, _, _ in LACKING]
    results = run_installed((), [*lines, scan, *helps, ["--version"]])
    for (line, needs, extra), (code, out, err) in zip(LACKING, results, strict=False):
        assert (code, out) == (2, ""), line
        assert err == f'soundscene: {needs}, which is not installed: pip install "soundscene[{extra}]"\n'
    assert all(code == 0 for code, _, _ in results[len(LACKING) :])
    assert (tmp_path / "m.csv").exists()


@pytest.mark.slow
def test_the_extra_torch_is_enough_to_predict(model: Path, tmp_path: Path) -> None:
    sound = write(tmp_path / "a.wav", recording("rain", 4.2, 0), RATE)
    commands = ("predict", model, sound), ("timeline", model, sound), ("info", model), ("predict", model, sound, "--unknown")
    rows = ("predict", model, sound, "--out", tmp_path / "rows")
    results = run_installed(("torch",), [*commands, rows, ("predict", model, sound, "--out", "p", "--format", "parquet")])
    assert [code for code, _, _ in results] == [0, 0, 0, 0, 0, 2]
    assert 'needs PyArrow, which is not installed: pip install "soundscene[parquet]"' in results[-1][2]


@pytest.mark.slow
@pytest.mark.parametrize("extra", ["train", "explain", "live", "report", "experiment"])
def test_an_extra_is_enough_for_its_command(extra: str, model: Path, manifest: Path, tmp_path: Path) -> None:
    """As far as the imports; what the commands then do is tested elsewhere."""
    sound = write(tmp_path / "a.wav", recording("rain", 2.2, 0), RATE)
    nothing = tmp_path / "nothing.csv"
    lines = {
        "train": [
            ("evaluate", model, manifest, "--test", "fold=1"),
            ("train", nothing, "--out", tmp_path / "m.safetensors"),
        ],
        "explain": [("explain", model, sound, "--out", tmp_path / "a.png")],
        "live": [("listen", model, "--device", "no such device")],
        "report": [("report", RUN_FOLDER, "--out", tmp_path / "report")],
        "experiment": [("experiment", nothing, "--out", tmp_path / "run")],
    }[extra]
    for code, _, err in run_installed((extra,), lines):
        assert "not installed" not in err
        assert code == 0 or "nothing.csv: does not exist" in err or "no such device" in err or "PortAudio" in err, err


def test_a_list_of_extras_holds_only_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    require("x", *EXTRAS)  # all are installed here
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(SceneError, match=r'^x needs PyArrow, which is not installed: pip install "soundscene\[parquet\]"$'):
        require("x", "torch", "parquet", "plot")


def test_a_module_of_no_extra_is_not_explained() -> None:
    assert explain_missing("x", ModuleNotFoundError("", name="numpy")) is None
    message = explain_missing("x", ModuleNotFoundError("", name="statsmodels.stats"))
    assert message == 'x needs statsmodels, which is not installed: pip install "soundscene[report]"'
