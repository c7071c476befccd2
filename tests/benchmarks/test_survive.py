"""Signals, kills and full disks at drawn moments in short: all that is finished stays, and the end is the same."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.survive import Event, survive, table
from soundscene.bundle import save_model
from soundscene.cli import app, crashes, signals
from tests.support.tiny import blank_bundle

EACH = """
import contextlib, io, json, sys
from soundscene.cli.app import main
results = []
for words in json.loads(sys.argv[1]):
    error = io.StringIO()
    try:
        with contextlib.redirect_stderr(error):
            main(words)
    except SystemExit as end:
        results.append((end.code, error.getvalue().splitlines()))
print(json.dumps(results))
"""
UNSEEN = 11  # of seeds: the long runs have 0


@pytest.mark.kill
@pytest.mark.skipif(sys.platform != "linux", reason="sessions and /proc")
@pytest.mark.parametrize(
    ("event", "command", "n"),
    [
        pytest.param("terminations", "train", 2, marks=pytest.mark.slow),
        ("kills", "predict jsonl", 1),
        pytest.param("kills", "predict jsonl", 2, marks=pytest.mark.slow),
        pytest.param("full-disks", "train", 2, marks=pytest.mark.slow),
        pytest.param("full-disks", "predict parquet", 2, marks=pytest.mark.slow),
        pytest.param("terminations", "store", 1, marks=pytest.mark.slow),
        pytest.param("terminations", "experiment", 2, marks=pytest.mark.slow),
        pytest.param("full-disks", "experiment", 2, marks=pytest.mark.slow),
    ],
)
def test_what_is_finished_stays_and_the_end_is_the_same(event: Event, command: str, n: int) -> None:
    (row,) = survive(event, n, UNSEEN, command)
    assert row.faults == []
    assert (row.n, row.lost, row.litter) == (n, 0, 0)
    assert row.equal == row.rounds > 0
    assert [line.split(" | ")[0] for line in table(event, [row])][2:] == [f"| {command}", "| all"]


def test_an_interrupted_command_ends_at_once_with_the_code_of_its_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python ends by SIGINT where a signal came while it was executing a string, as dataclasses do."""
    ended: list[int] = []
    monkeypatch.setattr(signals, "_received", [signal.SIGTERM])
    monkeypatch.setattr(signals, "ignore", lambda: None)
    monkeypatch.setattr(sys, "argv", ["soundscene", "train"])
    monkeypatch.setattr(app, "main", lambda: sys.exit(128 + signal.SIGTERM))
    monkeypatch.setattr(os, "_exit", ended.append)
    with pytest.raises(SystemExit):
        app.command()
    assert ended == [143]


@pytest.mark.skipif(sys.platform != "linux", reason="without sigwaitinfo nothing is supervised")
@pytest.mark.parametrize("code", ["sys.exit(3)", "os.kill(os.getpid(), 9)", "os.kill(os.getppid(), 15); time.sleep(20)"])
def test_a_supervised_command_ends_as_it_would_alone(code: str) -> None:
    program = (
        "import os, sys, time\nfrom soundscene.cli import crashes, signals\nsignals.install()\n"
        "def command():\n try:\n  print('once', flush=True); {}\n except KeyboardInterrupt: os._exit(signals.exit_code())\n"
        "crashes.survive(command, ['predict'])"
    )
    done = subprocess.run([sys.executable, "-c", program.format(code)], capture_output=True, text=True, check=False)
    assert done.stdout == "once\n"
    assert done.returncode == {"sys.exit(3)": 3, "os.kill(os.getpid(), 9)": -9}.get(code, 143)


def test_what_keeps_its_rows_is_not_supervised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crashes, "_supervise", lambda command: pytest.fail("supervised"))
    for words in (["predict", "m", "a.wav", "--out", "rows"], ["predict", "--out=rows"], ["train", "m.csv"], []):
        crashes.survive(lambda: None, words)


@pytest.mark.budget(15)
@pytest.mark.skipif(not hasattr(os, "setuid"), reason="permissions of POSIX")
def test_what_may_not_be_read_or_written_is_one_line(tmp_path: Path) -> None:
    """As root without the right to pass over permissions, or as anybody else."""
    model, hidden, few = tmp_path / "m.safetensors", tmp_path / "hidden", tmp_path / "rows"
    save_model(blank_bundle(), model)
    for folder in (hidden, few):
        folder.mkdir()
    (hidden / "m.safetensors").write_bytes(model.read_bytes())
    unreadable = tmp_path / "u.safetensors"
    unreadable.write_bytes(model.read_bytes())
    sound = tmp_path / "a.wav"
    sound.touch()
    rows = tmp_path / "u.csv"
    rows.write_text("path,scene\n")
    for path, mode in ((unreadable, 0), (rows, 0), (hidden, 0), (few, 0o555)):
        path.chmod(mode)
    drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.getuid() == 0 else []
    denied = "may not be read (permission denied); ask its owner, or run chmod"
    expected = (
        (("info", unreadable), f"{unreadable}: {denied}"),
        (("info", hidden / "m.safetensors"), f"{hidden / 'm.safetensors'}: {denied}"),
        (("predict", model, hidden), f"{hidden}: this folder cannot be read (Permission denied)"),
        (("predict", model, sound, "--out", few), f"{few}/lock: cannot be locked (Permission denied)"),
        (("train", rows, "--out", tmp_path / "x.safetensors"), f"{rows}: cannot be read (Permission denied)"),
    )
    lines = json.dumps([[str(word) for word in words] for words, _ in expected])
    try:
        done = subprocess.run([*drop, sys.executable, "-c", EACH, lines], capture_output=True, text=True, check=True)
    finally:
        for path in (unreadable, rows, hidden, few):
            path.chmod(0o755)
    results = [(code, [line for line in text if not line.startswith("note: ")]) for code, text in json.loads(done.stdout)]
    assert results == [(2, [f"soundscene: {message}"]) for _, message in expected]
