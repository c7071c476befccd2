"""HOG [19]: histograms of gradients of a recording's constant-Q image, pooled over time and over frequency, linear SVM.

Source: Rakotomamonjy and Gasso 2015, arXiv 1508.04909. Of that paper only the beginning could be read; what of `Choices` is
its own, what is recalled and what is ours: docs/decisions/0054-hog-and-mfcc-dnn.md. It hears a recording as a whole.
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
from soundscene.recipe import Recipe
from soundscene.scoring.fusion import fit_temperature, product_by_recording, temper
from soundscene.systems.system import FitContext, Fitted, System, SystemPredictions
from soundscene.training.calibrate import choose_c, fit_svm
from soundscene.types import Recording, Samples

_VERSION = 1  # of the code below; another one is another store
_SHORTEST_S = 1.5  # the lowest octave's filters do not fit into less
_EDGE = 1.1  # the top band reaches so far above its centre


@dataclass(frozen=True)
class Choices:
    """Everything that decides the descriptor and the SVM.

    low_hz, bands_per_octave, hop_s: of the constant-Q transform, which goes up to half the sample rate; range_db: below the
    peak, what is weaker is cut; size: bands and frames of the image after bicubic resizing; smoothing: width of the mean
    filter in pixels (0: none); orientations, cell, block: of the histograms, a cell in pixels, a block in cells;
    c: trade-offs of the SVM to choose from by cross-validation in `folds` parts of the training groups.
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
class _Model:
    """The SVM, the scenes in its order, and the temperature of its answers."""

    svm: CalibratedSVM
    scenes: tuple[str, ...]
    temperature: float


def system(recipe: Recipe, name: str, title: str) -> System:
    """HOG and linear SVM as a system for experiments; of the recipe it uses `audio` and `calibration`, but `svm_c`."""
    choices = Choices()
    facts = {
        "version": _VERSION,
        "sample_rate": recipe.audio.sample_rate,
        "choices": {k: v for k, v in asdict(choices).items() if k not in ("c", "folds")},
        "librosa": version("librosa"),
        "scikit-image": version("scikit-image"),
    }
    representation = Representation("hog", json.dumps(facts, sort_keys=True), partial(_extract, recipe, choices))
    return System(name, title, representation, recipe.to_dict() | {"hog": asdict(choices)}, partial(_fit, recipe, choices))


def constant_q_image(samples: Samples, sample_rate: int, choices: Choices) -> Float[np.ndarray, "band frame"]:
    """Constant-Q magnitudes of a recording as an image [size, size], low bands first, smoothed.

    samples [sample], mono at sample_rate (Hz). Values are levels from `range_db` below the recording's peak (0) to the peak
    (1); digital silence is 0 throughout.
    """
    shortest = math.ceil(_SHORTEST_S * sample_rate)
    if len(samples) < shortest:
        samples = np.pad(samples, (0, shortest - len(samples)))
    octaves = math.log2(sample_rate / 2 / _EDGE / choices.low_hz)
    magnitude = np.abs(
        librosa.cqt(
            samples,
            sr=sample_rate,
            hop_length=2 ** round(math.log2(choices.hop_s * sample_rate)),  # halved from octave to octave
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


def describe(image: Float[np.ndarray, "band frame"], choices: Choices) -> Float32[np.ndarray, " feature"]:
    """Histograms of unsigned gradients of all cells, averaged over time (a part for each row) and over frequency.

    Returns both averages one after the other, values 0 to 1. Orientation 0 is a level that changes along time, the middle
    one a level that changes along frequency.
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


def _extract(recipe: Recipe, choices: Choices, recording: Recording) -> Extract:
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


def _fit(recipe: Recipe, choices: Choices, corpus: Corpus, loan: FitContext) -> Fitted:
    """SVM on the groups that are not held out, with C chosen among them; temperature by those that are."""
    scenes = tuple(sorted({r.scene for r in corpus.recordings}))
    kept, held, notes = hold_out(corpus.recordings, recipe.calibration.held_out, np.random.default_rng(loan.seed))
    part = corpus.take(kept)
    features, labels = part.features[part.voting], part.labels(scenes)[part.voting]
    groups = [part.recordings[i].group for i in part.recording[part.voting]]
    c = choose_c(features, labels, groups, choices.c, choices.folds, loan.seed)
    svm, svm_notes = fit_svm(features, labels, groups, len(scenes), c, recipe.calibration.platt_folds, loan.seed)
    temperature = 1.0
    held_part = corpus.take(held)
    if held_part.voting.any():
        truth = np.array([scenes.index(r.scene) for r in held])
        temperature = fit_temperature(_answer(_Model(svm, scenes, 1.0), held_part)["svm"].recording, truth)
    model = _Model(svm, scenes, temperature)
    return Fitted(
        partial(_answer, model), held=held, notes=(*notes, *svm_notes, f"C = {c:g} was chosen"), save=partial(_save, model)
    )


def _answer(model: _Model, corpus: Corpus) -> Mapping[str, SystemPredictions]:
    """Answers for recordings as a whole; digital silence says nothing, so all scenes are equally probable."""
    voting = corpus.voting
    with torch.no_grad():
        log_posterior = model.svm(torch.from_numpy(corpus.features[voting])).numpy()
    recording = product_by_recording(log_posterior, corpus.recording[voting], len(corpus.recordings))
    nothing, nobody = np.zeros((0, len(model.scenes))), np.zeros(0, np.int64)
    return {"svm": SystemPredictions(nothing, nobody, recording, temper(recording, model.temperature))}


def _save(model: _Model, path: Path) -> None:
    """Write the SVM with its scenes and temperature."""
    facts = json.dumps({"scenes": model.scenes, "temperature": model.temperature})
    write_atomic(path, save(model.svm.state_dict(), {"hog": facts}), TrainingError)
