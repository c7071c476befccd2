"""Progress of long runs as text: a batch of recordings, and an experiment of many trainings."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from soundscene.types import clock

if TYPE_CHECKING:  # `predict` must not import what only `experiment` needs
    from soundscene.batch.run import BatchStats
    from soundscene.experiment.local import Event
    from soundscene.experiment.plan import Plan, Task


def batch_line(stats: "BatchStats", total: int | None) -> str:
    """Describe how far a batch is, its rate, and the time left.

    Args:
        stats: The batch so far.
        total: Number of paths, those that had a row before included; None where it is not known, and then the time
            left is not either.
    """
    done = stats.rows + stats.skipped
    parts = [f"{done:,} of {total:,} recordings" if total is not None else f"{done:,} recordings"]
    if stats.broken:
        parts.append(f"{stats.broken:,} unreadable")
    if stats.rows and stats.seconds > 0:
        rate = stats.rows / stats.seconds
        parts.append(f"{rate:.3g} per second")
        if total is not None:
            parts.append(f"{clock(max(total - done, 0) / rate)} left")
    return ", ".join(parts)


def batch_summary(stats: "BatchStats", place: str) -> str:
    """Describe what a batch has done.

    Args:
        stats: The finished batch.
        place: Where the rows are.
    """
    before = f"; {stats.skipped:,} were done before" if stats.skipped else ""
    counts = f"{stats.rows:,} rows, {stats.broken:,} unreadable, {stats.shards:,} shard(s)"
    return f"{place}: {counts}, {stats.seconds:.1f} s{before}"


class ExperimentProgress:
    """Prints a line for each training that ends, and draws one bar over all.

    Args:
        bar: Called with (done, total, note).
        print_line: Called with each line.
    """

    def __init__(self, bar: Callable[..., None], print_line: Callable[[str], None]) -> None:
        self._bar = bar
        self._print_line = print_line
        self._done = self._total = 0
        self._epochs: dict[str, str] = {}

    def start(self, plan: "Plan", n: int, n_done: int) -> None:
        """Print how much there is to do.

        Args:
            plan: "Plan" of the run.
            n: Number of trainings.
            n_done: How many of them are finished.
        """
        self._done, self._total = n_done, n
        self._print_line(f"{n} trainings, {n_done} of them already finished; {plan.threads} thread(s) each")

    def update(self, task: "Task", event: "Event") -> None:
        """Show an epoch, the end or the failure of a training.

        Args:
            task: The training.
            event: What happened.
        """
        if event.kind == "epoch":
            self._epochs[task.name] = f"{task.system} {event.numbers['epoch']:.0f}"
        else:
            self._epochs.pop(task.name, None)
            self._done += event.kind == "done"
            scores = ", ".join(f"{head} {value:.3f}" for head, value in event.numbers.items() if head != "seconds")
            result = event.text or f"recordings {scores}; {event.numbers.get('seconds', 0):.0f} s"
            self._print_line(f"{time.strftime('%H:%M:%S')} {task.system}, {task.split}, seed {task.seed}: {result}")
        self._bar(self._done, self._total, ", ".join(list(self._epochs.values())[:2]))
