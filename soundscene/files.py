"""Files that are whole or not there: written beside their name, then renamed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from soundscene.errors import SceneError


@contextmanager
def atomic_path(path: Path, error: type[SceneError] = SceneError) -> Iterator[Path]:
    """A path to write to, which takes the name `path` when all is well and vanishes when not.

    Raises: `error` where the file cannot be written.
    """
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        yield unfinished
        os.replace(unfinished, path)
    except OSError as found:
        reason = found.strerror or found
        raise error(f"{path}: cannot be written ({reason}); is the folder there, writable, and not full?") from None
    finally:
        with suppress(OSError):
            unfinished.unlink()


def write_atomic(path: Path, content: bytes, error: type[SceneError] = SceneError) -> None:
    """Write a file, and the folders above it where they are missing. Raises: `error` where that is not possible."""
    with atomic_path(path, error) as unfinished:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(content)
