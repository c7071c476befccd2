"""The plan of an experiment as one JSON file: recordings, splits, systems, seeds; a run folder holds one plan.

A folder may grow by systems and seeds. Other recordings, splits or recipes are another experiment and need another folder.
"""

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from soundscene.errors import RecipeError, SceneError, TrainingError
from soundscene.files import write_atomic
from soundscene.recipe import FRONT_END, Recipe
from soundscene.systems.catalogue import SystemSpec, build, check_variant, configured
from soundscene.texts import fold_name, short
from soundscene.types import Recording, Split

if TYPE_CHECKING:
    from soundscene.systems.system import System  # needs PyTorch, and reports do not

FORMAT = 2
"""1 is that of soundscene 0.1, which must not finish a plan of another front-end."""

_LONGEST_FILE = 100  # letters of a split in the name of a file
PLAN = "plan.json"


@dataclass(frozen=True)
class Task:
    """One training: a system on a split with a seed.

    Attributes:
        system: Name of the system.
        split: Name of the split.
        seed: Of the training.
        split_file: The split in names of files; by default its name with a _ in place of unsafe characters.
    """

    system: str
    split: str
    seed: int
    split_file: str = field(default="", compare=False)

    @property
    def name(self) -> str:
        """Name of its result, safe for any file system."""
        return f"{_safe(self.system)}__{self.split_file or _safe(self.split)}__seed{self.seed}"


