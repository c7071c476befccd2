"""What the metadata of an exported graph say of its model, as JSON texts by name."""

import json
from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np

from soundscene.recipe import FRONT_END, AudioRecipe, Recipe
from soundscene.scoring.unfamiliarity import Familiarity, Kind
from soundscene.signal.ranges import TrainingRange
from soundscene.texts import parse_json, short
from soundscene.types import Head

FORMAT, VERSION = "soundscene graph", 1
STATEFUL, WHOLE = "stateful", "whole"
GIVEN = "given_"  # before the name of an output that may be given instead
HEADS: tuple[Head, ...] = ("svm", "softmax")
TRAINING = (
    *("manifest", "test", "groups", "recordings", "held_out_recordings", "segments", "licences"),
    *("recordings_without_licence", "device", "versions", "diagnosis"),
)
"""Facts of a training that a model file records, and that are copied into an exported one."""


@dataclass(frozen=True)
class GraphFacts:
    """What the metadata of a graph say of its model.

    Attributes:
        scenes: Names in the order of every posterior.
        audio: Rate of the samples, and segments.
        recipes: Of the members, by name.
        head: Classifier that predicts by default.
        temperature: Of each head.
        prior: Of each head, probability of each scene in its training, see `timelines`.
        front_end: Oldest version of the front-end that made training images of a member.
        familiarity: Kind and scores for unknown detection.
        usual: Range of the training recordings.
        form: "stateful" or "whole".
        weights: "float32" or "int8"; where members differ, that of each by name: "att-crnn-mel float32, yamnet int8".
        digest: SHA-256 of the model's file.
        training: What that file records of the training, see `TRAINING`; nothing in files of early versions.
        parameters: Number of the parameters of each member; none in files of early versions.
        backbones: Name, source and licence of the pretrained backbone of each member that has one.
    """

    scenes: tuple[str, ...]
    audio: AudioRecipe
    recipes: dict[str, Recipe]
    head: Head
    temperature: dict[str, float]
    prior: dict[str, tuple[float, ...]]
    front_end: int
    familiarity: Familiarity | None
    usual: TrainingRange | None
    form: str
    weights: str
    digest: str
    training: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, int] = field(default_factory=dict)
    backbones: dict[str, dict[str, Any]] = field(default_factory=dict)

    def to_metadata(self) -> dict[str, str]:
        """Return texts for the file, each of them JSON."""
        familiarity = self.familiarity
        values: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            "form": self.form,
            "weights": self.weights,
            "scenes": self.scenes,
            "sample_rate": self.audio.sample_rate,
            "segment_samples": self.audio.segment_samples,
            "members": [{"name": name, "recipe": recipe.to_stored()} for name, recipe in self.recipes.items()],
            "head": self.head,
            "temperature": self.temperature,
            "prior": self.prior,
            "front_end": self.front_end,
            "familiarity": familiarity and familiarity.kind,
            "familiarity_held": familiarity and familiarity.calibration_scores.tolist(),
            "threshold": familiarity and familiarity.threshold(),
            "training_range": self.usual and self.usual.to_stored(),
            "model_sha256": self.digest,
            "training": self.training,
            "parameters": self.parameters,
            "backbones": self.backbones,
        }
        return {name: json.dumps(value) for name, value in values.items()}

    @classmethod
    def from_metadata(cls, metadata: dict[str, str]) -> "GraphFacts":
        """Check the texts of a file, and build it.

        Raises:
            KeyError: One is missing.
            TypeError: One is of another type.
            ValueError: One has a value out of range.
            RecipeError: A recipe has a value out of range.
        """
        values = {name: parse_json(text, finite=True) for name, text in metadata.items()}
        scenes = values["scenes"]
        if not isinstance(scenes, list) or len(scenes) < 2 or not all(isinstance(s, str) and s for s in scenes):
            raise ValueError(f"scenes are {short(repr(scenes))}, expected two or more names")
        recipes = {str(one["name"]): Recipe.from_stored(one["recipe"]) for one in values["members"]}
        if not recipes:
            raise ValueError("it has no members")
        if values["head"] not in HEADS or values["form"] not in (STATEFUL, WHOLE):
            raise ValueError(f"head {short(repr(values['head']))} or form {short(repr(values['form']))} is not known")
        if type(values["front_end"]) is not int or not 1 <= values["front_end"] <= FRONT_END:
            raise ValueError(f"front_end is {short(repr(values['front_end']))}, this soundscene knows 1 to {FRONT_END}")
        temperature = {head: float(values["temperature"][head]) for head in HEADS}
        if not all(0 < value < np.inf for value in temperature.values()):
            raise ValueError(f"temperatures are {temperature}, expected positive numbers")
        prior = {head: tuple(float(p) for p in values["prior"][head]) for head in HEADS}
        if not all(len(p) == len(scenes) and min(p) > 0 for p in prior.values()):
            raise ValueError("prior is not a positive number for each scene")
        return cls(
            tuple(scenes),
            next(iter(recipes.values())).audio,
            recipes,
            values["head"],
            temperature,
            prior,
            values["front_end"],
            _familiarity(values["familiarity"], values["familiarity_held"]),
            TrainingRange.from_stored(values["training_range"]),
            values["form"],
            str(values["weights"]),
            str(values["model_sha256"]),
            _named(values.get("training", {}), "training"),
            {name: int(n) for name, n in _named(values.get("parameters", {}), "parameters").items()},
            {name: _named(one, "backbone") for name, one in _named(values.get("backbones", {}), "backbones").items()},
        )

    def to_facts(self) -> dict[str, Any]:
        """Collect what `soundscene info` shows of an exported model, as `model_facts` does of a model file."""
        first = next(iter(self.recipes.values()))
        members = [
            {
                "name": name,
                **({"parameters": self.parameters[name]} if name in self.parameters else {}),
                "recipe": recipe.differences(first),
                **({"backbone": self.backbones[name]} if name in self.backbones else {}),
            }
            for name, recipe in self.recipes.items()
        ]
        return {
            "scenes": list(self.scenes),
            "head": self.head,
            **({"parameters": sum(self.parameters.values())} if self.parameters else {}),
            "temperature": self.temperature,
            "familiarity": self.familiarity and self.familiarity.to_facts(),
            "training_range": self.usual and self.usual.to_stored(),
            "exported": {"form": self.form, "weights": self.weights, "model_sha256": self.digest},
            **self.training,
            "members": members,
            "recipe": without_network(first.to_dict()) if self.recipes.keys() <= self.backbones.keys() else first.to_dict(),
        }


def without_network(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return what of a recipe counts in a model of backbones only: nothing of a network, its images and its training.

    Args:
        recipe: Sections, each with its values.
    """
    counts = {"audio": None, "training": ("seed", "segment_hop_s"), "augmentation": None, "calibration": None}
    return {
        section: {key: value for key, value in values.items() if counts[section] is None or key in counts[section]}
        for section, values in recipe.items()
        if section in counts
    }


def _familiarity(kind: Any, held: Any) -> Familiarity | None:
    if kind is None:
        return None
    if kind not in get_args(Kind) or not isinstance(held, list):
        raise ValueError(f"familiarity is {short(repr(kind))}, expected one of {', '.join(get_args(Kind))} with scores")
    scores = np.array(held, np.float64).reshape(-1)
    if not np.isfinite(scores).all() or (np.diff(scores) < 0).any():
        raise ValueError("scores of familiarity are not finite and ascending")
    return Familiarity(kind, scores)


def _named(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{what} is {short(repr(value))}, expected names with values")
    return value
