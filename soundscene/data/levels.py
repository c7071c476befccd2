"""What the levels of a folder tree are: scenes, or parts of a split, folds and dates, which become columns."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from soundscene.errors import ManifestError
from soundscene.texts import short

Role = Literal["scene", "split", "fold", "date", "wrapper", "folder"]

_PARTS = {
    "train": re.compile(r"(train|training|trn)"),
    "val": re.compile(r"(val|valid|validation)"),
    "test": re.compile(r"(test|testing|tst)"),
    "eval": re.compile(r"(eval|evaluation|evaluate)"),
    "dev": re.compile(r"(dev|devel|development)"),
}
_AROUND = re.compile(r"^(?:\d+[\s_-]+)?(.*?)(?:[\s_-]*(?:set|data|split|audio|clips|wavs?))?$")
_FOLD = re.compile(r"(?:fold|cv)[\s_-]*(\d+)", re.IGNORECASE)
_DATES = re.compile(
    r"(?:(?:19|20)\d\d(?:[-_.]?(?:0[1-9]|1[0-2])(?:[-_.]?(?:0[1-9]|[12]\d|3[01]))?)?"  # 2024, 2024-01, 2024-01-31, 20240131
    r"|(?:0?[1-9]|[12]\d|3[01])[-_.](?:0?[1-9]|1[0-2])[-_.](?:19|20)\d\d"  # 31.01.2024, 5.1.2024
    r"|(?:0[1-9]|[12]\d|3[01])(?:0[1-9]|1[0-2])(?:19|20)\d\d"  # 31012024
    r"|(?:0[1-9]|[12]\d|3[01])[-_.](?:0[1-9]|1[0-2])[-_.]\d\d"  # 31.01.24
    r"|\d\d[-_.](?:0[1-9]|1[0-2])[-_.](?:0[1-9]|[12]\d|3[01])"  # 24-01-31
    r"|(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*,?[\s_.-]+)?(?:\d{1,2}[\s_.-]+)?"  # Mon 3 May 2024, Jan 2024
    r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*[\s_.-]*(?:19|20)\d\d"
    r")(?:[\sT_-].*)?",
    re.IGNORECASE,
)
_WITHIN_DATE = re.compile(r"\d{1,2}")  # month and day below a year
_WRAPPERS = re.compile(r"(audio|sound|recording|clip|wav|data|dataset|sample|file)s?|wave|flac|ogg|mp3", re.IGNORECASE)


_SHOWN = 5  # names in a message


@dataclass(frozen=True)
class Place:
    """Where a file lies.

    Attributes:
        scene: Name of the folder of its scene.
        columns: Values of split, fold and date.
        folder: Folders below the scene that are no column.
        part: Folders that are columns.
    """

    scene: str
    columns: dict[str, str] = field(default_factory=dict)
    folder: str = ""
    part: str = ""


def places(folders: Sequence[tuple[str, ...]], where: str) -> list[Place | None]:
    """Tell the scene and the columns of each file by the names of its folders.

    A level is split, fold or date where all its names are, or some and the others hold the same scenes. The first level that
    is none of these has the scenes. A folder that holds everything is passed over where it is named audio, data or the like,
    or where parts, folds or dates with scenes follow.

    Args:
        folders: Of each file, the folders above it, below the one that is searched.
        where: The folder that is searched, for messages.

    Returns:
        For each file its place, None where it is in no scene's folder.

    Raises:
        ManifestError: All folders that hold files are parts of a split, folds, dates, or named audio and the like.
    """
    roles = _roles(folders)
    if "scene" not in roles and any(folders):
        names = sorted({parts[0] for parts in folders if parts})[:5]
        raise ManifestError(
            f"{where}: its folders ({', '.join(names)}) do not name scenes, and hold no folders that do; expected "
            f"{names[0]}/SCENE/..., or a manifest (CSV) that names the scenes"
        )
    values = _part_names(
        {parts[i] for i, role in enumerate(roles) if role == "split" for parts in folders if len(parts) > i}
    )
    return [_place(parts, roles, values) for parts in folders]


def _roles(folders: Sequence[tuple[str, ...]]) -> list[Role]:
    """Role of each level of folders."""
    roles: list[Role] = []
    for depth in range(max(map(len, folders), default=0)):
        names = _names(folders, depth)
        role = _role(names, roles)
        if role == "folder" and not roles and _wraps(folders):
            role = "wrapper"
        if role == "folder" and "scene" not in roles:
            role = _mixed(folders, depth, roles)
        if role == "wrapper" and (roles.count("scene") or roles.count("wrapper") > 1):
            role = "folder"
        if role == "folder" and "scene" not in roles:
            role = "scene"
        roles.append(role)
    return roles


def _names(folders: Sequence[tuple[str, ...]], depth: int) -> set[str]:
    return {parts[depth] for parts in folders if len(parts) > depth}


def _wraps(folders: Sequence[tuple[str, ...]]) -> bool:
    """Whether one folder holds several parts, folds or dates, and they hold several scenes."""
    first, second, third = (_names(folders, depth) for depth in range(3))
    return len(first) == 1 and len(second) > 1 and len(third) > 1 and _role(second, []) in ("split", "fold", "date")


def _mixed(folders: Sequence[tuple[str, ...]], depth: int, above: list[Role]) -> Role:
    """Role of a level of which only some names are parts or dates: theirs, where the other folders hold the same scenes."""
    for role, some in _likely(_names(folders, depth)):
        if role == "fold" or role in above:
            continue
        known = {parts[depth + 1] for parts in folders if len(parts) > depth + 1 and parts[depth] in some}
        rest = [parts for parts in folders if len(parts) > depth and parts[depth] not in some]
        if len(known) > 1 and all(len(parts) > depth + 1 and parts[depth + 1] in known for parts in rest):
            return role
    return "folder"


def _likely(names: set[str]) -> list[tuple[Role, set[str]]]:
    """Names that together look like parts, folds or dates; the train among scenes does not."""
    parts = {name for name in names if _part_of(name)}
    likely: list[tuple[Role, set[str]]] = []
    if len({_part_of(name) for name in parts}) > 1:
        likely.append(("split", parts))
    forms: tuple[tuple[Role, re.Pattern[str]], ...] = (("fold", _FOLD), ("date", _DATES))
    for role, form in forms:
        some = {name for name in names if form.fullmatch(name)}
        if len(some) > 1:
            likely.append((role, some))
    return likely


def doubts(scenes: set[str]) -> list[str]:
    """Return a note for names of scenes that look like parts, folds or dates, and what stands beside them.

    Args:
        scenes: Names of the scenes that the folders gave.
    """
    kinds = {"split": "parts of a split", "fold": "folds", "date": "dates"}
    return [
        f"{_some(some)} look like {kinds[role]}, but are taken for scenes{', as are' if rest else ''} {_some(rest)}".rstrip()
        + ": have folders of one kind in each level, or give a CSV that names the scenes"
        for role, some in _likely(scenes)
        for rest in [scenes - some]
    ]


def _some(names: set[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(short(name) for name in sorted(names)[:_SHOWN]) + more


def is_wrapper(name: str) -> bool:
    """Tell whether a folder is named audio, data or the like."""
    return _WRAPPERS.fullmatch(name) is not None


def part_columns(folders: tuple[str, ...]) -> dict[str, str]:
    """Return the column split by the first folder above a file, or by the next where that is named data or the like.

    Args:
        folders: Above the file, below that of the corpus.
    """
    inside = next((name for name in folders if not is_wrapper(name)), "")
    return {"split": _part_names({inside})[inside]} if _part_of(inside) else {}


def divided(folders: Sequence[tuple[str, ...]]) -> list[tuple[str, str]]:
    """Return of each file the folders that are parts, folds or dates, and the others, where a table names the scenes.

    Args:
        folders: Of each file, the folders above it. Those that all files share do not count.
    """
    shared = 0
    while all(len(parts) > shared for parts in folders) and len(_names(folders, shared)) == 1:
        shared += 1
    below = [parts[shared:] for parts in folders]
    columns = [role in ("split", "fold", "date") for role in _roles(below)]
    found = []
    for parts in below:
        part = [name for name, is_column in zip(parts, columns, strict=False) if is_column]
        folder = [name for name, is_column in zip(parts, columns, strict=False) if not is_column]
        found.append(("/".join(part), "/".join(folder)))
    return found


def _role(names: set[str], above: list[Role]) -> Role:
    if above and above[-1] == "date" and all(map(_WITHIN_DATE.fullmatch, names)):
        return "date"
    if all(map(_part_of, names)) and "split" not in above:
        return "split"
    if all(map(_FOLD.fullmatch, names)) and "fold" not in above:
        return "fold"
    if all(map(_DATES.fullmatch, names)) and "date" not in above:
        return "date"
    if len(names) == 1 and all(map(_WRAPPERS.fullmatch, names)):
        return "wrapper"
    return "folder"


def _part_of(name: str) -> str:
    match = _AROUND.match(name.casefold())
    word = match[1] if match else ""
    return next((part for part, form in _PARTS.items() if form.fullmatch(word)), "")


def _part_names(names: set[str]) -> dict[str, str]:
    """Value of the column split for each name of a folder: train, val or test."""
    parts = {name: _part_of(name) or name for name in names}
    there = set(parts.values())
    eval_is, dev_is = ("val" if "test" in there else "test"), ("val" if "train" in there else "train")
    if {"eval", "dev", "train", "test"} <= there:
        return parts  # four parts: two of them keep their names
    return {name: {"eval": eval_is, "dev": dev_is}.get(part, part) for name, part in parts.items()}


def _place(parts: tuple[str, ...], roles: list[Role], values: dict[str, str]) -> Place | None:
    columns: dict[str, str] = {}
    scene, below, above = None, [], []
    for name, role in zip(parts, roles, strict=False):
        if role == "scene":
            scene = name
        elif role == "folder":
            below.append(name)
        elif role in ("split", "fold", "date"):
            above.append(name)
            fold = _FOLD.fullmatch(name)
            value = values[name] if role == "split" else str(int(fold[1])) if role == "fold" and fold else name
            columns[role] = f"{columns[role]}-{value}" if role in columns else value
    return None if scene is None else Place(scene, columns, "/".join(below), "/".join(above))
