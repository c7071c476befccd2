"""Threads that work ahead of whoever reads: one that decodes a source, several that answer for many recordings.

Decoding, FFTs, matrix products, the compiled loops and the network all release Python's lock, so threads share the machine
as well as processes would, with one model in memory. Whatever is read, no more than a fixed number of blocks or results
is held, so memory does not grow with the source.
"""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar, cast

from threadpoolctl import ThreadpoolController

T = TypeVar("T")
R = TypeVar("R")

_END = object()
_IN_FLIGHT = 4  # results to a worker that are made, or wait for those before them: enough to let one recording be long


def read_ahead(blocks: Iterator[T], depth: int = 3) -> Generator[T, None, None]:
    """The same blocks, made by a thread while the caller works on those before.

    depth: blocks that wait for the caller or are being made. An error of the source is raised where its block would have
    been. Closing the generator, or dropping it, waits for the block that is being made, ends the thread and closes the
    source.
    """
    # A job makes one block and ends. A thread that waited for room in a queue would have to be told of every way in which
    # its reader can go away, the end of the program among them; this one never waits for anybody.
    pool = ThreadPoolExecutor(1, "read ahead")
    try:
        jobs = deque(pool.submit(next, blocks, _END) for _ in range(depth))
        while (block := jobs.popleft().result()) is not _END:
            jobs.append(pool.submit(next, blocks, _END))
            yield cast(T, block)
    finally:
        pool.shutdown(cancel_futures=True)
        if isinstance(blocks, Generator):
            blocks.close()


def in_order(
    work: Callable[[T], R],
    items: Iterable[T],
    workers: int,
    begin: Callable[[], Any] | None = None,
    stop: threading.Event | None = None,
) -> Generator[R, None, None]:
    """work(item) of every item, in the order of the items, by `workers` threads.

    items: taken a few at a time, in the caller's thread, so there may be any number of them; begin: called once in each
    thread; stop: set as soon as no more results are wanted, for work that can end early. While the generator is open,
    products of matrices take one thread each. An error of `work` is raised in its turn and ends the rest. Closing the
    generator waits for the items that are being worked on and drops those that wait.
    """
    if workers < 1:
        raise ValueError(f"{workers} workers, expected at least 1")
    pool = ThreadPoolExecutor(workers, "in order", begin)
    jobs: deque[Future[R]] = deque()
    waiting = iter(items)
    with one_blas_thread():
        try:
            while True:
                jobs.extend(pool.submit(work, item) for item in islice(waiting, _IN_FLIGHT * workers - len(jobs)))
                if not jobs:
                    return
                yield jobs.popleft().result()
        finally:
            if stop:
                stop.set()
            pool.shutdown(cancel_futures=True)  # Ctrl-C must not wait for thousands of files


class _Limit:
    """How many want BLAS to use one thread; the setting is the process's, so the last to leave puts it back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._limit: Any = None

    def enter(self) -> None:
        with self._lock:
            if not self._users:
                self._limit = ThreadpoolController().limit(limits=1, user_api="blas")
            self._users += 1

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                self._limit.restore_original_limits()


_BLAS = _Limit()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Within it, numpy's and scipy's matrix products take one thread each, in all threads of the program.

    The products of the front-end are small; on a machine that is busy anyway, threads of BLAS that wait for each other
    cost several times what they compute. PyTorch's own threads are left alone. May be entered any number of times.
    """
    _BLAS.enter()
    try:
        yield
    finally:
        _BLAS.leave()
