"""A crash of a decoder costs a restart, also where nothing is kept on the disk that could name the file.

A command that only prints runs in a forked process. If that crashes, it is run once more by another one, which tries each
file in a child process before it decodes it (`audio.trial`), so the file is an error like any other. What was printed
before is not printed again. See docs/decisions/0093-printed-predictions-survive.md.
"""

import io
import mmap
import os
import signal
import struct
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Never

from soundscene.cli.outputs import is_one_file, option
from soundscene.cli.terminal import complain, tell

PRINTING = ("predict", "timeline", "explain", "evaluate")  # commands that read sound and resume nothing
_CRASHES = ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL", "SIGFPE")
_FORWARDED = ("SIGINT", "SIGTERM", "SIGHUP")
_COUNT = struct.Struct("Q")


def survive(command: Callable[[], object], words: Sequence[str]) -> None:
    """Run a command; after a crash, once more.

    Args:
        command: Ends the process.
        words: Its command line, by which it is known whether a crash would be lost.
    """
    if words[:1] and words[0] in PRINTING and not _keeps(words) and hasattr(os, "fork") and hasattr(signal, "sigwaitinfo"):
        _supervise(command)
    command()


def _keeps(words: Sequence[str]) -> bool:
    """Whether the command knows after a crash what was in work: it writes shards."""
    place = option(words, "--out") if words[0] == "predict" else None
    return place is not None and not is_one_file(place)


def _supervise(command: Callable[[], object]) -> Never:
    printed = mmap.mmap(-1, _COUNT.size)  # of all processes: bytes that have left this one
    position = _position()
    number = _run(command, printed, careful=False)
    name = signal.Signals(number).name
    if name not in _CRASHES:
        _end_by(number)
    if position is not None:
        with suppress(OSError):
            os.lseek(0, position, os.SEEK_SET)
    elif not sys.stdin.isatty():
        complain(f"a decoder crashed ({name}); rerun with a list in a file or with --out FOLDER, and the file is named")
        os._exit(128 + number)
    tell(f"a decoder crashed ({name}); each file is tried in a process of its own now")
    _end_by(_run(command, printed, careful=True))


def _position() -> int | None:
    """Where stdin is, if it is a file; None where what was read from it is gone."""
    try:
        return os.lseek(0, 0, os.SEEK_CUR)
    except OSError:
        return None


def _end_by(number: int) -> Never:
    """End as the command did."""
    if signal.Signals(number).name in _CRASHES:
        complain(f"crashed ({signal.Signals(number).name})")
    else:
        with suppress(OSError):  # SIGKILL has no handler
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
    os._exit(128 + number)


def _run(command: Callable[[], object], printed: mmap.mmap, careful: bool) -> int:
    """Run a command in a process of its own, and end with it; return the number of the signal that it died of."""
    numbers = {getattr(signal, name) for name in (*_FORWARDED, "SIGCHLD")}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        _end_with(reader)
        sys.stdout = _stdout(printed)
        if careful:
            from soundscene.audio.trial import try_all_files_first

            try_all_files_first()
        command()
        os._exit(0)
    os.close(reader)
    while True:
        received = signal.sigwaitinfo(numbers)
        if received.si_signo != signal.SIGCHLD and received.si_code <= 0:  # what a terminal sends, the child gets too
            os.kill(child, received.si_signo)
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
    os.close(writer)
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        os._exit(code)
    return -code


def _end_with(pipe: int) -> None:
    """End this process when the one that waits for it ends, even if that was killed."""

    def wait() -> None:
        os.read(pipe, 1)
        os._exit(128 + signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def _stdout(printed: mmap.mmap) -> io.TextIOWrapper:
    """Open stdout so that what a crashed process has printed is not printed again."""
    old = sys.stdout
    assert isinstance(old, io.TextIOWrapper)
    raw = io.BufferedWriter(_Counted(old.fileno(), printed))
    return io.TextIOWrapper(raw, encoding=old.encoding, errors=old.errors, line_buffering=old.line_buffering)


class _Counted(io.FileIO):
    """Writes to a descriptor what lies beyond the bytes that were written before."""

    def __init__(self, number: int, printed: mmap.mmap) -> None:
        super().__init__(number, "w", closefd=False)
        self._printed = printed
        (self._skip,) = _COUNT.unpack(printed[:])

    def write(self, data: Any, /) -> int:  # a buffer, which has no type before Python 3.12
        view = memoryview(data).cast("B")
        skipped = min(self._skip, len(view))
        self._skip -= skipped
        if skipped == len(view):
            return skipped
        written = super().write(view[skipped:]) or 0
        (n,) = _COUNT.unpack(self._printed[:])
        self._printed[:] = _COUNT.pack(n + written)
        return skipped + written
