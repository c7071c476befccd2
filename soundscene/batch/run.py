"""Rows of any number of recordings on this machine: answered on all cores, kept in shards, gone on with after any end."""

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from soundscene.batch.folder import BatchFolder, opened
from soundscene.batch.request import BatchConfig
from soundscene.batch.rows import Row, as_text
from soundscene.errors import SceneError
from soundscene.predictor import Predictor
from soundscene.types import ScenePrediction

SHARD_S = 60.0  # a kill loses no more than the work of about this time


@dataclass
class BatchStats:
    """What a run has come to so far: rows and broken ones among them, paths that had a row, shards written, seconds."""

    rows: int = 0
    broken: int = 0
    skipped: int = 0
    shards: int = 0
    seconds: float = 0.0


ProgressCallback = Callable[[BatchStats], None]
_Answers = Generator[tuple[str | Path, ScenePrediction | SceneError], None, None]


def run_batch(
    predictor: Predictor,
    config: BatchConfig,
    paths: Iterable[str | Path],
    out: Path,
    rows_per_shard: int = 1000,
    workers: int = 1,
    told: ProgressCallback | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> BatchStats:
    """Give each path that has none a row in the folder `out`; what was done.

    paths: any number, taken a few ahead of the answers; one that comes twice gets one row. A shard ends after
    rows_per_shard rows, or with the first row that comes `SHARD_S` seconds after its first; whatever ends the run, but for a
    kill, the rows that are there are written. Memory: those rows, and 8 bytes a path. told: called after each row.

    Raises: `SceneError` for a folder that cannot be used (see `opened`), and for what `paths` raises.
    """
    tally = BatchStats()
    with opened(out, config) as folder:
        shard = _Shard(folder, tally, rows_per_shard, clock)
        started = clock()
        answers = cast(_Answers, predictor.predict_each(_new(paths, folder, tally), workers))
        with closing(answers):
            try:
                for path, answer in answers:
                    row = Row.of(path, answer)
                    tally.rows += 1
                    tally.broken += row.answer is None
                    tally.seconds = clock() - started
                    shard.add(row)
                    if told:
                        told(tally)
            finally:
                shard.close()
        tally.seconds = clock() - started
    return tally


def _new(paths: Iterable[str | Path], folder: BatchFolder, tally: BatchStats) -> Iterator[str | Path]:
    """The paths that have no row yet, each once."""
    for path in paths:
        if folder.seen.add(as_text(str(path))):
            yield path
        else:
            tally.skipped += 1


@dataclass
class _Shard:
    """The rows that wait to be written together."""

    folder: BatchFolder
    tally: BatchStats
    size: int
    clock: Callable[[], float]
    rows: list[Row] = field(default_factory=list)
    began: float = 0.0

    def add(self, row: Row) -> None:
        now = self.clock()
        if not self.rows:
            self.began = now
        self.rows.append(row)
        if len(self.rows) >= self.size or now - self.began >= SHARD_S:
            self.close()

    def close(self) -> None:
        if self.rows:
            rows, self.rows = self.rows, []  # if they cannot be written, they cannot be at the end either
            self.folder.write(rows)
            self.tally.shards += 1
