"""The neural systems: train Att-CRNN or the CNN baseline to a bundle, and predict a corpus with a bundle."""

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64
from lightning_fabric import Fabric

from soundscene.bundle import Head, ModelBundle
from soundscene.data.corpus import Corpus, front_end_of, read_segments, regular_segments
from soundscene.data.splits import hold_out
from soundscene.data.store import Extract, Representation
from soundscene.errors import BundleError, RecipeError, TrainingError
from soundscene.network.models import Network, check_bands
from soundscene.network.svm import CalibratedSVM
from soundscene.recipe import FRONT_END, Recipe
from soundscene.scoring.fusion import fit_temperature, product_by_recording, temper
from soundscene.scoring.unfamiliarity import CHOSEN, Familiarity, Kind, SceneGaussians, by_recording, fit_gaussians
from soundscene.systems.system import FitContext, Fitted, PredictFunction, System, SystemPredictions
from soundscene.threads import one_blas_thread
from soundscene.training.calibrate import fit_svm
from soundscene.training.fit import EpochCallback, LabelledImages, fit
from soundscene.types import Recording

HEADS: tuple[Head, ...] = ("softmax", "svm")


@dataclass(frozen=True)
class TrainedModel:
    """Result of a training.

    Attributes:
        bundle: The trained model.
        history: One row per epoch.
        held: Recordings held out from the training of network and SVM.
    """

    bundle: ModelBundle
    history: list[dict[str, float]]
    held: tuple[Recording, ...] = ()


def train(
    recipe: Recipe,
    corpus: Corpus,
    *,
    fabric: Fabric | None = None,
    checkpoint: Path | None = None,
    on_epoch: EpochCallback | None = None,
    provenance: Mapping[str, Any] | None = None,
    front_end: int = FRONT_END,
) -> TrainedModel:
    """Train network, SVM, temperatures and unknown detection on the training part of a corpus.

    Groups are held out first (`calibration.held_out` of each scene's groups). The network and the SVM never see them. They
    choose the epoch, if the recipe asks for the best one, and fit one temperature for each head. Their scores of
    unfamiliarity are the reference for known scenes.

    Args:
        recipe: Network, training and calibration settings.
        corpus: Training part, read with `training.segment_hop_s`.
        fabric: Device, precision and processes.
        checkpoint: File that is written after every epoch, and resumed from if it exists.
        on_epoch: Called after each epoch.
        provenance: Facts to store in the bundle beside those of the training.
        front_end: Version of the front-end that made the images of the corpus.

    Raises:
        TrainingError: If the corpus has one scene, a scene is digital silence throughout, or no group can be held out to
            choose the epoch by.
        RecipeError: If `training.keep` is "best" without a held-out part.
    """
    started = time.perf_counter()
    scenes = tuple(sorted({r.scene for r in corpus.recordings}))
    _check(recipe, scenes)
    draws = np.random.default_rng(recipe.training.seed)
    kept, held, notes = hold_out(corpus.recordings, recipe.calibration.held_out, draws)
    part, held_part = corpus.take(kept), corpus.take(held)
    if recipe.training.keep == "best" and not held_part.voting.any():
        raise TrainingError('training.keep = "best": no group can be held out to choose the epoch by; keep the last epoch')
    _check_audible(part, scenes)

    # Network (section 3). Without a held-out part it keeps the last epoch.
    fitted = fit(
        recipe,
        _labelled(part, ~part.silent, scenes),
        len(scenes),
        fabric=fabric,
        validation=_labelled(held_part, held_part.voting, scenes) if held_part.voting.any() else None,
        epoch_size=int(part.voting.sum()),
        checkpoint=checkpoint,
        on_epoch=on_epoch,
    )

    # SVM on the embeddings of unmixed segments (section 2.4), then what only held-out recordings can tell.
    untrained_svm = CalibratedSVM(fitted.network.softmax.in_features, len(scenes))
    bundle = ModelBundle(recipe, scenes, fitted.network, untrained_svm, dict.fromkeys(HEADS, 1.0), front_end=front_end)
    embeddings = bundle.embed(part.features[part.voting])
    svm, svm_notes = _fit_head(recipe, embeddings, part, scenes)
    bundle = replace(bundle, svm=svm)
    temperature = {head: _temperature(bundle, held_part, head) for head in HEADS}
    familiarity = learn_familiarity(bundle, embeddings, part, held_part)
    facts = {
        "epoch": fitted.epoch,
        "seconds": round(time.perf_counter() - started, 1),
        "recordings": dict(Counter(r.scene for r in part.recordings)),
        "segments": int(part.voting.sum()),
        "silent_segments_left_out": int((part.regular & part.silent).sum()),
        "held_out_recordings": len(held),
        "notes": [*notes, *svm_notes],
        "device": str(fitted.network.softmax.weight.device),
        "versions": {name: version(name) for name in ("soundscene", "torch", "numpy", "scikit-learn")},
    }
    fitted.network.to("cpu")
    facts = {**(provenance or {}), **facts}
    return TrainedModel(
        replace(bundle, temperature=temperature, provenance=facts, familiarity=familiarity), fitted.history, held
    )


