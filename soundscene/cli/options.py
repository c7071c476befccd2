"""Options that several commands have."""

import os
from typing import Annotated

import typer

CORES = os.cpu_count() or 1

RecipeOption = Annotated[str, typer.Option("--recipe", help="small, default, paper, or a TOML file.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="Change one value, as training.epochs=30. Repeatable.")]
TestOption = Annotated[str | None, typer.Option("--test", help="Rows kept for testing, as fold=1; any column will do.")]
WorkersOption = Annotated[int, typer.Option(min=1, help="Threads that read sound.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
DeviceOption = Annotated[str, typer.Option(help="cpu, cuda, or auto.")]
PrecisionOption = Annotated[str, typer.Option(help="32-true or bf16-mixed.")]
