"""A folder of predictions: run.json, a lock, and shards part-00000.csv, part-00001.csv, ... each of which is whole.

A shard takes its name when all its rows are on the disk. So a killed run leaves whole shards, whose paths a restart reads,
and unfinished files under other names, which it removes. See docs/decisions/0073-many-files.md.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from soundscene.batch.rows import FORMS, Row, ShardFormat, read_paths, shard_bytes
from soundscene.batch.sources import PathSet
from soundscene.errors import SceneError
from soundscene.jobs.lock import locked
from soundscene.jobs.storage import Storage
from soundscene.predictor import Predictor
from soundscene.recipe import FRONT_END
from soundscene.texts import parse_json, short
from soundscene.timelines import check_parquet
from soundscene.types import Head

RUN = "run.json"
_SHARD = re.compile(rf"part-(\d{{5,}})(?:-[0-9a-f]+)?\.({'|'.join(FORMS)})")  # a cluster adds a digest
_WORDS = {"model": "model", "head": "--head", "form": "--format", "scenes": "scenes", "safe_csv": "--safe-csv"}


@dataclass(frozen=True)
class BatchConfig:
    """What the rows of a folder are computed with, as its run.json says; rows of two models must not share a folder.

    Attributes:
        model: SHA-256 of the model's file.
        head: Head that classifies.
        form: Format of the shards.
        scenes: Scenes in the order of the columns.
        soundscene: Version that began the folder.
        front_end: Version of the front-end, see `recipe.FRONT_END`. A folder is finished with the one it was begun with.
        safe_csv: Whether no cell of CSV may be taken for a formula.
    """

    model: str
    head: Head
    form: ShardFormat
    scenes: tuple[str, ...]
    soundscene: str
    front_end: int = FRONT_END
    safe_csv: bool = False

    @classmethod
    def of_model(cls, model: Path, predictor: Predictor, form: ShardFormat, safe_csv: bool = False) -> "BatchConfig":
        """Return the config of a predictor.

        Args:
            model: File that the predictor was loaded from.
            predictor: Its head and scenes count.
            form: Format of the shards.
            safe_csv: Whether no cell of CSV may be taken for a formula.
        """
        digest = hashlib.sha256(model.read_bytes()).hexdigest()
        return cls(digest, predictor.head, form, predictor.scenes, version("soundscene"), safe_csv=safe_csv)

    def to_json(self) -> str:
        """Return the text of run.json."""
        facts = asdict(self)
        if not self.safe_csv:
            del facts["safe_csv"]
        return json.dumps(facts, indent=2) + "\n"

    def check(self, text: str, where: str) -> "BatchConfig":
        """Return the config in a run.json, if rows may be added to it; they are computed with its front-end.

        Args:
            text: Content of run.json.
            where: Its path, for messages.

        Raises:
            SceneError: Something differs, which the message names, or the file is damaged.
        """
        try:
            there = _read(parse_json(text))
        except (ValueError, KeyError, TypeError) as error:
            raise SceneError(f"{where}: damaged, or not of soundscene ({error}); choose another folder") from None
        for name, word in _WORDS.items():
            before, now = getattr(there, name), getattr(self, name)
            if before != now:
                raise SceneError(
                    f"{where}: the rows there were computed with {word} {_short(before)}, these would be with "
                    f"{_short(now)}; choose another folder, or use the same as before"
                )
        if not 1 <= there.front_end <= FRONT_END:
            raise SceneError(
                f"{where}: the rows there were computed with front-end {there.front_end}, this soundscene knows 1 to "
                f"{FRONT_END}; upgrade it, or choose another folder"
            )
        return there


class BatchFolder:
    """A folder that this process alone writes to; `opened` creates it.

    Attributes:
        seen: Paths that have a row, as `row_key` writes them.
        n_shards: Number of finished shards.
        config: What its rows are computed with.
        killed: Whether the last run was killed, or crashed.
    """

    def __init__(self, storage: Storage, config: BatchConfig, killed: bool) -> None:
        self.config = config
        self.killed = killed
        self._storage = storage
        shards = finished_shards(storage)
        self.seen = paths_with_rows(storage, config)
        self.n_shards = len(shards)
        self._next = max((int(name[1]) for name in map(shard_name, shards) if name), default=-1) + 1

    def write(self, rows: Sequence[Row]) -> None:
        """Write rows as the next shard, all or nothing.

        Args:
            rows: At least one.

        Raises:
            SceneError: The shard cannot be written, or what was there before is gone.
        """
        if RUN not in self._storage.names():
            raise SceneError(
                f"{self._storage.place}: its {RUN} is gone, was the folder removed or emptied? Give the same command again; "
                "what was computed before is computed anew"
            )
        name = f"part-{self._next:05d}.{self.config.form}"
        self._storage.write(name, shard_bytes(rows, self.config.scenes, self.config.form, self.config.safe_csv))
        self._next += 1
        self.n_shards += 1


@contextmanager
def opened(path: Path, config: BatchConfig) -> Iterator[BatchFolder]:
    """Open a folder for rows of a config, new or as an earlier run left it.

    Args:
        path: The folder, created if need be.
        config: What the rows will be computed with.

    Raises:
        SceneError: Another run is writing there, its rows were computed in another way, or it cannot be read or written.
    """
    if config.form == "parquet":
        check_parquet(path)
    storage = Storage(path)
    with locked(path / "lock") as killed:
        config = check_config(storage, config)
        for pattern in ("part-*", RUN):
            storage.clean(pattern)  # of dead processes: the lock is ours
        yield BatchFolder(storage, config, killed)


def check_config(storage: Storage, config: BatchConfig) -> BatchConfig:
    """Compare a config with the run.json of a place, or write it there.

    Args:
        storage: Where the shards are.
        config: What the rows would be computed with.

    Returns:
        What they are to be computed with: an earlier front-end, if the place was begun with one.

    Raises:
        SceneError: The rows there were computed in another way, or nothing says how.
    """
    names = storage.names()
    if RUN in names:
        try:
            text = storage.read(RUN).decode()
        except UnicodeDecodeError as error:
            raise SceneError(f"{storage.place}/{RUN}: cannot be read ({error})") from None
        return config.check(text, f"{storage.place}/{RUN}")
    if shards := [name for name in names if shard_name(name)]:
        raise SceneError(
            f"{storage.place}: holds {min(shards)}, but no {RUN} that says what computed it; choose another folder, or move "
            "them away"
        )
    storage.write(RUN, config.to_json().encode())
    return config


def finished_shards(storage: Storage) -> set[str]:
    """Return the names of the finished shards in a place."""
    return {name for name in storage.names() if shard_name(name)}


def paths_with_rows(storage: Storage, config: BatchConfig) -> PathSet:
    """Return the paths in all finished shards.

    Args:
        storage: Where the shards are.
        config: Their format and scenes.

    Raises:
        SceneError: A shard is damaged.
    """
    seen = PathSet()
    for name in sorted(finished_shards(storage)):
        content, where = storage.read(name), f"{storage.place}/{name}"
        for path in read_paths(content, where, config.form, config.scenes, config.safe_csv):
            seen.add(path)
    return seen


def shard_name(name: str) -> re.Match[str] | None:
    """Match the name of a finished shard: its number and format."""
    return _SHARD.fullmatch(name)


def _read(content: dict[str, Any]) -> BatchConfig:
    if content["form"] not in FORMS:
        raise ValueError(f"its form is {short(repr(content['form']))}")
    if not isinstance(content["scenes"], list) or not all(isinstance(scene, str) for scene in content["scenes"]):
        raise ValueError("its scenes are no list of names")
    front_end = content.get("front_end", 1)
    if type(front_end) is not int:
        raise TypeError(f"its front_end is {front_end!r}")
    of_rows = content["model"], content["head"], content["form"], tuple(content["scenes"])
    return BatchConfig(*of_rows, content["soundscene"], front_end, content.get("safe_csv", False))


def _short(value: Any) -> str:
    """Return enough of a value to tell it from another."""
    if isinstance(value, tuple):
        return ", ".join(value)
    text = str(value)
    return text if len(text) <= 40 else f"{text[:12]}..."
