"""Two nodes on this machine, one killed while a training runs on it: nothing is lost, nothing is doubled, all is the same.

Tests that kill nodes share a cluster, which they leave with fewer nodes than they found it with, so their order matters.
benchmarks/ray_cluster.py does the same through the command line, at random moments, on any corpus.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from benchmarks.kill import differences, unlike
from benchmarks.ray_cluster import Kill, kill_node, trainings_on, two_nodes
from soundscene.errors import SceneError, TrainingError
from soundscene.experiment import cluster as cluster_module
from soundscene.experiment.cluster import run_on_cluster
from soundscene.experiment.local import Event
from soundscene.experiment.plan import Plan, Task
from soundscene.experiment.request import Request, from_manifest
from soundscene.experiment.results import RunFolder, SplitResult
from soundscene.experiment.run import RunCallbacks, RunOptions, run_experiment
from soundscene.jobs import ray as jobs_ray
from tests.support.tiny import TINY

pytestmark = pytest.mark.cluster
GOOD, BAD = "att-crnn-mel", "cnn-mel:training.learning_rate=1e30"
RECIPE = TINY.with_settings(["training.epochs=12"])


@dataclass(frozen=True)
class Local:
    """A run without a cluster of four tasks, two of which fail: what was asked for, its folder, plan and failures."""

    request: Request
    out: Path
    plan: Plan
    failures: dict[str, str]

    @property
    def good(self) -> list[Task]:
        return [task for task in self.plan.tasks() if task.system == GOOD]

    def folder(self, out: Path, results: str | None = None) -> RunFolder:
        """A folder that holds this run's store, and no results."""
        out.mkdir()
        (out / "store").symlink_to(self.out / "store")
        return RunFolder(out, results)


