"""A run from its request to its results: failures, broken recordings, a second run, and a resumed training."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from lightning_fabric import Fabric

from benchmarks.kill import differences, unlike
from soundscene.bundle import load_model, save_model
from soundscene.data.corpus import read_corpus
from soundscene.data.manifest import Manifest
from soundscene.errors import ManifestError, SceneError, TrainingError
from soundscene.experiment import run as run_module
from soundscene.experiment.local import Event, run_here
from soundscene.experiment.ownership import OWNER
from soundscene.experiment.plan import Plan, Task
from soundscene.experiment.request import Request, from_manifest
from soundscene.experiment.results import RunFolder, SplitResult
from soundscene.experiment.run import ExperimentResult, RunCallbacks, RunOptions, run_experiment
from soundscene.experiment.task import facts_of, read_parts, run_task
from soundscene.model_facts import model_facts
from soundscene.pipeline import evaluate_on_manifest
from soundscene.predictor import load
from soundscene.recipe import Recipe
from soundscene.systems.calibration import HEADS, predict
from soundscene.systems.catalogue import SystemSpec
from soundscene.systems.neural import train
from tests.support.tiny import TINY, text, write_corpus

FABRIC = Fabric(accelerator="cpu", devices=1)
MEANS = RunOptions(workers=1, threads=1, device="cpu")


def request(manifest: Path, *systems: str, recipe: Recipe = TINY, splits: str = "by=part") -> Request:
    return from_manifest(manifest, splits, systems or ("att-crnn-mel",), recipe=recipe)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifteen recordings; `part` 1 and 2 are each tested once, the rest only trains."""
    path = write_corpus(tmp_path_factory.mktemp("sound"))
    header, *rows = path.read_text().splitlines()
    parts = [row + "," + {"1": "1", "2": "2"}.get(row[-1], "") for row in rows]
    path.write_text("\n".join([header + ",part", *parts]) + "\n")
    return path


@pytest.fixture(scope="module")
def finished(
    manifest: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, ExperimentResult, list[tuple[Task, Event]]]:
    out = tmp_path_factory.mktemp("run") / "run"
    told: list[tuple[Task, Event]] = []
    outcome = run_experiment(
        request(manifest, "att-crnn-mel", "cnn-mel"), out, MEANS, RunCallbacks(task=lambda t, e: told.append((t, e)))
    )
    return out, outcome, told


def test_a_model_of_a_network_knows_what_it_was_trained_on(manifest: Path, finished: tuple[Path, ExperimentResult, list]):
    """As those of `train` do, so that `evaluate` warns."""
    model = load_model(finished[0] / "models" / "cnn-mel__part=1__seed0.safetensors")
    assert "diagnosis" not in model.provenance
    scores = evaluate_on_manifest(model, manifest, workers=1)
    assert (scores.n_recordings, scores.n_trained_on) == (15, 12)


def test_a_model_of_a_diagnosis_says_so(manifest: Path, finished: tuple[Path, ExperimentResult, list], tmp_path: Path):
    plan = replace(Plan.read(finished[0]), diagnosis="same-recording")
    corpus = read_corpus(Manifest.read(manifest).recordings, TINY)
    network = load_model(finished[0] / "models" / "cnn-mel__part=1__seed0.safetensors")
    save_model(network.with_facts(facts_of(plan, corpus)), tmp_path / "m.safetensors")
    model = load_model(tmp_path / "m.safetensors")
    assert model_facts(model)["diagnosis"] == "same-recording"
    notes = evaluate_on_manifest(model, manifest, workers=1).notes
    assert notes[0].startswith("LEAKAGE BY DESIGN: trained by experiment --diagnose same-recording")


def test_every_system_on_every_split_has_a_result_and_a_model(finished: tuple[Path, ExperimentResult, list]) -> None:
    out, outcome, told = finished
    assert (outcome.n_done, outcome.failures) == (4, {})
    names = {f"{s}__part={p}__seed0" for s in ("att-crnn-mel", "cnn-mel") for p in "12"}
    assert {p.stem for p in (out / "results").iterdir()} == {p.stem for p in (out / "models").iterdir()} == names
    assert not list((out / "work").iterdir())
    assert [(t.system, t.split, e.kind) for t, e in told] == [
        (system, split, kind)
        for split in ("part=1", "part=2")
        for system in ("att-crnn-mel", "cnn-mel")
        for kind in ("epoch", "epoch", "done")
    ]
    assert {"test_accuracy", "test_log_loss", "loss", "epoch"} <= set(told[0][1].numbers)


