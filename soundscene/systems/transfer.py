"""A frozen pretrained backbone as a system for experiments: YAMNet, or the file that --backbone names."""

import json
import os
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from jaxtyping import Float32
from safetensors.torch import load, save

from soundscene.backbone.build import preparation
from soundscene.backbone.encoder import Pooling, VaryingBackbone
from soundscene.backbone.stored import StoredBackbone, find
from soundscene.bundle import save_model
from soundscene.data.corpus import Corpus, check_hop, front_end_of, read_segments, regular_segments
from soundscene.data.store import Extract, Representation
from soundscene.errors import AudioError, BackboneError
from soundscene.member import BackboneMember
from soundscene.recipe import FRONT_END, Recipe
from soundscene.signal.streams import FeatureSource, JoinedFrontEnd
from soundscene.systems.backbone import augmented, untrained_member
from soundscene.systems.calibration import HEADS, predict
from soundscene.systems.catalogue import SystemSpec, is_backbone, plain_name
from soundscene.systems.neural import train_members
from soundscene.systems.system import FitContext, Fitted, PredictFunction, System
from soundscene.training.augment import any_of
from soundscene.types import Recording

_VERSION = 2  # of the code that makes embeddings; another one is another store
_PREPARATION = {"level": 1.0, "patch_hop_s": 0.48}  # of YAMNet's images in that version
FILE = "SOUNDSCENE_BACKBONE"  # environment variable: the backbone of the system `backbone` in experiments


@dataclass(frozen=True)
class Embedded:
    """Stands for a backbone where the store holds its embeddings already, [segment, copy, feature], as they are first."""

    name: str
    sample_rate: int
    n_features: int
    patch_s: float = 0.0

    def prepare(self, waves: Float32[np.ndarray, "segment sample"]) -> Float32[np.ndarray, "segment sample"]:
        """Not used: the store was filled by the backbone itself."""
        raise NotImplementedError

    def embed(self, prepared: Float32[np.ndarray, "segment copy feature"]) -> Float32[np.ndarray, "segment feature"]:
        """Return the embeddings of the first copy."""
        return prepared[:, 0]

    def vary(
        self, prepared: Float32[np.ndarray, "segment copy feature"], change: Callable[[np.ndarray], np.ndarray]
    ) -> Float32[np.ndarray, "segment 1 feature"] | None:
        """Return the augmented copy, None where the store has none.

        Args:
            prepared: Embeddings of all copies.
            change: Not used: how the copy was changed was decided when the store was filled.
        """
        return prepared[:, 1:] if prepared.shape[1] > 1 else None


def find_backbone(system: str, given: Path | None) -> StoredBackbone:
    """Load the backbone of a system.

    Args:
        system: Name in the catalogue, "yamnet" or "backbone", or of a variant.
        given: File; by default the user's data folder has YAMNet.

    Raises:
        BackboneError: It is not there, which the message says how to change, or cannot be used, or is no YAMNet where the
            system is.
    """
    if plain_name(system) == "yamnet":
        return find("yamnet", given)
    if given is None:
        raise BackboneError(f"system {system}: name the backbone's file by --backbone FILE (or {FILE} in experiments)")
    return StoredBackbone.load(given)


def file_of(system: str, systems: Iterable[str], file: Path | None) -> Path | None:
    """Return the file of a system where --backbone names one: `backbone` takes it; `yamnet` where there is no `backbone`.

    Args:
        system: One of them.
        systems: Names of all systems.
        file: That --backbone names.
    """
    taker = "backbone" if "backbone" in map(plain_name, systems) else "yamnet"
    return file if plain_name(system) == taker else None


OPTIONS: Mapping[str, Sequence[str]] = {"file": (), "weights": ()}
"""The system's own settings, any text, which `on_file` makes of --backbone: where the backbone is, and its digest."""


def on_file(systems: Sequence[SystemSpec], file: Path) -> tuple[SystemSpec, ...]:
    """Return systems of an experiment, of which those that --backbone is for stand on its file, see `file_of`.

    Args:
        systems: Of the experiment.
        file: That --backbone names.

    Raises:
        BackboneError: The file cannot be used, or no system uses it.
    """
    names = [spec.name for spec in systems]
    own = (f"file={file.resolve()}", f"weights={StoredBackbone.load(file).digest}")
    found = tuple(
        msgspec.structs.replace(spec, settings=(*spec.settings, *own)) if file_of(spec.name, names, file) else spec
        for spec in systems
    )
    if found == tuple(systems):
        raise BackboneError(f"--backbone {file}: no system uses it; add yamnet or backbone to --systems")
    return found


