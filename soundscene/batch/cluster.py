"""Predictions for any number of recordings on a Ray cluster, by Ray Data: shards of paths in, Parquet files out.

Nodes write the shards themselves and send back counts only. A shard is named after its paths, so one that is computed again
because its node died replaces itself. See docs/decisions/0073-many-files.md.
"""

import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from soundscene.audio.trial import Trial
from soundscene.batch.folder import BatchConfig, check_config, finished_shards, paths_with_rows
from soundscene.batch.rows import Row, as_text, shard_bytes
from soundscene.batch.run import BatchStats, ProgressCallback
from soundscene.batch.sources import PathSet, fetched
from soundscene.errors import SceneError
from soundscene.jobs.ray import check_versions, connected, import_ray_data, ray, versions_here
from soundscene.jobs.storage import Storage, is_url
from soundscene.predictor import Predictor, load

BEGUN = ".begun"  # behind the name of a shard that a node has begun
_OLD_S = 3600.0  # a shard takes seconds to write


def run_batch_on_cluster(
    model: Path,
    config: BatchConfig,
    paths: Iterable[str],
    out: str,
    address: str,
    rows_per_shard: int = 1000,
    progress: ProgressCallback | None = None,
) -> BatchStats:
    """Write a row in Parquet shards at `out` for each path that has none, on all CPUs of a cluster.

    Args:
        model: File, which is sent to the nodes.
        config: What the rows are computed with.
        paths: Of files that all nodes see under these names, or URLs. They are cut into shards by position; a path that
            comes twice, or has a row, is left out.
        out: A folder that all nodes see, or a URL.
        address: "auto", "HOST:PORT" of a cluster that this machine is part of, or "local".
        rows_per_shard: Most rows in a shard.
        progress: Called after each shard.

    Raises:
        SceneError: The cluster or the place cannot be used.
    """
    data = import_ray_data()
    where = out if is_url(out) else os.path.abspath(out)
    with connected(address, client=False):
        storage = _storage(where)
        config = check_config(storage, config)
        storage.clean("part-*", _OLD_S)  # what a node may be writing now is younger
        stats = BatchStats(front_end=config.front_end)
        plan = [ray.put(table) for table in _plan(paths, storage, config, rows_per_shard, stats)]
        started = time.monotonic()
        arguments = (ray.put(model.read_bytes()), config, where, os.getcwd(), versions_here())
        for row in _run(data, plan, arguments, address) if plan else ():
            if row["error"]:
                raise SceneError(row["error"])
            stats.rows += row["rows"]
            stats.broken += row["broken"]
            stats.shards += 1
            stats.seconds = time.monotonic() - started
            if progress:
                progress(stats)
    return stats


def _storage(where: str) -> Storage:
    storage = Storage(where if is_url(where) else Path(where))
    if not storage.shared:
        raise SceneError(f"{where}: the memory of one process, which others cannot write to")
    return storage


def _plan(paths: Iterable[str], storage: Storage, config: BatchConfig, size: int, stats: BatchStats) -> Iterator[Any]:
    """Yield tables of one row {index, paths} for the shards to compute.

    The same list is cut in the same way after a restart. Of another list, as of a folder that has grown, paths with a row
    are left out of the shards.
    """
    import pyarrow

    finished, seen, met = finished_shards(storage), paths_with_rows(storage, config), PathSet()
    rest = (path for path in paths if met.add(as_text(path)))
    index = 0
    while shard := list(islice(rest, size)):
        left = [] if shard_of(index, shard) in finished else [path for path in shard if as_text(path) not in seen]
        stats.skipped += len(shard) - len(left)
        if left:  # names of files need not be text
            lists = pyarrow.array([[os.fsencode(path) for path in left]], pyarrow.list_(pyarrow.binary()))
            yield pyarrow.table({"index": pyarrow.array([index]), "paths": lists})
        index += 1


