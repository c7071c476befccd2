"""What a saved system's features and choices were, so that no later version predicts from others without a word.

A file holds the version and settings of its features, which also name a feature store, and all choices beside the recipe.
"""

import json
from collections.abc import Iterator
from typing import Any

from soundscene.recipe import Recipe
from soundscene.systems.system import System
from soundscene.texts import short

LIBRARIES = ("librosa", "scikit-image")  # whose versions may differ by a rounding
UNRECORDED = 1  # version of all features when files had no record


def record_of(system: System) -> dict[str, Any]:
    """Return the record of a system: plain values of its features and of its choices beside the recipe.

    Args:
        system: As it was built for the fit.
    """
    return {"features": json.loads(system.representation.key), "choices": own_choices(system)}


def own_choices(system: System) -> dict[str, Any]:
    """Return the choices of a system that are none of the recipe, as JSON gives them back, by name.

    Args:
        system: The system.
    """
    sections = Recipe().to_dict()
    own = [values for section, values in system.choices.items() if section not in sections]
    return json.loads(json.dumps({name: value for values in own for name, value in values.items()}))


def note_on(record: Any, system: System) -> str:
    """Compare the record of a file with the system that was built of it.

    Args:
        record: From the file; None of one that was written before there were records.
        system: Built by this version.

    Returns:
        A note where the versions of libraries differ, else an empty text.

    Raises:
        ValueError: Features or choices differ, which the message names.
    """
    now = record_of(system)
    if record is None:
        version = now["features"].get("version", UNRECORDED)
        if version != UNRECORDED:
            raise ValueError(f"its features are of version {UNRECORDED}, and those of {system.name} are now {version}")
        return ""
    if not isinstance(record, dict) or not isinstance(record.get("features"), dict):
        raise TypeError(f"record is {short(repr(record))}, expected features and choices")
    found = list(_differences(record, now))
    others = [text for name, text in found if name.removeprefix("features.") not in LIBRARIES]
    if others:
        raise ValueError(f"features or choices of {system.name} were others: {short('; '.join(others[:3]))}")
    if not found:
        return ""
    texts = ", ".join(text.removeprefix("features.") for _, text in found)
    return f"the model's features were made by other versions of libraries at the training, and may differ a little: {texts}"


def _differences(there: Any, here: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield name and text of each place where two plain values differ."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in dict.fromkeys((*there, *here)):
            yield from _differences(there.get(key), here.get(key), f"{name}.{key}" if name else str(key))
    elif there != here:
        yield name, f"{name} {json.dumps(there)} there, {json.dumps(here)} here"