def predict(bundle: ModelBundle, corpus: Corpus, head: Head) -> SystemPredictions:
    """Predict all voting segments and all recordings of a corpus.

    Args:
        bundle: The model.
        corpus: Images of recordings.
        head: "softmax" or "svm".

    Raises:
        TrainingError: If the network gives NaN, because its training has diverged.
    """
    voting = corpus.voting
    recording_of = corpus.recording[voting]
    try:
        segment = bundle.classify(bundle.embed(corpus.features[voting]), head)
    except BundleError:  # the posterior is not finite
        raise TrainingError(
            f"the network predicts NaN: the training has diverged; the learning rate "
            f"{bundle.recipe.training.learning_rate:g} may be too high, try a tenth of it (--set training.learning_rate=...)"
        ) from None
    recording = product_by_recording(segment, recording_of, len(corpus.recordings))
    return SystemPredictions(segment, recording_of, recording, temper(recording, bundle.temperature[head]))


def learn_familiarity(
    bundle: ModelBundle,
    embeddings: Float32[np.ndarray, "segment embedding"],
    part: Corpus,
    held: Corpus,
    kind: Kind = CHOSEN,
) -> Familiarity:
    """Fit what a model needs to detect unknown scenes.

    Args:
        bundle: The trained model.
        embeddings: Embeddings of the voting segments of `part`.
        part: Corpus that trained the network.
        held: Recordings of known scenes that it was not trained on. Those of digital silence do not count.
        kind: Which score.
    """
    gaussians = None
    if kind == "mahalanobis":
        with one_blas_thread():  # as in prediction, so that the result does not depend on the number of cores
            exact = fit_gaussians(embeddings, part.labels(bundle.scenes)[part.voting], len(bundle.scenes))
        # Rounded to the float32 that a bundle stores, so that a saved and loaded model gives the same scores to the bit.
        gaussians = SceneGaussians(*(x.astype(np.float32).astype(np.float64) for x in (exact.mean, exact.precision)))
    unreferenced = Familiarity(kind, np.zeros(0), gaussians)  # can score, but has no scores of known scenes yet
    scores = unfamiliarity(replace(bundle, familiarity=unreferenced), held)
    return replace(unreferenced, calibration_scores=np.sort(scores[~np.isnan(scores)]))


def unfamiliarity(bundle: ModelBundle, corpus: Corpus) -> Float64[np.ndarray, " recording"]:
    """Compute the unfamiliarity of all recordings of a corpus, as in prediction.

    Args:
        bundle: A model with `familiarity`.
        corpus: Images of recordings.

    Returns:
        A score per recording, NaN where all is digital silence.
    """
    with one_blas_thread():
        segment = bundle.unfamiliarity(bundle.embed(corpus.features[corpus.voting]))
    return by_recording(segment, corpus.recording[corpus.voting], len(corpus.recordings))


def _check(recipe: Recipe, scenes: Sequence[str]) -> None:
    if len(scenes) < 2:
        raise TrainingError(
            f"the training part holds {len(scenes)} scene(s) ({', '.join(scenes) or 'none'}); at least two are needed: "
            "add recordings of another scene, or choose another --test part"
        )
    if recipe.training.keep == "best" and not recipe.calibration.held_out:
        raise RecipeError(
            'training.keep = "best" needs calibration.held_out > 0: the epoch is chosen on training groups that the '
            "network is not trained on, never on test recordings"
        )


def _labelled(corpus: Corpus, chosen: Bool[np.ndarray, " segment"], scenes: Sequence[str]) -> LabelledImages:
    return LabelledImages(torch.from_numpy(corpus.features[chosen]), torch.from_numpy(corpus.labels(scenes)[chosen]))


