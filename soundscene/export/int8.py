"""What weights in 8 bits cost on recordings: the model and its rounded copy on the same images, paired."""

import copy
from dataclasses import dataclass, replace

import numpy as np
import torch

from soundscene.data.corpus import Corpus
from soundscene.export.graph import quantise
from soundscene.export.model_graph import members_of
from soundscene.member import NetworkMember
from soundscene.model import Model
from soundscene.pipeline import evaluate_on_images
from soundscene.scoring.intervals import Interval, paired_difference
from soundscene.types import Head

_SEED = 0


@dataclass(frozen=True)
class Int8Cost:
    """What a head loses by weights in 8 bits.

    Attributes:
        head: Classifier.
        n: Recordings.
        n_groups: Their groups.
        n_trained_on: Recordings of them that the model was trained on.
        before: Accuracy with the weights as they are.
        after: With weights in 8 bits.
        difference: `after` minus `before`, with its 95 % interval, groups resampled.
        changed: Recordings whose scene is another one.
        largest: Largest difference of a recording's tempered posterior.
        notes: What may make the accuracies optimistic or worse.
    """

    head: Head
    n: int
    n_groups: int
    n_trained_on: int
    before: float
    after: float
    difference: Interval
    changed: int
    largest: float
    notes: tuple[str, ...] = ()


def rounded(model: Model) -> Model:
    """Return a copy of a model whose networks have the weights that `export --int8` keeps.

    A backbone is as it is stored, in 8 bits where that loses nothing, so it stays the same.

    Args:
        model: The model.

    Raises:
        SceneError: A member cannot be exported.
    """
    members = []
    for member in members_of(model):
        if isinstance(member, NetworkMember):
            network = copy.deepcopy(member.network)
            with torch.no_grad():
                for parameter in network.parameters():
                    if parameter.ndim > 1:
                        levels, scale = quantise(parameter.numpy(), 0)
                        shape = [-1, *[1] * (parameter.ndim - 1)]
                        parameter.copy_(torch.from_numpy(levels.astype(np.float32) * scale.reshape(shape)))
            member = replace(member, network=network)
        members.append(member)
    return replace(model, members=tuple(members))


def int8_cost(model: Model, corpus: Corpus, head: Head) -> Int8Cost:
    """Compare a model with its rounded copy on recordings.

    Args:
        model: The model.
        corpus: Features of the recordings, read without overlap.
        head: Classifier.

    Raises:
        ManifestError: No recording is left.
        SceneError: A member cannot be exported.
    """
    before, after = (evaluate_on_images(one, corpus) for one in (model, rounded(model)))
    groups = [recording.group for recording in before.recordings]
    right, right_after = before.correct(head), after.correct(head)
    difference = paired_difference(right_after, right, groups, np.random.default_rng(_SEED))
    logs = before.log_posterior[head], after.log_posterior[head]
    return Int8Cost(
        head,
        before.n_recordings,
        len(set(groups)),
        before.n_trained_on,
        float(right.mean()),
        float(right_after.mean()),
        difference,
        int((logs[0].argmax(axis=1) != logs[1].argmax(axis=1)).sum()),
        float(np.abs(np.exp(logs[1]) - np.exp(logs[0])).max()),
        before.notes,
    )
