"""Predictions for any number of recordings on this machine: on all cores, kept in shards, resumed after any end."""

import time
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from soundscene.audio.trial import Trial
from soundscene.batch.folder import BatchConfig, BatchFolder, opened
from soundscene.batch.rows import Row, row_key
from soundscene.errors import SceneError
from soundscene.prediction import ScenePrediction
from soundscene.predictor import Predictor
from soundscene.recipe import FRONT_END

SHARD_S = 60.0  # a kill loses no more than the work of about this time


@dataclass
class BatchStats:
    """Progress of a batch.

    Attributes:
        rows: Rows computed in this run.
        broken: Rows among them with an error.
        skipped: Paths that had a row before, or came twice.
        shards: Shards written.
        seconds: Since the first recording.
        front_end: Version of the front-end that computed them.
    """

    rows: int = 0
    broken: int = 0
    skipped: int = 0
    shards: int = 0
    seconds: float = 0.0
    front_end: int = FRONT_END


_AHEAD = 256  # recordings that may be in work beyond those of a shard

ProgressCallback = Callable[[BatchStats], None]
AddRow = Callable[[str | Path, ScenePrediction | SceneError], None]
_Predictions = Generator[tuple[str | Path, ScenePrediction | SceneError], None, None]


def run_batch(
    predictor: Predictor,
    config: BatchConfig,
    paths: Iterable[str | Path],
    out: Path,
    rows_per_shard: int = 1000,
    workers: int = 1,
    progress: ProgressCallback | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> BatchStats:
    """Write a row to the folder `out` for each path that has none.

    Whatever ends the run, but for a kill, the rows that are computed are written. After a kill or a crash, files that crash
    their decoder get a row that says so. Memory: those rows, and 8 bytes a path.

    Args:
        predictor: A loaded model.
        config: What the rows are computed with.
        paths: Any number, taken a few ahead of the predictions; one that comes twice gets one row.
        out: Folder of the shards, created if need be.
        rows_per_shard: Most rows in a shard, which also ends with the first row `SHARD_S` seconds after its first.
        workers: Recordings at a time.
        progress: Called after each row.
        clock: Seconds, for tests.

    Raises:
        SceneError: The folder cannot be used (see `opened`), or whatever `paths` raises.
    """
    stats = BatchStats()
    with opened(out, config) as folder:
        stats.front_end = folder.config.front_end
        if stats.front_end != FRONT_END:
            predictor = predictor.with_front_end(stats.front_end)
        shard = _Shard(folder, stats, rows_per_shard, clock)
        started = clock()

        def add(path: str | Path, prediction: ScenePrediction | SceneError) -> None:
            row = Row.of(path, prediction)
            stats.rows += 1
            stats.broken += row.prediction is None
            stats.seconds = clock() - started
            shard.add(row)
            if progress:
                progress(stats)

        fresh = _new(paths, folder, stats)
        if folder.killed:
            fresh = _tried(fresh, add, stats, rows_per_shard + _AHEAD)
        predictions = cast(_Predictions, predictor.predict_each(fresh, workers))
        with closing(predictions), closing(fresh):
            try:
                for path, prediction in predictions:
                    add(path, prediction)
            finally:
                shard.close()
        stats.seconds = clock() - started
    return stats


def _tried(paths: Iterable[str | Path], add: AddRow, stats: BatchStats, n: int) -> Generator[str | Path, None, None]:
    """Yield paths; those among the first `n` that crash their decoder get a row with the error instead.

    A run that died had no shard of its last rows: what killed it is among the first paths without one. Two shards later it
    is certain to be behind.
    """
    with closing(Trial()) as trial:
        for number, path in enumerate(paths):
            careful = number < n and stats.shards < 2
            crash = trial.crash(path) if careful else trial.close()
            if crash:
                add(path, crash)
            else:
                yield path


def _new(paths: Iterable[str | Path], folder: BatchFolder, stats: BatchStats) -> Generator[str | Path, None, None]:
    """Yield the paths that have no row yet, each once."""
    for path in paths:
        if folder.seen.add(row_key(str(path), folder.config.form)):
            yield path
        else:
            stats.skipped += 1


@dataclass
class _Shard:
    """The rows that wait to be written together."""

    folder: BatchFolder
    stats: BatchStats
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
            self.stats.shards += 1
