"""Every task of a plan on a Ray cluster, as `local.run_local` does it on this machine.

The nodes share no files with the driver. What the systems read travels once, from the driver's feature store into Ray's
object store; results and models come back as bytes. The driver owns all that travels, so a node that dies takes nothing
along but the trainings on it, which start again elsewhere. Every node needs Ray, this soundscene and this torch. See
docs/decisions/0055-ray.md.
"""

import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from soundscene.data.corpus import Corpus
from soundscene.data.store import DTYPE, FeatureStore
from soundscene.errors import SceneError, TrainingError
from soundscene.experiment.local import Event, TaskCallback, summary
from soundscene.experiment.plan import Plan, Task
from soundscene.experiment.results import RunFolder
from soundscene.experiment.task import facts_of, run_task
from soundscene.files import write_atomic
from soundscene.jobs.ray import check_versions, connected, last_line, ray, versions_here
from soundscene.jobs.storage import is_url, one_line
from soundscene.texts import counted
from soundscene.training.device import make_fabric
from soundscene.types import Recording

DEATHS = 3  # of a task's process, on nodes that live; one that kills its process every time must come to an end
LOOK_S = 5.0  # how often to look for nodes while no task ends
PATIENCE_S = 120.0  # without any node that could take a task
BLOCK = 64  # recordings in a piece: what driver and nodes hold at a time, beside what they need

Ref = Any
"""What an object store returns for a value."""


@dataclass(frozen=True)
class TaskOutput:
    """What comes back from a task.

    Attributes:
        event: How it ended.
        result: Content of the result's file, where the driver is to write it.
        model: Content of the model's file, where there is one.
        trace: Traceback of a failure.
    """

    event: Event
    result: bytes = b""
    model: bytes = b""
    trace: str = ""


def run_on_cluster(
    folder: RunFolder, plan: Plan, tasks: list[Task], address: str, device: str, progress: TaskCallback
) -> dict[str, str]:
    """Run tasks on a cluster.

    A task takes `plan.threads` CPUs and, with device "cuda" or with "auto" where the cluster has any, one GPU. Where
    `folder.results` is a URL the nodes write there, and models are not kept; otherwise the driver writes each result and
    model as it arrives.

    Args:
        folder: Of the run.
        plan: Of the run.
        tasks: To run.
        address: "auto" or "HOST:PORT" of a cluster that this machine is part of, "ray://HOST:PORT" of any other, or "local"
            for Ray on this machine.
        device: "cpu", "cuda" or "auto".
        progress: Called when a task ends, not after epochs.

    Returns:
        Why tasks failed, by name.

    Raises:
        SceneError: The cluster cannot be reached or has no node that could take a task.
    """
    if not tasks:
        return {}
    with connected(address):
        gpu = device == "cuda" or (device == "auto" and ray.cluster_resources().get("GPU", 0) >= 1)
        run = _Run(folder, plan, "cuda" if gpu else "cpu" if device == "auto" else device, progress)
        needs = {"CPU": plan.threads, "GPU": int(gpu)}
        if not _able_nodes(needs):
            raise TrainingError(
                f"cluster {address}: no node has {_in_words(needs)}, as a training needs; use fewer --threads, another "
                "--device, or wait until the nodes have joined"
            )
        return run.until_done(tasks, needs)


@dataclass(frozen=True)
class SharedCorpus:
    """A corpus in an object store: once, in pieces, to be read by machines that have no feature store.

    Attributes:
        rest: Reference to a `Corpus` without features.
        blocks: References to the features of BLOCK recordings each, as stored.
        shape: Of a segment's features.
    """

    rest: Ref
    blocks: tuple[Ref, ...]
    shape: tuple[int, ...]


