"""The processes that `survive.py` disturbs: forked from one that has imported soundscene, and has done nothing else.

A process that is forked from one that has computed inherits its threads' locks and the servers of its `multiprocessing`,
whose children are not its own. So one fresh process imports, and forks on request: `python -m benchmarks.survive_process`
reads requests from its stdin, one JSON line each, and ends with it.
"""

import atexit
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.survive_commands import Command

IMPORTED = ("soundscene.cli.app", "soundscene.pipeline", "soundscene.experiment.run", "soundscene.batch.run")
LIMIT_S = 600.0  # of a process


@dataclass(frozen=True)
class Ended:
    """A process that has ended.

    Attributes:
        code: Exit code.
        out: What it printed.
        err: What it printed on stderr.
        early: Whether it was disturbed before it had its lock.
    """

    code: int
    out: str
    err: str
    early: bool = False


class Forker:
    """The process that imports and forks.

    Args:
        server: That process.
    """

    def __init__(self, server: "subprocess.Popen[str]") -> None:
        self._server = server

    def ask(self, **request: Any) -> Any:
        """Send a request, and return what is answered.

        Args:
            request: `line`, `fresh` and `most_bytes` of a process to start, or `pid` of one that may have ended.
        """
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return json.loads(self._server.stdout.readline())


@contextmanager
def forker() -> Iterator[Forker]:
    """Start the process that forks; it ends with the context, and in any case with this process."""
    server = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.survive_process"],
        cwd=Path(__file__).parents[1],
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    with server:
        yield Forker(server)
        assert server.stdin
        server.stdin.close()


class Process:
    """A command in a session of its own.

    Args:
        forks: Starts it.
        command: What to run.
        out: Folder to write to.
        alternative: Number of the set of options.
        fresh: Whether to start Python anew, in place of forking a process that has imported everything.
        most_bytes: Limit of the size of files.
    """

    def __init__(
        self,
        forks: Forker,
        command: Command,
        out: Path,
        alternative: int,
        fresh: bool = False,
        most_bytes: int | None = None,
    ) -> None:
        self._forks, self._name = forks, command.name
        self._ended: Ended | None = None
        self.pid: int = forks.ask(line=command.line(out, alternative), fresh=fresh, most_bytes=most_bytes)

    def lives(self) -> bool:
        """Whether the process has not ended."""
        if self._ended is None and (answer := self._forks.ask(pid=self.pid)):
            self._ended = Ended(*answer)
        return self._ended is None

    def wait(self, until: Callable[[], bool] = lambda: False) -> None:
        """Wait until something is so, or the process has ended."""
        ends = time.monotonic() + LIMIT_S
        while self.lives() and not until():
            time.sleep(0.01)
            if time.monotonic() > ends:
                os.killpg(self.pid, signal.SIGKILL)
                raise SystemExit(f"{self._name}: did not end within {LIMIT_S:.0f} s")

    def finish(self, early: bool = False) -> Ended:
        """Wait for the end.

        Args:
            early: Whether it was disturbed before it had its lock.
        """
        self.wait()
        assert self._ended is not None
        return Ended(self._ended.code, self._ended.out, self._ended.err, early)


def holder(lock: Path) -> int | None:
    """Return the process that has a lock, or None.

    Args:
        lock: File of the lock.
    """
    try:
        return json.loads(lock.read_text())["pid"]
    except (OSError, ValueError):
        return None


# --- the process that forks -------------------------------------------------------------------------------------------


def main() -> None:
    """Import, then serve requests until stdin ends."""
    for module in IMPORTED:
        importlib.import_module(module)
    readers: dict[int, list[int]] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if "pid" not in request:
            pid, readers_of = _fork(**request)
            readers[pid] = readers_of
            answer: Any = pid
        else:
            answer = _end_of(request["pid"], readers)
        print(json.dumps(answer), flush=True)


def _fork(line: list[str], fresh: bool, most_bytes: int | None) -> tuple[int, list[int]]:
    """Fork a process; return its number, and where to read what it prints."""
    pipes = [os.pipe(), os.pipe()]
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for number, (_, writer) in enumerate(pipes, 1):
                os.dup2(writer, number)
            if most_bytes is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, resource.RLIM_INFINITY))
            _become(line, fresh)
        finally:
            os._exit(70)
    for _, writer in pipes:
        os.close(writer)
    return pid, [reader for reader, _ in pipes]


def _end_of(pid: int, readers: dict[int, list[int]]) -> tuple[int, str, str] | None:
    """Return how a process ended and what it printed, or None while it lives; those it left may keep the pipes open."""
    ended, status = os.waitpid(pid, os.WNOHANG)
    if not ended:
        return None
    texts: list[str] = []
    for reader in readers.pop(pid):
        os.set_blocking(reader, False)
        text = b""
        with suppress(BlockingIOError), open(reader, "rb", 0) as pipe:
            text = pipe.read() or b""
        texts.append(text.decode(errors="replace"))
    return os.waitstatus_to_exitcode(status), texts[0], texts[1]


def _become(line: list[str], fresh: bool) -> None:
    """Run a command line in this process, and end it."""
    if fresh:
        os.execv(line[0], line)
    from soundscene.__main__ import main as main_of_soundscene

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    sys.argv = ["soundscene", *line[3:]]
    # closing the number 2 with a stream that another replaces, a process would give it to the next file, its lock
    sys.stdin, sys.stdout, sys.stderr = (open(n, "r" if n == 0 else "w", closefd=False) for n in range(3))  # noqa: SIM115
    code = 1
    try:
        main_of_soundscene()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
    with suppress(BaseException):
        atexit._run_exitfuncs()  # as at the end of Python; those of this process's parent are none
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
