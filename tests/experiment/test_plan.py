"""A plan: what it says, that it survives a file, and what may be joined to it."""

import json
import re
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from soundscene.errors import RecipeError, TrainingError
from soundscene.experiment.plan import Plan, Task, make_plan, split_files
from soundscene.experiment.request import choose_recipe
from soundscene.recipe import Recipe
from soundscene.systems.catalogue import ABLATIONS, SYSTEMS, SystemSpec, build, specs, split_names
from soundscene.types import Recording, Split
from tests.support.tiny import TINY

ROOT = Path("/corpus")
ROWS = tuple(Recording(ROOT / f"{scene}/{i}.wav", scene, f"{scene}{i}", line=9) for scene in "ab" for i in range(4))
SPLITS = {
    f"fold={f}": Split(
        tuple(r for i, r in enumerate(ROWS) if i % 2 != f), tuple(r for i, r in enumerate(ROWS) if i % 2 == f)
    )
    for f in (0, 1)
}


def made(recipe: Recipe = TINY, systems: str = "att-crnn-mel,cnn-mel", ablate: str | None = None) -> Plan:
    return make_plan("toys", ROOT, ROWS, SPLITS, recipe, specs(systems.split(","), ablate))


def test_a_plan_names_every_training_once_and_gives_its_recordings_back(tmp_path: Path) -> None:
    plan = replace(made(), seeds=(0, 5))
    assert len(plan.tasks()) == 2 * 2 * 2
    assert plan.tasks()[0] == Task("att-crnn-mel", "fold=0", 0)
    assert [r.path for r in plan.split("fold=1").test] == [r.path for r in SPLITS["fold=1"].test]
    assert [(r.scene, r.group) for r in plan.split("fold=0").train] == [(r.scene, r.group) for r in SPLITS["fold=0"].train]
    assert plan.base_recipe() == TINY
    plan.write(tmp_path)
    assert Plan.read(tmp_path) == plan
    assert [p.name for p in tmp_path.iterdir()] == ["plan.json"]


def test_names_of_files_are_safe_and_cannot_meet() -> None:
    assert Task("a/b:c", "city=são paulo/..", 1).name == "a_b_c__city=s_o_paulo_..__seed1"
    alike = [msgspec.structs.replace(specs(["cnn-mel"])[0], name=name) for name in ("a/b", "a:b")]
    with pytest.raises(RecipeError, match="two systems would have files of one name"):
        make_plan("toys", ROOT, ROWS, SPLITS, TINY, alike)


@pytest.mark.parametrize("names", [("city=北京", "city=上海"), ("a/b", "a:b"), ("x" * 300, "x" * 301), ("Ulm", "ULM")])
def test_splits_in_any_letters_have_files_of_their_own(tmp_path: Path, names: tuple[str, str]) -> None:
    splits = dict(zip(names, SPLITS.values(), strict=True))
    plan = make_plan("toys", ROOT, ROWS, splits, TINY, specs(["cnn-mel"]))
    files = [task.name for task in plan.tasks()]
    assert len({name.casefold() for name in files}) == 2
    assert all(re.fullmatch(r"[ -~]{1,150}", name) and "/" not in name for name in files)
    plan.write(tmp_path)
    assert [task.name for task in Plan.read(tmp_path).tasks()] == files


def test_a_name_that_no_other_split_shares_is_that_of_0_1_0() -> None:
    assert split_files(["city=Köln", "city=Bonn"]) == {"city=Köln": "city=K_ln", "city=Bonn": "city=Bonn"}


