"""Saved systems: the same predictions from a file, no pickle in it, and one line for what it cannot do."""

import json
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from soundscene.bundle import FORMAT, is_system, load_model, save_model
from soundscene.data.corpus import Corpus
from soundscene.errors import AudioError, BundleError, TrainingError
from soundscene.systems import factors, fisher_hog, hog, mfcc_dnn
from soundscene.systems.catalogue import build, specs
from soundscene.systems.saved import corpus_of, load_system
from soundscene.systems.system import FitContext, Fitted
from soundscene.tensors import digest
from soundscene.types import Recording
from tests.support.small_systems import SHORT, TINY, made_up, make_small
from tests.support.tiny import RATE, blank_bundle, write

NAMES = (
    *("hog", "hog-spd", "hog-spd:blocks=spd", "cqt-hog", "fisher-hog", "sparse-nmf", "conv-nmf", "kernel-pca", "mfcc-dnn"),
    *("hog-spd:kernel=emd", "hog-spd:blocks=spd:kernel=emd", "fisher-hog:height=on"),
    *("tt-dnn", "tt-lstm:reduction=mean", "lstm-sa", "cnn-1d-2d-3d", "cnn-1d-2d-3d:branches=3d"),
)


@pytest.fixture(scope="module", autouse=True)
def small():
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch)
        yield


_PLAIN_FISHER, _PLAIN_MFCC = fisher_hog.FisherSettings(), mfcc_dnn.MfccDnnSettings()
_PLAIN_HOG = hog.HogSettings()


def fitted(name: str) -> tuple[Fitted, Corpus]:
    """A system fitted to made-up features of two scenes, of its own shape."""
    corpus = made_up(name, 0.2, 0.4)
    recipe = SHORT if name.startswith("cnn-1d") else TINY
    return build(specs([name])[0], recipe).fit(corpus, FitContext(0)), corpus


@pytest.mark.parametrize("name", NAMES)
def test_a_file_predicts_the_same_bits(name: str, tmp_path: Path) -> None:
    fit, corpus = fitted(name)
    assert fit.save is not None
    fit.save(tmp_path / "m.safetensors", {})
    assert is_system(tmp_path / "m.safetensors")
    loaded = load_system(tmp_path / "m.safetensors")
    before, after = fit.predict(corpus), loaded.predict_corpus(corpus)
    assert before.keys() == after.keys()
    for head in before:
        # a convolution over three axes may be summed in another order, by where its arrays lie
        most = 1e-6 if name.startswith("cnn-1d-2d-3d") else 0.0
        np.testing.assert_allclose(before[head].recording, after[head].recording, rtol=0, atol=most)
        np.testing.assert_allclose(before[head].calibrated, after[head].calibrated, rtol=0, atol=most)
    assert loaded.identity.name == specs([name])[0].name
    assert loaded.facts["held_out_recordings"] == len(fit.held)
    with safe_open(tmp_path / "m.safetensors", "pt") as file:
        header = json.loads(file.metadata()["bundle"])
    assert (header["version"], header["scenes"]) == (3, ["a", "b"])


@pytest.mark.parametrize("name", ["hog", "conv-nmf", "tt-dnn"])
def test_single_files_have_the_posteriors_of_the_corpus_and_twice_the_same_bits(name: str, tmp_path: Path) -> None:
    """Not the bits of the corpus: products over recordings are summed in another order than those of one."""
    draws = np.random.default_rng(0)
    recordings = []
    for i in range(12):
        noise = draws.normal(0, 0.1, RATE * (4 + i % 4) // 2)
        noise[1:] += (0.2 * (i % 2) + 0.4 * (i % 3)) * noise[:-1]  # scenes that overlap: few posteriors are 0 or 1
        recordings.append(Recording(write(tmp_path / f"{i}.wav", noise.clip(-1, 1)), "ab"[i % 2], f"{i}"))
    system = build(specs([name])[0], TINY)
    corpus = corpus_of(recordings, [system.representation.extract(recording) for recording in recordings])
    save = system.fit(corpus, FitContext(0)).save
    assert save is not None
    save(tmp_path / "m.safetensors", {})
    loaded = load_system(tmp_path / "m.safetensors")
    together = np.exp(loaded.predict_corpus(corpus)[loaded.head].calibrated)
    single = np.stack([loaded.predict(recording.path).posterior for recording in recordings])
    np.testing.assert_allclose(single, together, rtol=0, atol=1e-5)
    assert np.sum((single[:, 0] > 0.001) & (single[:, 0] < 0.999)) > 3
    assert np.ptp(single[:, 0]) > 0.001
    assert np.array_equal(loaded.predict(recordings[0].path).posterior, single[0])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, small: None) -> Path:
    path = tmp_path_factory.mktemp("saved") / "hog.safetensors"
    save = fitted("hog")[0].save
    assert save is not None
    save(path, {})
    return path


