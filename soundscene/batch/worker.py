"""What a process on a node of a cluster does: answer for a shard's recordings and write them; it knows nothing of Ray."""

import platform
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from soundscene.batch.places import ShardStorage, fetched
from soundscene.batch.request import BatchConfig
from soundscene.batch.rows import Row, as_text, write_shard
from soundscene.errors import SceneError
from soundscene.predictor import Predictor, load

VERSIONS = ("soundscene", "torch")  # others could give other rows


def shard_of(index: int, paths: Sequence[str]) -> str:
    """Name of the shard of these paths, which no other paths have."""
    digest = blake2b("\0".join(map(as_text, paths)).encode(), digest_size=8).hexdigest()
    return f"part-{index:05d}-{digest}.parquet"


class ShardWorker:
    """Makes shards, one after the other, with one model and one thread.

    model: content of the model's file; made: what the driver's run.json says; out: see `ShardStorage`; folder: that relative paths
    are relative to; versions: the driver's.
    """

    def __init__(self, model: bytes, config: BatchConfig, out: str, folder: str, versions: Mapping[str, str]) -> None:
        torch.set_num_threads(1)
        self._made, self._out, self._folder, self._versions = config, out, folder, versions
        with tempfile.TemporaryDirectory() as holder:
            path = Path(holder) / "model.safetensors"
            path.write_bytes(model)
            self._predictor: Predictor = load(path, config.head)

    def make(self, index: int, paths: Sequence[str]) -> dict[str, Any]:
        """Answer for paths and write their shard: rows, broken ones among them, and an error ("" if all went well)."""
        try:
            _check_versions(self._versions)
            rows = list(self._rows(paths))
            ShardStorage(self._out).put(
                shard_of(index, paths), partial(write_shard, rows, self._made.scenes, self._made.form)
            )
        except SceneError as error:
            return {"rows": 0, "broken": 0, "error": str(error)}
        return {"rows": len(rows), "broken": sum(row.answer is None for row in rows), "error": ""}

    def _rows(self, paths: Sequence[str]) -> Iterator[Row]:
        """Rows in the order of the paths; of files from elsewhere a few at a time are on this machine."""
        failed: dict[str, str] = {}
        here: list[tuple[str, ExitStack]] = []

        def local() -> Iterator[str]:
            for path in paths:
                holding = ExitStack()
                here.append((path, holding))
                yield holding.enter_context(fetched(path, self._folder, failed))

        try:
            for read_as, answer in self._predictor.predict_each(local(), 1):
                path, holding = here.pop(0)
                why = failed.pop(str(read_as), None)
                yield Row(path, None, why) if why else Row.of(path, answer, read_as)
                holding.close()
        finally:
            for _, holding in here:
                holding.close()


def versions_here() -> dict[str, str]:
    """Versions of what decides the rows."""
    return {name: version(name) for name in VERSIONS}


def _check_versions(expected: Mapping[str, str]) -> None:
    """Raise `SceneError` unless this node has the driver's versions; builds ("+cpu", "+cu128") of one may differ."""
    for name, here in versions_here().items():
        there = expected[name]
        if here.partition("+")[0] != there.partition("+")[0]:
            raise SceneError(
                f"node {platform.node()} has {name} {here}, the driver {there}; install the same on every node, or rows "
                "could not stand together"
            )