def test_names_that_look_the_same_are_the_same_and_stay_as_they_were_written(tmp_path: Path) -> None:
    def plan_of(scene: str, split: str) -> Plan:
        rows = [replace(row, scene=scene if row.scene == ROWS[0].scene else row.scene) for row in ROWS]
        by_path = {row.path: row for row in rows}
        splits = {
            f"{split}{i}": Split(tuple(by_path[r.path] for r in s.train), tuple(by_path[r.path] for r in s.test))
            for i, s in enumerate(SPLITS.values())
        }
        return make_plan("toys", ROOT, rows, splits, TINY, specs(["cnn-mel"]))

    earlier, later = plan_of("Cafe\u0301", "O\u0308rtchen"), plan_of("Caf\u00e9", "\u00d6rtchen")
    joined = later.joined(earlier, tmp_path)
    assert (joined.recordings, list(joined.splits)) == (earlier.recordings, list(earlier.splits))
    with pytest.raises(TrainingError, match="with other recordings \\("):
        plan_of("bar", "O\u0308rtchen").joined(earlier, tmp_path)


@pytest.mark.parametrize(
    "content", [b"[" * 10**5, b'{"a":' * 10**5, b"9" * 5000, b"\xff", b"", b"null", b"[]"], ids=range(7)
)
def test_a_damaged_plan_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "plan.json").write_bytes(content)
    with pytest.raises(TrainingError, match=r"plan\.json: damaged or not ours \("):
        Plan.read(tmp_path)


def test_a_plan_whose_splits_name_no_recording_is_damaged(tmp_path: Path) -> None:
    made().write(tmp_path)
    plan = json.loads((tmp_path / "plan.json").read_text())
    plan["splits"]["fold=0"][0][0] = 10**6
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(TrainingError, match="damaged, because a split names recordings that it lacks"):
        Plan.read(tmp_path)


def test_a_folder_may_grow_by_systems_and_seeds_only(tmp_path: Path) -> None:
    earlier = made(systems="cnn-mel")
    later = replace(made(systems="att-crnn-mel", ablate="att-crnn-mel"), seeds=(2,))
    joined = later.joined(earlier, tmp_path)
    assert [s.name for s in joined.systems][:3] == ["cnn-mel", "att-crnn-mel", "att-crnn-mel+no-mixing"]
    assert joined.seeds == (0, 2)
    recipe = made(TINY.with_settings(["training.epochs=9"]))
    with pytest.raises(TrainingError, match=r"with other recipe \(training.epochs: 2 there, 9 now\); use the same ones"):
        recipe.joined(earlier, tmp_path)
    with pytest.raises(TrainingError, match=r"other splits \(fold=0, .* there, fold=0 now\)"):
        replace(earlier, splits={"fold=0": earlier.splits["fold=0"]}).joined(earlier, tmp_path)
    with pytest.raises(TrainingError, match="holds a system 'cnn-mel' with other settings"):
        replace(earlier, systems=(msgspec.structs.replace(earlier.systems[0], settings=()),)).joined(earlier, tmp_path)


def test_recipes_are_compared_by_their_meaning(tmp_path: Path) -> None:
    plan = made()
    sparse = {section: dict(values) for section, values in plan.recipe.items()}
    assert sparse["network"].pop("pooling") == "spatio-temporal"
    assert replace(plan, recipe=sparse).base_recipe() == TINY
    assert plan.joined(replace(plan, recipe=sparse), tmp_path) == plan
    sparse["network"]["pooling"] = "mean"
    with pytest.raises(TrainingError, match=r'other recipe \(network\.pooling: "mean" there, "spatio-temporal" now\)'):
        plan.joined(replace(plan, recipe=sparse), tmp_path)


