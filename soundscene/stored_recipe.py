"""What a recipe that soundscene 0.1 stored means: the values of the keys that it lacks."""

from typing import Any

STORED: dict[str, dict[str, Any]] = {
    "audio": {"sample_rate": 22050, "segment_s": 2.0, "last_piece": 0.5, "noise_window": 704, "noise_hop": 352},
    "features": {
        "kind": "mel",
        "n_bands": 64,
        "window": 1102,
        "hop": 551,
        "n_fft": 2048,
        "low_hz": 50.0,
        "floor": 1e-10,
        "clamp": 6.0,
    },
    "network": {
        "kind": "att-crnn",
        "filters": (64, 128, 256),
        "hidden": 128,
        "attention": 64,
        "conv_dropout": 0.25,
        "recurrent_dropout": 0.1,
        "attention_scale": "mean-preserving",
        "attention_temperature": 1.0,
        "attention_context": 0.1,
        "recurrent": "gru",
        "pooling": "spatio-temporal",
        "global_pooling": "max",
        "noise_subtracted": True,
    },
    "training": {
        "epochs": 500,
        "batch_size": 100,
        "learning_rate": 1e-4,
        "schedule": "constant",
        "mixing": "between-class",
        "balanced": False,
        "segment_hop_s": 2.0,
        "gain_db": 0.0,
        "mask_bands": 0,
        "mask_frames": 0,
        "average": 0.0,
        "keep": "last",
        "patience": 0,
        "seed": 0,
    },
    "augmentation": {
        "level_db": (0.0, 0.0),
        "tilt_db": 0.0,
        "response_db": 0.0,
        "low_pass": 0.0,
        "codec": 0.0,
        "background": 0.0,
        "clipping": 0.0,
        "mix_statistics": 0.0,
    },
    "calibration": {"head": "svm", "svm_c": 0.1, "platt_folds": 5, "held_out": 0.1},
}
"""What a key means that a stored recipe lacks: 0.1.0's default, or, for a key that came later, what 0.1.0 did."""

_NETWORK = ("attention_temperature", "attention_context", "recurrent", "global_pooling")
ADDED: frozenset[str] = frozenset(
    {
        *(f"network.{name}" for name in _NETWORK),
        "training.average",
        *(f"augmentation.{name}" for name in STORED["augmentation"]),
    }
)
"""Keys as "section.name" that 0.1.0 did not have."""

LATER = "recipe_later"
"""Name in a model file of format 1 of what stands beside the recipe; 0.1.0 passes names over that it does not know."""

UNNEEDED = frozenset(key for key in ADDED if not key.startswith("network.")) | {"network.attention_context"}
"""Those of `ADDED` that decide how a network is trained, and nothing once it is."""

_WORDS = {  # of 0.1.0, where there are more now
    "network.attention_scale": ("printed", "mean-preserving"),
    "network.pooling": ("spatio-temporal", "temporal", "spatial", "mean"),
}


def divide(recipe: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Divide a recipe into what 0.1.0 reads and what stands beside it in the file of a model.

    Args:
        recipe: From `Recipe.to_stored`.

    Returns:
        Sections that 0.1.0 reads, and those of `UNNEEDED`. None where 0.1.0 would refuse the network, or predict otherwise.
    """
    known: dict[str, Any] = {}
    later: dict[str, Any] = {}
    for section, values in recipe.items():
        for name, value in values.items():
            key = f"{section}.{name}"
            if key in ADDED - UNNEEDED or value not in _WORDS.get(key, (value,)):
                return None
            (later if key in UNNEEDED else known).setdefault(section, {})[name] = value
    return known, later


def join(recipe: Any, later: Any) -> Any:
    """Return a recipe with what stands beside it; names beside it that are unknown here are passed over.

    Args:
        recipe: From the file of a model, as it was found.
        later: What stands beside it; None where there is nothing, as in files of 0.1.0.

    Raises:
        TypeError: `later` is no table of tables.
    """
    if later is None or not isinstance(recipe, dict):
        return recipe
    if not isinstance(later, dict) or not all(isinstance(values, dict) for values in later.values()):
        raise TypeError(f"{LATER} is no table of sections with values")
    joined = dict(recipe)
    for section, values in later.items():
        kept = {name: value for name, value in values.items() if f"{section}.{name}" in UNNEEDED}
        if kept and isinstance(own := recipe.get(section, {}), dict):
            joined[section] = own | kept
    return joined
