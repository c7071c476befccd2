"""What several tests read and none changes, made once a run, whichever of xdist's workers is first to want it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder of this run, filled by `make` unless another worker has done so; the others wait for it.

    Whoever fails leaves no mark, so that the next worker tries again, and its tests report the error too.
    """
    base = factory.getbasetemp()
    if base.name.startswith("popen-"):  # of a worker of xdist: the run's own folder holds those of its workers
        base = base.parent
    folder, finished = base / f"shared-{name}", base / f"shared-{name}.finished"
    with FileLock(f"{folder}.lock"):
        if not finished.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            finished.touch()
    return folder


def case(name: str) -> Path:
    """A small input of ../shared/cases, which is no part of the project; the test is skipped where it is absent."""
    path = Path(__file__).parents[3] / "shared" / "cases" / name
    if not path.exists():
        pytest.skip("needs the folder ../shared/cases")
    return path
