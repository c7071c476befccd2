"""FisherHOG+ProbSVM [37]: patches of gradients of a constant-Q image, coded as one Fisher vector a recording, linear SVM.

Source: Ye, Kobayashi, Murakawa and Higuchi 2015, "Acoustic scene classification based on sound textures and events": title
and the row's name only, so every number is ours. Known and chosen: docs/decisions/0112-fisher-hog.md.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version

import numpy as np
from jaxtyping import Float, Float32, Float64
from skimage.feature import hog

from soundscene.data.corpus import Corpus
from soundscene.data.store import Extract, Representation
from soundscene.recipe import FRONT_END, Recipe
from soundscene.systems.constant_q import FINE, ConstantQ, hop_samples, levels, magnitudes
from soundscene.systems.saved import Identity
from soundscene.systems.system import FitContext, Fitted, System
from soundscene.systems.whole import divide, fit_whole, fitted_whole, read_whole, restore_whole, voting_recordings
from soundscene.training.factors import sample_by_group
from soundscene.training.fisher import Mixture, fit_mixture
from soundscene.types import Recording, Samples

_VERSION = 1  # of the code that makes patches; another one is another store

OPTIONS: Mapping[str, tuple[str, ...]] = {"height": ("off", "on")}
"""Whether a patch knows its place along frequency, by two values beside its principal components."""


@dataclass(frozen=True)
class FisherSettings:
    """Settings of patches, mixture and SVM.

    Attributes:
        transform: Of the constant-Q image.
        range_db: Level below the recording's peak at which weaker values are clipped.
        frames: Of a piece of the image.
        orientations: Bins of a histogram.
        cell: Width of a cell in bands and in frames.
        block: Width of a patch in cells.
        n_components: Principal components of patches.
        n_gaussians: Of the mixture.
        patches: That PCA and mixture learn from, at most, as many of each recording.
        c: Values of the SVM's C to choose from.
        folds: Cross-validation folds of that choice, by training group.
    """

    transform: ConstantQ = FINE
    range_db: float = 80.0
    frames: int = 86
    orientations: int = 9
    cell: int = 8
    block: int = 2
    n_components: int = 24
    n_gaussians: int = 64
    patches: int = 50_000
    c: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2)
    folds: int = 3


def system(
    recipe: Recipe, name: str, title: str, front_end: int = FRONT_END, options: Mapping[str, str] | None = None
) -> System:
    """Make Fisher vectors of gradients with a linear SVM a system for experiments.

    Args:
        recipe: Only `audio` and `calibration` are used, without `svm_c`.
        name: Name in files.
        title: Title in tables.
        front_end: Not used; it reads no noise-subtracted channel.
        options: See `OPTIONS`.
    """
    choices = FisherSettings()
    chosen = {key: value for key, value in (options or {}).items() if value != OPTIONS[key][0]}
    learner = ("n_components", "n_gaussians", "patches", "c", "folds")
    facts = {
        "version": _VERSION,
        "sample_rate": recipe.audio.sample_rate,
        "last_piece": recipe.audio.last_piece,
        "choices": {k: v for k, v in asdict(choices).items() if k not in learner},
        "librosa": version("librosa"),
        "scikit-image": version("scikit-image"),
    }
    representation = Representation("patches", json.dumps(facts, sort_keys=True), partial(_extract, recipe, choices))
    stored = recipe.to_stored() | {"fisher_hog": {**asdict(choices), **chosen}}
    identity = Identity(name, title, recipe, chosen, front_end)
    n_columns = _n_columns(choices) if chosen else None
    restore = partial(restore_whole, lambda learnt: partial(_vectors, Mixture(**learnt), n_columns))
    return System(name, title, representation, stored, partial(_fit, identity, choices, n_columns), restore)


def patches_of(
    samples: Samples, rate: int, settings: FisherSettings, last_piece: float
) -> tuple[Float32[np.ndarray, "piece patch value"], Float64[np.ndarray, " piece"]]:
    """Return the histograms of gradients of all patches of each piece of a recording, and where pieces begin in seconds.

    Args:
        samples: Mono samples.
        rate: Sample rate in Hz.
        settings: Of the patches.
        last_piece: Share of a piece that the rest must have to be one, shifted back to end with the recording.

    Returns:
        Low patches first. A patch without any gradient, of silence or below the range, is zero.
    """
    image = levels(magnitudes(samples, rate, settings.transform), settings.range_db)
    hop = hop_samples(rate, settings.transform)
    n_frames = min(image.shape[1], max(settings.frames, 1 + len(samples) // hop))
    starts = list(range(0, n_frames - settings.frames + 1, settings.frames))
    rest = n_frames - (starts[-1] + settings.frames)
    if rest >= last_piece * settings.frames:
        starts.append(n_frames - settings.frames)
    pieces = [_gradients(image[:, start : start + settings.frames], settings) for start in starts]
    return np.stack(pieces), np.array(starts) * hop / rate


def _gradients(piece: Float[np.ndarray, "band frame"], settings: FisherSettings) -> Float32[np.ndarray, "patch value"]:
    cells = hog(
        piece,
        orientations=settings.orientations,
        pixels_per_cell=(settings.cell, settings.cell),
        cells_per_block=(settings.block, settings.block),
        block_norm="L2-Hys",
        feature_vector=False,
    )
    return cells.reshape(cells.shape[0] * cells.shape[1], -1).astype(np.float32)


def _extract(recipe: Recipe, settings: FisherSettings, recording: Recording) -> Extract:
    audio = recipe.audio
    compute = partial(patches_of, rate=audio.sample_rate, settings=settings, last_piece=audio.last_piece)
    return read_whole(recording, audio, compute)


def _n_columns(settings: FisherSettings) -> int:
    return settings.frames // settings.cell - settings.block + 1


def with_height(
    patches: Float32[np.ndarray, "piece patch value"], n_columns: int | None
) -> Float32[np.ndarray, "piece patch more"]:
    """Append two values that say where along frequency a patch is: cos(pi h) and cos(2 pi h), h from 0 below to 1 above.

    Their mean over all heights is 0, their deviation 1 and their correlation 0, as of principal components that are
    whitened.

    Args:
        patches: Of pieces, low ones first.
        n_columns: Patches beside each other in a piece; None appends nothing.
    """
    if n_columns is None:
        return patches
    number = np.arange(patches.shape[1]) // n_columns
    height = (number + 0.5) / math.ceil(patches.shape[1] / n_columns)
    place = math.sqrt(2) * np.cos(np.pi * np.outer(height, [1, 2])).astype(np.float32)
    return np.concatenate([patches, np.broadcast_to(place, (len(patches), *place.shape))], axis=2)


def _fit(identity: Identity, settings: FisherSettings, n_columns: int | None, corpus: Corpus, context: FitContext) -> Fitted:
    recipe = identity.recipe
    parts = divide(corpus, recipe, context)
    voting = np.flatnonzero(parts.kept.voting)
    patches = parts.kept.features[voting]
    flat = ~patches.any(axis=2)
    owner = np.repeat(parts.kept.recording[voting], patches.shape[1])[~flat.ravel()]
    drawn = sample_by_group([str(i) for i in owner], settings.patches, np.random.default_rng(context.seed))
    placed = with_height(patches, n_columns)
    sample = placed.reshape(-1, placed.shape[2])[np.flatnonzero(~flat.ravel())[drawn]]
    n_beside = placed.shape[2] - patches.shape[2]
    mixture, notes = fit_mixture(sample, settings.n_components, settings.n_gaussians, context.seed, n_beside)
    describe = partial(_vectors, mixture, n_columns)
    vectors = describe(parts.kept)
    # How many patches are how high is alike in all recordings: a value that does not vary but by rounding is not blown up.
    least = 0.0 if n_columns is None else 1e-3
    model, more = fit_whole(parts, vectors, describe, recipe, settings.c, settings.folds, context.seed, least)
    return fitted_whole(model, parts, (*notes, *more), identity, vars(mixture))


def _vectors(mixture: Mixture, n_columns: int | None, corpus: Corpus) -> Float32[np.ndarray, "recording value"]:
    """Return the Fisher vector of all patches of each recording that has sound."""
    voting = corpus.voting
    rows = [np.zeros((0, mixture.size), np.float32)]
    for number in voting_recordings(corpus):
        patches = corpus.features[voting & (corpus.recording == number)]
        placed = with_height(patches, n_columns)
        rows.append(mixture.vector(placed[patches.any(axis=2)])[None])
    return np.concatenate(rows)
