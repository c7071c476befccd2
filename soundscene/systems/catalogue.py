"""The systems that an experiment can name, and the paper's ablations as variants of one of them."""

import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

import msgspec

from soundscene.errors import RecipeError
from soundscene.recipe import FRONT_END, Recipe
from soundscene.systems.variants import check_effect, check_free, check_settings, options_of, split_settings
from soundscene.texts import short

if TYPE_CHECKING:
    from soundscene.systems.system import System  # needs PyTorch, and reports do not


class SystemSpec(msgspec.Struct, frozen=True, rename={"module": "room"}):
    """A system in a plan: plain text, so that other processes and machines can build it.

    Attributes:
        name: Name in files.
        title: Title in tables.
        module: Module of `soundscene.systems` that builds it; "room" in plan.json, as 0.1.0 wrote it.
        settings: Settings on top of the experiment's recipe.
        base: Name of the system that this one is a variant of, or "".
    """

    name: str
    title: str
    module: str
    settings: tuple[str, ...] = ()
    base: str = ""


SYSTEMS = (
    SystemSpec("att-crnn-mel", "Att-CRNN (log-mel)", "neural", ("network.kind=att-crnn", "features.kind=mel")),
    SystemSpec(
        "att-crnn-gammatone", "Att-CRNN (log-gammatone)", "neural", ("network.kind=att-crnn", "features.kind=gammatone")
    ),
    SystemSpec("cnn-mel", "CNN baseline (log-mel)", "neural", ("network.kind=cnn", "features.kind=mel")),
    SystemSpec("cnn-gammatone", "CNN baseline (log-gammatone)", "neural", ("network.kind=cnn", "features.kind=gammatone")),
    SystemSpec("yamnet", "YAMNet, frozen", "transfer", ("calibration.svm_c=0.01",)),
    SystemSpec("backbone", "backbone, frozen", "transfer", ("calibration.svm_c=0.01",)),
    SystemSpec("hog", "HOG + linear SVM", "hog"),
    SystemSpec("hog-spd", "HOG + SPD", "hog_spd"),
    SystemSpec("cqt-hog", "CQT + HOG", "cqt_hog"),
    SystemSpec("fisher-hog", "FisherHOG + SVM", "fisher_hog"),
    SystemSpec("kernel-pca", "Kernel PCA", "factors", ("method=kernel-pca",)),
    SystemSpec("conv-nmf", "Convolutive NMF", "factors", ("method=conv-nmf",)),
    SystemSpec("sparse-nmf", "Sparse NMF", "factors", ("method=sparse-nmf",)),
    SystemSpec("mfcc-dnn", "MFCC + DNN", "mfcc_dnn"),
    SystemSpec("tt-cnn", "Temporal Transformer CNN", "temporal_transformer", ("kind=cnn",)),
    SystemSpec("tt-lstm", "Temporal Transformer LSTM", "temporal_transformer", ("kind=lstm",)),
    SystemSpec("tt-dnn", "Temporal Transformer DNN", "temporal_transformer", ("kind=dnn",)),
    SystemSpec("lstm-sa", "LSTM-SA", "lstm_sa"),
    SystemSpec("lte-rnn", "LTE-RNN", "lte_networks", ("kind=rnn",)),
    SystemSpec("lte-cnn", "LTE-CNN", "lte_networks", ("kind=cnn",)),
    SystemSpec("cnn-1d-2d-3d", "1D+2D+3D CNNs", "three_cnns"),
    SystemSpec("scene-speech-lte", "Scene-LTE + Speech-LTE (rendered speech)", "scene_lte"),
    SystemSpec("nearest-mean", "Nearest mean spectrum", "baselines", ("method=nearest-mean",)),
    SystemSpec("band-statistics", "Band statistics + SVM (Gaussian kernel)", "baselines", ("method=band-statistics",)),
)

TABLE3_WORD = "table3"
TABLE3 = tuple(spec.name for spec in SYSTEMS if spec.module not in ("transfer", "baselines"))
"""The systems of the paper's Table 3, its two fusions apart, which a report makes of them."""

BACKBONES = tuple(spec.name for spec in SYSTEMS if spec.module == "transfer")  # frozen; nothing is trained but the heads

ABLATIONS = {
    "no-mixing": ("no between-class training", "training.mixing=none"),
    "one-channel": ("no noise-subtracted channel", "network.noise_subtracted=false"),
    "temporal": ("temporal attention only", "network.pooling=temporal"),
    "spatial": ("spatial attention only", "network.pooling=spatial"),
    "mean": ("mean pooling", "network.pooling=mean"),
}


def specs(names: Sequence[str], ablate: str | None = None) -> tuple[SystemSpec, ...]:
    """Look up systems by name, and add the ablations of one of them.

    A name may carry settings, which make it a variant: "att-crnn-mel:training.epochs=60:network.hidden=64". A setting
    without a point is one of the system's own, see `OPTIONS` of its module: "hog-spd:blocks=spd".

    Args:
        names: Names of systems; "table3" stands for all of `TABLE3`.
        ablate: Name of the system whose ablations to add.

    Raises:
        RecipeError: If a name is unknown, a setting is none that the system reads or leaves it as it is, or the system has
            nothing of what the ablations take away.
    """
    chosen: list[SystemSpec] = []
    for word in names:
        chosen += map(_named, TABLE3) if word == TABLE3_WORD else [_variant(word, TABLE3_WORD)]
    if ablate is not None:
        chosen += _ablations(ablate)
    return tuple(dict.fromkeys(chosen))


