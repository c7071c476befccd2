"""A few threads that compute, and a bounded queue before them: who comes when it is full is told when to come again."""

import asyncio
import math
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from soundscene.serve.limits import Limits
from soundscene.serve.refusal import RefusedError

T = TypeVar("T")

Check = Callable[[float], None]
"""Called with the seconds of sound decoded so far; raises an error where they are too many, or nobody waits any longer."""

_SMOOTHING = 0.1  # share of a new duration in their mean
_LONGEST_WAIT_S = 60


class StoppedError(Exception):
    """The client has gone, or the service ends; nobody waits for the result."""


class Workers:
    """Threads that compute, each a recording at a time.

    Args:
        limits: Workers, length of the queue, seconds of sound.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._pool = ThreadPoolExecutor(limits.workers, "serve", _one_torch_thread)
        self._mean_s = 0.1
        self.n_running = self.n_waiting = 0
        self._count = threading.Lock()

    @property
    def full(self) -> bool:
        """Whether no further recording is accepted."""
        return self.n_running + self.n_waiting >= self._limits.workers + self._limits.queue

    def check_room(self) -> None:
        """Check that a recording would be accepted.

        Raises:
            RefusedError: The queue is full; 503 with the seconds after which to try again.
        """
        if self.full:
            rounds = (self.n_running + self.n_waiting) / self._limits.workers
            wait_s = min(_LONGEST_WAIT_S, max(1, math.ceil(rounds * self._mean_s)))
            sentence = f"the service is busy ({self._limits.queue} recordings wait); try again in {wait_s} s"
            raise RefusedError(503, sentence, headers={"Retry-After": str(wait_s)})

    async def compute(self, work: Callable[[Check], T]) -> T:
        """Compute in a thread. Cancelling the call ends the work: at once while it waits, else at its next block of sound.

        Args:
            work: What to compute, given a function that it must call as it goes on.

        Raises:
            RefusedError: The queue is full, or the sound is too long.
        """
        self.check_room()
        stop = threading.Event()
        self._change(waiting=1)
        job: Future[T] = self._pool.submit(self._run, work, stop)
        job.add_done_callback(lambda job: self._change(waiting=-1) if job.cancelled() else None)
        try:
            return await asyncio.wrap_future(job)
        finally:
            stop.set()

    def close(self) -> None:
        """Drop what waits."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(self, work: Callable[[Check], T], stop: threading.Event) -> T:
        self._change(waiting=-1, running=1)
        start = time.monotonic()
        try:
            return work(lambda seconds: self._check(seconds, stop))
        finally:
            self._mean_s += _SMOOTHING * (time.monotonic() - start - self._mean_s)
            self._change(running=-1)

    def _check(self, seconds: float, stop: threading.Event) -> None:
        if stop.is_set():
            raise StoppedError
        if seconds > self._limits.max_seconds:
            allowed = f"{self._limits.max_seconds:g} s"
            raise RefusedError(413, f"lasts longer than {allowed}, the most that this service decodes; send it in parts")

    def _change(self, waiting: int = 0, running: int = 0) -> None:
        with self._count:
            self.n_waiting += waiting
            self.n_running += running


def _one_torch_thread() -> None:
    """Let PyTorch, where a model needs it, use one thread for each worker."""
    torch: Any = sys.modules.get("torch")
    if torch:
        torch.set_num_threads(1)
