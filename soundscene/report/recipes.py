"""A recipe in words and as options of a command: the nearest preset, and what differs from it."""

from typing import Any

from soundscene.recipe import Recipe

PRESETS = ("small", "default", "paper")
MOST_SETTINGS = 8  # of a command; beyond them a recipe file is clearer
OFF = "augmentation=off"


def recipe_words(recipe: Recipe) -> list[str]:
    """Return the options that name a recipe: the nearest preset and what differs from it.

    Args:
        recipe: Of a run.
    """
    name, settings = nearest(recipe)
    if len(settings) > MOST_SETTINGS:
        return ["--recipe", "RECIPE.toml"]
    return ["--recipe", name, *(word for setting in settings for word in ("--set", setting))]


def recipe_text(recipe: Recipe) -> str:
    """Return a recipe in words, such as "small with training.epochs=2", for the note under a table.

    Args:
        recipe: Of a run.
    """
    name, settings = nearest(recipe)
    return f"{name} with {', '.join(settings)}" if settings else name


def nearest(recipe: Recipe) -> tuple[str, tuple[str, ...]]:
    """Return the preset that has the fewest values otherwise, and those values as settings; the seed is none of them.

    Args:
        recipe: Of a run.
    """
    differing = {name: _settings(Recipe.load(name), recipe) for name in PRESETS}
    name = min(differing, key=lambda name: len(differing[name]))
    return name, differing[name]


def _settings(preset: Recipe, recipe: Recipe) -> tuple[str, ...]:
    found = recipe.differences(preset)
    found.pop("training.seed", None)
    off = recipe.augmentation == Recipe.paper().augmentation != preset.augmentation
    if off:
        found = {key: value for key, value in found.items() if not key.startswith("augmentation.")}
    return (*(f"{key}={_toml(value)}" for key, value in found.items()), *((OFF,) if off else ()))


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"[{', '.join(map(_toml, value))}]" if isinstance(value, list | tuple) else str(value)