def stands_on_file(spec: SystemSpec) -> bool:
    """Tell whether a system is one that `on_file` has changed."""
    return is_backbone(spec.name) and any(setting.startswith("file=") for setting in spec.settings)


def system(
    recipe: Recipe, name: str, title: str, front_end: int = FRONT_END, options: Mapping[str, str] | None = None
) -> System:
    """Make a frozen backbone with our SVM a system for experiments.

    Args:
        recipe: Settings of audio, training and calibration.
        name: Name in files; "yamnet" and its variants are by default YAMNet of the user's data folder.
        title: Title in tables.
        front_end: Not used; it has no noise-subtracted channel.
        options: See `OPTIONS`.

    Raises:
        BackboneError: The backbone is not there, or cannot be used, or has other weights than `options` say.
    """
    own = options or {}
    file = own.get("file") or (os.environ.get(FILE) if plain_name(name) == "backbone" else None)
    stored = find_backbone(name, Path(file) if file else None)
    if own.get("weights", stored.digest) != stored.digest:
        raise BackboneError(
            f"{file}: holds other weights than those that this experiment began with; put them back, or choose another --out"
        )
    member = untrained_member(name, at_rate_of(recipe, stored), stored)
    choices: Mapping[str, Any] = member.recipe.to_dict() | {"backbone": member.facts}
    return System(name, title, embeddings(member), choices, partial(_fit, member))


def members_of(recipes: Mapping[str, Recipe], file: Path | None = None) -> dict[str, BackboneMember]:
    """Return the members of frozen backbones among those of a model, untrained.

    Beside networks they share the networks' audio recipe, and resample. Alone they have the backbone's rate, of several the
    highest.

    Args:
        recipes: Of all members, by name.
        file: File of the backbone, see `file_of`; by default the user's data folder has YAMNet.

    Raises:
        BackboneError: A backbone is not there, or cannot be used, or is that of two members.
    """
    alone = all(map(is_backbone, recipes))
    stored = {name: find_backbone(name, file_of(name, recipes, file)) for name in filter(is_backbone, recipes)}
    found: dict[str, BackboneMember] = {}
    by_digest: dict[str, str] = {}
    for name, one in stored.items():
        fastest = max(stored.values(), key=lambda of: of.sample_rate)
        found[name] = untrained_member(name, at_rate_of(recipes[name], fastest) if alone else recipes[name], one)
        same = by_digest.setdefault(found[name].stored.digest, name)
        if same != name:
            raise BackboneError(
                f"systems {same} and {name} are the same frozen backbone, and a second one adds nothing; leave one out, or "
                "name another file by --backbone"
            )
    if file is not None and not found:
        raise BackboneError(f"--backbone {file}: no member uses it; add yamnet or backbone to --systems")
    return found


def training_source(recipes: Mapping[str, Recipe], backbones: Mapping[str, BackboneMember]) -> FeatureSource:
    """Return what makes the features of all members for training.

    Args:
        recipes: Of all members, by name, those of backbones last.
        backbones: The members of backbones.

    Raises:
        RecipeError: The features do not fit the audio, or the segment's length is no multiple of the hop.
    """
    first = next(iter(recipes.values()))
    hop_s = first.training.segment_hop_s
    networks = [recipe for name, recipe in recipes.items() if name not in backbones]
    shared = front_end_of(networks, hop_s) if networks else None
    if shared is not None and not backbones:
        return shared
    check_hop(first.audio, hop_s)
    sources = [*([shared] if shared else []), *(member.source(first.audio, hop_s) for member in backbones.values())]
    return JoinedFrontEnd(sources, range(len(recipes)))


def at_rate_of(recipe: Recipe, stored: StoredBackbone) -> Recipe:
    """Return the recipe at the rate of a backbone, for a model that has no other member.

    Args:
        recipe: Any.
        stored: The backbone.
    """
    hop = max(8, round(recipe.audio.noise_hop * stored.sample_rate / recipe.audio.sample_rate))  # not used
    audio = msgspec.structs.replace(recipe.audio, sample_rate=stored.sample_rate, noise_hop=hop, noise_window=2 * hop)
    return msgspec.structs.replace(recipe, audio=audio)


