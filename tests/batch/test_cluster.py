"""Rows by Ray Data on two nodes of this machine, one of which is killed: the same rows as without Ray, each once.

benchmarks/batch_cluster.py does the same through the command line, with any model and number of files.
"""

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pyarrow
import pyarrow.parquet
import pytest
from ray.cluster_utils import Cluster

from benchmarks.ray_cluster import two_nodes
from soundscene.batch.cluster import ShardWorker, run_batch_on_cluster, shard_of
from soundscene.batch.folder import BatchConfig
from soundscene.batch.run import run_batch
from soundscene.batch.sources import sources
from soundscene.errors import SceneError
from soundscene.jobs.ray import versions_here
from soundscene.predictor import load
from tests.support.crashing import crashing_libsndfile
from tests.support.tiny import recording, write

pytestmark = pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\..*")  # of Ray Data, about its own settings
N = 24


@pytest.fixture
def dying() -> Iterator[Cluster]:
    """A cluster whose nodes may be killed."""
    with two_nodes() as running:
        yield running


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """N recordings in one folder, a broken one among them."""
    folder = tmp_path_factory.mktemp("sounds")
    for number in range(N):
        path = folder / f"{number:02d}.wav"
        if number == 5:
            path.write_text("no sound")
        elif number < 4:
            write(path, recording("rain", 2.2 + number, number))
        else:
            path.hardlink_to(folder / f"{number % 4:02d}.wav")
    return folder


def made_by(model: Path) -> BatchConfig:
    return BatchConfig.of_model(model, load(model), "parquet")


def read(out: Path) -> pyarrow.Table:
    tables = [pyarrow.parquet.read_table(path) for path in sorted(out.glob("part-*.parquet"))]
    return pyarrow.concat_tables(tables).sort_by("path")


def alone(model: Path, paths: list[str], out: Path) -> pyarrow.Table:
    run_batch(load(model), made_by(model), paths, out, 5)
    return read(out)


def test_a_worker_makes_the_rows_of_a_local_run(model: Path, sounds: Path, tmp_path: Path) -> None:
    paths = sorted(path.name for path in sounds.iterdir())  # relative, as in the folder of the command
    worker = ShardWorker(model.read_bytes(), made_by(model), str(tmp_path), str(sounds), versions_here())
    assert worker.run(7, paths) == {"rows": N, "broken": 1, "error": ""}
    assert [path.name for path in tmp_path.iterdir()] == [shard_of(7, paths)]
    assert shard_of(7, paths[1:]) != shard_of(7, paths) != shard_of(8, paths)
    expected = alone(model, [str(sounds / path) for path in paths], tmp_path / "local")
    assert read(tmp_path).column("path").to_pylist() == paths
    assert read(tmp_path).drop(["path"]).equals(expected.drop(["path"]))  # errors without the folder, posteriors to the bit


def test_a_worker_fetches_what_is_elsewhere(model: Path, sounds: Path, tmp_path: Path) -> None:
    files = fsspec.filesystem("memory")
    files.put(str(sounds), "/sounds", recursive=True)
    paths = list(sources(["memory://sounds"]))
    worker = ShardWorker(model.read_bytes(), made_by(model), f"file://{tmp_path}", "/", versions_here())
    assert worker.run(0, [*paths, "memory://sounds/gone.wav"])["broken"] == 2
    files.rm("/sounds", recursive=True)
    found = read(tmp_path)
    expected = alone(model, [str(path) for path in sorted(sounds.iterdir())], tmp_path / "local")
    assert found.slice(0, N).drop(["path"]).equals(expected.drop(["path"]))
    assert found.column("error").to_pylist()[-1] == "does not exist"


def test_other_versions_and_bad_places_are_one_line(model: Path, tmp_path: Path) -> None:
    worker = ShardWorker(model.read_bytes(), made_by(model), str(tmp_path), "/", {"soundscene": "99.0", "torch": "1.0"})
    found = worker.run(0, ["a.wav"])
    assert found["error"].startswith(f"node {os.uname().nodename} has soundscene ")
    (tmp_path / "file").write_text("")
    worker = ShardWorker(model.read_bytes(), made_by(model), str(tmp_path / "file" / "x"), "/", {})
    assert "file/x: cannot be written (" in worker.run(0, ["a.wav"])["error"]
    for place, reason in (
        ("memory://rows", "memory://rows: the memory of one process, which others cannot write to"),
        ("nowhere://rows", "nowhere://rows: this kind of place cannot be used ("),
    ):
        worker = ShardWorker(model.read_bytes(), made_by(model), place, "/", {})
        assert worker.run(0, ["a.wav"])["error"].startswith(reason)
    with pytest.raises(SceneError, match=r"^cluster ray://x:1: this command runs on a machine of the cluster; .* auto$"):
        run_batch_on_cluster(model, made_by(model), [], str(tmp_path), "ray://x:1")


