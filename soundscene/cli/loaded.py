"""The models of `predict`: one, or several that share one decoding of each file."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from soundscene.cli.models import load_predictor, load_saved
from soundscene.errors import SceneError

if TYPE_CHECKING:
    from soundscene.prediction import ScenePrediction
    from soundscene.predictor import Predictor
    from soundscene.systems.saved import SavedSystem


@dataclass(frozen=True)
class LoadedModels:
    """Models that predict the same files.

    Attributes:
        names: As they were given; rows name them where there are several.
        predictors: One for each.
    """

    names: tuple[str, ...]
    predictors: "tuple[Predictor | SavedSystem, ...]"

    @property
    def several(self) -> bool:
        """Whether rows name their model."""
        return len(self.predictors) > 1

    @property
    def scenes(self) -> tuple[str, ...]:
        """Scenes of all models, in the order in which they come."""
        return tuple(dict.fromkeys(scene for predictor in self.predictors for scene in predictor.scenes))

    @property
    def why_unknown_unavailable(self) -> tuple[str, ...]:
        """Lines on models that cannot label recordings as unknown."""
        found = zip(self.names, (predictor.why_unknown_unavailable for predictor in self.predictors), strict=True)
        return tuple(f"{name}: {why}" if self.several else why for name, why in found if why)

    def results(
        self, files: Iterable[Path], workers: int
    ) -> "Iterator[tuple[str | Path, list[ScenePrediction | SceneError]]]":
        """Yield each file with the prediction, or the error, of each model.

        Args:
            files: To predict.
            workers: Number of parallel workers.
        """
        if not self.several:
            yield from ((path, [found]) for path, found in self.predictors[0].predict_each(files, workers))
            return
        from soundscene.predictor import Predictor
        from soundscene.several import predict_each_by_all

        predictors = [predictor for predictor in self.predictors if isinstance(predictor, Predictor)]
        yield from predict_each_by_all(predictors, files, workers)

    def failures(
        self, path: str | Path, results: "Sequence[ScenePrediction | SceneError]"
    ) -> list[tuple[str | None, str, str]]:
        """Return what of a file has no prediction: the model if it is not all of them, the reason, and the whole message.

        Args:
            path: The file.
            results: Of each model.
        """
        errors = [
            (name, str(found)) for name, found in zip(self.names, results, strict=True) if isinstance(found, SceneError)
        ]
        if len(errors) == len(results) and len({text for _, text in errors}) == 1:
            errors = [(None, errors[0][1])]
        return [(name, text.removeprefix(f"{path}: "), text if name is None else f"{name}: {text}") for name, text in errors]


def load_models(models: Sequence[Path], head: Literal["svm", "softmax"] | None, device: str = "cpu") -> LoadedModels:
    """Load the models of a command.

    Args:
        models: Model files, exported ones, or one saved system.
        head: Classifier; by default the choice of each recipe.
        device: Where networks compute, as in `compute.place`.

    Raises:
        SceneError: A model cannot be loaded, or is of a kind that does not go with others.
    """
    names = tuple(map(str, models))
    if doubled := {name for name in names if names.count(name) > 1}:
        raise SceneError(f"{sorted(doubled)[0]}: is given twice as MODEL; name each model once")
    return LoadedModels(names, tuple(_load(model, head, device, len(models) > 1) for model in models))


def _load(model: Path, head: Literal["svm", "softmax"] | None, device: str, several: bool) -> "Predictor | SavedSystem":
    saved = load_saved("predict", model, head, device)
    if saved is None:
        return load_predictor(model, head, device)
    if several:
        raise SceneError(
            f"{model}: a saved system reads recordings in a way of its own and shares no decoding; predict with it alone"
        )
    return saved
