"""Empty words, such as those of shell variables that are not set, end every command in one line."""

from pathlib import Path

import pytest
import typer

from soundscene.cli.app import app
from tests.support.command_line import run

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
OPTIONS = [
    (name, option.opts[0], option.required)
    for name, command in COMMANDS.items()
    for option in command.params
    if option.param_type_name == "option" and not option.is_flag and option.name != "help"
]
ARGUMENTS = [
    (
        name,
        sum(other.param_type_name == "argument" for other in command.params[:number]),
        argument.metavar or argument.name.upper(),
    )
    for name, command in COMMANDS.items()
    for number, argument in enumerate(command.params)
    if argument.param_type_name == "argument"
]


def test_there_are_options_and_arguments() -> None:
    names = [f"{command} {option}" for command, option, _ in OPTIONS]
    assert {"train --systems", "train --recipe", "train --set", "train --test", "train --backbone", "train --out"} <= {
        *names
    }
    assert {"evaluate --test", "predict --from", "experiment --systems", "scan --group"} <= {*names}
    assert ("train", 0, "MANIFEST") in ARGUMENTS
    assert ("predict", 0, "MODEL") in ARGUMENTS


@pytest.mark.parametrize(("command", "option", "required"), OPTIONS)
def test_an_empty_value_is_refused(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, command: str, option: str, required: bool
) -> None:
    hint = "" if required else f", or leave {option} out"
    expected = f"soundscene: {option} '' is empty: is a variable of the shell not set? Give a value{hint}\n"
    for words in ((option, ""), (f"{option}=",)):
        assert run(command, tmp_path / "no", *words) == 2
        told = capfd.readouterr()
        assert (told.out, told.err) == ("", expected)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("command", "before", "name"), ARGUMENTS)
def test_an_empty_argument_is_not_the_working_folder(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, command: str, before: int, name: str
) -> None:
    assert run(command, *[tmp_path / "no"] * before, "") == 2
    told = capfd.readouterr()
    assert told.out == ""
    assert told.err == f"soundscene: {name} '' is empty: is a variable of the shell not set? Give a value\n"
