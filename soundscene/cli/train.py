"""`soundscene train`: a model from a manifest."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soundscene.cli.corpus import open_corpus
from soundscene.cli.models import check_manifest, check_model_out
from soundscene.cli.options import (
    COMPUTE,
    CORES,
    INPUT,
    TRAINING,
    ColumnsOption,
    DeviceOption,
    ManifestArgument,
    PrecisionOption,
    SetOption,
    TestOption,
)
from soundscene.cli.terminal import bar, busy_note, err, say, tell
from soundscene.errors import SceneError
from soundscene.extras import require
from soundscene.texts import counted

if TYPE_CHECKING:
    from soundscene.data.manifest import Manifest
    from soundscene.model import Model
    from soundscene.recipe import Recipe


SystemsOption = Annotated[
    str | None,
    typer.Option(
        "--systems",
        metavar="NAMES",
        help="Members of the model, comma-separated; NAME@SEED for another seed. Default: the network of --recipe, "
        "without it att-crnn-mel.",
        rich_help_panel=TRAINING,
    ),
]
BaseRecipeOption = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="NAME",
        help="small, default, paper, or a TOML file. Default: small, but 60 epochs; with --systems of networks only: small.",
        rich_help_panel=TRAINING,
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
        typer.Option(
            metavar="FILE",
            help="File of the system backbone, or another YAMNet. Default: by `soundscene backbone`.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    recipe: BaseRecipeOption = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Epochs of training. Default: the recipe's; without --recipe and --systems: 60.",
            show_default=False,
            rich_help_panel=TRAINING,
        ),
    ] = None,
    settings: SetOption = None,
    licence: Annotated[
        str | None,
        typer.Option(
            "--licence",
            metavar="ID",
            help="Licence of recordings whose rows state none in a column licence.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    skip_broken: Annotated[
        bool,
        typer.Option("--skip-broken", help="Leave out unreadable recordings, with a note for each.", rich_help_panel=INPUT),
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
    """Train a model from a manifest. Rerun to resume.

    With --systems att-crnn-mel,att-crnn-gammatone the model fuses several networks. With yamnet it uses a
    pretrained one.
    """
    require("train", "train")
    check_manifest(manifest, model)
    check_model_out(model, [manifest, backbone, recipe])
    first = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun may have started, one prints
    with bar("reading audio", first, at_once=True) as reading, bar("training", first and err.is_terminal) as training:
        from soundscene.cli.progress import TrainingProgress
        from soundscene.pipeline import train_on_manifest
        from soundscene.systems.catalogue import split_names
        from soundscene.systems.choice import training_recipes
        from soundscene.training.device import close, make_fabric

        chosen = [*([f"training.epochs={epochs}"] if epochs else []), *(settings or [])]
        recipes, notes = training_recipes(() if systems is None else split_names(systems), recipe, chosen)
        fabric = make_fabric(device, precision)
        corpus = open_corpus(manifest, columns, first)
        said = list(filter(None, (*notes, busy_note()) if first else ()))

        def read(done: int, n: int) -> None:
            while said:  # what cannot be trained is refused in one line before
                tell(said.pop(0))
            reading(done, n)

        progress = TrainingProgress(_epochs(recipes), training, None if err.is_terminal or not first else err.print)
        skipped = (tell if first else lambda why: None) if skip_broken else None
        trained = train_on_manifest(
            corpus,
            model,
            recipes,
            test=test,
            fabric=fabric,
            workers=workers,
            read_progress=read,
            on_epoch=progress.epoch,
            on_step=progress.step,
            skipped=skipped,
            backbone=backbone,
            licence=licence,
            notes=notes,
        )
    close(fabric)
    if first:
        for text in trained.provenance["notes"][len(notes) :]:  # the others have been told
            tell(text)
        say(f"{model}: {counted(len(trained.scenes), 'scene')}, {_summary(trained.provenance)}")
        if test:
            _score(trained, corpus, test, workers, skip_broken)


def _score(model: "Model", manifest: "Path | Manifest", test: str, workers: int, skip_broken: bool) -> None:
    """Print the accuracy on the test part. The model is saved, so that what fails here is a note."""
    from soundscene.pipeline import evaluate_on_manifest

    try:
        with bar("testing", at_once=True) as reading:
            skipped = tell if skip_broken else None
            result = evaluate_on_manifest(
                model, manifest, test=test, workers=workers, read_progress=reading, skipped=skipped
            )
    except SceneError as error:
        tell(f"the test part {test} was not scored: {error}")
        return
    say(f"test {test}: {result.sentence(model.head)}")


def _epochs(recipes: "dict[str, Recipe]") -> dict[str, int]:
    """Return the epochs of each member; a frozen backbone has none."""
    from soundscene.systems.catalogue import is_backbone

    return {name: 0 if is_backbone(name) else one.training.epochs for name, one in recipes.items()}


def _summary(facts: dict[str, Any]) -> str:
    """Recordings, epochs and seconds of a training."""
    epochs = _epoch(facts)
    if "members" in facts:
        of_members = ", ".join(f"{name}: {_epoch(own)}" for name, own in facts["members"].items())
        epochs = f"{len(facts['members'])} members ({of_members})"
    n_trained, n_held = sum(facts["recordings"].values()), facts["held_out_recordings"]
    return f"{counted(n_trained, 'recording')} trained on, {n_held} held out, {epochs}, {facts['seconds']} s"


def _epoch(facts: dict[str, Any]) -> str:
    return f"epoch {facts['epoch']}" if facts.get("epoch") else "frozen"