def test_a_result_is_what_training_and_predicting_by_hand_give(
    finished: tuple[Path, ExperimentResult, list], manifest: Path
) -> None:
    """Through the store, so with images of float16; everything else bit for bit."""
    out, outcome, _ = finished
    listed = Manifest.read(manifest)
    split = listed.split("part", "2")
    recipe = TINY.with_settings(["network.kind=cnn"])
    parts = [read_corpus(part, recipe) for part in (split.train, split.test)]
    training, testing = (replace(p, features=p.features.astype(np.float16).astype(np.float32)) for p in parts)
    trained = train(recipe, training)
    results, _ = RunFolder(out).read_results(outcome.plan)
    (found,) = [r for r in results if (r.system, r.split) == ("cnn-mel", "part=2")]
    truth = [trained.model.scenes.index(r.scene) for r in testing.recordings]
    assert found.truth.tolist() == truth
    assert found.recordings == tuple(str(r.path.relative_to(manifest.parent)) for r in split.test)
    assert found.held_recordings == tuple(str(r.path.relative_to(manifest.parent)) for r in trained.held)
    for head in HEADS:
        said = predict(trained.model, testing, head)
        np.testing.assert_array_equal(found.heads[head].segment, said.segment.astype(np.float32))
        np.testing.assert_array_equal(found.heads[head].calibrated, said.calibrated)
        held = predict(trained.model, training.take(trained.held), head).recording
        np.testing.assert_array_equal(found.heads[head].held, held)
    assert found.start_s.tolist() == [0.0] * 3
    last = predict(replace(trained.model, temperature={"softmax": 1.0}), testing, "softmax").segment.argmax(axis=1) == truth
    assert found.history[-1]["test_accuracy"] == last.mean()
    assert [row["loss"] for row in found.history] == [row["loss"] for row in trained.history]


@pytest.mark.budget(20)  # may see the processes of the fixture end
def test_a_rerun_trains_nothing_and_systems_may_be_added(
    finished: tuple[Path, ExperimentResult, list], manifest: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished[0], out)
    told: list[tuple[Task, Event]] = []
    again = run_experiment(request(manifest, "cnn-mel"), out, MEANS, RunCallbacks(task=lambda t, e: told.append((t, e))))
    assert (again.n_asked, again.n_done, told) == (2, 2, [])
    more = run_experiment(request(manifest, "mfcc-dnn"), out, MEANS, RunCallbacks(task=lambda t, e: told.append((t, e))))
    assert (more.n_asked, more.n_done, more.failures) == (2, 2, {})
    assert {t.system for t, _ in told} == {"mfcc-dnn"}
    with pytest.raises(TrainingError, match=r"holds an experiment with other recipe \(training\.seed: 0 there, 4 now\)"):
        run_experiment(request(manifest, recipe=TINY.with_settings(["training.seed=4"])), out, MEANS)


def test_a_failing_task_does_not_end_the_others(manifest: Path, tmp_path: Path) -> None:
    systems = ("cnn-mel:training.learning_rate=1e30", "cnn-mel")
    outcome = run_experiment(request(manifest, *systems), tmp_path / "run", RunOptions(2, 1, "cpu"))
    assert outcome.n_done == 2
    bad = [f"cnn-mel+training.learning_rate=1e30__part={p}__seed0" for p in "12"]
    assert sorted(outcome.failures) == bad
    assert all(
        "the training has diverged; the learning rate 1e+30 may be too high" in why for why in outcome.failures.values()
    )


