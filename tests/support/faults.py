"""Faults at every write: a piece of work in a forked process whose n-th change of the disk fails or kills it.

Python's audit events see each file that is opened for writing, renamed, removed or truncated and each folder that is made,
whoever does it; fsync is counted too. Before a process dies, the file that it is writing loses the second half of what is
on the disk, and what Python still buffers is lost anyway.
"""

import errno
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from soundscene.errors import SceneError

Kind = Literal["none", "fail", "die"]
DONE, REFUSED, BUG, DIED = 0, 2, 70, 99  # exit codes of a process
_EVENTS = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")


def in_fork(work: Callable[[], object], folder: Path, kind: Kind = "none", number: int = 0) -> tuple[int, int]:
    """Do a piece of work in a forked process.

    Args:
        work: What to do.
        folder: Only what changes below it counts.
        kind: What happens to the change of that number.
        number: From 1.

    Returns:
        Exit code (`SceneError` is REFUSED, any other error BUG), and how many changes there were.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = BUG
        try:
            faults = _Faults(str(folder), kind, number)
            try:
                work()
                code = DONE
            except SceneError:
                code = REFUSED
            except BaseException:
                traceback.print_exc()
            os.write(writer, str(faults.count).encode())
        finally:
            os._exit(code)
    os.close(writer)
    with open(reader, "rb") as pipe:
        count = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), int(count or 0)


class _Faults:
    """Counts changes below a folder in this process, for good, and lets one of them fail."""

    def __init__(self, folder: str, kind: Kind, number: int) -> None:
        self.count = 0
        self._folder, self._kind, self._number = folder, kind, number
        self._written = ""
        self._dying = False
        self._fsync = os.fsync
        os.fsync = self._sync
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._dying:
            return
        if event == "open":
            name, mode, flags = arguments
            if isinstance(name, str | bytes | os.PathLike) and flags & (os.O_WRONLY | os.O_RDWR):
                name = os.fsdecode(name)
                if self._change(name) and (flags & os.O_TRUNC or (mode and "w" in mode)):
                    self._written = name
        elif event in _EVENTS and isinstance(arguments[0], str | bytes | os.PathLike):
            self._change(os.fsdecode(arguments[0]))

    def _sync(self, file: int) -> None:
        self._change(os.readlink(f"/proc/self/fd/{file}"))
        self._fsync(file)

    def _change(self, name: str) -> bool:
        if not name.startswith(self._folder):
            return False
        self.count += 1
        if self.count == self._number and self._kind == "fail":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
        if self.count == self._number and self._kind == "die":
            self._dying = True
            if self._written and os.path.exists(self._written):
                os.truncate(self._written, os.path.getsize(self._written) // 2)
            os._exit(DIED)
        return True
