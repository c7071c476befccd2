"""`soundscene experiment` and `soundscene report`: every system on every split, and what came of it."""

from pathlib import Path
from typing import Annotated

import typer

from soundscene.cli.options import CORES, DeviceOption, PrecisionOption, SetOption
from soundscene.cli.terminal import bar, complain, out, tell

ALL = "att-crnn-mel,att-crnn-gammatone,cnn-mel,cnn-gammatone,hog,mfcc-dnn"

FAILED = 3  # exit code: some tasks have no result


def experiment(
    manifest: Annotated[Path | None, typer.Argument(help="CSV with path,scene and optionally group, fold, ...")] = None,
    run: Annotated[Path, typer.Option("--out", help="Folder for everything; given again, the run goes on.")] = Path("run"),
    splits: Annotated[str | None, typer.Option(help="by=COLUMN, folds=N or random=N[,train=0.8][,seed=N].")] = None,
    systems: Annotated[str, typer.Option(help="Names, comma separated; NAME:key=value makes a variant.")] = ALL,
    ablate: Annotated[str | None, typer.Option(help="Add the paper's ablations of this system.")] = None,
    seeds: Annotated[str, typer.Option(help="Of the trainings, comma separated.")] = "0",
    recipe: Annotated[str | None, typer.Option(help="small, default, paper, or a TOML file.")] = None,
    settings: SetOption = None,
    litis: Annotated[Path | None, typer.Option(help="Folder or zip of LITIS Rouen, instead of a manifest.")] = None,
    split_files: Annotated[Path | None, typer.Option(help="Of LITIS: folder with its files of splits.")] = None,
    skip_broken: Annotated[bool, typer.Option("--skip-broken", help="Leave unusable recordings out and say so.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Trainings at a time.")] = CORES,
    threads: Annotated[int | None, typer.Option(min=1, help="Of each training; by default cores / workers.")] = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "32-true",
    cluster: Annotated[str | None, typer.Option(help="Address of a Ray cluster: auto, local, HOST:PORT.")] = None,
    results: Annotated[str | None, typer.Option(help="Where results go, if not into --out: a folder or s3://...")] = None,
) -> None:
    """Train every system on every split; killed, the same command goes on. `soundscene report` makes tables and a page."""
    from soundscene.cli.experiment_progress import RunProgress
    from soundscene.experiment.request import from_litis, from_manifest, read_seeds
    from soundscene.experiment.run import RunOptions, run_experiment
    from soundscene.recipe import Recipe
    from soundscene.systems.catalogue import split_names
    from soundscene.training.device import close, make_fabric, started_by_torchrun

    if (manifest is None) == (litis is None):
        raise typer.BadParameter("give a manifest, or --litis FOLDER, and not both")
    names, numbers = split_names(systems), read_seeds(seeds)
    chosen = Recipe.load(recipe or ("small" if litis is None else "default")).with_settings(settings or [])
    fabric = make_fabric(device, precision) if started_by_torchrun() else None
    first = fabric is None or fabric.global_rank == 0
    if litis is not None:
        request = from_litis(litis, run / "litis", split_files, names, ablate, numbers, chosen, skip_broken)
    else:
        assert manifest is not None
        request = from_manifest(manifest, splits, names, ablate, numbers, chosen, skip_broken)
    for note in request.notes if first else ():
        tell(note)
    means = RunOptions(workers, threads, device, precision, cluster, results, fabric)
    with bar("reading sound", first) as reading, bar("trainings", first) as training:
        progress = RunProgress(training, out.print if first else lambda line: None)
        outcome = run_experiment(
            request, run, means, lambda name, done, n: reading(done, n, name), progress.told, progress.started
        )
    if fabric is not None:
        close(fabric)
    if first:
        for name, why in outcome.failures.items():
            complain(f"{name}: {why}")
        out.print(f"{run}: {outcome.n_done} of {outcome.n_asked} trainings have a result; soundscene report {run}")
    if outcome.failures:
        raise typer.Exit(FAILED)


def report(
    run: Annotated[Path, typer.Argument(help="Folder of an experiment, finished or not.")],
    folder: Annotated[Path | None, typer.Option("--out", help="By default RUN/report.")] = None,
    main: Annotated[str | None, typer.Option(help="System of the single pictures, as att-crnn-mel/svm.")] = None,
    fuse: Annotated[list[str] | None, typer.Option(help="Fuse stored results: NAME=SYSTEM,SYSTEM. Repeatable.")] = None,
    tables: Annotated[bool, typer.Option("--tables", help="Print all tables, not the first only.")] = False,
) -> None:
    """Make tables (Markdown, CSV), figures and one self-contained HTML page of an experiment."""
    from soundscene.report.run import report_on_run

    made = report_on_run(run, folder, main, fuse or [])
    for note in made.notes:
        tell(note)
    out.print(made.text if tables else "\n### ".join(made.text.split("\n### ")[:2]))
    out.print(f"{made.page}")
