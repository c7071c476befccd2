"""The neural systems: train one or several Att-CRNNs and CNN baselines to a model, and predict a corpus with a model."""

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from jaxtyping import Bool, Float32
from lightning_fabric import Fabric

from soundscene.bundle import save_model
from soundscene.data.corpus import Corpus, front_end_of, read_segments, regular_segments
from soundscene.data.splits import check_two_scenes, hold_out, label_conflicts
from soundscene.data.store import Extract, Representation
from soundscene.errors import RecipeError, TrainingError
from soundscene.member import BackboneMember, NetworkMember, name_of, networks_of
from soundscene.model import Model
from soundscene.network.models import Network, check_bands
from soundscene.network.svm import CalibratedSVM
from soundscene.recipe import FRONT_END, Recipe
from soundscene.signal.ranges import TrainingRange
from soundscene.systems.attention_worth import entropies_of, learns_attention, predict_uniform
from soundscene.systems.backbone import fit_member
from soundscene.systems.calibration import HEADS, calibrate, predict
from soundscene.systems.system import FitContext, Fitted, PredictFunction, System, SystemPredictions
from soundscene.training.augment import any_of, augmented_pieces
from soundscene.training.calibrate import fit_svm
from soundscene.training.fit import EpochCallback, LabelledImages, StepCallback, fit
from soundscene.types import Recording

MemberCallback = Callable[[str, dict[str, float], Network], None]
"""Called after each epoch with the name of the member, its row of the history and its network in evaluation mode."""

MemberStepCallback = Callable[[str, int, int], None]
"""Called with the name of the member, its steps done, and its steps in all."""


@dataclass(frozen=True)
class TrainedModel:
    """Result of a training.

    Attributes:
        model: The trained model.
        history: One row per epoch, of each member after the other.
        held: Recordings held out from the training of networks and SVMs.
    """

    model: Model
    history: list[dict[str, Any]]
    held: tuple[Recording, ...] = ()


@dataclass(frozen=True)
class TrainedMember:
    """Result of the training of one member.

    Attributes:
        member: The member, whose network, if it has one, is where it was trained.
        embeddings: Of the voting segments that it was trained on.
        history: One row per epoch.
        facts: Epoch, seconds and notes.
    """

    member: NetworkMember | BackboneMember
    embeddings: Float32[np.ndarray, "segment embedding"]
    history: list[dict[str, float]]
    facts: dict[str, Any]


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
    """Train a model of one network.

    Args:
        recipe: Network, training and calibration settings.
        corpus: Training part, read with `training.segment_hop_s`.
        fabric: Device, precision and processes.
        checkpoint: File that is written after every epoch, and resumed from if it exists.
        on_epoch: Called after each epoch.
        provenance: Facts to store in the model beside those of the training.
        front_end: Version of the front-end that made the images of the corpus.

    Raises:
        TrainingError: As `train_members` does.
        RecipeError: As `train_members` does.
    """
    return train_members(
        {name_of(recipe): recipe},
        corpus,
        fabric=fabric,
        checkpoint=lambda name: checkpoint,
        on_epoch=(lambda name, row, network: on_epoch(row, network)) if on_epoch else None,
        provenance=provenance,
        front_end=front_end,
    )


