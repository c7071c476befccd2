"""Files that are whole or absent: written beside their name, then renamed."""

import os
import re
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from soundscene.errors import SceneError

_finished: deque[Path] = deque(maxlen=100)  # of this process; after an interruption, the newest are named


def finished() -> tuple[Path, ...]:
    """Return the newest files that this process has written whole."""
    return tuple(_finished)


def forget_finished() -> None:
    """Begin to count anew which files this process has written."""
    _finished.clear()


def url_hint(path: Path) -> str:
    """Return what to do where a path is a URL in fact, which no file has; else an empty text.

    Args:
        path: That does not exist. `Path` has made one slash of two.
    """
    return "is a URL; download it first, and give the file" if re.match(r"[a-z][a-z0-9+.-]+:/", str(path)) else ""


def check_permission(path: Path, error: type[SceneError] = SceneError) -> None:
    """Refuse a path that may not be read, of which Python may say that it does not exist; nothing else is checked.

    Args:
        path: Of a file, which need not exist.
        error: Class of the error to raise.

    Raises:
        SceneError: Permission is lacking; of the class `error`.
    """
    denied = False
    try:
        os.stat(path)
        denied = not os.access(path, os.R_OK)
    except PermissionError:
        denied = True
    except (OSError, ValueError):  # whoever opens it says what is wrong
        return
    if denied:
        raise error(f"{path}: may not be read (permission denied); ask its owner, or run chmod")


@contextmanager
def atomic_path(path: Path, error: type[SceneError] = SceneError) -> Iterator[Path]:
    """Yield a path to write to, which takes the name `path` after the block and vanishes if that fails.

    Args:
        path: Name of the finished file.
        error: Class of the error to raise.

    Raises:
        SceneError: The file cannot be written; of the class `error`.
    """
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        yield unfinished
        os.replace(unfinished, path)
        _finished.append(path)
    except OSError as found:
        reason = found.strerror or found
        raise error(f"{path}: cannot be written ({reason}); is the folder there, writable, and not full?") from None
    finally:
        with suppress(OSError):
            unfinished.unlink()


def write_atomic(path: Path, content: bytes, error: type[SceneError] = SceneError, to_disk: bool = False) -> None:
    """Write a file, and the folders above it where they are missing.

    Args:
        path: Name of the file.
        content: All of it.
        error: Class of the error to raise.
        to_disk: Wait until the disk has the content, so that after a power cut no name belongs to an empty file.

    Raises:
        SceneError: The file cannot be written; of the class `error`.
    """
    with atomic_path(path, error) as unfinished:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as file:
            file.write(content)
            if to_disk:
                file.flush()
                os.fsync(file.fileno())
