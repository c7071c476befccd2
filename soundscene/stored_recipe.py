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
