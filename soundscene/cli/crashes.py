"""A crash of a decoder costs a restart, also where nothing is kept on the disk that could name the file.

A command that only prints runs in a forked process. If that crashes, it is run once more by another one, which tries each
file in a child process before it decodes it (`audio.trial`), so the file is an error like any other. What was printed
before is not printed again: the waiting process writes to stdout for both, so it knows what has been written at whatever
moment the other one crashes. See docs/decisions/0093-printed-predictions-survive.md.
"""

import errno
import io
import os
import signal
import socket
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
_ANSWER = struct.Struct("qi")  # bytes written, number of the error
_MOST = 1 << 16  # bytes of one message


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
    position = _position()
    number, printed = _run(command, 0, careful=False)
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
    number, _ = _run(command, printed, careful=True)
    _end_by(number)


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


def _run(command: Callable[[], object], printed: int, careful: bool) -> tuple[int, int]:
    """Run a command in a process of its own, and end with it; of its bytes the first `printed` are not written.

    Returns:
        The number of the signal that it died of, and the bytes of its output that have been written, by earlier ones too.
    """
    numbers = {getattr(signal, name) for name in (*_FORWARDED, "SIGCHLD")}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    reader, writer = os.pipe()
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    child = os.fork()
    if child == 0:
        os.close(writer)
        here.close()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        _end_with(reader)
        sys.stdout = _stdout(there, printed)
        if careful:
            from soundscene.audio.trial import try_all_files_first

            try_all_files_first()
        command()
        os._exit(0)
    os.close(reader)
    there.close()
    printer = _Printer(here)
    printer.start()
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
    return -code, printed + printer.end()


def _end_with(pipe: int) -> None:
    """End this process when the one that waits for it ends, even if that was killed."""

    def wait() -> None:
        os.read(pipe, 1)
        os._exit(128 + signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


class _Printer(threading.Thread):
    """Writes to stdout what a forked process sends, and answers each message when that is done."""

    def __init__(self, messages: socket.socket) -> None:
        super().__init__(daemon=True)
        self._messages, self._number, self._written = messages, sys.stdout.fileno(), 0

    def run(self) -> None:
        while message := self._next():
            try:
                written, error = os.write(self._number, message), 0
            except OSError as problem:
                written, error = 0, problem.errno or 0
            self._written += written
            with suppress(OSError):  # the other one crashed meanwhile
                self._messages.send(_ANSWER.pack(written, error))

    def _next(self) -> bytes:
        """Return the next message; empty at the end."""
        with suppress(ConnectionResetError):  # once, after a crash with an answer unread; there may be a message
            return self._messages.recv(_MOST)
        return self._messages.recv(_MOST)

    def end(self) -> int:
        """Write what was sent before the other process ended; return how many bytes have been written."""
        self._messages.shutdown(socket.SHUT_RD)
        self.join()
        return self._written


def _stdout(messages: socket.socket, printed: int) -> io.TextIOWrapper:
    """Open stdout so that another process writes to it, and what a crashed one has printed is not printed again."""
    old = sys.stdout
    assert isinstance(old, io.TextIOWrapper)
    raw = io.BufferedWriter(_Sent(old.fileno(), messages, printed))
    return io.TextIOWrapper(raw, encoding=old.encoding, errors=old.errors, line_buffering=old.line_buffering)


class _Sent(io.FileIO):
    """A descriptor to which another process writes, beginning after the bytes that were written before."""

    def __init__(self, number: int, messages: socket.socket, printed: int) -> None:
        super().__init__(number, "w", closefd=False)
        self._messages, self._skip, self._unanswered = messages, printed, False

    def write(self, data: Any, /) -> int:  # a buffer, which has no type before Python 3.12
        view = memoryview(data).cast("B")
        if self._unanswered:  # a signal broke the wait for it, and the same bytes come again
            self._skip += self._answer()
        skipped = min(self._skip, len(view))
        self._skip -= skipped
        if skipped == len(view):
            return skipped
        self._messages.send(view[skipped : skipped + _MOST])
        self._unanswered = True
        return skipped + self._answer()

    def _answer(self) -> int:
        """Wait until the last message has been written.

        Raises:
            OSError: It could not be; a pipe whose reader has ended, for example.
        """
        answer = self._messages.recv(_ANSWER.size)
        self._unanswered = False
        written, error = _ANSWER.unpack(answer) if answer else (0, errno.EPIPE)  # none if the other process was killed
        if error:
            raise OSError(error, os.strerror(error))
        return written
