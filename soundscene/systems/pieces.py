"""What systems have in common whose network classifies pieces of a recording: held-out groups, temperature, predictions.

A recording's posterior is the product over its voting pieces (section 4.5 of the paper). Digital silence does not vote.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor, nn

from soundscene.data.corpus import Corpus
from soundscene.errors import TrainingError
from soundscene.network.svm import CalibratedSVM
from soundscene.recipe import Recipe
from soundscene.scoring.fusion import fit_temperature, product_by_recording, temper
from soundscene.signal.frontend import FrontEnd
from soundscene.systems.saved import Identity, save_system
from soundscene.systems.system import FitContext, Fitted, PredictFunction, SavedState, SystemPredictions
from soundscene.systems.whole import Parts, divide, training_facts
from soundscene.texts import counted

AT_ONCE = 100  # pieces predicted at a time

A = TypeVar("A")

Classify = Callable[[nn.Module, Tensor], tuple[Float[Tensor, "piece scene"], Float[Tensor, "piece feature"]]]
"""Log posteriors (or logits) of pieces by the softmax layer, and the embeddings that an SVM reads."""


def softmax_of_embedding(
    network: nn.Module, pieces: Float[Tensor, "piece ..."]
) -> tuple[Float[Tensor, "piece scene"], Float[Tensor, "piece feature"]]:
    """Classify pieces by a network with `embed` and `softmax`.

    Args:
        network: The network.
        pieces: On its device.
    """
    embedding = network.embed(pieces)  # pyright: ignore[reportCallIssue]
    return network.softmax(embedding), embedding  # pyright: ignore[reportCallIssue]


def stored_features(corpus: Corpus) -> Float32[np.ndarray, "piece ..."]:
    """Return the features of voting pieces as they are stored: what most networks read."""
    return corpus.features[corpus.voting]


def image_source(recipe: Recipe, front_end: int, segment_hop_s: float | None) -> FrontEnd:
    """Return what computes the images of segments of a stream, at any distance of segments.

    Args:
        recipe: Audio and features.
        front_end: Version of the front-end.
        segment_hop_s: Seconds between starts of segments, by default their length.
    """
    return FrontEnd(recipe.audio, [recipe.features], segment_hop_s, front_end)


def remember_last(read: Callable[[Corpus], A]) -> Callable[[Corpus], A]:
    """Keep what was read of the last corpus, for an observer, which asks for the same one after every epoch.

    Not for the predictions of a fitted system: their time would no longer be that of a prediction.

    Args:
        read: What does not change from epoch to epoch.
    """
    known: list[tuple[Corpus, A]] = []

    def remembered(corpus: Corpus) -> A:
        if not known or known[0][0] is not corpus:
            known[:] = [(corpus, read(corpus))]
        return known[0][1]

    return remembered


@dataclass(frozen=True)
class PieceModel:
    """A network that classifies pieces, and what makes posteriors of recordings of it.

    Attributes:
        network: The network.
        scenes: Names in the order of its posteriors.
        classify: How it classifies pieces.
        read: What it reads of the voting pieces of a corpus.
        svm: SVM on its embeddings, if it has this head too.
        temperature: Of each head.
    """

    network: nn.Module
    scenes: tuple[str, ...]
    classify: Classify = softmax_of_embedding
    read: Callable[[Corpus], Float32[np.ndarray, "piece ..."]] = stored_features
    svm: CalibratedSVM | None = None
    temperature: Mapping[str, float] = field(default_factory=dict)


def divide_pieces(corpus: Corpus, recipe: Recipe, context: FitContext) -> Parts:
    """Hold groups out as every other system does for the same seed, and check that the rest can be learnt from.

    Args:
        corpus: Training part of a split.
        recipe: Gives the share, `calibration.held_out`.
        context: Gives the seed.

    Raises:
        TrainingError: There is one scene, or one that is digital silence throughout.
    """
    parts = divide(corpus, recipe, context)
    scenes = parts.scenes
    silent = sorted(set(scenes) - {scenes[i] for i in piece_labels(parts)})
    if silent or len(scenes) < 2:
        raise TrainingError(
            f"the training part holds {counted(len(scenes), 'scene')} ({', '.join(scenes) or 'none'}), digital silence "
            f"throughout: {', '.join(silent) or 'none'}; at least two are needed, each with sound: add recordings of "
            "another scene, or take the silent one out"
        )
    return parts


def piece_labels(parts: Parts) -> Int64[np.ndarray, " piece"]:
    """Return the numbers of the scenes of the voting pieces of the kept part."""
    return parts.kept.labels(parts.scenes)[parts.kept.voting]


def finish(
    model: PieceModel,
    parts: Parts,
    history: Sequence[Mapping[str, float]],
    save: Callable[[PieceModel, Path, Mapping[str, Any]], None] | None = None,
    notes: Sequence[str] = (),
    earlier: Sequence[Mapping[str, float]] = (),
) -> Fitted:
    """Fit the temperature of each head to the held-out recordings, and make a fitted system of a trained network.

    Args:
        model: Without temperatures.
        parts: What it was trained on, and what was held out.
        history: One row per epoch.
        save: Writes the model to a file, as `Fitted.save` does.
        notes: Compromises of the fit.
        earlier: One row per epoch of the networks that were trained before this one and for it.
    """
    model = replace(model, temperature=temperatures(partial(predict_pieces, model), parts))
    return Fitted(
        partial(predict_pieces, model),
        len(history),
        [dict(row) for row in history],
        partial(embed_pieces, model),
        parts.held.recordings,
        (*parts.notes, *notes),
        partial(save, model) if save else None,
        [dict(row) for row in earlier],
    )


def temperatures(predict: PredictFunction, parts: Parts) -> dict[str, float]:
    """Fit the temperature of each head to the held-out recordings; 1 without any that sound.

    Args:
        predict: The trained system.
        parts: With what was held out.
    """
    if not parts.held.voting.any():
        return {}
    return {head: fit_temperature(one.recording, parts.held_truth) for head, one in predict(parts.held).items()}


def predict_pieces(model: PieceModel, corpus: Corpus) -> Mapping[str, SystemPredictions]:
    """Predict pieces, and recordings by the product rule over them.

    Args:
        model: The model.
        corpus: Whose pieces are predicted.
    """
    softmax, embeddings = _classify(model, corpus)
    heads = {"softmax": softmax}
    if model.svm is not None:
        heads["svm"] = model.svm(torch.from_numpy(embeddings)).numpy()
    recording_of = corpus.recording[corpus.voting]
    found = {}
    for head, log_posterior in heads.items():
        recording = product_by_recording(log_posterior, recording_of, len(corpus.recordings))
        calibrated = temper(recording, model.temperature.get(head, 1.0))
        found[head] = SystemPredictions(log_posterior, recording_of, recording, calibrated)
    return found


def embed_pieces(model: PieceModel, corpus: Corpus) -> Float32[np.ndarray, "piece feature"]:
    """Return the input of the last layer for each voting piece.

    Args:
        model: The model.
        corpus: Whose pieces are embedded.
    """
    return _classify(model, corpus)[1]


@torch.no_grad()
def _classify(
    model: PieceModel, corpus: Corpus
) -> tuple[Float64[np.ndarray, "piece scene"], Float32[np.ndarray, "piece feature"]]:
    device = next(model.network.parameters()).device
    posteriors, embeddings = [], []
    pieces = torch.from_numpy(model.read(corpus))
    n = len(pieces)
    if not n:  # which some layers refuse: the predictions of one piece, without it
        pieces = torch.zeros(1, *pieces.shape[1:])
    for piece in pieces.split(AT_ONCE):
        logits, embedding = model.classify(model.network, piece.to(device))
        posteriors.append(logits.double().log_softmax(-1).cpu())
        embeddings.append(embedding.cpu())
    return torch.cat(posteriors)[:n].numpy(), torch.cat(embeddings)[:n].numpy()


def save_pieces(
    identity: Identity, parts: Parts, model: PieceModel, path: Path, facts: Mapping[str, Any] | None = None
) -> None:
    """Write a network of pieces, and its SVM if it has one, as a saved system.

    Args:
        identity: What the system is.
        parts: What it was trained on, and what was held out.
        model: With its temperatures.
        path: File to write.
        facts: As `save_system` takes them.

    Raises:
        BundleError: The file cannot be written.
    """
    tensors = {f"network/{name}": t for name, t in model.network.state_dict().items()}
    heads = ["softmax"]
    if model.svm is not None:
        tensors |= {f"svm/{name}": t for name, t in model.svm.state_dict().items()}
        heads = ["svm", "softmax"]
    temperature = {head: float(model.temperature.get(head, 1.0)) for head in heads}
    counts = np.bincount(piece_labels(parts), minlength=len(parts.scenes)).tolist()  # the prior that its posteriors hold
    facts_of_fit = training_facts(parts, parts.notes) | {"segments_by_scene": dict(zip(parts.scenes, counts, strict=True))}
    state = SavedState(model.scenes, temperature, tensors, facts_of_fit)
    save_system(identity, state, path, facts)


def restore_pieces(make: Callable[[SavedState], PieceModel], state: SavedState) -> PredictFunction:
    """Return the predictions of a network of pieces from a file.

    Args:
        make: Makes the model with an untrained network of the file's size.
        state: From the file.
    """
    model = make(state)

    def part(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): t for name, t in state.tensors.items() if name.startswith(prefix)}

    model.network.load_state_dict(part("network/"))
    model.network.eval()
    svm = None
    if weights := part("svm/"):
        svm = CalibratedSVM(weights["weight"].shape[1], len(state.scenes))
        svm.load_state_dict(weights)
    return partial(predict_pieces, replace(model, svm=svm, temperature=state.temperature))
