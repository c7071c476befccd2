"""What a system of Table 3 costs at the size of LITIS, from two smaller sizes."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.table3_costs import N_RECORDINGS, N_SCENES, Cost, growth, litis_shaped, measured, projected, table

SMALL = Cost("hog", 100, epoch_s=0.0, n_epochs=0, fixed_s=2.0, predict_s=1.0, rest_s=9.0, peak_mib=600)


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
