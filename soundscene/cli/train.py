"""`soundscene train`: a model from a manifest."""

from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soundscene.cli.corpus import open_corpus
from soundscene.cli.options import (
    COMPUTE,
    CORES,
    ColumnsOption,
    DeviceOption,
    ManifestArgument,
    PrecisionOption,
    SetOption,
    TestOption,
)
from soundscene.cli.terminal import bar, busy_note, say, tell
from soundscene.extras import require

if TYPE_CHECKING:
    from soundscene.recipe import Recipe


SystemsOption = Annotated[
    str | None,
    typer.Option(
        "--systems",
        metavar="NAMES",
        help="Members of the model, comma-separated; NAME@SEED for another seed. Default: the recipe's network.",
    ),
]
BaseRecipeOption = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="NAME",
        help="small, default, paper, or a TOML file. Default: small, but 60 epochs; with --systems: small.",
    ),
]


def train(
    manifest: ManifestArgument,
    model: Annotated[Path, typer.Option("--out", metavar="MODEL", help="Model file (.safetensors) to write.")],
    test: TestOption = None,
    columns: ColumnsOption = None,
    systems: SystemsOption = None,
    backbone: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Backbone of the system yamnet or backbone. Default: by `soundscene backbone`."),
    ] = None,
    recipe: BaseRecipeOption = None,
    settings: SetOption = None,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="Leave out unreadable recordings, with a note for each.")
    ] = False,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "32-true",
    workers: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="Threads that read audio. Default: all cores.",
            show_default=False,
            rich_help_panel=COMPUTE,
        ),
    ] = CORES,
) -> None:
    """Train a model from a manifest. Rerun the same command to resume.

    With --systems att-crnn-mel,att-crnn-gammatone the model fuses several networks. With yamnet it stands on a
    pretrained one.
    """
    require("train", "train")
    from soundscene.pipeline import train_on_manifest
    from soundscene.systems.catalogue import DEFAULT_NOTE
    from soundscene.training.device import close, make_fabric

    recipes = _recipes(systems, recipe, settings or [])
    fabric = make_fabric(device, precision)
    first = fabric.global_rank == 0  # of the processes that torchrun may have started, one prints
    if first and systems is None and recipe is None and not settings:
        tell(DEFAULT_NOTE)
    if first and (busy := busy_note()):
        tell(busy)
    corpus = open_corpus(manifest, columns, first)
    with bar("reading audio", first) as reading, bar("training", first) as training:
        trained = train_on_manifest(
            corpus,
            model,
            recipes,
            test=test,
            fabric=fabric,
            workers=workers,
            read_progress=reading,
            on_epoch=_epoch_progress(recipes, training),
            skipped=(tell if first else lambda why: None) if skip_broken else None,
            backbone=backbone,
        )
    close(fabric)
    if first:
        for note in trained.provenance["notes"]:
            tell(note)
        say(f"{model}: {len(trained.scenes)} scenes, {_summary(trained.provenance)}")


def _recipes(systems: str | None, recipe: str | None, settings: Sequence[str]) -> "dict[str, Recipe]":
    """Return the recipe of each member by its name; without systems and recipe the default."""
    from soundscene.member import name_of
    from soundscene.recipe import Recipe
    from soundscene.systems.catalogue import default_members, members, split_names

    if systems is None and recipe is None:
        return default_members(settings)
    chosen = Recipe.load(recipe or "small").with_settings(settings)
    return {name_of(chosen): chosen} if systems is None else members(split_names(systems), chosen)


def _epoch_progress(recipes: "dict[str, Recipe]", progress: Callable[..., None]) -> Callable[[dict[str, Any]], None]:
    """Show the epochs of all members as one bar; a frozen backbone has none."""
    from soundscene.systems.catalogue import is_backbone

    epochs_of = {name: 0 if is_backbone(name) else one.training.epochs for name, one in recipes.items()}
    begun = dict(zip(recipes, accumulate([0, *epochs_of.values()]), strict=False))
    total = sum(epochs_of.values())

    def epoch(row: dict[str, Any]) -> None:
        member = row.get("member", next(iter(recipes)))
        of_member = f"{member}, " if len(recipes) > 1 else ""
        progress(begun[member] + int(row["epoch"]), total, f"{of_member}loss {row['loss']:.4f}")

    return epoch


def _summary(facts: dict[str, Any]) -> str:
    """Recordings, epochs and seconds of a training."""
    epochs = _epoch(facts)
    if "members" in facts:
        of_members = ", ".join(f"{name}: {_epoch(own)}" for name, own in facts["members"].items())
        epochs = f"{len(facts['members'])} members ({of_members})"
    n_trained, n_held = sum(facts["recordings"].values()), facts["held_out_recordings"]
    return f"{n_trained} recordings trained on, {n_held} held out, {epochs}, {facts['seconds']} s"


def _epoch(facts: dict[str, Any]) -> str:
    return f"epoch {facts['epoch']}" if facts.get("epoch") else "frozen"
