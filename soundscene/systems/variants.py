"""Which settings make a variant of a system: those that it reads. Any other is refused, as it would change nothing.

A variant that is its own base, or another system, would stand in a table as a finding of its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module

from soundscene.errors import RecipeError
from soundscene.recipe import Recipe
from soundscene.texts import short

_HELD, _FOLDS, _EPOCHS = "calibration.held_out", "calibration.platt_folds", "training.epochs"
_RATE = "audio.sample_rate"
_PIECES = (_RATE, "audio.segment_s", "audio.last_piece")
_IMAGE = tuple(f"features.{key}" for key in ("kind", "n_bands", "window", "hop", "n_fft", "low_hz", "floor"))

READS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "neural": {
        "": (
            *("audio", "features", "network.kind", "network.filters", "network.conv_dropout", "network.noise_subtracted"),
            *("training", "augmentation", "calibration"),
        ),
        "network.kind=att-crnn": (
            *("network.hidden", "network.attention", "network.recurrent_dropout", "network.attention_scale"),
            *("network.attention_temperature", "network.attention_context", "network.recurrent", "network.pooling"),
        ),
        "network.kind=cnn": ("network.global_pooling",),
    },
    "transfer": {
        "": ("audio.segment_s", "audio.last_piece", "training.segment_hop_s", "augmentation", "calibration"),
    },
    "hog": {"": (_RATE, _HELD, _FOLDS)},
    "hog_spd": {"": ("blocks", _RATE, _HELD, _FOLDS), "blocks=both": ("kernel",), "blocks=spd": ("kernel",)},
    "cqt_hog": {"": ("weights", _RATE, _HELD, _FOLDS)},
    "fisher_hog": {"": ("height", _RATE, "audio.last_piece", _HELD, _FOLDS)},
    "factors": {
        "": ("method", "level", _RATE, _HELD),
        "method=sparse-nmf": ("penalty",),
        "method=conv-nmf": ("penalty", "patch"),
        "method=kernel-pca": ("kernel",),
    },
    "mfcc_dnn": {"": (*_PIECES, _HELD)},
    "temporal_transformer": {
        "": ("kind", "reduction", *_PIECES, "features", _EPOCHS, _HELD),
        "kind=cnn": ("network.filters", "network.conv_dropout"),
        "kind=lstm": ("network.hidden",),
    },
    "lstm_sa": {"": ("from", *_PIECES, "features", "network.hidden", _EPOCHS, _HELD)},
    "lte_networks": {
        "": ("kind", *_PIECES, "audio.noise_window", "audio.noise_hop", _EPOCHS, _HELD, _FOLDS),
        "kind=rnn": ("network.hidden",),
    },
    "scene_lte": {"": ("speech", *_PIECES, _HELD, _FOLDS)},
    "three_cnns": {
        "": ("branches", *_PIECES, _EPOCHS, _HELD),
        "branches=all": ("features", "network.filters"),
        "branches=2d": ("features", "network.filters"),
        "branches=3d": ("features",),
    },
    "baselines": {"": ("method", _RATE, *_IMAGE, _HELD), "method=band-statistics": (_FOLDS,)},
}
"""What the systems of each module read: their own settings, and keys or whole sections of the recipe.

