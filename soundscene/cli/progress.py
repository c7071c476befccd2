"""Progress of long runs as text: a training, a batch of recordings, and an experiment of many trainings."""

import statistics
import time
from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from soundscene.types import clock

if TYPE_CHECKING:  # `predict` must not import what only `experiment` needs
    from soundscene.batch.run import BatchStats
    from soundscene.experiment.local import Event
    from soundscene.experiment.plan import Plan, Task


class TrainingProgress:
    """Shows the epochs of all members as one bar that moves with every step, and as lines where there is no terminal.

    Args:
        epochs: Of each member, in order; 0 for a frozen backbone.
        bar: Called with (epochs done, epochs in all, note).
        print_line: Called with a line for each epoch; None to print none.
    """

    def __init__(
        self, epochs: Mapping[str, int], bar: Callable[..., None], print_line: Callable[[str], None] | None
    ) -> None:
        self._epochs = epochs
        self._begun = dict(zip(epochs, accumulate([0, *epochs.values()]), strict=False))
        self._total = sum(epochs.values())
        self._bar = bar
        self._print_line = print_line
        self._note = ""
        self._seconds: list[float] = []

    def step(self, member: str, done: int, total: int) -> None:
        """Show a step.

        Args:
            member: Name of the member.
            done: Its steps so far.
            total: Its steps in all.
        """
        if total and done < total:  # the end is shown with its epoch
            self._bar(self._begun[member] + self._epochs[member] * done / total, self._total, self._note)

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Show an epoch.

        Args:
            row: Of the history.
        """
        member = row.get("member", next(iter(self._epochs)))
        done = self._begun[member] + int(row["epoch"])
        scores = f"loss {row['loss']:.3f}"
        if "validation_accuracy" in row:
            scores += f", validation {row['validation_accuracy']:.1%}"
        of_member = f"{member}, " if len(self._epochs) > 1 else ""
        self._note = scores + (f", {member}" if of_member else "")  # a narrow terminal cuts the end
        self._seconds.append(float(row["seconds"]))
        self._bar(done, self._total, self._note)
        if self._print_line:
            left = statistics.median(self._seconds[-9:]) * (self._total - done)  # the first epoch also warms up
            name = f"{of_member}epoch {row['epoch']:.0f} of {self._epochs[member]}"
            self._print_line(f"{name}: {scores}, {row['seconds']:.1f} s, {clock(left)} left")


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
        if (left_s := time_left_s(stats, total)) is not None:
            parts.append(f"{clock(left_s)} left")
    return ", ".join(parts)


def time_left_s(stats: "BatchStats", total: int | None) -> float | None:
    """Return the seconds that a batch still takes, by the rows of this run; None where that is not known.

    Args:
        stats: The batch so far.
        total: As in `batch_line`.
    """
    if total is None or not stats.rows or stats.seconds <= 0:
        return None
    return max(total - stats.rows - stats.skipped, 0) * stats.seconds / stats.rows


def batch_note(stats: "BatchStats", total: int | None) -> str:
    """Describe of a batch what a bar does not show: its rate, and how many files are unreadable.

    Args:
        stats: The batch so far.
        total: As in `batch_line`; without it, the bar has no count.
    """
    parts = [f"{stats.rows / stats.seconds:.3g} per second"] if stats.rows and stats.seconds > 0 else []
    parts += [f"{stats.broken:,} unreadable"] if stats.broken else []
    return ", ".join([*([] if total is not None else [f"{stats.rows + stats.skipped:,} recordings"]), *parts])


def batch_summary(stats: "BatchStats", place: str) -> str:
    """Describe what a batch has done.

    Args:
        stats: The finished batch.
        place: Where the rows are.
    """
    before = f"; {stats.skipped:,} were done before" if stats.skipped else ""
    counts = f"{stats.rows:,} rows, {stats.broken:,} unreadable, {stats.shards:,} shard{'s' if stats.shards != 1 else ''}"
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
        self._mark = ""

    def start(self, plan: "Plan", n: int, n_done: int) -> None:
        """Print how much there is to do.

        Args:
            plan: "Plan" of the run.
            n: Number of trainings.
            n_done: How many of them are finished.
        """
        from soundscene.scoring.evaluation import LEAKAGE

        self._done, self._total = n_done, n
        self._mark = f" ({LEAKAGE})" if plan.diagnosis else ""
        before = f", {n_done} of them already finished" if n_done else ""
        self._print_line(f"{n} trainings{before}; {plan.threads} thread{'s' if plan.threads > 1 else ''} each")
        self._bar(n_done, n)

    def update(self, task: "Task", event: "Event") -> None:
        """Show an epoch, the end or the failure of a training.

        Args:
            task: The training.
            event: What happened.
        """
        if event.kind == "epoch":
            self._epochs[task.name] = f"{task.system} epoch {event.numbers['epoch']:.0f}"
        else:
            self._epochs.pop(task.name, None)
            self._done += event.kind == "done"
            scores = ", ".join(f"{value:.1%} ({head})" for head, value in event.numbers.items() if head != "seconds")
            result = event.text or f"accuracy {scores}{self._mark}; {event.numbers.get('seconds', 0):.1f} s"
            self._print_line(f"{time.strftime('%H:%M:%S')} {task.system}, {task.split}, seed {task.seed}: {result}")
        self._bar(self._done, self._total, ", ".join(list(self._epochs.values())[:2]))
