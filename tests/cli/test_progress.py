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
from soundscene.cli.progress import ExperimentProgress, TrainingProgress, batch_line, batch_note, time_left_s
from soundscene.experiment.local import Event
from soundscene.experiment.plan import Task


def test_a_rate_is_known_in_the_first_second() -> None:
    assert batch_line(BatchStats(rows=1, seconds=0.5), None) == "1 recordings, 2 per second"


def test_finished_trainings_are_counted_and_failed_ones_are_not() -> None:
    bars: list[tuple[Any, ...]] = []
    lines: list[str] = []
    progress = ExperimentProgress(lambda *values: bars.append(values), lines.append)
    plan: Any = SimpleNamespace(threads=1, diagnosis="")
    progress.start(plan, 3, 1)
    one, two = (Task("cnn-mel", split, 0) for split in ("a", "b"))
    progress.update(one, Event("epoch", {"epoch": 2.0}))
    progress.update(two, Event("failed", {}, "has diverged"))
    progress.update(one, Event("done", {"softmax": 0.5, "seconds": 7.0}))
    assert bars == [(1, 3), (1, 3, "cnn-mel epoch 2"), (1, 3, "cnn-mel epoch 2"), (2, 3, "")]
    assert lines[0] == "3 trainings, 1 of them already finished; 1 thread each"
    assert [re.sub(r"^[\d:]{8} ", "", line) for line in lines[1:]] == [
        "cnn-mel, b, seed 0: has diverged",
        "cnn-mel, a, seed 0: accuracy 50.0% (softmax); 7.0 s",
    ]


def test_a_score_of_a_diagnosis_is_marked_where_it_stands() -> None:
    lines: list[str] = []
    progress = ExperimentProgress(lambda *_: None, lines.append)
    plan: Any = SimpleNamespace(threads=1, diagnosis="same-recording")
    progress.start(plan, 1, 0)
    progress.update(Task("cnn-mel", "a", 0), Event("done", {"svm": 0.5, "seconds": 7.0}))
    assert lines[1].endswith("accuracy 50.0% (svm) (LEAKAGE BY DESIGN); 7.0 s")


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
    scores = "loss 0.500, validation 25.0%, a"  # a narrow terminal cuts the end
    assert bars == [(0.0, 6, ""), (1.0, 6, ""), (1, 6, scores), (4.0, 6, scores), (6, 6, "loss 0.250, b")]
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
    assert re.search(r"0:0[5-7]:\d\d", shown.getvalue().rpartition("4/10")[2].partition("left")[0])


@pytest.mark.parametrize("width", [60, 80, 100])
def test_a_bar_is_one_line_and_names_the_time_left(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    now = [0.0]
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=width, get_time=lambda: now[0])
    monkeypatch.setattr(terminal, "err", console)
    with terminal.bar("training", at_once=True) as update:
        assert "0/?" not in written(console)  # nobody knows yet how much there is to do
        for done in range(3):
            update(done, 1000, "loss 1.234, validation 12.3%, att-crnn-gammatone, and more that no terminal has room for")
            now[0] += 10
        time.sleep(0.3)  # rich draws ten times a second
        last = re.split(r"[\r\n]", re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "\n", written(console)).strip())[-1]
    assert len(last) <= width
    assert re.match(r"training .* {3}2/1000 0:00:\d\d 2:4\d:\d\d left", last)
    assert ("left loss 1.234" in last) == (width >= 80)


def test_the_time_left_of_a_resumed_run_counts_no_step_of_before(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    console = Console(file=io.StringIO(), force_terminal=True, width=100, get_time=lambda: now[0])
    monkeypatch.setattr(terminal, "err", console)
    with terminal.bar("trainings") as update:
        for done in range(90, 94):
            update(done, 100)
            now[0] += 60
        time.sleep(0.3)
        shown = written(console)
    assert re.search(r"0:0[67]:\d\d left", shown.rpartition("93/100")[2])
    stats = BatchStats(rows=10, skipped=900, seconds=20.0)
    assert (time_left_s(stats, 1000), time_left_s(stats, None)) == (180.0, None)
    assert batch_note(stats, None) == "910 recordings, 0.5 per second"


def test_a_line_is_printed_above_a_bar_of_the_same_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    both = io.StringIO()
    consoles = [Console(file=both, force_terminal=True, color_system=None, width=80) for _ in range(2)]
    monkeypatch.setattr(terminal, "err", consoles[0])
    monkeypatch.setattr(terminal, "out", consoles[1])
    with terminal.bar("trainings") as update:
        update(0, 3)
        terminal.say("10:31:03 hog, fold=1, seed 0: accuracy 30.0% (svm); 0.4 s")
        terminal_of_results, both_so_far = terminal._live, both.getvalue()
    assert terminal_of_results == []
    line = both_so_far.partition("10:31:03")
    assert line[0].endswith(("\r\x1b[2K", "\x1b[2K", "\n"))  # the bar was erased first
    assert line[2].startswith(" hog, fold=1, seed 0: accuracy 30.0% (svm); 0.4 s\n")


def written(console: Console) -> str:
    stream = console.file
    assert isinstance(stream, io.StringIO)
    return stream.getvalue()


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
