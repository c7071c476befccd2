"""The request of an experiment: which recordings, which splits, which systems, which recipe."""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from soundscene.data.designs import Design, read_splits
from soundscene.data.litis import is_litis, litis_design, read_litis, with_origin
from soundscene.data.manifest import Manifest
from soundscene.errors import RecipeError
from soundscene.experiment.diagnosis import DIAGNOSES, EXCERPTS, TEXT, excerpt_names, same_recording
from soundscene.experiment.plan import PLAN, Plan
from soundscene.recipe import Recipe
from soundscene.scoring.evaluation import LEAKAGE
from soundscene.settings import adapted
from soundscene.systems.catalogue import SystemSpec, is_backbone, specs
from soundscene.texts import short
from soundscene.types import Recording


@dataclass(frozen=True)
class Request:
    """What to compare on what.

    Attributes:
        corpus: Its name in tables.
        root: Folder that recordings are named relative to.
        recordings: All of them.
        design: The splits.
        recipe: What all systems start from.
        systems: To compare.
        seeds: Of the trainings.
        litis: Whether the published results compare.
        skip_broken: Leave out recordings that cannot be used, and list them in every table, instead of refusing them.
        notes: For the tables.
        diagnosis: Name of the diagnosis whose splits leak on purpose, or "".
        diagnosed: Manifest of the diagnosis.
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
    diagnosis: str = ""
    diagnosed: Manifest | None = None


def from_manifest(
    source: Path | Manifest,
    splits: str | None,
    systems: Sequence[str],
    ablate: str | None = None,
    seeds: tuple[int, ...] = (0,),
    recipe: Recipe | None = None,
    skip_broken: bool = False,
) -> Request:
    """Return the request of an experiment on a manifest.

    A manifest of LITIS Rouen (`scan --layout litis`) is recognised by its recordings. The published results compare if its
    splits are repeated draws, as the published ones are.

    Args:
        source: The manifest, or its path.
        splits: See `read_splits`.
        systems: See `systems.catalogue.specs`.
        ablate: See `systems.catalogue.specs`.
        seeds: Of the trainings.
        recipe: `Recipe.small()` unless given.
        skip_broken: See `Request`.

    Raises:
        SceneError: Something cannot be read.
    """
    manifest = Manifest.of(source)
    path = manifest.path
    design = read_splits(manifest, splits)
    chosen = recipe or Recipe.small()
    name = path.resolve().parent.name if path.stem == "manifest" else path.stem
    notes, litis = _lone_groups(manifest), is_litis(manifest)
    if litis:
        name = "LITIS Rouen"
        if design.kind == "repeated":
            design = with_origin(manifest, design)
        else:
            litis = False
            notes += ("LITIS Rouen, but not with repeated splits, so published results are left out",)
    return Request(
        name,
        path.resolve().parent,
        manifest.recordings,
        design,
        chosen,
        specs(systems, ablate),
        seeds,
        litis=litis,
        skip_broken=skip_broken,
        notes=notes,
    )


def from_diagnosis(request: Request, manifest: Path | Manifest, name: str) -> Request:
    """Return a request for a diagnosis, whose recordings and splits `with_excerpts` finds once the run's folder is locked.

    Args:
        request: Of the same manifest.
        manifest: The manifest, or its path.
        name: One of `diagnosis.DIAGNOSES`.

    Raises:
        SceneError: There is no such diagnosis.
    """
    if name not in DIAGNOSES:
        raise RecipeError(f"--diagnose {short(name)!r}: allowed is {', '.join(DIAGNOSES)}")
    note = f"{LEAKAGE}: {TEXT}; these scores say nothing about new recordings."
    return replace(request, notes=(note,), litis=False, diagnosis=name, diagnosed=Manifest.of(manifest))


def with_excerpts(request: Request, run: Path, earlier: Plan | None, unusable: Container[Path] = ()) -> Request:
    """Return the request of a diagnosis with its recordings and splits; excerpts are cut into the run's folder.

    Args:
        request: From `from_diagnosis`.
        run: Folder of the run.
        earlier: Its plan, if it has one.
        unusable: See `same_recording`.

    Raises:
        SceneError: The recordings do not allow it.
    """
    assert request.diagnosed is not None
    names = None if earlier is None else excerpt_names(earlier.recordings)
    audio, skip = request.recipe.audio, request.skip_broken
    found = same_recording(request.diagnosed, run / EXCERPTS, audio, skip, names, unusable)
    notes = (*request.notes, *found.notes, *_not_heard(request.recipe.calibration.held_out))
    return replace(request, recordings=found.recordings, design=found.design, notes=notes)


def _not_heard(held_out: float) -> tuple[str, ...]:
    """Say that a network of a diagnosis does not hear the groups that are held out for its temperature."""
    if not held_out:
        return ()
    return (
        f"{100 * held_out:g} % of the groups are held out from a network for its temperature (calibration.held_out): their "
        "tested excerpts were not heard; --set calibration.held_out=0 trains on all",
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
    """Return the request of the paper's experiment on LITIS Rouen.

    Args:
        folder_or_zip: The user's copy.
        unpack_to: Folder for the files of a zip.
        split_files: Folder of the user's files of splits; without them 20 stratified ones are drawn, with seed 0.
        systems: See `systems.catalogue.specs`.
        ablate: See `systems.catalogue.specs`.
        seeds: Of the trainings.
        recipe: `Recipe()` unless given: the paper's but for what docs/decisions show.
        skip_broken: See `Request`.

    Raises:
        SceneError: Something cannot be read.
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


