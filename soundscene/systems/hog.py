"""HOG [19]: histograms of gradients of a recording's constant-Q image, pooled over time and over frequency, linear SVM.

It reads a recording as a whole. Source: Rakotomamonjy and Gasso 2015, arXiv 1508.04909. Only the beginning of that paper
was available. Which values of `HogSettings` are the paper's, recalled or ours: docs/decisions/0054-hog-and-mfcc-dnn.md.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import librosa
import numpy as np
import torch
from jaxtyping import Float, Float32
from safetensors.torch import save
from scipy.ndimage import uniform_filter
from skimage.feature import hog
from skimage.transform import resize

from soundscene.audio.files import AudioFile
from soundscene.data.corpus import Corpus
from soundscene.data.splits import hold_out
from soundscene.data.store import Extract, Representation
from soundscene.errors import TrainingError
from soundscene.files import write_atomic
from soundscene.network.svm import CalibratedSVM
from soundscene.recipe import FRONT_END, Recipe
from soundscene.scoring.fusion import fit_temperature, product_by_recording, temper
from soundscene.systems.system import FitContext, Fitted, System, SystemPredictions
from soundscene.training.calibrate import choose_c, fit_svm
from soundscene.types import Recording, Samples

_VERSION = 1  # of the code below; another one is another store
_SHORTEST_S = 1.5  # the lowest octave's filters do not fit into less
_EDGE = 1.1  # upper edge of the top band over its centre


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


@dataclass(frozen=True)
class _HogModel:
    """The SVM, the scenes in its order, and its temperature."""

    svm: CalibratedSVM
    scenes: tuple[str, ...]
    temperature: float


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
    return System(name, title, representation, recipe.to_stored() | {"hog": asdict(choices)}, partial(_fit, recipe, choices))


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
    shortest = math.ceil(_SHORTEST_S * sample_rate)
    if len(samples) < shortest:
        samples = np.pad(samples, (0, shortest - len(samples)))
    octaves = math.log2(sample_rate / 2 / _EDGE / choices.low_hz)
    magnitude = np.abs(
        librosa.cqt(
            samples,
            sr=sample_rate,
            hop_length=2 ** round(math.log2(choices.hop_s * sample_rate)),  # librosa halves it from octave to octave
            fmin=choices.low_hz,
            n_bins=math.floor(octaves * choices.bands_per_octave) + 1,
            bins_per_octave=choices.bands_per_octave,
        )
    ).astype(np.float64)
    peak = magnitude.max()
    if peak == 0:
        return np.zeros((choices.size, choices.size))
    level_db = 20 * np.log10(np.maximum(magnitude / peak, 10 ** (-choices.range_db / 20)))
    image = np.asarray(resize(1 + level_db / choices.range_db, (choices.size, choices.size), order=3))
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
    file = AudioFile(recording.path, recipe.audio)
    samples = np.concatenate(list(file.blocks()))
    return Extract(
        features=describe(constant_q_image(samples, recipe.audio.sample_rate, choices), choices)[None],
        start_s=np.zeros(1),
        silent=np.array([not samples.any()]),
        regular=np.ones(1, np.bool_),
        content_hash=file.content_hash,
        duration_s=float(file.duration_s),
        notes=tuple(file.notes),
    )


def _fit(recipe: Recipe, choices: HogSettings, corpus: Corpus, context: FitContext) -> Fitted:
    """Fit the SVM to groups that are not held out, with C chosen among them, and the temperature to those that are."""
    scenes = tuple(sorted({r.scene for r in corpus.recordings}))
    kept, held, notes = hold_out(corpus.recordings, recipe.calibration.held_out, np.random.default_rng(context.seed))
    part = corpus.take(kept)
    features, labels = part.features[part.voting], part.labels(scenes)[part.voting]
    groups = [part.recordings[i].group for i in part.recording[part.voting]]
    c = choose_c(features, labels, groups, choices.c, choices.folds, context.seed)
    svm, svm_notes = fit_svm(features, labels, groups, len(scenes), c, recipe.calibration.platt_folds, context.seed)
    temperature = 1.0
    held_part = corpus.take(held)
    if held_part.voting.any():
        truth = np.array([scenes.index(r.scene) for r in held])
        temperature = fit_temperature(_predict(_HogModel(svm, scenes, 1.0), held_part)["svm"].recording, truth)
    model = _HogModel(svm, scenes, temperature)
    return Fitted(
        partial(_predict, model), held=held, notes=(*notes, *svm_notes, f"C = {c:g} was chosen"), save=partial(_save, model)
    )


def _predict(model: _HogModel, corpus: Corpus) -> Mapping[str, SystemPredictions]:
    """Predict recordings as a whole. Digital silence does not vote, so that all scenes are equally probable."""
    voting = corpus.voting
    with torch.no_grad():
        log_posterior = model.svm(torch.from_numpy(corpus.features[voting])).numpy()
    recording = product_by_recording(log_posterior, corpus.recording[voting], len(corpus.recordings))
    no_segments, no_recordings = np.zeros((0, len(model.scenes))), np.zeros(0, np.int64)
    return {"svm": SystemPredictions(no_segments, no_recordings, recording, temper(recording, model.temperature))}


def _save(model: _HogModel, path: Path) -> None:
    """Write the SVM with its scenes and temperature."""
    facts = json.dumps({"scenes": model.scenes, "temperature": model.temperature})
    write_atomic(path, save(model.svm.state_dict(), {"hog": facts}), TrainingError)
