"""The splits of an experiment: from a manifest's column, dealt, or drawn; each with a name, and told for what they are.

See docs/decisions/0051-splits.md.
"""

import fnmatch
import re
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool

from soundscene.data.manifest import Manifest
from soundscene.data.splits import check_leakage, group_folds
from soundscene.errors import ManifestError
from soundscene.texts import counted, fold_name
from soundscene.types import Split

MOST_SPLITS = 100  # each is a training of every system
_TRIES = 200
FOLDS = 5  # of a manifest without a column fold, unless a number is given
TRAIN_SHARE = 0.8
_MANY = 10  # scenes listed in a message


@dataclass(frozen=True)
class Design:
    """Hold named splits and the kind of evidence they give.

    Attributes:
        splits: By name, in the order of the tables.
        kind: "once" where every recording is in at most one test part, so that all predictions may be counted together;
            "repeated" where it may be in several.
        text: Where the splits come from, one sentence for every table.

    Raises:
        ValueError: There are no splits, or the kind is "once" and a recording is tested twice.
    """

    splits: Mapping[str, Split]
    kind: Literal["once", "repeated"]
    text: str

    def __post_init__(self) -> None:
        if not self.splits:
            raise ValueError("a design holds at least one split")
        if self.kind == "once" and repeats(self.splits):
            raise ValueError("the kind is 'once', but a recording is tested in two splits")


def read_splits(manifest: Manifest, text: str | None) -> Design:
    """Read splits as a user writes them.

    | text | splits |
    |---|---|
    | by=COLUMN | each value of the column (fold, city, source) is the test part once |
    | columns=NAME,NAME | one split a column with the values train and test; patterns such as split* match several |
    | folds=N[,seed=N] | N folds of whole groups, stratified by scene |
    | random=N[,train=0.8][,seed=N] | N independent splits of whole groups, stratified by scene |

    Args:
        manifest: Recordings to split.
        text: One of the above. None: by=fold where the manifest has that column, else folds=5.

    Raises:
        ManifestError: The text is not one of these, or the manifest does not allow such splits.
    """
    if text is None:
        has_fold = any(r.columns.get("fold") for r in manifest.recordings)
        text = "by=fold" if has_fold else f"folds={FOLDS}"
    kind, _, rest = text.partition("=")
    if kind == "columns":
        names = [name.strip() for name in rest.split(",")]
        if not all(names):
            raise _misread(text)
        return by_columns(manifest, names)
    words = {key: value for key, _, value in (word.partition("=") for word in text.split(","))}
    allowed = {"by": {"by"}, "folds": {"folds", "seed"}, "random": {"random", "seed", "train"}}
    if kind not in allowed or not set(words) <= allowed[kind]:
        raise _misread(text)
    if kind == "by":
        return by_column(manifest, words["by"])
    try:
        n, seed, share = int(words[kind]), int(words.get("seed", "0")), float(words.get("train", TRAIN_SHARE))
    except ValueError:
        raise _misread(text) from None
    return dealt_folds(manifest, n, seed) if kind == "folds" else random_splits(manifest, n, share, seed)


def by_column(manifest: Manifest, column: str) -> Design:
    """Use each value of a column (`fold`, `city`, `group`, ...) as the test part once; all other rows train.

    Values are in natural order (2 before 10). Rows whose value is empty are never tested and always train.

    Args:
        manifest: Manifest that has the column.
        column: Its name.

    Raises:
        ManifestError: The column is unknown or empty, has more than 100 values, a group has two values, or all rows of a
            scene have one value, so that it would be tested without training recordings.
    """
    values = manifest.values(column)
    parts = sorted({value for value in values if value}, key=natural)
    if not parts:
        raise ManifestError(f"{manifest.path}: column {column!r} is empty in every row; a value makes a row part of a test")
    if len(parts) > MOST_SPLITS:
        raise ManifestError(
            f"{manifest.path}: column {column!r} has {len(parts)} values, each would be a training; allowed are "
            f"{MOST_SPLITS}: merge values, or let folds be dealt"
        )
    never_tested = sum(not value for value in values)
    if len(parts) > 1 or never_tested:
        _refuse_lone_scenes(manifest, column, values)
    splits = {f"{column}={part}": manifest.split(column, part) for part in parts}
    rest = f"; {never_tested} rows without a value only train" if never_tested else ""
    return Design(splits, "once", f"the manifest's column {column}, {counted(len(parts), 'part')}{rest}")