def embeddings(member: BackboneMember) -> Representation:
    """Describe the pooled embeddings of segments, and of an augmented copy of them where the recipe augments.

    Args:
        member: Whose heads do not count.
    """
    audio, hop_s = member.audio, member.recipe.training.segment_hop_s
    facts = {
        "version": _VERSION,
        "backbone": member.stored.digest,
        "pooling": member.pooling,
        "sample_rate": audio.sample_rate,
        "segment_s": audio.segment_s,
        "last_piece": audio.last_piece,
        "segment_hop_s": hop_s,
        "augmentation": msgspec.to_builtins(member.recipe.augmentation) if _varies(member) else None,
    }
    if member.stored.kind == "yamnet":  # the key of version 2 names only what differs from its values
        facts |= {name: value for name, value in preparation(member.backbone).items() if value != _PREPARATION[name]}
    stored = member.stored
    weights = _Weights(stored.digest, member.pooling, stored.header(), save(stored.tensors))
    work = partial(_extract, weights, Recipe(audio=audio, augmentation=member.recipe.augmentation), hop_s)
    return Representation("embeddings", json.dumps(facts, sort_keys=True), work)


@dataclass(frozen=True)
class _Weights:
    """Weights as bytes, which other processes and machines receive with each piece of work, and build once."""

    digest: str
    pooling: Pooling
    header: dict[str, Any] = field(compare=False, repr=False)
    content: bytes = field(compare=False, repr=False)


@lru_cache(1)
def _built(weights: _Weights, recipe: Recipe) -> BackboneMember:
    torch.set_num_threads(1)
    stored = StoredBackbone.of(weights.header, load(weights.content))
    return untrained_member("backbone", recipe, stored, weights.pooling)


def _varies(member: BackboneMember) -> bool:
    return any_of(member.recipe.augmentation) and isinstance(member.backbone, VaryingBackbone)


def _extract(weights: _Weights, recipe: Recipe, hop_s: float, recording: Recording) -> Extract:
    audio, member = recipe.audio, _built(weights, recipe)
    segments, file, notes, _ = read_segments(recording, audio, member.source(audio, hop_s))
    prepared = segments.features[0]
    # the draws of a recording depend on its sound only, not on its place in the manifest
    changed = augmented(member, prepared, zlib.crc32(file.content_hash.encode()))
    copies = [prepared] if changed is None else [prepared, changed]
    try:
        rows = np.stack([member.embed(copy) for copy in copies], axis=1)
    except BackboneError as error:
        raise AudioError(f"{recording.path}: {error}; leave the recording out, or repair the encoder") from None
    return Extract(
        rows,
        segments.start_s,
        segments.silent,
        regular_segments(segments.start_s, audio.segment_s, audio.last_piece),
        file.content_hash,
        float(file.duration_s),
        notes,
    )


def _fit(untrained: BackboneMember, corpus: Corpus, context: FitContext) -> Fitted:
    """Fit the heads to embeddings, and temperatures to held-out recordings; the saved model computes embeddings itself."""
    recipe = untrained.recipe.with_settings([f"training.seed={context.seed}"])
    backbone = untrained.backbone
    patch_s = getattr(backbone, "patch_s", 0.0)
    reading = Embedded(backbone.name, backbone.sample_rate, backbone.n_features, patch_s)
    stored = replace(untrained, recipe=recipe, backbone=reading)
    trained = train_members({stored.name: recipe}, corpus, backbones={stored.name: stored})
    model = trained.model
    member = model.members[0]
    assert isinstance(member, BackboneMember)
    whole = replace(model, members=(replace(member, backbone=backbone),))
    predict_heads: PredictFunction = lambda test: {head: predict(model, test, head) for head in HEADS}  # noqa: E731
    return Fitted(
        predict_heads,
        embed=lambda test: test.features[test.voting, 0],
        held=trained.held,
        notes=tuple(model.provenance["notes"]),
        save=lambda path, facts: save_model(whole.with_facts(facts), path),
    )
