"""Keep what libmpg123 writes to the standard error of a program out of it.

libsndfile decodes MP3 with it, and offers no way to turn its warnings off. They name no file, and what is wrong with a file
is in its notes.
"""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Stderr:
    """Number 2 points to nothing while at least one thread decodes; Python's own stderr has a number of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._saved, self._nothing = -1, -1
        self._n = 0
        self.parted = False

    def part(self) -> None:
        """Give `sys.stderr` a number of its own, so that nothing of Python's is lost."""
        if self.parted or sys.stderr is None:
            return
        sys.stderr.flush()
        old = sys.stderr
        sys.stderr = open(os.dup(2), "w", buffering=1, encoding=old.encoding, errors=old.errors)  # noqa: SIM115
        self._nothing = os.open(os.devnull, os.O_WRONLY)
        self.parted = True

    def close(self) -> None:
        with self._lock:
            self._n += 1
            if self._n == 1:
                self._saved = os.dup(2)
                os.dup2(self._nothing, 2)

    def open(self) -> None:
        with self._lock:
            self._n -= 1
            if not self._n:
                os.dup2(self._saved, 2)
                os.close(self._saved)


_STDERR = _Stderr()


def silence_decoders() -> None:
    """Let `quiet` take effect in this process; the command line calls it, an importing program decides for itself."""
    _STDERR.part()


@contextmanager
def quiet(wanted: bool) -> Iterator[None]:
    """Drop what C code writes to stderr, if `silence_decoders` was called.

    Args:
        wanted: Whether the code may write something.
    """
    if not (wanted and _STDERR.parted):
        yield
        return
    _STDERR.close()
    try:
        yield
    finally:
        _STDERR.open()
