"""Every task of a plan on this machine, a process for each, several at a time; one that fails does not end the others.

A process ends when the run that started it ends, however that ends.
"""

import os
import signal
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import cast

import torch
from lightning_fabric import Fabric
from threadpoolctl import threadpool_limits

from soundscene.data.store import FeatureStore, end_with_parent
from soundscene.errors import ManifestError, SceneError
from soundscene.experiment.plan import Plan, Task
from soundscene.experiment.results import RunFolder, SplitResult
from soundscene.experiment.task import facts_of, read_parts, run_task
from soundscene.jobs.lock import locked
from soundscene.processes import deaf_to_ctrl_c, server_context
from soundscene.systems.system import PredictFunction
from soundscene.training.device import make_fabric

_SHOWN = 10  # unreadable recordings named in one message
_ORPHAN_S = 30.0  # for a process of a killed run to end


@dataclass(frozen=True)
class Event:
    """A message of a task.

    Attributes:
        kind: "epoch", "done" or "failed".
        numbers: Of an epoch its row of the history; of a finished task the recording accuracy by head, and seconds.
        text: Why it failed, in one line.
    """

    kind: str
    numbers: Mapping[str, float]
    text: str = ""


TaskCallback = Callable[[Task, Event], None]
"""Called in the run's process with each event of each task."""


def warm_up() -> None:
    """Let the server that all processes are forked from import what they need, once, before the first of them starts."""
    modules = ["soundscene.experiment.local", "soundscene.systems.neural"]
    server_context().set_forkserver_preload(modules)


def build_stores(
    folder: RunFolder,
    plan: Plan,
    workers: int,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, str]:
    """Compute what the systems of a plan read, each representation once.

    Args:
        folder: Holds the stores.
        plan: Names recordings and systems.
        workers: Processes.
        progress: Called with (representation, recordings done, total).

    Returns:
        Why recordings cannot be used, by their path in the plan.
    """
    recordings = plan.all_recordings()
    broken: dict[str, str] = {}
    for representation in {r.key: r for r in (plan.system(s.name).representation for s in plan.systems)}.values():

        def step(done: int, total: int, name: str = representation.name) -> None:
            if progress:
                progress(name, done, total)

        reasons = FeatureStore(folder.store, representation).build(recordings, workers, step)
        for recording, (path, _, _) in zip(recordings, plan.recordings, strict=True):
            if recording.path in reasons:
                broken[path] = reasons[recording.path]
    return broken


def refuse_broken(broken: dict[str, str], n: int) -> None:
    """Refuse recordings that cannot be used.

    Args:
        broken: Reasons by path.
        n: Number of all recordings.

    Raises:
        ManifestError: There is one at least; the message names the first.
    """
    if broken:
        texts = list(broken.values())
        more = f"; and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
        raise ManifestError(
            f"{len(texts)} of {n} recordings cannot be used; repair them, remove their rows, or leave them out with "
            f"--skip-broken (the others are stored): {'; '.join(texts[:_SHOWN])}{more}"
        )


def content_hashes(folder: RunFolder, plan: Plan) -> dict[Path, str]:
    """Return the hash of each recording's sound, by path, for the check for leakage.

    Args:
        folder: Holds the stores.
        plan: Its recordings are in the store.
    """
    representation = plan.system(plan.systems[0].name).representation
    return FeatureStore(folder.store, representation).content_hashes(plan.all_recordings())


@dataclass
class _Slot:
    """A running task: its process and the pipe it sends events through."""

    task: Task
    process: BaseProcess
    pipe: Connection
    gpu: int | None
    failed: bool = False
    done: bool = False


@dataclass
class _Pool:
    """The running processes, and why tasks failed."""

    folder: RunFolder
    plan: Plan
    device: str
    progress: TaskCallback
    failures: dict[str, str] = field(default_factory=dict)
    slots: list[_Slot] = field(default_factory=list)

    def start(self, task: Task) -> None:
        context = server_context()
        ours, theirs = context.Pipe(duplex=False)
        n_gpus = torch.cuda.device_count() if self.device in ("auto", "cuda") else 0
        taken = [slot.gpu for slot in self.slots]
        gpu = min(range(n_gpus), key=taken.count) if n_gpus else None
        process = context.Process(target=work_in_process, args=(self.folder, self.plan, task, self.device, gpu, theirs))
        with deaf_to_ctrl_c():
            process.start()
        theirs.close()
        self.slots.append(_Slot(task, process, ours, gpu))

    def listen(self) -> None:
        """Wait for events, and handle them."""
        ready = wait([slot.pipe for slot in self.slots])
        for slot in [slot for slot in self.slots if slot.pipe in ready]:
            try:
                event = cast(Event, slot.pipe.recv())
            except EOFError:  # the process has ended, one way or another
                self._end(slot)
                continue
            slot.done = slot.done or event.kind == "done"
            if event.kind == "failed":
                slot.failed = True
                self.failures[slot.task.name] = event.text
            self.progress(slot.task, event)

    def _end(self, slot: _Slot) -> None:
        slot.process.join()
        slot.pipe.close()
        self.slots.remove(slot)
        if not (slot.done or slot.failed):
            code = slot.process.exitcode or 0
            how = f"was killed by signal {-code} (memory full?)" if code < 0 else f"ended with code {code}"
            event = Event("failed", {}, f"its process {how}; rerun the same command to resume")
            self.failures[slot.task.name] = event.text
            self.progress(slot.task, event)

    def stop(self) -> None:
        for slot in self.slots:
            slot.process.terminate()
        for slot in self.slots:
            slot.process.join()


