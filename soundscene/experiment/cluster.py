"""Every task of a plan on a Ray cluster, as `runner.run_local` does it on this machine; the only file that knows Ray.

The nodes share no files with the driver. What the systems read travels once, from the driver's store into Ray's; results and
models come back as bytes. The driver owns all that travels, so a node that dies takes nothing along but the trainings on it,
which start again elsewhere. Every node needs Ray, this soundscene and this torch. See docs/decisions/0055-ray.md.
"""

import logging
import os
import platform
import shutil
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits

from soundscene.data.store import FeatureStore
from soundscene.errors import SceneError, TrainingError
from soundscene.experiment.cargo import Ref, SharedCorpus, load, unload
from soundscene.experiment.folder import RunFolder
from soundscene.experiment.local import TaskCallback
from soundscene.experiment.plan import Plan, Task
from soundscene.experiment.task import run_task
from soundscene.experiment.worker import Event, summary
from soundscene.files import write_atomic
from soundscene.jobs.ray import reach
from soundscene.jobs.storage import Storage
from soundscene.systems.catalogue import build
from soundscene.training.device import make_fabric

os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "^")  # or Ray prints a page of its state for every node that dies
try:
    import ray
    from ray import exceptions as lost
except ImportError:
    raise TrainingError("--cluster needs Ray, which is not installed; pip install 'soundscene[ray]'") from None

SAME = ("soundscene", "torch")  # numbers of other versions could not be compared
DEATHS = 3  # of a task's process, on nodes that live; one that kills its process every time must come to an end
LOOK_S = 5.0  # how often to look for nodes while no task ends
PATIENCE_S = 120.0  # without any node that could take a task


@dataclass(frozen=True)
class TaskOutput:
    """What comes back from a task: its event; result and model, where the driver is to write them; a failure's traceback."""

    event: Event
    result: bytes = b""
    model: bytes = b""
    trace: str = ""


def run_on_cluster(
    folder: RunFolder, plan: Plan, tasks: list[Task], address: str, device: str, told: TaskCallback
) -> dict[str, str]:
    """Run tasks on a cluster; why each failed one failed, by name.

    address: "auto" or "HOST:PORT" of a cluster that this machine is part of, "ray://HOST:PORT" of any other, or "local" for
    Ray on this machine. A task takes `plan.threads` CPUs and, with device "cuda" or with "auto" where the cluster has any,
    one GPU. Where `folder.results` is a URL the nodes write there, and models are not kept; otherwise the driver writes each
    result and model as it arrives. `told` hears of ends, not of epochs.

    Raises: `TrainingError` when the cluster cannot be reached or has no node that could take a task.
    """
    if not tasks:
        return {}
    reach(address)
    with _connected(address):
        gpu = device == "cuda" or (device == "auto" and ray.cluster_resources().get("GPU", 0) >= 1)
        run = _Run(folder, plan, "cuda" if gpu else "cpu" if device == "auto" else device, told)
        needs = {"CPU": plan.threads, "GPU": int(gpu)}
        if not _able_nodes(needs):
            raise TrainingError(
                f"cluster {address}: no node has {_in_words(needs)}, which a training is to have; give fewer --threads, "
                "another --device, or wait until the nodes have joined"
            )
        return run.until_done(tasks, needs)