class Heard:
    """What was told, in order."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def __call__(self, task: Task, event: Event) -> None:
        self.events.append((task.name, event.kind))


@pytest.fixture(scope="module")
def dying() -> Iterator[Cluster]:
    """A cluster whose nodes may be killed."""
    with two_nodes() as running:
        yield running


@pytest.fixture(scope="module")
def local(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Local:
    out = tmp_path_factory.mktemp("local") / "run"
    request = from_manifest(manifest, "folds=2", [GOOD, BAD], recipe=RECIPE)
    outcome = run_experiment(request, out, RunOptions(workers=2, threads=1, device="cpu"))
    assert outcome.n_done == len(outcome.failures) == 2
    return Local(request, out, outcome.plan, outcome.failures)


@contextmanager
def meanwhile(work: Callable[[Callable[[], bool]], None]) -> Iterator[None]:
    """Do something in a thread until what it surrounds has ended, which it is told."""
    going_on = threading.Event()
    going_on.set()
    thread = threading.Thread(target=work, args=(going_on.is_set,))
    thread.start()
    try:
        yield
    finally:
        going_on.clear()
        thread.join()


def read(folder: RunFolder, task: Task) -> SplitResult:
    name = f"{task.name}.safetensors"
    return SplitResult.from_bytes((Path(folder.results.removeprefix("file://")) / name).read_bytes(), name)


def test_where_no_cluster_is_one_line_says_so(local: Local, tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"^cluster 127\.0\.0\.1:1: nothing listens there \(.*"):
        run_on_cluster(local.folder(tmp_path / "run"), local.plan, local.good, "127.0.0.1:1", "cpu", Heard())


def test_more_threads_than_any_node_has_are_refused(cluster: Cluster, local: Local, tmp_path: Path) -> None:
    plan = replace(local.plan, threads=64)
    with pytest.raises(TrainingError, match=r"cluster .*: no node has 64 CPUs, as a training needs; use fewer"):
        run_on_cluster(local.folder(tmp_path / "run"), plan, local.good, str(cluster.address), "cpu", Heard())
    assert not ray.is_initialized()


@pytest.mark.slow
def test_nodes_of_other_versions_are_named(
    cluster: Cluster, local: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_ray, "version", lambda name: {"soundscene": "99.0", "torch": "1.0"}[name])
    heard, task = Heard(), local.good[0]
    failures = run_on_cluster(local.folder(tmp_path / "run"), local.plan, [task], str(cluster.address), "cpu", heard)
    assert heard.events == [(task.name, "failed")]
    assert f"node {os.uname().nodename} has soundscene " in failures[task.name]
    assert "the driver 99.0; install the same version" in failures[task.name]


def test_nodes_write_results_to_a_url(cluster: Cluster, local: Local, tmp_path: Path) -> None:
    folder = local.folder(tmp_path / "run", f"file://{tmp_path}/results")
    heard, task = Heard(), local.good[0]
    assert run_on_cluster(folder, local.plan, [task], str(cluster.address), "cpu", heard) == {}
    assert heard.events == [(task.name, "done")]
    assert unlike(read(folder, task), read(RunFolder(local.out), task)) == []
    assert not (tmp_path / "run" / "models").exists()


@pytest.mark.slow
def test_training_whose_process_is_killed_each_time_is_given_up(cluster: Cluster, local: Local, tmp_path: Path) -> None:
    killed: list[int] = []

    def kill(going_on: Callable[[], bool]) -> None:
        while going_on():
            for node in cluster.worker_nodes:
                for process in trainings_on(node).keys() - set(killed):
                    with suppress(ProcessLookupError):
                        os.kill(process, signal.SIGKILL)
                        killed.append(process)
            time.sleep(0.05)

    heard, task = Heard(), local.good[0]
    with meanwhile(kill):
        failures = run_on_cluster(local.folder(tmp_path / "run"), local.plan, [task], str(cluster.address), "cpu", heard)
    assert heard.events == [(task.name, "failed")]
    assert failures[task.name].startswith("its process was killed 3 times on nodes that live")
    assert len(killed) == 3


@pytest.mark.slow
def test_killed_node_loses_nothing_and_a_failure_ends_no_other(dying: Cluster, local: Local, tmp_path: Path) -> None:
    kills: list[Kill | None] = []
    heard, out = Heard(), tmp_path / "run"
    node = next(iter(dying.worker_nodes))
    with meanwhile(lambda going_on: kills.append(kill_node(dying, node, 0.0, going_on))):
        outcome = run_experiment(
            local.request,
            out,
            RunOptions(threads=1, device="cpu", cluster=str(dying.address)),
            RunCallbacks(task=heard),
        )
    assert kills[0] is not None
    assert len(kills[0].tasks) == 1
    assert outcome.failures == local.failures
    assert all("learning rate 1e+30 may be too high" in why for why in outcome.failures.values())
    found = differences(local.out, out)
    assert found == [f"{path}: {name} has no result" for path in (local.out, out) for name in local.failures]
    assert sorted(heard.events) == sorted(
        (task.name, "failed" if task.name in local.failures else "done") for task in local.plan.tasks()
    )
    names = {f"{task.name}.safetensors" for task in local.good}
    assert {p.name for p in (out / "results").iterdir()} == {p.name for p in (out / "models").iterdir()} == names
    assert not list((out / "work").glob("*/checkpoint*"))


@pytest.mark.slow
def test_without_any_node_the_rest_is_given_up(
    dying: Cluster, local: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_module, "LOOK_S", 0.5)
    monkeypatch.setattr(cluster_module, "PATIENCE_S", 2.0)
    (node,) = dying.worker_nodes
    heard = Heard()
    with meanwhile(lambda going_on: kill_node(dying, node, 0.0, going_on) and None):
        failures = run_on_cluster(local.folder(tmp_path / "run"), local.plan, local.good, str(dying.address), "cpu", heard)
    assert set(failures) == {task.name for task in local.good}
    assert all(why.startswith("no node with 1 CPU is left in the cluster") for why in failures.values())
