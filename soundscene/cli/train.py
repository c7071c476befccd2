"""`soundscene train`: a model from a manifest."""

from pathlib import Path
from typing import Annotated

import typer

from soundscene.cli.options import (
    COMPUTE,
    CORES,
    DeviceOption,
    ManifestArgument,
    PrecisionOption,
    RecipeOption,
    SetOption,
    TestOption,
)
from soundscene.cli.terminal import bar, busy_note, say, tell
from soundscene.extras import require


def train(
    manifest: ManifestArgument,
    model: Annotated[Path, typer.Option("--out", metavar="MODEL", help="Model file (.safetensors) to write.")],
    test: TestOption = None,
    recipe: RecipeOption = "small",
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
    """Train a model from a manifest. Rerun the same command to resume."""
    require("train", "train")
    from soundscene.pipeline import train_on_manifest
    from soundscene.recipe import Recipe
    from soundscene.training.device import close, make_fabric

    chosen = Recipe.load(recipe).with_settings(settings or [])
    fabric = make_fabric(device, precision)
    first = fabric.global_rank == 0  # of the processes that torchrun may have started, one prints
    if first and (busy := busy_note()):
        tell(busy)
    with bar("reading audio", first) as reading, bar("training", first) as training:

        def epoch(row: dict[str, float]) -> None:
            training(int(row["epoch"]), chosen.training.epochs, f"loss {row['loss']:.4f}")

        trained = train_on_manifest(
            manifest,
            model,
            chosen,
            test=test,
            fabric=fabric,
            workers=workers,
            read_progress=reading,
            on_epoch=epoch,
            skipped=(tell if first else lambda why: None) if skip_broken else None,
        )
    close(fabric)
    if first:
        facts = trained.provenance
        for note in facts["notes"]:
            tell(note)
        say(
            f"{model}: {len(trained.scenes)} scenes, {sum(facts['recordings'].values())} recordings trained on, "
            f"{facts['held_out_recordings']} held out, epoch {facts['epoch']}, {facts['seconds']} s"
        )
