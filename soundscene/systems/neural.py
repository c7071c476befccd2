"""The neural systems: train Att-CRNN or the CNN baseline to a bundle, and let a bundle answer for a corpus."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from lightning_fabric import Fabric

from soundscene.bundle import Head, ModelBundle
from soundscene.data.corpus import CorpusImages
from soundscene.data.splits import hold_out
from soundscene.errors import RecipeError, TrainingError
from soundscene.network.models import Network
from soundscene.network.svm import CalibratedSVM
from soundscene.recipe import Recipe
from soundscene.scoring.fusion import fit_temperature, product_by_recording, temper
from soundscene.training.calibrate import fit_svm
from soundscene.training.fit import LabelledImages, Observer, fit

HEADS: tuple[Head, ...] = ("softmax", "svm")


@dataclass(frozen=True)
class Answers:
    """What a bundle says of a corpus, by one head.

    segment [segment, scene] and recording_of [segment], of voting segments only; recording [recording, scene], the
    product rule over them; calibrated [recording, scene], the same tempered. All natural logs.
    """

    segment: Float64[np.ndarray, "segment scene"]
    recording_of: Int64[np.ndarray, " segment"]
    recording: Float64[np.ndarray, "recording scene"]
    calibrated: Float64[np.ndarray, "recording scene"]


@dataclass(frozen=True)
class Trained:
    """The bundle and one row of the history per epoch."""

    bundle: ModelBundle
    history: list[dict[str, float]]


def train(
    recipe: Recipe,
    corpus: CorpusImages,
    *,
    fabric: Fabric | None = None,
    checkpoint: Path | None = None,
    observer: Observer | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Trained:
    """Train network, SVM and temperatures on the training part of a corpus.

    Groups are held out first (`calibration.held_out` of each scene's): the network and the SVM never see them. They
    choose the epoch, if the recipe asks for the best one, and fit one temperature for each head.

    Raises: `TrainingError` for a corpus of one scene or a scene that is digital silence throughout; `RecipeError` for
    `training.keep = "best"` without a held-out part.
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
    fitted = fit(
        recipe,
        _labelled(part, ~part.silent, scenes),
        len(scenes),
        fabric=fabric,
        validation=_labelled(held_part, held_part.voting, scenes) if held_part.voting.any() else None,
        epoch_size=int(part.voting.sum()),
        checkpoint=checkpoint,
        observer=observer,
    )
    svm, svm_notes = _fit_head(recipe, fitted.network, part, scenes)
    bundle = ModelBundle(recipe, scenes, fitted.network, svm, dict.fromkeys(HEADS, 1.0))
    temperature = {head: _temperature(bundle, held_part, head) for head in HEADS}
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
    return Trained(
        ModelBundle(recipe, scenes, fitted.network, svm, temperature, {**(provenance or {}), **facts}), fitted.history
    )


def answer(bundle: ModelBundle, corpus: CorpusImages, head: Head) -> Answers:
    """Posteriors of all voting segments and of all recordings of a corpus."""
    voting = corpus.voting
    recording_of = corpus.recording[voting]
    segment = bundle.classify(bundle.embed(corpus.images[voting]), head)
    recording = product_by_recording(segment, recording_of, len(corpus.recordings))
    return Answers(segment, recording_of, recording, temper(recording, bundle.temperature[head]))


def _check(recipe: Recipe, scenes: Sequence[str]) -> None:
    if len(scenes) < 2:
        raise TrainingError(
            f"the training part holds {len(scenes)} scene(s) ({', '.join(scenes) or 'none'}); at least two are needed to "
            "tell apart: add recordings of another scene, or choose another --test part"
        )
    if recipe.training.keep == "best" and not recipe.calibration.held_out:
        raise RecipeError(
            'training.keep = "best" needs calibration.held_out > 0: the epoch is chosen on training groups that the '
            "network does not see, never on test recordings"
        )


def _labelled(corpus: CorpusImages, chosen: Bool[np.ndarray, " segment"], scenes: Sequence[str]) -> LabelledImages:
    return LabelledImages(torch.from_numpy(corpus.images[chosen]), torch.from_numpy(corpus.labels(scenes)[chosen]))


def _check_audible(corpus: CorpusImages, scenes: Sequence[str]) -> None:
    heard = {scenes[i] for i in corpus.labels(scenes)[corpus.voting]}
    if silent := sorted(set(scenes) - heard):
        raise TrainingError(
            f"scene(s) {', '.join(silent)}: every segment of the training part is digital silence, from which nothing can "
            "be learnt; take the scene out or repair its files"
        )


def _fit_head(
    bundle_recipe: Recipe, network: Network, part: CorpusImages, scenes: Sequence[str]
) -> tuple[CalibratedSVM, tuple[str, ...]]:
    """SVM and Platt on the embeddings of the regular, unmixed segments of the training part (section 2.4)."""
    choices = bundle_recipe.calibration
    blank = CalibratedSVM(network.softmax.in_features, len(scenes))
    embeddings = ModelBundle(bundle_recipe, tuple(scenes), network, blank, {}).embed(part.images[part.voting])
    groups = [part.recordings[i].group for i in part.recording[part.voting]]
    return fit_svm(
        embeddings,
        part.labels(scenes)[part.voting],
        groups,
        len(scenes),
        choices.svm_c,
        choices.platt_folds,
        bundle_recipe.training.seed,
    )


def _temperature(bundle: ModelBundle, held: CorpusImages, head: Head) -> float:
    """Temperature of a head on recordings that neither network nor SVM has seen; 1 without any."""
    if not held.voting.any():
        return 1.0
    truth = np.array([bundle.scenes.index(r.scene) for r in held.recordings])
    return fit_temperature(answer(bundle, held, head).recording, truth)
