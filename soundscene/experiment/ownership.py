"""A place for results outside of the run folder belongs to one experiment, whose plan stands beside them."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from soundscene.errors import TrainingError
from soundscene.experiment.diagnosis import EXCERPTS
from soundscene.experiment.plan import Plan, Task
from soundscene.jobs.storage import Storage, same_place

OWNER = "experiment.json"
SUFFIX = ".safetensors"
_CLAIMING, _REPORTING = "choose another --results", "run the experiment again with another --results"
_TRIES = 10  # to add systems and seeds while others do


@runtime_checkable
class Result(Protocol):
    """What is looked at of a `results.SplitResult`."""

    @property
    def recordings(self) -> tuple[str, ...]:
        """Paths of those tested."""
        ...

    @property
    def choices(self) -> Mapping[str, Any]:
        """The system's settings."""
        ...

    @property
    def facts(self) -> Mapping[str, Any]:
        """Sizes among them."""
        ...


class SharedPlace:
    """Results of one experiment, which several run folders may fill with systems and seeds of their own.

    Args:
        folder: The run folder that uses the place.
        place: A folder, or a URL as the user wrote it.
        kept: The place that the run folder kept its results in until now, if any.
    """

    def __init__(self, folder: Path, place: str, kept: str | None) -> None:
        self._folder, self.place, self._kept = folder, place, kept
        self._identity = ""

    def check(self, plan: Plan) -> None:
        """Compare what is known of a plan before a recording is read.

        Args:
            plan: Its recordings and splits are not looked at.

        Raises:
            SceneError: The place belongs to an experiment with another recipe, diagnosis, precision, front-end or other
                settings of a system, to a diagnosis of another run folder, or it cannot be used.
        """
        owner = self._owner(Storage(self.place))
        if owner is None:
            return
        plan.check_choices(owner, self.place, _CLAIMING)
        self._check_front_end(plan, owner, _CLAIMING)
        cut = next((Path(owner.root) / path for path, _, _ in owner.recordings if f"{EXCERPTS}/" in path), None)
        if owner.diagnosis and cut and not cut.resolve().is_relative_to((self._folder / EXCERPTS).resolve()):
            raise TrainingError(
                f"{self.place}: holds a diagnosis of another run folder, whose excerpts lie in it ({cut.parent}); "
                f"{_CLAIMING}"
            )

    def claim(self, plan: Plan, read: Callable[[bytes, str], Result]) -> None:
        """Make sure that the place has no results of another experiment, and note there what it is for.

        Args:
            plan: Of the run folder.
            read: Reads a result (content of its file, name for messages).

        Raises:
            SceneError: As `check` has it, or it belongs to an experiment with other recordings or splits, or holds results
                that are not of this plan and none that says whose they are.
        """
        storage = Storage(self.place)
        owner = self._owner(storage)
        if owner is None:
            self._check_results(plan, storage, read)
        grown = self._grown(plan, owner, _CLAIMING) if owner else plan
        for _ in range(_TRIES):
            if grown == owner:
                break
            storage.write(OWNER, grown.to_bytes())
            owner = self._owner(storage)  # others may have claimed it, or added theirs, in the meantime
            grown = self._grown(plan, owner, _CLAIMING) if owner else grown
        self._identity = _identity(grown)

    def check_still(self) -> None:
        """Before a result is written: two runs that began at the same moment may both have claimed the place.

        Raises:
            SceneError: It belongs to another experiment by now.
        """
        owner = self._owner(Storage(self.place)) if self._identity else None
        if owner and _identity(owner) != self._identity:
            raise TrainingError(
                f"{self.place}: belongs to another experiment since this one began; nothing was written there; {_CLAIMING}"
            )

    def check_reading(self, plan: Plan) -> None:
        """Make sure that results are those of a plan, as far as the place says whose they are.

        Args:
            plan: Of the run folder.

        Raises:
            SceneError: They are of another experiment.
        """
        if owner := self._owner(Storage(self.place)):
            self._grown(plan, owner, _REPORTING)

    def _owner(self, storage: Storage) -> Plan | None:
        """Return the plan that stands beside the results; None where there is none, as 0.1 left it."""
        if OWNER not in storage.names():
            return None
        ours = self._kept is not None and same_place(self._kept, self.place)
        advice = "delete it and rerun the same command, which writes it anew" if ours else _CLAIMING
        return Plan.from_bytes(storage.read(OWNER), f"{self.place}/{OWNER}", advice)

    def _check_results(self, plan: Plan, storage: Storage, read: Callable[[bytes, str], Result]) -> None:
        """Compare results that nothing tells the experiment of with the plan that is about to take them for its own."""
        names = {name for name in storage.names() if name.endswith(SUFFIX)}
        ours = [task for task in plan.tasks() if f"{task.name}{SUFFIX}" in names]
        if names and not ours:
            raise TrainingError(
                f"{self.place}: holds results of other systems, splits or seeds, and no {OWNER} that tells of which "
                f"experiment; {_CLAIMING}"
            )
        for task in ours:
            result = read(storage.read(f"{task.name}{SUFFIX}"), task.name)
            if what := _unlike(plan, task, result):
                raise TrainingError(
                    f"{self.place}: {task.name} is of an experiment with other {what}, and no {OWNER} tells of which; "
                    f"{_CLAIMING}"
                )

    def _grown(self, plan: Plan, owner: Plan, advice: str) -> Plan:
        """Compare a plan with that of the results, and return the latter with the systems and seeds of both."""
        joined = plan.joined(owner, self.place, advice)
        self._check_front_end(plan, owner, advice)
        return replace(owner, systems=joined.systems, seeds=joined.seeds)

    def _check_front_end(self, plan: Plan, owner: Plan, advice: str) -> None:
        if plan.front_end != owner.front_end:
            raise TrainingError(
                f"{self.place}: holds an experiment with front-end {owner.front_end}, this one has {plan.front_end}; "
                f"{advice}"
            )


def _identity(owner: Plan) -> str:
    """Return what tells experiments apart, whatever systems and seeds were added."""
    return hashlib.sha256(replace(owner, systems=(), seeds=()).to_bytes()).hexdigest()


def _unlike(plan: Plan, task: Task, result: Result) -> str:
    """Say in what a result differs from what a plan would compute; keys that only one version has do not count."""
    tested = {plan.recordings[i][0] for i in plan.splits[task.split][1]}
    n_trained = result.facts.get("training_recordings", len(plan.splits[task.split][0]))
    if set(result.recordings) != tested or n_trained != len(plan.splits[task.split][0]):
        return "recordings"
    return _differing(result.choices, json.loads(json.dumps(dict(plan.system(task.system).choices))))


def _differing(there: Mapping[str, Any], now: Mapping[str, Any], above: str = "") -> str:
    """Return the first setting that both have with different values, with them; "" without any."""
    for key in (key for key in there if key in now):
        if isinstance(there[key], Mapping) and isinstance(now[key], Mapping):
            if what := _differing(there[key], now[key], f"{above}{key}."):
                return what
        elif there[key] != now[key]:
            return f"settings ({above}{key}: {there[key]} there, {now[key]} now)"
    return ""