def by_columns(manifest: Manifest, names: Sequence[str]) -> Design:
    """Take one split from each column whose cells are `train`, `test` or empty.

    A split has the name of its column. Rows with an empty cell are in neither part of that split.

    Args:
        manifest: Manifest that has the columns.
        names: Names of columns, or patterns such as split*, which select further columns (not scene or group).

    Raises:
        ManifestError: A column is unknown, has another value, or lacks training or test rows. A scene is tested that no
            training recording has. A group appears in both parts. There are more than 100 columns.
    """
    columns = list(dict.fromkeys(column for name in names for column in _matching(manifest, fold_name(name))))
    if len(columns) > MOST_SPLITS:
        raise ManifestError(
            f"{manifest.path}: {len(columns)} columns of splits, each is a training; allowed are {MOST_SPLITS}"
        )
    splits = {column: _column_split(manifest, column) for column in columns}
    splits_in = "column" if len(columns) == 1 else f"{len(columns)} columns"
    design = Design(
        splits, "repeated" if repeats(splits) else "once", f"the manifest's {splits_in} of splits, {_some(columns)}"
    )
    check(design, None)
    return design


def dealt_folds(manifest: Manifest, n_folds: int, seed: int) -> Design:
    """Deal stratified folds of whole groups (`data.splits.group_folds`), each the test part once.

    The same manifest and seed give the same folds, whatever the order of the rows. A scene with fewer groups than folds
    reduces their number, and `text` says so.

    Args:
        manifest: Recordings to deal.
        n_folds: 2 to 100.
        seed: 0 or more.

    Raises:
        ManifestError: A number is out of range, or a scene cannot appear in two folds.
    """
    _check_seed(seed)
    if n_folds > MOST_SPLITS:
        raise ManifestError(f"{n_folds} folds were asked for; allowed are 2 to {MOST_SPLITS}, each is a training")
    groups, scenes = [r.group for r in manifest.recordings], [r.scene for r in manifest.recordings]
    fold_of, n_dealt, notes = group_folds(groups, scenes, n_folds, np.random.default_rng(seed))
    splits = {f"fold {fold + 1}": _split(manifest, fold_of == fold) for fold in range(n_dealt)}
    text = f"{n_dealt} stratified folds by group, dealt with seed {seed} (not the data set's own)"
    return Design(splits, "once", "; ".join([text, *notes]))


def random_splits(manifest: Manifest, n_splits: int, train_share: float, seed: int) -> Design:
    """Draw stratified splits of whole groups, independently of each other; every scene is in both parts of each.

    A group of several scenes stays whole, so that shares may be missed. Split number i depends on the seed, i and the groups
    only, not on the order of rows or on the number of splits.

    Args:
        manifest: Recordings to split.
        n_splits: Number of splits.
        train_share: Share of each scene's groups that train, between 0 and 1 (rounded, at least one group in either part).
        seed: 0 or more.

    Raises:
        ManifestError: A number is out of range, a scene has a single group, or no split was found in 200 draws.
    """
    _check_seed(seed)
    if not 1 <= n_splits <= MOST_SPLITS:
        raise ManifestError(f"{n_splits} random splits were asked for; allowed are 1 to {MOST_SPLITS}, each is a training")
    if not 0 < train_share < 1:
        raise ManifestError(f"a share of {train_share:g} cannot train, allowed is 0 < share < 1")
    scenes_of: dict[str, set[str]] = {}
    for recording in manifest.recordings:
        scenes_of.setdefault(recording.group, set()).add(recording.scene)
    n_groups = Counter(scene for scenes in scenes_of.values() for scene in scenes)
    lone = [scene for scene in manifest.scenes if n_groups[scene] == 1]
    if lone:
        raise ManifestError(
            f"{manifest.path}: one group holds every recording of {_some(lone)}, and a group cannot be in both parts of "
            "a split; add recordings of another group, or leave the scene out"
        )
    splits = {}
    for number in range(1, n_splits + 1):
        # spawned by number: a stream of its own, whatever the other splits drew
        generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number,)))
        tested = _draw(scenes_of, n_groups, train_share, generator)
        if not tested:
            raise ManifestError(
                f"{manifest.path}: no split with every scene on both sides was found in {_TRIES} draws, because groups hold "
                "several scenes; use smaller groups"
            )
        splits[f"split {number:02d}"] = _split(manifest, np.array([r.group in tested for r in manifest.recordings]))
    text = (
        f"{n_splits} stratified group splits drawn with seed {seed}, {100 * train_share:g} % of the groups for training "
        "(not the data set's own)"
    )
    return Design(splits, "once" if n_splits == 1 else "repeated", text)


def check(design: Design, content_hashes: Mapping[Path, str] | None, groups: bool = True) -> None:
    """Apply `data.splits.check_leakage` to every split.

    Args:
        design: Splits to check.
        content_hashes: Hash of each recording's audio, by path; None compares groups only.
        groups: Whether to compare groups, see `check_leakage`.

    Raises:
        ManifestError: A split leaks; the message names it.
    """
    for name, split in design.splits.items():
        try:
            check_leakage(split, content_hashes, groups)
        except ManifestError as error:
            raise ManifestError(f"{name}: {error}") from None