@dataclass(frozen=True)
class Plan:
    """What a run folder holds.

    Attributes:
        corpus: Its name in tables.
        root: Folder that the paths of `recordings` are relative to.
        recordings: (path, scene, group) of each.
        design: As in `data.designs.Design`.
        text: Where the splits come from, as in `data.designs.Design`.
        splits: Name -> (indices of recordings to train on, indices to test on).
        recipe: What all systems start from, as stored.
        systems: In the order of the tables.
        seeds: Of the trainings.
        threads: Of one training.
        precision: As in `training.device.make_fabric`.
        litis: Whether the published results compare.
        left_out: Recordings that could not be used, with the reason.
        notes: For the tables.
        format: Version of this file.
        front_end: Version of the front-end, see `recipe.FRONT_END`.
        diagnosis: Name of the diagnosis whose splits leak on purpose, or "".
    """

    corpus: str
    root: str
    recordings: tuple[tuple[str, str, str], ...]
    design: Literal["once", "repeated"]
    text: str
    splits: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]
    recipe: dict[str, Any]
    systems: tuple[SystemSpec, ...]
    seeds: tuple[int, ...]
    threads: int
    precision: str = "32-true"
    litis: bool = False
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    format: int = field(default=1)
    front_end: int = 1
    diagnosis: str = ""

    def tasks(self) -> tuple[Task, ...]:
        """Return all trainings: every system on the first split, then on the second, so that early results show them all."""
        files = split_files(self.splits)
        return tuple(
            Task(spec.name, split, seed, files[split])
            for seed in self.seeds
            for split in self.splits
            for spec in self.systems
        )

    def spec(self, system: str) -> SystemSpec:
        """Return the system of that name."""
        return next(spec for spec in self.systems if spec.name == system)

    def system(self, name: str) -> "System":
        """Build the system of that name."""
        return build(self.spec(name), self.base_recipe(), self.front_end)

    def with_front_end(self, version: int) -> "Plan":
        """Return the plan with another version of the front-end, in the format that has it."""
        return replace(self, front_end=version, format=1 if version == 1 else FORMAT)

    def base_recipe(self) -> Recipe:
        """Return the recipe that all systems start from."""
        return Recipe.from_stored(self.recipe)

    def all_recordings(self) -> tuple[Recording, ...]:
        """Return the rows as recordings, whose `path` can be opened from here."""
        return tuple(Recording(Path(self.root) / path, scene, group) for path, scene, group in self.recordings)

    def split(self, name: str) -> Split:
        """Return the recordings of a split."""
        rows = self.all_recordings()
        train, test = self.splits[name]
        return Split(tuple(rows[i] for i in train), tuple(rows[i] for i in test))

    def write(self, folder: Path) -> None:
        """Write plan.json, all or nothing."""
        write_atomic(folder / PLAN, self.to_bytes(), TrainingError)

    def to_bytes(self) -> bytes:
        """Return the content of plan.json."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1)

    @classmethod
    def read(cls, folder: Path) -> "Plan":
        """Read the plan of a run folder.

        Raises:
            TrainingError: The folder holds no plan, or a damaged one.
        """
        try:
            content = (folder / PLAN).read_bytes()
        except OSError as error:
            if folder.is_file():
                raise TrainingError(
                    f"{folder}: is a file, expected the folder of an experiment, which `soundscene experiment MANIFEST "
                    "--out FOLDER` makes"
                ) from None
            raise TrainingError(
                f"{folder}: holds no experiment ({error.strerror}: plan.json); `soundscene experiment MANIFEST --out "
                f"{folder}` creates one"
            ) from None
        return cls.from_bytes(content, str(folder / PLAN))

    @classmethod
    def from_bytes(cls, content: bytes, name: str, advice: str = "choose another folder, or delete this one") -> "Plan":
        """Read a plan.

        Args:
            content: Of plan.json.
            name: For the message.
            advice: For the message, what to do about a damaged one.

        Raises:
            TrainingError: It is damaged, foreign, or from a newer version.
        """
        try:
            plan = msgspec.json.decode(content, type=cls)
        except (msgspec.DecodeError, ValueError, RecursionError, OverflowError, MemoryError) as error:
            reason = short(str(error)) or type(error).__name__
            raise TrainingError(f"{name}: damaged or not ours ({reason}); {advice}") from None
        rows = range(len(plan.recordings))
        if not all(i in rows for parts in plan.splits.values() for part in parts for i in part):
            raise TrainingError(f"{name}: damaged, because a split names recordings that it lacks; {advice}")
        if plan.format > FORMAT:
            raise TrainingError(f"{name}: format {plan.format} is newer than this soundscene, which knows {FORMAT}")
        if not 1 <= plan.front_end <= FRONT_END:
            raise TrainingError(f"{name}: front-end {plan.front_end}, this soundscene knows 1 to {FRONT_END}; upgrade it")
        return plan

    def check_choices(self, earlier: "Plan", folder: Path | str, advice: str = "choose another --out") -> "Plan":
        """Compare recipe, precision and systems with those of the folder's plan, which needs no recording to be read.

        Args:
            earlier: The folder's plan. Recipes are compared by their meaning, as an older one may lack keys.
            folder: For messages.
            advice: For messages, beside "use the same ones".

        Returns:
            This plan, spelt as the earlier one.

        Raises:
            TrainingError: One of them differs; the message names the values.
        """
        plan = _without_augmentation(_spelt_as(earlier, self)) if earlier.front_end < 2 else _spelt_as(earlier, self)
        recipes = earlier.base_recipe().to_dict(), plan.base_recipe().to_dict()
        same = ((name, getattr(earlier, name), getattr(plan, name)) for name in ("diagnosis", "precision"))
        for name, before, now in (*same, ("recipe", *recipes)):
            if before != now:
                what = "; ".join(_differences(before, now)[:3])
                raise TrainingError(
                    f"{folder}: holds an experiment with other {name} ({what}); use the same ones, or {advice}"
                )
        known = {spec.name: spec for spec in earlier.systems}
        for spec in plan.systems:
            if spec != known.setdefault(spec.name, spec):
                raise TrainingError(f"{folder}: holds a system {spec.name!r} with other settings; {advice}")
        return plan

    def joined(self, earlier: "Plan", folder: Path | str, advice: str = "choose another --out") -> "Plan":
        """Return this plan with the systems and seeds that the folder already has, and with its front-end.

        Args:
            earlier: The folder's plan. Recipes are compared by their meaning, as an older one may lack keys.
            folder: For messages.
            advice: For messages, beside "use the same ones".

        Raises:
            TrainingError: Anything else differs, which the message names.
        """
        plan = self.check_choices(earlier, folder, advice)
        if what := _other_recordings(earlier, plan) or _other_splits(earlier, plan):
            raise TrainingError(f"{folder}: holds an experiment with other {what}; use the same ones, or {advice}")
        systems = tuple(dict.fromkeys((*earlier.systems, *plan.systems)))
        joined = replace(plan, systems=systems, seeds=tuple(sorted({*earlier.seeds, *plan.seeds})))
        return joined.with_front_end(earlier.front_end)


def _without_augmentation(plan: Plan) -> Plan:
    """Return the plan as soundscene 0.1, which had no augmentation, would have made it, unless it asks for another one."""
    recipe = plan.base_recipe()
    if recipe.augmentation != Recipe().augmentation:
        return plan
    return replace(plan, recipe=_plain(recipe.with_settings(["augmentation=off"])))


def _plain(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe as it comes back from a file: lists, not tuples."""
    return json.loads(json.dumps(recipe.to_stored()))


