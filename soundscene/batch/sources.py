"""The recordings of a batch: local files and whatever fsspec knows (s3://, gs://, ...), and which of them have been met."""

import glob
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import UInt64

from soundscene.audio.folders import AUDIO_SUFFIXES, FolderSearch, count_files, count_listed, listed, sound_files
from soundscene.errors import AudioError, SceneError
from soundscene.jobs.storage import file_system, is_url, one_line

_FRESH = 1 << 16  # digests kept apart before they are sorted in


def sources(paths: Sequence[str], list_from: str | None = None, search: FolderSearch | None = None) -> Iterator[str]:
    """Yield local recordings as `audio.folders.sound_files` does, those at URLs as URLs, then the lines of a list.

    The names in a folder at a URL are held all at once, as fsspec lists them, and sorted.

    Args:
        paths: Files, folders and globs, each local or a URL.
        list_from: A list with a path a line; "-" is stdin.
        search: Receives what could not be read or was not followed on this machine.

    Raises:
        AudioError: A folder or a glob without audio files, or a place that cannot be read.
    """
    for path in paths:
        if is_url(path):
            yield from _elsewhere(path)
        else:
            yield from map(str, sound_files([Path(path)], search))
    if list_from is not None:
        yield from (line if is_url(line) else str(Path(line)) for line in listed(list_from))


def count_sources(paths: Sequence[str], list_from: str | None = None) -> int | None:
    """Return how many recordings `sources` will yield, None where that cannot be known; local folders are searched.

    Args:
        paths: As in `sources`.
        list_from: As in `sources`.
    """
    total = count_files([Path(path) for path in paths if not is_url(path)])
    more = count_listed(list_from) if list_from is not None else 0
    return None if more is None or any(map(is_url, paths)) else total + more


def _elsewhere(url: str) -> Iterator[str]:
    try:
        files, path = file_system(url)
        if glob.has_magic(path) and not files.exists(path):
            last = path.rpartition("/")[2]
            names = sorted(name for name, facts in files.glob(path, detail=True).items() if facts["type"] == "file")
            names = [name for name in names if last not in ("*", "**") or _is_sound(name)]
        elif files.isdir(path):
            names = sorted(name for name in files.find(path) if _is_sound(name))
        else:
            yield url
            return
    except (OSError, ValueError) as error:
        raise AudioError(f"{url}: cannot be read ({one_line(error)})") from None
    if not names:
        raise AudioError(f"{url}: no sound files there")
    yield from (files.unstrip_protocol(name) for name in names)


def _is_sound(path: str) -> bool:
    parts = PurePosixPath(path)
    return parts.suffix.lower() in AUDIO_SUFFIXES and not parts.name.startswith(".")


@contextmanager
def fetched(path: str, folder: str, failed: dict[str, str]) -> Iterator[str]:
    """Yield a local file with the content of a recording: itself where it is local, else a temporary copy.

    Args:
        path: Local path or URL.
        folder: What relative paths are relative to.
        failed: Receives the reason, by the yielded name, where the recording cannot be fetched.
    """
    if not is_url(path):
        yield os.path.join(folder, path)
        return
    number, temporary = tempfile.mkstemp(suffix=PurePosixPath(path).suffix)
    os.close(number)
    try:
        try:
            files, there = file_system(path)
            files.get_file(there, temporary)
        except FileNotFoundError:
            failed[temporary] = "does not exist"
        except (OSError, ValueError, SceneError) as error:
            failed[temporary] = f"cannot be fetched ({one_line(error)})"
        yield temporary
    finally:
        Path(temporary).unlink(missing_ok=True)


class PathSet:
    """A set of texts in 8 bytes each: a million strings would take more memory than the model.

    Digests of 8 bytes are sorted in one array, the latest are in a set beside it. Two of a million texts share a digest with
    a probability of 3e-8; the second then counts as met.
    """

    def __init__(self) -> None:
        self._sorted: UInt64[np.ndarray, " path"] = np.zeros(0, np.uint64)
        self._fresh: set[int] = set()

    def __len__(self) -> int:
        return len(self._sorted) + len(self._fresh)

    def __contains__(self, text: str) -> bool:
        return self._has(_digest(text))

    def add(self, text: str) -> bool:
        """Add a text; return whether it is new."""
        number = _digest(text)
        if self._has(number):
            return False
        self._fresh.add(number)
        if len(self._fresh) >= _FRESH:
            fresh = np.fromiter(self._fresh, np.uint64, len(self._fresh))
            self._sorted = np.sort(np.concatenate([self._sorted, fresh]))
            self._fresh = set()
        return True

    def _has(self, number: int) -> bool:
        if number in self._fresh:
            return True
        place = int(np.searchsorted(self._sorted, np.uint64(number)))
        return place < len(self._sorted) and int(self._sorted[place]) == number


def _digest(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
