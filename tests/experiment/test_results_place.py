"""A place for results outside of the run folder belongs to one experiment, or results of one would pass for another's."""

import os
from dataclasses import replace
from multiprocessing import Pipe
from pathlib import Path

import msgspec
import pytest

from soundscene.errors import TrainingError
from soundscene.experiment import local
from soundscene.experiment.local import Event, name_of_gpu
from soundscene.experiment.plan import Plan, make_plan
from soundscene.experiment.results import OWNER, POINTER, SUFFIX, RunFolder
from soundscene.jobs.storage import Storage
from soundscene.systems.catalogue import specs
from soundscene.types import Recording, Split
from tests.training.toys import TINY

ROOT = Path("/recordings")
ROWS = tuple(Recording(ROOT / f"{scene}/{i}.wav", scene, f"{scene}{i}") for scene in ("rain", "wind") for i in range(4))
HALVES = {"first excerpts tested": Split(ROWS[::2], ROWS[1::2]), "second excerpts tested": Split(ROWS[1::2], ROWS[::2])}
PLAN = make_plan("toys", ROOT, ROWS, HALVES, TINY, specs(["cnn-mel"]))


def claim(tmp_path: Path, plan: Plan, name: str = "other") -> RunFolder:
    folder = RunFolder(tmp_path / name, f"file://{tmp_path}/place")
    folder.path.mkdir(exist_ok=True)
    folder.claim_results(plan)
    return folder


def owner(tmp_path: Path) -> Plan:
    return Plan.from_bytes((tmp_path / "place" / OWNER).read_bytes(), OWNER)


def test_other_systems_and_seeds_may_share_it(tmp_path: Path):
    claim(tmp_path, replace(PLAN, seeds=(0,)), "one")
    more = make_plan("toys", ROOT, ROWS, HALVES, TINY, specs(["att-crnn-mel"]))
    folder = claim(tmp_path, replace(more, seeds=(1,)))
    assert (folder.path / POINTER).read_text() == f"file://{tmp_path}/place\n"
    assert owner(tmp_path) == replace(PLAN, systems=(*PLAN.systems, *more.systems), seeds=(0, 1))
    assert RunFolder(folder.path).read_results(more)[0] == []
    assert folder.finished() == set(), "the plan is no result"


def test_a_system_that_was_added_later_is_of_the_place_too(tmp_path: Path):
    """Settings of `backbone` name its file, its name does not: a third folder must not take the second one's results."""
    claim(tmp_path, PLAN, "one")
    more = make_plan("toys", ROOT, ROWS, HALVES, TINY, specs(["att-crnn-mel"]))
    claim(tmp_path, more, "two")
    other = replace(more, systems=(msgspec.structs.replace(more.systems[0], title="of another file"),))
    with pytest.raises(TrainingError, match="a system 'att-crnn-mel' with other settings; choose another --results"):
        claim(tmp_path, other, "three")
    assert owner(tmp_path).systems == (*PLAN.systems, *more.systems)


def test_results_without_a_plan_are_of_the_folder_that_points_to_them(tmp_path: Path):
    """0.1 wrote no plan beside its results. A new folder can't tell whose they are, and must not shut their owner out."""
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / f"{PLAN.tasks()[0].name}{SUFFIX}").write_bytes(b"of an experiment that nobody can tell")
    other = OTHERS["recipe"][0]
    for check in (RunFolder.check_place, RunFolder.claim_results):
        folder = RunFolder(tmp_path / "new", f"file://{tmp_path}/place")
        folder.path.mkdir(exist_ok=True)
        with pytest.raises(TrainingError, match=r"holds results, and no experiment\.json that .* choose another --results"):
            check(folder, other)
    assert not (tmp_path / "place" / OWNER).exists()

    old = tmp_path / "old"
    old.mkdir()
    (old / POINTER).write_text(f"{tmp_path}/place\n")  # the same place in other words
    claim(tmp_path, PLAN, "old")
    assert owner(tmp_path) == PLAN


def test_two_that_claim_at_once_do_not_both_have_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The other machine writes between this one's look and its second look."""
    other, write = OTHERS["recipe"][0], Storage.write

    def write_and_lose(storage: Storage, name: str, content: bytes) -> None:
        write(storage, name, content)
        write(storage, name, other.to_bytes())

    monkeypatch.setattr(Storage, "write", write_and_lose)
    with pytest.raises(TrainingError, match=r"other recipe .* choose another --results"):
        claim(tmp_path, PLAN)
    assert not (tmp_path / "other" / POINTER).exists()