def members(names: Sequence[str], recipe: Recipe) -> dict[str, Recipe]:
    """Look up the members of a model by name.

    A name is that of a neural system, with settings if need be, and @SEED for another seed of its training:
    "att-crnn-mel", "att-crnn-mel@1", "cnn-mel:network.hidden=64@1".

    Args:
        names: Names of systems, all different.
        recipe: The recipe that they start from.

    Returns:
        The recipe of each member by its name, in the order given, but those of frozen backbones last: the networks decide
        the sample rate, and their head is the default.

    Raises:
        RecipeError: A name is unknown, given twice or no neural system, a seed is no number, two networks have one recipe,
            or members differ in what they share.
    """
    from soundscene.model import MOST_MEMBERS  # needs PyTorch

    if len(names) > MOST_MEMBERS:
        raise RecipeError(f"{len(names)} systems for one model: allowed are 1 to {MOST_MEMBERS}")
    found: dict[str, Recipe] = {}
    for name in names:
        plain, at, seed = name.partition("@")
        spec = _named(plain, member=True)
        if at and not (seed.isascii() and seed.isdigit()):
            raise RecipeError(f"system {short(name)!r}: expected a seed after @, a whole number, as in {spec.name}@1")
        settings = (*spec.settings, f"training.seed={int(seed)}") if at else spec.settings
        of_member = f"{spec.name}@{int(seed)}" if at else spec.name
        if of_member in found:
            raise RecipeError(f"system {short(name)!r} is given twice; give the second another seed, as in {spec.name}@1")
        found[of_member] = recipe.with_settings(settings)
    _check_different(found)
    _check_shared(found)
    return dict(sorted(found.items(), key=lambda item: is_backbone(item[0])))


def plain_name(member: str) -> str:
    """Return the name in the catalogue of a member or a variant.

    >>> plain_name("yamnet@1"), plain_name("cnn-mel+network.hidden=64")
    ('yamnet', 'cnn-mel')
    """
    return re.split("[@+]", member, maxsplit=1)[0]


def is_backbone(member: str) -> bool:
    """Tell whether a member, by its name, is a frozen backbone.

    >>> is_backbone("yamnet@1"), is_backbone("att-crnn-mel")
    (True, False)
    """
    return plain_name(member) in BACKBONES


_MEMBERS = ("neural", "transfer")  # modules of systems that can be members of a model


def trainable(name: str) -> bool:
    """Tell whether `soundscene train` trains a system, so that a model can have it as a member.

    >>> trainable("cnn-mel"), trainable("hog")
    (True, False)

    Args:
        name: Of a system.
    """
    return any(spec.name == name and spec.module in _MEMBERS for spec in SYSTEMS)


def _check_different(recipes: Mapping[str, Recipe]) -> None:
    """Refuse two networks of one recipe: they would be one network. Of frozen backbones the files may differ."""
    first: dict[str, str] = {}
    for name, recipe in recipes.items():
        stored = str(recipe.to_dict())
        if not is_backbone(name) and (other := first.setdefault(stored, name)) != name:
            raise RecipeError(
                f"systems {short(other)} and {short(name)} are the same network: the same settings and seed "
                f"{recipe.training.seed}; give the second another seed, as in "
                f"{name.partition('@')[0].partition('+')[0]}@{recipe.training.seed + 1}"
            )


def _check_shared(recipes: Mapping[str, Recipe]) -> None:
    """Refuse members that differ in what all members of a model share."""
    first, *others = recipes
    trees = {name: one.to_dict() for name, one in recipes.items()}
    shared = [(section, key) for section in ("audio", "calibration") for key in trees[first][section]]
    shared.remove(("calibration", "svm_c"))  # of each member's own SVM
    for name in others:
        for section, key in (*shared, ("training", "segment_hop_s")):
            if trees[name][section][key] != trees[first][section][key]:
                raise RecipeError(
                    f"systems {short(first)} and {short(name)} differ in {section}.{key}, which members of a model share; "
                    "set it for all of them by --set"
                )


def member_system(name: str) -> str:
    """Return the system of a member: `"att-crnn-mel@1"` is of "att-crnn-mel".

    Args:
        name: As in `members`.

    Raises:
        RecipeError: It is unknown, or of a system that cannot be a member.
    """
    return _named(name.partition("@")[0], member=True).name


def split_names(text: str) -> list[str]:
    """Split names at commas, except at those inside brackets, which belong to a value."""
    return [name.strip() for name in re.split(r",(?![^\[]*\])", text)]


