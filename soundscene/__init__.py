"""soundscene: tell where a sound was recorded.

>>> import soundscene
>>> scene = soundscene.load("model.safetensors")  # doctest: +SKIP
>>> scene("street.wav").scene  # doctest: +SKIP
'quiet street'
"""

from importlib.metadata import version as _version

from soundscene.errors import AudioError, AudioWarning, BundleError, ManifestError, RecipeError, SceneError, TrainingError
from soundscene.predictor import Predictor, load
from soundscene.recipe import Recipe
from soundscene.types import ScenePrediction

__version__ = _version("soundscene")

__all__ = [
    "AudioError",
    "AudioWarning",
    "BundleError",
    "ManifestError",
    "Predictor",
    "Recipe",
    "RecipeError",
    "SceneError",
    "ScenePrediction",
    "TrainingError",
    "__version__",
    "load",
]
