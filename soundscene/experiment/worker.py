"""What a process does with one task, on this machine; it ends when the run that started it ends, however that ends."""

import os
import shutil
import signal
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection

import torch
from filelock import FileLock
from lightning_fabric import Fabric
from threadpoolctl import threadpool_limits

from soundscene.data.store import end_with_parent
from soundscene.errors import SceneError
from soundscene.experiment.folder import RunFolder
from soundscene.experiment.plan import Plan, Task
from soundscene.experiment.results import SplitResult
from soundscene.experiment.task import read_parts, run_task
from soundscene.jobs.storage import Storage
from soundscene.systems.system import PredictFunction
from soundscene.training.device import make_fabric


@dataclass(frozen=True)
class Event:
    """What a task says of itself.

    kind: "epoch" (numbers: its row of the history), "done" (numbers: recording accuracy by head, and seconds) or "failed"
    (text: why, in one line).
    """

    kind: str
    numbers: Mapping[str, float]
    text: str = ""


def work_in_process(folder: RunFolder, plan: Plan, task: Task, device: str, gpu: int | None, line: Connection) -> None:
    """Entry of a worker process: one task, told over `line`; nothing is raised."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes of a terminal; the run decides
    end_with_parent()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(gpu)
    torch.set_num_threads(plan.threads)
    try:
        with threadpool_limits(plan.threads):  # what numpy and scikit-learn compute with
            fabric = make_fabric(device, plan.precision)
            line.send(do(folder, plan, task, fabric, lambda row: line.send(Event("epoch", row))))
    except SceneError as error:
        line.send(Event("failed", {}, str(error)))
    except Exception as error:
        log = folder.work(task) / "error.log"
        log.write_text(traceback.format_exc(), encoding="utf-8")
        line.send(Event("failed", {}, f"{type(error).__name__}: {' '.join(str(error).split())[:200]} (all of it: {log})"))
    finally:
        line.close()


def do(
    folder: RunFolder, plan: Plan, task: Task, fabric: Fabric, told: Callable[[dict[str, float]], None] | None = None
) -> Event:
    """Run a task to its end and leave result and model; what it went on from is then taken away.

    Raises: `SceneError` where the task cannot be done.
    """
    work = folder.work(task)
    with FileLock(work / "lock"):  # a worker of a killed run may still be on its way out
        corpora = read_parts(plan, task, folder.store)
        first = fabric.global_rank == 0  # of the processes that torchrun may have started, one writes

        def listen(row: dict[str, float], so_far: PredictFunction) -> None:
            if told and first:
                told(row)

        result, fitted = run_task(plan, task, corpora, work if first else None, fabric, listen)
        if first:
            if fitted.save:
                model = folder.model(task)
                model.parent.mkdir(parents=True, exist_ok=True)
                fitted.save(model)
            Storage(folder.results).write(task.name, result.to_bytes())
    if first:
        shutil.rmtree(work, ignore_errors=True)
    return Event("done", summary(result))


def summary(result: SplitResult) -> dict[str, float]:
    """Recording accuracy by head, and seconds, for the line that is printed."""
    said = {head: float((one.recording.argmax(axis=1) == result.truth).mean()) for head, one in result.heads.items()}
    return said | {"seconds": float(result.facts["seconds"])}
