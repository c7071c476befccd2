"""soundscene: acoustic scene classification, which predicts where a recording was made.

>>> import soundscene
>>> model = soundscene.load("model.safetensors")  # doctest: +SKIP
>>> model("street.wav").scene  # doctest: +SKIP
'quiet street'
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from soundscene.api import embed, evaluate, explain, predict, scan, timeline, train
    from soundscene.errors import (
        AudioError,
        AudioWarning,
        BackboneError,
        BundleError,
        ManifestError,
        RecipeError,
        SceneError,
        TrainingError,
    )
    from soundscene.prediction import Predictions, ScenePrediction
    from soundscene.predictor import Predictor, load
    from soundscene.recipe import Recipe

    __version__: str

__all__ = [
    "AudioError",
    "AudioWarning",
    "BackboneError",
    "BundleError",
    "ManifestError",
    "Predictions",
    "Predictor",
    "Recipe",
    "RecipeError",
    "SceneError",
    "ScenePrediction",
    "TrainingError",
    "__version__",
    "embed",
    "evaluate",
    "explain",
    "load",
    "predict",
    "scan",
    "timeline",
    "train",
]

_MODULES = {
    "Predictions": "prediction",
    "Predictor": "predictor",
    "Recipe": "recipe",
    "ScenePrediction": "prediction",
    "load": "predictor",
} | dict.fromkeys(("embed", "evaluate", "explain", "predict", "scan", "timeline", "train"), "api")
"""Where public names are defined, if not in errors. They are imported at first use: PyTorch takes over a second."""


def __getattr__(name: str) -> Any:
    """Import a public name at its first use."""
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("soundscene")
    elif name in __all__:
        try:
            value = getattr(import_module(f"soundscene.{_MODULES.get(name, 'errors')}"), name)
        except ModuleNotFoundError as error:
            from soundscene.extras import explain_missing

            message = explain_missing(f"soundscene.{name}", error)
            if message is None:
                raise
            raise ModuleNotFoundError(message, name=error.name) from None
    else:
        raise AttributeError(f"module 'soundscene' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, imported or not, and what modules have."""
    return sorted({*globals(), *__all__})