def test_a_crash_and_a_killed_process_are_reported_and_the_run_continues(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system whose room does not exist crashes; one whose process dies says nothing at all."""
    from soundscene.experiment import local

    asked = request(manifest, "cnn-mel")
    broken = SystemSpec("broken", "Broken", "neural", ("network.kind=cnn",))
    out = tmp_path / "run"
    folder = RunFolder(out)
    monkeypatch.setattr(local, "work_in_process", _kills_itself_if_broken)
    outcome = run_experiment(replace(asked, systems=(broken, *asked.systems)), out, MEANS)
    assert outcome.n_done == 2
    killed = "was killed by signal 9 (memory full?); rerun the same command to resume"
    assert killed in outcome.failures["broken__part=1__seed0"]
    assert "ValueError: a bug (see " in outcome.failures["broken__part=2__seed0"]
    log = folder.path / "work" / "broken__part=2__seed0" / "error.log"
    assert "Traceback" in log.read_text()


def _kills_itself_if_broken(folder: RunFolder, plan: Plan, task: Task, device: str, gpu: int | None, line: object) -> None:
    import os

    from soundscene.experiment import local

    if task.system == "broken" and task.split == "part=1":
        os.kill(os.getpid(), 9)
    if task.system == "broken":

        def bug(*arguments: object, **rest: object) -> None:
            raise ValueError("a bug")

        local.run_task = bug  # type: ignore[assignment]
    local.work_in_process(folder, plan, task, device, gpu, line)  # type: ignore[arg-type]


def test_two_runs_in_one_folder_are_refused(manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    with FileLock(out / "lock"), pytest.raises(SceneError, match="another process is writing there; wait until it ends, or"):
        run_experiment(request(manifest), out, MEANS)


def test_unusable_recordings_are_named_or_left_out(manifest: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sound"
    shutil.copytree(manifest.parent, folder)
    text(folder / "rain" / "3.wav", "this is no sound")
    asked = request(folder / "manifest.csv", "cnn-mel")
    with pytest.raises(ManifestError, match=r"1 of 15 recordings cannot be used; .* --skip-broken .*3\.wav"):
        run_experiment(asked, tmp_path / "run", MEANS)
    outcome = run_experiment(replace(asked, skip_broken=True), tmp_path / "run", MEANS)
    assert outcome.n_done == 2
    assert len(outcome.plan.recordings) == 14
    assert outcome.plan.left_out[0].startswith("rain/3.wav: ")
    for number in (1, 2, 4):
        text(folder / "rain" / f"{number}.wav", "nor is this")
    with pytest.raises(
        TrainingError, match=r"split part=1: .* cannot be used the scenes rain are left in the test part only"
    ):
        run_experiment(replace(asked, skip_broken=True), tmp_path / "run2", MEANS)


def test_the_same_sound_on_both_sides_is_refused(manifest: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sound"
    shutil.copytree(manifest.parent, folder)
    shutil.copy(folder / "rain" / "0.wav", folder / "rain" / "4.wav")
    with pytest.raises(ManifestError, match="part=1: the same audio appears in both training"):
        run_experiment(request(folder / "manifest.csv"), tmp_path / "run", MEANS)


@pytest.mark.parametrize("when", ["before the diary", "after the diary", "between two lines"])
def test_a_half_trained_task_ends_as_if_nothing_had_been(
    finished: tuple[Path, ExperimentResult, list], tmp_path: Path, when: str
) -> None:
    out, outcome, _ = finished
    task = outcome.plan.tasks()[0]
    corpora = read_parts(outcome.plan, task, out / "store")
    whole, _ = run_task(outcome.plan, task, corpora, None, FABRIC)

    def kill(row: dict[str, float], so_far: Callable) -> None:
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_task(outcome.plan, task, corpora, tmp_path, FABRIC, kill)
    diary = tmp_path / "diary.jsonl"
    lines = diary.read_text().splitlines(keepends=True)
    assert len(lines) == 2, "the second epoch was written down, but its checkpoint was not"
    diary.write_text({"before the diary": lines[0], "after the diary": "".join(lines)}.get(when, lines[0] + lines[1][:20]))
    resumed, _ = run_task(outcome.plan, task, corpora, tmp_path, FABRIC)
    assert unlike(whole, resumed) == []


@pytest.mark.slow
def test_seeds_and_places_for_results(manifest: Path, tmp_path: Path) -> None:
    """Results may stand anywhere that fsspec knows; the folder remembers where."""
    asked = replace(request(manifest, "cnn-mel"), seeds=(0, 1))
    plan = run_experiment(asked, tmp_path / "here", MEANS).plan
    run_experiment(asked, tmp_path / "there", replace(MEANS, results=f"file://{tmp_path}/elsewhere"))
    assert not (tmp_path / "there" / "results").exists()
    assert len(list((tmp_path / "elsewhere").glob("*.safetensors"))) == 4
    assert differences(tmp_path / "here", tmp_path / "there") == []
    results, missing = RunFolder(tmp_path / "there").read_results(plan)
    assert [(r.seed, r.split) for r in results] == [(s, f"part={p}") for s in (0, 1) for p in (1, 2)]
    assert missing == []
    assert unlike(results[0], results[2]) != [], "another seed is another training"


def test_a_place_of_another_experiment_is_refused_before_sound_is_read(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, options = request(manifest, "cnn-mel"), replace(MEANS, results=f"{tmp_path}/place")
    other = replace(run_module._plan(asked, options, None), precision="bf16-mixed")
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / OWNER).write_bytes(other.to_bytes())
    monkeypatch.setattr(run_module, "build_stores", lambda *_: pytest.fail("it was read"))
    with pytest.raises(TrainingError, match=r"place: holds an experiment with other precision .* choose another --results"):
        run_experiment(asked, tmp_path / "out", options)
    assert not (tmp_path / "out" / "plan.json").exists()


def test_a_damaged_result_is_named(finished: tuple[Path, ExperimentResult, list], tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished[0], out)
    path = out / "results" / "cnn-mel__part=1__seed0.safetensors"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(
        TrainingError, match=r"^cnn-mel__part=1__seed0: not a result of ours, or damaged .*; delete it and rerun"
    ):
        RunFolder(out).read_results(finished[1].plan)


def test_one_process_does_the_same_task(finished: tuple[Path, ExperimentResult, list], tmp_path: Path) -> None:
    """`run_here` is what a worker process and torchrun's processes call."""
    out = tmp_path / "run"
    shutil.copytree(finished[0], out)
    plan, folder = finished[1].plan, RunFolder(out)
    task = plan.tasks()[1]
    path = out / "results" / f"{task.name}.safetensors"
    before = SplitResult.from_bytes(path.read_bytes(), "before")
    path.unlink()
    rows: list[dict[str, float]] = []
    event = run_here(folder, plan, task, FABRIC, rows.append)
    assert event.kind == "done"
    assert event.numbers["svm"] == float((before.heads["svm"].recording.argmax(1) == before.truth).mean())
    assert [row["epoch"] for row in rows] == [1.0, 2.0]
    assert unlike(before, SplitResult.from_bytes(path.read_bytes(), "after")) == []


@pytest.mark.parametrize("means", [replace(MEANS, workers=0), replace(MEANS, threads=0)])
def test_numbers_that_cannot_be(manifest: Path, tmp_path: Path, means: RunOptions) -> None:
    with pytest.raises(TrainingError, match="at least one each is needed"):
        run_experiment(request(manifest), tmp_path / "run", means)


def test_the_model_of_a_task_predicts_a_file_as_its_result_does(
    finished: tuple[Path, ExperimentResult, list], manifest: Path
) -> None:
    """The store keeps float16; 0.01 of a probability is the tolerance stated in docs/decisions/0050."""
    out, outcome, _ = finished
    results, _ = RunFolder(out).read_results(outcome.plan)
    for result in results:
        predictor = load(RunFolder(out).model(Task(result.system, result.split, 0)), "svm")
        assert predictor.scenes == result.scenes
        for number, path in enumerate(result.recordings):
            said = predictor.predict(manifest.parent / path)
            np.testing.assert_allclose(said.posterior, np.exp(result.heads["svm"].calibrated[number]), atol=0.01)
            mine = result.recording_of == number
            segments = np.exp(result.heads["svm"].segment[mine])
            np.testing.assert_allclose([s.posterior for s in said.segments], segments, atol=0.01)


def test_what_a_finished_task_would_have_resumed_from_is_removed(
    finished: tuple[Path, ExperimentResult, list], manifest: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished[0], out)
    left = out / "work" / finished[1].plan.tasks()[0].name
    left.mkdir(parents=True)
    text(left / "diary.jsonl", "")
    run_experiment(request(manifest, "att-crnn-mel"), out, MEANS)
    assert not left.exists()
