"""A recipe in words, and as the options that give it again."""

import pytest

from soundscene.recipe import Recipe
from soundscene.report.recipes import recipe_text, recipe_words
from soundscene.report.summary import RunFacts, setting
from tests.report.made import made_results


@pytest.mark.parametrize(
    ("recipe", "text"),
    [
        (Recipe.small(), "small"),
        (Recipe(), "default"),
        (Recipe.paper(), "paper"),
        (Recipe.small().with_settings(["training.epochs=2", "training.seed=7"]), "small with training.epochs=2"),
        (Recipe.small().with_settings(["augmentation=off"]), "small with augmentation=off"),
        (Recipe.paper().with_settings(["training.epochs=9"]), "paper with training.epochs=9"),
    ],
)
def test_a_recipe_is_the_nearest_preset_and_what_differs(recipe: Recipe, text: str) -> None:
    assert recipe_text(recipe) == text
    _, name, *words = recipe_words(recipe)
    assert set(words[::2]) <= {"--set"}
    again = Recipe.load(name).with_settings(words[1::2])
    assert recipe_text(again) == text
    assert not {key for key in again.differences(recipe) if key != "training.seed"}


def test_what_is_written_under_each_table_names_the_recipe() -> None:
    recipe = Recipe.small().with_settings(["features.n_bands=32"])
    facts = RunFacts("made", "3 folds by place", "once", "a machine", 1, 6, 6, ("bus", "park"), recipe=recipe)
    assert " Recipe: small with features.n_bands=32. " in setting(facts, made_results(("cnn-mel",), ("1",))).line()
