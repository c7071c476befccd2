"""What the commands share: two consoles, progress bars, and notes and errors of one line."""

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from soundscene.texts import show

# No markup and no emoji: file and scene names are the user's, and "[/x]" or ":car:" in them must be printed unchanged.
UNREADABLE = 3  # exit code: some files or folders could not be read

out = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
err = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)


@contextmanager
def bar(what: str, shown: bool = True) -> Iterator[Callable[..., None]]:
    """Draw a progress bar, which appears with the first call, on a terminal only.

    It stops as soon as all is done, because older versions of rich draw only one bar at a time.

    Args:
        what: What is in progress.
        shown: Whether to draw at all.

    Yields:
        A callable (done, total, note="").
    """
    if not (shown and err.is_terminal):
        yield lambda done, total, note="": None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = [TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()]
    shown_bar = Progress(*columns, TextColumn("{task.fields[note]}"), console=err)
    task = None

    def update(done: int, total: int, note: str = "") -> None:
        nonlocal task
        note = show(note)
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


def say(text: str) -> None:
    """Print a result on stdout, in one line; escapes in names are shown, not obeyed."""
    out.print(_one_line(text))


def tell(text: str) -> None:
    """Print a note on stderr, in one line."""
    err.print(f"note: {_one_line(text)}")


def busy_note() -> str:
    """Return a note where other programs keep the cores of this machine busy; else an empty text."""
    try:
        load, cores = os.getloadavg()[0], os.cpu_count() or 1
    except (AttributeError, OSError):  # Windows has none
        return ""
    if load < 1.5 * cores:
        return ""
    return f"this machine is busy (load {load:.1f} on {cores} cores), so a training takes longer than usual"


def complain(text: str) -> None:
    """Print an error on stderr, in one line."""
    err.print(f"soundscene: {_one_line(text)}")


def _one_line(text: str) -> str:
    """Replace line breaks, which file names may contain, by spaces, and write out what would steer the terminal.

    A word of a thousand characters is no name that a system takes, and is shortened.
    """
    text = re.sub(r"\S{1000,}", lambda word: f"{word[0][:60]}...{word[0][-60:]} ({len(word[0])} characters)", text)
    return show(" ".join(text.splitlines()))


def print_json(value: Any) -> None:
    """Print plain values on stdout, for programs."""
    print(json.dumps(value, indent=2))  # noqa: T201 (ASCII, which every encoding of stdout contains)
