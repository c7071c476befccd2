"""What the levels of a folder tree are: scenes, or parts of a split, folds and dates, which become columns."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from soundscene.errors import ManifestError

Role = Literal["scene", "split", "fold", "date", "wrapper", "folder"]

_PARTS = {
    "train": re.compile(r"(train|training|trn)"),
    "val": re.compile(r"(val|valid|validation)"),
    "test": re.compile(r"(test|testing|tst)"),
    "eval": re.compile(r"(eval|evaluation|evaluate)"),
    "dev": re.compile(r"(dev|devel|development)"),
}
_AROUND = re.compile(r"^(?:\d+[\s_-]+)?(.*?)(?:[\s_-]*(?:set|data|split|audio|clips|wavs?))?$")
_FOLD = re.compile(r"fold[\s_-]*(\d+)", re.IGNORECASE)
_DATES = re.compile(
    r"(?:(?:19|20)\d\d(?:[-_.]?(?:0[1-9]|1[0-2])(?:[-_.]?(?:0[1-9]|[12]\d|3[01]))?)?"  # 2024, 2024-01, 2024-01-31, 20240131
    r"|(?:0[1-9]|[12]\d|3[01])[-_.](?:0[1-9]|1[0-2])[-_.](?:19|20)\d\d)(?:[\sT_-].*)?"  # 31.01.2024
)
_WITHIN_DATE = re.compile(r"\d{1,2}")  # month and day below a year
_WRAPPERS = re.compile(r"(audio|sound|recording|clip|wav|data|dataset|sample|file)s?|wave|flac|ogg|mp3", re.IGNORECASE)


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

    A level is split, fold or date where all its names are. The first level that is none of these has the scenes. Folders
    named audio, data or the like that hold everything are passed over.

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
        names = {parts[depth] for parts in folders if len(parts) > depth}
        role = _role(names, roles)
        if role == "wrapper" and (roles.count("scene") or roles.count("wrapper") > 1):
            role = "folder"
        if role == "folder" and "scene" not in roles:
            role = "scene"
        roles.append(role)
    return roles


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
    parts = {name: _part_of(name) for name in names}
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
