"""The commands as functions: what they take, and that they give what the commands give."""

import shutil
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import soundfile
import torch

import soundscene
from soundscene.cli.scan import Layout
from soundscene.data.table import LAYOUTS
from soundscene.errors import AudioError, SceneError
from soundscene.prediction import Predictions, ScenePrediction
from tests.support.command_line import run
from tests.support.tiny import SETTINGS, recording, write, write_corpus

RATE = 22050


def predict_one(*arguments: Any) -> ScenePrediction:
    prediction = soundscene.predict(*arguments)
    assert isinstance(prediction, ScenePrediction)
    return prediction


@pytest.fixture(scope="module")
def rain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rain")
    write(folder / "a.wav", recording("rain", 4.4, 1))
    write(folder / "b.wav", recording("office", 4.4, 2))
    return folder


def test_every_form_of_one_recording_gives_one_prediction(model: Path, rain: Path) -> None:
    predictor = soundscene.load(model)
    samples, rate = soundfile.read(rain / "a.wav", dtype="float32")
    reference = predict_one(predictor, rain / "a.wav")
    decoder = type("Decoder", (), {"get_all_samples": lambda self: type("S", (), {"data": samples, "sample_rate": rate})})()
    forms: list[Any] = [
        (samples, rate),
        (torch.from_numpy(samples).requires_grad_(), rate),
        {"array": samples, "sampling_rate": rate},
        {"array": samples.tolist(), "sampling_rate": float(rate), "path": "a.wav"},
        {"path": str(rain / "a.wav"), "bytes": None},
        decoder,
    ]
    for form in forms:
        prediction = predict_one(predictor, form)
        np.testing.assert_allclose(prediction.posterior, reference.posterior, atol=1e-6)
    assert soundscene.predict(str(model), str(rain / "a.wav")) == reference


def test_swapped_and_foreign_sources_name_what_is_expected(model: Path, rain: Path) -> None:
    predictor = soundscene.load(model)
    samples, rate = soundfile.read(rain / "a.wav", dtype="float32")
    refused: list[tuple[Any, str]] = [
        ((rate, samples), r"expected \(samples, sample rate\)"),
        ((np.stack([samples, samples], axis=1), rate), r"hand in samples\.T"),
        ((samples, rate, 1), "a tuple of 3"),
        ({"audio": samples}, "the keys audio; expected array and sampling_rate"),
        ({}, "the keys none"),
        (3, "a source of type int"),
    ]
    for source, message in refused:
        with pytest.raises(AudioError, match=message):
            soundscene.predict(predictor, source)


def test_a_folder_or_a_list_gives_a_list_and_an_error_stands_in_its_place(model: Path, rain: Path, tmp_path: Path) -> None:
    predictor = soundscene.load(model)
    of_folder = soundscene.predict(predictor, rain)
    assert isinstance(of_folder, Predictions)
    assert [Path(p.source).name for p in of_folder if not isinstance(p, SceneError)] == ["a.wav", "b.wav"]
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"nothing")
    paths = [rain / "b.wav", broken, rain / "a.wav"]
    with pytest.raises(AudioError, match=r"broken\.wav"):
        soundscene.predict(predictor, paths)
    kept = soundscene.predict(predictor, paths, errors="keep", workers=2)
    assert isinstance(kept, Predictions)
    assert [isinstance(p, AudioError) for p in kept] == [False, True, False]
    assert (kept[0], kept[2]) == (of_folder[1], of_folder[0])
    assert kept.to_frame("pandas")["path"].tolist() == [str(path) for path in paths]
    mixed = soundscene.predict(predictor, [str(rain / "a.wav"), (np.ones((3, 2, 2)), 22050)], errors="keep")
    assert isinstance(mixed, Predictions)
    assert [isinstance(p, AudioError) for p in mixed] == [False, True]
    assert mixed.to_frame("pandas")["path"].tolist() == [str(rain / "a.wav"), "array"]
    assert soundscene.predict(predictor, []) == Predictions()


def test_embeddings_are_what_the_heads_read(model: Path, rain: Path) -> None:
    predictor = soundscene.load(model)
    segments = soundscene.embed(predictor, rain / "a.wav", per="segment")
    posterior = np.exp(predictor.model.classify((segments,), predictor.head))
    expected = [s.posterior for s in predict_one(predictor, rain / "a.wav").segments]
    np.testing.assert_allclose(posterior, expected, atol=1e-12)
    both = soundscene.embed(predictor, [rain / "a.wav", rain / "b.wav"])
    np.testing.assert_allclose(both[0], segments.mean(axis=0), rtol=1e-6)
    assert both.shape == (2, segments.shape[1])
    with pytest.raises(SceneError, match="the model has att-crnn-mel"):
        soundscene.embed(predictor, rain / "a.wav", member="cnn-mel")
    with pytest.raises(AudioError, match="digital silence"):
        soundscene.embed(predictor, (np.zeros(3 * RATE, np.float32), RATE))


