"""scikit-learn's view of soundscene: features of recordings, the calibrated SVM, and a whole model as estimators.

They work in pipelines, in grid searches by group, and with clone. `CalibratedSVC` takes vectors; the other two take
recordings: a list of paths, of (samples, sample rate), or of mappings with array and sampling_rate.
"""

from collections.abc import Sequence
from numbers import Integral, Real
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, Shaped
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.utils import assert_all_finite, check_random_state, column_or_1d
from sklearn.utils._param_validation import Interval
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from soundscene import api
from soundscene.arguments import as_list
from soundscene.audio.files import gate_array, read_samples
from soundscene.data.manifest import Manifest
from soundscene.errors import AudioError, SceneError
from soundscene.estimator_inputs import ORIGIN, by_position, group_numbers, recordings_in, rows_of, scene_names
from soundscene.member import BackboneMember, NetworkMember
from soundscene.prediction import Predictions, ScenePrediction
from soundscene.recipe import Recipe
from soundscene.signal.frontend import FrontEnd
from soundscene.texts import short
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

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "C": [Interval(Real, 0, None, closed="neither")],
        "folds": [Interval(Integral, 2, None, closed="left")],
        "least_scale": [Interval(Real, 0, None, closed="both")],
        "random_state": ["random_state"],
    }

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
            ValueError: A parameter is out of range, there is one class only, or X, y and groups do not fit together.
        """
        self._validate_params()
        X, y = validate_data(self, X, y, dtype=np.float32)
        self.classes_, labels = _classes(y)
        units = np.arange(len(y)) if groups is None else group_numbers(groups, len(y))
        seed = int(check_random_state(self.random_state).randint(2**31))
        names = [short(str(label)) for label in self.classes_]
        c, folds, least = float(self.C), int(self.folds), float(self.least_scale)
        self.svm_, self.notes_ = fit_svm(X, labels, units, len(names), c, folds, seed, least, names)
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
        recipe: A recipe of the bands, its name or file; not used with a model.
    """

    def __init__(self, model: Any = None, recipe: str | Recipe = "small") -> None:
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

    def transform(self, X: Any) -> Float32[np.ndarray, "recording feature"]:
        """Return [recording, feature].

        Args:
            X: Recordings: paths, (samples, sample rate), or mappings with array and sampling_rate.

        Raises:
            AudioError: A recording cannot be used.
        """
        sources = recordings_in(X)
        if not sources:
            return np.zeros((0, len(self._names())), np.float32)
        if self.model is not None:
            return api.embed(self.model, sources)
        recipe = self._recipe()
        front_end = FrontEnd(recipe.audio, recipe.features)
        return np.stack([_statistics(source, f"X[{i}]", recipe, front_end) for i, source in enumerate(sources)])

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
        n_bands = self._recipe().features.n_bands
        return [
            f"{channel}_{statistic}_{band}"
            for channel in ("recorded", "subtracted")
            for statistic in ("mean", "deviation")
            for band in range(n_bands)
        ]

    def _recipe(self) -> Recipe:
        return self.recipe if isinstance(self.recipe, Recipe) else Recipe.load(str(self.recipe))

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
        systems: Members of the model, or one; by default what `soundscene train` chooses.
        recipe: A recipe, its name or file.
        settings: Changes of recipe values, such as ("training.epochs=30",).
        device: "auto", "cpu", "cuda" or "mps".
        random_state: Seed of the training; None or a `RandomState` draws one.
        workers: Threads that read audio.
        backbone: File of a frozen backbone, as in `soundscene.train`.

    Attributes:
        classes_: Labels, sorted.
        predictor_: The model, as `soundscene.load` returns it.
    """

    def __init__(
        self,
        systems: str | Sequence[str] = (),
        recipe: str | Recipe | None = None,
        settings: str | Sequence[str] = (),
        device: str = "auto",
        random_state: Any = 0,
        workers: int = 1,
        backbone: str | Path | None = None,
    ) -> None:
        self.systems = systems
        self.recipe = recipe
        self.settings = settings
        self.device = device
        self.random_state = random_state
        self.workers = workers
        self.backbone = backbone

    def fit(self, X: Any, y: Any, groups: Any = None) -> "SceneClassifier":
        """Train a model.

        Args:
            X: Recordings.
            y: Label of each recording; its text is the name of the scene.
            groups: Unit of independence of each recording, such as the place; by default each is its own.

        Raises:
            ValueError: The labels are no classes, or there is one class only.
            SceneError: Of any kind, as `soundscene train`.
        """
        sources, y = recordings_in(X), _targets(y)
        units = None if groups is None else np.asarray(groups)
        n_groups = len(units) if units is not None and units.ndim == 1 else len(y)
        if not len(sources) == len(y) == n_groups:
            raise SceneError(
                f"{len(sources)} recordings, {len(y)} labels, {'no' if units is None else n_groups} groups: "
                "each recording needs one label, and one group or none"
            )
        if units is not None:
            group_numbers(units, len(y))  # refuses what is no column of groups
        self.classes_, labels = _classes(y)
        names = scene_names(self.classes_)
        with TemporaryDirectory(prefix="soundscene-") as folder:
            rows = rows_of(sources, [names[label] for label in labels], units, Path(folder))
            try:
                self.predictor_ = api.train(
                    Manifest(Path(ORIGIN), rows),
                    Path(folder) / "model.safetensors",
                    systems=list(as_list(self.systems)),
                    recipe=self.recipe,
                    settings=[*as_list(self.settings), f"training.seed={_seed(self.random_state)}"],
                    device=self.device,
                    workers=self.workers,
                    backbone=self.backbone,
                )
            except SceneError as error:
                raise by_position(error, rows, Path(folder)) from None
        return self

    def predict_proba(self, X: Any) -> Float[np.ndarray, "recording class"]:
        """Return the probability of each class, in the order of `classes_`.

        Args:
            X: Recordings.

        Raises:
            AudioError: A recording cannot be used.
        """
        check_is_fitted(self)
        order = [self.predictor_.scenes.index(name) for name in scene_names(self.classes_)]
        predictions = api.predict(self.predictor_, recordings_in(X), workers=self.workers)
        assert isinstance(predictions, Predictions)
        rows = [p.posterior[order] for p in predictions if isinstance(p, ScenePrediction)]
        return np.stack(rows) if rows else np.zeros((0, len(order)))

    def predict(self, X: Any) -> Any:
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


def _targets(y: Any) -> Shaped[np.ndarray, " row"]:
    """Return labels as a column, as scikit-learn's own classifiers take them."""
    if y is None:
        raise ValueError("requires y to be passed, but the target y is None: each recording needs a label")
    values = y if isinstance(y, list | tuple) else np.asarray(y, dtype=object).ravel()
    if any(value is None for value in values):
        raise ValueError("y holds None: each recording needs a label")
    if 0 < sum(isinstance(value, str) for value in values) < len(values):  # numpy would make text of all
        raise ValueError("y holds text beside numbers: each recording needs a label, all of one type")
    y = column_or_1d(y, warn=True)
    assert_all_finite(y, input_name="y")
    return y


