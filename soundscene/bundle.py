"""The file of a model: everything from sample rate to scene names in one .safetensors file.

The header holds the recipe of each member, the scenes, the temperatures and the provenance as JSON. The tensors are the
networks (with their standardisation) and the SVMs. There is no pickle in it, so loading an untrusted file runs no code.

Format 1 is one network that soundscene 0.1 can compute; what 0.1 did not know of its training stands beside the recipe.
Format 2 is a list of members with tensors members/0/... and so on.
"""

import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from soundscene.backbone.build import build, preparation, stored_preparation
from soundscene.backbone.encoder import POOLINGS
from soundscene.backbone.stored import StoredBackbone
from soundscene.errors import BackboneError, BundleError, RecipeError
from soundscene.files import check_permission, url_hint, write_atomic
from soundscene.member import BackboneMember, Member, NetworkMember, name_of
from soundscene.model import MOST_MEMBERS, Model
from soundscene.network.blocks import rename_stack
from soundscene.network.models import build_network
from soundscene.network.svm import CalibratedSVM, linear
from soundscene.recipe import Recipe
from soundscene.scoring.fusion import MAX_TEMPERATURE, MIN_TEMPERATURE
from soundscene.scoring.unfamiliarity import Familiarity, SceneGaussians
from soundscene.signal.ranges import TrainingRange
from soundscene.stored_recipe import LATER, divide, join
from soundscene.tensors import digest, known_front_end, open_tensors, part, under
from soundscene.texts import LONGEST, LONGEST_NAME, check_scenes, parse_json, short
from soundscene.types import Head

FORMAT = "soundscene bundle"
VERSION = 2  # of the format of models of members; 1 for a model of one network that 0.1 can compute
SYSTEM_VERSION = 3  # of other systems, see `systems.saved`
NETWORK, BACKBONE = "network", "backbone"  # kinds of members
_FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
_KINDS = {"familiarity": ("energy", "mahalanobis"), "unfamiliarity": ("relative-mahalanobis",)}  # by their name in the file
_LARGEST = 1e15  # of a weight: those of the SVM may be large, where embeddings are small


def save_model(model: Model, path: Path) -> None:
    """Write a model atomically: a temporary file beside `path`, then a rename.

    A model of one network that soundscene 0.1 can compute is written in format 1, which 0.1 reads; any other in format 2.

    Args:
        model: The model.
        path: File to write.

    Raises:
        BundleError: The file cannot be written.
    """
    parts: dict[str, Any] = {"scenes": model.scenes, "temperature": model.temperature, "provenance": model.provenance}
    tensors: dict[str, Tensor] = {}
    first = model.members[0]
    alone = divide(first.recipe.to_stored()) if len(model.members) == 1 and isinstance(first, NetworkMember) else None
    if alone:
        parts |= {"version": 1, "recipe": alone[0], "front_end": first.front_end} | ({LATER: alone[1]} if alone[1] else {})
        tensors |= _tensors(first)
    else:
        parts |= {"version": 2, "members": [_stored(member) for member in model.members]}
        for number, member in enumerate(model.members):
            tensors |= under(f"members/{number}/", _tensors(member))
    if familiarity := model.familiarity:  # readers of format 1 that are older ignore it
        # 0.1 refuses a kind that it does not know, but ignores a name that it does not know.
        name = "familiarity" if familiarity.kind in _KINDS["familiarity"] else "unfamiliarity"
        parts[name] = familiarity.kind
        tensors[f"{name}/held"] = torch.from_numpy(familiarity.calibration_scores)
        for number, gaussians in enumerate(familiarity.gaussians):
            prefix = f"{name}/" if alone else f"members/{number}/{name}/"
            tensors |= under(prefix, _of_gaussians(gaussians))
    if model.usual:  # older readers ignore it too
        parts["training_range"] = model.usual.to_stored()
    header = json.dumps(parts, sort_keys=True)
    tensors = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    content = save(tensors, {"format": FORMAT, "bundle": header, "sha256": digest(header, tensors)})
    write_atomic(path, content, BundleError)


