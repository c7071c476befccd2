"""Feed mutated input to the package in child processes and count what must not happen.

    python -m benchmarks.fuzz sound [--cases 10000] [--seed 0]
    python -m benchmarks.fuzz cut [--cases 731] [--seed 0]
    python -m benchmarks.fuzz bundles [--cases 1000] [--seed 0]
    python -m benchmarks.fuzz manifests [--cases 2000] [--seed 0]
    python -m benchmarks.fuzz recipes [--cases 1000] [--seed 0]

Each subcommand is a module `benchmarks/fuzz_*.py` with two functions: `add_arguments(parser)` and `run(arguments)`, which
returns the exit status: 0 when every target is reached. Cases are drawn by number from the seed, so each can be run alone
with --only NUMBER.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

_INTERNAL = ("fuzz_process", "fuzz_files", "fuzz_texts")  # what the subcommands share


def subcommands() -> list[str]:
    """Names of the subcommands, from the modules beside this one."""
    found = sorted(path.stem for path in Path(__file__).parent.glob("fuzz_*.py"))
    return [name.removeprefix("fuzz_") for name in found if name not in _INTERNAL]


def main(words: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    several = parser.add_subparsers(dest="subcommand", required=True)
    for name in subcommands():
        module = importlib.import_module(f"benchmarks.fuzz_{name}")
        own = several.add_parser(name, description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
        own.add_argument("--seed", type=int, default=0)
        own.add_argument("--only", type=int, metavar="NUMBER", help="run this case alone and print what it is")
        module.add_arguments(own)
        own.set_defaults(run=module.run)
    arguments = parser.parse_args(words)
    return arguments.run(arguments)


if __name__ == "__main__":
    sys.exit(main())
