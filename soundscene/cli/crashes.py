"""A crash of a decoder costs a restart, also where nothing is kept on the disk that could name the file.

A command that only prints runs in a forked process. If that crashes, it is run once more by another one, which tries each
file in a child process before it decodes it (`audio.trial`), so the file is an error like any other. What was printed
before is not printed again: the waiting process writes to stdout for both, so it knows what has been written at whatever
moment the other one crashes. See docs/decisions/0093-printed-predictions-survive.md.
"""

import errno
import io
import os
import select
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
_MESSAGE = struct.Struct("QQ")  # its number, and where in the output its bytes belong
_ANSWER = struct.Struct("QQi")  # that number, bytes of the output that have been written, number of the error
_MOST = 1 << 16  # bytes of output in one message


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
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*_forwarded(), signal.SIGCHLD})
    number, printed = _run(command, before, 0, careful=False)
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
    number, _ = _run(command, before, printed, careful=True)
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


def _run(command: Callable[[], object], mask: set[int], printed: int, careful: bool) -> tuple[int, int]:
    """Run a command in a process of its own, and end with it; of its bytes the first `printed` are not written.

    Args:
        command: Ends the process.
        mask: Signals that are blocked in the other process.
        printed: Bytes of the same output that an earlier process has written.
        careful: Try each file in a child process first.

    Returns:
        The number of the signal that it died of, or that asked it to end before it crashed, and the bytes of its output
        that have been written, by earlier ones too.
    """
    reader, writer = os.pipe()
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    child = os.fork()
    if child == 0:
        os.close(writer)
        here.close()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        _end_with(reader)
        sys.stdout = _stdout(there)
        if careful:
            from soundscene.audio.trial import try_all_files_first

            try_all_files_first()
        command()
        os._exit(0)
    os.close(reader)
    there.close()
    printer = _Printer(here, printed)
    asked, code = _wait(child)
    os.close(writer)
    if code >= 0:
        os._exit(code)
    if not asked and signal.Signals(-code).name in _CRASHES:
        asked = printer.end()
    return asked or -code, printer.written


def _forwarded() -> set[int]:
    """Signals that ask a command to end; not every system has them, so they are looked up where they are needed."""
    return {getattr(signal, name) for name in _FORWARDED}


def _wait(child: int) -> tuple[int, int]:
    """Wait until a process ends, and pass signals on.

    Returns:
        The number of the last signal that asked it to end, 0 for none, and its exit code, below 0 for a signal.
    """
    asked = 0
    while True:
        received = signal.sigwaitinfo({*_forwarded(), signal.SIGCHLD})
        if received.si_signo != signal.SIGCHLD:
            asked = received.si_signo
            if received.si_code <= 0:  # what a terminal sends, the child gets too
                os.kill(child, asked)
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return asked, os.waitstatus_to_exitcode(status)


def _end_with(pipe: int) -> None:
    """End this process when the one that waits for it ends, even if that was killed."""

    def wait() -> None:
        os.read(pipe, 1)
        os._exit(128 + signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


class _Printer:
    """Writes to stdout what a forked process sends, and answers each message when that is done.

    A message says where in the output its bytes belong, so that what is sent again, after a signal or by a second process,
    is not written again.

    Attributes:
        written: Bytes of the output that have been written, by earlier processes too.
    """

    def __init__(self, messages: socket.socket, written: int) -> None:
        self._messages, self._number, self.written = messages, sys.stdout.fileno(), written
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while message := self._next():
            number, place = _MESSAGE.unpack_from(message)
            error = 0
            try:
                self._write(message[_MESSAGE.size + self.written - place :])
            except OSError as problem:
                error = problem.errno or 0
            with suppress(OSError):  # the other one crashed meanwhile
                self._messages.send(_ANSWER.pack(number, self.written, error))

    def end(self) -> int:
        """Write what was sent before the other process ended; return the number of a signal that broke the wait, or 0."""
        self._messages.shutdown(socket.SHUT_RD)
        while self._thread.is_alive():
            if received := signal.sigtimedwait(_forwarded(), 0.1):
                return received.si_signo
        return next(iter(_forwarded() & signal.sigpending()), 0)

    def _next(self) -> bytes:
        """Return the next message; empty at the end."""
        size = _MESSAGE.size + _MOST
        with suppress(ConnectionResetError):  # once, after a crash with an answer unread; there may be a message
            return self._messages.recv(size)
        return self._messages.recv(size)

    def _write(self, data: bytes) -> None:
        while data:
            try:
                n = os.write(self._number, data)
            except BlockingIOError:  # another program on the same terminal or pipe wants that
                select.select((), (self._number,), ())
                continue
            self.written += n
            data = data[n:]


def _stdout(messages: socket.socket) -> io.TextIOWrapper:
    """Open stdout so that another process writes to it."""
    old = sys.stdout
    assert isinstance(old, io.TextIOWrapper)
    raw = io.BufferedWriter(_Sent(old.fileno(), messages))
    return io.TextIOWrapper(raw, encoding=old.encoding, errors=old.errors, line_buffering=old.line_buffering)


class _Sent(io.FileIO):
    """A descriptor to which another process writes, until that fails.

    A signal may break the wait for an answer at any point. Then the same bytes come again, or, of more than a buffer holds,
    never.
    """

    def __init__(self, number: int, messages: socket.socket) -> None:
        super().__init__(number, "w", closefd=False)
        self._messages, self._owner, self._failed = messages, os.getpid(), False
        self._place = self._last = 0  # of the next byte in the output; number of the last message
        self._open = b""  # what was sent and whose answer has not come

    def write(self, data: Any, /) -> int:  # a buffer, which has no type before Python 3.12
        if self._failed or os.getpid() != self._owner:  # a process that a library forked
            return super().write(data) or 0
        view = memoryview(data).cast("B")[:_MOST]
        if self._open[: len(view)] != view[: len(self._open)]:  # it was given up, and may be written in part
            self._open = b""
            self._place = self._ask(b"")
        self._open = bytes(view)
        n = min(self._ask(self._open) - self._place, len(view))
        self._open = b""
        self._place += n
        return n

    def _ask(self, data: bytes) -> int:
        """Have bytes written; return how many of the output have been.

        Raises:
            OSError: They could not be; to a pipe whose reader has ended, for example.
        """
        self._last += 1
        self._messages.send(_MESSAGE.pack(self._last, self._place) + data)
        while True:
            answer = self._messages.recv(_ANSWER.size)
            number, written, error = _ANSWER.unpack(answer) if answer else (self._last, 0, errno.EPIPE)  # it was killed
            if number == self._last:  # the answer to an earlier one may still come
                break
        if error:
            self._failed = True
            raise OSError(error, os.strerror(error))
        return written
