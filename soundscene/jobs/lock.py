"""One run at a time in a folder: a lock file with the process that has it, taken over when that process is dead."""

import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from soundscene.errors import SceneError

_GRACE_S = 10.0  # in which a lock that has just been made is written


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path` within it.

    A lock of a process of this machine that has ended is taken over; of another machine it cannot be known, so the lock
    has to be removed by hand.
    Raises: `SceneError` when another process has it, naming it, or when it cannot be made.
    """
    mine = json.dumps({"pid": os.getpid(), "host": platform.node(), "started": _started(os.getpid())})
    while not _made(path, mine):
        _take_away(path)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()


def _made(path: Path, content: str) -> bool:
    try:
        with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644), "w", encoding="utf-8") as file:
            file.write(content)
    except FileExistsError:
        return False
    except OSError as error:
        raise SceneError(f"{path.parent}: cannot be written ({error.strerror or error})") from None
    return True


def _take_away(path: Path) -> None:
    """Remove the lock of a dead process, or raise `SceneError`."""
    content = _content(path)
    if content is None:
        return  # gone meanwhile
    holder = _holder(content)
    if holder is None:
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _GRACE_S:
                _remove(path, content)
                return
    elif holder.get("host") == platform.node() and not _alive(holder):
        _remove(path, content)
        return
    who = "another process" if holder is None else f"process {holder.get('pid')} on {holder.get('host')}"
    raise SceneError(
        f"{path.parent}: {who} is writing there; wait for its end, choose another folder, or remove {path} if you know "
        "that it has ended"
    )


def _remove(path: Path, content: str) -> None:
    """Remove the lock that was read, and none that another process has made since."""
    aside = path.with_name(f"{path.name}.{os.getpid()}.old")
    with suppress(OSError):
        os.rename(path, aside)  # of several processes one succeeds
        if _content(aside) != content:
            os.link(aside, path)
        aside.unlink()


def _content(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _holder(content: str) -> dict[str, Any] | None:
    try:
        holder = json.loads(content)
    except ValueError:
        return None
    return holder if isinstance(holder, dict) and isinstance(holder.get("pid"), int) else None


def _alive(holder: dict[str, Any]) -> bool:
    pid = holder["pid"]
    if os.name == "nt":
        return True  # signal 0 is Ctrl-C there
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OSError):
        return True  # somebody else's
    started = _started(pid)
    return started != "ended" and started == holder.get("started", started)


def _started(pid: int) -> str:
    """When a process started, because numbers are given again; "" where the system does not tell; "ended" for a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "ended" if fields[0] in "ZX" else fields[19]
