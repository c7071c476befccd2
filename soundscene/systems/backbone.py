"""Fit the member of a frozen backbone: nothing is trained but the SVM on its embeddings and Platt's sigmoids."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float32

from soundscene.backbone.build import build
from soundscene.backbone.encoder import Backbone, Pooling
from soundscene.backbone.stored import StoredBackbone
from soundscene.backbone.yamnet import without_classes
from soundscene.data.corpus import Corpus
from soundscene.member import BackboneMember
from soundscene.network.svm import CalibratedSVM
from soundscene.recipe import Recipe
from soundscene.training.calibrate import fit_svm

LEAST_SCALE = 0.3  # of a feature, in median ones: many of YAMNet's are zero in most recordings (docs/decisions/0099)


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
    backbone = backbone or build(stored, pooling)
    return BackboneMember(name, recipe, stored, backbone, CalibratedSVM(backbone.n_features, 2), pooling)


def fit_member(
    member: BackboneMember, part: Corpus, scenes: Sequence[str]
) -> tuple[BackboneMember, Float32[np.ndarray, "segment embedding"], dict[str, Any]]:
    """Fit SVM and Platt's sigmoids to the embeddings of the training part.

    Args:
        member: From `untrained_member`.
        part: Training part, with what the member's source has prepared.
        scenes: Names in the order of posteriors.

    Returns:
        The member, the embeddings of the voting segments of `part`, and facts: seconds and notes.
    """
    started = time.perf_counter()
    embeddings = member.embed(part.features[part.voting])
    choices = member.recipe.calibration
    svm, notes = fit_svm(
        embeddings,
        part.labels(scenes)[part.voting],
        [part.recordings[i].group for i in part.recording[part.voting]],
        len(scenes),
        choices.svm_c,
        choices.platt_folds,
        member.recipe.training.seed,
        LEAST_SCALE,
    )
    facts = {"epoch": 0, "seconds": round(time.perf_counter() - started, 1), "notes": [*notes], "backbone": member.facts}
    return replace(member, svm=svm), embeddings, facts
