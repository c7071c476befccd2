"""CQT+HOG [35]: gradients of a constant-Q image, averaged over time with weights that trust the steady texture.

Hearing sums a texture up as averages over time. What belongs to the scene lies in a subspace of the recording's own columns.
What departs from it, an event, weighs little. Digital silence and padding are no part of it. Source: abstract, contributions
and headings of Ye, Kobayashi, Toyama, Tsuda and Murakawa 2018. Known and chosen:
docs/decisions/0110-images-of-a-recording.md.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64
from skimage.feature import hog

from soundscene.data.corpus import Corpus
from soundscene.data.store import Extract, Representation
from soundscene.recipe import FRONT_END, Recipe
from soundscene.systems.constant_q import FINE, ConstantQ, hop_samples, levels, magnitudes
from soundscene.systems.saved import Identity
from soundscene.systems.system import FitContext, Fitted, System
from soundscene.systems.whole import as_stored, divide, fit_whole, fitted_whole, read_whole, restore_whole, stored_vectors
from soundscene.types import Recording, Samples

_VERSION = 2  # of the code below; another one is another store

OPTIONS: Mapping[str, tuple[str, ...]] = {"weights": ("texture", "equal")}
"""Settings that make a variant: equal weights are the plain mean over time."""


@dataclass(frozen=True)
class CqtHogSettings:
    """Settings of the descriptor and the SVM.

    Attributes:
        transform: Of the constant-Q image.
        range_db: Level below the recording's peak at which weaker values are clipped.
        orientations: Bins of a histogram.
        cell: Width of a cell in bands and in frames.
        block: Width of a block in cells.
        apart: Columns nearer than this take no part in the subspace that a column is compared with.
        variance: Share of the columns' variance that the subspace holds.
        fewest: With fewer columns all weights are equal.
        c: Values of the SVM's C to choose from.
        folds: Cross-validation folds of that choice, by training group.
    """

    transform: ConstantQ = FINE
    range_db: float = 80.0
    orientations: int = 8
    cell: int = 8
    block: int = 2
    apart: int = 3
    variance: float = 0.8
    fewest: int = 10
    c: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
    folds: int = 3


def system(
    recipe: Recipe, name: str, title: str, front_end: int = FRONT_END, options: Mapping[str, str] | None = None
) -> System:
    """Make weighted averages of gradients and a linear SVM a system for experiments.

    Args:
        recipe: Only `audio` and `calibration` are used, without `svm_c`.
        name: Name in files.
        title: Title in tables.
        front_end: Not used; it reads no noise-subtracted channel.
        options: See `OPTIONS`.
    """
    choices = CqtHogSettings()
    weights = (options or {}).get("weights", "texture")
    facts = {
        "version": _VERSION,
        "sample_rate": recipe.audio.sample_rate,
        "choices": {k: v for k, v in asdict(choices).items() if k not in ("c", "folds")},
        "weights": weights,
        "librosa": version("librosa"),
        "scikit-image": version("scikit-image"),
    }
    work = partial(_extract, recipe, choices, weights == "equal")
    representation = Representation("cqt-hog", json.dumps(facts, sort_keys=True), work)
    stored = recipe.to_stored() | {"cqt_hog": {**asdict(choices), "weights": weights}}
    identity = Identity(name, title, recipe, {"weights": weights}, front_end)
    restore = partial(restore_whole, as_stored)
    return System(name, title, representation, stored, partial(_fit, identity, choices), restore)


def columns(
    image: Float[np.ndarray, "band frame"], settings: CqtHogSettings
) -> tuple[Float64[np.ndarray, "column feature"], Float64[np.ndarray, "column row"]]:
    """Divide an image into columns of blocks of cells.

    Args:
        image: Levels from 0 to 1.
        settings: Of cells and blocks.

    Returns:
        Histograms of unsigned gradients of all blocks of a column, each block normalised (L2-Hys); and mean levels of its
        rows of cells. Columns are a cell apart and a block wide.
    """
    cells = hog(
        image,
        orientations=settings.orientations,
        pixels_per_cell=(settings.cell, settings.cell),
        cells_per_block=(settings.block, settings.block),
        block_norm="L2-Hys",
        feature_vector=False,
    )
    gradients = cells.swapaxes(0, 1).reshape(cells.shape[1], -1)
    n_rows, n_columns = (n // settings.cell for n in image.shape)
    whole = image[: n_rows * settings.cell, : n_columns * settings.cell]
    of_cells = whole.reshape(n_rows, settings.cell, n_columns, settings.cell).mean(axis=(1, 3))
    level = np.lib.stride_tricks.sliding_window_view(of_cells, settings.block, axis=1).mean(axis=2).T
    return gradients, level


def texture_weights(level: Float[np.ndarray, "column row"], settings: CqtHogSettings) -> Float64[np.ndarray, " column"]:
    """Weigh columns by how well the subspace of the other columns of the same recording explains them.

    A column's neighbours are left out with it: an event that lasts longer than a column would explain itself. A column
    without any level, which is digital silence or padding, weighs nothing and explains nothing.

    Args:
        level: From `columns`.
        settings: Of the subspace.

    Returns:
        Weights that add up to one; all zero where no column has a level.
    """
    sounds = np.asarray(level.any(axis=1))
    equal = _alike(sounds)
    if np.count_nonzero(sounds) < settings.fewest:
        return equal
    place = np.arange(len(level))
    distance = np.full(len(level), np.inf)
    for t in place[sounds]:
        others = level[sounds & (np.abs(place - t) > settings.apart)]
        mean = others.mean(axis=0)
        _, deviation, axes = np.linalg.svd(others - mean, full_matrices=False)
        share = np.cumsum(deviation**2)
        size = int(np.searchsorted(share, settings.variance * share[-1])) + 1 if share[-1] > 0 else 0
        rest = level[t] - mean
        rest = rest - axes[:size].T @ (axes[:size] @ rest)
        distance[t] = rest @ rest
    typical = np.median(distance[sounds])
    if typical <= 1e-20:  # every column is like the others, to rounding
        return equal
    weights = np.exp(-distance / typical)
    return weights / weights.sum()


def _alike(taken: Bool[np.ndarray, " column"]) -> Float64[np.ndarray, " column"]:
    return taken.astype(np.float64) / max(1, np.count_nonzero(taken))


def describe(
    image: Float[np.ndarray, "band frame"], settings: CqtHogSettings, equal: bool = False
) -> Float32[np.ndarray, " feature"]:
    """Return weighted mean and weighted deviation over the columns of an image that have a level; zeros without any.

    Args:
        image: Levels from 0 to 1.
        settings: Of the descriptor.
        equal: Weigh these columns alike.
    """
    gradients, level = columns(image, settings)
    weights = _alike(np.asarray(level.any(axis=1))) if equal else texture_weights(level, settings)
    mean = weights @ gradients
    deviation = np.sqrt(weights @ (gradients - mean) ** 2)
    return np.concatenate([mean, deviation]).astype(np.float32)


def _compute(
    rate: int, settings: CqtHogSettings, equal: bool, samples: Samples
) -> tuple[Float32[np.ndarray, "1 feature"], Float64[np.ndarray, "1"]]:
    magnitude = magnitudes(samples, rate, settings.transform)
    n_frames = 1 + len(samples) // hop_samples(rate, settings.transform)  # what follows was padded
    n_frames = max(n_frames, settings.block * settings.cell)  # a column, however short the recording
    image = levels(magnitude[:, :n_frames], settings.range_db)
    return describe(image, settings, equal)[None], np.zeros(1)


def _extract(recipe: Recipe, settings: CqtHogSettings, equal: bool, recording: Recording) -> Extract:
    return read_whole(recording, recipe.audio, partial(_compute, recipe.audio.sample_rate, settings, equal))


def _fit(identity: Identity, settings: CqtHogSettings, corpus: Corpus, context: FitContext) -> Fitted:
    recipe = identity.recipe
    parts = divide(corpus, recipe, context)
    model, notes = fit_whole(
        parts, stored_vectors(parts.kept), stored_vectors, recipe, settings.c, settings.folds, context.seed
    )
    return fitted_whole(model, parts, notes, identity)
