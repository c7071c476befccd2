"""`evaluate` by columns and into files, and the score of the test part at the end of `train`."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from soundscene.bundle import load_model
from soundscene.cli.train import _score
from tests.support.command_line import run
from tests.support.tiny import SCENES

PNG = b"\x89PNG\r\n\x1a\n"


def test_scores_by_column_predictions_and_confusions(
    model: Path, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    files = ("--predictions", tmp_path / "rows.csv", "--confusion", tmp_path / "confusion.png")
    assert run("evaluate", model, manifest, "--test", "fold=1", "--by", "rate", "--by", "fold", *files) == 0
    told = capfd.readouterr().out
    assert max(map(len, told.splitlines())) <= 80
    assert "accuracy by rate, Hz, svm" in told
    assert "22050" in told  # of the files, without a column
    for scene in SCENES:
        assert any(line.split()[:2] == [scene, "1"] for line in told.splitlines())  # precision, recall and F1
    assert (tmp_path / "confusion.png").read_bytes()[:8] == PNG
    with (tmp_path / "rows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "group", "true_scene", "scene", "probability", *SCENES]
    assert [row["true_scene"] for row in rows] == list(SCENES)
    for row in rows:
        posterior = [float(row[scene]) for scene in SCENES]
        assert sum(posterior) == pytest.approx(1, abs=1e-5)
        assert row["scene"] == SCENES[int(np.argmax(posterior))]
    right = np.mean([row["scene"] == row["true_scene"] for row in rows])
    assert f"{right:.1%} of 3 recordings right, 95 % interval" in told


def test_json_has_the_parts_and_an_unknown_column_is_one_line(
    model: Path, manifest: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("evaluate", model, manifest, "--test", "fold=1")
    assert run(*words, "--json", "--by", "scene") == 0
    found = json.loads(capfd.readouterr().out)
    assert [part["value"] for part in found["by"]["scene"]] == list(SCENES)
    assert set(found["heads"]["svm"]["by_scene"][0]) == {"scene", "n", "precision", "recall", "f1"}
    assert run(*words, "--by", "folds") == 2
    assert "no column 'folds'; there are path, scene, group, fold; did you mean 'fold'?" in capfd.readouterr().err
    assert run(*words, "--confusion", tmp_path / "no" / "c.png") == 2
    assert "does not exist; create it first" in capfd.readouterr().err


def test_train_ends_with_the_score_of_the_test_part(model: Path, manifest: Path, capfd: pytest.CaptureFixture[str]) -> None:
    _score(load_model(model), manifest, "fold=1", 1, False)
    told = capfd.readouterr()
    assert told.out.startswith("test fold=1: ")
    assert "% of 3 recordings right, 95 % interval" in told.out
    _score(load_model(model), manifest.parent / "absent.csv", "fold=1", 1, False)  # the model is saved all the same
    assert capfd.readouterr().err.startswith("note: the test part fold=1 was not scored: ")