@dataclass
class _Run:
    """The driver's side: which tasks are running, how often their processes died, why tasks failed."""

    folder: RunFolder
    plan: Plan
    device: str
    progress: TaskCallback
    running: dict[Ref, Task] = field(default_factory=dict)
    deaths: dict[Task, int] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def until_done(self, tasks: Sequence[Task], needs: Mapping[str, int]) -> dict[str, str]:
        # A process for each task, as on one machine: nothing is left over from the task before. Ray counts a process that a
        # task kills and a node that goes away as the same thing; here they are not, so the tasks are started again here.
        work = ray.remote(num_cpus=needs["CPU"], num_gpus=needs["GPU"], max_calls=1, max_retries=0)(work_on_node)
        plan, shared = ray.put(self.plan), self._load(tasks)
        writer = self.folder if is_url(self.folder.results) else None
        versions = versions_here()

        def start(task: Task) -> None:
            on = work.options(name=task.name)
            self.running[on.remote(plan, task, shared[task.system], self.device, writer, versions)] = task

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
                self._give_up(f"no node with {_in_words(needs)} is left in the cluster; rerun the same command to resume")
        return self.failures

    def _load(self, tasks: Sequence[Task]) -> dict[str, SharedCorpus]:
        """Return what the tasks' systems read, by name of the system; each representation is shared once."""
        loaded: dict[str, SharedCorpus] = {}
        chosen = {task.system: self.plan.system(task.system).representation for task in tasks}
        recordings = self.plan.all_recordings()
        for representation in chosen.values():
            if representation.key not in loaded:
                loaded[representation.key] = share(FeatureStore(self.folder.store, representation), recordings, ray.put)
        return {system: loaded[representation.key] for system, representation in chosen.items()}

    def _take_in(self, task: Task, ref: Ref) -> bool:
        """Return whether a task has ended; if not, it has to start again."""
        try:
            output: TaskOutput = ray.get(ref)
        except (
            ray.exceptions.NodeDiedError,
            ray.exceptions.ObjectLostError,
        ):  # the node died with the training, or with its result
            return False
        except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as error:
            self.deaths[task] = self.deaths.get(task, 0) + 1
            if self.deaths[task] < DEATHS:
                return False
            how = "memory full" if isinstance(error, ray.exceptions.OutOfMemoryError) else "memory full, or a crash"
            output = _failure(f"its process was killed {DEATHS} times on nodes that live ({how})")
        except ray.exceptions.RayError as error:
            text = f"{last_line(error)}; is the same soundscene installed on every node?"
            output = _failure(text, str(error))
        self._end(task, output)
        return True

    def _end(self, task: Task, output: TaskOutput) -> None:
        """Write what came back, then report it."""
        event = output.event
        try:
            if output.model:
                write_atomic(self.folder.model(task), output.model, TrainingError)
            if output.result:
                self.folder.write_result(task, output.result)
        except SceneError as error:
            event = Event("failed", {}, str(error))
        if output.trace:
            log = self.folder.work(task) / "error.log"
            log.write_text(output.trace, encoding="utf-8")
            event = replace(event, text=f"{event.text} (see {log})")
        if event.kind == "failed":
            self.failures[task.name] = event.text
        else:  # what a run on one machine may have left half-done
            self.folder.clear(task)
        self.progress(task, event)

    def _give_up(self, why: str) -> None:
        for ref, task in self.running.items():
            ray.cancel(ref, force=True)
            self._end(task, _failure(why))
        self.running.clear()


