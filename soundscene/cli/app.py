"""The command line: it parses, calls one function of the package, and prints; it decides nothing.

Errors that a user can cause become one line on stderr and exit code 2; `predict` goes on past broken files and then
exits with 3. A traceback means a bug of ours.
"""

import io
import json
import os
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from soundscene.cli.experiment import experiment, report
from soundscene.cli.explain import explain
from soundscene.cli.listen import listen
from soundscene.cli.options import (
    CORES,
    DeviceOption,
    JsonOption,
    PrecisionOption,
    RecipeOption,
    SetOption,
    TestOption,
    WorkersOption,
)
from soundscene.cli.predict import predict
from soundscene.cli.terminal import bar, complain, out, print_json, tell
from soundscene.cli.timeline import timeline
from soundscene.errors import AudioWarning, SceneError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

CTRL_C = 130  # exit code into which typer turns KeyboardInterrupt
QUICK = ("predict", "timeline", "info", "scan")  # commands that leave nothing behind them


@app.command()
def scan(folder: Path, manifest: Annotated[Path, typer.Option("--out", help="CSV to write.")]) -> None:
    """Write a manifest (CSV) of a folder that holds one folder per scene."""
    from soundscene.data.manifest import scan as scan_folder

    found, notes = scan_folder(folder)
    found.write(manifest)
    for note in notes:
        tell(note)
    out.print(f"{manifest}: {len(found.recordings)} recordings of {len(found.scenes)} scenes")


@app.command()
def train(
    manifest: Path,
    model: Annotated[Path, typer.Option("--out", help="Model file (.safetensors) to write.")],
    test: TestOption = None,
    recipe: RecipeOption = "small",
    settings: SetOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "32-true",
    workers: WorkersOption = CORES,
) -> None:
    """Train a model on a manifest; killed, the same command goes on where it stopped."""
    from soundscene.pipeline import train_on_manifest
    from soundscene.recipe import Recipe
    from soundscene.training.device import close, make_fabric

    chosen = Recipe.load(recipe).with_settings(settings or [])
    fabric = make_fabric(device, precision)
    first = fabric.global_rank == 0  # of the processes that torchrun may have started, one speaks
    with bar("reading sound", first) as reading, bar("training", first) as training:

        def epoch(row: dict[str, float]) -> None:
            training(int(row["epoch"]), chosen.training.epochs, f"loss {row['loss']:.4f}")

        bundle = train_on_manifest(
            manifest, model, chosen, test=test, fabric=fabric, workers=workers, reading=reading, training=epoch
        )
    close(fabric)
    if first:
        facts = bundle.provenance
        for note in facts["notes"]:
            tell(note)
        out.print(
            f"{model}: {len(bundle.scenes)} scenes, {sum(facts['recordings'].values())} recordings trained on, "
            f"{facts['held_out_recordings']} held out, epoch {facts['epoch']}, {facts['seconds']} s"
        )


@app.command()
def evaluate(
    model: Path,
    manifest: Path,
    test: TestOption = None,
    workers: WorkersOption = CORES,
    as_json: JsonOption = False,
) -> None:
    """Score a model on a manifest, by segment and by recording, with the softmax layer and with the SVM."""
    from soundscene.bundle import ModelBundle
    from soundscene.cli.tables import confusion_table, print_table, score_table
    from soundscene.pipeline import as_dict, evaluate_on_manifest

    bundle = ModelBundle.load(model)
    with bar("reading sound") as reading:
        result = evaluate_on_manifest(bundle, manifest, test=test, workers=workers, reading=reading)
    for note in result.notes:
        tell(note)
    if result.n_trained_on:
        tell(
            f"{result.n_trained_on} of {result.n_recordings} recordings were in the model's training: the figures flatter; "
            "use --test with the part that training left out"
        )
    if as_json:
        print_json(as_dict(result))
        return
    print_table(score_table(result), sys.stdout)
    print_table(confusion_table(result, bundle.recipe.calibration.head), sys.stdout)


@app.command()
def info(model: Path, as_json: JsonOption = False) -> None:
    """Tell what a model file holds: scenes, recipe, and where it comes from."""
    from soundscene.bundle import ModelBundle
    from soundscene.cli.tables import bundle_facts

    bundle = ModelBundle.load(model)
    facts = bundle_facts(bundle)
    if as_json:
        print_json(facts)
        return
    sections = {f"recipe.{name}": values for name, values in facts.pop("recipe").items()}
    for key, value in (facts | sections).items():
        out.print(f"{key:<26}{value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}")


@app.command()
def demo(
    corpus: Annotated[
        Path | None, typer.Option(help="A folder per scene of real recordings, instead of rendered sound.")
    ] = None,
    folder: Annotated[Path, typer.Option("--out", help="Where to put sound, models and picture.")] = Path("demo-out"),
    seed: Annotated[int, typer.Option(min=0, help="Of the rendered sound and the training.")] = 0,
) -> None:
    """Render ten scenes, train on them, and show what the models say of recordings they never heard."""
    from soundscene.cli.demo import run_demo

    run_demo(corpus, folder, seed, out, bar)


app.command()(predict)
app.command()(timeline)
app.command()(listen)
app.command()(explain)
app.command()(experiment)
app.command()(report)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; `SceneError` becomes one line and exit code 2."""
    warnings.simplefilter("ignore", AudioWarning)  # printed as notes
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file name need not be text
    try:
        app(arguments, prog_name="soundscene")
    except SceneError as error:
        complain(str(error))
        sys.exit(2)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("soundscene"):
            raise
        complain(f"{error}; what training and pictures need comes with pip install soundscene[train,plot,explain]")
        sys.exit(2)
    except SystemExit as end:
        if end.code == CTRL_C:
            complain("stopped; the same command goes on where a training stopped")
        raise
    finally:
        _flush()


def _flush() -> None:
    """Hand on what is left, unless the reader has gone: `| head` has read enough."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python tries again, and complains, at its end
        sys.exit(1)


def command() -> None:
    """`main` as a process of its own.

    Clearing away everything that PyTorch and numba have made takes Python 0.7 s, and the system no time at all. So the
    commands in QUICK end at once, unless Ray still has something to do; no thread of theirs has (docs/decisions/0065).
    """
    try:
        main()
        code = 0
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            raise
        code = end.code or 0
    if sys.argv[1:2] and sys.argv[1] in QUICK and "ray" not in sys.modules:
        with suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    command()
