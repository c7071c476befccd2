"""Cases run in a child process: what each ended with, also when it ended the process or did not end at all."""

import importlib
import os
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Literal

from soundscene.errors import SceneError

Kind = Literal["fine", "refused", "foreign", "crash", "hang"]
START_S = 600.0  # until a child has imported what it needs
_STALLED = 60  # times the limit in wall-clock time, after which a case that uses no CPU hangs too


@dataclass(frozen=True)
class Outcome:
    """Hold what one case ended with.

    Attributes:
        case: Its number.
        kind: "fine", "refused" (one of our errors), "foreign" (another exception), "crash" (the process ended), "hang".
        detail: What the case returned, the error's text, or the last line of the traceback with its place.
        seconds: CPU time that it took.
        memory_mb: Resident memory of the child afterwards, 0 where that is unknown.
        peak_mb: Largest resident memory of the child so far.
    """

    case: int
    kind: Kind
    detail: str
    seconds: float
    memory_mb: float = 0.0
    peak_mb: float = 0.0


def run_cases(
    factory: str, arguments: tuple[Any, ...], cases: Iterable[int], limit_s: float, memory_gb: float | None = None
) -> Iterator[Outcome]:
    """Run cases in a child process, and in a new one after each that crashes or hangs.

    Args:
        factory: "package.module:function". Called with `arguments` once a child, it returns the function that runs a case
            by its number and returns a text.
        arguments: For the factory; they must be picklable.
        cases: Numbers of the cases.
        limit_s: Seconds of CPU time, children included, after which a case counts as hanging, and its process is killed. A
            busy machine makes no case hang; one that waits for nothing is given a minute for each second.
        memory_gb: Limit of the child's address space, where the system knows one.

    Yields:
        The outcomes, in the order of the cases.
    """
    child: _Child | None = None
    try:
        for case in cases:
            child = child or _Child(factory, arguments, memory_gb)
            outcome = child.run(case, limit_s)
            if outcome.kind in ("crash", "hang"):
                child.close()
                child = None
            yield outcome
    finally:
        if child is not None:
            child.close()


class _Child:
    def __init__(self, factory: str, arguments: tuple[Any, ...], memory_gb: float | None) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, factory, arguments, memory_gb), daemon=False)
        self._process.start()
        theirs.close()
        if not self._pipe.poll(START_S) or self._pipe.recv() != "ready":
            raise RuntimeError(f"the child process of {factory} did not start")

    def run(self, case: int, limit_s: float) -> Outcome:
        started = time.perf_counter()
        self._pipe.send(case)
        try:
            used = _cpu_s(self._process.pid)
            while time.perf_counter() - started < _STALLED * limit_s and _cpu_s(self._process.pid) - used < limit_s:
                if self._pipe.poll(limit_s / 5):
                    return Outcome(case, *self._pipe.recv())
        except EOFError:
            self._process.join(10)
            return Outcome(case, "crash", f"exit code {self._process.exitcode}", time.perf_counter() - started)
        return Outcome(case, "hang", f"not finished after {limit_s:g} s of CPU time", time.perf_counter() - started)

    def close(self) -> None:
        self._pipe.close()
        self._process.join(1)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _cpu_s(process: int | None) -> float:
    """CPU time of a process and of its children, living and ended; a clock where there is no /proc."""
    try:
        with open(f"/proc/{process}/stat", encoding="ascii", errors="replace") as file:
            own = sum(map(int, file.read().rpartition(")")[2].split()[11:15])) / os.sysconf("SC_CLK_TCK")
        with open(f"/proc/{process}/task/{process}/children", encoding="ascii") as file:
            return own + sum(_cpu_s(int(child)) for child in file.read().split())
    except (OSError, ValueError, IndexError):
        return time.perf_counter() if process is None or os.name != "posix" else 0.0


def _serve(pipe: Connection, factory: str, arguments: tuple[Any, ...], memory_gb: float | None) -> None:
    if memory_gb is not None and os.name == "posix":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (int(memory_gb * 2**30), int(memory_gb * 2**30)))
    module, _, name = factory.partition(":")
    run: Callable[[int], str] = getattr(importlib.import_module(module), name)(*arguments)
    pipe.send("ready")
    while True:
        try:
            case = pipe.recv()
        except EOFError:
            return
        used = _cpu_s(os.getpid())
        kind, detail = _attempt(run, case)
        pipe.send((kind, detail, _cpu_s(os.getpid()) - used, *_memory_mb()))


def _attempt(run: Callable[[int], str], case: int) -> tuple[Kind, str]:
    try:
        return "fine", run(case)
    except SceneError as error:
        return "refused", str(error)
    except BaseException as error:  # of whatever kind: that is what is counted
        last = traceback.extract_tb(error.__traceback__)[-1]
        return "foreign", f"{type(error).__name__}: {error} ({os.path.basename(last.filename)}:{last.lineno})"


def _memory_mb() -> tuple[float, float]:
    """Resident memory now, and at most so far, where there is /proc."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            rows = dict(line.split(":", 1) for line in file if line.startswith(("VmRSS", "VmHWM")))
        return tuple(int(rows[key].split()[0]) / 1024 for key in ("VmRSS", "VmHWM"))  # pyright: ignore[reportReturnType]
    except (OSError, KeyError):
        return 0.0, 0.0


def count(outcomes: Iterable[Outcome]) -> Counter[str]:
    """Count outcomes by kind."""
    return Counter(outcome.kind for outcome in outcomes)