Under "" what all of them do, under "key=value" what those with that setting do besides. Seeds are not among it: a training
gets its seed from the experiment.
"""


def options_of(module: str) -> Mapping[str, Sequence[str]]:
    """Return the own settings of the systems of a module and their values, the default first.

    A setting without values takes any text. It is made by the program, as those of --backbone, and no variant is.

    Args:
        module: Of `soundscene.systems`.
    """
    return getattr(import_module(f"soundscene.systems.{module}"), "OPTIONS", {})


def _of_variants(module: str) -> Mapping[str, Sequence[str]]:
    """Return those of `options_of` that make a variant."""
    return {key: values for key, values in options_of(module).items() if values}


def reads(module: str, settings: Iterable[str]) -> tuple[str, ...]:
    """Return what a system reads: names of own settings, and keys or sections of the recipe.

    >>> reads("baselines", ["method=nearest-mean"])[-1]
    'calibration.held_out'

    Args:
        module: Of `soundscene.systems`.
        settings: Of the system, as the catalogue has them and as they were given.
    """
    default = {key: values[0] for key, values in _of_variants(module).items()}
    chosen = default | {key: value for key, _, value in (setting.partition("=") for setting in settings)}
    found = []
    for condition, keys in READS[module].items():
        key, _, value = condition.partition("=")
        if not condition or chosen.get(key) == value:
            found += keys
    return tuple(found)


def recipe_read(recipe: Recipe, keys: Sequence[str]) -> dict[str, dict[str, object]]:
    """Return the sections of a recipe with the values that a system reads, without those that it does not.

    Args:
        recipe: The recipe.
        keys: From `reads`.
    """
    kept = {
        section: {key: value for key, value in values.items() if section in keys or f"{section}.{key}" in keys}
        for section, values in recipe.to_dict().items()
    }
    return {section: values for section, values in kept.items() if values}


def split_settings(name: str) -> tuple[str, ...]:
    """Return the settings of a variant's name, such as "hog-spd:blocks=spd", each as "key=value" without spaces around.

    Raises:
        RecipeError: One is empty, or a key is given twice.
    """
    parts = name.split(":")[1:]
    found: dict[str, str] = {}
    for part in parts:
        key, equals, value = (word.strip() for word in part.partition("="))
        if not key:
            raise RecipeError(f"system {short(name)!r}: expected key=value behind each colon, and nothing stands there")
        if key in found:
            raise RecipeError(f"system {short(name)!r}: {short(key)} is given twice; give it once")
        found[key] = f"{key}{equals}{value}"
    return tuple(found.values())


def check_free(name: str, system: str, given: Sequence[str], systems: Mapping[str, Sequence[str]]) -> None:
    """Refuse settings that the catalogue fixes, as a system with another value is another system.

    Args:
        name: As it was given, for the message.
        system: Of which it is a variant.
        given: From `split_settings`.
        systems: Settings in the catalogue of all systems of the module, by name.

    Raises:
        RecipeError: Of the first one.
    """
    fixed = {setting.partition("=")[0]: setting for setting in systems[system]}
    for setting in given:
        key = setting.partition("=")[0]
        if key not in fixed:
            continue
        if setting == fixed[key]:
            raise RecipeError(f"system {short(name)!r}: {setting} is what {system} has already; leave it out")
        wanted = {*fixed.values()} - {fixed[key]} | {setting}
        other = [one for one, settings in systems.items() if {*settings} == wanted]
        instead = f"{setting} is the system {other[0]}" if other else "leave it out"
        raise RecipeError(f"system {short(name)!r}: {system} has {fixed[key]}, which cannot be set; {short(instead)}")


def check_settings(name: str, system: str, module: str, fixed: Sequence[str], given: Sequence[str]) -> None:
    """Refuse settings of a variant that its system does not read. Unknown keys of the recipe are left to the recipe.

    Args:
        name: As it was given, for the message.
        system: Of which it is a variant.
        module: Of `soundscene.systems`.
        fixed: Settings of the system in the catalogue.
        given: From `split_settings`.

    Raises:
        RecipeError: Of the first setting that changes nothing.
    """
    options, read = _of_variants(module), reads(module, (*fixed, *given))
    taken = {setting.partition("=")[0] for setting in fixed}
    own = {key: values for key, values in options.items() if key in read and key not in taken}
    listed = ", ".join(f"{key} ({', '.join(values)})" for key, values in own.items())
    of_own = f"its own settings are {listed}" if own else f"{system} has no settings of its own"
    for setting in given:
        key, equals, _ = setting.partition("=")
        if not equals:
            why = f"{short(setting)!r} has no value; {of_own}, and those of the recipe are section.key=value"
        elif key in options:
            why = _why_not_own(setting, system, key in read, options[key], of_own)
        elif "." in key or setting == "augmentation=off":
            why = _why_not_read(key, system, [k for k in read if k not in options])
        else:
            why = f"{short(key)} is no setting of {system}; {of_own}, and those of the recipe are section.key=value"
        if why:
            raise RecipeError(f"system {short(name)!r}: {why}")


def _why_not_own(setting: str, system: str, is_read: bool, allowed: Sequence[str], of_own: str) -> str:
    """Say why a setting of the system's own changes nothing; an empty text where it does."""
    key, _, value = setting.partition("=")
    if not is_read:
        return f"{key} is not read by {system}, so nothing would change; {of_own}"
    if value not in allowed:
        return f"{key}={short(value)}, allowed are {', '.join(allowed)}"
    if value == allowed[0]:
        return f"{setting} is what {system} has already; leave it out, or give {' or '.join(allowed[1:])}"
    return ""


def _why_not_read(key: str, system: str, read: Sequence[str]) -> str:
    """Say why a key of the recipe changes nothing; an empty text where it does, or where the recipe has no such key."""
    section, dot, field = key.partition(".")
    if key == "training.seed":
        return "the seeds of an experiment are given by --seeds"
    if section in read or key in read or (dot and field not in Recipe().to_dict().get(section, {})):
        return ""
    return f"{key} is not read by {system}, so nothing would change; of the recipe it reads {', '.join(read)}"


def idle_keys(recipe: Recipe) -> tuple[str, ...]:
    """Return the keys that a network of the recipe does not read, because its pooling has no attention to set.

    Args:
        recipe: Of an Att-CRNN; that of a CNN baseline has none of these keys.
    """
    of_attention = ("network.attention", "network.attention_temperature", "network.attention_context")
    return {"mean": of_attention, "last": (*of_attention, "network.attention_scale")}.get(recipe.network.pooling, ())


def check_effect(name: str, recipe: Recipe, base: Recipe, given: Sequence[str]) -> None:
    """Refuse settings of a variant that leave the recipe as it is.

    Args:
        name: Of the variant, for the message.
        recipe: Of the variant.
        base: Of the system that it is a variant of.
        given: Settings that the catalogue does not have.

    Raises:
        RecipeError: Of the first one.
    """
    for setting in given:
        section, dot, key = setting.partition("=")[0].partition(".")
        after, before = (tree.to_dict().get(section, {}) for tree in (recipe, base))
        if (after[key] == before[key]) if dot else (after and after == before):
            raise RecipeError(f"system {short(name)!r}: {setting} is what the recipe has already; leave it out")
        if setting.partition("=")[0] in idle_keys(recipe):
            pooling = recipe.network.pooling
            raise RecipeError(
                f"system {short(name)!r}: {setting} changes nothing where network.pooling={pooling}; leave it out"
            )
