"""HOG+SPD [39]: how levels change, and how often each level occurs in each band, in one linear SVM.

HOG is that of `hog.py`. SPD is a histogram of levels for each band, an image band x level. Source: the title of Bisot,
Essid and Richard 2015; SPD after the abstract of another author's work, Dennis 2013. Known and chosen:
docs/decisions/0110-images-of-a-recording.md.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib.metadata import version

import numpy as np
from jaxtyping import Float, Float32, Float64
from scipy.spatial.distance import cdist

from soundscene.data.corpus import Corpus
from soundscene.data.store import Extract, Representation
from soundscene.recipe import FRONT_END, Recipe
from soundscene.systems.constant_q import ConstantQ, hop_samples, magnitudes
from soundscene.systems.hog import HogSettings, constant_q_image, describe
from soundscene.systems.saved import Identity
from soundscene.systems.system import FitContext, Fitted, System
from soundscene.systems.whole import Describe, divide, fit_whole, fitted_whole, read_whole, restore_whole
from soundscene.training.factors import sample_by_group
from soundscene.types import Recording, Samples

_VERSION = 1  # of the code below; another one is another store

_LANDMARKS = 1000  # recordings, at most, that the kernel is evaluated at

OPTIONS: Mapping[str, tuple[str, ...]] = {"blocks": ("both", "spd", "hog"), "kernel": ("linear", "emd")}
"""Settings that make a variant: which of the two descriptors the SVM reads, and how it compares two SPDs: by a linear kernel
on cumulated histograms, or by exp(-gamma x earth mover's distance)."""


@dataclass(frozen=True)
class SpdSettings:
    """Settings of the histograms and the SVM.

    Attributes:
        hog: Of the other descriptor, and of the transform that both share.
        quantile: The levels are below this quantile of the recording's magnitudes: a peak would be that of one click.
        range_db: Level below it at which the lowest bin ends.
        n_levels: Bins of a histogram, of equal width in dB. Weaker and stronger values fall into the outer ones.
        c: Values of the SVM's C to choose from.
        folds: Cross-validation folds of that choice, by training group.
    """

    hog: HogSettings = field(default_factory=HogSettings)
    quantile: float = 0.999
    range_db: float = 80.0
    n_levels: int = 64
    c: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    folds: int = 3


def system(
    recipe: Recipe, name: str, title: str, front_end: int = FRONT_END, options: Mapping[str, str] | None = None
) -> System:
    """Make HOG and SPD with an SVM a system for experiments.

    Args:
        recipe: Only `audio` and `calibration` are used, without `svm_c`.
        name: Name in files.
        title: Title in tables.
        front_end: Not used; it reads no noise-subtracted channel.
        options: See `OPTIONS`.
    """
    choices = SpdSettings()
    chosen = {"blocks": "both"} | dict(options or {})
    if chosen.get("kernel") == "linear":
        del chosen["kernel"]  # the files and plans of the default are those from before there were kernels
    with_kernel = {"landmarks": _LANDMARKS} if "kernel" in chosen else {}
    facts = {
        "version": _VERSION,
        "sample_rate": recipe.audio.sample_rate,
        "choices": {k: v for k, v in asdict(choices).items() if k not in ("c", "folds", "hog")},
        "hog": {k: v for k, v in asdict(choices.hog).items() if k not in ("c", "folds")},
        "librosa": version("librosa"),
        "scikit-image": version("scikit-image"),
    }
    representation = Representation("hog-spd", json.dumps(facts, sort_keys=True), partial(_extract, recipe, choices))
    stored = recipe.to_stored() | {"hog_spd": {**asdict(choices), **chosen, **with_kernel}}
    identity = Identity(name, title, recipe, chosen, front_end)
    restore = partial(restore_whole, partial(_restored, choices))
    return System(name, title, representation, stored, partial(_fit, identity, choices, chosen), restore)


def level_histograms(
    magnitude: Float[np.ndarray, "band frame"], n_frames: int, settings: SpdSettings
) -> Float64[np.ndarray, "band level"]:
    """Return how often each level occurs in each band.

    Args:
        magnitude: Of a whole recording.
        n_frames: Frames of it that are sound, and no padding behind it.
        settings: Of the histograms.

    Returns:
        Shares of the frames, one for each band in all, low levels first. All zero for digital silence.
    """
    heard = magnitude[:, :n_frames]
    top = np.quantile(heard, settings.quantile) or heard.max()
    if top == 0:
        return np.zeros((len(magnitude), settings.n_levels))
    level_db = 20 * np.log10(np.maximum(heard / top, 1e-12))
    width_db = settings.range_db / settings.n_levels
    number = np.clip(np.floor((level_db + settings.range_db) / width_db), 0, settings.n_levels - 1).astype(np.int64)
    flat = number + settings.n_levels * np.arange(len(heard))[:, None]
    counts = np.bincount(flat.ravel(), minlength=len(heard) * settings.n_levels)
    return counts.reshape(len(heard), settings.n_levels) / n_frames


def exceedance(histograms: Float[np.ndarray, "... level"]) -> Float[np.ndarray, "... bound"]:
    """Cumulate histograms from the highest level down: how often a level is reached or exceeded.

    The earth mover's distance of two histograms of one dimension is the L1 distance of their cumulated ones, so that a
    linear kernel on these knows which levels are near each other. The lowest bin, which collects all that is weaker than
    the range, is left out: it is always exceeded.

    Args:
        histograms: From `level_histograms`.
    """
    return np.cumsum(histograms[..., ::-1], axis=-1)[..., ::-1][..., 1:]


def _compute(
    rate: int, settings: SpdSettings, samples: Samples
) -> tuple[Float32[np.ndarray, "1 feature"], Float64[np.ndarray, "1"]]:
    of_hog = settings.hog
    transform = ConstantQ(of_hog.low_hz, of_hog.bands_per_octave, of_hog.hop_s)
    magnitude = magnitudes(samples, rate, transform)
    n_frames = min(magnitude.shape[1], 1 + len(samples) // hop_samples(rate, transform))
    spd = level_histograms(magnitude, n_frames, settings)
    hog = describe(constant_q_image(samples, rate, of_hog), of_hog)
    return np.concatenate([hog, spd.ravel()]).astype(np.float32)[None], np.zeros(1)


def _extract(recipe: Recipe, settings: SpdSettings, recording: Recording) -> Extract:
    return read_whole(recording, recipe.audio, partial(_compute, recipe.audio.sample_rate, settings))


@dataclass(frozen=True)
class JoinedBlocks:
    """Both descriptors of recordings, each weighed alike, in the coordinates of the training part.

    A linear SVM with more features than recordings has its weights in the span of the recordings. In an orthonormal basis
    of that span it is the same SVM with a tenth of the features.

    Attributes:
        n_hog: Values of HOG.
        n_levels: Levels of SPD.
        scale: [block], one over the mean norm of each in the training part; 0 for one that is left out.
        basis: [direction, value] of the span, orthonormal.
    """

    n_hog: int
    n_levels: int
    scale: Float64[np.ndarray, "2"]
    basis: Float64[np.ndarray, "direction value"]

    def __call__(self, corpus: Corpus) -> Float32[np.ndarray, "recording direction"]:
        """Return a vector for each recording with sound."""
        return (_joined(corpus, self.n_hog, self.n_levels, self.scale) @ self.basis.T).astype(np.float32)


def fit_blocks(corpus: Corpus, n_hog: int, n_levels: int, blocks: str) -> JoinedBlocks:
    """Find the scale of both descriptors and the span of the training part, without labels.

    Args:
        corpus: Training part.
        n_hog: Values of HOG.
        n_levels: Levels of SPD.
        blocks: See `OPTIONS`.
    """
    plain = _joined(corpus, n_hog, n_levels, np.ones(2))
    norms = [np.linalg.norm(part, axis=1).mean() if len(part) else 0.0 for part in (plain[:, :n_hog], plain[:, n_hog:])]
    taken = [blocks in ("both", "hog"), blocks in ("both", "spd")]
    scale = np.array([1 / norm if norm > 0 and wanted else 0.0 for norm, wanted in zip(norms, taken, strict=True)])
    rows = _joined(corpus, n_hog, n_levels, scale)
    _, size, axes = np.linalg.svd(rows, full_matrices=False)
    return JoinedBlocks(n_hog, n_levels, scale, axes[size > 1e-6 * size.max(initial=0.0)])


@dataclass(frozen=True)
class KernelBlocks:
    """Both descriptors of recordings as a kernel sees them, in coordinates whose inner products are that kernel.

        k(x, y) = s_hog^2 <hog x, hog y> + s_spd exp(-gamma d(x, y))      d is the earth mover's distance, mean over bands

    A linear SVM on these coordinates is the kernel's SVM where every training recording is a landmark, and Nystroem's
    approximation of it where there are more.

    Attributes:
        n_hog: Values of HOG.
        n_levels: Levels of SPD.
        scale: [block] s: one over the mean norm of HOG in the training part, and 1; 0 for one that is left out.
        gamma: One over the median distance of two recordings of the training part.
        landmarks: [landmark, value], HOG and cumulated SPD of recordings of the training part.
        root: [landmark, direction], inverse square root of the kernel matrix of the landmarks.
    """

    n_hog: int
    n_levels: int
    scale: Float64[np.ndarray, "2"]
    gamma: float
    landmarks: Float32[np.ndarray, "landmark value"]
    root: Float64[np.ndarray, "landmark direction"]

    def __call__(self, corpus: Corpus) -> Float32[np.ndarray, "recording direction"]:
        """Return a vector for each recording with sound."""
        rows = _joined(corpus, self.n_hog, self.n_levels, np.ones(2))
        return (self.kernel(rows) @ self.root).astype(np.float32)

    def kernel(self, rows: Float[np.ndarray, "recording value"]) -> Float64[np.ndarray, "recording landmark"]:
        """Return the kernel of recordings with the landmarks.

        Args:
            rows: HOG and cumulated SPD.
        """
        n_hog, marks = self.n_hog, self.landmarks.astype(np.float64)
        found = np.zeros((len(rows), len(marks)))
        if self.scale[0]:
            found += self.scale[0] ** 2 * (rows[:, :n_hog] @ marks[:, :n_hog].T)
        if self.scale[1]:
            found += self.scale[1] * np.exp(-self.gamma * mean_distance(rows[:, n_hog:], marks[:, n_hog:], self.n_levels))
        return found


def mean_distance(
    first: Float[np.ndarray, "one value"], second: Float[np.ndarray, "other value"], n_levels: int
) -> Float64[np.ndarray, "one other"]:
    """Return the earth mover's distance of two recordings in levels, mean over bands.

    Args:
        first: Exceedances of all bands.
        second: Of other recordings.
        n_levels: Levels of a histogram.
    """
    return cdist(first, second, "cityblock") * ((n_levels - 1) / first.shape[1])


def fit_kernel(corpus: Corpus, n_hog: int, n_levels: int, blocks: str, seed: int) -> KernelBlocks:
    """Find landmarks, scale, width and coordinates of the kernel in the training part, without labels.

    Args:
        corpus: Training part.
        n_hog: Values of HOG.
        n_levels: Levels of SPD.
        blocks: See `OPTIONS`.
        seed: Of the landmarks, where there are more recordings than are taken.
    """
    rows = _joined(corpus, n_hog, n_levels, np.ones(2)).astype(np.float32)
    if len(rows) > _LANDMARKS:
        groups = [group for group, votes in zip(corpus.groups(), corpus.voting, strict=True) if votes]
        rows = rows[sample_by_group(groups, _LANDMARKS, np.random.default_rng(seed))]
    norm = float(np.linalg.norm(rows[:, :n_hog].astype(np.float64), axis=1).mean()) if len(rows) else 0.0
    scale = np.array([1 / norm if norm > 0 and blocks != "spd" else 0.0, float(blocks != "hog")])
    distance = mean_distance(rows[:, n_hog:], rows[:, n_hog:], n_levels)
    of_pairs = distance[np.triu_indices(len(rows), 1)]
    typical = float(np.median(of_pairs)) if len(of_pairs) else 0.0
    unit = KernelBlocks(n_hog, n_levels, scale, 1 / typical if typical > 0 else 1.0, rows, np.eye(len(rows)))
    size, axes = np.linalg.eigh(unit.kernel(rows.astype(np.float64)))
    large = size > 1e-6 * size.max(initial=0.0)
    return replace(unit, root=axes[:, large] / np.sqrt(size[large]))


def _joined(
    corpus: Corpus, n_hog: int, n_levels: int, scale: Float64[np.ndarray, "2"]
) -> Float64[np.ndarray, "recording value"]:
    features = corpus.features[corpus.voting].astype(np.float64)
    n, n_bands = len(features), (features.shape[1] - n_hog) // n_levels  # n may be 0, which no -1 below can stand for
    spd = exceedance(features[:, n_hog:].reshape(n, n_bands, n_levels)).reshape(n, n_bands * (n_levels - 1))
    return np.concatenate([scale[0] * features[:, :n_hog], scale[1] * spd], axis=1)


def _fit(
    identity: Identity, settings: SpdSettings, chosen: Mapping[str, str], corpus: Corpus, context: FitContext
) -> Fitted:
    recipe = identity.recipe
    parts = divide(corpus, recipe, context)
    size = (_n_hog(settings), settings.n_levels, chosen["blocks"])
    if chosen.get("kernel") == "emd":
        vectors_of = fit_kernel(parts.kept, *size, context.seed)
        names = ("scale", "gamma", "landmarks", "root")
    else:
        vectors_of, names = fit_blocks(parts.kept, *size), ("scale", "basis")
    choice = (settings.c, settings.folds, context.seed)
    model, notes = fit_whole(parts, vectors_of(parts.kept), vectors_of, recipe, *choice, least_scale=np.inf)
    return fitted_whole(model, parts, notes, identity, {name: np.asarray(getattr(vectors_of, name)) for name in names})


def _restored(settings: SpdSettings, learnt: dict[str, np.ndarray]) -> Describe:
    size = (_n_hog(settings), settings.n_levels, learnt["scale"])
    if "root" in learnt:
        return KernelBlocks(*size, float(learnt["gamma"]), learnt["landmarks"], learnt["root"])
    return JoinedBlocks(*size, learnt["basis"])


def _n_hog(settings: SpdSettings) -> int:
    return 2 * (settings.hog.size // settings.hog.cell) * settings.hog.orientations
