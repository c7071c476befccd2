"""What systems share that classify a recording as a whole: one vector a recording, a linear SVM with Platt's sigmoids.

The groups that are held out are those of every other system for the same seed. C is chosen and everything else is fitted
on the groups that are kept; only the temperature is fitted on the held ones.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64

from soundscene.audio.files import AudioFile
from soundscene.data.corpus import Corpus
from soundscene.data.licences import licence_facts
from soundscene.data.splits import hold_out
from soundscene.data.store import Extract
from soundscene.network.svm import CalibratedSVM
from soundscene.recipe import AudioRecipe, Recipe
from soundscene.scoring.fusion import fit_temperature, product_by_recording, temper
from soundscene.systems.saved import HASH_DIGITS, Identity, save_system
from soundscene.systems.system import FitContext, Fitted, PredictFunction, SavedState, SystemPredictions
from soundscene.training.calibrate import choose_c, fit_svm
from soundscene.types import Recording, Samples

Describe = Callable[[Corpus], Float32[np.ndarray, "recording feature"]]
"""One vector for each recording of a corpus that has a voting segment, in the order of `voting_recordings`."""


@dataclass(frozen=True)
class Parts:
    """The training part of a split, divided by group.

    Attributes:
        scenes: All scenes, sorted.
        kept: What everything is fitted on, but the temperature.
        held: What the temperature is fitted on.
        notes: Scenes of which none could be held.
    """

    scenes: tuple[str, ...]
    kept: Corpus
    held: Corpus
    notes: tuple[str, ...]

    @property
    def held_truth(self) -> Int64[np.ndarray, " recording"]:
        """Scene numbers of the held recordings."""
        return np.array([self.scenes.index(r.scene) for r in self.held.recordings], np.int64)


@dataclass(frozen=True)
class WholeModel:
    """A classifier of whole recordings.

    Attributes:
        describe: Makes one vector of each recording.
        svm: Classifies it.
        scenes: In the order of the SVM.
        temperature: Of the SVM's posterior.
    """

    describe: Describe
    svm: CalibratedSVM
    scenes: tuple[str, ...]
    temperature: float = 1.0


def divide(corpus: Corpus, recipe: Recipe, context: FitContext) -> Parts:
    """Hold groups out as every other system does for the same seed.

    Args:
        corpus: Training part of a split.
        recipe: Gives the share, `calibration.held_out`.
        context: Gives the seed.
    """
    scenes = tuple(sorted({r.scene for r in corpus.recordings}))
    kept, held, notes = hold_out(corpus.recordings, recipe.calibration.held_out, np.random.default_rng(context.seed))
    return Parts(scenes, corpus.take(kept), corpus.take(held), notes)


def voting_recordings(corpus: Corpus) -> Int64[np.ndarray, " recording"]:
    """Return the indices of the recordings that have a voting segment; the others are digital silence throughout."""
    return np.unique(corpus.recording[corpus.voting])


def read_whole(
    recording: Recording,
    audio: AudioRecipe,
    compute: Callable[[Samples], tuple[Float32[np.ndarray, "segment ..."], Float64[np.ndarray, " segment"]]],
) -> Extract:
    """Compute the features of a recording from all its samples at once. If it is digital silence, all segments are.

    Args:
        recording: Row of a manifest.
        audio: Gives the sample rate.
        compute: Makes features of samples, and the start of each segment in seconds.

    Raises:
        AudioError: The recording cannot be used.
    """
    file = AudioFile(recording.path, audio)
    samples = np.concatenate(list(file.blocks()))
    features, start_s = compute(samples)
    return Extract(
        features=features,
        start_s=start_s,
        silent=np.full(len(features), not samples.any()),
        regular=np.ones(len(features), np.bool_),
        content_hash=file.content_hash,
        duration_s=float(file.duration_s),
        notes=tuple(file.notes),
    )


def fit_whole(
    parts: Parts,
    vectors: Float32[np.ndarray, "recording feature"],
    describe: Describe,
    recipe: Recipe,
    candidates: Sequence[float],
    folds: int,
    seed: int,
    least_scale: float = 0.0,
) -> tuple[WholeModel, tuple[str, ...]]:
    """Choose C and fit the SVM on kept groups, and the temperature on those that are held.

    Args:
        parts: From `divide`.
        vectors: Of the kept recordings that vote. They are not `describe(parts.kept)` where a recording's own vector must
            come from a model that was not fitted on it.
        describe: Makes vectors of new recordings.
        recipe: Gives `calibration.platt_folds`.
        candidates: Values of C to choose from.
        folds: Cross-validation folds of that choice, by group.
        seed: Seed of the order in which groups are dealt to folds.
        least_scale: As in `fit_svm`; infinity keeps the proportions of the features.

    Returns:
        The model and its notes.

    Raises:
        TrainingError: Fewer than two scenes have sound, or the vectors are not finite.
    """
    of = voting_recordings(parts.kept)
    labels = np.array([parts.scenes.index(r.scene) for r in parts.kept.recordings], np.int64)[of]
    groups = [parts.kept.recordings[i].group for i in of]
    c = choose_c(vectors, labels, groups, candidates, folds, seed, least_scale)
    n = len(parts.scenes)
    platt = (c, recipe.calibration.platt_folds, seed, least_scale)
    svm, svm_notes = fit_svm(vectors, labels, groups, n, *platt, names=parts.scenes)
    model = WholeModel(describe, svm, parts.scenes)
    if parts.held.voting.any():
        temperature = fit_temperature(predict_whole(model, parts.held)["svm"].recording, parts.held_truth)
        model = WholeModel(describe, svm, parts.scenes, temperature)
    return model, (*parts.notes, *svm_notes, f"C = {c:g} was chosen")


def predict_whole(model: WholeModel, corpus: Corpus) -> Mapping[str, SystemPredictions]:
    """Predict recordings as a whole, so that there are no predictions of segments.

    Digital silence does not vote, so that all scenes are equally probable.

    Args:
        model: From `fit_whole`.
        corpus: Features of its representation.
    """
    of = voting_recordings(corpus)
    with torch.no_grad():
        log_posterior = model.svm(torch.from_numpy(model.describe(corpus))).numpy()
    recording = product_by_recording(log_posterior, of, len(corpus.recordings))
    no_segments, no_recordings = np.zeros((0, len(model.scenes))), np.zeros(0, np.int64)
    return {"svm": SystemPredictions(no_segments, no_recordings, recording, temper(recording, model.temperature))}


def fitted_whole(
    model: WholeModel,
    parts: Parts,
    notes: tuple[str, ...],
    identity: Identity,
    learnt: Mapping[str, np.ndarray] | None = None,
) -> Fitted:
    """Return what an experiment needs of a fitted model.

    Args:
        model: From `fit_whole`.
        parts: From `divide`.
        notes: Of the fit.
        identity: Of the system, for its file.
        learnt: Arrays that `model.describe` was made of.
    """
    tensors = {f"svm/{name}": tensor for name, tensor in model.svm.state_dict().items()}
    tensors |= {f"describe/{name}": torch.from_numpy(np.array(array)) for name, array in (learnt or {}).items()}
    state = SavedState(model.scenes, {"svm": model.temperature}, tensors, training_facts(parts, notes))
    return Fitted(
        partial(predict_whole, model),
        held=parts.held.recordings,
        notes=notes,
        save=partial(save_system, identity, state),
    )


def restore_whole(make: Callable[[dict[str, np.ndarray]], Describe], state: SavedState) -> PredictFunction:
    """Return the predictions of a model from a file.

    Args:
        make: Makes `WholeModel.describe` of its arrays.
        state: From the file.

    Raises:
        ValueError: Shapes differ from those of an SVM.
    """
    weight = state.tensors["svm/weight"]
    if weight.ndim != 2 or len(weight) != len(state.scenes):
        raise ValueError(f"svm/weight is {tuple(weight.shape)} for {len(state.scenes)} scenes")
    svm = CalibratedSVM(weight.shape[1], len(weight))
    svm.load_state_dict({name.removeprefix("svm/"): t for name, t in state.tensors.items() if name.startswith("svm/")})
    model = WholeModel(make(arrays_of(state)), svm.eval(), state.scenes, state.temperature["svm"])
    return partial(predict_whole, model)


def stored_vectors(corpus: Corpus) -> Float32[np.ndarray, "recording feature"]:
    """Return the features of recordings with sound, where a recording is one segment."""
    return corpus.features[corpus.voting]


def as_stored(learnt: dict[str, np.ndarray]) -> Describe:
    """Return `stored_vectors`, for systems that learn nothing but the SVM."""
    return stored_vectors


def arrays_of(state: SavedState) -> dict[str, np.ndarray]:
    """Return what a description was made of, by name."""
    prefix = "describe/"
    return {name.removeprefix(prefix): t.numpy() for name, t in state.tensors.items() if name.startswith(prefix)}


def training_facts(parts: Parts, notes: tuple[str, ...]) -> dict[str, Any]:
    """Return what a file says of its training: hashes and licences of the recordings, how many were held out, notes.

    Args:
        parts: From `divide`.
        notes: Of the fit.
    """
    heard = (*parts.kept.content_hash, *parts.held.content_hash)
    return {
        "trained_on": sorted(found[:HASH_DIGITS] for found in heard),
        "recordings": len(heard),
        "held_out_recordings": len(parts.held.recordings),
        **licence_facts((*parts.kept.recordings, *parts.held.recordings)),
        "notes": list(notes),
    }
