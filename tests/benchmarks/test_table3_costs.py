"""What a system of Table 3 costs at the size of LITIS, from two smaller sizes."""

import csv
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from benchmarks.table3_costs import (
    N_RECORDINGS,
    N_SCENES,
    Cost,
    _cost,
    growth,
    litis_shaped,
    measured,
    projected,
    read_costs,
    table,
    watched,
)
from soundscene.experiment.results import SplitResult
from soundscene.systems.catalogue import TABLE3
from tests.report.made import made_results

SMALL = Cost("hog", 100, epoch_s=0.0, n_epochs=0, watch_s=0.0, fixed_s=2.0, predict_s=1.0, rest_s=9.0, peak_mib=600)


def test_what_grows_with_the_square_is_projected_with_the_square() -> None:
    large = replace(SMALL, n=200, fixed_s=8.0, predict_s=2.0, peak_mib=700)
    hours, power, memory = projected(SMALL, large)
    up = N_RECORDINGS / 200
    assert power == pytest.approx(2)
    assert hours == pytest.approx((8 * up**2 + 2 * up) / 3600)
    assert memory == pytest.approx((700 + N_RECORDINGS - 200) / 1024)


def test_epochs_are_multiplied_and_no_power_is_below_one() -> None:
    before = replace(SMALL, epoch_s=3.0, n_epochs=30, fixed_s=0.0, predict_s=0.0)
    after = replace(before, n=200, epoch_s=4.0)
    hours, power, _ = projected(before, after)
    assert power == 1
    assert hours == pytest.approx(30 * 4 * N_RECORDINGS / 200 / 3600)
    assert growth(0.1, 0.4, 2) == 1  # too short to tell


def result_of(system: str, n_epochs: int, epoch_s: float, **facts: float) -> SplitResult:
    """A result of 95 recordings that trained n_epochs of a second number each, and predicted its test part in 2 s."""
    made = made_results(("cnn-mel",), ("1",))[0]
    history = [{"epoch": e + 1.0, "loss": 1.0, "seconds": epoch_s} for e in range(n_epochs)]
    known = {"training_recordings": 95 - len(made.recordings), "predict_seconds": 2.0, "epoch_seconds": n_epochs * epoch_s}
    return replace(made, system=system, history=history, facts=known | facts)


@pytest.mark.parametrize("known", [{"watch_seconds": 12.0}, {}])  # results of before that fact: as long as the prediction
def test_predictions_after_each_epoch_are_no_fixed_cost(known: dict[str, float]) -> None:
    cost = _cost(result_of("tt-cnn", 6, 5.0, seconds=30 + 12 + 4.0, **known), 60.0, 500.0, 6)
    assert (cost.n_epochs, cost.epoch_s) == (30, 5.0)
    assert cost.fixed_s == pytest.approx(4)
    assert cost.watch_s == pytest.approx(30 * 2)
    hours, _, _ = projected(cost, replace(cost, n=190))
    assert hours == pytest.approx((30 * 5 + 30 * 2 + 4 + 2) * N_RECORDINGS / 190 / 3600)


def test_what_is_computed_in_the_first_prediction_only_is_not_multiplied() -> None:
    cost = _cost(result_of("lte-cnn", 6, 5.0, seconds=30 + 4.5 + 4.0, watch_seconds=4.5), 60.0, 500.0, 6)
    assert cost.watch_s == pytest.approx(2 + 29 * 0.5)
    assert cost.fixed_s == pytest.approx(4)


def test_epochs_of_branches_are_multiplied_and_those_of_their_fusion_are_not() -> None:
    fused = {"seconds": 18 * 7 + 10 * 1 + 20 + 4.0}
    new = result_of("cnn-1d-2d-3d", 10, 1.0, **fused, watch_seconds=20.0, epochs=28)
    new = replace(new, facts={**new.facts, "epoch_seconds": 18 * 7 + 10 * 1.0})
    cost = _cost(new, 200.0, 500.0, 6)
    assert cost.n_epochs == 3 * 30 + 10
    assert cost.n_epochs * cost.epoch_s == pytest.approx(90 * 7 + 10 * 1)
    assert (cost.watch_s, cost.fixed_s) == pytest.approx((20, 4))
    old = _cost(result_of("cnn-1d-2d-3d", 10, 1.0, **fused), 200.0, 500.0, 6)
    assert old.n_epochs * old.epoch_s == pytest.approx((18 * 7 + 4) * 5 + 10)


def test_rows_of_before_are_left_out(tmp_path: Path) -> None:
    rows = [asdict(SMALL), {k: v for k, v in asdict(replace(SMALL, n=200)).items() if k != "watch_s"}]
    (tmp_path / "costs.json").write_text(json.dumps(rows), encoding="utf-8")
    assert read_costs(tmp_path / "costs.json") == {("hog", 100): SMALL}


def test_the_table_says_where() -> None:
    systems = {"hog": 2.0, "kernel-pca": 600.0, "conv-nmf": 4000.0}
    lines = table({s: (replace(SMALL, fixed_s=x / 2), replace(SMALL, n=200, fixed_s=x)) for s, x in systems.items()})
    assert "-" not in table({"hog": (SMALL, replace(SMALL, n=200))})[2]
    assert table({"hog": (SMALL, None)})[2].count(" - ") == 8
    assert [line.split("|")[-2].strip() for line in lines[2:]] == ["overnight", "a weekend", "a cluster"]


@pytest.mark.slow
def test_a_system_is_measured_on_a_corpus_of_the_shape_of_litis(tmp_path: Path) -> None:
    manifest = litis_shaped(tmp_path / "corpus", 5)
    with manifest.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["scene"] for row in rows}) == N_SCENES
    assert len(rows) == 5 * N_SCENES
    assert sum(row["split01"] == "test" for row in rows) == N_SCENES
    found = measured(manifest, tmp_path / "run", "hog", 2)
    assert found.n == 5 * N_SCENES
    assert found.n_epochs == 0
    assert found.fixed_s > 0
    assert found.peak_mib > 100
    assert measured(manifest, tmp_path / "run", "hog", 2) == found  # not run again


def test_memory_is_that_of_a_process_and_its_children_together(tmp_path: Path) -> None:
    """A child of a child, which nobody waits for, holds 200 MiB, and so does the process itself."""
    program = tmp_path / "program.py"
    program.write_text(
        "import subprocess, sys, time\n"
        "hold = 'held = bytearray(200 << 20); held[::4096] = bytes([1]) * len(held[::4096]); time.sleep(3)'\n"
        "started = subprocess.Popen([sys.executable, '-c', 'import time;' + hold])\n"
        "exec(hold)\n"
        "started.kill()\n"
        "sys.exit(7)\n"
    )
    code, peak_mib = watched([sys.executable, str(program)])
    assert code == 7
    assert 400 < peak_mib < 480


def test_the_table_of_the_documents_is_made_of_the_measured_figures() -> None:
    root = Path(__file__).parents[2]
    known = read_costs(root / "docs" / "results" / "table3-costs.json")
    small, large = sorted({n for _, n in known})
    lines = table({system: (known[system, small], known[system, large]) for system in TABLE3})
    page = (root / "docs" / "reproducing.md").read_text(encoding="utf-8")
    assert "\n".join(lines) in page
