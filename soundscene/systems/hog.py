"""HOG [19]: histograms of gradients of a recording's constant-Q image, pooled over time and over frequency, linear SVM.

It reads a recording as a whole. Source: Rakotomamonjy and Gasso 2015, arXiv 1508.04909. Only the beginning of that paper
was available. Which values of `HogSettings` are the paper's, recalled or ours: docs/decisions/0054-hog-and-mfcc-dnn.md.
"""

import json
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version

import numpy as np
from jaxtyping import Float, Float32
from scipy.ndimage import uniform_filter
from skimage.feature import hog
from skimage.transform import resize

from soundscene.data.corpus import Corpus
from soundscene.data.store import Extract, Representation
from soundscene.recipe import FRONT_END, Recipe
from soundscene.systems.constant_q import ConstantQ, levels, magnitudes
from soundscene.systems.saved import Identity
from soundscene.systems.system import FitContext, Fitted, System
from soundscene.systems.whole import as_stored, divide, fit_whole, fitted_whole, read_whole, restore_whole, stored_vectors
from soundscene.types import Recording, Samples

_VERSION = 1  # of the code below; another one is another store


@dataclass(frozen=True)
class HogSettings:
    """Settings of the descriptor and the SVM.

    Attributes:
        low_hz: Lowest frequency of the constant-Q transform, which goes up to half the sample rate.
        bands_per_octave: Bands per octave of the transform.
        hop_s: Seconds from one frame of the transform to the next.
        range_db: Level below the recording's peak at which weaker values are clipped.
        size: Bands and frames of the image after bicubic resizing.
        smoothing: Width of the mean filter in pixels, 0 for none.
        orientations: Bins of a histogram.
        cell: Width of a cell in pixels.
        block: Width of a block in cells.
        c: Values of the SVM's C to choose from.
        folds: Cross-validation folds of that choice, by training group.
    """

    low_hz: float = 20.0
    bands_per_octave: int = 8
    hop_s: float = 0.023
    range_db: float = 80.0
    size: int = 512
    smoothing: int = 15
    orientations: int = 8
    cell: int = 8
    block: int = 1
    c: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
    folds: int = 3


def system(recipe: Recipe, name: str, title: str, front_end: int = FRONT_END) -> System:
    """Make HOG and linear SVM a system for experiments.

    Args:
        recipe: Only `audio` and `calibration` are used, without `svm_c`.
        name: Name in files.
        title: Title in tables.
        front_end: Not used; it reads no noise-subtracted channel.
    """
    choices = HogSettings()
    facts = {
        "version": _VERSION,
        "sample_rate": recipe.audio.sample_rate,
        "choices": {k: v for k, v in asdict(choices).items() if k not in ("c", "folds")},
        "librosa": version("librosa"),
        "scikit-image": version("scikit-image"),
    }
    representation = Representation("hog", json.dumps(facts, sort_keys=True), partial(_extract, recipe, choices))
    identity = Identity(name, title, recipe, front_end=front_end)
    stored = recipe.to_stored() | {"hog": asdict(choices)}
    restore = partial(restore_whole, as_stored)
    return System(name, title, representation, stored, partial(_fit, identity, choices), restore)


def constant_q_image(samples: Samples, sample_rate: int, choices: HogSettings) -> Float[np.ndarray, "band frame"]:
    """Compute the constant-Q magnitudes of a recording as a smoothed image.

    Args:
        samples: Mono samples.
        sample_rate: Sample rate in Hz.
        choices: Settings of the transform and the image.

    Returns:
        Image [size, size], low bands first. Values are levels from `range_db` below the recording's peak (0) to the peak
        (1). Digital silence is 0 throughout.
    """
    settings = ConstantQ(choices.low_hz, choices.bands_per_octave, choices.hop_s)
    magnitude = magnitudes(samples, sample_rate, settings)
    if not magnitude.any():
        return np.zeros((choices.size, choices.size))
    image = np.asarray(resize(levels(magnitude, choices.range_db), (choices.size, choices.size), order=3))
    return np.asarray(uniform_filter(image, choices.smoothing)) if choices.smoothing else image


def describe(image: Float[np.ndarray, "band frame"], choices: HogSettings) -> Float32[np.ndarray, " feature"]:
    """Average the histograms of unsigned gradients of all cells over time (for each row) and over frequency.

    Args:
        image: Constant-Q image.
        choices: Settings of the histograms.

    Returns:
        Both averages one after the other, values 0 to 1. Orientation 0 is a level that changes along time, the middle one a
        level that changes along frequency.
    """
    cells = hog(
        image,
        orientations=choices.orientations,
        pixels_per_cell=(choices.cell, choices.cell),
        cells_per_block=(choices.block, choices.block),
        block_norm="L2-Hys",
        feature_vector=False,
    )
    return np.concatenate([cells.mean(axis=1).ravel(), cells.mean(axis=0).ravel()]).astype(np.float32)


def _extract(recipe: Recipe, choices: HogSettings, recording: Recording) -> Extract:
    rate = recipe.audio.sample_rate
    return read_whole(
        recording,
        recipe.audio,
        lambda samples: (describe(constant_q_image(samples, rate, choices), choices)[None], np.zeros(1)),
    )


def _fit(identity: Identity, choices: HogSettings, corpus: Corpus, context: FitContext) -> Fitted:
    """Fit the SVM to groups that are not held out, with C chosen among them, and the temperature to those that are."""
    recipe = identity.recipe
    parts = divide(corpus, recipe, context)
    model, notes = fit_whole(
        parts, stored_vectors(parts.kept), stored_vectors, recipe, choices.c, choices.folds, context.seed
    )
    return fitted_whole(model, parts, notes, identity)
