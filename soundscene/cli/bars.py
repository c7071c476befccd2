"""Progress bars: what is done of how much, the time so far and the time left, in one line of any terminal."""

from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, Progress, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column

from soundscene.cli.layout import shortened
from soundscene.types import clock

_REMEMBERED_S = 3600.0  # steps that the time left is computed from; rich's 30 s are less than an epoch may take
_WIDE = 100  # columns of a terminal that has room for a long bar
_LONG, _SHORT = 20, 12
_ELAPSED = 8  # columns
_SHORTEST = 8  # columns of a note; a shorter one says nothing


def progress_bar(console: Console) -> Progress:
    """Return a bar of one line; what does not fit is cut from its note.

    Args:
        console: Where it is drawn.
    """
    texts = [
        TextColumn(f"{{task.fields[texts].{name}}}", style, markup=False, table_column=Column(no_wrap=True))
        for name, style in (("count", "progress.download"), ("left", "progress.remaining"), ("note", "none"))
    ]
    what = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True))
    bar, elapsed = BarColumn(_bar_width(console)), TimeElapsedColumn(table_column=Column(no_wrap=True))
    return Progress(what, bar, texts[0], elapsed, *texts[1:], console=console, speed_estimate_period=_REMEMBERED_S)


def add_task(bar: Progress, what: str, total: int | float | None, done: int | float) -> TaskID:
    """Begin a task; what is done already says nothing about the time left.

    Args:
        bar: From `progress_bar`.
        what: What is in progress.
        total: Steps in all, None if nobody knows.
        done: Steps done before.
    """
    texts = _Texts(bar.console)
    number = bar.add_task(what, total=total, completed=done, note="", left_s=None, texts=texts)  # pyright: ignore[reportArgumentType]
    (texts.task,) = (task for task in bar.tasks if task.id == number)
    return number


def _bar_width(console: Console) -> int:
    return _LONG if console.width >= _WIDE else _SHORT


@dataclass
class _Texts:
    """What stands beside a bar, computed when it is drawn; the bar makes its task itself, and draws it at once."""

    console: Console
    task: Task | None = None

    @property
    def count(self) -> str:
        """Steps done and in all, empty as long as nobody knows how many there are."""
        if self.task is None or self.task.total is None:
            return ""
        total = f"{int(self.task.total)}"
        return f"{int(self.task.completed):{len(total)}}/{total}"

    @property
    def left(self) -> str:
        """The time left, named as such; empty where it is not known, and at the end."""
        if self.task is None or self.task.total is None or self.task.finished:
            return ""
        known = self.task.fields["left_s"]
        seconds = self.task.time_remaining if known is None else known
        return "" if seconds is None else f"{clock(float(seconds))} left"

    @property
    def note(self) -> str:
        """The note of the last step, cut where the terminal ends."""
        if self.task is None:
            return ""
        before = (self.task.description, self.count, self.left)
        room = self.console.width - sum(map(cell_len, before)) - _bar_width(self.console) - _ELAPSED - len(before) - 2
        return shortened(self.task.fields["note"], room, "right") if room >= _SHORTEST else ""