def test_a_run_folder_keeps_its_recipe_unless_one_is_given(tmp_path: Path) -> None:
    assert choose_recipe(tmp_path, None, [], "small") == (Recipe.small(), None)
    made().write(tmp_path)
    assert choose_recipe(tmp_path, None, [], "small") == (TINY, f"{tmp_path}: resumes with the recipe of its plan.json")
    assert choose_recipe(tmp_path, "paper", [], "small") == (Recipe.paper(), None)
    set_one = ["training.epochs=9"]
    assert choose_recipe(tmp_path, None, set_one, "small") == (Recipe.small().with_settings(set_one), None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"holds no experiment \(No such file or directory: plan.json\); `soundscene experiment MANIFEST"),
        (b"{}", "plan.json: damaged or not ours"),
        (b"\xff", "plan.json: damaged or not ours"),
    ],
)
def test_a_folder_without_a_plan_is_one_line(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "plan.json").write_bytes(content)
    with pytest.raises(TrainingError, match=message) as caught:
        Plan.read(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_newer_plan_is_refused(tmp_path: Path) -> None:
    replace(made(), format=99).write(tmp_path)
    with pytest.raises(TrainingError, match="format 99 is newer than this soundscene, which knows 2"):
        Plan.read(tmp_path)


def test_systems_are_known_by_name() -> None:
    assert [s.name for s in specs([s.name for s in SYSTEMS])] == [s.name for s in SYSTEMS]
    with pytest.raises(RecipeError, match="system 'att-crnn': allowed are att-crnn-mel, att-crnn-gammatone, cnn-mel"):
        specs(["att-crnn"])
    name = "cnn-mel:training.epochs=9:network.filters=[1,2,3]"
    assert split_names(f"hog, {name},att-crnn-mel") == ["hog", name, "att-crnn-mel"]
    (variant,) = specs([name])
    assert variant == SystemSpec(
        "cnn-mel+training.epochs=9+network.filters=[1,2,3]",
        "CNN baseline (log-mel), training.epochs=9, network.filters=[1,2,3]",
        "neural",
        ("network.kind=cnn", "features.kind=mel", "training.epochs=9", "network.filters=[1,2,3]"),
        "cnn-mel",
    )
    with pytest.raises(RecipeError, match=r"system cnn-mel\+training.epoch=9: unknown recipe key 'training.epoch'"):
        make_plan("toys", ROOT, ROWS, SPLITS, TINY, specs(["cnn-mel:training.epoch=9"]))


def test_all_systems_can_be_planned_and_their_own_settings_are_checked() -> None:
    names = ["table3", *(s.name for s in SYSTEMS if s.module == "baselines"), "hog-spd:blocks=spd", "lstm-sa:from=scene"]
    plan = make_plan("toys", ROOT, ROWS, SPLITS, TINY, specs(names))
    assert len(plan.systems) == 20 + 2 + 2
    assert [build(spec, TINY).name for spec in plan.systems] == [spec.name for spec in plan.systems]
    later = SystemSpec(
        "hog-spd+blocks=all", "", "hog_spd", ("blocks=all",), "hog-spd"
    )  # of a plan that another version wrote
    with pytest.raises(RecipeError, match=r"system hog-spd\+blocks=all: blocks=all, allowed are both, spd, hog$"):
        make_plan("toys", ROOT, ROWS, SPLITS, TINY, [later])
    strange = SystemSpec("hog+blocks=spd", "", "hog", ("blocks=spd",), "hog")
    with pytest.raises(RecipeError, match=r"'blocks=spd': expected section\.key=value, for example training\.epochs=30$"):
        make_plan("toys", ROOT, ROWS, SPLITS, TINY, [strange])


def test_each_ablation_takes_one_thing_away() -> None:
    base, *variants = specs(["att-crnn-mel"], "att-crnn-mel")
    assert len(variants) == len(ABLATIONS) == 5
    assert all(v.base == "att-crnn-mel" for v in variants)
    built = [build(v, TINY) for v in (base, *variants)]
    assert len({b.representation.key for b in built}) == 1, "all read the same store"
    changed = []
    for variant in built[1:]:
        rows = [
            f"{section}.{key}={value}"
            for section, values in variant.choices.items()
            for key, value in values.items()
            if value != built[0].choices[section][key]
        ]
        changed.append(rows)
    assert changed == [
        ["training.mixing=none"],
        ["network.noise_subtracted=False"],
        ["network.pooling=temporal"],
        ["network.pooling=spatial"],
        ["network.pooling=mean"],
    ]