@pytest.mark.cluster
@pytest.mark.slow
def test_a_killed_node_changes_no_row_and_doubles_none(dying: Cluster, model: Path, sounds: Path, tmp_path: Path) -> None:
    paths, out = [str(path) for path in sorted(sounds.iterdir())], tmp_path / "cluster"
    killed: list[int] = []

    def kill() -> None:
        while not (there := len(list(out.glob("part-*.parquet")))):
            time.sleep(0.01)
        dying.remove_node(next(iter(dying.worker_nodes)), allow_graceful=False)
        killed.append(there)

    killer = threading.Thread(target=kill)
    killer.start()
    shards: list[int] = []
    tally = run_batch_on_cluster(
        model, made_by(model), [*paths, paths[0]], str(out), str(dying.address), 1, lambda said: shards.append(said.shards)
    )
    killer.join()
    assert killed[0] < N
    assert shards == list(range(1, N + 1))
    assert (tally.rows, tally.broken, tally.skipped) == (N, 1, 0)
    assert read(out).equals(alone(model, paths, tmp_path / "local"))


@pytest.mark.cluster
@pytest.mark.slow
def test_a_decoder_that_crashes_on_a_node_costs_one_row(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["0.wav", "1crash.wav", "2.wav", "3.wav", "4.wav", "5crash.wav"]
    paths = [str(write(tmp_path / "sounds" / name, recording("rain", 2.2, n))) for n, name in enumerate(names)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(crashing_libsndfile(tmp_path / "site")), *sys.path]))
    with two_nodes() as cluster:
        tally = run_batch_on_cluster(model, made_by(model), paths, str(tmp_path / "out"), str(cluster.address), 3)
    assert (tally.rows, tally.broken, tally.shards) == (6, 2, 2)
    rows = read(tmp_path / "out")
    assert rows.column("path").to_pylist() == paths
    for path, scene, error in zip(paths, rows.column("scene").to_pylist(), rows.column("error").to_pylist(), strict=True):
        crashed = "crash" in Path(path).name
        assert bool(scene) != crashed
        assert (error or "").startswith("crashes its decoder (exit code -11); it is damaged" if crashed else "")
    assert len(list((tmp_path / "out").iterdir())) == 3, "run.json and two shards, no mark of one that was begun"


@pytest.mark.cluster
@pytest.mark.slow
def test_a_restart_makes_only_what_is_missing_even_of_another_list(
    cluster: Cluster, model: Path, sounds: Path, tmp_path: Path
) -> None:
    paths, config, address = [str(path) for path in sorted(sounds.iterdir())], made_by(model), str(cluster.address)
    out = f"file://{tmp_path}/cluster"
    assert run_batch_on_cluster(model, config, paths[4:14], out, address, 4).shards == 3
    names = {path.name for path in (tmp_path / "cluster").iterdir()}
    assert names == {"run.json", *(shard_of(n, paths[4 + 4 * n : 8 + 4 * n][: 10 - 4 * n]) for n in range(3))}
    again = run_batch_on_cluster(model, config, paths[4:14], out, address, 4)
    assert (again.rows, again.skipped, again.shards) == (0, 10, 0)
    (tmp_path / "cluster" / shard_of(1, paths[8:12])).unlink()
    grown = run_batch_on_cluster(model, config, paths[:20], out, address, 4)
    assert (grown.rows, grown.skipped) == (14, 6)
    assert read(tmp_path / "cluster").equals(alone(model, paths[:20], tmp_path / "local"))
    with pytest.raises(SceneError, match=r"cluster/run\.json: the rows there were computed with --head "):
        run_batch_on_cluster(model, BatchConfig.of_model(model, load(model, "softmax"), "parquet"), paths, out, address, 4)
