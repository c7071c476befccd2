"""What 0.1.0 reads of a model file that is written now, and what comes back of its recipe."""

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.torch import save

from soundscene.bundle import FORMAT, load_model, save_model
from soundscene.errors import BundleError
from soundscene.recipe import Recipe
from soundscene.stored_recipe import ADDED, LATER
from soundscene.tensors import digest
from tests.support.tiny import TINY, blank_bundle, blank_pair, only
from tests.test_compatibility import DEFAULTS

TRAINED = ("augmentation.codec=0.5", "augmentation.level_db=[-30, 20]", "training.average=0.1")
WORDS_0_1_0 = {
    "attention_scale": {"printed", "mean-preserving"},
    "pooling": {"spatio-temporal", "temporal", "spatial", "mean"},
}


def header(path: Path) -> dict[str, Any]:
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["bundle"])


def saved(path: Path, *settings: str) -> dict[str, Any]:
    """The header of a model that is saved, after a look that its recipe comes back."""
    recipe = TINY.with_settings(settings)
    save_model(blank_bundle(recipe), path)
    assert only(load_model(path)).recipe == recipe
    return header(path)


def crafted(path: Path, change: dict[str, Any]) -> Path:
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    text = json.dumps(header(path) | change)
    path.write_bytes(save(tensors, {"format": FORMAT, "bundle": text, "sha256": digest(text, tensors)}))
    return path


@pytest.mark.parametrize("settings", [(), TRAINED, ("network.attention_context=1",), ("augmentation.level_db=[-3, 3]",)])
def test_0_1_0_finds_no_key_that_it_does_not_know(tmp_path: Path, settings: tuple[str, ...]) -> None:
    """It forbids unknown keys in the recipe, and passes over unknown names beside it."""
    found = saved(tmp_path / "m.safetensors", *settings)
    assert found["version"] == 1
    for section, values in found["recipe"].items():
        assert values.keys() <= DEFAULTS[section].keys()
    assert (LATER in found) == bool(settings)
    beside = {f"{section}.{name}" for section, values in found.get(LATER, {}).items() for name in values}
    assert beside == {setting.partition("=")[0] for setting in settings} <= ADDED


def test_the_default_of_train_is_a_model_that_0_1_0_reads(tmp_path: Path) -> None:
    recipe = Recipe.small()
    save_model(blank_bundle(recipe), tmp_path / "m.safetensors")
    found = header(tmp_path / "m.safetensors")
    assert (found["version"], set(found["recipe"])) == (1, set(DEFAULTS))
    assert set(found[LATER]) == {"augmentation"}
    assert only(load_model(tmp_path / "m.safetensors")).recipe == recipe


@pytest.mark.parametrize(
    "setting",
    [
        "network.recurrent=none",
        "network.attention_temperature=2",
        "network.attention_scale=printed-2h",
        "network.pooling=last",
        "network.global_pooling=mean",
    ],
)
def test_a_network_that_0_1_0_cannot_compute_is_of_format_2(tmp_path: Path, setting: str) -> None:
    """Which 0.1.0 refuses: written in format 2, this soundscene reads up to 1; upgrade soundscene to use it."""
    found = saved(tmp_path / "m.safetensors", setting, *TRAINED)
    assert found["version"] == 2
    assert len(found["members"]) == 1
    assert LATER not in found


def test_the_words_of_0_1_0_are_told_from_those_that_came_later(tmp_path: Path) -> None:
    for name, words in WORDS_0_1_0.items():
        for word in sorted(words):
            assert saved(tmp_path / "m.safetensors", f"network.{name}={word}")["version"] == 1


def test_files_with_all_keys_in_the_recipe_are_read(tmp_path: Path) -> None:
    """As 0.2 wrote them for a time."""
    path = tmp_path / "m.safetensors"
    save_model(blank_bundle(), path)
    recipe = TINY.with_settings([*TRAINED, "network.attention_temperature=2"])
    assert only(load_model(crafted(path, {"recipe": recipe.to_stored()}))).recipe == recipe


def test_what_stands_beside_the_recipe_changes_no_network(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_model(blank_bundle(), path)
    beside = {
        "network": {"hidden": 8, "attention_temperature": 2},
        "training": {"epochs": 3, "average": 0.5},
        "new": {"a": 1},
    }
    assert only(load_model(crafted(path, {LATER: beside}))).recipe == TINY.with_settings(["training.average=0.5"])


@pytest.mark.parametrize(
    ("beside", "why"),
    [
        ([], "recipe_later is no table of sections"),
        ({"training": 3}, "recipe_later is no table of sections"),
        ({"training": {"average": 2}}, "recipe value training.average"),
        ({"augmentation": {"codec": "x"}}, "recipe value augmentation.codec"),
    ],
)
def test_a_strangers_additions_are_refused_in_one_line(tmp_path: Path, beside: Any, why: str) -> None:
    path = tmp_path / "m.safetensors"
    save_model(blank_bundle(), path)
    with pytest.raises(BundleError, match=why) as refusal:
        load_model(crafted(path, {LATER: beside}))
    assert "\n" not in str(refusal.value)


def test_members_keep_their_whole_recipe(tmp_path: Path) -> None:
    pair = blank_pair(TINY.with_settings(TRAINED))
    save_model(pair, tmp_path / "m.safetensors")
    found = header(tmp_path / "m.safetensors")
    assert LATER not in found
    assert found["members"][0]["recipe"]["augmentation"] == {"codec": 0.5, "level_db": [-30.0, 20.0]}
    again = load_model(tmp_path / "m.safetensors")
    assert [m.recipe for m in again.members] == [m.recipe for m in pair.members]  # type: ignore[attr-defined]