def load_model(path: Path) -> Model:
    """Read a model, of this version or an older one.

    Args:
        path: File to read.

    Raises:
        BundleError: If the file is missing, damaged, not a model, or of a newer version.
    """
    header, tensors = read_file(path)
    try:
        scenes = check_scenes(header["scenes"])
        members = _members(header, tensors, len(scenes))
        temperature = _temperature(header["temperature"])
        provenance = _provenance(header["provenance"])
        familiarity = _familiarity(header, tensors, [(len(scenes), m.svm.weight.shape[1]) for m in members])
        usual = TrainingRange.from_stored(header.get("training_range"))
        model = Model(scenes, members, temperature, provenance, familiarity, usual)
    except KeyError as error:
        raise BundleError(f"{path}: its header lacks {error}; retrain the model") from None
    except (RecipeError, RuntimeError, TypeError, ValueError, ArithmeticError) as error:
        reason = " ".join(str(error).split())[:LONGEST]
        raise BundleError(f"{path}: its header and its tensors do not agree ({reason}); retrain the model") from None
    for member in members:
        if faults := [*_faults(member)]:
            where = f"{path}: member {member.name}" if len(members) > 1 else path
            raise BundleError(
                f"{where}: {faults[0]}; was the training stopped by an error, or the file changed? retrain the model"
            )
    return model


def _stored(member: Member) -> dict[str, Any]:
    if isinstance(member, NetworkMember):
        return {"name": member.name, "kind": NETWORK, "recipe": member.recipe.to_stored(), "front_end": member.front_end}
    if isinstance(member, BackboneMember):
        return {
            "name": member.name,
            "kind": BACKBONE,
            "recipe": member.recipe.to_stored(),
            "pooling": member.pooling,
            **preparation(member.backbone),
            "backbone": member.stored.header(),
        }
    raise BundleError(f"member {member.name}: of a kind that cannot be written")


def _tensors(member: Member) -> dict[str, Tensor]:
    assert isinstance(member, NetworkMember | BackboneMember)
    svm = under("svm/", member.svm.state_dict())
    if isinstance(member, NetworkMember):
        return under("network/", member.network.state_dict()) | svm
    softmax = {} if member.softmax is None else under("softmax/", member.softmax.state_dict())
    return under("backbone/", member.stored.tensors) | svm | softmax


def _members(
    header: dict[str, Any], tensors: dict[str, Tensor], n_scenes: int
) -> tuple[NetworkMember | BackboneMember, ...]:
    """Build the members of a file, each after its own numbers and shapes were checked."""
    if header["version"] == 1:
        whole = header | {"recipe": join(header["recipe"], header.get(LATER))}
        return (_network_member(whole, tensors, n_scenes, None),)
    stored = header["members"]
    if not isinstance(stored, list) or not 1 <= len(stored) <= MOST_MEMBERS:
        what = f"{len(stored)}" if isinstance(stored, list) else short(repr(stored))
        raise ValueError(f"members are {what}, expected a list of 1 to {MOST_MEMBERS}")
    members: list[NetworkMember | BackboneMember] = []
    for number, one in enumerate(stored):
        if not isinstance(one, dict):
            raise TypeError(f"member {number} is {short(repr(one))}, expected names with values")
        name = one["name"]
        if not isinstance(name, str) or not 1 <= len(name) <= LONGEST_NAME or not name.isprintable():
            raise ValueError(f"a member is named {short(repr(name))}, expected 1 to {LONGEST_NAME} printable characters")
        if one["kind"] not in (NETWORK, BACKBONE):
            raise ValueError(f"member {name}: of kind {short(repr(one['kind']))}, expected {NETWORK} or {BACKBONE}")
        build_member = _network_member if one["kind"] == NETWORK else _backbone_member
        try:
            members.append(build_member(one, part(tensors, f"members/{number}/"), n_scenes, name))
        except (RecipeError, BackboneError, RuntimeError, TypeError, ValueError, ArithmeticError) as error:
            raise ValueError(f"member {name}: {error}") from None
    places = {f"members/{number}" for number in range(len(stored))}
    of_members = [name for name in tensors if name.startswith("members/")]
    if unknown := sorted(name for name in of_members if "/".join(name.split("/")[:2]) not in places):
        raise ValueError(f"{short(unknown[0])} belongs to no member")
    return tuple(members)


