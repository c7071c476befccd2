"""A place for results outside of the run folder belongs to one experiment, or results of one would pass for another's."""

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from soundscene.errors import TrainingError
from soundscene.experiment.local import name_of_gpu
from soundscene.experiment.plan import Plan, make_plan
from soundscene.experiment.results import OWNER, POINTER, RunFolder
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


def test_other_systems_and_seeds_may_share_it(tmp_path: Path):
    claim(tmp_path, PLAN, "one")
    more = make_plan("toys", ROOT, ROWS, HALVES, TINY, specs(["cnn-mel", "att-crnn-mel"]))
    folder = claim(tmp_path, replace(more, seeds=(1,)))
    assert (folder.path / POINTER).read_text() == f"file://{tmp_path}/place\n"
    assert Plan.from_bytes((tmp_path / "place" / OWNER).read_bytes(), OWNER) == PLAN
    assert RunFolder(folder.path).read_results(more)[0] == []
    assert folder.finished() == set(), "the plan is no result"


OTHERS = {
    "diagnosis": (replace(PLAN, diagnosis="same-recording"), 'other diagnosis ("" there, "same-recording" now)'),
    "recipe": (
        make_plan("toys", ROOT, ROWS, HALVES, TINY.with_settings(["training.epochs=9"]), specs(["cnn-mel"])),
        "other recipe (training.epochs: 4 there, 9 now)",
    ),
    "precision": (replace(PLAN, precision="bf16-mixed"), "other precision"),
    "recordings": (replace(PLAN, recordings=PLAN.recordings[:-1]), "other recordings (1 missing now"),
    "splits": (replace(PLAN, splits={name: PLAN.splits[name] for name in list(HALVES)[:1]}), "other splits"),
    "front-end": (PLAN.with_front_end(1), "holds an experiment with"),
    "system": (
        replace(PLAN, systems=(msgspec.structs.replace(PLAN.systems[0], title="another network"),)),
        "a system 'cnn-mel' with other settings",
    ),
}


@pytest.mark.parametrize("other", OTHERS)
def test_another_experiment_is_refused_and_reads_nothing_from_it(tmp_path: Path, other: str):
    """A run that leaks on purpose and a split of those names, or two recipes: neither takes the other's results."""
    claim(tmp_path, PLAN, "one")
    plan, what = OTHERS[other]
    with pytest.raises(TrainingError) as refused:
        claim(tmp_path, plan)
    assert what in str(refused.value)
    assert str(refused.value).startswith(f"file://{tmp_path}/place: ")
    assert str(refused.value).endswith("choose another --results")
    assert not (tmp_path / "other" / POINTER).exists(), "the folder keeps the place that it had"
    (tmp_path / "other" / POINTER).write_text(f"file://{tmp_path}/place\n")
    with pytest.raises(TrainingError, match="choose another --results"):
        RunFolder(tmp_path / "other").read_results(plan)


def test_a_folder_that_keeps_its_own_results_claims_nothing(tmp_path: Path):
    RunFolder(tmp_path).claim_results(PLAN)
    assert list(tmp_path.iterdir()) == []


def test_a_gpu_has_the_name_that_the_parent_sees():
    assert [name_of_gpu(1, seen) for seen in (None, "", "2,3", "GPU-a, GPU-b")] == ["1", "1", "3", "GPU-b"]
