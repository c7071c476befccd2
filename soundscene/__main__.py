"""python -m soundscene, and the program `soundscene`."""

import os
import sys

from soundscene.audio.quiet import silence_decoders
from soundscene.cli import signals


def main() -> None:
    """Run the command line; an interruption while it is being imported is no traceback."""
    signals.install()
    _open_closed_streams()
    silence_decoders()
    _wait_passively_if_busy()
    try:
        from soundscene.cli.app import command
        from soundscene.cli.crashes import survive
    except KeyboardInterrupt:
        sys.exit(signals.exit_code() or 130)
    except BaseException:  # what is being imported may turn an interruption into an error of its own
        code = signals.exit_code()
        if code is None:
            raise
        sys.exit(code)
    survive(command, sys.argv[1:])


def _wait_passively_if_busy() -> None:
    """Let OpenMP's threads sleep while they wait, where others need the cores; read when PyTorch is imported.

    On an idle machine it would double the time of a training; see docs/decisions/0091.
    """
    if hasattr(os, "getloadavg") and os.getloadavg()[0] > (os.cpu_count() or 1):
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _open_closed_streams() -> None:
    """Open empty streams where a process has no stdin, stdout or stderr, as by `<&-`, so that no file takes their place."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            file = os.open(os.devnull, os.O_RDWR)
            if file != number:
                os.dup2(file, number)
                os.close(file)
            setattr(sys, name, os.fdopen(number, "r" if name == "stdin" else "w", closefd=False))


if __name__ == "__main__":
    main()
