"""Models on a frozen backbone, alone and beside a network: trained, saved, predicting, streaming."""

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from soundscene.backbone.stored import installed
from soundscene.backbone.yamnet import YamnetBackbone
from soundscene.bundle import FORMAT, load_model, save_model
from soundscene.errors import BackboneError, SceneError
from soundscene.live import Listener, array_arrivals, listen
from soundscene.member import BackboneMember
from soundscene.model import Model
from soundscene.network.svm import CalibratedSVM, linear
from soundscene.pipeline import evaluate_on_manifest, train_on_manifest
from soundscene.predictor import Predictor, load
from soundscene.recipe import Recipe
from soundscene.systems.backbone import augmented, untrained_member
from soundscene.systems.catalogue import build, members, specs
from soundscene.systems.choice import default_members, start_of
from soundscene.systems.transfer import at_rate_of, members_of
from soundscene.tensors import digest
from soundscene.timelines import timeline
from tests.support.command_line import TINY_SET, run
from tests.support.shared import once
from tests.support.tiny import RATE, SCENES, TINY, blank_bundle, recording, write
from tests.support.yamnet import small

AUGMENTED = msgspec.structs.replace(TINY, augmentation=Recipe.small().augmentation)


@pytest.fixture(autouse=True)
def data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SOUNDSCENE_DATA", str(tmp_path / "data"))


def backbone_member(recipe: Recipe) -> BackboneMember:
    member = untrained_member("yamnet", recipe, small())
    draws = torch.Generator().manual_seed(0)
    svm = CalibratedSVM(member.backbone.n_features, len(SCENES))
    svm.weight.copy_(5 * torch.randn(svm.weight.shape, generator=draws, dtype=torch.float64))
    svm.slope.fill_(-2.0)
    softmax = linear(member.backbone.n_features, len(SCENES))
    softmax.weight.copy_(torch.randn(softmax.weight.shape, generator=draws, dtype=torch.float64))
    return replace(member, svm=svm, softmax=softmax)


def alone() -> Model:
    return Model(SCENES, (backbone_member(at_rate_of(TINY, small())),), {"softmax": 1.1, "svm": 1.3}, {"notes": []})


def beside() -> Model:
    network = blank_bundle()
    return replace(network, members=(*network.members, backbone_member(TINY)))


