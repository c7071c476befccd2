"""Facts of a model, for `soundscene info`."""

from typing import Any

from soundscene.graph_facts import without_network
from soundscene.member import BackboneMember, Member, NetworkMember, name_of, networks_of
from soundscene.model import Model
from soundscene.recipe import Recipe


def model_facts(model: Model) -> dict[str, Any]:
    """Collect all facts of a model, except the hashes of its training recordings."""
    provenance = {k: v for k, v in model.provenance.items() if k not in ("trained_on", "members", "backbone")}
    counts = [member.n_parameters for member in model.members]
    recipe = _recipe_of(model.members[0]).to_dict()
    return {
        "scenes": list(model.scenes),
        "head": model.head,
        "parameters": None if None in counts else sum(filter(None, counts)),
        "temperature": model.temperature,
        "familiarity": model.familiarity and model.familiarity.to_facts(),
        "training_range": model.usual and model.usual.to_stored(),
        **provenance,
        "members": _member_facts(model),
        "recipe": recipe if networks_of(model.members) else without_network(recipe),
    }


def _member_facts(model: Model) -> list[dict[str, Any]]:
    """Collect what differs from member to member: of the recipe, the values that are not those of the first."""
    first = _recipe_of(model.members[0])
    trained = model.provenance.get("members")
    facts = []
    for member in model.members:
        own = trained.get(member.name) if isinstance(trained, dict) else None
        facts.append(
            {
                "name": member.name,
                "system": name_of(member.recipe) if isinstance(member, NetworkMember) else "frozen backbone",
                "parameters": member.n_parameters,
                "bytes": sum(t.numel() * t.element_size() for t in _tensors_of(member)),
                "recipe": _recipe_of(member).differences(first),
                **(own if isinstance(own, dict) else {}),
                **({"backbone": member.facts} if isinstance(member, BackboneMember) else {}),
            }
        )
    return facts


def _recipe_of(member: Member) -> Recipe:
    assert isinstance(member, NetworkMember | BackboneMember)
    return member.recipe


def _tensors_of(member: Member) -> list[Any]:
    assert isinstance(member, NetworkMember | BackboneMember)
    weights = member.network.state_dict() if isinstance(member, NetworkMember) else member.stored.tensors
    return [*weights.values(), *member.svm.state_dict().values()]