def rewritten(model: Path, to: Path, change: Callable[[dict, dict], None]) -> Path:
    """The file with another header or other tensors, and the checksum that they have."""
    with safe_open(model, "pt") as file:
        header = json.loads(file.metadata()["bundle"])
    tensors = load_file(model)
    change(header, tensors)
    text = json.dumps(header, sort_keys=True)
    save_file(tensors, to, {"format": FORMAT, "bundle": text, "sha256": digest(text, tensors)})
    return to


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header, tensors: header.update(system="os.system"), "'os.system' is not known here"),
        (lambda header, tensors: header.update(system="att-crnn-mel"), "att-crnn-mel cannot be loaded from a file"),
        (lambda header, tensors: header.pop("temperature"), "lacks 'temperature'"),
        (lambda header, tensors: header.update(temperature={"svm": -1}), "temperature of 'svm' is -1"),
        (lambda header, tensors: header.update(scenes=["a"]), "expected two or more names"),
        (lambda header, tensors: header.update(options=[]), "header is of no use"),
        (lambda header, tensors: header.update(front_end=3), "front_end is 3, this soundscene knows 1 to 2"),
        (lambda header, tensors: header.update(record=[]), "record is [], expected features and choices"),
        (lambda header, tensors: tensors.update({"svm/bias": torch.full((2,), torch.nan)}), "not numbers"),
    ],
)
def test_a_file_that_is_of_no_use_is_refused_in_one_line(model: Path, tmp_path: Path, change, message: str) -> None:
    with pytest.raises(BundleError) as refusal:
        load_system(rewritten(model, tmp_path / "m.safetensors", change))
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda header, tensors: tensors.pop("svm/weight"),
        lambda header, tensors: tensors.update({"svm/weight": tensors["svm/weight"][:, :7].clone()}),
        lambda header, tensors: tensors.update({"svm/weight": torch.zeros(3, 1024, dtype=torch.float64)}),
    ],
)
def test_tensors_that_do_not_fit_are_refused_in_one_line(model: Path, tmp_path: Path, change) -> None:
    loaded = load_system(rewritten(model, tmp_path / "m.safetensors", change))
    with pytest.raises(BundleError, match="do not fit together"):
        loaded.predict_corpus(fitted("hog")[1])


def test_models_of_members_and_saved_systems_are_told_apart(model: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="a model of the system hog, which predict, evaluate, info and push can use"):
        load_model(model)
    save_model(blank_bundle(), tmp_path / "network.safetensors")
    assert not is_system(tmp_path / "network.safetensors")
    assert not is_system(tmp_path / "nothing.safetensors")
    with pytest.raises(BundleError, match="a model of members"):
        load_system(tmp_path / "network.safetensors")
    save = fitted("hog")[0].save
    assert save is not None
    with pytest.raises((BundleError, TrainingError), match="cannot be written"):
        save(model / "below.safetensors", {})


def test_features_or_choices_that_changed_since_are_refused(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise an old file would predict from other features, without a word."""
    with monkeypatch.context() as patch:
        patch.setattr(hog, "HogSettings", lambda: replace(_PLAIN_HOG, orientations=9))
        with pytest.raises(
            BundleError, match=r"choices of hog were others: choices\.orientations 8 there, 9 here; .*; train"
        ):
            load_system(model)
    with monkeypatch.context() as patch:
        patch.setattr(hog, "_VERSION", 2)
        with pytest.raises(BundleError, match=r"features\.version 1 there, 2 here; train it again with this soundscene$"):
            load_system(model)
    save = fitted("sparse-nmf")[0].save
    assert save is not None
    save(tmp_path / "nmf.safetensors", {})
    fewer = factors.FactorSettings()
    with monkeypatch.context() as patch:  # a choice that no feature shows
        patch.setattr(factors, "FactorSettings", lambda: replace(fewer, alpha=0.2))
        with pytest.raises(BundleError, match=r"sparse-nmf were others: choices\.alpha 0\.1 there, 0\.2 here"):
            load_system(tmp_path / "nmf.safetensors")
    load_system(tmp_path / "nmf.safetensors")


def test_other_versions_of_libraries_are_noted_with_every_prediction(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hog, "version", lambda name: "99.0" if name == "librosa" else version(name))
    loaded = load_system(model)
    (note,) = loaded.notes
    assert "may differ a little: librosa " in note
    assert note.endswith('"99.0" here')
    assert loaded.facts["notes_on_features"] == [note]
    sound = write(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.1, 2 * RATE).clip(-1, 1))
    assert note in loaded.predict(sound).notes


def test_a_file_without_a_record_is_loaded_unless_the_features_have_another_version_by_now(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = rewritten(model, tmp_path / "old.safetensors", lambda header, tensors: header.pop("record"))
    assert load_system(old).notes == ()
    monkeypatch.setattr(hog, "_VERSION", 2)
    with pytest.raises(BundleError, match="features are of version 1, and those of hog are now 2; train it again"):
        load_system(old)


def test_facts_are_those_that_the_system_uses(model: Path, tmp_path: Path) -> None:
    facts = load_system(model).facts
    assert facts["choices"]["orientations"] == 8
    assert {section: {*values} for section, values in facts["recipe"].items()} == {
        "audio": {"sample_rate"},
        "calibration": {"held_out", "platt_folds"},
    }
    save = fitted("tt-lstm:reduction=mean")[0].save
    assert save is not None
    save(tmp_path / "tt.safetensors", {})
    facts = load_system(tmp_path / "tt.safetensors").facts
    assert (facts["choices"]["reduction"], facts["choices"]["width"]) == ("mean", 256)
    assert facts["recipe"]["network"] == {"hidden": 4}
    assert facts["recipe"]["training"] == {"epochs": 2}


def test_a_file_of_sound_is_predicted_as_its_features_are(model: Path, tmp_path: Path) -> None:
    loaded = load_system(model)
    sound = write(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.1, 2 * RATE).clip(-1, 1))
    found = loaded.predict(sound)
    assert found.posterior.sum() == pytest.approx(1.0)
    assert found.segments == ()
    assert found.duration_s == pytest.approx(2.0)
    (pair,) = loaded.predict_each([sound])
    assert np.array_equal(pair[1].posterior, found.posterior)  # pyright: ignore[reportAttributeAccessIssue]
    mute = write(tmp_path / "mute.wav", np.zeros(RATE))
    with pytest.raises(AudioError, match="digital silence"):
        loaded.predict(mute)
    ((_, missing),) = loaded.predict_each([tmp_path / "none.wav"])
    assert isinstance(missing, AudioError)