def repeats(splits: Mapping[str, Split]) -> bool:
    """Whether some recording is in two test parts."""
    paths = [recording.path for split in splits.values() for recording in split.test]
    return len(set(paths)) < len(paths)


def natural(text: str) -> tuple[list[str | tuple[int, str]], str]:
    """Key that sorts texts with numbers in them as people count: 2 before 10."""
    pieces = re.split(r"([0-9]+)", text)  # text and digits take turns, so that like is compared with like
    return [_digits(piece) if index % 2 else piece for index, piece in enumerate(pieces)], text


def _digits(piece: str) -> tuple[int, str]:
    """Key of a whole number of any length, which `int` would refuse beyond 4300 digits."""
    significant = piece.lstrip("0")
    return len(significant), significant


def _misread(text: str) -> ManifestError:
    return ManifestError(
        f"splits {text!r}: allowed are by=COLUMN, columns=NAME,NAME, folds=N[,seed=N] and random=N[,train=0.8][,seed=N]"
    )


def _matching(manifest: Manifest, name: str) -> list[str]:
    """Columns that a name or pattern stands for."""
    if not re.search(r"[*?\[]", name):
        return [name]
    own = [column for column in manifest.columns if column not in ("path", "scene", "group")]
    columns = [column for column in own if fnmatch.fnmatchcase(column, name)]
    if not columns:
        raise ManifestError(f"{manifest.path}: no column matches {name!r}; there are {', '.join(manifest.columns)}")
    return columns


def _column_split(manifest: Manifest, column: str) -> Split:
    rows = list(zip(manifest.recordings, manifest.values(column), strict=True))
    for recording, value in rows:
        if value not in ("train", "test", "", None):
            where = f", line {recording.line}" if recording.line else ""
            raise ManifestError(
                f"{manifest.path}{where}: column {column!r} has the value {value!r}; a column of splits holds train, test "
                "or nothing"
            )
    split = Split(tuple(r for r, value in rows if value == "train"), tuple(r for r, value in rows if value == "test"))
    for part, recordings in (("train", split.train), ("test", split.test)):
        if not recordings:
            raise ManifestError(f"{manifest.path}: column {column!r} has no row with the value {part}")
    unseen = sorted({r.scene for r in split.test} - {r.scene for r in split.train})
    if unseen:
        raise ManifestError(f"{manifest.path}: column {column!r} tests scenes without a training recording: {_some(unseen)}")
    return split


def _refuse_lone_scenes(manifest: Manifest, column: str, values: Sequence[str | None]) -> None:
    found: dict[str, set[str]] = {}
    for recording, value in zip(manifest.recordings, values, strict=True):
        found.setdefault(recording.scene, set()).add(value or "")
    lone = {scene: min(found[scene]) for scene in manifest.scenes if len(found[scene]) == 1 and found[scene] != {""}}
    if lone:
        some = _some([f"{scene} ({column}={value})" for scene, value in lone.items()])
        own = column in ("scene", "group")  # never empty
        hint = "" if own else f", or leave {column} empty in these: they then only train"
        raise ManifestError(
            f"{manifest.path}: all rows of a scene have the same {column}, so testing on it would test a scene without "
            f"training recordings: {some}; add rows of it with another {column}{hint}"
        )


def _split(manifest: Manifest, tested: Bool[np.ndarray, " recording"]) -> Split:
    pairs = list(zip(manifest.recordings, tested, strict=True))
    return Split(tuple(r for r, test in pairs if not test), tuple(r for r, test in pairs if test))


def _draw(
    scenes_of: Mapping[str, Set[str]], n_groups: Mapping[str, int], train_share: float, generator: np.random.Generator
) -> set[str]:
    """Groups of a test part that leaves each scene on both sides; empty where none was found.

    First a group is taken where all its scenes still want one, which meets the shares exactly if groups hold one scene.
    Then one for each scene that was left out, if training keeps all its scenes. If that fails, another order is tried.
    """
    wanted = {scene: min(max(1, n - round(train_share * n)), n - 1) for scene, n in n_groups.items()}
    names = sorted(scenes_of)
    for _ in range(_TRIES):
        order = [names[index] for index in generator.permutation(len(names))]
        tested: set[str] = set()
        counts: Counter[str] = Counter()
        for group in order:
            if all(counts[scene] < wanted[scene] for scene in scenes_of[group]):
                tested.add(group)
                counts.update(scenes_of[group])
        for group in order:
            scenes = scenes_of[group]
            needed = any(not counts[scene] for scene in scenes)
            if needed and all(counts[scene] < n_groups[scene] - 1 for scene in scenes):
                tested.add(group)
                counts.update(scenes)
        if all(counts[scene] for scene in n_groups):
            return tested
    return set()


def _check_seed(seed: int) -> None:
    if seed < 0:
        raise ManifestError(f"a seed of {seed} is not allowed; 0 or more is")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_MANY]) + (f" and {len(names) - _MANY} more" if len(names) > _MANY else "")
