"""A place for results outside of the run folder belongs to one experiment, or results of one would pass for another's."""

import os
import shutil
from dataclasses import replace
from multiprocessing import Pipe
from pathlib import Path

import msgspec
import pytest

from soundscene.errors import TrainingError
from soundscene.experiment import local
from soundscene.experiment.local import Event, name_of_gpu
from soundscene.experiment.ownership import OWNER
from soundscene.experiment.plan import Plan, make_plan
from soundscene.experiment.results import POINTER, RunFolder
from soundscene.jobs.storage import Storage
from soundscene.systems.catalogue import specs
from soundscene.types import Recording, Split
from tests.training.toys import TINY

FILES_OF_0_1 = Path(__file__).parents[1] / "fixtures_0_1_0"
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


@pytest.fixture
def of_0_1(tmp_path: Path) -> Plan:
    """A place with results of 0.1, which wrote no plan there, and the plan that they are of."""
    shutil.copytree(FILES_OF_0_1 / "run" / "results", tmp_path / "place")
    return Plan.read(FILES_OF_0_1 / "run")


def test_results_without_a_plan_are_of_the_experiment_that_would_compute_them(tmp_path: Path, of_0_1: Plan):
    claim(tmp_path, of_0_1, "moved, so that no folder points there")
    assert owner(tmp_path) == of_0_1
    assert len(RunFolder(tmp_path / "moved, so that no folder points there").read_results(of_0_1)[0]) == 4


def test_results_without_a_plan_are_of_no_other_experiment(tmp_path: Path, of_0_1: Plan):
    """A new folder must not take them for its own, nor shut their owner out."""
    longer = replace(of_0_1, recipe=of_0_1.base_recipe().with_settings(["training.epochs=9"]).to_stored())
    fewer = replace(of_0_1, recordings=of_0_1.recordings[:-1], splits=without_the_last(of_0_1))
    for plan, what in (
        (longer, r"other settings \(training.epochs: \d there, 9 now\)"),
        (fewer, "other recordings"),  # of the training part only
        (replace(of_0_1, seeds=(7,)), "holds results of other systems, splits or seeds, and no experiment.json"),
    ):
        with pytest.raises(TrainingError, match=f"{what}.*choose another --results"):
            claim(tmp_path, plan)
        assert not (tmp_path / "place" / OWNER).exists()
        assert not (tmp_path / "other" / POINTER).exists()


def without_the_last(plan: Plan) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    last = len(plan.recordings) - 1
    without = {name: [tuple(i for i in part if i != last) for part in parts] for name, parts in plan.splits.items()}
    return {name: (train, test) for name, (train, test) in without.items()}


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


def test_two_that_both_claimed_it_do_not_mix_their_results(tmp_path: Path):
    """Each saw the place free, and its own plan at its second look: the first finds out before it writes a result."""
    first = claim(tmp_path, PLAN, "one")
    (tmp_path / "place" / OWNER).unlink()
    second = claim(tmp_path, OTHERS["recipe"][0], "two")
    with pytest.raises(TrainingError, match="belongs to another experiment since this one began; nothing was written"):
        first.write_result(PLAN.tasks()[0], b"a result")
    assert first.finished() == set()
    second.write_result(PLAN.tasks()[0], b"a result")
    assert second.finished() == {PLAN.tasks()[0].name}


def test_systems_that_two_add_at_once_are_both_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    claim(tmp_path, PLAN, "one")
    ours, theirs = (make_plan("toys", ROOT, ROWS, HALVES, TINY, specs([name])) for name in ("att-crnn-mel", "hog"))
    write, n = Storage.write, iter(range(9))

    def write_before_them(storage: Storage, name: str, content: bytes) -> None:
        write(storage, name, content)
        if next(n) == 0:  # they had read the plan before we wrote ours
            write(storage, name, replace(PLAN, systems=(*PLAN.systems, *theirs.systems)).to_bytes())

    monkeypatch.setattr(Storage, "write", write_before_them)
    claim(tmp_path, ours, "two")
    assert set(owner(tmp_path).systems) == {*PLAN.systems, *ours.systems, *theirs.systems}


def test_a_diagnosis_is_of_the_folder_that_holds_its_excerpts(tmp_path: Path):
    rows = tuple((f"{tmp_path}/one/excerpts/{'ab'[i % 2] * 16}-{i // 2 + 1}.wav", "rain", str(i)) for i in range(4))
    splits = {"first": ((0, 1), (2, 3))}
    plan = replace(PLAN, diagnosis="same-recording", recordings=rows, splits=splits)
    claim(tmp_path, plan, "one").check_place(replace(plan, recordings=PLAN.recordings, splits=PLAN.splits))
    with pytest.raises(TrainingError, match="holds a diagnosis of another run folder, whose excerpts lie in it"):
        RunFolder(tmp_path / "two", f"{tmp_path}/place").check_place(plan)


def test_what_needs_no_recording_is_refused_before_one_is_read(tmp_path: Path):
    claim(tmp_path, PLAN, "one")
    for name in ("diagnosis", "recipe", "precision", "system", "front-end", "later front-end"):
        plan, what = OTHERS[name]
        if name == "later front-end":
            (tmp_path / "place" / OWNER).write_bytes(PLAN.with_front_end(1).to_bytes())
        with pytest.raises(TrainingError) as refused:
            RunFolder(tmp_path / "new", f"{tmp_path}/place").check_place(plan)
        assert what in str(refused.value)


def test_a_damaged_plan_is_deleted_by_its_owner_only(tmp_path: Path):
    damaged, folder = tmp_path / "place" / OWNER, tmp_path / "other"
    damaged.parent.mkdir()
    damaged.write_bytes(b"{")
    with pytest.raises(TrainingError, match=r"experiment\.json: damaged or not ours \(.*\); choose another --results$"):
        claim(tmp_path, PLAN)
    (folder / POINTER).write_text(f"{tmp_path}/place\n")  # the same place in other words
    for check in (lambda: claim(tmp_path, PLAN), lambda: RunFolder(folder).read_results(PLAN)):
        with pytest.raises(TrainingError, match=r"; delete it and rerun the same command, which writes it anew$"):
            check()
    damaged.unlink()
    claim(tmp_path, PLAN)
    assert owner(tmp_path) == PLAN


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
