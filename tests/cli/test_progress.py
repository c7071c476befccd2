"""The lines of long runs, from counts and events."""

import io
import re
import time
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from soundscene.batch.run import BatchStats
from soundscene.cli import terminal
from soundscene.cli.progress import ExperimentProgress, TrainingProgress, batch_line
from soundscene.experiment.local import Event
from soundscene.experiment.plan import Task


def test_a_rate_is_known_in_the_first_second() -> None:
    assert batch_line(BatchStats(rows=1, seconds=0.5), None) == "1 recordings, 2 per second"


def test_finished_trainings_are_counted_and_failed_ones_are_not() -> None:
    bars: list[tuple[Any, ...]] = []
    lines: list[str] = []
    progress = ExperimentProgress(lambda *values: bars.append(values), lines.append)
    plan: Any = SimpleNamespace(threads=1)
    progress.start(plan, 3, 1)
    one, two = (Task("cnn-mel", split, 0) for split in ("a", "b"))
    progress.update(one, Event("epoch", {"epoch": 2.0}))
    progress.update(two, Event("failed", {}, "has diverged"))
    progress.update(one, Event("done", {"softmax": 0.5, "seconds": 7.0}))
    assert bars == [(1, 3, "cnn-mel 2"), (1, 3, "cnn-mel 2"), (2, 3, "")]
    assert lines[0] == "3 trainings, 1 of them already finished; 1 thread(s) each"
    assert [re.sub(r"^[\d:]{8} ", "", line) for line in lines[1:]] == [
        "cnn-mel, b, seed 0: has diverged",
        "cnn-mel, a, seed 0: recordings softmax 0.500; 7 s",
    ]


def test_a_bar_moves_with_every_step_and_epochs_are_lines_where_there_is_no_terminal() -> None:
    bars: list[tuple[float, float, str]] = []
    lines: list[str] = []
    progress = TrainingProgress({"a": 2, "b": 4}, lambda *values: bars.append(values), lines.append)
    progress.step("a", 0, 10)
    progress.step("a", 5, 10)
    progress.epoch({"member": "a", "epoch": 1.0, "loss": 0.5, "seconds": 40.0, "validation_accuracy": 0.25})
    progress.step("b", 5, 10)
    progress.step("b", 10, 10)  # the end comes with its epoch, or the bar would stop before
    progress.epoch({"member": "b", "epoch": 4.0, "loss": 0.25, "seconds": 20.0})
    scores = "a, loss 0.500, validation 25.0%"
    assert bars == [(0.0, 6, ""), (1.0, 6, ""), (1, 6, scores), (4.0, 6, scores), (6, 6, "b, loss 0.250")]
    assert lines == [
        "a, epoch 1 of 2: loss 0.500, validation 25.0%, 40.0 s, 0:03:20 left",
        "b, epoch 4 of 4: loss 0.250, 20.0 s, 0:00:00 left",
    ]


def test_the_time_left_is_known_though_a_step_takes_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    terminal_of_tests = Console(file=io.StringIO(), force_terminal=True, width=100, get_time=lambda: now[0])
    monkeypatch.setattr(terminal, "err", terminal_of_tests)
    with terminal.bar("training") as update:
        for done in range(4):
            update(done, 10, "epoch")
            now[0] += 60
        terminal_of_tests.file = shown = io.StringIO()
        update(4, 10, "epoch")
        time.sleep(0.3)  # rich draws ten times a second
    assert "4/10" in shown.getvalue()
    assert re.search(r"0:0[5-7]:\d\d", shown.getvalue().rpartition("4/10")[2].partition("epoch")[0])


def test_a_bar_is_there_before_anything_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(terminal, "err", Console(file=shown, force_terminal=True, width=100))
    with terminal.bar("reading audio", at_once=True):
        pass
    assert "reading audio" in shown.getvalue()


def test_elsewhere_it_is_a_line_a_minute(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    now = iter((0.0, 30.0, 61.0, 61.0, 90.0))
    monkeypatch.setattr(terminal.time, "monotonic", lambda: next(now))
    with terminal.bar("reading audio") as update:
        for done in range(3):
            update(done, 9)
    assert capfd.readouterr().err == "reading audio: 1 of 9\n"
