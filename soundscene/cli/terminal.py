"""What the commands share: two consoles, progress bars, notes and complaints in one line."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

# No markup and no emoji: names of files and scenes are the user's, and "[/x]" or ":car:" in them mean themselves.
out = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
err = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)


@contextmanager
def bar(what: str, shown: bool = True) -> Iterator[Callable[..., None]]:
    """A progress bar as a callable (done, in all, note=""); it appears with the first call, on a terminal only.

    It stops as soon as all is done, because older versions of rich draw only one bar at a time.
    """
    if not (shown and err.is_terminal):
        yield lambda done, total, note="": None
        return
    columns = [TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()]
    shown_bar = Progress(*columns, TextColumn("{task.fields[note]}"), console=err)
    task = None

    def update(done: int, total: int, note: str = "") -> None:
        nonlocal task
        if task is None:
            shown_bar.start()
            task = shown_bar.add_task(what, total=total, note=note)
        shown_bar.update(task, completed=done, total=total, note=note)
        if done >= total:
            shown_bar.stop()

    try:
        yield update
    finally:
        if task is not None:
            shown_bar.stop()


def tell(text: str) -> None:
    """A line on stderr that may explain an answer."""
    err.print(f"note: {_one_line(text)}")


def complain(text: str) -> None:
    """A line on stderr that something could not be done."""
    err.print(f"soundscene: {_one_line(text)}")


def _one_line(text: str) -> str:
    """Line breaks, which file names may hold, as spaces."""
    return " ".join(text.splitlines())


def print_json(value: Any) -> None:
    """Plain values on stdout, for programs."""
    print(json.dumps(value, indent=2))  # noqa: T201 (ASCII, so that every output can take it)