def train_members(
    recipes: Mapping[str, Recipe],
    corpus: Corpus,
    *,
    fabric: Fabric | None = None,
    checkpoint: Callable[[str], Path | None] = lambda name: None,
    on_epoch: MemberCallback | None = None,
    on_step: MemberStepCallback | None = None,
    provenance: Mapping[str, Any] | None = None,
    front_end: int = FRONT_END,
    backbones: Mapping[str, BackboneMember] | None = None,
) -> TrainedModel:
    """Train the members of a model one after the other, then what belongs to all of them.

    Groups are held out first (`calibration.held_out` of each scene's groups, drawn with the first member's seed). No network
    and no SVM ever sees them. They choose the epoch, if the recipe asks for the best one, and fit one temperature for each
    head of the fused model. Their scores of unfamiliarity are the reference for known scenes.

    Args:
        recipes: Of each member, by its name.
        corpus: Training part, read with `training.segment_hop_s`, with the features of each member.
        fabric: Device, precision and processes.
        checkpoint: File of a member that is written after every epoch, and resumed from if it exists. That of a finished
            member resumes to its end.
        on_epoch: Called after each epoch.
        on_step: Called before each step.
        provenance: Facts to store in the model beside those of the training.
        front_end: Version of the front-end that made the features of the corpus.
        backbones: Members of frozen backbones, by their name, whose SVMs are to be fitted.

    Raises:
        TrainingError: If the corpus has one scene, a scene is digital silence throughout, or no group can be held out to
            choose the epoch by.
        RecipeError: If `training.keep` is "best" without a held-out part.
    """
    started = time.perf_counter()
    scenes = tuple(sorted({r.scene for r in corpus.recordings}))
    for recipe in recipes.values():
        _check(recipe, scenes)
    first = next(iter(recipes.values()))
    draws = np.random.default_rng(first.training.seed)
    kept, held, notes = hold_out(corpus.recordings, first.calibration.held_out, draws)
    notes = (*notes, *label_conflicts(corpus.recordings, corpus.content_hash))
    part, held_part = corpus.take(kept), corpus.take(held)
    if any(recipe.training.keep == "best" for recipe in recipes.values()) and not held_part.voting.any():
        raise TrainingError('training.keep = "best": no group can be held out to choose the epoch by; keep the last epoch')
    _check_audible(part, scenes)
    fitted = {  # first: what an encoder cannot do must not come up after hours of training networks
        name: _fit_backbone(backbones[name], part.of_member(number), held_part.of_member(number), scenes)
        for number, name in enumerate(recipes)
        if backbones and name in backbones
    }
    trained = [
        fitted[name]
        if name in fitted
        else _train_member(
            name,
            recipe,
            part.of_member(number),
            held_part.of_member(number),
            scenes,
            fabric=fabric,
            checkpoint=checkpoint(name),
            on_epoch=partial(on_epoch, name) if on_epoch else None,
            on_step=partial(on_step, name) if on_step else None,
            front_end=front_end,
        )
        for number, (name, recipe) in enumerate(recipes.items())
    ]
    model = Model(scenes, tuple(one.member for one in trained), dict.fromkeys(HEADS, 1.0))
    model = calibrate(model, [one.embeddings for one in trained], part, held_part)
    facts = {
        **(provenance or {}),
        **_facts(trained, notes, part),
        "seconds": round(time.perf_counter() - started, 1),
        "held_out_recordings": len(held),
    }
    for network in networks_of(model.members):
        network.network.to("cpu")
    history = [row if len(trained) == 1 else {"member": one.member.name, **row} for one in trained for row in one.history]
    # Of the recordings as they are: augmentation imitates other sound, but it is not what the recordings were.
    usual = TrainingRange.of(corpus.measured)
    return TrainedModel(replace(model, provenance=facts, usual=usual), history, held)


def _train_member(
    name: str,
    recipe: Recipe,
    part: Corpus,
    held: Corpus,
    scenes: tuple[str, ...],
    *,
    fabric: Fabric | None,
    checkpoint: Path | None,
    on_epoch: EpochCallback | None,
    on_step: StepCallback | None,
    front_end: int,
) -> TrainedMember:
    started = time.perf_counter()
    # Network (section 3). Without a held-out part it keeps the last epoch.
    fitted = fit(
        recipe,
        _labelled(part, ~part.silent, scenes),
        len(scenes),
        fabric=fabric,
        validation=_labelled(held, held.voting, scenes) if held.voting.any() else None,
        epoch_size=int(part.voting.sum()),
        checkpoint=checkpoint,
        on_epoch=on_epoch,
        on_step=on_step,
    )
    # SVM on the embeddings of unmixed segments (section 2.4), and of an augmented copy of them, so that its probabilities
    # hold for other devices too (docs/decisions/0102).
    untrained_svm = CalibratedSVM(fitted.network.softmax.in_features, len(scenes))
    member = NetworkMember(name, recipe, fitted.network, untrained_svm, front_end)
    images = part.features[part.voting]
    embeddings = member.embed(images)
    copies = [embeddings, _embed_copy(member, images)] if any_of(recipe.augmentation) else [embeddings]
    svm, notes = _fit_head(recipe, copies, part, scenes)
    facts = {"epoch": fitted.epoch, "seconds": round(time.perf_counter() - started, 1), "notes": [*notes]}
    return TrainedMember(replace(member, svm=svm), embeddings, fitted.history, facts)


