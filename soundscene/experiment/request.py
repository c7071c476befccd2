"""From what a user asks for to a request: which recordings, which splits, which systems."""

from collections.abc import Sequence
from pathlib import Path

from soundscene.data.designs import Design, by_column, dealt_folds, random_splits
from soundscene.data.litis import litis_design, read_litis
from soundscene.data.manifest import Manifest
from soundscene.errors import ManifestError, RecipeError
from soundscene.experiment.run import Request
from soundscene.recipe import Recipe
from soundscene.systems.catalogue import specs

FOLDS = 5
TRAIN_SHARE = 0.8


def from_manifest(
    path: Path,
    splits: str | None,
    systems: Sequence[str],
    ablate: str | None = None,
    seeds: tuple[int, ...] = (0,),
    recipe: Recipe | None = None,
    skip_broken: bool = False,
) -> Request:
    """An experiment on a manifest.

    splits: see `read_splits`; systems, ablate: see `systems.catalogue.specs`; recipe: `Recipe.small()` unless given.
    Raises: `SceneError` for whatever cannot be read.
    """
    manifest = Manifest.read(path)
    design = read_splits(manifest, splits)
    chosen = recipe or Recipe.small()
    name = path.resolve().parent.name if path.stem == "manifest" else path.stem
    return Request(
        name,
        path.resolve().parent,
        manifest.recordings,
        design,
        chosen,
        specs(systems, ablate),
        seeds,
        skip_broken=skip_broken,
        notes=_lone_groups(manifest),
    )


def from_litis(
    folder_or_zip: Path,
    unpack_to: Path,
    split_files: Path | None,
    systems: Sequence[str],
    ablate: str | None = None,
    seeds: tuple[int, ...] = (0,),
    recipe: Recipe | None = None,
    skip_broken: bool = False,
) -> Request:
    """The paper's experiment on LITIS Rouen: `Recipe()`, which is the paper's but for what docs/decisions show, unless
    given.

    split_files: folder of the user's files of splits; without them 20 stratified ones are drawn, with seed 0.
    Raises: `SceneError` for whatever cannot be read.
    """
    manifest, notes = read_litis(folder_or_zip, unpack_to)
    design = litis_design(manifest, split_files, 0)
    root = manifest.path.resolve().parent
    chosen = recipe or Recipe()
    full = not notes
    return Request(
        "LITIS Rouen" if full else "LITIS-shaped corpus",
        root,
        manifest.recordings,
        design,
        chosen,
        specs(systems, ablate),
        seeds,
        litis=full,
        skip_broken=skip_broken,
        notes=notes,
    )


def read_splits(manifest: Manifest, text: str | None) -> Design:
    """Splits as a user writes them.

    "by=COLUMN": each value of a column once (fold, city, source); "folds=5": dealt by group; "random=20": drawn by group;
    the last two with ",seed=N", the last with ",train=0.8". None: by=fold where the manifest has that column, else folds=5.
    Raises: `ManifestError` for anything else.
    """
    if text is None:
        has_fold = any(r.columns.get("fold") for r in manifest.recordings)
        text = "by=fold" if has_fold else f"folds={FOLDS}"
    words = {key: value for key, _, value in (word.partition("=") for word in text.split(","))}
    kind = next(iter(words))
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


def read_seeds(text: str) -> tuple[int, ...]:
    """ "0,1,2" as numbers; raises `RecipeError` for anything else."""
    try:
        seeds = tuple(dict.fromkeys(int(word) for word in text.split(",")))
    except ValueError:
        seeds = ()
    if not seeds or min(seeds) < 0:
        raise RecipeError(f"seeds {text!r}: whole numbers from 0 are wanted, comma separated, such as 0,1,2")
    return seeds


def _misread(text: str) -> ManifestError:
    return ManifestError(f"splits {text!r}: allowed are by=COLUMN, folds=N[,seed=N] and random=N[,train=0.8][,seed=N]")


def _lone_groups(manifest: Manifest) -> tuple[str, ...]:
    if any(r.columns.get("group") for r in manifest.recordings):
        return ()
    return (
        "the manifest has no column 'group', so each file counts as an independent recording; pieces of one recording "
        "would make the figures flatter",
    )
