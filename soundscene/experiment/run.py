"""An experiment from its request to its results: feature stores, check for leakage, tasks; rerun it to resume."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from lightning_fabric import Fabric

from soundscene.data.designs import Design, check
from soundscene.errors import SceneError, TrainingError
from soundscene.experiment.diagnosis import EXCERPTS
from soundscene.experiment.local import (
    TaskCallback,
    build_stores,
    content_hashes,
    refuse_broken,
    run_local,
    run_together,
    warm_up,
)
from soundscene.experiment.plan import PLAN, Plan, make_plan
from soundscene.experiment.request import Request, with_excerpts
from soundscene.experiment.results import RunFolder
from soundscene.types import Split

CORES = os.cpu_count() or 1


@dataclass(frozen=True)
class RunOptions:
    """How an experiment is computed, which changes no result beyond rounding.

    Attributes:
        workers: Tasks at a time.
        threads: Of each task; None: cores divided by workers.
        device: As in `training.device.make_fabric`.
        precision: As in `training.device.make_fabric`.
        cluster: Address of a Ray cluster.
        results: Another place for results, see `experiment.results.RunFolder`.
        fabric: Of all processes together, where torchrun has started several.
    """

    workers: int = CORES
    threads: int | None = None
    device: str = "auto"
    precision: str = "32-true"
    cluster: str | None = None
    results: str | None = None
    fabric: Fabric | None = None


@dataclass(frozen=True)
class RunCallbacks:
    """Functions that are called with the progress of a run.

    Attributes:
        reading: Called with (representation, recordings done, total) while features are computed.
        started: Called with (plan, number of tasks, number of finished ones) before the first task.
        task: Called with each event of each task.
        noted: Called with each note that is found while the folder is prepared.
    """

    reading: Callable[[str, int, int], None] = lambda representation, done, total: None
    started: Callable[[Plan, int, int], None] = lambda plan, n, n_done: None
    task: TaskCallback = lambda task, event: None
    noted: Callable[[str], None] = lambda note: None


@dataclass(frozen=True)
class ExperimentResult:
    """How a run ended.

    Attributes:
        plan: Of its folder.
        n_asked: Tasks that were requested.
        n_done: Tasks among them with a result.
        failures: Why the others have none, by name.
    """

    plan: Plan
    n_asked: int
    n_done: int
    failures: dict[str, str]


def run_experiment(
    request: Request, out: Path, options: RunOptions, progress: RunCallbacks | None = None
) -> ExperimentResult:
    """Run every system on every split with every seed, as far as the folder does not hold their results already.

    A folder may hold more than is requested; only what is requested is run.

    Args:
        request: What to compare on what.
        out: Folder of the run, created if need be.
        options: How to compute it.
        progress: Functions to call.

    Raises:
        SceneError: Of any kind; before anything is trained, where it can be known before.
    """
    if options.workers < 1 or (options.threads is not None and options.threads < 1):
        raise TrainingError(f"workers {options.workers}, threads {options.threads}: at least one each is needed")
    folder, progress = RunFolder(out, options.results), progress or RunCallbacks()
    if options.fabric is not None and options.fabric.global_rank > 0:
        return _compute(folder, request, options, progress)
    with folder.locked():
        return _compute(folder, request, options, progress)


def _compute(folder: RunFolder, request: Request, options: RunOptions, progress: RunCallbacks) -> ExperimentResult:
    warm_up()
    if options.fabric is None or options.fabric.global_rank == 0:
        plan = _prepare(folder, request, options, progress)
        folder.claim_results(plan)
        plan.write(folder.path)
    if options.fabric is not None:
        options.fabric.barrier()
    plan = Plan.read(folder.path)
    asked = [t for t in plan.tasks() if t.seed in request.seeds and any(t.system == s.name for s in request.systems)]
    there = folder.finished()
    waiting = [task for task in asked if task.name not in there]
    if options.fabric is None or options.fabric.global_rank == 0:
        for task in asked:
            if task.name in there:  # a kill may have come between its result and this
                folder.clear(task)
    progress.started(plan, len(asked), len(asked) - len(waiting))
    if options.fabric is not None and options.fabric.world_size > 1:
        failures = run_together(folder, plan, waiting, options.fabric, progress.task)
    elif options.cluster is not None:
        from soundscene.experiment.cluster import run_on_cluster

        failures = run_on_cluster(folder, plan, waiting, options.cluster, options.device, progress.task)
    else:
        workers = min(options.workers, max(len(waiting), 1))
        failures = run_local(folder, plan, waiting, workers, options.device, progress.task)
    there = folder.finished()
    return ExperimentResult(plan, len(asked), sum(task.name in there for task in asked), failures)


def _plan(request: Request, options: RunOptions, earlier: Plan | None) -> Plan:
    """Return the plan of a request alone, with the front-end of the folder's plan, which decides what is computed next."""
    plan = replace(
        make_plan(request.corpus, request.root, request.recordings, request.design.splits, request.recipe, request.systems),
        design=request.design.kind,
        text=request.design.text,
        seeds=request.seeds,
        threads=options.threads or max(1, CORES // options.workers),
        precision=options.precision,
        litis=request.litis,
        notes=request.notes,
        diagnosis=request.diagnosis,
    )
    return plan.with_front_end(earlier.front_end) if earlier else plan


def _prepare(folder: RunFolder, request: Request, options: RunOptions, progress: RunCallbacks) -> Plan:
    """Compute features, check for unusable recordings and leakage, and join the plan with the one in the folder."""
    earlier = Plan.read(folder.path) if (folder.path / PLAN).exists() else None
    plan = _plan(request, options, earlier)
    if earlier:
        plan.check_choices(earlier, folder.path)  # before hours of reading
    folder.check_place(plan)
    with _nothing_new(folder.path / EXCERPTS) if earlier else nullcontext():
        if request.diagnosis:
            plan = _diagnosed(folder, request, options, progress, earlier)
        else:
            broken = build_stores(folder, plan, options.workers, progress.reading)
            if not request.skip_broken:
                refuse_broken(broken, len(plan.recordings))
            plan = _without(plan, broken)
        design = Design({name: plan.split(name) for name in plan.splits}, plan.design, plan.text)
        check(design, content_hashes(folder, plan), groups=not plan.diagnosis)
        return plan.joined(earlier, folder.path) if earlier else plan


def _diagnosed(
    folder: RunFolder, request: Request, options: RunOptions, progress: RunCallbacks, earlier: Plan | None
) -> Plan:
    """Cut excerpts and compute features, until both excerpts of every pair can be used."""
    unusable: dict[Path, str] = {}
    while True:
        found = with_excerpts(request, folder.path, earlier, unusable)
        plan = _plan(found, options, earlier)
        broken = build_stores(folder, plan, options.workers, progress.reading)
        if not request.skip_broken:
            refuse_broken(broken, len(plan.recordings))
        if not broken:
            break
        paths = (recording.path for recording in found.recordings)
        rows = zip(paths, plan.recordings, strict=True)
        unusable |= {path: f"{row[0]}: {broken[row[0]]}" for path, row in rows if row[0] in broken}
    for note in found.notes[len(request.notes) :]:
        progress.noted(note)
    return replace(plan, left_out=tuple(unusable.values()))


@contextmanager
def _nothing_new(folder: Path) -> Iterator[None]:
    """Remove files that are new in a folder where the run is refused: they belong to no plan."""
    before = set(folder.glob("*"))
    try:
        yield
    except SceneError:
        for path in set(folder.glob("*")) - before:
            path.unlink()
        raise


def _without(plan: Plan, broken: dict[str, str]) -> Plan:
    """Return the plan without some recordings, which it lists as left out."""
    if not broken:
        return plan
    kept = {i: n for n, i in enumerate(i for i, row in enumerate(plan.recordings) if row[0] not in broken)}

    def numbers(rows: Sequence[int]) -> tuple[int, ...]:
        return tuple(kept[i] for i in rows if i in kept)

    plan = replace(
        plan,
        recordings=tuple(plan.recordings[i] for i in kept),
        splits={name: (numbers(train), numbers(test)) for name, (train, test) in plan.splits.items()},
        left_out=tuple(f"{path}: {why}" for path, why in broken.items()),
    )
    for name in plan.splits:
        _check_scenes(name, plan.split(name))
    return plan


def _check_scenes(name: str, split: Split) -> None:
    untrained = sorted({r.scene for r in split.test} - {r.scene for r in split.train})
    if untrained or not split.test:
        what = (
            f"the scenes {', '.join(untrained)} are left in the test part only" if untrained else "nothing is left to test"
        )
        raise TrainingError(f"split {name}: without the recordings that cannot be used {what}; repair them")
