"""The public names: imported at first use, functions and classes whatever has been imported before, and typed."""

import inspect
import pkgutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import soundscene
from tests.support.tiny import RATE, recording

FUNCTIONS = ("embed", "evaluate", "explain", "load", "predict", "scan", "timeline", "train")
CLASSES = (
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
)


@pytest.mark.budget(15)  # imports all there is, in a process that may have imported nothing yet
def test_no_submodule_hides_a_public_name(model: Path) -> None:
    for module in pkgutil.walk_packages(soundscene.__path__, "soundscene."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    assert set(soundscene.__all__) == {*FUNCTIONS, *CLASSES, "__version__"}
    assert all(inspect.isfunction(getattr(soundscene, name)) for name in FUNCTIONS)
    assert all(inspect.isclass(getattr(soundscene, name)) for name in CLASSES)
    prediction = soundscene.load(model)((recording("rain", 2.2, 0), RATE))
    assert isinstance(prediction, soundscene.ScenePrediction)
    assert soundscene.Recipe().to_dict()


def test_names_are_listed_and_others_are_attribute_errors() -> None:
    assert set(soundscene.__all__) <= set(dir(soundscene))
    with pytest.raises(AttributeError, match="module 'soundscene' has no attribute 'laod'"):
        soundscene.laod  # type: ignore[attr-defined]  # noqa: B018


def test_names_are_imported_at_first_use() -> None:
    code = (
        "import sys, soundscene; assert 'numpy' not in sys.modules; soundscene.SceneError; soundscene.__version__; "
        "assert 'numpy' not in sys.modules; soundscene.Recipe; assert 'torch' not in sys.modules; "
        "from soundscene import load; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_old_name_of_why_unknown_is_unavailable_warns(model: Path) -> None:
    predictor = soundscene.load(model)
    with pytest.warns(DeprecationWarning, match="why_unknown_unavailable"):
        assert predictor.unknown_lack == predictor.why_unknown_unavailable
