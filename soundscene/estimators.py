"""scikit-learn's view of soundscene: features of recordings, the calibrated SVM, and a whole model as estimators.

They work in pipelines, in grid searches by group, and with clone. `CalibratedSVC` takes vectors; the other two take
recordings: a list of paths, of (samples, sample rate), or of mappings with array and sampling_rate.
"""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from soundscene import api
from soundscene.audio.arrays import as_source
from soundscene.audio.files import gate_array, read_samples, write_array
from soundscene.errors import AudioError, SceneError
from soundscene.member import BackboneMember, NetworkMember
from soundscene.prediction import Predictions, ScenePrediction
from soundscene.recipe import Recipe
from soundscene.signal.frontend import FrontEnd
from soundscene.texts import fold_name
from soundscene.training.calibrate import fit_svm


class CalibratedSVC(ClassifierMixin, BaseEstimator):
    """Linear SVM with Platt's probabilities, cross-validated by group: the second head of our networks (section 2.4).

    Args:
        C: Regularisation, smaller is stronger.
        folds: Folds of the decisions that the probabilities are fitted to.
        least_scale: Least scale of a feature when features are standardised, as a share of the median one.
        random_state: Deals groups to folds.

    Attributes:
        classes_: Labels, sorted.
        svm_: Fitted weights and sigmoids.
        notes_: Compromises that few groups made necessary.
    """

    def __init__(self, C: float = 0.1, folds: int = 5, least_scale: float = 0.0, random_state: Any = 0) -> None:
        self.C = C
        self.folds = folds
        self.least_scale = least_scale
        self.random_state = random_state

    def fit(self, X: Any, y: Any, groups: Any = None) -> "CalibratedSVC":
        """Fit SVM and sigmoids.

        Args:
            X: [sample, feature].
            y: Label of each sample.
            groups: Unit of independence of each sample, which no fold cuts; by default each sample is its own.

        Raises:
            ValueError: There is one class only, or X, y and groups do not fit together.
        """
        X, y = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"1 class, {str(self.classes_[0])!r}: the SVM needs samples of two classes or more")
        units = np.arange(len(y)) if groups is None else np.asarray(groups)
        seed = int(check_random_state(self.random_state).randint(2**31))
        self.svm_, self.notes_ = fit_svm(
            X, labels.astype(np.int64), units, len(self.classes_), self.C, self.folds, seed, self.least_scale
        )
        return self

    def predict_proba(self, X: Any) -> Float[np.ndarray, "sample class"]:
        """Return the probability of each class, in the order of `classes_`.

        Args:
            X: [sample, feature].
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, reset=False)
        with torch.inference_mode():
            return np.exp(self.svm_(torch.from_numpy(X)).numpy())

    def predict(self, X: Any) -> Any:
        """Return the most probable class of each sample.

        Args:
            X: [sample, feature].
        """
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]


class SceneFeatures(TransformerMixin, BaseEstimator):
    """One vector per recording, for any classifier.

    Args:
        model: Model file or predictor whose embeddings are the features, means over segments. None: mean and deviation of
            each band over time, of the recording and of the recording without its background noise.
        recipe: Name or file of the recipe of the bands; not used with a model.
    """

    def __init__(self, model: Any = None, recipe: str = "small") -> None:
        self.model = model
        self.recipe = recipe

    def fit(self, X: Any, y: Any = None) -> "SceneFeatures":
        """Learn nothing, and check the parameters.

        Args:
            X: Recordings.
            y: Not used.
        """
        self._names()
        return self

    def transform(self, X: Iterable[Any]) -> Float32[np.ndarray, "recording feature"]:
        """Return [recording, feature].

        Args:
            X: Recordings: paths, (samples, sample rate), or mappings with array and sampling_rate.

        Raises:
            AudioError: A recording cannot be used.
        """
        sources = [as_source(source) for source in X]
        if self.model is not None:
            return api.embed(self.model, sources)
        recipe = Recipe.load(self.recipe)
        front_end = FrontEnd(recipe.audio, recipe.features)
        rows = [_statistics(source, recipe, front_end) for source in sources]
        return np.stack(rows) if rows else np.zeros((0, len(self._names())), np.float32)

    def get_feature_names_out(self, input_features: Any = None) -> Any:
        """Return a name for each column.

        Args:
            input_features: Not used.
        """
        return np.array(self._names(), dtype=object)

    def _names(self) -> list[str]:
        if self.model is not None:
            model: Any = api.load_predictor(self.model).model
            members = [m for m in model.members if isinstance(m, NetworkMember | BackboneMember)]
            return [f"{m.name}_{i}" for m in members for i in range(m.svm.weight.shape[1])]
        n_bands = Recipe.load(self.recipe).features.n_bands
        return [
            f"{channel}_{statistic}_{band}"
            for channel in ("recorded", "subtracted")
            for statistic in ("mean", "deviation")
            for band in range(n_bands)
        ]

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False  # recordings are paths or arrays of any length
        tags.no_validation = True
        tags.requires_fit = False
        return tags


class SceneClassifier(ClassifierMixin, BaseEstimator):
    """A model of soundscene as a classifier of recordings: `soundscene train` and `predict`.

    Args:
        systems: Members of the model; by default what `soundscene train` chooses.
        recipe: Name or file of a recipe.
        settings: Changes of recipe values, such as ("training.epochs=30",).
        device: "auto", "cpu", "cuda" or "mps".
        random_state: Seed of the training.
        workers: Threads that read audio.

    Attributes:
        classes_: Labels, sorted.
        predictor_: The model, as `soundscene.load` returns it.
    """

    def __init__(
        self,
        systems: Sequence[str] = (),
        recipe: str | None = None,
        settings: Sequence[str] = (),
        device: str = "auto",
        random_state: int = 0,
        workers: int = 1,
    ) -> None:
        self.systems = systems
        self.recipe = recipe
        self.settings = settings
        self.device = device
        self.random_state = random_state
        self.workers = workers

    def fit(self, X: Any, y: Any, groups: Any = None) -> "SceneClassifier":
        """Train a model.

        Args:
            X: Recordings.
            y: Label of each recording; its text is the name of the scene.
            groups: Unit of independence of each recording, such as the place; by default each is its own.

        Raises:
            SceneError: Of any kind, as `soundscene train`.
        """
        if not len(X) == len(y) == len(groups if groups is not None else y):
            raise SceneError(f"{len(X)} recordings, {len(y)} labels: each recording needs one label, and one group or none")
        self.classes_ = np.unique(np.asarray(y))
        names = [fold_name(str(label)) for label in self.classes_]
        if len(set(names)) < len(names):
            raise SceneError(f"labels {', '.join(map(repr, self.classes_))}: two have the same text; use different names")
        with TemporaryDirectory(prefix="soundscene-") as folder:
            manifest = Path(folder) / "manifest.csv"
            units = range(len(y)) if groups is None else groups
            paths = [_file(as_source(source), Path(folder), number) for number, source in enumerate(X)]
            with manifest.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
                csv.writer(file).writerows(
                    [("path", "scene", "group"), *zip(paths, map(str, y), (f"g{u}" for u in units), strict=True)]
                )
            self.predictor_ = api.train(
                manifest,
                Path(folder) / "model.safetensors",
                systems=list(self.systems),
                recipe=self.recipe,
                settings=[*self.settings, f"training.seed={self.random_state}"],
                device=self.device,
                workers=self.workers,
            )
        return self

    def predict_proba(self, X: Iterable[Any]) -> Float[np.ndarray, "recording class"]:
        """Return the probability of each class, in the order of `classes_`.

        Args:
            X: Recordings.

        Raises:
            AudioError: A recording cannot be used.
        """
        check_is_fitted(self)
        order = [self.predictor_.scenes.index(fold_name(str(label))) for label in self.classes_]
        predictions = api.predict(self.predictor_, list(X), workers=self.workers)
        assert isinstance(predictions, Predictions)
        rows = [p.posterior[order] for p in predictions if isinstance(p, ScenePrediction)]
        return np.stack(rows) if rows else np.zeros((0, len(order)))

    def predict(self, X: Iterable[Any]) -> Any:
        """Return the most probable class of each recording.

        Args:
            X: Recordings.
        """
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.no_validation = True
        return tags


def _statistics(source: Any, recipe: Recipe, front_end: FrontEnd) -> Float32[np.ndarray, " feature"]:
    """Return mean and deviation of each band of both channels over all frames of segments that are not silent."""
    if isinstance(source, tuple):
        given, rate = source
        name, samples = "array", gate_array(given, rate, recipe.audio)
    else:
        name, samples = str(source), read_samples(source, recipe.audio)
    segments = front_end(samples)
    images = segments.images[~segments.silent]
    if not len(images):
        raise AudioError(f"{name}: every segment is digital silence; was the microphone connected?")
    frames = images.transpose(1, 2, 0, 3).reshape(*images.shape[1:3], -1)  # channel, band, frame
    return np.stack([frames.mean(axis=2), frames.std(axis=2)], axis=1).ravel().astype(np.float32)


def _file(source: Any, folder: Path, number: int) -> str:
    """Return the path of a recording; samples are written to a file, which training reads."""
    if not isinstance(source, tuple):
        return str(Path(source).absolute())
    samples, rate = source
    return str(write_array(samples, rate, folder / f"{number}.wav"))