def _network_member(stored: dict[str, Any], tensors: dict[str, Tensor], n_scenes: int, name: str | None) -> NetworkMember:
    recipe = Recipe.from_stored(stored["recipe"])
    _check_shapes(recipe, n_scenes, tensors)
    with torch.random.fork_rng(devices=[]):
        network = build_network(recipe, n_scenes)
    svm = CalibratedSVM(network.softmax.in_features, n_scenes)
    network.load_state_dict(part(tensors, "network/"))
    svm.load_state_dict(part(tensors, "svm/"))
    front_end = known_front_end(stored.get("front_end", 1))
    return NetworkMember(name or name_of(recipe), recipe, network.eval(), svm.eval(), front_end)


def _backbone_member(stored: dict[str, Any], tensors: dict[str, Tensor], n_scenes: int, name: str) -> BackboneMember:
    recipe = Recipe.from_stored(stored["recipe"])
    if (pooling := stored["pooling"]) not in POOLINGS:
        raise ValueError(f"pooling {short(repr(pooling))}, expected one of {', '.join(POOLINGS)}")
    if not isinstance(header := stored["backbone"], dict):
        raise TypeError(f"backbone is {short(repr(header))}, expected names with values")
    weights = StoredBackbone.of(header, part(tensors, "backbone/"))
    has_softmax = any(name.startswith("softmax/") for name in tensors)
    backbone = build(weights, pooling, *stored_preparation(stored, has_softmax))
    sizes = backbone.n_features, n_scenes
    with torch.device("meta"):
        needed = under("svm/", CalibratedSVM(*sizes).state_dict())
        needed |= under("softmax/", nn.Linear(*sizes).state_dict()) if has_softmax else {}
    _check_tensors(needed, tensors, ("svm/", "softmax/"), "the backbone")
    svm = CalibratedSVM(*sizes)
    svm.load_state_dict(part(tensors, "svm/"))
    softmax = linear(*sizes, part(tensors, "softmax/")) if has_softmax else None
    return BackboneMember(name, recipe, weights, backbone, svm.eval(), pooling, softmax)


def is_system(path: Path) -> bool:
    """Tell whether a file is a saved system. What cannot be read is none: `load_model` says why."""
    try:
        with safe_open(path, "pt") as file:
            header = parse_json((file.metadata() or {})["bundle"])
        return header["version"] == SYSTEM_VERSION and "system" in header
    except (OSError, SafetensorError, MemoryError, KeyError, TypeError, ValueError, RuntimeError):
        return False