def run_local(
    folder: RunFolder, plan: Plan, tasks: list[Task], workers: int, device: str, progress: TaskCallback
) -> dict[str, str]:
    """Run tasks, several at a time.

    Every process computes with `plan.threads` threads, so workers times threads should not exceed the cores.

    Args:
        folder: Of the run.
        plan: Of the run.
        tasks: To run, in this order.
        workers: Tasks at a time.
        device: As in `training.device.make_fabric`.
        progress: Called with each event.

    Returns:
        Why tasks failed, by name.
    """
    pool = _Pool(folder, plan, device, progress)
    waiting = list(tasks)
    try:
        while waiting or pool.slots:
            while waiting and len(pool.slots) < workers:
                pool.start(waiting.pop(0))
            pool.listen()
    finally:
        pool.stop()
    return pool.failures


def run_together(folder: RunFolder, plan: Plan, tasks: list[Task], fabric: Fabric, progress: TaskCallback) -> dict[str, str]:
    """Run tasks one after another, each by all the processes that torchrun has started.

    Args:
        folder: Of the run.
        plan: Of the run.
        tasks: To run, in this order.
        fabric: Of all processes.
        progress: Called with each event, in the first process.

    Returns:
        Why tasks failed, by name.
    """
    failures: dict[str, str] = {}
    for task in tasks:
        try:
            event = run_here(folder, plan, task, fabric, lambda row, task=task: progress(task, Event("epoch", row)))
        except SceneError as error:
            failures[task.name] = str(error)
            event = Event("failed", {}, str(error))
        if fabric.global_rank == 0:
            progress(task, event)
        fabric.barrier()
    return failures


# --- in a process -----------------------------------------------------------------------------------------------------


def work_in_process(folder: RunFolder, plan: Plan, task: Task, device: str, gpu: int | None, pipe: Connection) -> None:
    """Run one task in a process of its own; nothing is raised.

    Args:
        folder: Of the run.
        plan: Of the run.
        task: To run.
        device: As in `training.device.make_fabric`.
        gpu: Number of the only GPU to be seen, among those that the parent sees.
        pipe: Receives the events.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes of a terminal; the run decides
    end_with_parent()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = name_of_gpu(gpu, os.environ.get("CUDA_VISIBLE_DEVICES"))
    torch.set_num_threads(plan.threads)
    try:
        with threadpool_limits(plan.threads):  # what numpy and scikit-learn compute with
            fabric = make_fabric(device, plan.precision)
            pipe.send(run_here(folder, plan, task, fabric, lambda row: pipe.send(Event("epoch", row))))
    except SceneError as error:
        pipe.send(Event("failed", {}, str(error)))
    except Exception as error:
        log = folder.path / "work" / task.name / "error.log"
        with suppress(OSError):  # the disk may be what is wrong
            log.write_text(traceback.format_exc(), encoding="utf-8")
        pipe.send(Event("failed", {}, f"{type(error).__name__}: {' '.join(str(error).split())[:200]} (see {log})"))
    finally:
        pipe.close()


def name_of_gpu(number: int, seen: str | None) -> str:
    """Return what CUDA_VISIBLE_DEVICES calls a GPU.

    Args:
        number: Its number among those that are seen.
        seen: The variable as it is: their names or numbers, separated by commas; None for all.
    """
    return seen.split(",")[number].strip() if seen else str(number)


def run_here(
    folder: RunFolder,
    plan: Plan,
    task: Task,
    fabric: Fabric,
    progress: Callable[[dict[str, float]], None] | None = None,
) -> Event:
    """Run a task in this process; write its result and model, then remove what it would have resumed from.

    Args:
        folder: Of the run.
        plan: Of the run.
        task: To run.
        fabric: Of the processes that torchrun may have started; the first of them writes.
        progress: Called with the row of each epoch.

    Raises:
        SceneError: The task cannot be done.
    """
    work = folder.work(task)
    with locked(work / "lock", _ORPHAN_S):  # a process of a killed run may still be on its way out
        corpora = read_parts(plan, task, folder.store)
        first = fabric.global_rank == 0

        def observe(row: dict[str, float], so_far: PredictFunction) -> None:
            if progress and first:
                progress(row)

        result, fitted = run_task(plan, task, corpora, work if first else None, fabric, observe)
        if first:
            if fitted.save:
                fitted.save(folder.model(task), facts_of(plan, corpora[0]))
            folder.write_result(task, result.to_bytes())
    if first:
        folder.clear(task)
    return Event("done", summary(result))


def summary(result: SplitResult) -> dict[str, float]:
    """Return recording accuracy by head, and seconds, for the line that is printed."""
    accuracies = {head: float((one.recording.argmax(axis=1) == result.truth).mean()) for head, one in result.heads.items()}
    return accuracies | {"seconds": float(result.facts["seconds"])}
