"""The benchmark's rows at tiny sizes: they compare what they say, and what cannot be measured is said, not left out."""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import comparison, peers, speed, speed_network, speed_sound, speed_whole
from benchmarks.comparison import Comparison, Measured, MissingError, Row, Settings, alternate, run
from benchmarks.plain import PlainAttCRNN, multiply_accumulates, plain_name, take
from soundscene.bundle import save_model
from soundscene.recipe import Recipe
from tests.support.tiny import TINY


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(comparison, "ENOUGH_S", 0.0)
    return Settings(tmp_path, TINY, seconds=4.5, batch=10, bulk=8, repetitions=1, recordings=3)


def row(relation: comparison.Relation, bound: float | None, ours: float, other: float, fault: str = "") -> Row:
    def measure(_: Settings) -> Measured:
        return Measured(ours, other, 5, fault=fault)

    return run("row", Comparison("this", "that", relation, bound, measure), Settings(Path()))


# --- rows and times ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("relation", "bound", "ratio", "reached"),
    [
        ("times as fast", 4.0, 4.0, True),
        ("times as fast", 4.1, 4.0, False),
        ("times the cost", 0.25, 0.25, True),
        ("times the cost", 0.24, 0.25, False),
        ("seconds more", -1.5, -1.5, True),
        ("seconds more", -1.6, -1.5, False),
        ("times as fast", None, 4.0, None),
    ],
)
def test_ratio_and_verdict(relation: comparison.Relation, bound: float | None, ratio: float, reached: bool | None) -> None:
    found = row(relation, bound, ours=0.5, other=2.0)
    assert (found.ratio, found.reached) == (ratio, reached)
    assert found.to_dict()["reached"] is reached
    assert ("yes" if reached else "no") in speed.line(found) or reached is None


def test_results_that_disagree_reach_nothing() -> None:
    found = row("times as fast", 2.0, ours=0.5, other=2.0, fault="the numbers differ")
    assert found.reached is False
    assert "the numbers differ" in speed.line(found)


def test_sides_take_turns_and_give_medians(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    clock = iter([9.0, 1.0, 8.0, 5.0, 7.0, 3.0])
    monkeypatch.setattr(comparison, "seconds", lambda work: (work(), next(clock))[1])
    monkeypatch.setattr(comparison, "ENOUGH_S", 0.0)
    times = alternate({"a": lambda: called.append("a"), "b": lambda: called.append("b")}, 3)
    assert called == ["a", "b"] * 4  # once to warm up
    assert (times["a"], times["b"], times.n) == (8.0, 3.0, 3)


def test_targets_are_those_of_the_plan() -> None:
    bounds = {name: [c.bound for c in rows] for name, rows in speed.COMPARISONS.items()}
    assert bounds == {
        "tracker": [15],
        "log-mel": [6],
        "front-end-ffts": [3],
        "gammatone": [1.1, 60],
        "file": [2.2, 1.6],
        "training-step": [1.4, 0.65],
        "prediction": [1.5, 0.9],
        "compiled": [None],
        "others": [None] * 4,
        "folder": [1.8, 1.0],
        "members": [1.7],
        "backbone": [1.2, None],
        "cold-start": [1.5],
    }


# --- what is not there ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "module", "install"),
    [
        ("tracker", "pyvoicebox", "pyvoicebox-sap"),
        ("log-mel", "librosa", "librosa"),
        ("gammatone", "gammatone.gtgram", "gammatone"),
    ],
)
def test_missing_peer_is_a_row(
    name: str, module: str, install: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "log-mel":
        monkeypatch.setitem(sys.modules, "pyvoicebox", type(sys)("pyvoicebox"))
        sys.modules["pyvoicebox"].v_specsub = None  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, module, None)
    found = run(name, speed.COMPARISONS[name][-1], settings)
    assert found.measured is None
    assert found.reached is None
    assert found.missing.endswith(f"pip install {install}")
    assert "| missing |" in speed.line(found)
    assert f"1 rows missing: {name}" in speed.summary([found])


