"""What a function takes as a model: a file of any format, or what was loaded of one."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from soundscene.errors import BundleError, SceneError
from soundscene.extras import require
from soundscene.hub import opened
from soundscene.prediction import ScenePrediction
from soundscene.predictor import Predictor, load

PathLike = str | Path


@runtime_checkable
class AnyPredictor(Protocol):
    """What predicts: a `Predictor`, or a `SavedSystem`, which has no members."""

    @property
    def scenes(self) -> tuple[str, ...]:
        """Names in the order of every posterior."""
        ...

    def predict(self, source: Any, warn: bool = True, progress: Callable[[float], None] | None = None) -> ScenePrediction:
        """Predict one recording.

        Args:
            source: A file, or samples with their rate.
            warn: Whether to warn of the notes.
            progress: Called with the seconds that are done.
        """
        ...

    def predict_each(
        self, paths: Iterable[str | Path], workers: int = 1
    ) -> Iterator[tuple[str | Path, ScenePrediction | SceneError]]:
        """Predict files in parallel, in the order given.

        Args:
            paths: Files.
            workers: Threads.
        """
        ...


ModelLike = PathLike | AnyPredictor


def load_predictor(model: ModelLike) -> Predictor:
    """Return a predictor: the one that is given, or the one of a file.

    Args:
        model: File or predictor.

    Raises:
        BundleError: The file cannot be loaded, or is a saved system.
    """
    if isinstance(model, Predictor):
        return model
    if isinstance(model, str | os.PathLike):
        return load(model)
    if isinstance(model, AnyPredictor):
        raise BundleError(
            "a saved system, which soundscene.predict and evaluate can use, and timeline where it has segments"
        )
    raise _foreign(model)


def load_any(model: ModelLike, what: str) -> AnyPredictor:
    """Return what predicts: the predictor that is given, or that of a file of any format.

    Args:
        model: File, predictor or saved system.
        what: Function that needs it, for the message on a missing extra.

    Raises:
        SceneError: The file cannot be loaded, or its extra is missing.
    """
    if not isinstance(model, str | os.PathLike):
        if not isinstance(model, AnyPredictor):
            raise _foreign(model)
        return model
    with opened(model) as path:
        if path.suffix.lower() != ".onnx":
            from soundscene.bundle import is_system

            if is_system(path):
                require(what, "experiment")
                from soundscene.systems.saved import load_system

                return load_system(path)
        return load(path)


def _foreign(model: object) -> BundleError:
    what = type(model).__name__
    return BundleError(f"a model of type {what}; expected a model file, hf://owner/name, or what soundscene.load returned")
