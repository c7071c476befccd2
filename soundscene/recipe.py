"""The recipe: every number that decides what a model receives, how it is trained and how it predicts.

`Recipe.paper()` is the paper as printed (section numbers beside the values). `Recipe()` differs from it only where a
page in `docs/decisions/` shows why. `Recipe.small()` is for a laptop. Validation and TOML are msgspec's.
"""

import difflib
import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

import msgspec
from msgspec import Meta, Struct

from soundscene.errors import RecipeError

FRONT_END = 2
"""Version of what the front-end makes of a recipe; bundles, plans, feature stores and run.json hold it.

Without one there it is 1, that of soundscene 0.1, in which rounding decided the noise estimate after digital silence
(docs/decisions/0092-variance-as-state.md).
"""

Count = Annotated[int, Meta(ge=1)]
Positive = Annotated[float, Meta(gt=0, le=sys.float_info.max)]  # TOML can say inf
NotNegative = Annotated[float, Meta(ge=0, le=sys.float_info.max)]
Share = Annotated[float, Meta(ge=0, lt=1)]


class AudioRecipe(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sample rate and segments (sections 2.1 and 4.2) and the noise subtraction (section 2.1, reference [20])."""

    sample_rate: Annotated[int, Meta(ge=8000, le=192000)] = 22050  # 4.2
    segment_s: Positive = 2.0  # 2.1
    last_piece: Annotated[float, Meta(gt=0, le=1)] = 0.5  # share of a segment that the rest must fill to be used
    noise_window: Annotated[int, Meta(ge=4)] = 704  # samples; 32 ms
    noise_hop: Annotated[int, Meta(ge=2)] = 352  # samples; 50 % overlap

    @property
    def segment_samples(self) -> int:
        """Samples in one segment: 44100 by default."""
        return round(self.segment_s * self.sample_rate)

    def __post_init__(self) -> None:
        if self.noise_window != 2 * self.noise_hop:
            raise ValueError(f"audio.noise_window must be twice audio.noise_hop, got {self.noise_window}, {self.noise_hop}")


class FeatureRecipe(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The image of a segment (section 4.2)."""

    kind: Literal["mel", "gammatone"] = "mel"
    n_bands: Annotated[int, Meta(ge=1, le=512)] = 64  # M
    window: Annotated[int, Meta(ge=2)] = 1102  # samples; 50 ms
    hop: Count = 551  # samples; 50 % overlap
    n_fft: Annotated[int, Meta(ge=2)] = 2048
    low_hz: NotNegative = 50.0
    floor: Positive = 1e-10  # power below which the logarithm is cut, both channels
    clamp: Positive = 6.0  # standardised values are cut at +- this many deviations

    def __post_init__(self) -> None:
        if not self.hop <= self.window <= self.n_fft:
            raise ValueError(f"features: hop <= window <= n_fft, got {self.hop}, {self.window}, {self.n_fft}")


class NetworkRecipe(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Table 1, section 2.3 and section 4.3."""

    kind: Literal["att-crnn", "cnn"] = "att-crnn"
    filters: tuple[Count, Count, Count] = (64, 128, 256)
    hidden: Count = 128  # H
    attention: Count = 64  # size of both attention layers
    conv_dropout: Share = 0.25
    recurrent_dropout: Share = 0.1
    attention_scale: Literal["printed", "mean-preserving"] = "mean-preserving"
    pooling: Literal["spatio-temporal", "temporal", "spatial", "mean"] = "spatio-temporal"  # the others for comparison
    noise_subtracted: bool = True  # whether the network sees channel 1, the recording without its background noise


class TrainingRecipe(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Section 3 and section 4.3, and how training images are varied."""

    epochs: Count = 500
    batch_size: Annotated[int, Meta(ge=2)] = 100
    learning_rate: Positive = 1e-4
    schedule: Literal["constant", "cosine"] = "constant"
    mixing: Literal["between-class", "none"] = "between-class"
    balanced: bool = False  # draw scenes, not segments, with equal probability
    segment_hop_s: Positive = 2.0  # training segments may overlap: another offset in every epoch
    gain_db: NotNegative = 0.0  # random gain of each example, uniform in +- this
    mask_bands: Annotated[int, Meta(ge=0)] = 0  # widest masked stripe of bands
    mask_frames: Annotated[int, Meta(ge=0)] = 0  # widest masked stripe of frames
    keep: Literal["last", "best"] = "last"  # best: lowest log loss on a validation part of the training groups
    patience: Annotated[int, Meta(ge=0)] = 0  # with keep = "best": stop after so many epochs without a better one; 0: never
    seed: Annotated[int, Meta(ge=0)] = 0

    def __post_init__(self) -> None:
        if self.patience and self.keep != "best":
            raise ValueError('training.patience needs training.keep = "best", because the last epoch has no competitor')


class CalibrationRecipe(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Section 2.4 and the temperature of a recording's posterior."""

    head: Literal["svm", "softmax"] = "svm"
    svm_c: Positive = 0.1  # 4.3
    platt_folds: Annotated[int, Meta(ge=2)] = 5
    held_out: Share = 0.1  # share of training groups kept from the network for the temperature; 0: none


class Recipe(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All choices of a model; travels inside its bundle."""

    audio: AudioRecipe = AudioRecipe()
    features: FeatureRecipe = FeatureRecipe()
    network: NetworkRecipe = NetworkRecipe()
    training: TrainingRecipe = TrainingRecipe()
    calibration: CalibrationRecipe = CalibrationRecipe()

    @classmethod
    def paper(cls) -> "Recipe":
        """Return the recipe of the paper as printed."""
        return cls(network=NetworkRecipe(attention_scale="printed"), calibration=CalibrationRecipe(held_out=0.0))

    @classmethod
    def small(cls) -> "Recipe":
        """Return a recipe of a quarter of the paper's width, for a laptop: minutes, not hours."""
        return cls(
            network=NetworkRecipe(filters=(16, 32, 64), hidden=32),
            training=TrainingRecipe(epochs=30, batch_size=50, learning_rate=3e-3, schedule="cosine"),
        )

    def with_settings(self, settings: Iterable[str]) -> "Recipe":
        """Return a copy with `key=value` settings applied, such as "training.epochs=30"; strings need no quotes.

        Raises:
            RecipeError: A key is unknown, in which case the message names the nearest, or a value is out of range.
        """
        tree = msgspec.to_builtins(self)
        for setting in settings:
            key, equals, text = setting.partition("=")
            section, dot, name = key.strip().partition(".")
            if not equals or not dot:
                raise RecipeError(f"--set {setting!r}: expected section.key=value, for example training.epochs=30")
            if section not in tree or name not in tree[section]:
                raise RecipeError(_unknown(key.strip()))
            tree[section][name] = _toml_value(text.strip())
        return type(self).from_dict(tree)

    @classmethod
    def from_dict(cls, tree: dict[str, Any]) -> "Recipe":
        """Build and validate from nested dictionaries; missing keys take the values of `Recipe()`.

        Raises:
            RecipeError: A key is unknown or a value out of range.
        """
        try:
            return msgspec.convert(tree, cls, strict=True)
        except msgspec.ValidationError as error:
            raise RecipeError(_explain(str(error))) from None

    @classmethod
    def from_stored(cls, tree: dict[str, Any]) -> "Recipe":
        """Build from what a model or a plan holds; a key that it lacks means what 0.1.0 did.

        Raises:
            RecipeError: A key is unknown or a value out of range.
        """
        merged: dict[str, Any] = dict(tree)
        for section, meaning in STORED.items():
            values = tree.get(section, {})
            merged[section] = meaning | values if isinstance(values, dict) else values
        return cls.from_dict(merged)

    def to_stored(self) -> dict[str, Any]:
        """Return `to_dict` without the keys that 0.1.0 did not have, where they mean what 0.1.0 did.

        So hashes of a recipe stay those of 0.1.0.
        """
        return {
            section: {
                name: value
                for name, value in values.items()
                if f"{section}.{name}" not in ADDED or value != STORED[section][name]
            }
            for section, values in self.to_dict().items()
        }

    @classmethod
    def load(cls, name_or_path: str) -> "Recipe":
        """Return a preset ("paper", "default", "small") or read a TOML file, which may start from one: `base = "small"`.

        Raises:
            RecipeError: There is no such preset or file, or it holds an unknown key or a value out of range.
        """
        presets = {"paper": cls.paper, "default": cls, "small": cls.small}
        if name_or_path in presets:
            return presets[name_or_path]()
        path = Path(name_or_path)
        try:
            tree = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise RecipeError(
                f"recipe {name_or_path!r}: neither a preset ({', '.join(presets)}) nor a readable file ({error.strerror})"
            ) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise RecipeError(f"recipe {name_or_path}: not valid TOML: {error}") from None
        base = tree.pop("base", "default")
        if not isinstance(base, str) or base not in presets:
            raise RecipeError(f"recipe {name_or_path}: base = {base!r}, allowed are {', '.join(presets)}")
        merged = msgspec.to_builtins(presets[base]())
        for section, values in tree.items():
            if isinstance(values, dict) and isinstance(merged.get(section), dict):
                merged[section] |= values
            else:
                merged[section] = values
        try:
            return cls.from_dict(merged)
        except RecipeError as error:
            raise RecipeError(f"recipe {name_or_path}: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        """Return nested dictionaries of plain values, as written into models and logs."""
        return msgspec.to_builtins(self)


STORED: dict[str, dict[str, Any]] = {
    "audio": {"sample_rate": 22050, "segment_s": 2.0, "last_piece": 0.5, "noise_window": 704, "noise_hop": 352},
    "features": {
        "kind": "mel",
        "n_bands": 64,
        "window": 1102,
        "hop": 551,
        "n_fft": 2048,
        "low_hz": 50.0,
        "floor": 1e-10,
        "clamp": 6.0,
    },
    "network": {
        "kind": "att-crnn",
        "filters": (64, 128, 256),
        "hidden": 128,
        "attention": 64,
        "conv_dropout": 0.25,
        "recurrent_dropout": 0.1,
        "attention_scale": "mean-preserving",
        "pooling": "spatio-temporal",
        "noise_subtracted": True,
    },
    "training": {
        "epochs": 500,
        "batch_size": 100,
        "learning_rate": 1e-4,
        "schedule": "constant",
        "mixing": "between-class",
        "balanced": False,
        "segment_hop_s": 2.0,
        "gain_db": 0.0,
        "mask_bands": 0,
        "mask_frames": 0,
        "keep": "last",
        "patience": 0,
        "seed": 0,
    },
    "calibration": {"head": "svm", "svm_c": 0.1, "platt_folds": 5, "held_out": 0.1},
}
"""What a key means that a stored recipe lacks: 0.1.0's default, or, for a key that came later, what 0.1.0 did."""

ADDED: frozenset[str] = frozenset()
"""Keys as "section.name" that 0.1.0 did not have."""


def _keys() -> list[str]:
    tree = msgspec.to_builtins(Recipe())
    return [f"{section}.{name}" for section, values in tree.items() for name in values]


def _unknown(key: str) -> str:
    keys = _keys()
    names = [k.partition(".")[2] for k in keys]
    near = difflib.get_close_matches(key, keys, 1, 0.5)
    if not near:  # right name in the wrong section
        same = difflib.get_close_matches(key.rpartition(".")[2], names, 1, 0.6)
        near = [keys[names.index(same[0])]] if same else []
    hint = f"did you mean {near[0]!r}?" if near else f"sections are {', '.join(msgspec.to_builtins(Recipe()))}"
    return f"unknown recipe key {key!r}; {hint}"


def _explain(message: str) -> str:
    """Turn msgspec's message into one that names the key first, and the nearest one when it is unknown."""
    where = re.search(r" - at `\$\.?([^`]*)`", message)
    path = where.group(1) if where else ""
    text = message[: where.start()] if where else message
    unknown = re.search(r"unknown field `([^`]*)`", text)
    if unknown:
        return _unknown(f"{path}.{unknown.group(1)}" if path else unknown.group(1))
    if text.startswith("Invalid enum value"):
        section, _, name = path.partition(".")
        words = get_args(get_type_hints(get_type_hints(Recipe)[section])[name])
        text += f"; allowed are {', '.join(words)}"
    return f"recipe value {path}: {text}" if path else text


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
