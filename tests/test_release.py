"""What is released: archives, and each extra in a fresh environment; in `make test-full` only, and not without an index."""

import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from importlib.metadata import version
from pathlib import Path

import pytest

from benchmarks.extras import (
    CORE,
    ROOT,
    SMOKES,
    TrialError,
    attempt,
    build,
    install,
    make_inputs,
    row,
    smoke,
    uv,
)
from soundscene.extras import EXTRAS

pytestmark = pytest.mark.slow
SOUND_AND_ARRAYS = {".wav", ".flac", ".npy", ".npz", ".safetensors", ".bin", ".parquet"}
NEWEST_PYTHON = "3.13"
ENGINE = "soundscene/page/static/engine/ort"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder, where packages can be had."""
    folder = tmp_path_factory.mktemp("release")
    wanted = folder / "wanted.txt"
    wanted.write_text("hatchling\n", encoding="utf-8")
    try:
        uv("pip", "compile", "--quiet", wanted)
    except TrialError as error:
        pytest.skip(f"no index of packages is reached: {str(error).splitlines()[-1].strip()}")
    return folder


@pytest.fixture(scope="module")
def archives(folder: Path) -> tuple[Path, Path]:
    return build(folder)


@pytest.fixture(scope="module")
def inputs(folder: Path) -> Path:
    return make_inputs(folder / "inputs")


def sources() -> set[str]:
    """Files of the package that git keeps."""
    listed = subprocess.run(["git", "ls-files", "soundscene"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("the checkout is not one of git")
    return set(listed.stdout.split("\n")) - {""}


def test_the_archives_hold_the_package_and_nothing_else(archives: tuple[Path, Path]) -> None:
    sdist, wheel = archives
    with tarfile.open(sdist) as file:
        in_sdist = {name.partition("/")[2] for name in file.getnames()}
    with zipfile.ZipFile(wheel) as file:
        in_wheel = set(file.namelist())
        metadata = message_from_bytes(next(file.read(name) for name in in_wheel if name.endswith(".dist-info/METADATA")))
    for names in (in_sdist, in_wheel):
        assert sources() <= names
        assert "soundscene/py.typed" in names
        assert not {name for name in names if Path(name).suffix in SOUND_AND_ARRAYS}
        assert not {name for name in names if name.split("/")[0] in ("tests", "benchmarks", "docs")}
    assert {name for name in in_wheel if not name.startswith(("soundscene/", "soundscene-"))} == set()
    assert {"CHANGELOG.md", "CITATION.cff", "LICENSE", "README.md", "pyproject.toml"} <= in_sdist
    assert metadata["Requires-Python"] == "<3.14,>=3.11"
    assert set(metadata.get_all("Provides-Extra") or ()) >= set(EXTRAS)
    with zipfile.ZipFile(wheel) as file:  # the engine of the page, where `make page-engine` has fetched it
        engine = sum(entry.compress_size for entry in file.infolist() if entry.filename.startswith(ENGINE))
    assert wheel.stat().st_size - engine < 2_000_000
    assert sdist.stat().st_size - engine < 2_000_000


@pytest.mark.parametrize("extra", [CORE, *EXTRAS])
def test_an_extra_is_enough_for_its_command(extra: str, archives: tuple[Path, Path], inputs: Path, tmp_path: Path) -> None:
    """The newest versions that resolve, but for PyTorch, which is that of this environment."""
    trial = attempt(tmp_path / "env", archives[1], extra, "newest", inputs, sys.executable, version("torch"))
    print(row(trial))
    assert trial.megabytes > 100
    assert trial.versions


def test_the_lowest_versions_are_enough_for_all_commands(archives: tuple[Path, Path], inputs: Path, tmp_path: Path) -> None:
    install(tmp_path / "env", archives[1], tuple(EXTRAS), "lowest", sys.executable, version("torch"))
    for extra in SMOKES:
        smoke(tmp_path / "env", extra, inputs)


def test_the_newest_python(archives: tuple[Path, Path], inputs: Path, tmp_path: Path) -> None:
    """The core and an exported model, because PyTorch for another Python may bring CUDA libraries."""
    python = newest_python()
    for extra in (CORE, "onnx"):
        attempt(tmp_path / extra, archives[1], extra, "newest", inputs, python, version("torch"))


def newest_python() -> str:
    """An interpreter, which is on the path or where pyenv keeps them."""
    kept = sorted(Path.home().glob(f".pyenv/versions/{NEWEST_PYTHON}.*/bin/python{NEWEST_PYTHON}"))
    for python in (f"python{NEWEST_PYTHON}", *map(str, reversed(kept))):
        try:
            subprocess.run([python, "-c", "pass"], capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return python
    pytest.skip(f"there is no Python {NEWEST_PYTHON} here")