def _check_audible(corpus: Corpus, scenes: Sequence[str]) -> None:
    audible = {scenes[i] for i in corpus.labels(scenes)[corpus.voting]}
    if silent := sorted(set(scenes) - audible):
        raise TrainingError(
            f"scene(s) {', '.join(silent)}: every segment of the training part is digital silence, from which nothing can "
            "be learnt; take the scene out or repair its files"
        )


def _fit_head(
    recipe: Recipe, embeddings: Float32[np.ndarray, "segment embedding"], part: Corpus, scenes: Sequence[str]
) -> tuple[CalibratedSVM, tuple[str, ...]]:
    """Fit SVM and Platt's sigmoids to the embeddings of the regular, unmixed segments of the training part (section 2.4)."""
    choices = recipe.calibration
    groups = [part.recordings[i].group for i in part.recording[part.voting]]
    return fit_svm(
        embeddings,
        part.labels(scenes)[part.voting],
        groups,
        len(scenes),
        choices.svm_c,
        choices.platt_folds,
        recipe.training.seed,
    )


def _temperature(bundle: ModelBundle, held: Corpus, head: Head) -> float:
    """Fit the temperature of a head to recordings that neither network nor SVM was trained on; 1 without any."""
    if not held.voting.any():
        return 1.0
    truth = np.array([bundle.scenes.index(r.scene) for r in held.recordings])
    return fit_temperature(predict(bundle, held, head).recording, truth)


def system(recipe: Recipe, name: str, title: str, front_end: int = FRONT_END) -> System:
    """Make the network of a recipe a system for experiments, with the softmax layer and the SVM as its two heads.

    Args:
        recipe: Network, training and calibration settings.
        name: Name in files.
        title: Title in tables.
        front_end: Version of the front-end.

    Raises:
        RecipeError: If no network can be built for the recipe's images.
    """
    check_bands(recipe)
    return System(name, title, images(recipe, front_end), recipe.to_dict(), partial(_fit_system, recipe, front_end))


def images(recipe: Recipe, front_end: int = FRONT_END) -> Representation:
    """Describe the two-channel images of segments that `read_corpus` makes.

    Args:
        recipe: Audio, features and the distance of segments.
        front_end: Version of the front-end.
    """
    audio, features, hop_s = (
        msgspec.to_builtins(recipe.audio),
        msgspec.to_builtins(recipe.features),
        recipe.training.segment_hop_s,
    )
    del features["clamp"]  # a setting of the network, not of the images
    facts: dict[str, Any] = {"audio": audio, "features": features, "segment_hop_s": hop_s}
    if front_end > 1:  # the key of version 1 is that of soundscene 0.1, which named none
        facts["front_end"] = front_end
    key = json.dumps(facts, sort_keys=True)
    return Representation(f"images-{recipe.features.kind}", key, partial(_extract, recipe, front_end))


def _extract(recipe: Recipe, version: int, recording: Recording) -> Extract:
    front_end = front_end_of(recipe, recipe.training.segment_hop_s, version)
    segments, file, notes = read_segments(recording, recipe, front_end)
    regular = regular_segments(segments.start_s, recipe.audio.segment_s, recipe.audio.last_piece)
    return Extract(
        segments.images,
        segments.start_s,
        segments.silent,
        regular,
        file.content_hash,
        float(file.duration_s),
        notes,
    )


def _fit_system(recipe: Recipe, front_end: int, corpus: Corpus, context: FitContext) -> Fitted:
    recipe = recipe.with_settings([f"training.seed={context.seed}"])
    scenes = tuple(sorted({r.scene for r in corpus.recordings}))

    def observe(row: dict[str, float], network: Network) -> None:
        if context.observer:
            untrained_svm = CalibratedSVM(network.softmax.in_features, len(scenes))
            so_far = ModelBundle(recipe, scenes, network, untrained_svm, {"softmax": 1.0})
            context.observer(row, lambda test: {"softmax": predict(so_far, test, "softmax")})

    trained = train(
        recipe,
        corpus,
        fabric=context.fabric,
        checkpoint=context.checkpoint,
        on_epoch=observe,
        front_end=front_end,
    )
    bundle = trained.bundle
    predict_heads: PredictFunction = lambda test: {head: predict(bundle, test, head) for head in HEADS}  # noqa: E731
    return Fitted(
        predict_heads,
        bundle.provenance["epoch"],
        trained.history,
        lambda test: bundle.embed(test.features[test.voting]),
        trained.held,
        tuple(bundle.provenance["notes"]),
        bundle.save,
    )