def make_plan(
    corpus: str,
    root: Path,
    recordings: Sequence[Recording],
    splits: Mapping[str, Split],
    recipe: Recipe,
    systems: Sequence[SystemSpec],
) -> Plan:
    """Return a plan with one seed and one thread; `dataclasses.replace` changes what is to be different.

    Args:
        corpus: Its name in tables.
        root: Folder that recordings are named relative to.
        recordings: All of them.
        splits: By name.
        recipe: What all systems start from.
        systems: To compare.

    Raises:
        RecipeError: A system or its settings cannot be built; nothing has been computed.
    """
    for spec in systems:
        try:
            configured(spec, recipe)
        except SceneError as error:
            raise RecipeError(f"system {short(spec.name)}: {error}") from None
        check_variant(spec, recipe)
    names = [_safe(spec.name) for spec in systems]
    if len(set(names)) < len(names):
        raise RecipeError(f"two systems would have files of one name: {', '.join(sorted(names))}")
    row = {r.path: i for i, r in enumerate(recordings)}
    numbered = {
        name: (tuple(row[r.path] for r in split.train), tuple(row[r.path] for r in split.test))
        for name, split in splits.items()
    }
    rows = tuple((os.path.relpath(r.path, root), r.scene, r.group) for r in recordings)
    seeds = (recipe.training.seed,)
    plan = Plan(corpus, str(root.resolve()), rows, "once", "", numbered, _plain(recipe), tuple(systems), seeds, threads=1)
    return plan.with_front_end(FRONT_END)


def split_files(splits: Iterable[str]) -> dict[str, str]:
    """Return the names that splits have in names of files: different ones, whatever letters they are written in.

    A name is that of 0.1.0, with a _ in place of each unsafe character, unless two splits would share it, also where upper
    and lower case are one, or it would be too long for a file. Then eight digits of a hash follow.
    """
    shared = Counter(_safe(split).casefold() for split in splits)
    return {
        split: safe
        if shared[(safe := _safe(split)).casefold()] == 1 and len(safe) <= _LONGEST_FILE
        else f"{safe[:_LONGEST_FILE]}-{hashlib.sha256(split.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
        for split in splits
    }


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.=+,-]", "_", name)


def _spelt_as(earlier: Plan, plan: Plan) -> Plan:
    """Return a plan with the names of an earlier one, where they are the same names as `fold_name` compares them."""
    for column in (1, 2):
        written = {row[column] for row in earlier.recordings}
        if len(set(map(fold_name, written))) < len(written):
            return plan  # two names of the earlier plan would become one
    before, now = ([(path, *map(fold_name, names)) for path, *names in p.recordings] for p in (earlier, plan))
    spelt = {fold_name(name): name for name in earlier.splits}
    splits = {spelt.get(fold_name(name), name): parts for name, parts in plan.splits.items()}
    return replace(plan, recordings=earlier.recordings if before == now else plan.recordings, splits=splits)


def _differences(one: Any, other: Any, key: str = "") -> list[str]:
    """Return a text for each place where two plain values differ: its key, and both values."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = dict.fromkeys((*one, *other))
        return [text for k in keys for text in _differences(one.get(k), other.get(k), f"{key}.{k}" if key else k)]
    name = f"{key}: " if key else ""
    return [] if one == other else [f"{name}{json.dumps(one)} there, {json.dumps(other)} now"]


def _other_recordings(earlier: Plan, plan: Plan) -> str:
    """Say how the recordings of two plans differ; an empty text where they do not."""
    before, now = ({path: names for path, *names in p.recordings} for p in (earlier, plan))
    if earlier.recordings == plan.recordings:
        return ""
    parts = [
        f"{len(paths)} {what}, such as {short(min(paths))}"
        for what, paths in (("new", now.keys() - before.keys()), ("missing now", before.keys() - now.keys()))
        if paths
    ]
    changed = [path for path in before.keys() & now.keys() if before[path] != now[path]]
    if changed:
        path = min(changed)
        parts.append(f"{len(changed)} with another scene or group, such as {short(path)}")
    return f"recordings ({'; '.join(parts) or 'in another order'})"


def _other_splits(earlier: Plan, plan: Plan) -> str:
    """Say how the splits of two plans differ; an empty text where they do not."""
    if earlier.splits == plan.splits:
        return ""
    if earlier.splits.keys() != plan.splits.keys():
        before, now = (short(", ".join(p.splits)) for p in (earlier, plan))
        return f"splits ({before} there, {now} now)"
    name = next(name for name in earlier.splits if earlier.splits[name] != plan.splits[name])
    part = "training" if earlier.splits[name][0] != plan.splits[name][0] else "test"
    return f"splits (split {short(name)} has other {part} recordings)"