def choose_recipe(run: Path, name: str | None, settings: Iterable[str], default: str) -> tuple[Recipe, str | None]:
    """Return the recipe of an experiment: as given, else that of the plan in its folder, else a preset.

    Args:
        run: Folder of the run, which need not be there.
        name: Preset or TOML file as given, None for neither.
        settings: As given, see `Recipe.with_settings`.
        default: Preset of a new folder.

    Returns:
        The recipe, and a note where it is the plan's, or where more follows from the settings.

    Raises:
        SceneError: The recipe or the plan cannot be read.
    """
    settings = list(settings)
    if name is None and not settings and (run / PLAN).exists():
        return Plan.read(run).base_recipe(), f"{run}: resumes with the recipe of its {PLAN}"
    base = Recipe.load(name or default)
    settings, note = adapted(base, settings)
    return base.with_settings(settings), note


def with_backbone(request: Request, file: Path | None, run: Path) -> tuple[Request, str | None]:
    """Return the request with the file of a frozen backbone: as given, else that of the plan in the run's folder.

    Args:
        request: Of systems that stand on no file yet.
        file: That --backbone names.
        run: Folder of the run, which need not be there.

    Returns:
        The request, and a note where the file is the plan's.

    Raises:
        SceneError: The file cannot be used, no system uses it, or the plan cannot be read.
    """
    from soundscene.systems.transfer import on_file, stands_on_file  # needs PyTorch

    if file is not None:
        return replace(request, systems=on_file(request.systems, file)), None
    if not any(is_backbone(spec.name) for spec in request.systems) or not (run / PLAN).exists():
        return request, None
    kept = {spec.name: spec for spec in Plan.read(run).systems if stands_on_file(spec)}
    systems = tuple(kept.get(spec.name, spec) for spec in request.systems)
    note = None if systems == request.systems else f"{run}: resumes with the backbone of its {PLAN}"
    return replace(request, systems=systems), note


def read_seeds(text: str) -> tuple[int, ...]:
    """Read seeds such as "0,1,2"; raises `RecipeError` for anything else."""
    try:
        seeds = tuple(dict.fromkeys(int(word) for word in text.split(",")))
    except ValueError:
        seeds = ()
    if not seeds or min(seeds) < 0 or max(seeds) >= 2**63:
        raise RecipeError(f"seeds {short(text)!r}: expected whole numbers from 0, comma-separated, such as 0,1,2")
    return seeds


def _lone_groups(manifest: Manifest) -> tuple[str, ...]:
    if any(r.columns.get("group") for r in manifest.recordings):
        return ()
    return (
        "the manifest has no column 'group', so each file counts as an independent recording; excerpts of one "
        "recording would make the scores optimistic",
    )
