"""A folder of rows: run.json, a lock, and shards part-00000.csv, part-00001.csv, ... each of which is whole.

A shard takes its name when all its rows are on the disk, so what a killed run leaves is: whole shards, which a restart reads
the paths of, and unfinished files under other names, which it removes. See docs/decisions/0073-many-files.md.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from soundscene.batch.request import RUN, BatchConfig
from soundscene.batch.rows import FORMS, Row, read_paths, write_shard
from soundscene.batch.seen import PathSet
from soundscene.errors import SceneError
from soundscene.files import atomic_path
from soundscene.jobs.lock import locked

_SHARD = re.compile(rf"part-(\d{{5,}})(?:-[0-9a-f]+)?\.({'|'.join(FORMS)})")  # a cluster adds a digest


class BatchFolder:
    """A folder that this process alone writes to; made by `opened`.

    seen: paths that have a row, as `as_text` has them; n_shards: finished ones; made: what its rows are made with.
    """

    def __init__(self, path: Path, config: BatchConfig) -> None:
        self.path = path
        self.config = config
        self.seen = PathSet()
        shards = [(int(found[1]), found[0]) for found in _shards(path)]
        self.n_shards = len(shards)
        self._next = max((number for number, _ in shards), default=-1) + 1
        for _, name in sorted(shards):
            for one in read_paths(path / name, config.form, config.scenes):
                self.seen.add(one)

    def write(self, rows: Sequence[Row]) -> Path:
        """Write rows as the next shard, all or nothing; raises `SceneError`."""
        path = self.path / f"part-{self._next:05d}.{self.config.form}"
        write_shard(rows, self.config.scenes, self.config.form, path)
        self._next += 1
        self.n_shards += 1
        return path


@contextmanager
def opened(path: Path, config: BatchConfig) -> Iterator[BatchFolder]:
    """A folder for rows made in this way, new or as a run before left it.

    Raises: `SceneError` when another run has it, when it holds rows made in another way, and when it cannot be read or
    written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SceneError(f"{path}: cannot be made ({error.strerror or error})") from None
    with locked(path / "lock"):
        _check(path, config)
        for unfinished in (*path.glob("part-*.tmp"), *path.glob(f"{RUN}.*.tmp")):  # of dead processes: the lock is ours
            with suppress(OSError):
                unfinished.unlink()
        yield BatchFolder(path, config)


def _check(path: Path, config: BatchConfig) -> None:
    """Compare with run.json, or write it."""
    run = path / RUN
    try:
        text = run.read_text(encoding="utf-8")
    except FileNotFoundError:
        refuse_foreign(str(path), [found[0] for found in _shards(path)])
        with atomic_path(run) as unfinished:
            unfinished.write_text(config.to_json(), encoding="utf-8")
        return
    except (OSError, UnicodeDecodeError) as error:
        raise SceneError(f"{run}: cannot be read ({error})") from None
    config.check(text, str(run))


def refuse_foreign(where: str, shards: Sequence[str]) -> None:
    """Raise `SceneError` for shards in a place without run.json."""
    if shards:
        raise SceneError(
            f"{where}: holds {min(shards)}, but no {RUN} that says what made it; choose another folder, or take them away"
        )


def shard_name(name: str) -> re.Match[str] | None:
    """Number and form of a finished shard, by its name."""
    return _SHARD.fullmatch(name)


def _shards(path: Path) -> list[re.Match[str]]:
    return [found for entry in path.iterdir() if (found := shard_name(entry.name))]
