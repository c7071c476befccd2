"""Processes that compute for this one, forked from a server that holds none of its locks and files."""

import multiprocessing
import signal
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
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {hang_up})  # a process that is started inherits it
    try:
        resource_tracker.ensure_running()
    finally:
        if hang_up not in before:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {hang_up})
    return multiprocessing.get_context("forkserver")