@pytest.fixture(scope="module")
def trained(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of a frozen backbone, and one of it beside a network, trained on all folds but the first."""

    def make(folder: Path) -> None:
        small().save(folder / "backbone.safetensors")
        for name, systems in (("yamnet", ["yamnet"]), ("both", ["yamnet", "att-crnn-mel"])):
            recipes = members(systems, TINY)
            out = folder / f"{name}.safetensors"
            train_on_manifest(manifest, out, recipes, test="fold=1", workers=2, backbone=folder / "backbone.safetensors")

    return once(tmp_path_factory, "transfer", make)


# --- files ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [alone, beside])
def test_a_reloaded_model_predicts_the_same_bits(make, tmp_path: Path) -> None:
    model = make()
    save_model(model, tmp_path / "m.safetensors")
    sound = (recording("rain", 7.0, 0), RATE)
    before, after = Predictor(model)(sound), load(tmp_path / "m.safetensors")(sound)
    np.testing.assert_array_equal(before.posterior, after.posterior)
    for one, other in zip(before.segments, after.segments, strict=True):
        np.testing.assert_array_equal(one.posterior, other.posterior)
    softmax = [Predictor(one, "softmax")(sound).posterior for one in (model, load_model(tmp_path / "m.safetensors"))]
    np.testing.assert_array_equal(softmax[0], softmax[1])
    assert not np.allclose(softmax[0], before.posterior)
    again = load_model(tmp_path / "m.safetensors")
    member = again.members[-1]
    assert isinstance(member, BackboneMember)
    assert member.stored.digest == small().digest  # one file holds the backbone
    assert member.facts["source"] == "random"
    assert (again.audio.sample_rate, again.head) == ((16000, "svm") if make is alone else (RATE, "svm"))


def tamper(path: Path, tensors: dict | None = None, member: dict | None = None, lacking: tuple[str, ...] = ()) -> None:
    """Write another file with a right checksum."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["bundle"])
    header["members"][0] |= member or {}
    header["members"][0] = {name: value for name, value in header["members"][0].items() if name not in lacking}
    found = {name: t for name, t in (load_file(path) | (tensors or {})).items() if t is not None}
    text = json.dumps(header)
    save_file(found, path, {"format": FORMAT, "bundle": text, "sha256": digest(text, found)})


@pytest.mark.parametrize(
    ("tensors", "member", "message"),
    [
        ({"svm/weight": torch.zeros(3, 7, dtype=torch.float64)}, {}, "svm/weight is 3 x 7, the backbone needs 3 x 128"),
        ({"svm/bias": torch.full((3,), torch.nan, dtype=torch.float64)}, {}, "svm/bias holds values that are not finite"),
        ({"svm/more": torch.zeros(1)}, {}, "svm/more belongs to no layer of the backbone"),
        ({"softmax/bias": None}, {}, "softmax/bias is missing"),
        ({"softmax/weight": torch.zeros(3, 7)}, {}, "softmax/weight is 3 x 7, the backbone needs 3 x 128"),
        ({"softmax/bias": torch.full((3,), torch.inf)}, {}, "softmax/bias holds values that are not finite"),
        ({"backbone/first.weight": None}, {}, "its first layer is missing"),
        ({"backbone/first.bias": torch.full((4,), 1e9)}, {}, "first.bias holds values that no training gives"),
        ({"backbone/more": torch.zeros(1)}, {}, "more belongs to no layer"),
        ({}, {"pooling": "max"}, "pooling 'max', expected one of mean, mean+max, mean+std"),
        ({}, {"level": "high"}, "level is 'high', expected a number from 0.001 to 1000, or none"),
        ({}, {"patch_hop_s": 0.0}, "patch_hop_s is 0.0, expected a number from 0.001 to 1000, or none"),
        ({}, {"kind": "other"}, "of kind 'other', expected network or backbone"),
        ({}, {"backbone": []}, "backbone is [], expected names with values"),
        ({}, {"backbone": small().header() | {"version": 9}}, "written in format 9"),
        ({}, {"backbone": small().header() | {"sample_rate": 8000}}, "its sample rate is 8000, YAMNet's is 16000"),
        ({}, {"backbone": small().header() | {"kind": "onnx"}}, "holds no ONNX file"),
    ],
)
def test_a_strangers_backbone_is_checked(tensors: dict, member: dict, message: str, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_model(alone(), path)
    tamper(path, {f"members/0/{name}": t for name, t in tensors.items()}, member)
    with pytest.raises(SceneError) as refusal:
        load_model(path)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("level", "patch_hop_s"), [(None, 0.48), (1.0, 0.24), (2.5, 0.96)])
def test_the_file_says_how_images_are_made(level: float | None, patch_hop_s: float, tmp_path: Path) -> None:
    backbone = YamnetBackbone(small(), "mean", patch_hop_s, level)
    model = replace(alone(), members=(replace(backbone_member(at_rate_of(TINY, small())), backbone=backbone),))
    save_model(model, tmp_path / "m.safetensors")
    again = load_model(tmp_path / "m.safetensors").members[0]
    assert isinstance(again, BackboneMember)
    assert (again.backbone.level, again.backbone.patch_hop_s) == (level, patch_hop_s)  # type: ignore[attr-defined]
    waves = np.stack([recording(scene, 2.0, 0)[:32000] for scene in SCENES])
    images = backbone.prepare(waves)
    np.testing.assert_array_equal(again.backbone.prepare(waves), images)
    np.testing.assert_array_equal(again.embed(images), backbone.embed(images))


@pytest.mark.parametrize("has_softmax", [True, False])
def test_a_file_that_does_not_say_it_is_of_the_level_of_its_time(has_softmax: bool, tmp_path: Path) -> None:
    """Models of before the level have no softmax layer: they were fitted to sound as it is, and go on hearing it so."""
    path = tmp_path / "m.safetensors"
    save_model(alone(), path)
    tensors = {} if has_softmax else {"members/0/softmax/weight": None, "members/0/softmax/bias": None}
    tamper(path, tensors, lacking=("level", "patch_hop_s"))
    member = load_model(path).members[0]
    assert isinstance(member, BackboneMember)
    waves = np.stack([recording(scene, 2.0, 0)[:32000] for scene in SCENES])
    expected = YamnetBackbone(small(), level=1.0 if has_softmax else None).prepare(waves)
    np.testing.assert_array_equal(member.backbone.prepare(waves), expected)


# --- predictions ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [alone, beside])
def test_a_stream_predicts_what_a_file_does(make, tmp_path: Path) -> None:
    model, sound = make(), recording("office", 9.2, 1)
    whole = Predictor(model)(write(tmp_path / "s.wav", sound))
    as_read = load_wave(tmp_path / "s.wav")
    blocks = np.split(as_read, [1000, 1001, 70000, 150000])
    updates = list(listen(Listener(model, "svm", RATE), array_arrivals(blocks)))
    assert [u.start_s for u in updates] == [s.start_s for s in whole.segments]
    for update, segment in zip(updates, whole.segments, strict=True):
        assert update.segment_posterior is not None
        np.testing.assert_allclose(update.segment_posterior, segment.posterior, atol=1e-5)


def load_wave(path: Path) -> np.ndarray:
    import soundfile

    return soundfile.read(path, dtype="float32")[0]


def test_members_are_fused_by_the_product_rule() -> None:
    model, sound = beside(), (recording("rain", 4.0, 0), RATE)
    apart = [Predictor(replace(model, members=(member,)))(sound).segments for member in model.members]
    for fused, *each in zip(Predictor(model)(sound).segments, *apart, strict=True):
        product = np.prod([segment.posterior for segment in each], axis=0)
        np.testing.assert_allclose(fused.posterior, product / product.sum(), rtol=1e-6)


def test_silence_and_other_rates(tmp_path: Path) -> None:
    sound = recording("rain", 6.0, 0)
    sound[: 2 * 16000] = 0  # at the backbone's rate, so that no resampler rings into the silence
    predictor = Predictor(alone())
    with pytest.warns(UserWarning, match="digital silence"):
        assert len(predictor((sound[: 6 * 16000], 16000)).segments) == 2
    with pytest.raises(SceneError, match="digital silence"):
        predictor((np.zeros(5 * RATE), RATE))
    with pytest.raises(SceneError, match="needs at least one segment"):
        predictor((sound[-20000:], RATE))
    whole = predictor((recording("rain", 20.0, 0), RATE))
    assert timeline(whole, alone(), "svm").duration_s == pytest.approx(20)


# --- training -------------------------------------------------------------------------------------------------------------


def test_a_trained_model_holds_its_backbone(trained: Path, manifest: Path) -> None:
    model = load_model(trained / "yamnet.safetensors")
    assert [member.name for member in model.members] == ["yamnet"]
    assert model.audio.sample_rate == 16000
    assert model.familiarity is not None
    assert model.provenance["backbone"]["weights_sha256"] == small().digest
    assert model.provenance["backbone"]["licence"] == "none"
    result = evaluate_on_manifest(model, manifest, test="fold=1")
    assert result.n_recordings == 3
    assert result.n_trained_on == 0
    assert evaluate_on_manifest(model, manifest, test="fold=2").n_trained_on == 3


def test_beside_a_network_it_comes_second_and_shares_the_sound(trained: Path, manifest: Path) -> None:
    model = load_model(trained / "both.safetensors")
    assert [member.name for member in model.members] == ["att-crnn-mel", "yamnet"]
    assert model.audio.sample_rate == RATE
    assert set(model.provenance["members"]) == {"att-crnn-mel", "yamnet"}
    assert model.provenance["members"]["yamnet"]["backbone"]["source"] == "random"
    assert model.familiarity is not None
    assert len(model.familiarity.gaussians) == 2
    assert evaluate_on_manifest(model, manifest, test="fold=1").n_recordings == 3


def test_an_experiment_keeps_embeddings_and_saves_a_whole_model(manifest: Path, tmp_path: Path) -> None:
    from soundscene.data.manifest import Manifest
    from soundscene.data.store import FeatureStore
    from soundscene.systems.system import FitContext

    small().save(installed("yamnet"))
    system = build(specs(["yamnet"])[0], AUGMENTED)
    recordings = Manifest.read(manifest).recordings
    store = FeatureStore(tmp_path / "store", system.representation)
    assert not store.build(recordings)
    corpus = store.load(recordings)
    assert corpus.features.shape == (15, 2, 128)  # as it is, and augmented
    assert not np.allclose(corpus.features[:, 0], corpus.features[:, 1])
    fitted = system.fit(corpus, FitContext(seed=0))
    predictions = fitted.predict(corpus)
    assert set(predictions) == {"softmax", "svm"}
    assert fitted.save is not None
    fitted.save(tmp_path / "m.safetensors", {})
    predictor = load(tmp_path / "m.safetensors")
    assert predictor.head == "svm"
    for i in (0, 7, 14):  # the store holds 11 bits
        posterior = predictor(recordings[i].path).posterior
        np.testing.assert_allclose(posterior, np.exp(predictions["svm"].calibrated[i]), atol=0.02)
    plain = build(specs(["yamnet"])[0], TINY).representation
    assert plain.key != system.representation.key
    assert "level" not in plain.key  # stores that were filled before the key could say it stay valid
    assert plain.extract(recordings[0]).features.shape == (1, 1, 128)
    small(1).save(installed("yamnet"))
    other = build(specs(["yamnet"])[0], AUGMENTED).representation
    assert other.key != system.representation.key  # another backbone is another store


# --- the command line -----------------------------------------------------------------------------------------------------


def test_train_says_what_is_missing(manifest: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out, mine = tmp_path / "m.safetensors", tmp_path / "mine.safetensors"
    small().save(mine)
    for words, message in (
        (["--systems", "yamnet"], "soundscene: system yamnet needs its pretrained weights, and"),
        (["--systems", "backbone"], "soundscene: system backbone: name the backbone's file by --backbone FILE"),
        (["--systems", "yamnet", "--backbone", tmp_path / "none"], "no such file; make it by `soundscene backbone"),
        (["--systems", "att-crnn-mel", "--backbone", mine], "no member uses it; add yamnet or backbone to --systems"),
        (["--backbone", mine], "no member uses it"),
    ):
        assert run("train", manifest, "--out", out, *TINY_SET, *words) == 2
        assert message in capfd.readouterr().err.splitlines()[-1]
    assert not out.exists()
    assert not out.with_name("m.safetensors.run").exists()


def test_a_file_of_another_kind_is_no_yamnet(tmp_path: Path) -> None:
    mine, installed_one = tmp_path / "mine.safetensors", small(1)
    replace(small(), kind="onnx").save(mine)
    with pytest.raises(BackboneError) as refusal:
        members_of(members(["yamnet"], TINY), mine)
    assert str(refusal.value) == (
        f"{mine}: holds a backbone of kind onnx, expected yamnet; for this one, name the system backbone in place of yamnet"
    )
    small().save(mine)
    installed_one.save(installed("yamnet"))
    for systems, digests in (
        (["yamnet"], [small()]),  # another YAMNet than the installed one
        (["backbone"], [small()]),
        (["yamnet", "backbone"], [installed_one, small()]),  # `backbone` takes the file, and `yamnet` the installed one
        (["backbone", "att-crnn-mel", "yamnet"], [small(), installed_one]),
    ):
        found = members_of(members(systems, TINY), mine)
        assert [member.stored.digest for member in found.values()] == [one.digest for one in digests]


@pytest.mark.parametrize(("systems", "file"), [(["yamnet", "backbone"], True), (["yamnet", "yamnet@1"], False)])
def test_two_members_are_not_the_same_backbone(systems: list[str], file: bool, tmp_path: Path) -> None:
    small().save(installed("yamnet"))
    with pytest.raises(BackboneError, match=f"systems {systems[0]} and {systems[1]} are the same frozen backbone"):
        members_of(members(systems, TINY), installed("yamnet") if file else None)


def test_info_shows_licence_source_and_digest(trained: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("info", trained / "both.safetensors", "--json") == 0
    facts = json.loads(capfd.readouterr().out)
    member = facts["members"][1]
    assert member["system"] == "frozen backbone"
    assert member["backbone"]["weights_sha256"] == small().digest
    assert {"licence", "source", "source_sha256", "sample_rate", "pooling"} <= set(member["backbone"])
    assert set(facts["recipe"]) >= {"network", "features", "training"}
    assert run("info", trained / "yamnet.safetensors", "--json") == 0
    facts = json.loads(capfd.readouterr().out)
    assert set(facts["recipe"]) == {"audio", "training", "augmentation", "calibration"}  # no network is there
    assert set(facts["recipe"]["training"]) == {"seed", "segment_hop_s"}
    assert "backbone" not in facts  # it is the member's
    assert facts["members"][0]["backbone"]["weights_sha256"] == small().digest


def test_explain_refuses_a_model_of_a_backbone_only(trained: Path, tmp_path: Path, capfd) -> None:
    sound = write(tmp_path / "s.wav", recording("rain", 4.0, 0))
    assert run("explain", trained / "yamnet.safetensors", sound, "--out", tmp_path / "e.svg") == 2
    message = capfd.readouterr().err.splitlines()[-1]
    assert message == (
        "soundscene: this model is a frozen backbone only, which has no attention, and attribution is not built for it; "
        "give one that has a network too, as of --systems yamnet,att-crnn-mel"
    )
    assert run("explain", trained / "both.safetensors", sound, "--out", tmp_path / "e.svg") == 0


def test_predict_and_timeline_of_the_command_line(trained: Path, tmp_path: Path, capfd) -> None:
    sound = write(tmp_path / "s.wav", recording("rain", 30.0, 0))
    for name in ("yamnet", "both"):
        assert run("predict", trained / f"{name}.safetensors", sound, "--format", "json") == 0
        (said,) = json.loads(capfd.readouterr().out)["predictions"]
        expected = load(trained / f"{name}.safetensors")(sound)
        assert (said["scene"], said["probability"]) == (expected.scene, pytest.approx(expected.probability, abs=1e-4))
        assert run("timeline", trained / f"{name}.safetensors", sound, "--format", "json") == 0
        rows = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
        spans = timeline(expected, load_model(trained / f"{name}.safetensors"), "svm").spans
        assert [row["scene"] for row in rows] == [span.scene for span in spans]


def test_heads_see_an_augmented_copy_only_where_the_recipe_augments() -> None:
    """A gain changes nothing; other copies are other sound, and repeat for the same seed."""
    member, off = backbone_member(AUGMENTED), backbone_member(TINY)
    waves = np.stack([recording(scene, 2.0, 0)[:32000] for scene in SCENES])
    prepared = member.backbone.prepare(waves)
    assert augmented(off, prepared, 0) is None
    softer = augmented(replace(member, recipe=TINY.with_settings(["augmentation.level_db=[-20, -20]"])), prepared, 0)
    assert softer is not None
    np.testing.assert_allclose(softer, prepared, atol=2e-3)
    np.testing.assert_allclose(member.backbone.prepare(waves / 10), prepared, atol=1e-5)
    changed = augmented(member, prepared, 0)
    assert changed is not None
    np.testing.assert_array_equal(changed, augmented(member, prepared, 0))
    assert changed.shape == prepared.shape
    assert np.abs(changed - prepared).mean() > 0.1


def test_without_a_recipe_a_backbone_has_the_networks_of_the_default() -> None:
    both = members(["yamnet", "att-crnn-mel"], start_of(["yamnet", "att-crnn-mel"]))
    assert both["att-crnn-mel"] == default_members()["att-crnn-mel"]
    assert {one.calibration.head for one in (start_of(["yamnet"]), *both.values())} == {"softmax"}
    assert start_of(["att-crnn-mel", "att-crnn-gammatone@1"]) == Recipe.small()


def test_a_model_of_which_only_the_svm_was_fitted_votes_by_it() -> None:
    model = alone()
    member = model.members[0]
    assert isinstance(member, BackboneMember)
    model = replace(model, members=(replace(member, softmax=None),))
    sound = (recording("rain", 4.0, 0), RATE)
    assert model.lacking("softmax") == "yamnet: no softmax head, votes by its svm head"
    with pytest.warns(UserWarning, match="no softmax head, votes by its svm head"):
        softmax = Predictor(model, "softmax")(sound)
    svm = Predictor(model, "svm")(sound)
    np.testing.assert_array_equal(softmax.segments[0].posterior, svm.segments[0].posterior)
