"""The Dockerfile: what it promises, and its steps carried out without a container daemon."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import typer

from soundscene.cli.app import app
from tests.serve.client import ask, ask_json
from tests.support.installed import PYPROJECT

ROOT = Path(__file__).parents[2]
TARGETS = {"serve", "serve-model", "full"}
UID = 10001


@dataclass
class Stage:
    """A stage of the Dockerfile: what it begins from, and its instructions in order."""

    parent: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def of(self, word: str) -> list[str]:
        """The arguments of all instructions of a kind."""
        return [rest for name, rest in self.steps if name == word]


def stages() -> dict[str, Stage]:
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    found: dict[str, Stage] = {}
    for line in text.replace("\\\n", " ").splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            parent, name = re.fullmatch(r"(\S+) AS (\S+)", rest).groups()  # type: ignore[union-attr]
            found[name] = Stage(parent)
        elif word:
            list(found.values())[-1].steps.append((word, " ".join(rest.split())))
    return found


def inherited(name: str, word: str) -> list[str]:
    """The arguments of an instruction in a stage and in those that it begins from, the last first."""
    all_stages, found = stages(), []
    while name in all_stages:
        found += reversed(all_stages[name].of(word))
        name = all_stages[name].parent
    return found


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_a_target_is_no_root_checks_its_health_and_starts_a_command_that_exists(target: str) -> None:
    assert inherited(target, "USER")[0] == f"{UID}:{UID}"
    health = inherited(target, "HEALTHCHECK")[0]
    (port,) = inherited(target, "EXPOSE")
    assert f"http://127.0.0.1:{port}/readyz" in health
    (entry,) = map(json.loads, inherited(target, "ENTRYPOINT"))
    command = json.loads(inherited(target, "CMD")[0])
    assert entry == [next(iter(PYPROJECT["scripts"]))]
    options = {o for p in typer.main.get_group(app).commands[command[0]].params for o in p.opts}
    assert {word for word in command if word.startswith("--")} <= options
    assert command[command.index("--port") + 1] == port
    assert json.loads(inherited(target, "VOLUME")[0]) == ["/tmp"]  # the rest may be read-only
    for line in inherited(target, "ENV"):
        places = [value for value in re.findall(r"=(/\S*)", line) if not value.startswith("/opt/")]
        assert all(place.startswith("/tmp") for place in places)
    assert "ORT_DISABLE_TELEMETRY=1" in " ".join(inherited(target, "ENV"))


def test_stages_that_run_have_no_tools_that_build_and_images_are_pinned() -> None:
    found = stages()
    for name, stage in found.items():
        assert stage.parent in found or re.fullmatch(r"python:3\.\d+-slim-[a-z]+", stage.parent), name
        assert not stage.of("ADD")
        assert not any(word in step for step in stage.of("RUN") for word in ("curl", "wget", "http://", "https://"))
    for name in ("base", *TARGETS):
        assert not found[name].of("RUN")
    assert set(found) - TARGETS == {"wheels", "build-serve", "build-full", "base"}


def test_versions_are_pinned_and_only_full_has_pytorch() -> None:
    for name, extras in (("build-serve", {"onnx", "serve", "plot"}), ("build-full", None)):
        wheel, _, install = stages()[name].of("RUN")
        assert "--constraint constraints.txt" in wheel
        assert "--no-index --find-links /wheels" in install
        (asked,), (installed,) = (re.findall(r"\[([a-z,]+)\]", step) for step in (wheel, install))
        assert asked == installed
        known = set(PYPROJECT["optional-dependencies"])
        assert set(asked.split(",")) <= known
        assert extras in (None, set(asked.split(",")))
        assert ("torch" in asked) == (name == "build-full")


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignored[0] == "*"
    for line in stages()["wheels"].of("COPY"):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists()
            assert f"!{source.removeprefix('./')}" in ignored
    copied = {source for line in stages()["wheels"].of("COPY") for source in line.split()[:-1]}
    needed = {"pyproject.toml", PYPROJECT["readme"], *PYPROJECT["license-files"], "soundscene"}
    assert needed <= copied


@pytest.mark.slow
def test_the_steps_of_serve_give_a_service_of_another_user_without_pytorch(
    exported: Path, wav: Path, tmp_path: Path
) -> None:
    """The same lines, with folders of this test in place of /wheels and /opt; no root folder is made read-only."""
    context = tmp_path / "context"
    for line in stages()["wheels"].of("COPY"):
        for source in line.split()[:-1]:
            copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
            context.mkdir(exist_ok=True)
            copy(ROOT / source, context / source)
    steps = [
        step.replace("/wheels", f"{tmp_path}/wheels").replace("/opt/", f"{tmp_path}/opt/")
        for step in stages()["build-serve"].of("RUN")
    ]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "COV"))} | {"PATH": path}
    for step in steps:
        done = subprocess.run(["bash", "-ec", step], cwd=context, env=clean, capture_output=True, text=True, check=False)
        if done.returncode and "pip wheel" in step:
            pytest.skip(f"no wheels are to be had: {done.stderr[-300:]}")
        assert done.returncode == 0, done.stderr[-2000:]
    opened = [tmp_path, *tmp_path.parents]
    for folder in (one for one in opened if one != Path("/") and one.stat().st_uid == os.getuid()):
        folder.chmod(folder.stat().st_mode | 0o055)
    home = tmp_path / "tmp"
    home.mkdir()
    home.chmod(0o777)
    served = shutil.copy(exported, tmp_path / "model.onnx")
    Path(served).chmod(0o644)
    try:
        check_service(tmp_path / "opt" / "soundscene" / "bin", tmp_path, wav)
    finally:
        for heavy in ("wheels", "opt", "context"):  # a gigabyte
            shutil.rmtree(tmp_path / heavy)


def check_service(bin_folder: Path, folder: Path, wav: Path) -> None:
    """Start the entry point as another user, ask it, and end it."""
    home = str(folder / "tmp")
    environment = {"PATH": f"{bin_folder}:/usr/bin:/bin", "HOME": home, "TMPDIR": home, "MPLCONFIGDIR": home}
    environment |= {"NUMBA_CACHE_DIR": home, "PYTHONDONTWRITEBYTECODE": "1"}
    # another user may write nowhere but below /tmp; it may read, because Python may be installed in a folder of root
    drop = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--inh-caps=+dac_read_search"]
    drop += ["--ambient-caps=+dac_read_search", "--bounding-set=-all,+dac_read_search"]
    user = drop if os.getuid() == 0 and shutil.which("setpriv") else []
    torch = subprocess.run([bin_folder / "python", "-c", "import torch"], env=environment, capture_output=True, check=False)
    assert b"ModuleNotFoundError" in torch.stderr
    command = json.loads(inherited("serve", "CMD")[0])
    words = [word.replace("/model/", f"{folder}/").replace("8000", "0") for word in command]
    service = subprocess.Popen(
        [*user, bin_folder / "soundscene", *words],
        env=environment,
        cwd="/",
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert service.stdout is not None
        found = re.search(r":(\d+)$", service.stdout.readline().strip())
        assert found
        port = int(found[1])
        assert ask_json(port, "/readyz")[0] == 200
        status, prediction = ask_json(port, "/v1/predict", wav.read_bytes(), {"name": wav.name})
        assert (status, prediction["path"]) == (200, wav.name)
        status, _, svg = ask(port, "/v1/explain", wav.read_bytes(), {"segments": 1})
        assert (status, b"<svg" in svg) == (200, True)
        service.send_signal(signal.SIGTERM)
        assert service.wait(20) == 0
    finally:
        service.kill()
        service.communicate()
    time.sleep(0.1)
    assert not [path for path in Path(home).iterdir() if path.name.startswith("soundscene")]
