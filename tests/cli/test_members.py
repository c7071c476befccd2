"""A model of several members on the command line: trained, resumed, and treated like any other."""

import json
from pathlib import Path

import pytest

from soundscene.bundle import save_model
from tests.support.command_line import TINY_SET, run
from tests.support.tiny import SCENES, blank_pair, recording, write

PAIR = "att-crnn-mel,cnn-gammatone@1"


def test_a_model_of_two_systems_from_training_to_prediction(
    manifest: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "m.safetensors"
    words = ("--test", "fold=1", "--device", "cpu", "--workers", "1", *TINY_SET)
    assert run("train", manifest, "--systems", PAIR, "--out", model, *words) == 0
    told = capfd.readouterr()
    assert "2 members (att-crnn-mel: epoch 2, cnn-gammatone@1: epoch 2)" in told.out
    assert "note: att-crnn-mel: Platt's sigmoids had" in told.err
    assert "note: cnn-gammatone@1: Platt's sigmoids had" in told.err

    assert run("evaluate", model, manifest, "--test", "fold=1", "--json") == 0
    assert json.loads(capfd.readouterr().out)["recordings"] == 3

    assert run("info", model, "--json") == 0
    facts = json.loads(capfd.readouterr().out)
    first, second = facts["members"]
    assert (first["name"], second["name"]) == ("att-crnn-mel", "cnn-gammatone@1")
    assert (first["system"], second["system"]) == ("att-crnn-mel", "cnn-gammatone")
    assert (first["epoch"], first["recipe"]) == (2, {})
    changed = {"features.kind": "gammatone", "network.kind": "cnn", "training.seed": 1}
    assert second["recipe"] == changed
    assert facts["parameters"] == first["parameters"] + second["parameters"]
    assert second["bytes"] > 4 * second["parameters"]
    assert run("info", model) == 0
    assert "\nmember cnn-gammatone@1    {" in capfd.readouterr().out

    sound = write(tmp_path / "a.wav", recording("rain", 6.5, 9))
    assert run("predict", model, sound, "--json", "--head", "softmax") == 0
    (said,) = json.loads(capfd.readouterr().out)["predictions"]
    assert set(said["posterior"]) == set(SCENES)
    assert said["unfamiliarity"] is not None
    assert run("timeline", model, sound, "--format", "csv", "--stay", "6") == 0
    assert len(capfd.readouterr().out.splitlines()) >= 2


def test_names_that_cannot_be_members_end_before_anything_is_read(
    manifest: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for names, message in (
        ("att-crnn-mel,hog", "system 'hog' cannot be a member of a model"),
        ("cnn-mel,cnn-mel", "system 'cnn-mel' is given twice; give the second another seed, as in cnn-mel@1"),
    ):
        assert run("train", manifest, "--systems", names, "--out", tmp_path / "m.safetensors") == 2
        told = capfd.readouterr()
        assert message in told.err
        assert told.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_rows_of_a_batch_are_those_of_the_predictor(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "m.safetensors"
    save_model(blank_pair(), model)
    sounds = [write(tmp_path / f"{n}.wav", recording("rain", 4.2, n)) for n in range(3)]
    assert run("predict", model, *sounds, "--format", "csv") == 0
    rows = capfd.readouterr().out.splitlines()
    assert run("predict", model, *sounds, "--out", tmp_path / "rows", "--workers", "2") == 0
    kept = (tmp_path / "rows" / "part-00000.csv").read_text().splitlines()
    assert len(kept) == len(rows) == 4