def _classes(y: Shaped[np.ndarray, " row"]) -> tuple[Shaped[np.ndarray, " class"], Int64[np.ndarray, " row"]]:
    """Return the classes, sorted, and the number of each row's class."""
    check_classification_targets(y)
    classes, numbers = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        what = f"1 class, {short(repr(str(classes[0])))}" if len(classes) else "no labels"
        raise ValueError(f"{what}: samples of two classes or more are needed")
    return classes, numbers.astype(np.int64)


def _seed(random_state: Any) -> int:
    """Return a number as it is, and what scikit-learn draws from any other random state."""
    if isinstance(random_state, Integral):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31))


def _statistics(source: Any, position: str, recipe: Recipe, front_end: FrontEnd) -> Float32[np.ndarray, " feature"]:
    """Return mean and deviation of each band of both channels over all frames of segments that are not silent."""
    if isinstance(source, tuple):
        given, rate = source
        name, samples = position, gate_array(given, rate, recipe.audio, position)
    else:
        name, samples = str(source), read_samples(source, recipe.audio)
    segments = front_end(samples)
    images = segments.images[~segments.silent]
    if not len(images):
        raise AudioError(f"{name}: every segment is digital silence; was the microphone connected?")
    frames = images.transpose(1, 2, 0, 3).reshape(*images.shape[1:3], -1)  # channel, band, frame
    return np.stack([frames.mean(axis=2), frames.std(axis=2)], axis=1).ravel().astype(np.float32)
