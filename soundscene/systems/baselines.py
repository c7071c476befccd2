"""Two plain systems that measure how hard a corpus is. A system of Table 3 under them is at fault until one knows why.

`nearest-mean` compares the mean log-mel spectrum of a recording with the mean of each scene: it knows nothing of time.
`band-statistics` gives an SVM with a Gaussian kernel the level, spread and quantiles of each band, and the spread of its
differences from frame to frame, which is the strength of modulation and not its order. Both are ours.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial

import msgspec
import numpy as np
import torch
from jaxtyping import Float32, Float64

from soundscene.data.corpus import Corpus
from soundscene.data.store import Extract, Representation
from soundscene.errors import TrainingError
from soundscene.recipe import FRONT_END, Recipe
from soundscene.scoring.fusion import fit_temperature, product_by_recording, temper
from soundscene.signal.features import LogSpectrogram
from soundscene.systems.saved import Identity, save_system
from soundscene.systems.system import FitContext, Fitted, PredictFunction, SavedState, System, SystemPredictions
from soundscene.systems.whole import (
    Describe,
    divide,
    fit_whole,
    fitted_whole,
    read_whole,
    restore_whole,
    stored_vectors,
    training_facts,
    voting_recordings,
)
from soundscene.types import Recording, Samples

OPTIONS: Mapping[str, tuple[str, ...]] = {"method": ("nearest-mean", "band-statistics")}
_VERSION = 1  # of the statistics; another one is another store
_FAR = 1e6  # mean of a scene that has no sound, in nepers


@dataclass(frozen=True)
class BaselineSettings:
    """Settings of the classifiers.

    Attributes:
        quantiles: Of each band's levels.
        c: Values of C of the SVM to choose from.
        folds: Cross-validation folds of that choice, by training group.
        least: Eigenvalues of the kernel matrix below this share of the largest are left out.
    """

    quantiles: tuple[float, ...] = (0.1, 0.9)
    c: tuple[float, ...] = (1.0, 10.0)
    folds: int = 3
    least: float = 1e-7

    @property
    def n_statistics(self) -> int:
        """Statistics of each band: mean, standard deviation, the quantiles, and deviation of differences."""
        return 3 + len(self.quantiles)


@dataclass(frozen=True)
class Centres:
    """Mean spectra of the scenes.

    Attributes:
        mean: Of each scene.
        variance: Mean squared distance of a training recording from the mean of its scene, by band.
    """

    mean: Float64[np.ndarray, "scene band"]
    variance: float

    def log_posterior(self, spectra: Float32[np.ndarray, "recording band"]) -> Float64[np.ndarray, "recording scene"]:
        """Return the log posterior of normal distributions about the means, with one variance and equal priors.

        Args:
            spectra: Mean log-mel spectrum of each recording.
        """
        square = ((spectra[:, None].astype(np.float64) - self.mean) ** 2).sum(axis=2)
        score = -square / (2 * self.variance * spectra.shape[1])
        return score - np.logaddexp.reduce(score, axis=1, keepdims=True)


@dataclass(frozen=True)
class KernelMap:
    """Coordinates in which a linear SVM is one with a Gaussian kernel, exactly on the recordings that it was made of.

    Attributes:
        offset: Mean of each feature in training.
        scale: Standard deviation of each feature in training, 1 where it is 0.
        points: Standardised training recordings.
        root: From kernel values with the points to coordinates: inverse square root of their kernel matrix.
    """

    offset: Float32[np.ndarray, " feature"]
    scale: Float32[np.ndarray, " feature"]
    points: Float32[np.ndarray, "point feature"]
    root: Float32[np.ndarray, "point coordinate"]

    @classmethod
    def of(cls, vectors: Float32[np.ndarray, "recording feature"], least: float) -> "KernelMap":
        """Make the map of training recordings.

        Args:
            vectors: Their statistics.
            least: See `BaselineSettings`.
        """
        offset, spread = vectors.mean(axis=0), vectors.std(axis=0)
        scale = np.where(spread > 0, spread, 1).astype(np.float32)
        points = ((vectors - offset) / scale).astype(np.float32)
        values, basis = np.linalg.eigh(_kernel(points, points))
        kept = values > least * values[-1]
        root = basis[:, kept] / np.sqrt(values[kept])
        return cls(offset.astype(np.float32), scale, points, root.astype(np.float32))

    def __call__(self, vectors: Float32[np.ndarray, "recording feature"]) -> Float32[np.ndarray, "recording coordinate"]:
        """Return the coordinates of recordings."""
        standardised = (vectors - self.offset) / self.scale
        return (_kernel(standardised, self.points) @ self.root).astype(np.float32)


def system(
    recipe: Recipe, name: str, title: str, front_end: int = FRONT_END, options: Mapping[str, str] | None = None
) -> System:
    """Make a baseline a system for experiments.

    Args:
        recipe: Only `audio`, `features` and `calibration` are used, without `svm_c`.
        name: Name in files.
        title: Title in tables.
        front_end: Not used; it reads no noise-subtracted channel.
        options: See `OPTIONS`; by default the first of each.
    """
    method = dict(options or {}).get("method", OPTIONS["method"][0])
    settings = BaselineSettings()
    facts = {
        "version": _VERSION,
        "sample_rate": recipe.audio.sample_rate,
        "features": recipe.to_dict()["features"],
        "quantiles": settings.quantiles,
    }
    work = partial(_extract, recipe, settings)
    representation = Representation("band-statistics", json.dumps(facts, sort_keys=True), work)
    identity = Identity(name, title, recipe, {"method": method}, front_end)
    stored = recipe.to_stored() | {"baselines": {**asdict(settings), "method": method}}
    if method == "nearest-mean":
        return System(name, title, representation, stored, partial(_fit_centres, identity, settings), _restore_centres)
    restore = partial(restore_whole, _as_mapped)
    return System(name, title, representation, stored, partial(_fit_svm, identity, settings), restore)


def statistics(
    samples: Samples, recipe: Recipe, settings: BaselineSettings | None = None
) -> Float32[np.ndarray, "statistic band"]:
    """Compute the statistics of each log-mel band over a recording, which is mirrored at its ends only.

    Args:
        samples: Mono samples.
        recipe: Gives the sample rate and the bands.
        settings: Gives the quantiles.

    Returns:
        Mean, standard deviation, the quantiles, and standard deviation of differences from frame to frame, in nepers.
    """
    features = recipe.features
    least = max(features.window, features.n_fft)
    padded = np.pad(samples, (0, max(0, least - len(samples)))).astype(np.float32)
    whole = msgspec.structs.replace(recipe.audio, segment_s=len(padded) / recipe.audio.sample_rate)
    bands = LogSpectrogram(whole, features)(np.stack([padded, padded])[None])[0, 0].astype(np.float64)
    quantiles = np.quantile(bands, (settings or BaselineSettings()).quantiles, axis=1)
    modulation = np.diff(bands, axis=1).std(axis=1) if bands.shape[1] > 1 else np.zeros(len(bands))
    return np.stack([bands.mean(axis=1), bands.std(axis=1), *quantiles, modulation]).astype(np.float32)


def _extract(recipe: Recipe, settings: BaselineSettings, recording: Recording) -> Extract:
    return read_whole(
        recording, recipe.audio, lambda samples: (statistics(samples, recipe, settings).reshape(1, -1), np.zeros(1))
    )


def _kernel(
    a: Float32[np.ndarray, "row feature"], b: Float32[np.ndarray, "column feature"]
) -> Float64[np.ndarray, "row column"]:
    """Gaussian kernel of standardised features; its width is one standard deviation of each, on average over features."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    square = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1) - 2 * x @ y.T
    return np.exp(-np.maximum(square, 0) / x.shape[1])


