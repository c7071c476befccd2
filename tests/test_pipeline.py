"""Train from a manifest and evaluate on one: guards before, resume in between, and honest counts after."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from safetensors import safe_open

from soundscene import pipeline
from soundscene.bundle import load_model
from soundscene.data.corpus import read_corpus
from soundscene.data.manifest import Manifest
from soundscene.errors import BundleError, ManifestError
from soundscene.member import networks_of
from soundscene.pipeline import as_dict, evaluate_on_images, evaluate_on_manifest, train_on_manifest
from soundscene.predictor import Predictor
from soundscene.systems.catalogue import members
from soundscene.types import Recording
from tests.support.tiny import RATE, SCENES, TINY, blank_bundle, only, recording, write

THREE = TINY.with_settings(["training.epochs=3"])


@pytest.fixture
def corpus(manifest: Path, tmp_path: Path) -> Path:
    """A copy of the session's corpus that a test may spoil; its manifest."""
    shutil.copytree(manifest.parent, tmp_path / "corpus")
    return tmp_path / "corpus" / "manifest.csv"


def nobody(*_: object) -> NoReturn:
    raise AssertionError("too late: this should have been known before")


# --- training ---------------------------------------------------------------------------------------------------------


def test_a_killed_training_resumes_to_the_same_bits(manifest: Path, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def killer(row: dict[str, float]) -> None:
        if row["epoch"] == 2:
            raise Killed

    undisturbed, out = tmp_path / "a" / "m.safetensors", tmp_path / "b" / "m.safetensors"
    train_on_manifest(manifest, undisturbed, THREE, test="fold=1", workers=1)
    with pytest.raises(Killed):
        train_on_manifest(manifest, out, THREE, test="fold=1", workers=1, on_epoch=killer)
    assert not out.exists()
    assert (tmp_path / "b/m.safetensors.run/checkpoint.safetensors").exists()
    epochs = []
    train_on_manifest(manifest, out, THREE, test="fold=1", workers=1, on_epoch=lambda row: epochs.append(row["epoch"]))
    assert epochs == [2, 3]  # the first was not repeated
    assert not (tmp_path / "b/m.safetensors.run/checkpoint.safetensors").exists()

    one, other = load_model(undisturbed), load_model(out)
    first, second = only(one), only(other)
    for mine, yours in ((first.network, second.network), (first.svm, second.svm)):
        for (name, tensor), (_, twin) in zip(mine.state_dict().items(), yours.state_dict().items(), strict=True):
            assert torch.equal(tensor, twin), name
    assert one.temperature == other.temperature
    clocks = {"seconds": 0}
    assert one.provenance | clocks == other.provenance | clocks  # all but the time it took


TWO = ["cnn-mel", "cnn-gammatone@1"]


def test_a_killed_training_of_several_members_resumes_member_by_member(manifest: Path, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def kill_at(member: str, epoch: int) -> Callable[[dict[str, Any]], None]:
        def killer(row: dict[str, Any]) -> None:
            if (row["member"], row["epoch"]) == (member, epoch):
                raise Killed

        return killer

    recipes = members(TWO, THREE)
    undisturbed, out = tmp_path / "a" / "m.safetensors", tmp_path / "b" / "m.safetensors"
    train_on_manifest(manifest, undisturbed, recipes, test="fold=1", workers=1)
    for name in TWO:
        with pytest.raises(Killed):
            train_on_manifest(manifest, out, recipes, test="fold=1", workers=1, on_epoch=kill_at(name, 2))
    epochs = []
    run = tmp_path / "b" / "m.safetensors.run"
    train_on_manifest(
        manifest, out, recipes, test="fold=1", workers=1, on_epoch=lambda r: epochs.append((r["member"], r["epoch"]))
    )
    assert epochs == [("cnn-gammatone@1", 2), ("cnn-gammatone@1", 3)]  # nothing was repeated
    assert not list(run.rglob("checkpoint.safetensors"))
    assert [row.split(",")[:2] for row in (run / "history.csv").read_text().split()][3:5] == [
        ["cnn-mel", "3.0"],
        ["cnn-gammatone@1", "1.0"],
    ]
    assert all(list((run / name / "tensorboard").iterdir()) for name in TWO)
    with safe_open(undisturbed, "pt") as one, safe_open(out, "pt") as other:
        names = sorted(one.keys())
        assert names == sorted(other.keys())
        for name in names:
            assert torch.equal(one.get_tensor(name), other.get_tensor(name)), name
    first, second = load_model(undisturbed), load_model(out)
    assert [member.name for member in second.members] == TWO
    assert first.temperature == second.temperature
    facts = [{k: v for k, v in model.provenance.items() if k not in ("seconds", "members")} for model in (first, second)]
    assert facts[0] == facts[1]
    assert {name: f["epoch"] for name, f in second.provenance["members"].items()} == dict.fromkeys(TWO, 3)


def test_members_are_trained_on_their_own_images_with_the_same_groups_held_out(manifest: Path, tmp_path: Path) -> None:
    """The networks are those of single trainings with the same recordings held out; the sound is read once."""
    once = THREE.with_settings(["training.epochs=1"])
    recipes = members(["cnn-mel", "cnn-gammatone"], once)
    read = []
    both = train_on_manifest(
        manifest, tmp_path / "m", recipes, test="fold=1", workers=1, read_progress=lambda done, n: read.append((done, n))
    )
    assert read == [(n, 12) for n in range(1, 13)]
    for member, recipe in zip(networks_of(both.members), recipes.values(), strict=True):
        alone = only(train_on_manifest(manifest, tmp_path / member.name, recipe, test="fold=1", workers=1))
        assert member.recipe == alone.recipe == recipe
        for mine, theirs in ((member.network, alone.network), (member.svm, alone.svm)):
            for (name, tensor), (_, twin) in zip(mine.state_dict().items(), theirs.state_dict().items(), strict=True):
                assert torch.equal(tensor, twin), name
    assert both.familiarity is not None
    assert len(both.familiarity.calibration_scores) == both.provenance["held_out_recordings"] == 3
    found = evaluate_on_manifest(both, manifest, test="fold=1", workers=1)
    assert found.n_recordings == 3
    direct = Predictor(load_model(tmp_path / "m")).predict(manifest.parent / "rain" / "0.wav")
    assert found.scores["svm"].calibrated.n == 3
    assert direct.scenes == both.scenes


def test_beside_the_model_lie_history_and_curves(manifest: Path, tmp_path: Path) -> None:
    seen, read = [], []
    out = tmp_path / "m.safetensors"
    bundle = train_on_manifest(
        manifest, out, TINY, workers=1, on_epoch=seen.append, read_progress=lambda done, total: read.append((done, total))
    )
    assert read == [(n, 15) for n in range(1, 16)]
    with (tmp_path / "m.safetensors.run/history.csv").open() as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert rows == seen
    assert list(rows[0]) == ["epoch", "loss", "seconds", "validation_log_loss", "validation_accuracy"]
    assert [row["epoch"] for row in rows] == [1, 2]
    (events,) = (tmp_path / "m.safetensors.run/tensorboard").glob("events.out.tfevents.*")
    assert events.stat().st_size > 100
    assert sorted(p.name for p in (tmp_path / "m.safetensors.run").iterdir()) == ["history.csv", "tensorboard"]
    assert bundle.provenance["manifest"] == "manifest.csv"
    assert bundle.provenance["test"] == "none: trained on all rows"
    assert len(bundle.provenance["trained_on"]) == 15
    assert load_model(out).provenance == bundle.provenance


def test_without_a_held_out_part_the_history_has_no_validation(manifest: Path, tmp_path: Path) -> None:
    recipe = TINY.with_settings(["calibration.held_out=0", "training.epochs=1", "network.kind=cnn"])
    bundle = train_on_manifest(manifest, tmp_path / "m", recipe, test="fold=2", workers=1)
    assert (tmp_path / "m.run/history.csv").read_text().splitlines()[0] == "epoch,loss,seconds"
    assert bundle.temperature == {"softmax": 1.0, "svm": 1.0}
    assert (bundle.provenance["test"], len(bundle.provenance["trained_on"])) == ("fold=2", 12)


def test_the_same_sound_under_another_name_in_the_test_part_is_refused(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(corpus.parent / "office/3.wav", corpus.parent / "office/copy.wav")  # 3 is of fold 4
    corpus.write_text(corpus.read_text() + "office/copy.wav,office,1\n")
    monkeypatch.setattr(pipeline, "train_members", nobody)
    with pytest.raises(ManifestError) as refusal:
        train_on_manifest(corpus, tmp_path / "m", TINY, test="fold=1", workers=1)
    assert str(refusal.value) == (
        "the same audio appears in both training (line 10, 3.wav) and test (line 17, copy.wav); "
        "remove one, or give both the same group"
    )
    assert not (tmp_path / "m").exists()


def test_a_broken_test_file_is_left_to_the_evaluation(corpus: Path, tmp_path: Path) -> None:
    (corpus.parent / "rain/0.wav").write_text("no sound")  # of fold 1
    bundle = train_on_manifest(corpus, tmp_path / "m", TINY.with_settings(["training.epochs=1"]), test="fold=1", workers=1)
    with pytest.raises(
        ManifestError, match=r"^1 of 3 recordings cannot be used; .*: line 12: .*0\.wav: is not an audio file"
    ):
        evaluate_on_manifest(bundle, corpus, test="fold=1", workers=1)


def test_broken_training_files_are_all_named_before_anything_is_trained(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("rain/1.wav", "office/4.wav"):
        (corpus.parent / name).write_text("no sound")
    monkeypatch.setattr(pipeline, "train_members", nobody)
    with pytest.raises(ManifestError, match=r"^2 of 12 recordings .*: line 11: .*office/4\.wav: .*; line 13: .*rain/1\.wav"):
        train_on_manifest(corpus, tmp_path / "m", TINY, test="fold=1", workers=1)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("", r": is a folder; name the model's file, for example .*/model\.safetensors$"),
        ("file/m", r"file/m: cannot be written there \(Not a directory: .*file/m\.run\)$"),
        ("locked/m", r"locked/m: cannot be written there \(no permission to write in .*locked\)$"),
    ],
)
def test_where_the_model_cannot_be_put_is_known_before_training(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, message: str
) -> None:
    (tmp_path / "file").write_text("")
    access = pipeline.os.access
    monkeypatch.setattr(pipeline.os, "access", lambda path, mode: Path(path).name != "locked" and access(path, mode))
    with pytest.raises(BundleError, match=message):
        train_on_manifest(manifest, tmp_path / where, TINY, read_progress=nobody)


# --- evaluation -------------------------------------------------------------------------------------------------------


def test_scores_are_those_of_the_predictions(manifest: Path, model: Path) -> None:
    bundle = load_model(model)
    found = evaluate_on_manifest(bundle, manifest, workers=1)
    rows = Manifest.read(manifest).recordings
    corpus = read_corpus(rows, only(bundle).recipe)
    truth = np.array([SCENES.index(r.scene) for r in rows])
    for head, scores in found.scores.items():
        segment = bundle.classify(bundle.embed((corpus.features,)), "svm" if head == "svm" else "softmax")  # one each: 2.2 s
        assert scores.segment.accuracy == scores.recording.accuracy == np.mean(segment.argmax(axis=1) == truth)
        right = segment[np.arange(15), truth]
        assert scores.recording.log_loss == pytest.approx(-right.mean(), rel=1e-5)
        tempered = segment / bundle.temperature[head]
        tempered -= np.log(np.exp(tempered).sum(axis=1, keepdims=True))
        assert scores.calibrated.log_loss == pytest.approx(-tempered[np.arange(15), truth].mean(), rel=1e-5)
        assert scores.recording.confusion.sum() == 15
    assert set(found.scores) == {"softmax", "svm"}


def test_recordings_of_the_training_are_counted(manifest: Path, model: Path) -> None:
    bundle = load_model(model)  # trained without fold 1
    unheard = evaluate_on_manifest(bundle, manifest, test="fold=1", workers=1)
    assert (unheard.n_recordings, unheard.n_trained_on) == (3, 0)
    everything = evaluate_on_manifest(bundle, manifest, workers=1)
    assert (everything.n_recordings, everything.n_trained_on) == (15, 12)


def test_a_scene_that_the_model_does_not_know_is_named_with_its_line(manifest: Path) -> None:
    with pytest.raises(ManifestError) as refusal:
        evaluate_on_manifest(blank_bundle(scenes=("office", "rain")), manifest)
    assert str(refusal.value) == (f"{manifest}, line 2: scene 'night_crickets' is not one of the model's (office, rain)")


def test_digital_silence_is_left_out_of_the_scores_with_a_note(manifest: Path, tmp_path: Path) -> None:
    late = np.zeros(round(2.5 * RATE), np.float32)
    late[-100:] = 0.1  # too late for any segment, and one of 25 pieces of 0.1 s
    silent = Recording(write(tmp_path / "late.wav", late), "rain", "late")
    slow = Recording(write(tmp_path / "slow.wav", recording("rain", 3.0, 9), 16000), "rain", "slow")
    bundle = blank_bundle()
    found = evaluate_on_images(
        bundle, read_corpus([silent, slow, *Manifest.read(manifest).recordings[:2]], only(bundle).recipe)
    )
    assert found.n_recordings == found.scores["svm"].recording.n == 3
    assert found.notes[0].startswith("late.wav: 96% is digital silence")
    assert found.notes[1].startswith("slow.wav: sampled at 16000 Hz, below the recipe's 22050 Hz")
    assert found.notes[2:] == ("1 recordings of digital silence were left out",)
    with pytest.raises(ManifestError) as refusal:
        evaluate_on_images(bundle, read_corpus([silent], only(bundle).recipe))
    assert str(refusal.value) == "there is nothing to score: every segment of every recording is digital silence"


def test_an_evaluation_survives_json(manifest: Path, model: Path) -> None:
    found = evaluate_on_manifest(load_model(model), manifest, test="fold=1", workers=1)
    plain = json.loads(json.dumps(as_dict(found)))
    assert set(plain) == {"scenes", "recordings", "trained_on", "heads", "notes"}
    assert set(plain["heads"]) == {"softmax", "svm"}
    for scores in plain["heads"].values():
        by_scene = scores.pop("by_scene")
        assert [row["scene"] for row in by_scene] == list(found.scenes)
        assert set(scores) == {"segment", "recording", "calibrated"}
        for metrics in scores.values():
            names = {"n", "accuracy", "macro_f1", "macro_precision", "log_loss", "calibration_error", "confusion"}
            assert set(metrics) == names
    confusion = plain["heads"]["svm"]["recording"]["confusion"]
    assert confusion == found.scores["svm"].recording.confusion.tolist()