def read_file(path: Path, system: bool = False) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read header and tensors of a file, and check that it is a complete model of a known version.

    Args:
        path: File to read.
        system: Whether it must be a saved system; by default it must be a model of members.

    Raises:
        BundleError: It is not, or is missing or damaged.
    """
    check_permission(path, BundleError)
    if not os.path.exists(path):
        hint = url_hint(path) or f"no such file; make it by `soundscene train MANIFEST --out {path}`"
        raise BundleError(f"{path}: {hint}")
    if not os.path.isfile(path):
        what = "a folder" if os.path.isdir(path) else "not a regular file"
        raise BundleError(f"{path}: is {what}, expected a .safetensors file")
    if path.suffix.lower() == ".onnx":
        raise BundleError(f"{path}: is an exported model, which only predicts; give the model file (.safetensors)")
    metadata, tensors = open_tensors(path, "model of soundscene", BundleError)
    if metadata.get("format") != FORMAT:
        raise BundleError(f"{path}: a .safetensors file, but not a model of soundscene; `soundscene train` makes one")
    try:
        header = parse_json(metadata["bundle"], finite=True)
        version = header["version"]
        if type(version) is not int or version < 1:
            raise ValueError(f"version {version}")
    except (KeyError, TypeError, ValueError):
        raise BundleError(f"{path}: its header is damaged; copy the file again") from None
    if version == SYSTEM_VERSION and "system" in header and not system:
        raise BundleError(
            f"{path}: a model of the system {short(str(header.get('system')))}, which predict, evaluate, info and push can "
            "use, and timeline and listen where it has segments: pictures, embeddings, services and exports of saved "
            "systems are not built (in Python: soundscene.predict, evaluate and timeline)"
        )
    if version > (SYSTEM_VERSION if system else VERSION):
        raise BundleError(
            f"{path}: written in format {short(str(version))}, this soundscene reads up to {VERSION}; upgrade soundscene to "
            "use it"
        )
    if metadata.get("sha256") != digest(metadata["bundle"], tensors):
        raise BundleError(f"{path}: differs from what was saved (checksum); copy the file again")
    return header, tensors


def _temperature(stored: Any) -> dict[str, float]:
    temperature = {head: stored[head] for head in get_args(Head)}
    if not all(type(value) in (int, float) and 0 < value < math.inf for value in temperature.values()):
        raise ValueError(f"temperatures are {temperature}, expected positive numbers")
    if not all(MIN_TEMPERATURE <= value <= MAX_TEMPERATURE for value in temperature.values()):
        raise ValueError(f"temperatures are {temperature}, expected {MIN_TEMPERATURE:g} to {MAX_TEMPERATURE:g}")
    return {head: float(value) for head, value in temperature.items()}


def _provenance(stored: Any) -> dict[str, Any]:
    if not isinstance(stored, dict):
        raise TypeError(f"provenance is {short(repr(stored))}, expected names with values")
    for name in ("trained_on", "notes"):
        texts = stored.get(name, [])
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise TypeError(f"provenance.{name} is {short(repr(texts))}, expected a list of texts")
    return dict(stored)


def _check_shapes(recipe: Recipe, n_scenes: int, tensors: dict[str, Tensor]) -> None:
    """Compare names, shapes and types with what the recipe needs, before any memory is taken for it.

    Raises:
        ValueError: They differ.
    """
    with torch.device("meta"):  # shapes without memory
        network = build_network(recipe, n_scenes)
        svm = CalibratedSVM(network.softmax.in_features, n_scenes)
    needed = {f"network/{name}": t for name, t in network.state_dict().items()}
    needed |= {f"svm/{name}": t for name, t in svm.state_dict().items()}
    _check_tensors(needed, tensors, ("network/", "svm/"), "the recipe")


def _check_tensors(needed: dict[str, Tensor], tensors: dict[str, Tensor], prefixes: tuple[str, ...], who: str) -> None:
    """Compare the tensors under some prefixes with those that are needed, and raise `ValueError` if they differ."""
    found = {name: t for name, t in tensors.items() if name.startswith(prefixes)}
    rename_stack(found, "network/recurrent.")
    for name, tensor in needed.items():
        if name not in found:
            raise ValueError(f"{name} is missing")
        if found[name].shape != tensor.shape:
            sizes = (" x ".join(map(str, t.shape)) or "one number" for t in (found[name], tensor))
            raise ValueError(f"{name} is {next(sizes)}, {who} needs {next(sizes)}")
        allowed = _FLOATS if tensor.is_floating_point() else (tensor.dtype,)
        if found[name].dtype not in allowed:
            raise ValueError(f"{name} holds {found[name].dtype}, expected {allowed[0]}")
    if unknown := sorted(found.keys() - needed.keys()):
        raise ValueError(f"{short(unknown[0])} belongs to no layer of {who}")


def _faults(member: NetworkMember | BackboneMember) -> Iterator[str]:
    """Yield what makes the weights useless, though each has the right shape. A backbone was checked when it was built."""
    own = {"network": member.network} if isinstance(member, NetworkMember) else {"softmax": member.softmax or nn.Identity()}
    modules: dict[str, nn.Module] = {"svm": member.svm, **own}
    for prefix, module in sorted(modules.items()):
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point() and f"{prefix}/{name}" != "svm/offset" and not tensor.isfinite().all():
                yield f"{prefix}/{name} holds values that are not finite"
            if tensor.is_floating_point() and (tensor[tensor.isfinite()].abs() > _LARGEST).any():
                yield f"{prefix}/{name} holds values beyond {_LARGEST:g}, which no training gives"
            if name.endswith("running_var") and (tensor < 0).any():
                yield f"{prefix}/{name} holds negative variances"
    # A scene that was absent from the training has offset +inf: probability zero. All scenes cannot have it.
    if not (member.svm.offset > -math.inf).all() or not member.svm.offset.isfinite().any():
        yield "svm/offset holds values that are no offsets"
    if not isinstance(member, NetworkMember):
        return
    inverse = member.network.standardise.inverse_deviation
    if not ((inverse > 0) & (inverse < 2e6)).all():  # `Standardise.fit` takes no deviation below 1e-6
        yield "network/standardise.inverse_deviation holds values that are no inverse deviations"
    if not (member.network.standardise.mean.abs() < 1e3).all():
        yield "network/standardise.mean holds values that are no logarithms of a power"


def _familiarity(
    header: dict[str, Any], tensors: dict[str, Tensor], shapes: Sequence[tuple[int, int]]
) -> Familiarity | None:
    """Build it from the kind in the header and the tensors; shapes: numbers of scenes and features, of each member."""
    name = "familiarity" if header.get("familiarity") is not None else "unfamiliarity"
    kind = header.get(name)
    if kind is None:
        return None
    if kind not in _KINDS[name]:
        raise ValueError(f"{name} is {short(repr(kind))}, expected one of {', '.join(_KINDS[name])}")
    held = part(tensors, f"{name}/")
    if header["version"] == 1:
        parts = [held]
    else:
        parts = [part(tensors, f"members/{number}/{name}/") for number in range(len(shapes))]
        _check_familiarity(held, {"held": (held["held"].numel(),) if "held" in held else ()})
    gaussians = []
    for number, (own, shape) in enumerate(zip(parts, shapes, strict=True)):
        sizes: dict[str, tuple[int, ...]] = {}
        if header["version"] == 1:
            sizes["held"] = (own["held"].numel(),) if "held" in own else ()
        square = (shape[1], shape[1])
        if kind != "energy":
            sizes |= {"mean": shape, "precision": square}
        if kind == "relative-mahalanobis":
            sizes |= {"background/mean": (1, shape[1]), "background/precision": square}
        _check_familiarity(own, sizes, f"member {number}: " if len(shapes) > 1 else "")
        if kind != "energy":
            gaussians.append(_gaussians(own))
    if (held["held"].diff() < 0).any():
        raise ValueError(f"{name}/held is not in ascending order")
    precisions = [one.precision for of_member in gaussians for one in (of_member, of_member.background) if one]
    if not all((np.diagonal(precision) > 0).all() for precision in precisions):
        raise ValueError(f"{name}/precision is not positive on its diagonal, as an inverse covariance is")
    return Familiarity(kind, held["held"].double().numpy(), tuple(gaussians))


def _of_gaussians(gaussians: SceneGaussians) -> dict[str, Tensor]:
    found = {"mean": torch.from_numpy(gaussians.mean).float(), "precision": torch.from_numpy(gaussians.precision).float()}
    return found | (under("background/", _of_gaussians(gaussians.background)) if gaussians.background else {})


def _gaussians(own: dict[str, Tensor]) -> SceneGaussians:
    behind = part(own, "background/")
    mean, precision = (own[name].double().numpy() for name in ("mean", "precision"))
    return SceneGaussians(mean, precision, _gaussians(behind) if behind else None)


def _check_familiarity(tensors: dict[str, Tensor], sizes: dict[str, tuple[int, ...]], where: str = "") -> None:
    if {name: tuple(tensor.shape) for name, tensor in tensors.items()} != sizes:
        has = ", ".join(sorted(tensors)) or "nothing"
        raise ValueError(f"{where}familiarity has {has} of other sizes or names than {sizes}")
    if not all(tensor.dtype in _FLOATS and tensor.isfinite().all() for tensor in tensors.values()):
        raise ValueError(f"{where}familiarity holds values that are not finite")