@pytest.mark.parametrize("name", peers.OTHERS)
def test_missing_network_is_a_row(name: str, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda *_: None)
    compared = next(c for c in speed.COMPARISONS["others"] if c.other == name)
    assert "no package" in run("others", compared, settings).missing


def test_the_table_continues_without_a_peer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pyvoicebox", None)
    monkeypatch.setattr(sys, "argv", ["speed.py", "--rows", "tracker", "log-mel", "--json", str(tmp_path / "found.json")])
    speed.main()
    printed = capsys.readouterr().out
    assert "| tracker |" in printed
    assert "| log-mel |" in printed
    found = json.loads((tmp_path / "found.json").read_text())
    assert [r["missing"].partition(";")[0] != "" for r in found["rows"]] == [True, True]
    assert found["machine"]["threads"] == 1


@pytest.fixture
def stubborn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package that cannot be imported as a whole, because its `__init__` wants to download."""
    inner = tmp_path / "stubborn" / "inner"
    inner.mkdir(parents=True)
    for folder in (inner.parent, inner):
        (folder / "__init__.py").write_text("raise OSError('no network')\n")
    (inner.parent / "sizes.py").write_text("WIDTH = 7\n")
    (inner / "model.py").write_text("from ..sizes import WIDTH\nimport stubborn.sizes\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    assert not [name for name in sys.modules if name.startswith("stubborn")]


@pytest.mark.usefixtures("stubborn")
def test_model_file_comes_without_what_stands_around_it() -> None:
    with pytest.raises(OSError, match="no network"):
        peers.peer("stubborn.inner.model", "stubborn")
    assert peers.model_file("stubborn.inner.model", "stubborn").WIDTH == 7
    with pytest.raises(MissingError, match=r"No module named 'stubborn\.other'; pip install stubborn"):
        peers.model_file("stubborn.other", "stubborn")


# --- the plain rendering ----------------------------------------------------------------------------------------------


def test_plain_rendering_has_the_same_loss_and_gradients() -> None:
    torch.manual_seed(0)
    assert np.median(speed_network.gradient_differences(TINY)) < 1e-4


def test_difference_of_gradients_notices_a_wrong_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(plain: PlainAttCRNN, state: dict[str, torch.Tensor]) -> PlainAttCRNN:
        take(plain, state).spatial_context.data.mul_(1.01)
        return plain

    monkeypatch.setattr(speed_network, "take", wrong)
    torch.manual_seed(0)
    assert speed_network.gradient_differences(TINY)[0] > 1e-4


@pytest.mark.parametrize("scale", ["printed", "mean-preserving"])
def test_the_plain_network_has_the_same_outputs(scale: str) -> None:
    torch.manual_seed(0)
    recipe = TINY.with_settings([f"network.attention_scale={scale}"])
    network = speed_network.random_network(recipe)
    plain = take(PlainAttCRNN(recipe, speed_network.N_SCENES), network.state_dict()).eval()
    images = speed_network.random_images(recipe, 5)
    with torch.inference_mode():
        ours = network(images)
        assert ours.std(dim=0).min() > 1e-4  # segments get different answers
        torch.testing.assert_close(ours, plain(images), rtol=1e-4, atol=1e-5)


def test_every_parameter_has_a_plain_name() -> None:
    network = speed_network.random_network(TINY)
    plain = PlainAttCRNN(TINY, speed_network.N_SCENES)
    assert {plain_name(name) for name in network.state_dict()} == set(plain.state_dict())


@pytest.mark.parametrize("recipe", [Recipe(), Recipe.small(), TINY])
def test_count_of_multiply_accumulates(recipe: Recipe) -> None:
    # PyTorch counts operations of convolutions and of products of matrices; the two products of attention scores with
    # the context vectors, (frames + 2 H) x size, are of a matrix with a vector, which it leaves out.
    network = speed_network.random_network(recipe)
    left_out = (80 + 2 * recipe.network.hidden) * recipe.network.attention
    counted = speed_network.operations(network, speed_network.random_images(recipe, 1))
    assert 2 * (multiply_accumulates(recipe, speed_network.N_SCENES) - left_out) == counted


def test_full_width_takes_0_416_gflop_a_segment() -> None:
    assert 2e-9 * multiply_accumulates(Recipe(), speed_network.N_SCENES) == pytest.approx(0.416, abs=0.001)


# --- rows -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["training-step", "prediction"])
def test_rows_of_the_network(name: str, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed_network, "matrix_product", lambda: lambda: time.sleep(0.001))
    monkeypatch.setattr(speed_network, "PRODUCT_FLOP", 2e6)  # so that the machine does 2 GFLOP/s at most
    plain, product = [run(name, compared, settings) for compared in speed.COMPARISONS[name]]
    assert plain.measured is not None
    assert product.measured is not None
    assert not plain.measured.fault
    assert plain.measured.ours == product.measured.ours  # one measurement for both rows
    n, factor = (settings.batch, 3) if name == "training-step" else (settings.bulk, 1)
    gflop = 2e-9 * factor * n * multiply_accumulates(TINY, speed_network.N_SCENES)
    assert f"{gflop:.1f} GFLOP;" in product.measured.note
    rate = float(product.measured.note.split("runs at ")[1].split()[0])
    assert 0 < rate <= 2
    assert product.measured.other == pytest.approx(gflop / rate, rel=0.01, abs=0.05 / rate)


def test_row_of_another_network_counts_seconds_of_sound(settings: Settings) -> None:
    other = peers.OtherNetwork(nn.Linear(1000, 10), torch.randn(1, 1000), 0.5, "a layer")
    measured = speed_network.others(lambda: other, replace(settings, bulk=4))
    assert "theirs: 0.01 M parameters, 0 M multiply-accumulates for 0.5 s" in measured.note
    assert measured.note.endswith("(a layer); batch 4")
    rate = float(measured.note.split("theirs: ")[1].split(" = ")[1].split()[0])
    assert 1 / measured.other == pytest.approx(rate, abs=1)


def test_bare_transforms_are_those_of_our_frames(settings: Settings) -> None:
    measured = speed_sound.front_end_ffts(settings)
    # 4.5 s hold two segments; the rest, a quarter of one, is too short to count
    assert f"{2 * 2 * 80} rfft of 2048 (float32)" in measured.note
    assert "irfft of 704" in measured.note
    assert measured.ours > 0


@pytest.mark.parametrize(
    "measure", [speed_sound.gammatone_against_mel, speed_sound.file_on_one_core, speed_sound.file_read_ahead]
)
def test_rows_of_sound(measure: speed_sound.Measure, settings: Settings) -> None:
    measured = measure(settings)
    assert measured.ours > 0
    assert measured.other > 0
    assert not measured.fault


def test_folder_is_predicted_and_its_memory_taken(settings: Settings) -> None:
    model, folder = settings.folder / "tiny.safetensors", settings.folder / "recordings"
    save_model(speed_network.random_bundle(TINY), model)
    folder.mkdir()
    for number in range(3):
        speed_sound.write_flac(folder / f"{number}.flac", 2.2, number)
    found = speed_whole.predict_folder(model, folder, 2)
    assert found["recordings"] == 3
    assert found["seconds"] > 0
    assert found["peak_mib"] is None or found["peak_mib"] > 50


def test_folder_says_which_recording_is_broken(settings: Settings) -> None:
    model, folder = settings.folder / "tiny.safetensors", settings.folder / "recordings"
    save_model(speed_network.random_bundle(TINY), model)
    folder.mkdir()
    speed_sound.write_flac(folder / "0.flac", 2.2)
    (folder / "1.flac").write_bytes(b"")
    with pytest.raises(Exception, match=r"1\.flac: is empty"):
        speed_whole.predict_folder(model, folder, 1)