def test_a_timeline_and_a_picture(model: Path, rain: Path, tmp_path: Path) -> None:
    line = soundscene.timeline(model, rain / "a.wav", stay_s=30.0)
    assert line.spans[0].start_s == 0.0
    assert line.stay_s == 30
    picture = soundscene.explain(model, rain / "a.wav", tmp_path / "x.svg")
    assert picture.read_text(encoding="utf-8").startswith("<svg")


def test_train_and_evaluate_are_the_commands(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path / "sound", n_per_scene=3)
    words: dict[str, Any] = {"recipe": "small", "settings": SETTINGS, "test": "fold=1", "device": "cpu", "workers": 1}
    predictor = soundscene.train(manifest, tmp_path / "m.safetensors", **words)
    assert repr(predictor) == "<Predictor att-crnn-mel; svm head; 3 scenes: night_crickets, office, rain>"
    scores = soundscene.evaluate(predictor, manifest, test="fold=1", workers=1)
    assert scores.n_recordings == 3
    assert scores.n_trained_on == 0
    with pytest.raises(SceneError, match="att-crnn-mle"):
        soundscene.train(manifest, tmp_path / "n.safetensors", systems=["att-crnn-mle"])


def test_a_scan_is_the_command_s_and_writes_nothing_unless_asked(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "sound"
    write_corpus(folder, n_per_scene=2).unlink()
    (folder / "rain" / "broken.wav").write_bytes(b"")
    before = sorted(tmp_path.rglob("*"))
    found = soundscene.scan(folder, group="none", seed=3)
    assert sorted(tmp_path.rglob("*")) == before
    assert (len(found), found.scenes) == (6, ("night_crickets", "office", "rain"))
    assert repr(found) == "<ScanResult 6 recordings, 6 groups; 3 scenes: night_crickets, office, rain; 1 unreadable>"
    assert [line.partition(": ")[0] for line in found.unreadable] == ["left out"]
    assert "broken.wav: is empty" in found.unreadable[0]
    table = found.to_frame("pandas")
    assert list(table.columns) == ["path", "scene", "group", "fold", "duration_s", "sample_rate", "channels"]
    assert table["duration_s"].round(1).tolist() == [2.2] * 6
    assert set(table["fold"]) == {"1", "2"}
    assert run("scan", folder, "--group", "none", "--seed", "3", "--out", tmp_path / "command.csv") == 3
    again = soundscene.scan(folder, tmp_path / "function.csv", group="none", seed=3)
    assert (tmp_path / "function.csv").read_bytes() == (tmp_path / "command.csv").read_bytes()
    assert again.manifest == found.manifest
    with pytest.raises(SceneError, match="is there already, and differs"):
        soundscene.scan(folder, tmp_path / "command.csv", group="none", seed=4)
    with pytest.raises(SceneError, match="does not exist"):
        soundscene.scan(tmp_path / "none")
    with pytest.raises(SceneError, match="layout 'esc51': allowed are folders, audiofolder"):
        soundscene.scan(folder, layout="esc51")


def test_the_layouts_of_the_function_are_those_of_the_command() -> None:
    assert get_args(Layout) == LAYOUTS


def test_what_a_scan_found_is_scored(model: Path, manifest: Path) -> None:
    found = soundscene.scan(manifest)
    scores = soundscene.evaluate(model, found, test="fold=1", workers=1)
    assert (scores.n_recordings, scores.n_trained_on) == (3, 0)


def test_a_device_is_chosen_when_a_model_is_loaded(model: Path) -> None:
    assert soundscene.load(model, device="auto").scenes == soundscene.load(model, device="cpu").scenes
    with pytest.raises(SceneError, match="device 'tpu': allowed are auto, cpu, cuda, mps"):
        soundscene.load(model, device="tpu")


def test_embeddings_of_a_folder_become_a_file_and_a_broken_one_is_a_row_of_nan(
    model: Path, rain: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "sound"
    shutil.copytree(rain, folder)
    (folder / "broken.wav").write_bytes(b"")
    predictor = soundscene.load(model)
    with pytest.raises(AudioError, match=r"broken\.wav: is empty"):
        soundscene.embed(predictor, folder)
    found = soundscene.embed(predictor, folder, errors="keep", out=tmp_path / "new" / "e.npy")
    assert np.isnan(found).all(axis=1).tolist() == [False, False, True]
    np.testing.assert_array_equal(np.load(tmp_path / "new" / "e.npy"), found[:2])
    assert (tmp_path / "new" / "e.paths.csv").read_text() == f"path\n{folder}/a.wav\n{folder}/b.wav\n"
    with pytest.raises(SceneError, match=r"ends in \.npy, \.parquet, \.csv"):
        soundscene.embed(predictor, folder, out=tmp_path / "e.txt")
    samples, rate = soundfile.read(rain / "a.wav", dtype="float32")
    refused = ((rate, samples), r"expected \(samples, sample rate\)"), ((np.ones((9, 2)), rate), r"hand in samples\.T")
    for swapped, message in refused:
        with pytest.raises(AudioError, match=message):
            soundscene.embed(predictor, swapped)
