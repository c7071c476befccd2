"""What a release consists of: one version, a marker of types, no tests in the archives."""

import re
import tomllib
from pathlib import Path

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
