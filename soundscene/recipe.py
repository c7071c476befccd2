"""The recipe: every number that decides what a model receives, how it is trained and how it predicts.

`Recipe.paper()` is the paper as printed (section numbers beside the values). `Recipe()` differs from it only where a
page in `docs/decisions/` shows why. `Recipe.small()` is for a laptop. Validation and TOML are msgspec's.
"""

import difflib
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

import msgspec
from msgspec import Meta, Struct

from soundscene.errors import RecipeError
from soundscene.stored_recipe import ADDED, STORED
from soundscene.texts import LONGEST, parse_toml, short

FRONT_END = 2
"""Version of what the front-end makes of a recipe; bundles, plans, feature stores and run.json hold it.

Without one there it is 1, that of soundscene 0.1, in which rounding decided the noise estimate after digital silence
(docs/decisions/0092-variance-as-state.md).
"""

# Every number has a bound on both sides, far outside of what anybody trains with: a recipe comes from strangers' files too,
# and a value that is only the right type can ask for gigabytes (docs/decisions/0087).
Width = Annotated[int, Meta(ge=1, le=4096)]
Share = Annotated[float, Meta(ge=0, lt=1)]
MOST_WEIGHTS = 32_000_000  # of a network; 0.9 million at the paper's sizes
MOST_SPECTRUM = 6_000_000  # frames x n_fft of a segment; 164 thousand in the paper
MOST_FILTERS = 1 << 21  # bands x n_fft of the filter bank; 131 thousand in the paper
MOST_PIXELS = 1 << 19  # bands x frames of an image; 5 thousand in the paper
MOST_ACTIVATIONS = 1 << 23  # filters[0] x bands x frames: what the first block computes of one segment; 328 thousand
MOST_IN_BATCH = 1 << 29  # the same of a batch, 2 GB; 33 million in the paper
MOST_OVERLAP = 256  # training segments that hold one sample; 1 in the paper
_LARGEST_FILE = 1 << 16  # bytes of a TOML file