@contextmanager
def _connected(address: str) -> Iterator[None]:
    """Ray without lines of its own on the terminal; tasks that still run are ended with the connection."""
    if ray.is_initialized():
        raise ValueError("this process is connected to a Ray cluster already; ray.shutdown() first")
    name = "RAY_USAGE_STATS_ENABLED"
    before = os.environ.get(name)
    os.environ[name] = "0"
    try:
        try:
            logging.getLogger("ray").setLevel(logging.CRITICAL)  # what matters is raised, and then said in one line
            page = False if address == "local" else None
            ray.init(address, include_dashboard=page, logging_level=logging.CRITICAL, log_to_driver=False)
        except (lost.RayError, OSError, RuntimeError, ValueError) as error:
            raise TrainingError(f"cluster {address}: cannot be used ({_one_line(error)})") from None
        yield
    except ConnectionError as error:
        raise TrainingError(
            f"cluster {address}: the connection is lost ({_one_line(error)}); the same command goes on with what is missing"
        ) from None
    finally:
        ray.shutdown()
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@dataclass
class _Run:
    """The driver's side: which tasks are under way, how often their processes died, why tasks failed."""

    folder: RunFolder
    plan: Plan
    device: str
    told: TaskCallback
    running: dict[Ref, Task] = field(default_factory=dict)
    deaths: dict[Task, int] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def until_done(self, tasks: Sequence[Task], needs: Mapping[str, int]) -> dict[str, str]:
        # A process for each task, as on one machine: nothing is left over from the task before. Ray counts a process that a
        # task kills and a node that goes away as the same thing; here they are not, so the tasks are started again here.
        work = ray.remote(num_cpus=needs["CPU"], num_gpus=needs["GPU"], max_calls=1, max_retries=0)(work_on_node)
        plan, cargo = ray.put(self.plan), self._load(tasks)
        place = self.folder.results if "://" in self.folder.results else ""
        versions = {name: version(name) for name in SAME}

        def start(task: Task) -> None:
            on = work.options(name=task.name)
            self.running[on.remote(plan, task, cargo[task.system], self.device, place, versions)] = task

        for task in tasks:
            start(task)
        seen = time.monotonic()
        while self.running:
            ready, _ = ray.wait(list(self.running), num_returns=1, timeout=LOOK_S)
            for ref in ready:
                task = self.running.pop(ref)
                if not self._take_in(task, ref):
                    start(task)
            if ready or _able_nodes(needs):
                seen = time.monotonic()
            elif time.monotonic() - seen > PATIENCE_S:
                self._give_up(f"no node with {_in_words(needs)} is left in the cluster; the same command goes on with it")
        return self.failures

    def _load(self, tasks: Sequence[Task]) -> dict[str, SharedCorpus]:
        """What the tasks' systems read, by name of the system; each representation once."""
        base, loaded = self.plan.base_recipe(), dict[str, SharedCorpus]()
        chosen = {task.system: build(self.plan.spec(task.system), base).representation for task in tasks}
        recordings = self.plan.all_recordings()
        for representation in chosen.values():
            if representation.key not in loaded:
                loaded[representation.key] = load(FeatureStore(self.folder.store, representation), recordings, ray.put)
        return {system: loaded[representation.key] for system, representation in chosen.items()}

    def _take_in(self, task: Task, ref: Ref) -> bool:
        """Whether a task has ended; if not, it has to start again."""
        try:
            parcel: TaskOutput = ray.get(ref)
        except (lost.NodeDiedError, lost.ObjectLostError):  # the node died with the training, or with its result
            return False
        except (lost.WorkerCrashedError, lost.OutOfMemoryError) as error:
            self.deaths[task] = self.deaths.get(task, 0) + 1
            if self.deaths[task] < DEATHS:
                return False
            how = "memory full" if isinstance(error, lost.OutOfMemoryError) else "memory full, or a crash"
            parcel = _failure(f"its process was killed {DEATHS} times on nodes that live ({how})")
        except lost.RayError as error:
            text = f"{_one_line(error, last=True)}; is the same soundscene installed on every node?"
            parcel = _failure(text, str(error))
        self._end(task, parcel)
        return True

    def _end(self, task: Task, parcel: TaskOutput) -> None:
        """Write what came back, then say so."""
        event = parcel.event
        try:
            if parcel.model:
                write_atomic(self.folder.model(task), parcel.model, TrainingError)
            if parcel.result:
                Storage(self.folder.results).write(task.name, parcel.result)
        except SceneError as error:
            event = Event("failed", {}, str(error))
        if parcel.trace:
            log = self.folder.work(task) / "error.log"
            log.write_text(parcel.trace, encoding="utf-8")
            event = replace(event, text=f"{event.text} (all of it: {log})")
        if event.kind == "failed":
            self.failures[task.name] = event.text
        else:  # what a run on one machine may have left half-done
            shutil.rmtree(self.folder.work(task), ignore_errors=True)
        self.told(task, event)

    def _give_up(self, why: str) -> None:
        for ref, task in self.running.items():
            ray.cancel(ref, force=True)
            self._end(task, _failure(why))
        self.running.clear()


def work_on_node(
    plan: Plan, task: Task, cargo: SharedCorpus, device: str, place: str, versions: Mapping[str, str]
) -> TaskOutput:
    """Entry of a process on a node: one task; nothing is raised.

    place: URL that the result is written to from here, "" to send it back; versions: of the driver.
    """
    torch.set_num_threads(plan.threads)
    try:
        _check_versions(versions)
        with threadpool_limits(plan.threads):  # what numpy and scikit-learn compute with
            fabric = make_fabric(device, plan.precision)
            split = plan.split(task.split)
            corpora = unload(cargo, split.train, ray.get), unload(cargo, split.test, ray.get)
            result, fitted = run_task(plan, task, corpora, None, fabric)
        event = Event("done", summary(result))
        if place:
            Storage(place).write(task.name, result.to_bytes())
            return TaskOutput(event)
        with tempfile.TemporaryDirectory() as folder:
            model = Path(folder) / "model"
            if fitted.save:
                fitted.save(model)
            return TaskOutput(event, result.to_bytes(), model.read_bytes() if fitted.save else b"")
    except SceneError as error:
        return _failure(str(error))
    except Exception as error:
        return _failure(f"{type(error).__name__}: {_one_line(error)}", traceback.format_exc())


def _check_versions(expected: Mapping[str, str]) -> None:
    """Raise `TrainingError` unless this node has the driver's versions; builds ("+cpu", "+cu128") of one may differ."""
    for name, there in expected.items():
        here = version(name)
        if here.partition("+")[0] != there.partition("+")[0]:
            raise TrainingError(
                f"node {platform.node()} has {name} {here}, the driver {there}; install the same on every node, or "
                "numbers could not be compared"
            )


def _able_nodes(needs: Mapping[str, int]) -> list[str]:
    """Nodes that could take a task, if they had nothing else to do."""
    alive = [node for node in ray.nodes() if node["Alive"]]
    return [n["NodeID"] for n in alive if all(n["Resources"].get(what, 0) >= many for what, many in needs.items())]


def _in_words(needs: Mapping[str, int]) -> str:
    return " and ".join(f"{many} {what}(s)" for what, many in needs.items() if many)


def _failure(text: str, trace: str = "") -> TaskOutput:
    return TaskOutput(Event("failed", {}, text), trace=trace)


def _one_line(error: Exception, last: bool = False) -> str:
    """An error's text, of which Ray's has many lines, the last of them what happened."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return " ".join(" ".join(lines[-1:] if last else lines).split())[:300]