def build(spec: SystemSpec, recipe: Recipe, front_end: int = FRONT_END) -> "System":
    """Build a system, importing only what it needs.

    Args:
        spec: The system.
        recipe: The experiment's recipe.
        front_end: Version of the front-end, see `recipe.FRONT_END`.

    Raises:
        RecipeError: If the recipe does not allow a setting of the system.
    """
    module = import_module(f"soundscene.systems.{spec.module}")
    try:
        changed, own = configured(spec, recipe)
        if hasattr(module, "OPTIONS"):
            return module.system(changed, spec.name, spec.title, front_end, own)
        return module.system(changed, spec.name, spec.title, front_end)
    except RecipeError as error:
        raise RecipeError(f"system {short(spec.name)!r}: {error}") from None


def configured(spec: SystemSpec, recipe: Recipe) -> tuple[Recipe, dict[str, str]]:
    """Return the recipe of a system, and its own settings: those without a section, which its module lists in `OPTIONS`.

    Args:
        spec: The system.
        recipe: The experiment's recipe.

    Raises:
        RecipeError: A setting is unknown or out of range.
    """
    pairs = {setting: setting.partition("=") for setting in spec.settings}
    own = {key.strip(): value.strip() for key, equals, value in pairs.values() if equals and "." not in key}
    own.pop("augmentation", None)  # "augmentation=off" is the recipe's
    if own:
        allowed = options_of(spec.module)
        for key, value in own.items():
            if key not in allowed:
                known = f"; its own are {', '.join(allowed)}" if allowed else ""
                given = short(f"{key}={value}")
                raise RecipeError(f"{given!r}: expected section.key=value, for example training.epochs=30{known}")
            if allowed[key] and value not in allowed[key]:  # nothing listed: any text
                raise RecipeError(f"{key}={short(value)}, allowed are {', '.join(allowed[key])}")
    return recipe.with_settings([setting for setting, (key, _, _) in pairs.items() if key.strip() not in own]), own


def check_variant(spec: SystemSpec, recipe: Recipe) -> None:
    """Refuse a variant whose settings leave the recipe as it is, so that it would be its base under another name.

    Args:
        spec: The system.
        recipe: The experiment's recipe.

    Raises:
        RecipeError: It is one, or a setting is unknown or out of range.
    """
    base = spec_of(spec.name) if any(one.name == spec.name.partition("+")[0] for one in SYSTEMS) else spec
    given = spec.settings[len(base.settings) :]
    check_effect(spec.name, configured(spec, recipe)[0], configured(base, recipe)[0], given)


def spec_of(name: str) -> SystemSpec:
    """Return the system of the catalogue that a name is of, or the name of a variant.

    >>> spec_of("hog-spd+blocks=spd").title
    'HOG + SPD'

    Args:
        name: In files.

    Raises:
        RecipeError: It is of none.
    """
    return _named(name.partition("+")[0])


def _variant(name: str, word: str = "") -> SystemSpec:
    """Look up a system of an experiment, and refuse settings that it does not read."""
    spec = _named(name, word)
    if given := split_settings(name):
        base = _named(spec.base)
        check_settings(name, base.name, spec.module, base.settings, given)
    return spec


def _named(name: str, word: str = "", member: bool = False) -> SystemSpec:
    """Look up a system, or a variant of one.

    Args:
        name: With settings if need be.
        word: What stands for several and is allowed in a name's place.
        member: Whether it must be one that a model can have.

    Raises:
        RecipeError: There is none, or none that is allowed.
    """
    plain, colon, _ = name.partition(":")
    spec = {spec.name: spec for spec in SYSTEMS}.get(plain)
    names = [spec.name for spec in SYSTEMS if not member or spec.module in _MEMBERS]
    if member and (plain == TABLE3_WORD or (spec and spec.module not in _MEMBERS)):
        raise RecipeError(f"system {short(plain)!r} cannot be a member of a model; allowed are {', '.join(names)}")
    if spec is None and word and plain == word:
        raise RecipeError(f"system {short(name)!r}: {word} takes no settings; name one system, as in hog-spd:blocks=spd")
    if spec is None:
        raise RecipeError(f"system {short(plain)!r}: allowed are {', '.join([*names, *([word] if word else [])])}")
    if not colon:
        return spec
    given = split_settings(name)
    if spec.module != "transfer":  # the settings of frozen backbones are a start, and may be others
        check_free(name, plain, given, {one.name: one.settings for one in SYSTEMS if one.module == spec.module})
    title = f"{spec.title}, {', '.join(given)}"
    return SystemSpec(f"{plain}+{'+'.join(given)}", title, spec.module, (*spec.settings, *given), plain)


def _ablations(name: str) -> list[SystemSpec]:
    """Return the ablations of a system: those that take away what it has."""
    base = _variant(name)
    if base.module != "neural":
        allowed = ", ".join(spec.name for spec in SYSTEMS if spec.module == "neural")
        raise RecipeError(
            f"--ablate {short(name)}: {base.name} has nothing of what the ablations take away; allowed are {allowed}"
        )
    has_attention = "network.kind=att-crnn" in base.settings
    return [
        SystemSpec(f"{base.name}+{short_name}", f"{base.title}, {title}", base.module, (*base.settings, setting), base.name)
        for short_name, (title, setting) in ABLATIONS.items()
        if has_attention or not setting.startswith("network.pooling=")
    ]
