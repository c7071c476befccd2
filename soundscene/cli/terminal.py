"""What the commands share: two consoles, progress bars, and notes and errors of one line."""

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console

from soundscene.texts import show

if TYPE_CHECKING:
    from rich.progress import TaskID

# No markup and no emoji: file and scene names are the user's, and "[/x]" or ":car:" in them must be printed unchanged.
UNREADABLE = 3  # exit code: some files or folders could not be read

out = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
err = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)


LINE_S = 60.0  # between two lines of progress where there is no terminal
_live: list[object] = []  # bars that are being drawn


@contextmanager
def bar(what: str, shown: bool = True, at_once: bool = False) -> Iterator[Callable[..., None]]:
    """Show progress on stderr: a bar on a terminal, a line a minute elsewhere.

    A bar stops as soon as all is done, because older versions of rich draw only one at a time.

    Args:
        what: What is in progress.
        shown: Whether to show anything.
        at_once: Whether the bar appears before the first call, as long as nobody knows how much there is to do.

    Yields:
        A callable (done, total, note="", left_s=None), the last for time left that is known better than by the steps.
    """
    if not shown:
        yield lambda done, total, note="", left_s=None: None
        return
    if not err.is_terminal:
        yield _progress_lines(what)
        return
    from soundscene.cli.bars import add_task, progress_bar

    shown_bar = progress_bar(err)
    task = None

    def begin(total: int | float | None, done: int | float = 0) -> "TaskID":
        shown_bar.start()
        _live.append(shown_bar)
        return add_task(shown_bar, what, total, done)

    def end() -> None:
        shown_bar.stop()
        if shown_bar in _live:
            _live.remove(shown_bar)

    def update(done: int | float, total: int | float | None, note: str = "", left_s: float | None = None) -> None:
        nonlocal task
        task = begin(total, done) if task is None else task
        shown_bar.update(task, completed=done, total=total, note=show(note), left_s=left_s)
        if total is not None and done >= total:
            end()

    try:
        if at_once:
            task = begin(None)
        yield update
    finally:
        if task is not None:
            end()


def _progress_lines(what: str) -> Callable[..., None]:
    """Return a callable that prints how far a long work is, at most once in `LINE_S`."""
    last = time.monotonic()

    def update(done: int | float, total: int | float, note: str = "", left_s: float | None = None) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_S:
            last = time.monotonic()
            err.print(_one_line(f"{what}: {done:.0f} of {total:.0f}{f', {note}' if note else ''}"))

    return update


def say(text: str) -> None:
    """Print a result on stdout, in one line; escapes in names are shown, not obeyed.

    Where a bar is drawn on the same terminal, the line goes above it.
    """
    console = err if _live and out.is_terminal else out
    console.print(wrapped(_one_line(text), console))


def wrapped(text: str, console: Console, indent: int = 2) -> str:
    """Return a text with line breaks between words for a terminal; elsewhere, where programs read, as it is.

    A word that is longer than a line, such as a path, is left whole.

    Args:
        text: One line.
        console: Where it will be printed.
        indent: Columns before the second line and the following ones.
    """
    if not console.is_terminal:
        return text
    width, first, *words = max(console.width, 20), *text.split(" ")
    lines = [first]
    for word in words:
        if cell_len(longer := f"{lines[-1]} {word}") <= width:  # of wide letters, each takes two cells
            lines[-1] = longer
        else:
            lines.append(" " * indent + word)
    return "\n".join(lines)


def tell(text: str) -> None:
    """Print a note on stderr, in one line; a terminal gets several, broken between words."""
    err.print(wrapped(f"note: {_one_line(text)}", err))


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
    """Print an error on stderr, in one line; a terminal gets several, broken between words."""
    err.print(wrapped(f"soundscene: {_one_line(text)}", err))


def _one_line(text: str) -> str:
    """Replace line breaks, which file names may contain, by spaces, and write out what would steer the terminal.

    A word of a thousand characters is no name that a system takes, and is shortened.
    """
    text = re.sub(r"\S{1000,}", lambda word: f"{word[0][:60]}...{word[0][-60:]} ({len(word[0])} characters)", text)
    return show(" ".join(text.splitlines()))


def print_json(value: Any) -> None:
    """Print plain values on stdout, for programs."""
    print(json.dumps(value, indent=2))  # noqa: T201 (ASCII, which every encoding of stdout contains)
