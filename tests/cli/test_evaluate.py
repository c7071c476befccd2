"""`evaluate` by columns and into files, and the score of the test part at the end of `train`."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from soundscene.bundle import load_model
from soundscene.cli.train import _score
from tests.support.command_line import run
from tests.support.tiny import SCENES, text

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


def test_absent_scenes_and_intervals_without_width_have_a_note(
    model: Path, manifest: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = manifest.parent
    rows = [f"{folder / SCENES[0]}/{n}.wav,{SCENES[0]},{'one' if n == 4 else 'four'}" for n in range(1, 5)]
    listed = text(tmp_path / "one.csv", "\n".join(["path,scene,site", *rows, ""]))
    assert run("evaluate", model, listed, "--by", "site") == 0
    told = capfd.readouterr()
    note = "note: 2 of the model's 3 scenes have no recording here; in macro F1 and precision they count 0\n"
    assert note in told.err
    parts = [line.split() for line in told.out.splitlines() if line.startswith(("four ", "one "))]
    assert [(cells[:3], cells[4:]) for cells in parts] == [
        (["four", "3", "3"], ["0.0%", "to", "0.0%"]),
        (["one", "1", "1"], ["-"]),
    ]
    said = "An interval without width excludes nothing: other groups need not be alike."
    assert told.out.splitlines().count(said) == 1
    assert run("evaluate", model, manifest) == 0
    told = capfd.readouterr()
    assert (note in told.err, said in told.out) == (False, False)


def test_a_path_is_no_column_to_divide_by(
    model: Path, manifest: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    expected = f"{manifest}: path is no column to split or group by, each row has its own; there are scene, group, fold"
    out = ("--out", tmp_path / "m.safetensors")
    for words in (("evaluate", model, manifest, "--by", "path"), ("train", manifest, "--test", "path=x", *out)):
        assert run(*words) == 2
        assert capfd.readouterr().err.splitlines()[-1] == f"soundscene: {expected}"
    assert run("evaluate", model, manifest, "--by", "pth") == 2
    assert capfd.readouterr().err.endswith("no column 'pth'; there are path, scene, group, fold\n")


def test_a_manifest_in_a_folder_is_not_replaced(
    model: Path, manifest: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    listed = text(tmp_path / "manifest.csv", "path,scene\na.wav,rain\n")
    assert run("evaluate", model, tmp_path, "--predictions", listed) == 2
    assert "is what the command reads" in capfd.readouterr().err
    assert listed.read_text() == "path,scene\na.wav,rain\n"
