"""Models on an encoder of the user's own, an ONNX file: trained, saved, predicting; and encoders that fail on the way."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.base import clone

pytest.importorskip("onnx", exc_type=ImportError)
pytest.importorskip("onnxruntime")

from soundscene.backbone.onnx import from_onnx
from soundscene.backbone.stored import StoredBackbone
from soundscene.bundle import load_model
from soundscene.data.manifest import Manifest
from soundscene.errors import AudioError, BackboneError
from soundscene.estimators import SceneClassifier
from soundscene.experiment.plan import Plan
from soundscene.experiment.results import RunFolder
from soundscene.pipeline import evaluate_on_manifest, train_on_manifest
from soundscene.predictor import Predictor, load
from soundscene.systems.catalogue import members
from tests.support.command_line import TINY_SET, run
from tests.support.encoders import RATE, bands, encoder
from tests.support.shared import once
from tests.support.tiny import RATE as OF_SOUND
from tests.support.tiny import TINY, recording, write, write_corpus


@pytest.fixture(scope="module")
def trained(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of an encoder, and one of it beside a network, trained on all folds but the first."""

    def make(folder: Path) -> None:
        from_onnx(bands(folder / "mine.onnx"), name="my encoder", licence="MIT").save(folder / "mine.safetensors")
        for name, systems in (("alone", ["backbone"]), ("both", ["backbone", "att-crnn-mel"])):
            out = folder / f"{name}.safetensors"
            backbone = folder / "mine.safetensors"
            train_on_manifest(manifest, out, members(systems, TINY), test="fold=1", workers=1, backbone=backbone)

    return once(tmp_path_factory, "encoders", make)


