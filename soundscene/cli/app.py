"""The command line: each command parses its options, calls one function of the package, and prints.

Errors that a user can cause become one line on stderr and exit code 2. `predict` skips unreadable files and then exits
with 3. A traceback is a bug of soundscene.
"""

import errno
import io
import os
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, NoReturn, cast, get_args

import typer

from soundscene import files
from soundscene.cli import signals
from soundscene.cli.backbone import backbone
from soundscene.cli.budget import budget
from soundscene.cli.embed import embed
from soundscene.cli.empty import CheckedCommand
from soundscene.cli.evaluate import evaluate, info
from soundscene.cli.experiment import experiment, report
from soundscene.cli.explain import explain
from soundscene.cli.export import export
from soundscene.cli.interrupted import left_behind
from soundscene.cli.listen import listen
from soundscene.cli.predict import predict
from soundscene.cli.push import push
from soundscene.cli.scan import scan
from soundscene.cli.serve import serve
from soundscene.cli.terminal import bar, complain, out
from soundscene.cli.timeline import timeline
from soundscene.cli.train import train
from soundscene.errors import AudioWarning, SceneError
from soundscene.extras import explain_missing, require
from soundscene.texts import show

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["--help", "-h"]},
)

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
CTRL_C = 130  # exit code into which typer turns KeyboardInterrupt
QUICK = ("predict", "embed", "timeline", "info", "scan")  # commands that leave nothing behind them
UsageError = cast("type[typer.BadParameter]", typer.BadParameter.__mro__[1])  # typer has no public name for it


def _print_version(wanted: bool) -> bool:
    if wanted:
        from soundscene import __version__

        out.print(f"soundscene {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def soundscene(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Acoustic scene classification: predict where a recording was made."""


def demo(
    corpus: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder of recordings, one subfolder per scene. Default: rendered audio."),
    ] = None,
    folder: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Folder for audio, models and picture.")] = Path(
        "demo-out"
    ),
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed of rendering and training.")] = 0,
) -> None:
    """Render ten scenes, train on them, predict the rest."""
    require("demo", "train", "plot")
    from soundscene.cli.demo import run_demo

    run_demo(corpus, folder, seed, out, bar)


_COMMANDS = (
    scan,
    train,
    evaluate,
    predict,
    embed,
    info,
    timeline,
    listen,
    explain,
    experiment,
    report,
    export,
    push,
    budget,
    serve,
    backbone,
    demo,
)


def _name_no_type_of_flags(function: Callable[..., None]) -> None:
    """Show no `<bool>` behind flags on help pages: they take no value."""
    for annotation in function.__annotations__.values():
        for option in getattr(annotation, "__metadata__", ()) if get_args(annotation)[:1] == (bool,) else ():
            if option.metavar is None:
                option.metavar = ""


_name_no_type_of_flags(soundscene)
for _command in _COMMANDS:  # paragraphs of docstrings are broken anew, in the width of the terminal
    _paragraphs = (_command.__doc__ or "").split("\n\n")
    _name_no_type_of_flags(_command)
    app.command(cls=CheckedCommand, help="\n\n".join(" ".join(text.split()) for text in _paragraphs))(_command)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; `SceneError` becomes one line and exit code 2.

    Args:
        arguments: Words after the program's name; by default those of this process.

    Raises:
        SystemExit: Always, with the exit code.
    """
    warnings.simplefilter("ignore", AudioWarning)  # printed as notes
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file name need not be text
    words = sys.argv[1:] if arguments is None else arguments
    files.forget_finished()
    try:
        code = app(words, prog_name="soundscene", standalone_mode=False)
        if code == CTRL_C:
            raise KeyboardInterrupt
        sys.exit(code if isinstance(code, int) else 0)
    except KeyboardInterrupt:
        _interrupted(words)
    except UsageError as error:
        error.message = "\n".join(map(show, error.message.split("\n")))  # a shell's * may have put names of files there
        error.show()  # as plain text: in a panel of typer's, messages would be wrapped
        sys.exit(2)
    except SceneError as error:
        complain(str(error))
        sys.exit(2)
    except Exception as error:
        if signals.exit_code():  # a library turned the interruption into an error of its own
            _interrupted(words)
        message = _one_line(error, words)
        if message is None:
            raise
        complain(message)
        sys.exit(2)
    finally:
        _flush()


def _interrupted(words: list[str]) -> NoReturn:
    with suppress(OSError):  # after SIGHUP the terminal is gone
        complain(f"Interrupted. {left_behind(words, files.finished())}".rstrip())
    sys.exit(signals.exit_code() or CTRL_C)


def _one_line(error: Exception, words: list[str]) -> str | None:
    """Return the message of an error that is no `SceneError`, and still no bug: a missing extra, a full disk."""
    if isinstance(error, ModuleNotFoundError):
        return explain_missing(words[0] if words else "soundscene", error)
    if isinstance(error, OSError) and error.errno in _FULL:
        what = f"{error.filename}:" if error.filename else "the output"
        return f"{what} cannot be written ({error.strerror}); is the disk full?"
    return None


def _flush() -> None:
    """Flush stdout, unless its reader is gone, as with `| head`, or its disk is full."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python tries again, and complains, at its end
        if isinstance(error, BrokenPipeError):
            sys.exit(1)
        if isinstance(error.__context__, SystemExit) and error.__context__.code == 2:  # which has been said
            sys.exit(2)
        complain(f"the output cannot be written ({error.strerror or error}); is the disk full?")
        sys.exit(2)


def command() -> None:
    """Run `main` as a process of its own.

    Freeing what PyTorch and numba hold takes Python 0.7 s, and the system no time at all. So the commands in QUICK end at
    once, unless Ray still has something to do. They leave no thread running (docs/decisions/0065). A command that was
    interrupted ends at once too: Python would end by SIGINT if it was executing a string when the signal came.
    """
    try:
        main()
        code = 0
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            raise
        code = end.code or 0
    except KeyboardInterrupt:  # a second one, while the first is dealt with
        code = signals.exit_code() or CTRL_C
    signals.ignore()
    if signals.exit_code() or (sys.argv[1:2] and sys.argv[1] in QUICK and "ray" not in sys.modules):
        with suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    command()
