"""Processes that compute for this one, forked from a server that holds none of its locks and files."""

import multiprocessing
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.context import ForkServerContext


def server_context() -> ForkServerContext:
    """Return the context of processes that a server forks, with its resource tracker running.

    The tracker is deaf to SIGHUP, as it is to SIGINT and SIGTERM by itself. Otherwise a terminal that is closed would end
    it, and the end of the command would print a warning of Python's about that.
    """
    hang_up = getattr(signal, "SIGHUP", None)  # Windows has none
    if hang_up is None:
        resource_tracker.ensure_running()
        return multiprocessing.get_context("forkserver")
    with _blocked(hang_up):
        resource_tracker.ensure_running()
    return multiprocessing.get_context("forkserver")


@contextmanager
def deaf_to_ctrl_c() -> Iterator[None]:
    """Start processes, and the server behind them, so that Ctrl-C does not reach them.

    A terminal sends it to all processes. The command decides what becomes of them, and one that is still importing would
    print a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows, which has no such server either
        yield
        return
    with _blocked(signal.SIGINT):
        yield


@contextmanager
def _blocked(number: signal.Signals) -> Iterator[None]:
    """Block a signal in this thread; a process that is started inherits that."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        if number not in before:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
