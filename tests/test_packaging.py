"""What a release consists of: one version, a marker of types, no tests in the archives."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import soundscene
from soundscene.page.engine import FOLDER, STATIC

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_one_version_everywhere() -> None:
    version = PROJECT["project"]["version"]
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    assert cited
    assert cited[1] == version
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_types_are_announced_and_tests_stay_out_of_the_archive() -> None:
    assert (Path(soundscene.__file__).parent / "py.typed").read_bytes() == b""
    assert "Typing :: Typed" in PROJECT["project"]["classifiers"]
    kept = PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["only-include"]
    assert all((ROOT / name).exists() for name in kept)
    assert not {"tests", "benchmarks", "docs", "."} & set(kept)


def test_the_browsers_engine_travels_in_the_archives_though_not_in_git() -> None:
    targets = PROJECT["tool"]["hatch"]["build"]["targets"]
    folder = (STATIC / FOLDER).relative_to(ROOT).as_posix()
    assert all(targets[name]["artifacts"] == [f"{folder}/*"] for name in ("wheel", "sdist"))
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    assert {f"{folder}/*.mjs", f"{folder}/*.wasm"} <= set(ignored)
    assert "MIT License" in (STATIC / FOLDER / "LICENSE.txt").read_text(encoding="utf-8")


def test_git_keeps_no_packages_and_no_large_files() -> None:
    """Results of long runs are the largest; wheels once came in with a commit of something else."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("the checkout is not one of git")
    paths = [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()]
    assert len(paths) > 500
    assert not [path.name for path in paths if path.suffix in (".whl", ".egg", ".zip", ".so", ".tflite")]
    large = [path for path in paths if path.stat().st_size > 1_000_000]
    assert {path.parent.relative_to(ROOT).as_posix() for path in large} <= {"docs/results/kept"}
