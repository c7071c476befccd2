"""Which member of a model is drawn in detail; predictions in the same picture are those of all members."""

import difflib

from soundscene.errors import BundleError
from soundscene.member import NetworkMember
from soundscene.model import Model
from soundscene.texts import short


def choose_member(model: Model, name: str | None = None) -> tuple[int, NetworkMember]:
    """Return the number of a member and the member itself.

    Args:
        model: The model to explain.
        name: Name of the member, by default the first with attention, or the first network if none has any.

    Raises:
        BundleError: There is no such member, or it reads no images that could be drawn.
    """
    networks = [(number, m) for number, m in enumerate(model.members) if isinstance(m, NetworkMember)]
    names = [member.name for _, member in networks]
    if name is not None and name not in names:
        if name in [member.name for member in model.members]:
            raise BundleError(f"member {short(name)!r} reads no images, so there is nothing to draw; {_has(names)}")
        near = difflib.get_close_matches(short(name), names, 1)
        hint = f"did you mean {near[0]!r}?" if near else _has(names)
        raise BundleError(f"this model has no member {short(name)!r}; {hint}")
    if not networks:
        raise BundleError(
            "this model is a frozen backbone only, which has no attention, and attribution is not built for it; give one "
            "that has a network too, as of --systems yamnet,att-crnn-mel"
        )
    if name is not None:
        return networks[names.index(name)]
    return next((found for found in networks if found[1].has_attention), networks[0])


def others(model: Model, drawn: NetworkMember) -> str | None:
    """Say in one line what of a picture is of one member and what of all; None for a model of one.

    Args:
        model: The model.
        drawn: The member drawn in detail.
    """
    if len(model.members) == 1:
        return None
    rest = ", ".join(member.name for member in model.members if member.name != drawn.name)
    return (
        f"Images, attention and attribution are those of the member {drawn.name}, one of {len(model.members)}; predictions "
        f"are those of all members. Draw another by --member: {rest}."
    )


def _has(names: list[str]) -> str:
    return f"it can draw {', '.join(names)}" if names else "it has no member that could be drawn"
