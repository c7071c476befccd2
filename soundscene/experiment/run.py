"""An experiment from its request to its results: store, leakage guard, tasks; killed anywhere, it goes on where it was."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lightning_fabric import Fabric

from soundscene.data.designs import Design, check
from soundscene.errors import TrainingError
from soundscene.experiment.folder import RunFolder
from soundscene.experiment.local import (
    TaskCallback,
    build_stores,
    content_hashes,
    refuse_broken,
    run_local,
    run_together,
    warm_up,
)
from soundscene.experiment.plan import Plan, make_plan
from soundscene.jobs.storage import Storage
from soundscene.recipe import Recipe
from soundscene.systems.catalogue import SystemSpec
from soundscene.types import Recording, Split

CORES = os.cpu_count() or 1


@dataclass(frozen=True)
class Request:
    """What is to be compared on what.

    corpus: its name in tables; root: folder that recordings are named relative to; systems, recipe, seeds; skip_broken:
    leave out recordings that cannot be used, and say so in every table, instead of refusing them; notes: for the tables.
    """

    corpus: str
    root: Path
    recordings: tuple[Recording, ...]
    design: Design
    recipe: Recipe
    systems: tuple[SystemSpec, ...]
    seeds: tuple[int, ...] = (0,)
    litis: bool = False
    skip_broken: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunOptions:
    """How it is computed, which changes no result beyond rounding.

    workers: tasks at a time; threads of each (None: cores divided by workers); device, precision as in `make_fabric`;
    cluster: address of a Ray cluster; results: another place for results, see `experiment.shelf`; fabric: of all processes
    together, where torchrun has started several.
    """

    workers: int = CORES
    threads: int | None = None
    device: str = "auto"
    precision: str = "32-true"
    cluster: str | None = None
    results: str | None = None
    fabric: Fabric | None = None


@dataclass(frozen=True)
class ExperimentResult:
    """What an experiment came to: tasks that were asked for, how many have a result, and why the others have none."""

    plan: Plan
    n_asked: int
    n_done: int
    failures: dict[str, str]


def run_experiment(
    request: Request,
    out: Path,
    means: RunOptions,
    reading: Callable[[str, int, int], None] | None = None,
    told: TaskCallback | None = None,
    started: Callable[[Plan, int, int], None] | None = None,
) -> ExperimentResult:
    """Run every system on every split with every seed, as far as the folder does not hold their results already.

    A folder may hold more than is asked for; only what is asked for is run.

    reading: called with (representation, recordings done, in all); started: with the plan, the number of tasks and how many
    of them are finished, before the first begins; told: with what tasks say of themselves.

    Raises: `SceneError` of any kind, before anything is trained, for what can be known before.
    """
    if means.workers < 1 or (means.threads is not None and means.threads < 1):
        raise TrainingError(f"workers {means.workers}, threads {means.threads}: at least one each is needed")
    folder = RunFolder(out, means.results)
    alone = means.fabric is None or means.fabric.global_rank == 0
    if not alone:
        return _compute(folder, request, means, reading, told, started)
    with folder.locked():
        return _compute(folder, request, means, reading, told, started)


def _compute(
    folder: RunFolder,
    request: Request,
    means: RunOptions,
    reading: Callable[[str, int, int], None] | None,
    told: TaskCallback | None,
    started: Callable[[Plan, int, int], None] | None,
) -> ExperimentResult:
    warm_up()
    plan = _plan(folder, request, means)
    if means.fabric is None or means.fabric.global_rank == 0:
        plan = _prepare(folder, plan, request, means, reading)
        plan.write(folder.path)
    if means.fabric is not None:
        means.fabric.barrier()
        plan = Plan.read(folder.path)
    asked = [t for t in plan.tasks() if t.seed in request.seeds and any(t.system == s.name for s in request.systems)]
    there = Storage(folder.results).names()
    waiting = [task for task in asked if task.name not in there]
    if started:
        started(plan, len(asked), len(asked) - len(waiting))
    tell: TaskCallback = told or (lambda task, event: None)
    if means.fabric is not None and means.fabric.world_size > 1:
        failures = run_together(folder, plan, waiting, means.fabric, tell)
    elif means.cluster is not None:
        from soundscene.experiment.cluster import run_on_cluster

        failures = run_on_cluster(folder, plan, waiting, means.cluster, means.device, tell)
    else:
        failures = run_local(folder, plan, waiting, min(means.workers, max(len(waiting), 1)), means.device, tell)
    there = Storage(folder.results).names()
    return ExperimentResult(plan, len(asked), sum(task.name in there for task in asked), failures)


def _plan(folder: RunFolder, request: Request, means: RunOptions) -> Plan:
    """The plan of a request, joined with what the folder holds."""
    threads = means.threads or max(1, CORES // means.workers)
    plan = replace(
        make_plan(request.corpus, request.root, request.recordings, request.design.splits, request.recipe, request.systems),
        design=request.design.kind,
        text=request.design.text,
        seeds=request.seeds,
        threads=threads,
        precision=means.precision,
        litis=request.litis,
        notes=request.notes,
    )
    return plan


def _prepare(
    folder: RunFolder, plan: Plan, request: Request, means: RunOptions, reading: Callable[[str, int, int], None] | None
) -> Plan:
    """Stores, recordings that cannot be used, the leakage guard, and the plan of an earlier run in the folder."""
    broken = build_stores(folder, plan, means.workers, reading)
    if not request.skip_broken:
        refuse_broken(broken, len(plan.recordings))
    plan = _without(plan, broken)
    check(Design({name: plan.split(name) for name in plan.splits}, plan.design, plan.text), content_hashes(folder, plan))
    if (folder.path / "plan.json").exists():
        plan = plan.joined(Plan.read(folder.path), folder.path)
    return plan


def _without(plan: Plan, broken: dict[str, str]) -> Plan:
    """The plan without some recordings, which it remembers as left out."""
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
    unheard = sorted({r.scene for r in split.test} - {r.scene for r in split.train})
    if unheard or not split.test:
        what = f"the scenes {', '.join(unheard)} are left in the test part only" if unheard else "nothing is left to test"
        raise TrainingError(f"split {name}: without the recordings that cannot be used {what}; repair them")