def test_what_needs_no_recording_is_refused_before_one_is_read(tmp_path: Path):
    claim(tmp_path, PLAN, "one")
    for name in ("diagnosis", "recipe", "precision", "front-end", "later front-end"):
        plan, what = OTHERS[name]
        if name == "later front-end":
            (tmp_path / "place" / OWNER).write_bytes(PLAN.with_front_end(1).to_bytes())
        with pytest.raises(TrainingError) as refused:
            RunFolder(tmp_path / "new", f"{tmp_path}/place").check_place(plan)
        assert what in str(refused.value)


def test_a_damaged_plan_is_no_invitation_to_delete_it(tmp_path: Path):
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / OWNER).write_bytes(b"{")
    with pytest.raises(
        TrainingError, match=r"place/experiment\.json: damaged or not ours \(.*\); choose another --results$"
    ):
        claim(tmp_path, PLAN)


OTHERS = {
    "diagnosis": (replace(PLAN, diagnosis="same-recording"), 'other diagnosis ("" there, "same-recording" now)'),
    "recipe": (
        make_plan("toys", ROOT, ROWS, HALVES, TINY.with_settings(["training.epochs=9"]), specs(["cnn-mel"])),
        "other recipe (training.epochs: 4 there, 9 now)",
    ),
    "precision": (replace(PLAN, precision="bf16-mixed"), "other precision"),
    "recordings": (replace(PLAN, recordings=PLAN.recordings[:-1]), "other recordings (1 missing now"),
    "splits": (replace(PLAN, splits={name: PLAN.splits[name] for name in list(HALVES)[:1]}), "other splits"),
    "front-end": (PLAN.with_front_end(1), "holds an experiment with front-end 2, this one has 1"),
    "later front-end": (PLAN, "holds an experiment with front-end 1, this one has 2"),
    "system": (
        replace(PLAN, systems=(msgspec.structs.replace(PLAN.systems[0], title="another network"),)),
        "a system 'cnn-mel' with other settings",
    ),
}


@pytest.mark.parametrize("other", OTHERS)
def test_another_experiment_is_refused_and_reads_nothing_from_it(tmp_path: Path, other: str):
    """A run that leaks on purpose and a split of those names, or two recipes: neither takes the other's results."""
    claim(tmp_path, PLAN.with_front_end(1) if other == "later front-end" else PLAN, "one")
    plan, what = OTHERS[other]
    with pytest.raises(TrainingError) as refused:
        claim(tmp_path, plan)
    assert what in str(refused.value)
    assert str(refused.value).startswith(f"file://{tmp_path}/place: ")
    assert str(refused.value).endswith("choose another --results")
    assert not (tmp_path / "other" / POINTER).exists(), "the folder keeps the place that it had"
    (tmp_path / "other" / POINTER).write_text(f"file://{tmp_path}/place\n")
    with pytest.raises(TrainingError, match="run the experiment again with another --results"):
        RunFolder(tmp_path / "other").read_results(plan)


def test_a_folder_that_keeps_its_own_results_claims_nothing(tmp_path: Path):
    RunFolder(tmp_path).claim_results(PLAN)
    assert list(tmp_path.iterdir()) == []


def test_a_worker_sees_one_gpu_of_those_that_its_parent_sees(monkeypatch: pytest.MonkeyPatch):
    seen = []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    monkeypatch.setattr(local.signal, "signal", lambda *_: None)
    monkeypatch.setattr(local, "end_with_parent", lambda: None)
    monkeypatch.setattr(local.torch, "set_num_threads", lambda _: None)
    monkeypatch.setattr(local, "make_fabric", lambda *_: seen.append(os.environ["CUDA_VISIBLE_DEVICES"]))
    monkeypatch.setattr(local, "run_here", lambda *_: Event("done", {}))
    here, there = Pipe()
    local.work_in_process(RunFolder(Path("nowhere")), PLAN, PLAN.tasks()[0], "cuda", 1, there)
    assert (here.recv().kind, seen) == ("done", ["3"])


def test_a_gpu_has_the_name_that_the_parent_sees():
    assert [name_of_gpu(1, seen) for seen in (None, "", "2,3", "GPU-a, GPU-b")] == ["1", "1", "3", "GPU-b"]