class AudioRecipe(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sample rate and segments (sections 2.1 and 4.2) and the noise subtraction (section 2.1, reference [20])."""

    sample_rate: Annotated[int, Meta(ge=8000, le=192000)] = 22050  # 4.2
    segment_s: Annotated[float, Meta(ge=0.01, le=600)] = 2.0  # 2.1
    last_piece: Annotated[float, Meta(gt=0, le=1)] = 0.5  # share of a segment that the rest must fill to be used
    noise_window: Annotated[int, Meta(ge=16, le=16384)] = 704  # samples; 32 ms
    noise_hop: Annotated[int, Meta(ge=8, le=8192)] = 352  # samples; 50 % overlap

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
    window: Annotated[int, Meta(ge=2, le=32768)] = 1102  # samples; 50 ms
    hop: Annotated[int, Meta(ge=1, le=32768)] = 551  # samples; 50 % overlap
    n_fft: Annotated[int, Meta(ge=2, le=32768)] = 2048
    low_hz: Annotated[float, Meta(ge=0, le=96000)] = 50.0
    floor: Annotated[float, Meta(ge=1e-30, le=1e6)] = 1e-10  # power below which the logarithm is cut, both channels
    clamp: Annotated[float, Meta(ge=0.1, le=1e6)] = 6.0  # standardised values are cut at +- this many deviations

    def __post_init__(self) -> None:
        if not self.hop <= self.window <= self.n_fft:
            raise ValueError(f"features: hop <= window <= n_fft, got {self.hop}, {self.window}, {self.n_fft}")


class NetworkRecipe(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Table 1, section 2.3 and section 4.3."""

    kind: Literal["att-crnn", "cnn"] = "att-crnn"
    filters: tuple[Width, Width, Width] = (64, 128, 256)
    hidden: Width = 128  # H
    attention: Width = 64  # size of both attention layers
    conv_dropout: Share = 0.25
    recurrent_dropout: Share = 0.1
    attention_scale: Literal["printed", "printed-2h", "mean-preserving"] = "mean-preserving"  # form of (9), decision 0003
    attention_temperature: Annotated[float, Meta(ge=0.001, le=1000)] = 1.0  # scores are divided by it; the paper has none
    attention_context: Annotated[float, Meta(ge=0.001, le=1000)] = 0.1  # deviation of the context vectors at the start
    recurrent: Literal["gru", "none"] = "gru"  # none, for comparison: a linear map of each frame in place of (1)-(3)
    pooling: Literal["spatio-temporal", "temporal", "spatial", "mean", "last"] = "spatio-temporal"  # others for comparison
    global_pooling: Literal["max", "mean"] = "max"  # of the CNN baseline, over bands and frames; 4.4 prints max
    noise_subtracted: bool = True  # whether the network sees channel 1, the recording without its background noise

    def __post_init__(self) -> None:
        if (self.recurrent, self.pooling) == ("none", "last"):
            raise ValueError('network.pooling = "last" takes the last states of the GRUs, and network.recurrent is "none"')


class TrainingRecipe(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Section 3 and section 4.3, and how training images are varied."""

    epochs: Annotated[int, Meta(ge=1, le=10_000)] = 500
    batch_size: Annotated[int, Meta(ge=2, le=16384)] = 100
    learning_rate: Annotated[float, Meta(ge=1e-15, le=1e37)] = 1e-4  # float32 holds both
    schedule: Literal["constant", "cosine"] = "constant"
    mixing: Literal["between-class", "none"] = "between-class"
    balanced: bool = False  # draw scenes, not segments, with equal probability
    segment_hop_s: Annotated[float, Meta(ge=0.001, le=600)] = (
        2.0  # training segments may overlap: another offset in an epoch
    )
    gain_db: Annotated[float, Meta(ge=0, le=100)] = 0.0  # random gain of each example, uniform in +- this
    mask_bands: Annotated[int, Meta(ge=0, le=512)] = 0  # widest masked stripe of bands
    mask_frames: Annotated[int, Meta(ge=0, le=65536)] = 0  # widest masked stripe of frames
    average: Share = 0.0  # time constant of a moving average of the weights, as a share of the training; 0: the last weights
    keep: Literal["last", "best"] = "last"  # best: lowest log loss on a validation part of the training groups
    patience: Annotated[int, Meta(ge=0, le=10_000)] = (
        0  # with keep = "best": stop after so many epochs without a better one; 0: never
    )
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0

    def __post_init__(self) -> None:
        if self.patience and self.keep != "best":
            raise ValueError('training.patience needs training.keep = "best", because the last epoch has no competitor')


Decibels = Annotated[float, Meta(ge=-100, le=100)]
ShareOfExamples = Annotated[float, Meta(ge=0, le=1)]


class AugmentationRecipe(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How training images vary as devices, codecs and places do; the paper has none of it. Shares are of the examples."""

    level_db: tuple[Decibels, Decibels] = (-30.0, 20.0)  # random level, uniform between the two
    tilt_db: Annotated[float, Meta(ge=0, le=100)] = 14.0  # largest difference of lowest and highest band, either way
    response_db: Annotated[float, Meta(ge=0, le=100)] = 4.0  # deviation of a random smooth response, in half of the examples
    low_pass: ShareOfExamples = 0.5  # above a random edge hardly anything is left
    codec: ShareOfExamples = 0.5  # bands far below the loudest are gone
    background: ShareOfExamples = 0.25  # stationary noise
    clipping: ShareOfExamples = 0.25  # loud frames limited and distorted
    mix_statistics: ShareOfExamples = 0.0  # Freq-MixStyle: mean and deviation of bands mixed over the batch

    def __post_init__(self) -> None:
        if self.level_db[0] > self.level_db[1]:
            raise ValueError(f"augmentation.level_db: lowest before highest, got {self.level_db[0]:g}, {self.level_db[1]:g}")


class CalibrationRecipe(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Section 2.4 and the temperature of a recording's posterior."""

    head: Literal["svm", "softmax"] = "svm"
    svm_c: Annotated[float, Meta(ge=1e-9, le=1e6)] = 0.1  # 4.3
    platt_folds: Annotated[int, Meta(ge=2, le=100)] = 5
    held_out: Share = 0.1  # share of training groups kept from the network for the temperature; 0: none


class Recipe(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All choices of a model; travels inside its bundle."""

    audio: AudioRecipe = AudioRecipe()
    features: FeatureRecipe = FeatureRecipe()
    network: NetworkRecipe = NetworkRecipe()
    training: TrainingRecipe = TrainingRecipe()
    augmentation: AugmentationRecipe = AugmentationRecipe()
    calibration: CalibrationRecipe = CalibrationRecipe()

    def __post_init__(self) -> None:
        for name, value, least, most, hint in _products(self):
            if not least <= value <= most:
                allowed = f"{_number(least)} or more" if most == math.inf else f"{_number(least)} to {_number(most)}"
                raise ValueError(f"{name}: {_number(value)}, allowed are {allowed}; {hint}")

    @classmethod
    def paper(cls) -> "Recipe":
        """Return the recipe of the paper as printed."""
        return cls(
            network=NetworkRecipe(attention_scale="printed"),
            augmentation=AugmentationRecipe(**STORED["augmentation"]),
            calibration=CalibrationRecipe(held_out=0.0),
        )

    @classmethod
    def small(cls) -> "Recipe":
        """Return a recipe of a quarter of the paper's width, for a laptop: minutes, not hours."""
        return cls(
            network=NetworkRecipe(filters=(16, 32, 64), hidden=32),
            training=TrainingRecipe(epochs=30, batch_size=50, learning_rate=3e-3, schedule="cosine"),
        )

    def with_settings(self, settings: Iterable[str]) -> "Recipe":
        """Return a copy with `key=value` settings applied, such as "training.epochs=30"; strings need no quotes.

        "augmentation=off" sets all of that section to what varies nothing.

        Raises:
            RecipeError: A key is unknown, in which case the message names the nearest, or a value is out of range.
        """
        tree = msgspec.to_builtins(self)
        for setting in settings:
            key, equals, text = setting.partition("=")
            if key.strip() == "augmentation" and equals:
                if text.strip().lower() != "off":
                    hint = "the only word is off; otherwise set its keys, for example augmentation.codec=0.5"
                    raise RecipeError(f"--set {short(setting)!r}: {hint}")
                tree["augmentation"] = dict(STORED["augmentation"])
                continue
            section, dot, name = key.strip().partition(".")
            if not equals or not dot:
                raise RecipeError(f"--set {short(setting)!r}: expected section.key=value, for example training.epochs=30")
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
        except (TypeError, ValueError, OverflowError, RecursionError) as error:  # such as a key that is no text
            raise RecipeError(f"recipe: {short(str(error) or type(error).__name__)}") from None

    @classmethod
    def from_stored(cls, tree: Any) -> "Recipe":
        """Build from what a model or a plan holds; a key that it lacks means what 0.1.0 did.

        Raises:
            RecipeError: A key is unknown or a value out of range.
        """
        if not isinstance(tree, dict):
            raise RecipeError(f"recipe: expected sections with values, got {type(tree).__name__}")
        merged: dict[str, Any] = dict(tree)
        for section, meaning in STORED.items():
            values = tree.get(section, {})
            merged[section] = meaning | values if isinstance(values, dict) else values
        return cls.from_dict(merged)

    def to_stored(self) -> dict[str, Any]:
        """Return `to_dict` without the keys that 0.1.0 did not have, where they mean what 0.1.0 did.

        So hashes of a recipe stay those of 0.1.0.
        """
        kept = {
            section: {
                name: value
                for name, value in values.items()
                if f"{section}.{name}" not in ADDED or value != STORED[section][name]
            }
            for section, values in self.to_dict().items()
        }
        return {section: values for section, values in kept.items() if values}

    @classmethod
    def load(cls, name_or_path: str) -> "Recipe":
        """Return a preset ("paper", "default", "small") or read a TOML file, which may start from one: `base = "small"`.

        Raises:
            RecipeError: There is no such preset or file, or it holds an unknown key or a value out of range.
        """
        presets = {"paper": cls.paper, "default": cls, "small": cls.small}
        if name_or_path in presets:
            return presets[name_or_path]()
        tree = _read_toml(name_or_path, presets)
        base = tree.pop("base", "default")
        if not isinstance(base, str) or base not in presets:
            raise RecipeError(f"recipe {name_or_path}: base = {short(repr(base))}, allowed are {', '.join(presets)}")
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

    def differences(self, other: "Recipe") -> dict[str, Any]:
        """Return the values that another recipe has otherwise, by key, such as "features.kind".

        Args:
            other: The other recipe.
        """
        theirs = other.to_dict()
        return {
            f"{section}.{key}": value
            for section, values in self.to_dict().items()
            for key, value in values.items()
            if value != theirs[section][key]
        }


def _keys() -> list[str]:
    tree = msgspec.to_builtins(Recipe())
    return [f"{section}.{name}" for section, values in tree.items() for name in values]


def _unknown(key: str) -> str:
    if len(key) > LONGEST:
        return f"unknown recipe key {short(key)!r}; sections are {', '.join(msgspec.to_builtins(Recipe()))}"
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
    return f"recipe value {short(path)}: {short(text)}" if path else short(text)


def _toml_value(text: str) -> Any:
    try:
        return parse_toml(f"value = {text}")["value"]
    except ValueError:
        return text


def _read_toml(name: str, presets: Iterable[str]) -> dict[str, Any]:
    try:
        with Path(name).open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
    except (OSError, ValueError) as error:  # ValueError: a null character
        reason = error.strerror if isinstance(error, OSError) else error
        raise RecipeError(
            f"recipe {short(name)!r}: neither a preset ({', '.join(presets)}) nor a readable file ({reason})"
        ) from None
    if len(content) > _LARGEST_FILE:
        raise RecipeError(f"recipe {name}: larger than {_LARGEST_FILE >> 10} kB; expected a short TOML file")
    try:
        return parse_toml(content.decode("utf-8-sig").replace("\r\n", "\n"))
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError among them
        raise RecipeError(f"recipe {name}: not valid TOML: {short(str(error))}") from None


def _number(value: int | float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"


def _products(recipe: Recipe) -> Iterator[tuple[str, int | float, int | float, int | float, str]]:
    """Yield what several values decide together: its name, value, bounds, and what to change."""
    audio, features, network, training = recipe.audio, recipe.features, recipe.network, recipe.training
    samples, frames = audio.segment_samples, audio.segment_samples // features.hop
    longer = "use a longer audio.segment_s or a shorter features.hop"
    yield "the samples of a segment (audio.segment_s x audio.sample_rate)", samples, features.hop, math.inf, longer
    pixels = frames * features.n_bands
    narrower = "use a longer features.hop, fewer features.n_bands or a shorter audio.segment_s"
    yield "the size of an image (bands x frames)", pixels, 1, MOST_PIXELS, narrower
    spectrum = frames * features.n_fft
    yield "the spectrum of a segment (frames x features.n_fft)", spectrum, 2, MOST_SPECTRUM, "use a longer features.hop"
    filters = features.n_bands * features.n_fft
    yield "the filter bank (features.n_bands x features.n_fft)", filters, 2, MOST_FILTERS, "use a smaller features.n_fft"
    first, second, third = network.filters
    weights = 50 * first + 9 * first * second + 4 * second * third
    if network.kind == "att-crnn":
        n_inputs, hidden = features.n_bands // 64 * third, network.hidden
        weights += 6 * hidden * (n_inputs + hidden) + 18 * hidden**2 + 4 * hidden**2
        weights += network.attention * (2 * hidden + frames)
    yield "the weights of the network", weights, 1, MOST_WEIGHTS, "use a smaller network.hidden or fewer network.filters"
    active = first * pixels
    fewer = "use fewer network.filters or a longer features.hop"
    yield "the first block's output (network.filters[0] x bands x frames)", active, 1, MOST_ACTIVATIONS, fewer
    batch = training.batch_size * active
    yield "the first block's output for a batch", batch, 1, MOST_IN_BATCH, "use a smaller training.batch_size"
    overlap = audio.segment_s / training.segment_hop_s
    yield "audio.segment_s / training.segment_hop_s", overlap, 0, MOST_OVERLAP, "use a longer training.segment_hop_s"
    nyquist = audio.sample_rate / 2
    yield "features.low_hz", features.low_hz, 0, math.nextafter(nyquist, 0), "it must lie below half the sample rate"
