"""Signals that end a command: SIGTERM and SIGHUP end it as Ctrl-C does, so that what is computed is written."""

import signal
import time
from contextlib import suppress
from types import FrameType

_ENDING = ("SIGINT", "SIGTERM", "SIGHUP")
_AGAIN_S = 0.5  # a terminal and a supervisor may both send one signal
_received: list[int] = []
_times: list[float] = []


def install() -> None:
    """Turn these signals into KeyboardInterrupt in the main thread, but those that are ignored, as under nohup."""
    for name in _ENDING:
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:
    if _times and time.monotonic() - _times[-1] < _AGAIN_S:
        return
    _times.append(time.monotonic())
    _received.append(number)
    for name in _ENDING[1:]:  # a second one must not interrupt the writing; Ctrl-C may
        if (other := getattr(signal, name, None)) is not None:
            signal.signal(other, signal.SIG_IGN)
    raise KeyboardInterrupt


def exit_code() -> int | None:
    """Return the exit code of a process that such a signal ended, as a shell would; None if there was none."""
    return 128 + _received[0] if _received else None


def ignore() -> None:
    """Ignore these signals from now on: the command is done, and freeing its memory must not change its exit code."""
    for name in _ENDING:
        if (number := getattr(signal, name, None)) is not None:
            with suppress(ValueError):  # in another thread than the main one
                signal.signal(number, signal.SIG_IGN)
