"""python -m soundscene, and the program `soundscene`."""

import sys

from soundscene.cli import signals


def main() -> None:
    """Run the command line; an interruption while it is being imported is no traceback."""
    signals.install()
    try:
        from soundscene.cli.app import command
    except KeyboardInterrupt:
        sys.exit(signals.exit_code() or 130)
    except BaseException:  # what is being imported may turn an interruption into an error of its own
        code = signals.exit_code()
        if code is None:
            raise
        sys.exit(code)
    command()


if __name__ == "__main__":
    main()
