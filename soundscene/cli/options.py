"""Options that several commands share.

The modules of the commands import nothing heavy, so that every help page is quick: what a command needs is imported
when it runs.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from soundscene.hub import local_model

CORES = os.cpu_count() or 1

COMPUTE = "Compute"  # titles of the panels of a help page
INPUT, TRAINING, OUTPUT = "Input", "Training", "Output"


def _local(context: Any, model: Path) -> Path:
    """Turn a model on the Hub into a local file before anything looks at it, but not while a shell completes a word."""
    return model if context.resilient_parsing else local_model(model)


# readable=False: what cannot be read is told in one line where it is opened
ModelArgument = Annotated[
    Path,
    typer.Argument(readable=False, metavar="MODEL", help="Model file: .safetensors or hf://owner/name.", callback=_local),
]
AnyModelArgument = Annotated[
    Path,
    typer.Argument(
        readable=False,
        metavar="MODEL",
        help="Model file: .safetensors, .onnx or hf://owner/name.",
        callback=_local,
    ),
]
ManifestArgument = Annotated[
    Path, typer.Argument(readable=False, metavar="MANIFEST", help="CSV with path, scene, group, fold; or a folder.")
]
ListOption = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="FILE",
        help="List with a path per line, or a CSV with a column path; - for stdin.",
        rich_help_panel=INPUT,
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a recipe value, such as training.epochs=30. Repeatable.",
        rich_help_panel=TRAINING,
    ),
]
ColumnsOption = Annotated[
    str | None,
    typer.Option(
        "--columns",
        metavar="NAMES",
        help="Columns of the CSV, such as path=File,scene=Habitat.",
        rich_help_panel=INPUT,
    ),
]
TestOption = Annotated[
    str | None,
    typer.Option("--test", metavar="COLUMN=VALUE", help="Rows of the test set, such as fold=1.", rich_help_panel=INPUT),
]
WorkersOption = Annotated[
    int,
    typer.Option(
        min=1,
        metavar="N",
        help="Threads that read audio. Default: all cores.",
        show_default=False,
        rich_help_panel=COMPUTE,
    ),
]
ParallelOption = Annotated[
    int,
    typer.Option(
        min=1,
        metavar="N",
        help="Number of parallel workers (default: all cores).",
        show_default=False,
        rich_help_panel=COMPUTE,
    ),
]
SafeCsvOption = Annotated[
    bool,
    typer.Option("--safe-csv", help="Keep spreadsheets from reading cells of CSV as formulas.", rich_help_panel=OUTPUT),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
HeadOption = Annotated[
    Literal["svm", "softmax"] | None, typer.Option("--head", help="Classifier. Default: the recipe's choice.")
]
EpochsOption = Annotated[
    int | None,
    typer.Option(
        "--epochs",
        min=1,
        metavar="N",
        help="Epochs of training. Default: the recipe's.",
        show_default=False,
        rich_help_panel=TRAINING,
    ),
]
PredictDeviceOption = Annotated[
    str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda or mps.", rich_help_panel=COMPUTE)
]
DeviceOption = Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda or mps.", rich_help_panel=COMPUTE)]
PrecisionOption = Annotated[
    str, typer.Option(metavar="NAME", help="32-true, bf16-mixed or 16-mixed.", rich_help_panel=COMPUTE)
]


def extra_of(model: Path) -> str:
    """Return the extra that computes a model: exported ones need no PyTorch."""
    return "onnx" if model.suffix.lower() == ".onnx" else "torch"
