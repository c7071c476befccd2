"""The version of the front-end in stores, plans, bundles and folders of rows: what 0.1 began is finished as it was begun."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from soundscene.batch.folder import RUN, BatchConfig
from soundscene.batch.run import run_batch
from soundscene.bundle import load_model, save_model
from soundscene.data.store import FeatureStore
from soundscene.errors import BundleError, SceneError, TrainingError
from soundscene.experiment.plan import Plan
from soundscene.experiment.request import from_manifest
from soundscene.experiment.run import RunOptions, run_experiment
from soundscene.explanation.recording import analyse_recording
from soundscene.pipeline import evaluate_on_manifest
from soundscene.predictor import Predictor
from soundscene.recipe import FRONT_END, AudioRecipe, FeatureRecipe
from soundscene.signal.frontend import FrontEnd
from soundscene.systems.neural import images
from soundscene.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from soundscene.types import Samples
from tests.golden import wave
from tests.support.tiny import RATE, TINY, blank_bundle, only, recording, write, write_corpus
from tests.test_bundle import crafted

FIXTURES = Path(__file__).parent / "fixtures_0_1_0"
NOTE = "sound follows digital silence, where soundscene 0.1, which trained this model, computed other images"
OLD = replace(blank_bundle(), members=(replace(only(blank_bundle()), front_end=1),))
OPTIONS = RunOptions(1, 1, "cpu")
DB = 10 / np.log(10)
AFTER_SILENCE = np.tile(wave("white"), 2)
AFTER_SILENCE[:RATE] = 0


def gapped(seconds: float = 10.0, level: float = 0.0, seed: int = 0) -> Samples:
    """Rain with a second of digital silence, or of faint noise, from 2 s on."""
    samples = recording("rain", seconds, seed).astype(np.float32)
    samples[2 * RATE : 3 * RATE] = level * np.random.default_rng(seed).standard_normal(RATE)
    return samples


def both(samples: Samples, kind: str = "mel") -> tuple[np.ndarray, np.ndarray]:
    """Images of both versions, dB."""
    features = FeatureRecipe(kind=kind)  # type: ignore[arg-type]
    one, two = (FrontEnd(AudioRecipe(), features, version=version)(samples).images for version in (1, 2))
    return one.astype(np.float64) * DB, two.astype(np.float64) * DB


# --- images -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scene", ["rain", "office", "night_crickets"])
@pytest.mark.parametrize("kind", ["mel", "gammatone"])
def test_images_of_ordinary_sound_do_not_change(scene: str, kind: str) -> None:
    one, two = both(recording(scene, 6.0, 3).astype(np.float32), kind)
    assert np.abs(one - two).max() < 1e-5


def test_images_of_recorded_sound_do_not_change() -> None:
    one, two = both(wave("scene"))
    assert np.abs(one - two).max() < 1e-5


@pytest.mark.parametrize("seed", range(6))
def test_images_change_only_where_a_note_says_so(seed: int) -> None:
    draws = np.random.default_rng(seed)
    samples = np.tile(wave(["scene", "white"][seed % 2]), 2)
    for _ in range(2):
        at, n = int(draws.integers(0, len(samples))), int(10 ** draws.uniform(2.5, 4.7))
        samples[at : at + n] *= np.float32(draws.choice([0.0, 1e-9, 1e-7, 1e-5]))
    stream = FrontEnd(AudioRecipe(), FeatureRecipe()).stream()
    stream.push(samples)
    stream.flush()
    assert stream.notes(trained_with=FRONT_END) == ()
    if not stream.notes(trained_with=1):
        one, two = both(samples)
        assert np.abs(one - two).max() < 1e-5


def test_images_after_silence_change() -> None:
    one, two = both(AFTER_SILENCE)
    assert np.abs(one[:, 0] - two[:, 0]).max() == 0  # the channel as recorded
    assert np.abs(one[:, 1] - two[:, 1]).max() > 1


# --- models -----------------------------------------------------------------------------------------------------------


def test_a_model_says_which_front_end_it_was_trained_with(tmp_path: Path) -> None:
    save_model(blank_bundle(), tmp_path / "new.safetensors")
    assert load_model(tmp_path / "new.safetensors").front_end == FRONT_END == 2
    save_model(OLD, tmp_path / "old.safetensors")
    assert load_model(tmp_path / "old.safetensors").front_end == 1
    assert load_model(FIXTURES / "models" / "att_crnn.safetensors").front_end == 1


@pytest.mark.parametrize("version", [3, 0, -1, 1.0, "2", None, True, [2]])
def test_a_model_of_an_unknown_front_end_is_refused(tmp_path: Path, version: object) -> None:
    path = tmp_path / "m.safetensors"
    save_model(blank_bundle(), path)
    path = crafted(path, lambda header: header | {"front_end": version})
    with pytest.raises(BundleError, match=re.escape(f"front_end is {version!r}, this soundscene knows 1 to 2")):
        load_model(path)


@pytest.mark.filterwarnings("ignore::soundscene.AudioWarning")
def test_a_model_of_0_1_runs_on_the_new_front_end_with_a_note_after_silence(tmp_path: Path) -> None:
    silent, ordinary = gapped(), gapped(level=1e-4)
    for samples, noted in ((silent, True), (ordinary, False)):
        old, new = (Predictor(bundle).predict((samples, RATE)) for bundle in (OLD, blank_bundle()))
        np.testing.assert_array_equal(old.posterior, new.posterior)
        assert [note for note in old.notes if NOTE in note] == (list(old.notes[-1:]) if noted else [])
        assert not any(NOTE in note for note in new.notes)
    last = list(Predictor(OLD).stream(np.array_split(silent, 50), RATE))
    assert [any(NOTE in note for note in update.notes) for update in last] == [update.end_s > 3 for update in last]
    file = write(tmp_path / "gap.wav", silent)
    assert any(NOTE in note for note in analyse_recording(OLD, file).notes)
    (tmp_path / "m.csv").write_text("path,scene\ngap.wav,rain\n")
    assert [note for note in evaluate_on_manifest(OLD, tmp_path / "m.csv", workers=1).notes if NOTE in note]
    assert not evaluate_on_manifest(blank_bundle(), tmp_path / "m.csv", workers=1).notes


def test_a_predictor_of_the_old_front_end_is_that_of_0_1() -> None:
    new, old = Predictor(OLD), Predictor(OLD).with_front_end(1)
    assert new.with_front_end(FRONT_END) is new
    before = old.predict((AFTER_SILENCE, RATE))
    assert not any(NOTE in note for note in before.notes)
    with pytest.warns(match=NOTE):
        assert (new.predict((AFTER_SILENCE, RATE)).posterior != before.posterior).all()


# --- stores and runs --------------------------------------------------------------------------------------------------


def test_a_store_of_0_1_is_found_and_another_one_is_begun() -> None:
    recipe = Plan.read(FIXTURES / "run").base_recipe()
    (there,) = (FIXTURES / "run" / "store").iterdir()
    assert FeatureStore(there.parent, images(recipe, 1)).folder == there
    assert FeatureStore(there.parent, images(recipe)).folder != there


def test_a_plan_of_0_1_keeps_its_front_end_and_0_1_refuses_a_new_one(tmp_path: Path) -> None:
    earlier = Plan.read(FIXTURES / "run")
    assert (earlier.format, earlier.front_end) == (1, 1)
    later = earlier.with_front_end(FRONT_END)
    joined = later.joined(earlier, tmp_path)
    assert (joined.format, joined.front_end) == (1, 1)
    assert joined.system("att-crnn-mel").representation.key == earlier.system("att-crnn-mel").representation.key
    assert later.joined(later, tmp_path).front_end == FRONT_END
    later.write(tmp_path)
    assert json.loads((tmp_path / "plan.json").read_text())["format"] == 2  # 0.1 knows 1 and refuses more
    assert Plan.read(tmp_path) == later
    replace(later, front_end=3).write(tmp_path)
    with pytest.raises(TrainingError, match=r"plan\.json: front-end 3, this soundscene knows 1 to 2; upgrade it"):
        Plan.read(tmp_path)


@pytest.mark.budget(15)  # processes that train
def test_an_experiment_is_finished_with_the_front_end_it_was_begun_with(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path / "corpus", 2)
    request = from_manifest(manifest, "by=fold", ["cnn-mel"], recipe=TINY.with_settings(["training.epochs=1"]))
    began = run_experiment(request, tmp_path / "run", OPTIONS).plan
    assert (began.front_end, began.format) == (FRONT_END, 2)
    (tmp_path / "old").mkdir()
    began.with_front_end(1).write(tmp_path / "old")
    finished = run_experiment(request, tmp_path / "old", OPTIONS)
    assert (finished.plan.front_end, finished.plan.format, finished.failures) == (1, 1, {})
    folders = {folder.name for name in ("run", "old") for folder in (tmp_path / name / "store").iterdir()}
    assert len(folders) == 2
    for name, version in (("run", FRONT_END), ("old", 1)):
        for path in (tmp_path / name / "models").iterdir():
            assert load_model(path).front_end == version


def test_a_training_of_0_1_with_other_images_is_one_line(tmp_path: Path) -> None:
    path, again = tmp_path / "checkpoint.safetensors", tmp_path / "again.safetensors"
    save_checkpoint(path, TrainingState(1, [], {"w": torch.ones(2)}), "mine")
    with safe_open(path, "pt") as file:
        state = json.loads(file.metadata()["state"])
    del state["soundscene"]
    save_file({"network/w": torch.ones(2)}, again, {"state": json.dumps(state)})
    assert load_checkpoint(again, "mine") is not None
    with pytest.raises(TrainingError, match=r"other recordings, or with the images of soundscene 0\.1; finish that one"):
        load_checkpoint(again, "yours")


# --- folders of rows --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "old.safetensors"
    save_model(OLD, path)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("sound")
    quiet = np.zeros(RATE, np.float32)
    return [
        write(folder / f"{i}.wav", np.concatenate([quiet, recording("rain", 8.0, i).astype(np.float32)])) for i in (0, 1)
    ]


def config_of(model: Path, predictor: Predictor) -> BatchConfig:
    return BatchConfig.of_model(model, predictor, "csv")


def rows(out: Path) -> dict[str, dict[str, str]]:
    return {
        Path(row["path"]).name: row
        for path in sorted(out.glob("part-*.csv"))
        for row in csv.DictReader(path.read_text().splitlines())
    }


def test_rows_begun_with_0_1_are_finished_with_its_front_end(tmp_path: Path, model: Path, files: list[Path]) -> None:
    predictor = Predictor(load_model(model))
    config = config_of(model, predictor)
    assert config.front_end == FRONT_END
    whole, new = tmp_path / "whole", tmp_path / "new"
    assert run_batch(predictor, config, files, new).front_end == FRONT_END
    begun = {k: v for k, v in json.loads(config.to_json()).items() if k != "front_end"} | {"soundscene": "0.1.0"}
    whole.mkdir()
    (whole / RUN).write_text(json.dumps(begun))
    run_batch(predictor, config, files[:1], whole)
    assert run_batch(predictor, config, files, whole).front_end == 1
    assert json.loads((whole / RUN).read_text()) == begun
    old = predictor.with_front_end(1)
    for file in files:
        with pytest.warns(match=NOTE):
            expected = predictor.predict(file)
        assert float(rows(whole)[file.name]["rain"]) == old.predict(file).posterior[2]
        assert float(rows(new)[file.name]["rain"]) == expected.posterior[2]
        assert NOTE in rows(new)[file.name]["notes"]
        assert NOTE not in rows(whole)[file.name]["notes"]


@pytest.mark.parametrize(("version", "message"), [(3, "computed with front-end 3, this"), ("2", "damaged, or not of soun")])
def test_rows_of_an_unknown_front_end_are_refused(
    tmp_path: Path, model: Path, files: list[Path], version: object, message: str
) -> None:
    predictor = Predictor(load_model(model))
    config = config_of(model, predictor)
    (tmp_path / RUN).write_text(json.dumps(json.loads(config.to_json()) | {"front_end": version}))
    with pytest.raises(SceneError, match=message) as refusal:
        run_batch(predictor, config, files, tmp_path)
    assert "\n" not in str(refusal.value)
    assert [path.name for path in tmp_path.iterdir()] == [RUN]
