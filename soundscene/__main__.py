"""python -m soundscene, and the program `soundscene`."""

import sys


def main() -> None:
    """Run the command line; an interruption while it is being imported is no traceback."""
    try:
        from soundscene.cli.app import command
    except KeyboardInterrupt:
        sys.exit(130)
    command()


if __name__ == "__main__":
    main()
