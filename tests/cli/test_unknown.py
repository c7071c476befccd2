"""`predict --unknown`: what lies beyond the threshold has no scene and no probability, and the rest stays as it is."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from soundscene.bundle import load_model, save_model
from soundscene.scoring.unfamiliarity import Familiarity
from tests.support.command_line import run
from tests.support.tiny import RATE, recording, write


@pytest.fixture
def sounds(tmp_path: Path) -> list[Path]:
    return [write(tmp_path / f"{scene}.wav", recording(scene, 4.0, 0), RATE) for scene in ("rain", "office")]


def with_threshold(model: Path, out: Path, sounds: list[Path], n_held: int = 40) -> Path:
    """The model with a threshold between the scores of two sounds: the second is unknown, or the first is."""
    from soundscene.predictor import Predictor

    bundle = replace(load_model(model), familiarity=Familiarity("energy", np.zeros(n_held)))
    scores = [Predictor(bundle).predict(sound).unfamiliarity or 0.0 for sound in sounds]
    middle = float(np.mean(scores))
    save_model(replace(bundle, familiarity=Familiarity("energy", np.full(n_held, middle))), out)
    return sounds[int(np.argmax(scores))]


def test_one_of_two_sounds_is_unknown_in_every_form(
    model: Path, sounds: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    changed = tmp_path / "m.safetensors"
    odd = str(with_threshold(model, changed, sounds))
    assert run("predict", changed, *sounds, "--json") == 0
    known = {one["path"]: one for one in json.loads(capfd.readouterr().out)["predictions"]}
    assert {path: one["unknown"] for path, one in known.items()} == {str(p): str(p) == odd for p in sounds}
    assert run("predict", changed, *sounds, "--unknown", "--json") == 0
    for said in json.loads(capfd.readouterr().out)["predictions"]:
        before = known[said["path"]]
        expected = before | {"scene": "unknown", "probability": None} if said["path"] == odd else before
        assert said == expected
    assert run("predict", changed, *sounds, "--unknown", "--format", "csv", "--segments") == 0
    rows = [row for row in csv.DictReader(io.StringIO(capfd.readouterr().out)) if row["path"] == odd]
    assert (rows[0]["scene"], rows[0]["probability"]) == ("unknown", "")
    assert float(rows[0][known[odd]["scene"]]) == pytest.approx(known[odd]["probability"], abs=1e-6)
    assert len(rows) == 3
    assert "unknown" not in {row["scene"] for row in rows[1:]}  # segments keep their best scene
    assert run("predict", changed, *sounds, "--unknown") == 0
    told = capfd.readouterr()
    line = next(line for line in told.out.splitlines() if odd in line)
    assert line.split()[1:] == ["unknown", known[odd]["scene"], f"{known[odd]['probability']:.2f}", "4.0"]
    assert told.err == ""


def test_a_model_that_cannot_tell_says_so_once(
    model: Path, sounds: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    changed = tmp_path / "m.safetensors"
    with_threshold(model, changed, sounds, n_held=5)
    assert run("predict", changed, *sounds, "--unknown") == 0
    told = capfd.readouterr()
    assert told.err.startswith("note: ")
    assert len(told.err.splitlines()) == 1
    assert "5" in told.err
    assert "unknown" not in told.out
    assert run("predict", changed, *sounds, "--unknown", "--out", tmp_path / "rows") == 2
    assert "leave --unknown out" in capfd.readouterr().err
