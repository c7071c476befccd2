"""`soundscene experiment` and `soundscene report`: every system on every split, and tables and figures of the results."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from soundscene.cli.corpus import open_corpus
from soundscene.cli.options import (
    COMPUTE,
    CORES,
    INPUT,
    OUTPUT,
    TRAINING,
    ColumnsOption,
    DeviceOption,
    EpochsOption,
    PrecisionOption,
    SafeCsvOption,
    SetOption,
)
from soundscene.cli.terminal import bar, complain, out, say, tell
from soundscene.extras import require
from soundscene.texts import show

ALL = "att-crnn-mel,att-crnn-gammatone,cnn-mel,cnn-gammatone,hog,mfcc-dnn"

FAILED = 3  # exit code: some trainings have no result

LITIS_NOTE = (
    "--litis is deprecated and leaves in 0.3; write a manifest by `soundscene scan FOLDER --layout litis --out litis.csv`, "
    "then run `soundscene experiment litis.csv --splits 'columns=split*' --recipe default`"
)


def experiment(
    manifest: Annotated[
        Path | None,
        typer.Argument(
            readable=False, metavar="MANIFEST", help="CSV with path, scene, group, fold; or a folder.", show_default=False
        ),
    ] = None,
    run: Annotated[
        Path,
        typer.Option("--out", metavar="FOLDER", help="Folder of the experiment. Rerun to resume.", rich_help_panel=OUTPUT),
    ] = Path("run"),
    splits: Annotated[
        str | None,
        typer.Option(
            metavar="DESIGN",
            help="by=COLUMN, columns=NAME,NAME (cells train and test), folds=N or random=N[,train=0.8], the last two "
            "with [,seed=N]. Default: by=fold, else folds=5.".replace("[", r"\["),
        ),
    ] = None,
    systems: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="Comma-separated. table3: all of the paper's Table 3; NAME:key=value: a variant. An unknown name lists "
            "all, as docs/reference does.",
            show_default="both Att-CRNNs, both CNNs, hog, mfcc-dnn",
        ),
    ] = ALL,
    ablate: Annotated[str | None, typer.Option(metavar="NAME", help="Add the paper's ablations of this system.")] = None,
    backbone: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File of the system backbone, or another YAMNet. Default: that of the run."),
    ] = None,
    seeds: Annotated[
        str, typer.Option(metavar="NUMBERS", help="Training seeds, comma-separated.", rich_help_panel=TRAINING)
    ] = "0",
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="small, default, paper, or a TOML file. Default: that of the run, else small; of LITIS Rouen default.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    epochs: EpochsOption = None,
    settings: SetOption = None,
    columns: ColumnsOption = None,
    litis: Annotated[Path | None, typer.Option(help="Deprecated: `scan --layout litis`.", hidden=True)] = None,
    split_files: Annotated[Path | None, typer.Option(help="Split files of --litis.", hidden=True)] = None,
    diagnose: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="same-recording: leak on purpose, in place of --splits. Marked in every table."),
    ] = None,
    skip_broken: Annotated[
        bool,
        typer.Option(
            "--skip-broken", help="Leave out unreadable recordings, with a note in all tables.", rich_help_panel=INPUT
        ),
    ] = False,
    workers: Annotated[
        int,
        typer.Option(
            min=1, metavar="N", help="Parallel trainings. Default: all cores.", show_default=False, rich_help_panel=COMPUTE
        ),
    ] = CORES,
    threads: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Threads per training. Default: cores / workers.", rich_help_panel=COMPUTE),
    ] = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "32-true",
    cluster: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Ray cluster: auto, local or HOST:PORT.", rich_help_panel=COMPUTE)
    ] = None,
    results: Annotated[
        str | None,
        typer.Option(
            metavar="PLACE",
            help="Where results go, if not to --out: a folder or s3://..., of one experiment only. --out remembers it.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
) -> None:
    """Train every system on every split. Rerun to resume.

    `soundscene report` then makes tables, figures and a page.
    """
    require("experiment", "experiment" if cluster is None else "ray")
    from soundscene.cli.progress import ExperimentProgress
    from soundscene.data.litis import is_litis
    from soundscene.experiment.request import (
        choose_recipe,
        from_diagnosis,
        from_litis,
        from_manifest,
        read_seeds,
        with_backbone,
    )
    from soundscene.experiment.run import RunCallbacks, RunOptions, run_experiment
    from soundscene.recipe import FRONT_END
    from soundscene.systems.catalogue import split_names
    from soundscene.training.device import close, make_fabric, started_by_torchrun

    if (manifest is None) == (litis is None):
        raise typer.BadParameter("give a manifest" if litis is None else "--litis takes no manifest; leave one of them out")
    if diagnose is not None and (splits is not None or litis is not None):
        raise typer.BadParameter("--diagnose makes its own splits; leave out --splits and --litis")
    names, numbers = split_names(systems), read_seeds(seeds)
    wanted = [*([f"training.epochs={epochs}"] if epochs else []), *(settings or [])]
    fabric = make_fabric(device, precision) if started_by_torchrun() else None
    first = fabric is None or fabric.global_rank == 0
    corpus = open_corpus(manifest, columns, first) if manifest is not None else None
    preset = "small" if corpus is not None and not is_litis(corpus) else "default"
    chosen, recipe_note = choose_recipe(run, recipe, wanted, preset)
    if litis is not None:
        if first:
            tell(LITIS_NOTE)
        request = from_litis(litis, run / "litis", split_files, names, ablate, numbers, chosen, skip_broken)
    else:
        assert corpus is not None
        request = from_manifest(corpus, splits, names, ablate, numbers, chosen, skip_broken)
        if diagnose is not None:
            request = from_diagnosis(request, corpus, diagnose)
    request, backbone_note = with_backbone(request, backbone, run)
    notes = (*request.notes, *filter(None, (recipe_note, backbone_note)))
    for note in notes if first else ():
        tell(note)
    options = RunOptions(workers, threads, device, precision, cluster, results, fabric)
    with bar("reading audio", first, at_once=True) as reading, bar("trainings", first) as training:
        progress = ExperimentProgress(training, say if first else lambda line: None)
        callbacks = RunCallbacks(lambda name, done, n: reading(done, n, name), progress.start, progress.update, tell)
        result = run_experiment(request, run, options, callbacks)
    if fabric is not None:
        close(fabric)
    if first:
        if result.plan.front_end < FRONT_END:
            tell(f"{run}: begun with front-end {result.plan.front_end} of an earlier soundscene, and continued with it")
        for name, why in result.failures.items():
            complain(f"{name}: {why}")
        say(
            f"{run}: {result.n_done} of {result.n_asked} trainings have a result; tables and a page: soundscene report {run}"
        )
    if result.failures:
        raise typer.Exit(FAILED)


def report(
    run: Annotated[Path, typer.Argument(readable=False, metavar="RUN", help="Folder of an experiment, finished or not.")],
    folder: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Folder to write. Default: RUN/report.")
    ] = None,
    main: Annotated[
        str | None, typer.Option(metavar="NAME", help="System of the detailed figures, such as att-crnn-mel/svm.")
    ] = None,
    fuse: Annotated[
        list[str] | None, typer.Option(metavar="FUSION", help="Fuse stored results, as NAME=SYSTEM,SYSTEM. Repeatable.")
    ] = None,
    title: Annotated[str, typer.Option(metavar="TEXT", help="Title of the page. Default: that of the corpus.")] = "",
    tables: Annotated[bool, typer.Option("--tables", help="Print all tables, in Markdown.")] = False,
    safe_csv: SafeCsvOption = False,
) -> None:
    """Make tables, figures and a page of an experiment.

    Tables are Markdown and CSV. The HTML page is self-contained.
    """
    require("report", "report")
    with bar("writing the report", at_once=True):
        from soundscene.report.run import report_on_run

        result = report_on_run(run, folder, main, fuse or [], safe_csv, title)
    for note in result.notes:
        tell(note)
    if tables:
        out.print("\n".join(map(show, result.text.split("\n"))))
    else:
        from soundscene.cli.layout import fitted, print_table, width_of

        names, rows, title = result.summary.columns, result.summary.rows, result.summary.title
        print_table(fitted(names, rows, width_of(sys.stdout), {"system": "right"}, names[2:], title), sys.stdout)
    if result.advice:
        say(result.advice.text)
        if result.command:
            out.print(show(result.command))  # in one line, to be copied
    say(f"{result.page}")
