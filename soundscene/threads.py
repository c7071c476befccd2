"""Threads that work ahead of their consumer: one that decodes a source, several that process many recordings.

Decoding, FFTs, matrix products, the compiled loops and the network all release Python's lock, so threads use the cores as
well as processes would, with one model in memory. At most a fixed number of blocks or results is held, so memory does not
grow with the source.
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
_IN_FLIGHT = 4  # items per worker in progress or finished: others can continue while one long recording is processed


def read_ahead(blocks: Iterator[T], depth: int = 3) -> Generator[T, None, None]:
    """Yield the same blocks, made by a thread while the caller works on those before.

    An error of the source is raised in place of its block. Closing or dropping the generator waits for the block that is
    being made, ends the thread and closes the source.

    Args:
        blocks: The source.
        depth: Blocks that wait for the caller or are being made.
    """
    # A job makes one block and ends, so the thread never waits. A thread that waited for room in a queue would need a signal
    # for every way in which its consumer can disappear, including the end of the program.
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
    """Yield work(item) of every item, in the order of the items, by several threads.

    While the generator is open, BLAS uses one thread for each matrix product. An error of `work` is raised in place of its
    result and ends the rest. Closing the generator waits for the items in progress and drops those that wait.

    Args:
        work: Function of an item.
        items: Any number of items, taken a few at a time in the caller's thread.
        workers: Number of threads.
        begin: Called once in each thread.
        stop: Set as soon as no more results are wanted, for work that can end early.

    Raises:
        ValueError: If there are fewer than one worker.
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
    """Count of users who need BLAS to use one thread. The setting belongs to the process: the last one restores it."""

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
    """Make numpy's and scipy's matrix products use one thread each, in all threads of the process.

    The products of the front-end are small. On a busy machine, BLAS threads that wait for each other cost several times the
    computation. PyTorch's own threads are not changed. May be entered any number of times.
    """
    _BLAS.enter()
    try:
        yield
    finally:
        _BLAS.leave()
