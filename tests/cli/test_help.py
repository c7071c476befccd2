"""Help pages: quick, free of heavy imports, whole at 80 columns, and true."""

import os
import re
import statistics
import subprocess
import sys
from typing import get_args

import pytest
import typer

from soundscene import __version__
from soundscene.audio.pcm import SampleType
from soundscene.cli.app import app
from soundscene.cli.listen import PcmType
from tests.support.command_line import run

COMMANDS = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
HEAVY = {
    "torch", "numpy", "numba", "scipy", "matplotlib", "soundfile", "soxr", "jaxtyping", "lightning_fabric", "sklearn",
    "tensorboard", "ray", "pyarrow", "librosa", "captum", "msgspec", "safetensors",
}  # fmt: skip


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    """Help page of a command at 80 columns, borders left out."""
    monkeypatch.setenv("COLUMNS", "80")

    def read(*words: str) -> str:
        assert run(*words) == 0
        text = capfd.readouterr().out
        assert max(map(len, text.splitlines())) <= 80
        return text.translate(str.maketrans("│╭╮╰╯─", "      "))

    return read


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import contextlib, io, sys\nfrom soundscene.cli.app import main\n"
        "for command in [[], *([name] for name in sys.argv[1:])]:\n"
        "    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "        main([*command, '--help'])\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, *COMMANDS], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "typer" in loaded
    assert not loaded & HEAVY


def median_s(*words: str) -> float:
    """Median of five, of CPU, which other processes change less than time."""

    def once() -> float:
        before = os.times()
        subprocess.run([sys.executable, *words], capture_output=True, check=True)
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    return statistics.median(once() for _ in range(5))


def test_help_is_quick() -> None:
    """0.15 to 0.25 s on a quiet machine; a busy one may take twice as much. With PyTorch it was more than 2 s."""
    assert median_s("-m", "soundscene", "--help") - median_s("-c", "pass") < 0.6


@pytest.mark.parametrize("command", COMMANDS)
def test_a_summary_is_one_line_of_the_list(command: str, page) -> None:
    group = typer.main.get_command(app)
    summary = group.commands[command].help.partition("\n\n")[0]  # type: ignore[attr-defined]
    assert len(summary) <= 55
    assert summary.endswith(".")
    assert any(line.split() == [command, *summary.split()] for line in page("--help").splitlines())
    assert summary in " ".join(page(command, "-h").split())


@pytest.mark.parametrize("command", COMMANDS)
def test_no_choice_is_broken_inside_a_word(command: str, page) -> None:
    assert all(choice.endswith(">") for choice in re.findall(r"<[a-z]\S*", page(command, "--help")))


@pytest.mark.parametrize("command", COMMANDS)
def test_flags_take_no_value(command: str, page) -> None:
    lines = [line for line in page(command, "--help").splitlines() if "<bool>" in line]
    assert all("--help" in line for line in lines)  # which is the parser's


def test_values_with_brackets_are_shown_whole(page) -> None:
    text = " ".join(page("experiment", "--help").split())
    assert "random=N[,train=0.8], the last two with [,seed=N]" in text
    assert "columns=NAME,NAME" in text


def test_help_says_which_systems_run_and_how_others_are_named(page) -> None:
    text = " ".join(page("experiment", "--help").split())
    assert "[default: (both Att-CRNNs, both CNNs, hog, mfcc-dnn)]" in text
    assert all(
        word in text for word in ("table3: all of the paper's Table 3", "NAME:key=value: a variant", "docs/reference")
    )


def test_help_lists_the_devices_and_precisions_there_are(page) -> None:
    from soundscene.training.device import DEVICES, PRECISIONS

    for command in ("train", "experiment"):
        text = page(command, "--help")
        assert all(name in text for name in (*DEVICES, *PRECISIONS))


def test_help_lists_the_sample_types_there_are(page) -> None:
    assert get_args(PcmType) == get_args(SampleType)
    text = page("listen", "--help")
    assert all(name in text for name in get_args(SampleType))


def test_version(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capfd.readouterr().out == f"soundscene {__version__}\n"


def test_an_interruption_of_the_imports_is_no_traceback() -> None:
    code = (
        "import sys\nclass Stop:\n    def find_spec(self, name, *rest):\n"
        "        if name == 'typer': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Stop())\nfrom soundscene.__main__ import main\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