def _fit_backbone(member: BackboneMember, part: Corpus, held: Corpus, scenes: tuple[str, ...]) -> TrainedMember:
    fitted, embeddings, facts = fit_member(member, part, scenes, held)
    return TrainedMember(fitted, embeddings, [], facts)


def _facts(trained: Sequence[TrainedMember], notes: Sequence[str], part: Corpus) -> dict[str, Any]:
    """Collect the provenance of a training; the facts of each member apart, if there are several."""
    if len(trained) == 1:
        facts = {**trained[0].facts, "notes": [*notes, *trained[0].facts["notes"]]}
    else:
        of_members = [f"{one.member.name}: {note}" for one in trained for note in one.facts["notes"]]
        apart = {one.member.name: {k: v for k, v in one.facts.items() if k != "notes"} for one in trained}
        facts = {"members": apart, "notes": [*notes, *of_members]}
    return facts | {
        "recordings": dict(Counter(r.scene for r in part.recordings)),
        "segments": int(part.voting.sum()),
        "silent_segments_left_out": int((part.regular & part.silent).sum()),
        "device": next((str(m.network.softmax.weight.device) for m in networks_of([t.member for t in trained])), "cpu"),
        "versions": {name: version(name) for name in ("soundscene", "torch", "numpy", "scikit-learn")},
    }


def _check(recipe: Recipe, scenes: Sequence[str]) -> None:
    check_two_scenes(scenes)
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
            f"{', '.join(silent)}: every segment of the training part is digital silence, from which nothing can "
            "be learnt; take the scene out or repair its files"
        )


def _embed_copy(
    member: NetworkMember, images: Float32[np.ndarray, "segment 2 band frame"]
) -> Float32[np.ndarray, "segment embedding"]:
    """Embed an augmented copy of images."""
    recipe = member.recipe
    pieces = augmented_pieces(images, recipe.augmentation, recipe.features.floor, recipe.training.seed)
    return np.concatenate([member.embed(piece) for piece in pieces])


def _fit_head(
    recipe: Recipe, copies: Sequence[Float32[np.ndarray, "segment embedding"]], part: Corpus, scenes: Sequence[str]
) -> tuple[CalibratedSVM, tuple[str, ...]]:
    """Fit SVM and Platt's sigmoids to the embeddings of the regular, unmixed segments of the training part (section 2.4).

    A copy of a segment stays in the group of its recording, so that no fold has one of the two on each side.
    """
    choices = recipe.calibration
    groups = [part.recordings[i].group for i in part.recording[part.voting]]
    return fit_svm(
        np.concatenate(copies),
        np.tile(part.labels(scenes)[part.voting], len(copies)),
        groups * len(copies),
        len(scenes),
        *(choices.svm_c, choices.platt_folds, recipe.training.seed),
        names=scenes,
    )


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
    return System(name, title, images(recipe, front_end), recipe.to_stored(), partial(_fit_system, recipe, front_end))


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
    segments, file, notes, _ = read_segments(recording, recipe.audio, front_end)
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
        if not context.observer:
            return
        untrained_svm = CalibratedSVM(network.softmax.in_features, len(scenes))
        so_far = Model(scenes, (NetworkMember(name_of(recipe), recipe, network, untrained_svm),), {"softmax": 1.0})
        attends, last = learns_attention(so_far), row["epoch"] == recipe.training.epochs
        if attends:
            row |= entropies_of(so_far, corpus)

        def predict_so_far(test: Corpus) -> Mapping[str, SystemPredictions]:
            predictions = {"softmax": predict(so_far, test, "softmax")}
            if attends and last:  # what its attention is worth: decision 0106
                predictions["softmax, uniform attention"] = predict_uniform(so_far, test)
            return predictions

        context.observer(row, predict_so_far)

    trained = train(
        recipe,
        corpus,
        fabric=context.fabric,
        checkpoint=context.checkpoint,
        on_epoch=observe,
        front_end=front_end,
    )
    model = trained.model
    predict_heads: PredictFunction = lambda test: {head: predict(model, test, head) for head in HEADS}  # noqa: E731
    return Fitted(
        predict_heads,
        model.provenance["epoch"],
        trained.history,
        lambda test: model.members[0].embed(test.features[test.voting]),
        trained.held,
        tuple(model.provenance["notes"]),
        lambda path, facts: save_model(model.with_facts(facts), path),
    )
