"""Every task of a plan on this machine, a process for each, several at a time; one that fails does not end the others."""

import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import cast

import torch
from lightning_fabric import Fabric

from soundscene.data.store import FeatureStore
from soundscene.errors import ManifestError, SceneError
from soundscene.experiment.folder import RunFolder
from soundscene.experiment.plan import Plan, Task
from soundscene.experiment.worker import Event, do, work_in_process
from soundscene.systems.catalogue import build

TaskCallback = Callable[[Task, Event], None]
"""Called in the run's process with what each task says of itself."""

_SHOWN = 10  # broken recordings named in one message


def warm_up() -> None:
    """Let the server that all processes are forked from import what they need, once; before the first of them starts."""
    rooms = ["soundscene.experiment.worker", "soundscene.systems.neural"]
    multiprocessing.get_context("forkserver").set_forkserver_preload(rooms)


def build_stores(
    folder: RunFolder,
    plan: Plan,
    workers: int,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, str]:
    """Compute what the systems of a plan read, each representation once; unusable recordings by their path in the plan.

    progress: called with (representation, done, in all).
    """
    recordings = plan.all_recordings()
    broken: dict[str, str] = {}
    for representation in {r.key: r for r in (build(s, plan.base_recipe()).representation for s in plan.systems)}.values():

        def step(done: int, total: int, name: str = representation.name) -> None:
            if progress:
                progress(name, done, total)

        found = FeatureStore(folder.store, representation).build(recordings, workers, step)
        for recording, (path, _, _) in zip(recordings, plan.recordings, strict=True):
            if recording.path in found:
                broken[path] = found[recording.path]
    return broken


def refuse_broken(broken: dict[str, str], n: int) -> None:
    """Raise `ManifestError` that names what cannot be used, if there is any."""
    if broken:
        texts = list(broken.values())
        more = f"; and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
        raise ManifestError(
            f"{len(texts)} of {n} recordings cannot be used; repair them, take their rows out, or leave them out with "
            f"--skip-broken (the others are stored): {'; '.join(texts[:_SHOWN])}{more}"
        )


def content_hashes(folder: RunFolder, plan: Plan) -> dict[Path, str]:
    """Hash of each recording's sound, by path, for the leakage guard."""
    representation = build(plan.systems[0], plan.base_recipe()).representation
    return FeatureStore(folder.store, representation).content_hashes(plan.all_recordings())


@dataclass
class _Slot:
    """A running task: its process and the line it talks on."""

    task: Task
    process: BaseProcess
    line: Connection
    gpu: int | None
    failed: bool = False
    done: bool = False


@dataclass
class _Pool:
    folder: RunFolder
    plan: Plan
    device: str
    told: TaskCallback
    failures: dict[str, str] = field(default_factory=dict)
    slots: list[_Slot] = field(default_factory=list)

    def start(self, task: Task) -> None:
        context = multiprocessing.get_context("forkserver")
        ours, theirs = context.Pipe(duplex=False)
        n_gpus = torch.cuda.device_count() if self.device in ("auto", "cuda") else 0
        taken = [slot.gpu for slot in self.slots]
        gpu = min(range(n_gpus), key=taken.count) if n_gpus else None
        process = context.Process(target=work_in_process, args=(self.folder, self.plan, task, self.device, gpu, theirs))
        process.start()
        theirs.close()
        self.slots.append(_Slot(task, process, ours, gpu))

    def listen(self) -> None:
        """Wait until something happens, and take it in."""
        ready = wait([slot.line for slot in self.slots])
        for slot in [slot for slot in self.slots if slot.line in ready]:
            try:
                event = cast(Event, slot.line.recv())
            except EOFError:  # the process has ended, one way or another
                self._end(slot)
                continue
            slot.done = slot.done or event.kind == "done"
            if event.kind == "failed":
                slot.failed = True
                self.failures[slot.task.name] = event.text
            self.told(slot.task, event)

    def _end(self, slot: _Slot) -> None:
        slot.process.join()
        slot.line.close()
        self.slots.remove(slot)
        if not (slot.done or slot.failed):
            code = slot.process.exitcode or 0
            how = f"was killed by signal {-code} (memory full?)" if code < 0 else f"ended with code {code}"
            event = Event("failed", {}, f"its process {how}; the same command goes on with it")
            self.failures[slot.task.name] = event.text
            self.told(slot.task, event)

    def stop(self) -> None:
        for slot in self.slots:
            slot.process.terminate()
        for slot in self.slots:
            slot.process.join()


def run_local(
    folder: RunFolder, plan: Plan, tasks: list[Task], workers: int, device: str, told: TaskCallback
) -> dict[str, str]:
    """Run tasks, `workers` at a time; why each failed one failed, by name.

    Every process computes with `plan.threads` threads, so workers times threads should not exceed the cores.
    """
    pool = _Pool(folder, plan, device, told)
    waiting = list(tasks)
    try:
        while waiting or pool.slots:
            while waiting and len(pool.slots) < workers:
                pool.start(waiting.pop(0))
            pool.listen()
    finally:
        pool.stop()
    return pool.failures


def run_together(folder: RunFolder, plan: Plan, tasks: list[Task], fabric: Fabric, told: TaskCallback) -> dict[str, str]:
    """Run tasks one after another, each by all the processes that torchrun has started; as `run_local` otherwise."""
    failures: dict[str, str] = {}
    for task in tasks:
        try:
            event = do(folder, plan, task, fabric, lambda row, task=task: told(task, Event("epoch", row)))
        except SceneError as error:
            failures[task.name] = str(error)
            event = Event("failed", {}, str(error))
        if fabric.global_rank == 0:
            told(task, event)
        fabric.barrier()
    return failures
