"""The notes of a recording are those of its prediction, wherever they are said."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soxr

from soundscene.bundle import save_model
from soundscene.explanation.corpus import average
from soundscene.explanation.recording import analyse_recording
from soundscene.explanation.write import explain_manifest, explain_recording
from soundscene.model import Model
from soundscene.pipeline import evaluate_on_manifest
from soundscene.predictor import Predictor
from soundscene.several import predict_each_by_all
from soundscene.signal.ranges import TrainingRange
from soundscene.timelines import timeline
from tests.support.command_line import run
from tests.support.tiny import RATE, blank_bundle, blank_pair, recording, text, write

pytestmark = pytest.mark.filterwarnings("ignore::soundscene.errors.AudioWarning")

FULL = (11025.0, 11025.0, 11025.0, 11025.0, 11025.0)
USUAL = TrainingRange(100, FULL, (-35.0, -34.0, -28.0, -22.0, -20.0), (0.5, 1.0, 2.0, 9.0, 10.0), 11025.0)
RANGES = {
    "none": None,
    "full": USUAL,
    "some narrow": replace(USUAL, bandwidth_hz=(7000.0, 7000.0, 11025.0, 11025.0, 11025.0), narrow_hz=7800.0),
    "most narrow": replace(USUAL, bandwidth_hz=(7000.0, 7000.0, 7900.0, 11025.0, 11025.0), narrow_hz=7800.0),
}
LACKING = "cnn-gammatone: no softmax head, votes by its svm head"


def sounds(folder: Path) -> dict[str, Path]:
    wind = recording("wind", 4.2, 0)
    wind *= 0.04 / np.sqrt(np.mean(wind**2))
    low = np.asarray(soxr.resample(wind, RATE, 16000), np.float32)
    gapped = wind.copy()
    gapped[: 2 * RATE] = 0
    samples = {
        "usual": (wind, RATE),
        "16 kHz": (low, 16000),
        "by way of 16 kHz": (np.asarray(soxr.resample(low, 16000, RATE), np.float32), RATE),
        "quiet": (0.01 * wind, RATE),
        "gapped": (gapped, RATE),
        "a dead channel": (np.stack([wind, 0 * wind], axis=1), RATE),
    }
    return {name: write(folder / f"{name}.wav", *sound) for name, sound in samples.items()}


def noted(model: Model, path: Path) -> tuple[str, ...]:
    return Predictor(model).predict(path).notes


@pytest.mark.parametrize("usual", RANGES.values(), ids=RANGES.keys())
def test_notes_are_the_same_wherever_they_are_said(tmp_path: Path, usual: TrainingRange | None) -> None:
    model, paths = replace(blank_bundle(), usual=usual), sounds(tmp_path)
    predictor, expected = Predictor(model), {name: noted(model, path) for name, path in paths.items()}
    assert [bool(notes) for notes in expected.values()] == {
        "none": [False, True, False, False, True, True],
        "full": [False, True, True, True, True, True],
        "some narrow": [False, True, False, True, True, True],
        "most narrow": [False, False, False, True, True, True],
    }[next(name for name, one in RANGES.items() if one == usual)]
    for name, path in paths.items():
        assert analyse_recording(model, path, most=1).notes == expected[name], name
        assert timeline(predictor.predict(path), model, model.head).notes == expected[name]
    each = dict(predictor.predict_each(list(paths.values()), 2))
    by_all = dict(predict_each_by_all([predictor, Predictor(blank_bundle())], list(paths.values()), 2))
    for name, path in paths.items():
        assert each[path].notes == by_all[path][0].notes == expected[name]  # pyright: ignore[reportAttributeAccessIssue]


def test_a_manifest_has_the_notes_of_its_recordings_but_for_votes(tmp_path: Path) -> None:
    model, paths = replace(blank_bundle(), usual=USUAL), sounds(tmp_path)
    rows = "".join(f"{path.name},rain\n" for path in paths.values())
    manifest = text(tmp_path / "m.csv", f"path,scene\n{rows}")
    expected = [
        (line, path, note)
        for line, path in enumerate(paths.values(), 2)
        for note in noted(model, path)
        if "did not vote" not in note
    ]
    assert len(expected) >= 4
    odd = list[str]()
    average(model, manifest, most=1, notes=odd)
    assert odd == [f"line {line}: {path}: {note}" for line, path, note in expected]
    _, notes = explain_manifest(model, manifest, tmp_path / "a.svg", most=1)
    assert list(notes[: len(odd)]) == odd
    assert evaluate_on_manifest(model, manifest).notes == tuple(f"{path.name}: {note}" for _, path, note in expected)


def test_members_without_the_head_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Model, "lacking", lambda _, head: LACKING if head == "softmax" else None)
    pair, path = replace(blank_pair(), usual=USUAL), sounds(tmp_path)["quiet"]
    notes = Predictor(pair, "softmax").predict(path).notes
    assert notes[-1] == LACKING
    assert analyse_recording(pair, path, most=1, head="softmax").notes == notes
    assert analyse_recording(pair, path, most=1, head="svm").notes == notes[:-1]
    odd = list[str]()
    manifest = text(tmp_path / "m.csv", "path,scene\nquiet.wav,rain\nusual.wav,rain\n")
    average(pair, manifest, most=1, head="softmax", notes=odd)
    assert odd.count(LACKING) == 1


def test_what_is_said_of_silence_is_said_once(tmp_path: Path) -> None:
    model, paths = blank_bundle(), sounds(tmp_path)
    _, notes = explain_recording(model, paths["gapped"], tmp_path / "a.svg", most=3)
    assert [note for note in notes if "digital silence" in note] == [
        "1 segment of digital silence did not vote",
        "Hatched: digital silence, which did not vote.",
    ]


def test_the_command_says_what_predict_says(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    save_model(replace(blank_bundle(), usual=USUAL), tmp_path / "m.safetensors")
    paths = sounds(tmp_path)
    for path in (paths["16 kHz"], paths["quiet"]):
        assert run("predict", tmp_path / "m.safetensors", path, "--head", "svm") == 0
        said = [line.removeprefix(f"note: {path}: ") for line in capfd.readouterr().err.splitlines() if "note: " in line]
        assert run("explain", tmp_path / "m.safetensors", path, "--out", tmp_path / "a.svg", "--head", "svm") == 0
        told = capfd.readouterr().err
        assert all(note in told for note in said), told
        assert ("level" in told) == any("level" in note for note in said)
