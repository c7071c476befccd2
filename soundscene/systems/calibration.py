"""What the members of a model have in common: predictions of a corpus, and what held-out recordings tell of the fusion."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float32, Float64

from soundscene.data.corpus import Corpus
from soundscene.errors import BundleError, TrainingError
from soundscene.member import BackboneMember, NetworkMember, networks_of
from soundscene.model import Model
from soundscene.scoring.fusion import fit_temperature, product_by_recording, temper
from soundscene.scoring.unfamiliarity import CHOSEN, Familiarity, Kind, by_recording, fit_gaussians
from soundscene.systems.backbone import augmented, naming
from soundscene.systems.system import SystemPredictions
from soundscene.threads import one_blas_thread
from soundscene.training.augment import any_of, augmented_pieces
from soundscene.types import Head

HEADS: tuple[Head, ...] = ("softmax", "svm")


def predict(model: Model, corpus: Corpus, head: Head) -> SystemPredictions:
    """Predict all voting segments and all recordings of a corpus.

    Args:
        model: The model.
        corpus: Features of recordings, for each member.
        head: "softmax" or "svm".

    Raises:
        TrainingError: If a network gives NaN, because its training has diverged.
    """
    voting = corpus.voting
    recording_of = corpus.recording[voting]
    try:
        embeddings = naming(corpus, voting, lambda rows: model.embed(corpus.of_members(rows)))
        segment = model.classify(embeddings, head)
    except BundleError:  # the posterior is not finite
        networks = networks_of(model.members)
        if not networks:
            raise TrainingError(
                f"{model.members[0].name} gives embeddings so large that no posterior is finite: is it the encoder that was "
                "meant, and whole?"
            ) from None
        rate = max(m.recipe.training.learning_rate for m in networks)
        raise TrainingError(
            f"the network predicts NaN: the training has diverged; the learning rate {rate:g} may be too high, try a tenth "
            "of it (--set training.learning_rate=...)"
        ) from None
    recording = product_by_recording(segment, recording_of, len(corpus.recordings))
    return SystemPredictions(segment, recording_of, recording, temper(recording, model.temperature[head]))


def calibrate(model: Model, embeddings: Sequence[Float32[np.ndarray, "segment _"]], part: Corpus, held: Corpus) -> Model:
    """Fit what belongs to the fused model: a temperature for each head, and unknown detection.

    Args:
        model: Trained members; temperatures and familiarity do not count.
        embeddings: Of the voting segments of `part`, by each member.
        part: Corpus that trained the members.
        held: Recordings of known scenes that no member was trained on.
    """
    temperature = {head: _temperature(model, held, head) for head in HEADS}
    return replace(model, temperature=temperature, familiarity=learn_familiarity(model, embeddings, part, held))


def learn_familiarity(
    model: Model,
    embeddings: Sequence[Float32[np.ndarray, "segment _"]],
    part: Corpus,
    held: Corpus,
    kind: Kind = CHOSEN,
) -> Familiarity:
    """Fit what a model needs to detect unknown scenes.

    Args:
        model: The trained model.
        embeddings: Of the voting segments of `part`, by each member.
        part: Corpus that trained the members.
        held: Recordings of known scenes that no member was trained on. Those of digital silence do not count.
        kind: Which score.
    """
    gaussians = []
    if kind != "energy":
        labels = part.labels(model.scenes)[part.voting]
        for of_member in embeddings:
            with one_blas_thread():  # as in prediction, so that the result does not depend on the number of cores
                exact = fit_gaussians(of_member, labels, len(model.scenes), relative=kind == "relative-mahalanobis")
            gaussians.append(exact.rounded())
    unreferenced = Familiarity(kind, np.zeros(0), tuple(gaussians))  # can score, but has no scores of known scenes yet
    scores = unfamiliarity(replace(model, familiarity=unreferenced), held)
    return replace(unreferenced, calibration_scores=np.sort(scores[~np.isnan(scores)]))


def unfamiliarity(model: Model, corpus: Corpus) -> Float64[np.ndarray, " recording"]:
    """Compute the unfamiliarity of all recordings of a corpus, as in prediction.

    Args:
        model: A model with `familiarity`.
        corpus: Features of recordings, for each member.

    Returns:
        A score per recording, NaN where all is digital silence.
    """
    with one_blas_thread():
        segment = model.unfamiliarity(model.embed(corpus.of_members(corpus.voting)))
    return by_recording(segment, corpus.recording[corpus.voting], len(corpus.recordings))


def _temperature(model: Model, held: Corpus, head: Head) -> float:
    """Fit the temperature of a head to recordings that neither networks nor SVMs were trained on; 1 without any.

    An augmented copy of them counts as well, so that the probabilities hold for other devices too (docs/decisions/0102).
    """
    if not held.voting.any():
        return 1.0
    truth = np.array([model.scenes.index(r.scene) for r in held.recordings])
    copies = [held]
    if any(any_of(m.recipe.augmentation) for m in model.members if isinstance(m, NetworkMember | BackboneMember)):
        copies.append(_augmented(model, held))
    log_posterior = np.concatenate([predict(model, copy, head).recording for copy in copies])
    return fit_temperature(log_posterior, np.tile(truth, len(copies)))


def _augmented(model: Model, corpus: Corpus) -> Corpus:
    """Return a corpus with augmented images: the same draws for each network, where their images have one size.

    A backbone has draws of its own, and one that reads samples keeps them.
    """
    seeds = [m.recipe.training.seed for m in model.members if isinstance(m, NetworkMember | BackboneMember)]
    features = []
    for member, images in zip(model.members, (corpus.features, *corpus.further), strict=True):
        if isinstance(member, NetworkMember):
            recipe = member.recipe
            images = np.concatenate([*augmented_pieces(images, recipe.augmentation, recipe.features.floor, seeds[0])])
        elif isinstance(member, BackboneMember):
            changed = augmented(member, images, seeds[0])
            images = images if changed is None else changed
        features.append(images)
    return replace(corpus, features=features[0], further=tuple(features[1:]))
