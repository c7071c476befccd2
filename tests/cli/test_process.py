"""The process of the command line: it ends at once, and still says everything, with the right exit code."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from soundscene.cli import app as command_line
from soundscene.cli.terminal import busy_note
from tests.support.tiny import RATE, recording, write


def process(*words: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "soundscene", *map(str, words)], capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.slow
def test_a_process_prints_all_and_has_its_exit_code(model: Path, tmp_path: Path) -> None:
    sound = write(tmp_path / "a.wav", recording("rain", 2.2, 0), RATE)
    (tmp_path / "b.wav").write_text("no sound")
    done = process("predict", model, sound, tmp_path / "b.wav", "--format", "csv")
    assert done.returncode == 3
    assert len(done.stdout.splitlines()) == 2
    assert done.stderr.splitlines()[-1] == "soundscene: 1 file could not be used"
    done = process("info", tmp_path / "none.safetensors")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no such file" in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="a shell of POSIX")
def test_a_process_without_its_streams(model: Path) -> None:
    program = f'"{sys.executable}" -m soundscene'
    command = f'{program} predict "{model}" --from - <&- && {program} info "{model}" >&-'
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("words", "ray", "ends_at_once"),
    [(["predict"], False, True), (["predict"], True, False), (["train"], False, False), ([], False, False)],
)
def test_only_commands_that_leave_nothing_end_at_once(
    monkeypatch: pytest.MonkeyPatch, words: list[str], ray: bool, ends_at_once: bool
) -> None:
    ended: list[int] = []
    monkeypatch.setattr(sys, "argv", ["soundscene", *words])
    monkeypatch.setattr(command_line, "main", lambda: sys.exit(3))
    monkeypatch.setattr(os, "_exit", ended.append)
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    if ray:
        monkeypatch.setitem(sys.modules, "ray", sys)
    with pytest.raises(SystemExit) as end:
        command_line.command()
    assert end.value.code == 3
    assert ended == ([3] if ends_at_once else [])


@pytest.mark.parametrize(("load", "busy"), [(0.5, False), (400.0, True)])
def test_a_busy_machine_is_noted(monkeypatch: pytest.MonkeyPatch, load: float, busy: bool) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (load, load, load))
    assert busy_note().startswith("this machine is busy (load 400.0 on ") is busy


@pytest.mark.parametrize(("load", "policy"), [(0.0, "None"), (1e4, "PASSIVE")])
def test_the_program_lets_threads_wait_passively_on_a_busy_machine(load: float, policy: str) -> None:
    program = (
        f"import os; os.getloadavg = lambda: ({load}, 0.0, 0.0); show = lambda: print(os.environ.get('OMP_WAIT_POLICY'))\n"
    )
    program += "import soundscene, soundscene.cli.app; show()\n"
    program += "import soundscene.__main__ as m\ntry: m.main()\nexcept SystemExit: show()"
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    words = [sys.executable, "-c", program, "--version"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == "None", "importing changes nothing"
    assert done.stdout.split()[-1] == policy
