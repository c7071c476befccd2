"""Recordings and shards anywhere that fsspec knows: s3://, gs://, ..., or local files; for clusters."""

import glob
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from soundscene.audio.folders import AUDIO_SUFFIXES, count_files, count_listed, listed, sound_files
from soundscene.batch.folder import refuse_foreign, shard_name
from soundscene.batch.request import RUN, BatchConfig
from soundscene.batch.rows import read_paths
from soundscene.batch.seen import PathSet
from soundscene.errors import AudioError, SceneError
from soundscene.files import atomic_path

try:
    import fsspec
except ImportError:
    raise SceneError("--cluster needs fsspec, which is not installed; pip install 'soundscene[ray]'") from None

_OLD_S = 3600.0  # a shard takes seconds to write
_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


# --- recordings -------------------------------------------------------------------------------------------------------


def is_url(path: str) -> bool:
    """Whether a path is a URL such as s3://bucket/a.wav, and not a local one."""
    return _URL.match(path) is not None


def sources(paths: Sequence[str], list_from: str | None = None) -> Iterator[str]:
    """`data.folders.sound_files` for paths of both kinds, then the lines of a list; URLs stay URLs, in the order of names.

    Of a folder elsewhere, names are held as fsspec gives them: all at once.
    Raises: `AudioError` for a folder or a glob without sound files, and for a place that cannot be read.
    """
    for path in paths:
        if is_url(path):
            yield from _elsewhere(path)
        else:
            yield from map(str, sound_files([Path(path)]))
    if list_from is not None:
        yield from (line if is_url(line) else str(Path(line)) for line in listed(list_from))


def count_sources(paths: Sequence[str], list_from: str | None = None) -> int | None:
    """How many `sources` will give, None where that cannot be known; all local folders are looked at, others are not."""
    total = count_files([Path(path) for path in paths if not is_url(path)])
    more = count_listed(list_from) if list_from is not None else 0
    return None if more is None or any(map(is_url, paths)) else total + more


def _elsewhere(url: str) -> Iterator[str]:
    try:
        files, path = _file_system(url)
        if glob.has_magic(path) and not files.exists(path):
            last = path.rpartition("/")[2]
            found = sorted(one for one, facts in files.glob(path, detail=True).items() if facts["type"] == "file")
            found = [one for one in found if last not in ("*", "**") or _sound(one)]
        elif files.isdir(path):
            found = sorted(one for one in files.find(path) if _sound(one))
        else:
            yield url
            return
    except (OSError, ValueError) as error:
        raise AudioError(f"{url}: cannot be looked at ({_one_line(error)})") from None
    if not found:
        raise AudioError(f"{url}: no sound files there")
    yield from (files.unstrip_protocol(one) for one in found)


def _sound(path: str) -> bool:
    parts = PurePosixPath(path)
    return parts.suffix.lower() in AUDIO_SUFFIXES and not parts.name.startswith(".")


@contextmanager
def fetched(path: str, folder: str, failed: dict[str, str]) -> Iterator[str]:
    """A local file with the content of `path`: itself, where it is local, or a temporary one until the end.

    folder: that relative paths are relative to; failed: takes why, by the name that is given, where it cannot be fetched.
    """
    if not is_url(path):
        yield os.path.join(folder, path)
        return
    number, temporary = tempfile.mkstemp(suffix=PurePosixPath(path).suffix)
    os.close(number)
    try:
        try:
            files, there = _file_system(path)
            files.get_file(there, temporary)
        except FileNotFoundError:
            failed[temporary] = "does not exist"
        except (OSError, ValueError, SceneError) as error:
            failed[temporary] = f"cannot be fetched ({_one_line(error)})"
        yield temporary
    finally:
        Path(temporary).unlink(missing_ok=True)


# --- shards -----------------------------------------------------------------------------------------------------------


class ShardStorage:
    """Where shards stand: a folder, or a URL such as s3://bucket/rows, that the driver and all nodes can write to.

    A local shard is written beside and renamed; object stores show an object only when it is whole.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self._files, self._root = _file_system(where)
        self._local = "file" in self._files.protocol
        if "memory" in self._files.protocol:
            raise SceneError(f"{where}: the memory of one process, which others cannot write to")
        try:
            self._files.makedirs(self._root, exist_ok=True)
        except (OSError, ValueError) as error:
            raise SceneError(f"{where}: rows cannot be kept there ({_one_line(error)})") from None

    def begin(self, config: BatchConfig) -> None:
        """Compare with run.json, or write it; raises `SceneError` where rows cannot stand beside those that are there."""
        run = f"{self._root}/{RUN}"
        try:
            if self._files.exists(run):
                config.check(self._files.cat_file(run).decode(), f"{self.where}/{RUN}")
                return
            refuse_foreign(self.where, sorted(self.shards()))
        except (OSError, UnicodeDecodeError) as error:
            raise SceneError(f"{self.where}: cannot be read ({_one_line(error)})") from None

        def write(path: Path) -> None:
            with atomic_path(path) as unfinished:
                unfinished.write_text(config.to_json(), encoding="utf-8")

        self.put(RUN, write)

    def clean(self) -> None:
        """Remove what killed nodes have left in a local folder; what a node may be writing now is younger."""
        with suppress(OSError):
            for unfinished in Path(self._root).glob("part-*.tmp") if self._local else ():
                if time.time() - unfinished.stat().st_mtime > _OLD_S:
                    unfinished.unlink()

    def shards(self) -> set[str]:
        """Names of the finished shards."""
        names = (path.rpartition("/")[2] for path in self._files.ls(self._root, detail=False, refresh=True))
        return {name for name in names if shard_name(name)}

    def seen(self, config: BatchConfig) -> PathSet:
        """The paths in all finished shards; raises `SceneError` for a damaged one."""
        seen = PathSet()
        with tempfile.TemporaryDirectory() as folder:
            for name in sorted(self.shards()):
                copy = Path(folder) / name
                try:
                    self._files.get_file(f"{self._root}/{name}", str(copy))
                except OSError as error:
                    raise SceneError(f"{self.where}/{name}: cannot be read ({_one_line(error)})") from None
                for path in read_paths(copy, config.form, config.scenes):
                    seen.add(path)
                copy.unlink()
        return seen

    def put(self, name: str, write: Callable[[Path], Any]) -> None:
        """Put a file there as `name`, all or nothing; write(path): makes it on this machine, whole. Raises: `SceneError`."""
        if self._local:
            write(Path(self._root, name))
            return
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / name
            write(copy)
            try:
                self._files.put_file(str(copy), f"{self._root}/{name}")
            except (OSError, ValueError) as error:
                raise SceneError(f"{self.where}/{name}: cannot be written ({_one_line(error)})") from None


def _file_system(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it; raises `SceneError` for one that is not known or not installed."""
    try:
        return fsspec.core.url_to_fs(url)
    except (ImportError, OSError, ValueError) as error:
        raise SceneError(f"{url}: this kind of place cannot be used ({_one_line(error)})") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
