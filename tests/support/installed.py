"""A process that can import only what an installation with some extras has."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement

PYPROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]

HIDE = """
class Finder:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in absent else self.finder.find_spec(name, path, target)

sys.meta_path[:] = map(Finder, sys.meta_path)
"""
"""Hides the modules named in `absent`."""

RUN = (
    """
import contextlib, io, json, sys
absent, lines = json.loads(sys.argv[1])
"""
    + HIDE
    + """
from soundscene.cli.app import main
results = []
for line in lines:
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main(line)
    except SystemExit as end:
        results.append((end.code, out.getvalue(), err.getvalue()))
print(json.dumps(results))
"""
)


def normal(name: str) -> str:
    """Name of a distribution as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(extra: str | None) -> list[Requirement]:
    """What pyproject.toml asks for, extras of our own resolved."""
    lines = PYPROJECT["dependencies"] if extra is None else PYPROJECT["optional-dependencies"][extra]
    found = []
    for requirement in map(Requirement, lines):
        if requirement.name == "soundscene":
            found += [r for name in requirement.extras for r in requirements(name)]
        else:
            found.append(requirement)
    return found


def distributions(extras: Iterable[str]) -> set[str]:
    """All that gets installed with some extras, requirements of requirements included."""
    waiting = [r for extra in (None, *extras) for r in requirements(extra)]
    installed: set[str] = set()
    while waiting:
        requirement = waiting.pop()
        wanted = {"", *requirement.extras}
        new = {f"{normal(requirement.name)}[{extra}]" for extra in wanted} - installed
        installed |= new
        try:
            lines = requires(requirement.name) or [] if new else []
        except PackageNotFoundError:  # for another system or Python
            continue
        for below in map(Requirement, lines):
            if below.marker is None or any(below.marker.evaluate({"extra": extra}) for extra in wanted):
                waiting.append(below)
    return {name.partition("[")[0] for name in installed}


@cache
def modules() -> dict[str, set[str]]:
    """Distributions, by the modules that they install."""
    return {module: {normal(name) for name in names} for module, names in packages_distributions().items()}


def absent(extras: Sequence[str]) -> list[str]:
    """Modules of this environment that an installation with some extras does not have."""
    there = distributions(extras)
    return sorted(module for module, names in modules().items() if not names & there and "soundscene" not in names)


def run_installed(extras: Sequence[str], lines: Sequence[Sequence[str | Path]]) -> list[tuple[int, str, str]]:
    """Exit code, stdout and stderr of command lines in an installation with some extras."""
    words = [[str(word) for word in line] for line in lines]
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps([absent(extras), words])], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [(code, out, err) for code, out, err in json.loads(done.stdout)]
