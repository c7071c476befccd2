"""Files of a run in a folder or at any other place that fsspec knows: s3://, gs://, ..."""

import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import fsspec

from soundscene.errors import SceneError
from soundscene.files import write_atomic

_URL = re.compile(r"[a-z][a-z0-9+.:-]*://", re.IGNORECASE)


def is_url(path: str) -> bool:
    """Return whether a path is a URL such as s3://bucket/a.wav, and not a local one."""
    return _URL.match(path) is not None


def file_system(url: str) -> tuple[Any, str]:
    """Return the file system of a URL, and the path in it.

    Raises:
        SceneError: The protocol is unknown, or what it needs is not installed.
    """
    try:
        return fsspec.core.url_to_fs(url)
    except (ImportError, OSError, ValueError) as error:
        raise SceneError(f"{url}: this kind of place cannot be used ({one_line(error)})") from None


def same_place(one: str, other: str) -> bool:
    """Return whether two folders or URLs, as users wrote them, are the same place.

    Args:
        one: Folder or URL.
        other: Folder or URL.

    Raises:
        SceneError: As `file_system` does.
    """
    (files, root), (others, other_root) = file_system(one), file_system(other)
    return files.protocol == others.protocol and root.rstrip("/") == other_root.rstrip("/")


def one_line(error: Exception) -> str:
    """Return the text of an error in one line of at most 200 characters."""
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return " ".join(text.split())[:200] or type(error).__name__


class Storage:
    """Files by name in one place, each of them whole or absent.

    A local file is written beside its name, brought to the disk, then renamed. Object stores show an object only when it is
    whole.

    Args:
        place: A local folder (as a `Path`), or a folder or URL as the user wrote it. It is made if need be.

    Raises:
        SceneError: The place cannot be used.
    """

    def __init__(self, place: str | Path) -> None:
        self.place = str(place)
        if isinstance(place, Path):  # never a URL, whatever characters it holds
            self._files, self._root = fsspec.filesystem("file"), str(place.absolute())
        else:
            self._files, self._root = file_system(place)
        self._local = "file" in self._files.protocol
        try:
            self._files.makedirs(self._root, exist_ok=True)
        except (OSError, ValueError) as error:
            raise SceneError(f"{self.place}: cannot be written ({one_line(error)})") from None

    @property
    def shared(self) -> bool:
        """Whether other processes can see the files."""
        return "memory" not in self._files.protocol

    def names(self) -> set[str]:
        """Return the names of all files there.

        Raises:
            SceneError: The place cannot be read.
        """
        try:
            paths = self._files.ls(self._root, detail=False, refresh=True)
        except (OSError, ValueError) as error:
            raise SceneError(f"{self.place}: cannot be read ({one_line(error)})") from None
        return {path.rpartition("/")[2] for path in paths}

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            SceneError: It cannot be read.
        """
        try:
            return self._files.cat_file(f"{self._root}/{name}")
        except (OSError, ValueError) as error:
            raise SceneError(f"{self.place}/{name}: cannot be read ({one_line(error)})") from None

    def write(self, name: str, content: bytes) -> None:
        """Write a file, all or nothing.

        Args:
            name: Of the file, which replaces one that is there.
            content: All of it.

        Raises:
            SceneError: It cannot be written.
        """
        path = f"{self._root}/{name}"
        if self._local:
            write_atomic(Path(path), content, to_disk=True)
            return
        try:
            self._files.pipe_file(path, content)
        except (OSError, ValueError) as error:
            raise SceneError(f"{self.place}/{name}: cannot be written ({one_line(error)})") from None

    def remove(self, name: str) -> None:
        """Remove a file, if it is there and can be removed."""
        with suppress(OSError, ValueError):
            self._files.rm_file(f"{self._root}/{name}")

    def clean(self, pattern: str, older_than_s: float = 0.0) -> None:
        """Remove unfinished files that killed processes left in a local folder.

        Args:
            pattern: Glob of the finished files' names.
            older_than_s: Age in seconds below which another process may still be writing a file.
        """
        for unfinished in Path(self._root).glob(f"{pattern}.*.tmp") if self._local else ():
            with suppress(OSError):
                if time.time() - unfinished.stat().st_mtime >= older_than_s:
                    unfinished.unlink()
