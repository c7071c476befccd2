"""What `train` trains: its own choice, or what the named members start from."""

from collections.abc import Mapping, Sequence

from soundscene.recipe import Recipe
from soundscene.settings import adapted
from soundscene.systems.catalogue import is_backbone, member_system, members
from soundscene.systems.variants import idle_keys, reads
from soundscene.texts import counted

# Best on ESC-10 among what takes at most three times as long as Recipe.small() (docs/decisions/0101).
DEFAULT_SETTINGS = ("training.epochs=60", "calibration.head=softmax")  # and training segments that overlap by half
CHOICE = "chosen on ESC-10 within three times the time of --recipe small"
MORE_TIME = (
    "more time: 85 epochs, or a second network, were not more accurate on ESC-10; a CNN beside it had better probabilities "
    "(log loss 0.418 against 0.455 over seven kinds of sound). --systems yamnet is better there, and needs its file: "
    "docs/guide/transfer.md"
)
"""What `train` says where it chose, on what would be better than its choice: docs/decisions/0101."""


def default_members(settings: Sequence[str] = ()) -> dict[str, Recipe]:
    """Return the members that `train` trains without being told which: docs/decisions/0101-the-default-of-train.md.

    Args:
        settings: On top of the default.

    Raises:
        RecipeError: A setting is unknown or out of range.
    """
    from soundscene.member import name_of  # needs PyTorch

    recipe = _default_recipe(settings)
    return {name_of(recipe): recipe}


def training_recipes(
    systems: Sequence[str], recipe: str | Recipe | None, settings: Sequence[str]
) -> tuple[dict[str, Recipe], tuple[str, ...]]:
    """Return what `soundscene train` and `soundscene.train` train.

    Args:
        systems: Members of the model, see `members`; none for the network of the recipe.
        recipe: A recipe, its name or file. None: the default of `train`, or what `start_of` says for the systems.
        settings: Changes of recipe values; what follows from sample rate or segment length is added.

    Returns:
        The recipe of each member by its name, and notes: on what was added, and on what was chosen for the user.

    Raises:
        RecipeError: As `members` and `Recipe.load` do.
    """
    from soundscene.member import name_of  # needs PyTorch

    if not systems and recipe is None:
        added, note = adapted(_default_recipe(()), settings)
        found = default_members(added)
        return found, tuple(filter(None, (note, _choice(found), MORE_TIME, idle(found, settings))))
    start = start_of(systems) if recipe is None else recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
    added, note = adapted(start, settings)
    chosen = start.with_settings(added)
    begun = _beginning(systems, chosen, settings) if recipe is None else None
    found = members(systems, chosen) if systems else {name_of(chosen): chosen}
    return found, tuple(filter(None, (note, begun, idle(found, settings))))


def idle(found: Mapping[str, Recipe], settings: Sequence[str]) -> str | None:
    """Name the settings that no member reads, as they change nothing; None if there are none.

    Args:
        found: Recipe of each member, by its name.
        settings: As given.
    """
    read = [
        ({*reads("transfer", ())}, ())
        if is_backbone(name)
        else ({*reads("neural", [f"network.kind={recipe.network.kind}"])}, idle_keys(recipe))
        for name, recipe in found.items()
    ]
    keys = dict.fromkeys(setting.partition("=")[0].strip() for setting in settings)
    unread = [
        key
        for key in keys
        if not any(key not in without and {key, key.partition(".")[0]} & wanted for wanted, without in read)
    ]
    if not unread:
        return None
    return f"--set {', '.join(unread)}: not read by {', '.join(found)}, so nothing changes"


def _choice(found: Mapping[str, Recipe]) -> str:
    """Say what `train` chose, and what it would have chosen without settings."""
    ((name, recipe),) = found.items()
    said = f"system: {name}, {counted(recipe.training.epochs, 'epoch')}"
    if found == (usual := default_members()):
        return f"{said}, {CHOICE}"
    ((usual_name, default),) = usual.items()
    return f"{said}: your settings on top of the default ({usual_name}, {default.training.epochs} epochs, {CHOICE})"


def _beginning(names: Sequence[str], chosen: Recipe, settings: Sequence[str]) -> str | None:
    """Say that networks alone start from the small recipe, and what gives them the settings of the default."""
    if any(is_backbone(name) for name in members(names, chosen)):
        return None
    hop = f"training.segment_hop_s={chosen.audio.segment_s / 2:g}"
    given = {setting.partition("=")[0].strip() for setting in settings}
    missing = [setting for setting in (*DEFAULT_SETTINGS, hop) if setting.partition("=")[0] not in given]
    small = Recipe.small()
    epochs, head = small.training.epochs, small.calibration.head.upper()
    if not missing:
        return None
    return (
        f"--systems of networks starts from --recipe small: {epochs} epochs, {head} head, segments that do not overlap; for "
        f"what the default of train has: --set {' --set '.join(missing)}"
    )


def start_of(names: Sequence[str]) -> Recipe:
    """Return the recipe that the members of a model start from where the user names none.

    Networks alone start from the small recipe. Beside a frozen backbone they start from the default of `train`, whose
    softmax layers have the better probabilities (docs/decisions/0105).

    Args:
        names: As in `members`.

    Raises:
        RecipeError: A name is unknown, or of a system that cannot be a member.
    """
    backbones = [is_backbone(member_system(name)) for name in names]
    if all(backbones):  # nothing is trained on overlapping segments
        return Recipe.small().with_settings(DEFAULT_SETTINGS)
    return _default_recipe(()) if any(backbones) else Recipe.small()


def _default_recipe(settings: Sequence[str]) -> Recipe:
    recipe = Recipe.small().with_settings((*DEFAULT_SETTINGS, *settings))
    if any(setting.partition("=")[0].strip() == "training.segment_hop_s" for setting in settings):
        return recipe
    return recipe.with_settings([f"training.segment_hop_s={recipe.audio.segment_s / 2}"])