def _spectra(corpus: Corpus, n_statistics: int) -> Float32[np.ndarray, "recording band"]:
    """The first statistic of each recording with sound, the mean of each band."""
    vectors = stored_vectors(corpus)
    return vectors[:, : vectors.shape[1] // n_statistics]


def _as_mapped(learnt: dict[str, np.ndarray]) -> Describe:
    mapped = KernelMap(**{name: np.asarray(array, np.float32) for name, array in learnt.items()})
    return lambda corpus: mapped(stored_vectors(corpus))


def _fit_svm(identity: Identity, settings: BaselineSettings, corpus: Corpus, context: FitContext) -> Fitted:
    """Fit map and SVM to groups that are not held out, with C chosen among them, and the temperature to those that are."""
    parts = divide(corpus, identity.recipe, context)
    vectors = stored_vectors(parts.kept)
    mapped = KernelMap.of(vectors, settings.least)
    learnt = asdict(mapped)
    keep_proportions = np.inf  # coordinates of little variance are noise
    model, notes = fit_whole(
        parts,
        mapped(vectors),
        _as_mapped(learnt),
        identity.recipe,
        settings.c,
        settings.folds,
        context.seed,
        keep_proportions,
    )
    return fitted_whole(model, parts, notes, identity, learnt)


def _fit_centres(identity: Identity, settings: BaselineSettings, corpus: Corpus, context: FitContext) -> Fitted:
    """Fit means and variance to groups that are not held out, and the temperature to those that are."""
    parts = divide(corpus, identity.recipe, context)
    of = voting_recordings(parts.kept)
    labels = np.array([parts.scenes.index(r.scene) for r in parts.kept.recordings], np.int64)[of]
    if len(np.unique(labels)) < 2:
        raise TrainingError(f"{identity.name}: fewer than two scenes have sound")
    spectra = _spectra(parts.kept, settings.n_statistics).astype(np.float64)
    mean = np.full((len(parts.scenes), spectra.shape[1]), _FAR)
    for label in np.unique(labels):
        mean[label] = spectra[labels == label].mean(axis=0)
    variance = float(np.maximum(((spectra - mean[labels]) ** 2).mean(), 1e-6))
    centres = Centres(mean, variance)
    temperature = 1.0
    if parts.held.voting.any():
        found = _predict(centres, parts.scenes, 1.0, parts.held)["softmax"].recording
        temperature = fit_temperature(found, parts.held_truth)
    tensors = {"mean": torch.from_numpy(mean), "variance": torch.tensor([variance], dtype=torch.float64)}
    facts = training_facts(parts, parts.notes)
    state = SavedState(parts.scenes, {"softmax": temperature}, tensors, facts)
    return Fitted(
        partial(_predict, centres, parts.scenes, temperature),
        held=parts.held.recordings,
        notes=parts.notes,
        save=partial(save_system, identity, state),
    )


def _restore_centres(state: SavedState) -> PredictFunction:
    mean, variance = state.tensors["mean"].double().numpy(), float(state.tensors["variance"][0])
    if len(mean) != len(state.scenes) or not variance > 0:
        raise ValueError(f"mean is {mean.shape} and variance {variance} for {len(state.scenes)} scenes")
    return partial(_predict, Centres(mean, variance), state.scenes, state.temperature["softmax"])


def _predict(
    centres: Centres, scenes: tuple[str, ...], temperature: float, corpus: Corpus
) -> Mapping[str, SystemPredictions]:
    """Predict recordings as a whole; digital silence does not vote, so that all scenes are equally probable."""
    of = voting_recordings(corpus)
    log_posterior = centres.log_posterior(_spectra(corpus, BaselineSettings().n_statistics))
    recording = product_by_recording(log_posterior, of, len(corpus.recordings))
    nothing = np.zeros((0, len(scenes))), np.zeros(0, np.int64)
    return {"softmax": SystemPredictions(*nothing, recording, temper(recording, temperature))}
