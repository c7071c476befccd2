"""One process at a time in a folder: a lock that the operating system releases with its process.

The lock is filelock's. While it is held, the file names its holder as JSON, for messages and for soundscene 0.1.0, whose
batch runs lock by that content alone.
"""

import json
import os
import platform
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from soundscene.errors import SceneError
from soundscene.texts import parse_json

_KINDS = {stat.S_IFDIR: "directory", stat.S_IFLNK: "symbolic link", stat.S_IFIFO: "named pipe", stat.S_IFSOCK: "socket"}


@contextmanager
def locked(path: Path, wait_s: float = 0.0) -> Iterator[bool]:
    """Hold a lock file.

    What a dead process left behind never blocks. A file that was empty before stays, as 0.1.0 leaves one in a run folder;
    any other is removed at the end.

    Args:
        path: The lock file, in a folder that exists.
        wait_s: Seconds to wait for another process.

    Yields:
        Whether the process that held the lock last was killed, or crashed.

    Raises:
        SceneError: Another process holds the lock, which the message names, or it cannot be locked.
    """
    lock = FileLock(path, timeout=wait_s)
    try:
        stays = _is_empty_file(path)
        lock.acquire()
    except Timeout:
        raise SceneError(_held(path, _holder(path))) from None
    except OSError as error:
        raise SceneError(f"{path}: cannot be locked ({error.strerror or error})") from None
    try:
        _refuse_earlier(path)
        killed = path.stat().st_size > 0
        try:
            _write_holder(path)
            yield killed
        finally:
            with suppress(OSError):  # under the lock, or another process could lose the file it has just locked
                os.truncate(path, 0) if stays else path.unlink()
    finally:
        lock.release()


def _is_empty_file(path: Path) -> bool:
    """Check what is at the path of the lock; raise `SceneError` for anything but a file, which nothing can lock."""
    try:
        facts = path.lstat()
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(facts.st_mode):
        kind = _KINDS.get(stat.S_IFMT(facts.st_mode), "device")
        raise SceneError(f"{path}: is a {kind}, expected a lock file; remove it, or choose another folder")
    return facts.st_size == 0


def _refuse_earlier(path: Path) -> None:
    """Raise `SceneError` while a process of 0.1.0 holds the lock by the content of its file, unknown to the system."""
    holder = _holder(path)
    if holder and "lock" not in holder and (holder.get("host") != platform.node() or _alive(holder)):
        raise SceneError(f"{_held(path, holder)}, or remove {path} if you know that it has ended")


def _held(path: Path, holder: dict[str, Any] | None) -> str:
    who = f"process {holder['pid']} on {holder.get('host')}" if holder else "another process"
    return f"{path.parent}: {who} is writing there; wait until it ends, or choose another folder"


def _write_holder(path: Path) -> None:
    if os.name == "nt":  # a locked file can be written through its own handle only
        return
    holder = {"pid": os.getpid(), "host": platform.node(), "started": _started(os.getpid()), "lock": "flock"}
    try:
        path.write_text(json.dumps(holder), encoding="utf-8")
    except OSError as error:
        raise SceneError(f"{path}: cannot be written ({error.strerror or error})") from None


def _holder(path: Path) -> dict[str, Any] | None:
    """Read who holds a lock; None where its file does not say."""
    try:
        holder = parse_json(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError):
        return None
    return holder if isinstance(holder, dict) and isinstance(holder.get("pid"), int) else None


def _alive(holder: dict[str, Any]) -> bool:
    pid = holder["pid"]
    if os.name == "nt":
        return True  # signal 0 is Ctrl-C there
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True  # somebody else's
    started = _started(pid)
    return started != "ended" and started == holder.get("started", started)


def _started(pid: int) -> str:
    """Return when a process started, as process numbers are reused; "" where unknown, "ended" for a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "ended" if fields[0] in "ZX" else fields[19]