def work_on_node(
    plan: Plan, task: Task, shared: SharedCorpus, device: str, writer: RunFolder | None, versions: Mapping[str, str]
) -> TaskOutput:
    """Run one task in a process on a node; nothing is raised.

    Args:
        plan: Of the run.
        task: To run.
        shared: What its system reads.
        device: "cpu" or "cuda".
        writer: Run folder whose results lie at a URL, which the result is written to from here; None to send it back.
        versions: `versions_here` of the driver.
    """
    torch.set_num_threads(plan.threads)
    try:
        check_versions(versions)
        with threadpool_limits(plan.threads):  # what numpy and scikit-learn compute with
            fabric = make_fabric(device, plan.precision)
            split = plan.split(task.split)
            corpora = unshare(shared, split.train, ray.get), unshare(shared, split.test, ray.get)
            result, fitted = run_task(plan, task, corpora, None, fabric)
        event = Event("done", summary(result))
        if writer:
            writer.write_result(task, result.to_bytes())
            return TaskOutput(event)
        with tempfile.TemporaryDirectory() as folder:
            model = Path(folder) / "model"
            if fitted.save:
                fitted.save(model, facts_of(plan, corpora[0]))
            return TaskOutput(event, result.to_bytes(), model.read_bytes() if fitted.save else b"")
    except SceneError as error:
        return _failure(str(error))
    except Exception as error:
        return _failure(f"{type(error).__name__}: {one_line(error)}", traceback.format_exc())


def _able_nodes(needs: Mapping[str, int]) -> list[str]:
    """Return the nodes that could take a task, if they had nothing else to do."""
    alive = [node for node in ray.nodes() if node["Alive"]]
    return [n["NodeID"] for n in alive if all(n["Resources"].get(what, 0) >= many for what, many in needs.items())]


def _in_words(needs: Mapping[str, int]) -> str:
    return " and ".join(counted(many, what) for what, many in needs.items() if many)


def _failure(text: str, trace: str = "") -> TaskOutput:
    return TaskOutput(Event("failed", {}, text), trace=trace)


# --- a corpus in an object store --------------------------------------------------------------------------------------


def share(store: FeatureStore, recordings: Sequence[Recording], put: Callable[[Any], Ref]) -> SharedCorpus:
    """Put recordings into an object store, as float16: that is exact, because the feature store holds no other numbers.

    Args:
        store: Holds the recordings.
        recordings: To share.
        put: Value -> reference.

    Raises:
        ManifestError: A recording is not in the store, or changed since.
    """
    parts: list[Corpus] = []
    blocks: list[Ref] = []
    shape: tuple[int, ...] = ()
    for first in range(0, len(recordings), BLOCK):
        part = store.load(recordings[first : first + BLOCK])
        shape = part.features.shape[1:]
        blocks.append(put(part.features.astype(DTYPE)))
        parts.append(replace(part, features=np.zeros((len(part.features), 0), np.float32)))
    rest = Corpus(
        recordings=tuple(recordings),
        features=np.concatenate([part.features for part in parts]),
        recording=np.concatenate([part.recording + BLOCK * i for i, part in enumerate(parts)]),
        start_s=np.concatenate([part.start_s for part in parts]),
        silent=np.concatenate([part.silent for part in parts]),
        regular=np.concatenate([part.regular for part in parts]),
        content_hash=tuple(value for part in parts for value in part.content_hash),
        duration_s=tuple(value for part in parts for value in part.duration_s),
        notes=tuple(value for part in parts for value in part.notes),
    )
    return SharedCorpus(put(rest), tuple(blocks), shape)


def unshare(shared: SharedCorpus, recordings: Sequence[Recording], fetch: Callable[[Ref], Any]) -> Corpus:
    """Return some recordings of a shared corpus as `FeatureStore.load` does; one block at a time is fetched.

    Args:
        shared: What `share` returned.
        recordings: In the order of the result.
        fetch: Reference -> value.
    """
    whole: Corpus = fetch(shared.rest)
    part = whole.take(recordings)
    number = {recording.path: i for i, recording in enumerate(whole.recordings)}
    chosen = np.array([number[recording.path] for recording in recordings], np.int64)
    features = np.empty((len(part.recording), *shared.shape), np.float32)
    for block in np.unique(chosen // BLOCK):
        values = fetch(shared.blocks[block])
        recording_of = whole.recording[whole.recording // BLOCK == block]
        for place in np.flatnonzero(chosen // BLOCK == block):
            features[part.recording == place] = values[recording_of == chosen[place]]
    return replace(part, features=features)
