"""Fit the member of a frozen backbone: nothing is trained but the softmax layer and the SVM on its embeddings."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool, Float32

from soundscene.backbone.build import build
from soundscene.backbone.encoder import Backbone, Pooling, VaryingBackbone
from soundscene.backbone.stored import StoredBackbone
from soundscene.backbone.yamnet import without_classes
from soundscene.data.corpus import Corpus
from soundscene.errors import BackboneError
from soundscene.member import BackboneMember
from soundscene.network.svm import CalibratedSVM
from soundscene.recipe import Recipe
from soundscene.training.augment import any_of, augmented_pieces
from soundscene.training.calibrate import LEAST_SCALE, fit_softmax, fit_svm

SOFTMAX_C = 0.01  # chosen on ESC-10 (docs/decisions/0105)
FLOOR = 1e-12  # power below which augmentation cuts the logarithm
T = TypeVar("T")


def untrained_member(
    name: str, recipe: Recipe, stored: StoredBackbone, pooling: Pooling = "mean", backbone: Backbone | None = None
) -> BackboneMember:
    """Return a member whose SVM is still to be fitted.

    Args:
        name: Different for each member of a model.
        recipe: Settings of audio, training and calibration.
        stored: Weights of the backbone.
        pooling: How a segment's embedding is made of those of its patches.
        backbone: What computes embeddings, by default what is built of the weights.

    Raises:
        BackboneError: The weights fit no network.
    """
    stored = without_classes(stored)
    backbone = backbone or build(stored, pooling, probe=True)
    return BackboneMember(name, recipe, stored, backbone, CalibratedSVM(backbone.n_features, 2), pooling)


def fit_member(
    member: BackboneMember, part: Corpus, scenes: Sequence[str], held: Corpus | None = None
) -> tuple[BackboneMember, Float32[np.ndarray, "segment embedding"], dict[str, Any]]:
    """Fit softmax layer, SVM and Platt's sigmoids to the embeddings of the training part and of an augmented copy.

    A copy of a segment stays in the group of its recording, so that no fold has one of the two on each side.

    Args:
        member: From `untrained_member`.
        part: Training part, with what the member's source has prepared.
        scenes: Names in the order of posteriors.
        held: Recordings that will be embedded later: an encoder of anybody's is tried on them before other members are
            trained for hours.

    Returns:
        The member, the embeddings of the voting segments of `part`, and facts: seconds and notes.

    Raises:
        BackboneError: An encoder cannot embed a recording, which the message names.
    """
    started = time.perf_counter()
    prepared = part.features[part.voting]
    embeddings = naming(part, part.voting, lambda rows: member.embed(part.features[rows]))
    if held is not None and member.stored.kind == "onnx":
        naming(held, held.voting, lambda rows: member.embed(held.features[rows]))
    changed = augmented(member, prepared, member.recipe.training.seed)
    copies = [embeddings] if changed is None else [embeddings, member.embed(changed)]
    fitted, labels = np.concatenate(copies), np.tile(part.labels(scenes)[part.voting], len(copies))
    groups = [part.recordings[i].group for i in part.recording[part.voting]] * len(copies)
    choices, seed = member.recipe.calibration, member.recipe.training.seed
    c, folds = choices.svm_c, choices.platt_folds
    svm, notes = fit_svm(fitted, labels, groups, len(scenes), c, folds, seed, LEAST_SCALE, names=scenes)
    softmax, more = fit_softmax(fitted, labels, len(scenes), SOFTMAX_C, LEAST_SCALE)
    notes = (*padding_notes(member), *notes, *more)
    facts = {"epoch": 0, "seconds": round(time.perf_counter() - started, 1), "notes": [*notes]}
    return replace(member, svm=svm, softmax=softmax), embeddings, {**facts, "backbone": member.facts}


def naming(corpus: Corpus, rows: Bool[np.ndarray, " segment"], embed: Callable[[Bool[np.ndarray, " segment"]], T]) -> T:
    """Embed segments, and name the first recording of which a backbone cannot embed them.

    Args:
        corpus: Whose segments they are.
        rows: Which of them.
        embed: Embeds the segments that it is given.

    Returns:
        What `embed` returns for `rows`.

    Raises:
        BackboneError: With the recording's path.
    """
    try:
        return embed(rows)
    except BackboneError:
        for number in np.unique(corpus.recording[rows]):
            try:
                embed(rows & (corpus.recording == number))
            except BackboneError as error:
                raise BackboneError(
                    f"{corpus.recordings[number].path}: {error}; leave the recording out, or repair the encoder"
                ) from None
        raise


def augmented(
    member: BackboneMember, prepared: Float32[np.ndarray, "segment ..."], seed: int
) -> Float32[np.ndarray, "segment ..."] | None:
    """Return what would be prepared of segments that are varied as the recipe says, as of another device.

    Args:
        member: Its recipe says what to vary.
        prepared: From the member's source.
        seed: Seed of all draws.

    Returns:
        The copy. None where the recipe varies nothing, or the backbone reads samples.
    """
    choices, backbone = member.recipe.augmentation, member.backbone
    if not any_of(choices) or not isinstance(backbone, VaryingBackbone):
        return None
    return backbone.vary(prepared, lambda power: np.concatenate([*augmented_pieces(power, choices, FLOOR, seed)]))


def padding_notes(member: BackboneMember) -> tuple[str, ...]:
    """Return the note on a backbone whose patches are longer than the segments, which are extended by zeros.

    Args:
        member: Its audio has the segments' length.
    """
    patch_s, segment_s = getattr(member.backbone, "patch_s", 0.0), member.audio.segment_s
    if patch_s <= segment_s:
        return ()
    return (
        f"{member.name} reads {patch_s:g} s, and segments have {segment_s:g} s: {1 - segment_s / patch_s:.0%} of what it "
        f"hears is silence; set audio.segment_s={patch_s:g}",
    )