def _run(data: Any, plan: list[Any], arguments: tuple[Any, ...], address: str) -> Iterator[dict[str, Any]]:
    """Yield the counts of each shard, as they are computed; data: the module `ray.data`."""
    n = int(ray.cluster_resources().get("CPU", 0))
    if n < 1:
        raise SceneError(f"cluster {address}: has no CPU to work with; wait until its nodes have joined")
    data.DataContext.get_current().enable_progress_bars = False
    counts = data.from_arrow_refs(plan).map_batches(
        _Actor,
        batch_size=1,
        batch_format="pyarrow",
        compute=data.ActorPoolStrategy(min_size=1, max_size=n, max_tasks_in_flight_per_actor=1),
        fn_constructor_args=arguments,
        num_cpus=1,  # Ray Data starts lost actors again, and repeats their shards, without a bound
    )
    yield from counts.iter_rows()


# --- on a node --------------------------------------------------------------------------------------------------------


class _Actor:
    """`ShardWorker` as Ray Data calls it: a batch of one shard in, a row of counts out."""

    def __init__(self, model: Any, config: BatchConfig, out: str, folder: str, versions: dict[str, str]) -> None:
        self._worker = ShardWorker(ray.get(model), config, out, folder, versions)

    def __call__(self, batch: Any) -> Any:
        import pyarrow

        (shard,) = batch.to_pylist()
        return pyarrow.Table.from_pylist([self._worker.run(shard["index"], [os.fsdecode(p) for p in shard["paths"]])])


class ShardWorker:
    """Computes shards, one after the other, with one model and one thread; it needs no cluster.

    Args:
        model: Content of the model's file.
        config: The driver's.
        out: A folder or URL that all nodes can write to.
        folder: What relative paths are relative to.
        versions: `versions_here` of the driver.
    """

    def __init__(self, model: bytes, config: BatchConfig, out: str, folder: str, versions: Mapping[str, str]) -> None:
        torch.set_num_threads(1)
        self._config, self._out, self._folder, self._versions = config, out, folder, versions
        with tempfile.TemporaryDirectory() as holder:
            path = Path(holder) / "model.safetensors"
            path.write_bytes(model)
            self._predictor: Predictor = load(path, config.head).with_front_end(config.front_end)

    def run(self, index: int, paths: Sequence[str]) -> dict[str, Any]:
        """Classify recordings and write their shard.

        Args:
            index: Of the shard in the list.
            paths: Its recordings.

        Returns:
            Numbers of rows and of broken ones among them, and an error ("" if there is none).
        """
        name = shard_of(index, paths)
        try:
            check_versions(self._versions)
            storage = _storage(self._out)
            # Ray repeats the shard of a worker that died: without an end, if one of its files crashes a decoder.
            died = name + BEGUN in storage.names()
            storage.write(name + BEGUN, b"")
            with closing(Trial()) as trial:
                rows = list(self._rows(paths, trial if died else None))
            storage.write(name, shard_bytes(rows, self._config.scenes, self._config.form))
            storage.remove(name + BEGUN)
        except SceneError as error:
            return {"rows": 0, "broken": 0, "error": str(error)}
        return {"rows": len(rows), "broken": sum(row.prediction is None for row in rows), "error": ""}

    def _rows(self, paths: Sequence[str], trial: Trial | None) -> Iterator[Row]:
        """Yield rows in the order of the paths; of recordings at URLs only a few copies are on this machine at a time.

        Args:
            paths: Of the recordings.
            trial: Tries each recording first, where one of them may have ended a worker.
        """
        failed: dict[str, str] = {}
        here: list[tuple[str, str | None, ExitStack]] = []

        def local() -> Iterator[str]:
            for path in paths:
                holding = ExitStack()
                read_as = holding.enter_context(fetched(path, self._folder, failed))
                why = failed.pop(read_as, None)
                if trial and not why and (crash := trial.crash(read_as)):
                    why = str(crash).removeprefix(f"{read_as}: ")
                here.append((path, why, holding))
                yield os.devnull if why else read_as

        try:
            for read_as, prediction in self._predictor.predict_each(local(), 1):
                path, why, holding = here.pop(0)
                yield Row(path, None, why) if why else Row.of(path, prediction, read_as)
                holding.close()
        finally:
            for _, _, holding in here:
                holding.close()


def shard_of(index: int, paths: Sequence[str]) -> str:
    """Return the name of a shard, which no other paths have.

    Args:
        index: Of the shard in the list.
        paths: Its recordings.
    """
    digest = blake2b("\0".join(map(as_text, paths)).encode(), digest_size=8).hexdigest()
    return f"part-{index:05d}-{digest}.parquet"
