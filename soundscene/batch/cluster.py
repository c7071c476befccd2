"""Rows of any number of recordings on a Ray cluster, by Ray Data: shards of paths in, Parquet files out.

Nodes write the shards themselves and give back counts only. A shard is named after its paths, so that one that is made again
because its node died replaces itself. See docs/decisions/0073-many-files.md.
"""

import logging
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from soundscene.batch.places import ShardStorage, is_url
from soundscene.batch.request import BatchConfig
from soundscene.batch.rows import as_text
from soundscene.batch.run import BatchStats, ProgressCallback
from soundscene.batch.seen import PathSet
from soundscene.batch.worker import ShardWorker, shard_of, versions_here
from soundscene.errors import SceneError

os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "^")  # or Ray prints a page of its state for every node that dies
try:
    import pyarrow
    import ray
    import ray.data
    from ray.exceptions import RayError
except ImportError:
    raise SceneError("--cluster needs Ray, which is not installed; pip install 'soundscene[ray,parquet]'") from None


def run_batch_on_cluster(
    model: Path,
    config: BatchConfig,
    paths: Iterable[str],
    out: str,
    address: str,
    rows_per_shard: int = 1000,
    told: ProgressCallback | None = None,
) -> BatchStats:
    """Give each path that has none a row in Parquet shards at `out`, on all CPUs of a cluster; what was done.

    model: file, which travels to the nodes; paths: of files that all nodes see under these names, or URLs; out: a folder
    that all nodes see, or a URL; address: "auto", "HOST:PORT" of a cluster that this machine is part of, or "local". Paths
    are cut into shards by position; a path that comes twice, or has a row, is left out. told: called after each shard.

    Raises: `SceneError` when the cluster or the place cannot be used.
    """
    where = out if is_url(out) else os.path.abspath(out)
    place = ShardStorage(where)
    place.begin(config)
    place.clean()
    tally = BatchStats()
    with _connected(address):
        plan = [ray.put(table) for table in _plan(paths, place, config, rows_per_shard, tally)]
        started = time.monotonic()
        arguments = (ray.put(model.read_bytes()), config, where, os.getcwd(), versions_here())
        for row in _run(plan, arguments, address) if plan else ():
            if row["error"]:
                raise SceneError(row["error"])
            tally.rows += row["rows"]
            tally.broken += row["broken"]
            tally.shards += 1
            tally.seconds = time.monotonic() - started
            if told:
                told(tally)
    return tally


def _plan(paths: Iterable[str], place: ShardStorage, config: BatchConfig, size: int, tally: BatchStats) -> Iterator[Any]:
    """Tables of one row {index, paths} for the shards that are to be made.

    The same list is cut in the same way after a restart; of another list, as of a grown folder, paths with a row are left
    out of the shards.
    """
    finished, seen, met = place.shards(), place.seen(config), PathSet()
    rest = (path for path in paths if met.add(as_text(path)))
    index = 0
    while shard := list(islice(rest, size)):
        left = [] if shard_of(index, shard) in finished else [path for path in shard if as_text(path) not in seen]
        tally.skipped += len(shard) - len(left)
        if left:  # names of files need not be text
            lists = pyarrow.array([[os.fsencode(path) for path in left]], pyarrow.list_(pyarrow.binary()))
            yield pyarrow.table({"index": pyarrow.array([index]), "paths": lists})
        index += 1


class _Actor:
    """`ShardWorker` as Ray Data wants it: a batch of one shard in, a row of counts out."""

    def __init__(self, model: Any, config: BatchConfig, out: str, folder: str, versions: dict[str, str]) -> None:
        self._worker = ShardWorker(ray.get(model), config, out, folder, versions)

    def __call__(self, batch: Any) -> Any:
        (shard,) = batch.to_pylist()
        return pyarrow.Table.from_pylist([self._worker.make(shard["index"], [os.fsdecode(p) for p in shard["paths"]])])


def _run(plan: list[Any], arguments: tuple[Any, ...], address: str) -> Iterator[dict[str, Any]]:
    """Counts of each shard, as they are made."""
    n = int(ray.cluster_resources().get("CPU", 0))
    if n < 1:
        raise SceneError(f"cluster {address}: has no CPU to work with; wait until its nodes have joined")
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    config = ray.data.from_arrow_refs(plan).map_batches(
        _Actor,
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=n, max_tasks_in_flight_per_actor=1),
        fn_constructor_args=arguments,
        num_cpus=1,  # Ray Data starts lost actors again, and repeats their shards, without a bound; it takes none any more
    )
    try:
        yield from config.iter_rows()
    except RayError as error:
        last = " ".join(str(error).strip().splitlines()[-1].split())[:300]
        raise SceneError(f"cluster {address}: {last}; the same command goes on with what is missing") from None


@contextmanager
def _connected(address: str) -> Iterator[None]:
    """Ray without lines of its own on the terminal."""
    if ray.is_initialized():
        raise ValueError("this process is connected to a Ray cluster already; ray.shutdown() first")
    if address.startswith("ray://"):
        raise SceneError(f"cluster {address}: Ray Data works from a machine of the cluster; run it there, with auto")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # or its core writes to stderr, past Python
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what matters is raised, and then said in one line
    page = False if address == "local" else None
    try:
        ray.init(address, include_dashboard=page, logging_level=logging.CRITICAL, log_to_driver=False)
    except (RayError, OSError, RuntimeError, ValueError) as error:
        raise SceneError(f"cluster {address}: cannot be used ({' '.join(str(error).split())[:300]})") from None
    try:
        yield
    finally:
        ray.shutdown()
