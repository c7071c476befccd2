"""The lines of long runs, from counts and events."""

import re
from types import SimpleNamespace
from typing import Any

from soundscene.batch.run import BatchStats
from soundscene.cli.progress import ExperimentProgress, batch_line
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