def test_a_model_of_an_encoder_is_one_file(trained: Path, manifest: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes((trained / "alone.safetensors").read_bytes())  # nothing of the encoder lies beside it
    model = load_model(path)
    assert (model.member_names, model.audio.sample_rate) == (("backbone",), RATE)
    assert model.provenance["backbone"]["licence"] == "MIT"
    assert evaluate_on_manifest(model, manifest, test="fold=1").n_recordings == 3
    sound = (recording("rain", 4.0, 7), OF_SOUND)
    one, other = Predictor(model)(sound), load(trained / "alone.safetensors")(sound)
    np.testing.assert_array_equal(one.posterior, other.posterior)
    assert one.scene in model.scenes


def test_beside_a_network_it_reads_its_own_rate(trained: Path, manifest: Path) -> None:
    model = load_model(trained / "both.safetensors")
    assert (model.member_names, model.audio.sample_rate) == (("att-crnn-mel", "backbone"), OF_SOUND)
    assert evaluate_on_manifest(model, manifest, test="fold=1").n_recordings == 3


def test_the_commands_take_an_encoder(manifest: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source, mine, out = bands(tmp_path / "mine.onnx"), tmp_path / "mine.safetensors", tmp_path / "m.safetensors"
    assert run("backbone", "onnx", "--from", source, "--licence", "MIT", "--out", mine) == 0
    assert capfd.readouterr().out.startswith(f"{mine}: mine at {RATE} Hz, ")
    assert StoredBackbone.load(mine).facts["licence"] == "MIT"
    assert run("backbone", "onnx", "--from", source, "--licence", "MIT", "--out", mine) == 0
    assert capfd.readouterr().out == f"{mine}: is there already, with the same weights\n"
    assert run("backbone", "onnx", "--from", source, "--out", mine) == 2
    assert "another licence, 'MIT' there and 'not stated' now; --force replaces it" in capfd.readouterr().err
    words = ["--systems", "backbone", "--backbone", mine]
    assert run("train", manifest, "--out", out, *words, *TINY_SET) == 0
    assert f"{out}: 3 scenes, " in capfd.readouterr().out
    sound = write(tmp_path / "s.wav", recording("rain", 4.0, 0))
    assert run("predict", out, sound, "--format", "json") == 0
    (said,) = json.loads(capfd.readouterr().out)["predictions"]
    expected = load(out)(sound)
    assert (said["scene"], said["probability"]) == (expected.scene, pytest.approx(expected.probability, abs=1e-4))


def test_info_counts_no_bytes_of_an_encoder(trained: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("info", trained / "alone.safetensors", "--json") == 0
    facts = json.loads(capfd.readouterr().out)
    assert (facts["parameters"], facts["members"][0]["parameters"]) == (None, None)


def test_a_killed_training_goes_on_with_its_network(trained: Path, manifest: Path, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def killer(row: dict) -> None:
        if row["epoch"] == 2:
            raise Killed

    out, mine = tmp_path / "m.safetensors", trained / "mine.safetensors"
    recipes = members(["backbone", "att-crnn-mel"], TINY)
    with pytest.raises(Killed):
        train_on_manifest(manifest, out, recipes, test="fold=1", workers=1, backbone=mine, on_epoch=killer)
    epochs = []
    train_on_manifest(
        manifest, out, recipes, test="fold=1", workers=1, backbone=mine, on_epoch=lambda row: epochs.append(row["epoch"])
    )
    assert epochs == [2]  # the first was not repeated
    one, other = load_file(out), load_file(trained / "both.safetensors")
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def test_a_classifier_of_scikit_learn_on_an_encoder(trained: Path, manifest: Path) -> None:
    mine = trained / "mine.safetensors"
    classifier: Any = clone(SceneClassifier(systems="backbone", settings="training.epochs=1", backbone=mine))
    assert classifier.get_params()["backbone"] == mine
    recordings = Manifest.read(manifest).recordings
    classifier.fit([str(r.path) for r in recordings], [r.scene for r in recordings])
    assert classifier.predictor_.model.member_names == ("backbone",)


@pytest.mark.slow
def test_an_experiment_on_an_encoder_keeps_it(
    trained: Path, manifest: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    mine, out = tmp_path / "mine.safetensors", tmp_path / "run"
    mine.write_bytes((trained / "mine.safetensors").read_bytes())
    words = ("--out", out, "--systems", "backbone", "--splits", "folds=2,seed=1", "--workers", "1", *TINY_SET)
    assert run("experiment", manifest, *words, "--backbone", mine) == 0
    assert "2 of 2 trainings have a result" in capfd.readouterr().out
    assert run("experiment", manifest, *words) == 0
    told = capfd.readouterr()
    assert f"note: {out}: resumes with the backbone of its plan.json" in told.err
    assert "2 trainings, 2 of them already finished" in told.out
    (result, _), _ = RunFolder(out).read_results(Plan.read(out))
    assert result.choices["backbone"]["licence"] == "MIT"
    assert {path.suffix for path in (out / "models").iterdir()} == {".safetensors"}
    from_onnx(bands(tmp_path / "other.onnx", limit=5.0)).save(tmp_path / "other.safetensors")
    assert run("experiment", manifest, *words, "--backbone", tmp_path / "other.safetensors") == 2
    assert "holds a system 'backbone' with other settings; choose another --out" in capfd.readouterr().err
    mine.write_bytes((tmp_path / "other.safetensors").read_bytes())
    assert run("experiment", manifest, *words) == 2
    assert "holds other weights than those that this experiment began with" in capfd.readouterr().err
    assert run("experiment", manifest, "--out", tmp_path / "no", "--systems", "hog", "--backbone", mine) == 2
    assert "no system uses it; add yamnet or backbone to --systems" in capfd.readouterr().err


# --- what fails on the way ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fold", ["1", "2"])
def test_an_encoder_that_fails_names_the_recording_before_networks_are_trained(fold: str, tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path)
    loud = tmp_path / "rain" / "3.wav"
    write(loud, np.clip(50 * recording("rain", 2.2, 3), -0.99, 0.99))
    from_onnx(bands(tmp_path / "mine.onnx", limit=0.8)).save(tmp_path / "mine.safetensors")
    epochs: list[dict] = []
    with pytest.raises(BackboneError) as refusal:
        train_on_manifest(
            manifest, tmp_path / "m.safetensors", members(["att-crnn-mel", "backbone"], TINY), test=f"fold={fold}",
            workers=1, backbone=tmp_path / "mine.safetensors", on_epoch=epochs.append,
        )  # fmt: skip
    text = str(refusal.value)
    assert text.startswith(f"{loud}: backbone mine: gives values that are not finite for samples of a peak of ")
    assert text.endswith("; leave the recording out, or repair the encoder")
    assert epochs == []


def test_an_encoder_that_fails_on_a_recording_to_predict_names_it(trained: Path, manifest: Path, tmp_path: Path) -> None:
    from_onnx(bands(tmp_path / "mine.onnx", limit=0.8)).save(tmp_path / "mine.safetensors")
    out = tmp_path / "m.safetensors"
    train_on_manifest(manifest, out, members(["backbone"], TINY), workers=1, backbone=tmp_path / "mine.safetensors")
    loud = write(tmp_path / "loud.wav", np.clip(50 * recording("rain", 2.2, 3), -0.99, 0.99))
    with pytest.raises(AudioError, match=f"^{loud}: backbone mine: gives values that are not finite"):
        load(out)(loud)


def test_patches_longer_than_the_segments_are_noted(manifest: Path, tmp_path: Path) -> None:
    from_onnx(encoder(tmp_path / "mine.onnx", ("batch", 10 * RATE))).save(tmp_path / "mine.safetensors")
    out, mine = tmp_path / "m.safetensors", tmp_path / "mine.safetensors"
    model = train_on_manifest(manifest, out, members(["backbone"], TINY), workers=1, backbone=mine)
    note = "backbone reads 10 s, and segments have 2 s: 80% of what it hears is silence; set audio.segment_s=10"
    assert note in model.provenance["notes"]
