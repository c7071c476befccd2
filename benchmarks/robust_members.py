"""The members of the models of `robust.py`: their recipes, what makes their features, and the key of those features."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soundscene.member import BackboneMember, name_of
from soundscene.recipe import AudioRecipe, Recipe
from soundscene.signal.streams import FeatureSource
from soundscene.systems.catalogue import members, split_names
from soundscene.systems.neural import images
from soundscene.systems.transfer import embeddings, members_of, training_source


@dataclass(frozen=True)
class MemberRecipes:
    """What `train --systems` trains: a recipe for each member, and the frozen backbones among them.

    recipes: by name, those of backbones last; backbones: by name, untrained.
    """

    recipes: dict[str, Recipe]
    backbones: Mapping[str, BackboneMember]

    @classmethod
    def of(cls, recipe: Recipe, systems: str | None = None, backbone: Path | None = None) -> "MemberRecipes":
        """The members that systems name, or one network.

        Args:
            recipe: That the members start from.
            systems: Names as of `train --systems`.
            backbone: File of the frozen backbone; by default the user's data folder has YAMNet.
        """
        recipes = {name_of(recipe): recipe} if systems is None else members(split_names(systems), recipe)
        backbones = members_of(recipes, backbone)
        return cls({**recipes, **{name: member.recipe for name, member in backbones.items()}}, backbones)

    @property
    def audio(self) -> AudioRecipe:
        """Rate and segments, which all members share."""
        return next(iter(self.recipes.values())).audio

    def source(self, training: bool) -> FeatureSource:
        """What makes the features of all members, with the overlapping segments of training or without."""
        return training_source(self.recipes if training else self._without_overlap(), self.backbones)

    def _without_overlap(self) -> dict[str, Recipe]:
        hop = f"training.segment_hop_s={self.audio.segment_s}"
        return {name: recipe.with_settings([hop]) for name, recipe in self.recipes.items()}

    def key(self, version: int, training: bool) -> str:
        """Name of the features in a cache: equal where the features are.

        Args:
            version: Of the shifts.
            training: Whether overlapping segments are among them.
        """
        keys: list[dict[str, Any]] = []
        for name, recipe in self.recipes.items():
            made = embeddings(self.backbones[name]) if name in self.backbones else images(recipe)
            keys.append(json.loads(made.key))
            if not training:
                keys[-1].pop("segment_hop_s", None)
        kinds = [name if name in self.backbones else recipe.features.kind for name, recipe in self.recipes.items()]
        facts = json.dumps({"images": keys[0] if len(keys) == 1 else keys, "shifts": version}, sort_keys=True)
        return f"images-{'-'.join(kinds)}-{hashlib.sha256(facts.encode()).hexdigest()[:12]}"
