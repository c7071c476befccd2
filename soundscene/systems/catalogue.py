"""The systems that an experiment can name, and the paper's ablations as variants of one of them."""

import re
from collections.abc import Sequence
from importlib import import_module

import msgspec

from soundscene.errors import RecipeError
from soundscene.recipe import Recipe
from soundscene.systems.system import System


class SystemSpec(msgspec.Struct, frozen=True, rename={"module": "room"}):
    """A system in a plan: plain text, so that other processes and machines can build it.

    name for files, title for tables; module: of this package, which builds it ("room" in plan.json, as 0.1.0 wrote it); settings: on top of the experiment's
    recipe; base: name of the system that this one is a variant of, "" if it is none.
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
    SystemSpec("hog", "HOG + linear SVM", "hog"),
    SystemSpec("mfcc-dnn", "MFCC + DNN", "mfcc_dnn"),
)

ABLATIONS = {
    "no-mixing": ("no between-class training", "training.mixing=none"),
    "one-channel": ("no noise-subtracted channel", "network.noise_subtracted=false"),
    "temporal": ("temporal attention only", "network.pooling=temporal"),
    "spatial": ("spatial attention only", "network.pooling=spatial"),
    "mean": ("mean pooling", "network.pooling=mean"),
}


def specs(names: Sequence[str], ablate: str | None = None) -> tuple[SystemSpec, ...]:
    """The systems of these names, and the ablations of one of them.

    A name may carry settings of its own, which make it a variant: "att-crnn-mel:training.epochs=60:network.hidden=64".
    Raises: `RecipeError` for a name that is not known.
    """
    chosen = [_named(name) for name in names]
    if ablate is not None:
        base = _named(ablate)
        chosen += [
            SystemSpec(f"{base.name}+{name}", f"{base.title}, {title}", base.module, (*base.settings, setting), base.name)
            for name, (title, setting) in ABLATIONS.items()
        ]
    return tuple(dict.fromkeys(chosen))


def split_names(text: str) -> list[str]:
    """Names parted by commas, where those inside brackets belong to a value."""
    return [name.strip() for name in re.split(r",(?![^\[]*\])", text)]


def build(spec: SystemSpec, recipe: Recipe) -> System:
    """The system, ready to fit; what only it needs is imported here.

    Raises: `RecipeError` for a setting that its recipe does not allow.
    """
    module = import_module(f"soundscene.systems.{spec.module}")
    return module.system(recipe.with_settings(spec.settings), spec.name, spec.title)


def _named(name: str) -> SystemSpec:
    plain, _, settings = name.partition(":")
    found = {spec.name: spec for spec in SYSTEMS}.get(plain)
    if found is None:
        raise RecipeError(f"system {plain!r}: allowed are {', '.join(spec.name for spec in SYSTEMS)}")
    if not settings:
        return found
    extra = tuple(settings.split(":"))
    return SystemSpec(
        f"{plain}+{'+'.join(extra)}", f"{found.title}, {', '.join(extra)}", found.module, (*found.settings, *extra), plain
    )
